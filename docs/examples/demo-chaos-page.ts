/**
 * The page of the chaos demo: plots as SVG, nothing from elsewhere, light or dark as the reader's system is.
 */
import type { Simulation } from "effect-ai-gateway/testing"
import { type Series, timeChart } from "../../src/cli/report/chart.ts"
import { type Html, html, raw, table } from "../../src/cli/report/html.ts"
import { style } from "../../src/cli/report/style.ts"
import { span } from "../../src/cli/shared/format.ts"

interface Trouble {
  readonly name: string
  readonly from: number
  readonly until: number
}

interface PageData {
  readonly duration: number
  readonly bucket: number
  readonly troubles: ReadonlyArray<Trouble>
  readonly results: Readonly<Record<string, Simulation.Result>>
}

const colors = ["c1", "c4", "c3", "c2"]
const colorOf = (index: number): string => colors[index % colors.length] ?? "c1"

const percent = (share: number): string => `${Math.round(share * 1_000) / 10} %`

/** A value of each point. */
const samplesOf = (
  { series }: Simulation.Result,
  bucket: number,
  value: (point: Simulation.Bucket) => number | undefined
): Series["samples"] => series.map((point) => ({ from: point.at, to: point.at + bucket, value: value(point) }))

const phases = { closed: "closed", halfOpen: "probing", open: "open", exhausted: "exhausted" } as const
const phaseColor = { closed: "good", halfOpen: "c3", open: "c2", exhausted: "c4" } as const

/** A strip for each target, in the colour of its breaker. */
const breakers = (result: Simulation.Result, { bucket, duration }: PageData): Html => {
  const [left, width, row] = [110, 616, 34]
  const targets = Object.keys(result.targets)
  const strips = targets.map((target, index) => {
    const top = index * row + 6
    const cells = result.series.map(({ at, breakers }) => {
      const phase = breakers[target] ?? "closed"
      const x = left + (at / duration) * width
      return html`<rect class="area ${phaseColor[phase]}" x="${x.toFixed(1)}" y="${top}" width="${((bucket / duration) * width + 0.4).toFixed(1)}" height="20"><title>${target}, ${span(at)}: ${phases[phase]}</title></rect>`
    })
    return html`<text class="name end" x="${left - 10}" y="${top + 15}">${target}</text>${cells}\n`
  })
  const bottom = targets.length * row + 4
  const ticks = [0, 0.25, 0.5, 0.75, 1].map(
    (share) =>
      html`<text class="tick middle" x="${left + share * width}" y="${bottom + 14}">${share === 0 ? "0" : span(share * duration)}</text>`
  )
  const seen = new Set(result.series.flatMap((point) => Object.values(point.breakers)))
  const legend = Object.entries(phases)
    .filter(([phase]) => seen.has(phase as keyof typeof phases))
    .map(
      ([phase, name]) =>
        html`<li><svg class="key" viewBox="0 0 22 10" aria-hidden="true"><rect class="area ${phaseColor[phase as keyof typeof phases]}" width="22" height="10"/></svg> ${name}</li>`
    )
  return html`<div class="scroll"><svg viewBox="0 0 760 ${bottom + 22}" role="img" aria-label="Phase of each target's breaker over time">
${strips}${ticks}</svg></div><ul class="legend">${legend}</ul>`
}

/** Everything of one kind, the routes below each other on the same scale of time. */
const section = (title: string, note: string, figures: ReadonlyArray<readonly [name: string, chart: Html]>): Html =>
  html`<h2>${title}</h2><p>${note}</p>
${figures.map(([name, chart]) => html`<figure><figcaption>${name}</figcaption>${chart}</figure>\n`)}`

/** Writes the page. */
export const page = (data: PageData): string => {
  const { bucket, duration, results, troubles } = data
  const routes = Object.entries(results)
  const shaded = troubles.map(({ from, until }) => ({ from, to: until }))
  const chart = (
    id: string,
    title: string,
    series: ReadonlyArray<Series>,
    unit: (value: number) => string,
    log = false
  ) =>
    timeChart({
      id,
      title,
      description: `${title}; the totals are in the table above.`,
      duration,
      series,
      unit,
      canBeLogarithmic: log,
      shaded,
      shading: "trouble"
    })
  const success = routes.map(
    ([name, result], index): Series => ({
      name,
      color: index === 0 ? "c2" : "c1",
      shape: "line",
      samples: samplesOf(result, bucket, ({ successRate }) => successRate)
    })
  )
  const latency = (of: "p50" | "p99"): ReadonlyArray<Series> =>
    routes.map(([name, result], index) => ({
      name: `${name}, ${of}`,
      color: index === 0 ? "c2" : "c1",
      shape: of === "p50" ? "dashed" : "line",
      samples: samplesOf(result, bucket, (point) => point[of])
    }))
  const load = ([name, result]: (typeof routes)[number]): readonly [string, Html] => [
    name,
    chart(
      `load-${name}`,
      `Requests per second to each target, ${name}`,
      Object.keys(result.targets).map((target, index) => ({
        name: target,
        color: colorOf(index),
        shape: "area",
        samples: samplesOf(result, bucket, (point) => ((point.load[target] ?? 0) * 1_000) / bucket)
      })),
      (value) => `${value}/s`
    )
  ]
  const number = (name: string) => ({ name, numeric: true })
  const millis = (value: number | undefined): string => (value === undefined ? "-" : span(value))
  const totals = table(
    "Totals",
    [{ name: "Route" }, ...["Runs", "Success", "p50", "p95", "p99", "Requests per run", "Cost"].map(number)],
    routes.map(([name, result]) => [
      name,
      result.runs,
      percent(result.successRate),
      millis(result.p50),
      millis(result.p95),
      millis(result.p99),
      result.requestsPerRun.toFixed(3),
      result.cost === undefined ? "-" : `$${result.cost.toFixed(2)}`
    ])
  )
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>A plain route and a guarded one</title>
<style>${raw(style)}rect.area { shape-rendering: crispEdges } .area.good { fill: var(--good) } figure { margin: 12px 0 0 }</style>
</head>
<body>
<main>
<h1>A plain route and a guarded one</h1>
<p>${span(duration)} of simulated traffic through the real router.</p>
${troubles.map(({ from, name, until }) => html`<p>${span(from)} to ${span(until)}: ${name}.</p>\n`)}
${totals}
${section("Success rate", "Share of the runs that began in a stretch of time and had an answer.", [["Both routes", chart("success", "Success rate", success, percent)]])}
${section("Latency", "Of successful runs, by the time at which they began.", [["Both routes", chart("latency", "Median and 99th percentile of latency", [...latency("p99"), ...latency("p50")], span, true)]])}
${section("Load", "Requests that reached each target, retries and hedges included.", routes.map(load))}
${section(
  "Breakers",
  "The worst phase of a stretch of time. A route without breakers has none that open.",
  routes.map(([name, result]) => [name, breakers(result, data)])
)}
<footer>Written by <code>npm run demo -- --chaos</code>. The same seed gives the same page.</footer>
</main>
</body>
</html>
`.text
}
