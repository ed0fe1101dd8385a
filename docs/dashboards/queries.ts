/**
 * Evaluates the queries of the dashboard over Prometheus text: the few shapes that `make.ts` writes, and no others.
 */

/** One read of the Prometheus text. */
export interface Sample {
  /** Seconds since the first read. */
  readonly at: number
  readonly text: string
}

/** A line of a plot: a value for each sample, or `undefined` where there is none. */
export interface Line {
  readonly labels: Readonly<Record<string, string>>
  readonly values: ReadonlyArray<number | undefined>
}

type Point = readonly [labels: Readonly<Record<string, string>>, value: number]

const labelsIn = (inner: string): Record<string, string> =>
  Object.fromEntries([...inner.matchAll(/(\w+)="([^"]*)"/g)].map(([, name = "", value = ""]) => [name, value]))

const pointsOf = (text: string, metric: string): ReadonlyArray<Point> =>
  [...text.matchAll(new RegExp(`^${metric}(?:\\{(.*)\\})? (\\S+)$`, "gm"))].map(([, inner = "", value]) => [
    labelsIn(inner),
    Number(value)
  ])

const pattern =
  /^(?:(?<factor>\d+) \* )?(?:histogram_quantile\((?<q>[\d.]+), )?sum by \((?<by>[^)]+)\) \((?<rate>rate\()?(?<metric>\w+)(?:\{(?<selector>[^}]*)\})?(?:\[\$__rate_interval\]\))?\)\)?$/

const keyOf = (labels: Readonly<Record<string, string>>, by: ReadonlyArray<string>): string =>
  JSON.stringify(by.map((name) => [name, labels[name] ?? ""]))

/** The value below which a fraction of the observations is, as Prometheus interpolates it. */
const quantile = (q: number, buckets: ReadonlyArray<readonly [bound: number, count: number]>): number | undefined => {
  const sorted = [...buckets].sort(([a], [b]) => a - b)
  const total = sorted.at(-1)?.[1] ?? 0
  if (total <= 0) return undefined
  const rank = q * total
  const at = sorted.findIndex(([, count]) => count >= rank)
  const [bound, count] = sorted[at] ?? [0, 0]
  const [below, before] = sorted[at - 1] ?? [0, 0]
  if (bound === Number.POSITIVE_INFINITY) return below
  return count === before ? bound : below + ((bound - below) * (rank - before)) / (count - before)
}

/** Evaluates a query at each sample. `window`: seconds of a rate. */
export const evaluate = (expr: string, samples: ReadonlyArray<Sample>, window: number): ReadonlyArray<Line> => {
  const groups = pattern.exec(expr)?.groups
  if (groups === undefined) throw new Error(`a query of another shape: ${expr}`)
  const { by = "", factor = "1", metric = "", q, rate, selector = "" } = groups
  const names = by.split(", ")
  const wanted = Object.entries(labelsIn(selector.replaceAll(/\w+=~"[^"]*"/g, "")))
  const read = samples.map(({ text }) =>
    pointsOf(text, metric).filter(([labels]) => wanted.every(([name, value]) => labels[name] === value))
  )
  /** Values by the labels of their series. */
  const series = read.map((points) => new Map(points.map(([labels, value]) => [JSON.stringify(labels), value])))
  const sums = samples.map(({ at }, index) => {
    const from = samples.findIndex((sample) => sample.at >= at - window)
    const seconds = at - (samples[from]?.at ?? at)
    const out = new Map<string, number>()
    if (rate !== undefined && seconds <= 0) return out
    for (const [labels, value] of read[index] ?? []) {
      const before = series[from]?.get(JSON.stringify(labels)) ?? 0
      const key = keyOf(labels, names)
      out.set(key, (out.get(key) ?? 0) + (rate === undefined ? value : (value - before) / seconds) * Number(factor))
    }
    return out
  })
  if (q === undefined) {
    const keys = [...new Set(sums.flatMap((one) => [...one.keys()]))]
    return keys.map((key) => ({ labels: Object.fromEntries(JSON.parse(key)), values: sums.map((one) => one.get(key)) }))
  }
  const lines = new Map<string, { labels: Record<string, string>; buckets: Array<Array<readonly [number, number]>> }>()
  sums.forEach((one, index) => {
    for (const [key, value] of one) {
      const { le = "", ...labels }: Record<string, string> = Object.fromEntries(JSON.parse(key))
      const line = lines.get(JSON.stringify(labels)) ?? { labels, buckets: samples.map(() => []) }
      line.buckets[index]?.push([le === "+Inf" ? Number.POSITIVE_INFINITY : Number(le), value])
      lines.set(JSON.stringify(labels), line)
    }
  })
  return [...lines.values()].map(({ buckets, labels }) => ({
    labels,
    values: buckets.map((one) => quantile(Number(q), one))
  }))
}
