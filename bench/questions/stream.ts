/**
 * Measures the cost of streaming, compared with a hand-written loop over `fetch` (the floor), the OpenAI SDK and the AI
 * SDK, all reading the same bytes from an upstream in another process. Every contender must produce the right text
 * first.
 */
import * as Measure from "../measure.ts"
import type { Column, Question, Row, Target } from "../question.ts"
import type { Passing, Reading } from "../stream/contenders.ts"
import { at, withUpstream } from "../stream/server.ts"
import { bytesOf, type Shape, textOf } from "../upstream.ts"

const shapes = {
  each: { events: 100, perChunk: 1, delay: 0 },
  packed: { events: 100, perChunk: 20, delay: 0 },
  longer: { events: 500, perChunk: 1, delay: 0 },
  atOnce: { events: 20, perChunk: 1, delay: 0, special: "alone" },
  thinking: { events: 20, perChunk: 1, delay: 20, special: "alone" },
  long: { events: 20_000, perChunk: 1, delay: 0 }
} satisfies Record<string, Shape>

/** Figures by contender and column. */
type Figures = Map<string, Record<string, Measure.Spread>>

const put = (figures: Figures, name: string, key: string, value: Measure.Spread): void => {
  figures.set(name, { ...figures.get(name), [key]: value })
}

const check = async ({ name, read }: Reading, shape: Shape): Promise<void> => {
  const expected = textOf(shape.events)
  let first = 0
  const text = await read(() => {
    first++
  })
  if (text !== expected) throw new Error(`${name}: ${text.length} characters, expected ${expected.length}`)
  if (first !== 1) throw new Error(`${name}: the first token came ${first} times`)
}

interface Extent {
  readonly decoding: Measure.Settings
  readonly blocks: number
  readonly calls: number
}

type Samples = ReadonlyMap<string, ReadonlyArray<Measure.Sample>>

const of = (samples: Samples, { name }: { readonly name: string }): ReadonlyArray<Measure.Sample> =>
  samples.get(name) ?? []

/** Reads streams of a shape; `key` is the column of events per second, and `key` plus `Cpu` that of CPU per event. */
const decoded = (origin: string, figures: Figures, key: string, shape: Shape, settings: Measure.Settings) =>
  at(origin, shape, async ({ again, floor, ours, oursOverFetch, sdks }) => {
    const readers = [floor, again, ...sdks, ...ours]
    for (const reader of readers) await check(reader, shape)
    const samples: Samples = await Measure.alternate(
      readers.map(({ name, read }) => ({
        name,
        call: async () => {
          const text = await read()
          if (text.length !== textOf(shape.events).length) throw new Error(`${name}: wrong text`)
        }
      })),
      settings
    )
    const cpu = (sample: Measure.Sample): number => Measure.cpuPerCall(sample) / shape.events
    for (const reader of readers) {
      const own = of(samples, reader)
      put(figures, reader.name, key, Measure.spread(own.map((sample) => Measure.perSecond(sample) * shape.events)))
      put(figures, reader.name, `${key}Cpu`, Measure.spread(own.map(cpu)))
    }
    const speedOf = (reader: Reading): number => Measure.median(of(samples, reader).map(Measure.perSecond))
    const [fastest] = sdks.toSorted((a, b) => speedOf(b) - speedOf(a))
    const own = of(samples, oursOverFetch)
    return {
      /** CPU per event beyond the floor's, in microseconds. */
      added: Measure.median(own.map((sample, i) => cpu(sample) - cpu(of(samples, floor)[i] ?? sample))),
      fastest: fastest?.name ?? "",
      ahead: fastest === undefined ? 0 : Measure.ratios(own, of(samples, fastest), Measure.perSecond).median
    }
  })

/** Milliseconds until the first text, one call at a time, in blocks; contenders take turns by the call. */
const latencies = async (readers: ReadonlyArray<Reading>, { blocks, calls }: Extent) => {
  const medians = new Map<string, Array<number>>(readers.map(({ name }) => [name, []]))
  const shuffled = Measure.shuffler()
  for (let block = -1; block < blocks; block++) {
    const taken = new Map<string, Array<number>>(readers.map(({ name }) => [name, []]))
    for (let call = 0; call < calls; call++) {
      for (const { name, read } of shuffled(readers)) {
        // The remains of one call must not burden the next.
        await new Promise((resolve) => setTimeout(resolve, 1))
        const before = performance.now()
        await read(() => taken.get(name)?.push(performance.now() - before))
      }
    }
    // The first block warms up.
    if (block >= 0) for (const { name } of readers) medians.get(name)?.push(Measure.median(taken.get(name) ?? []))
  }
  return medians
}

const first = (origin: string, figures: Figures, key: string, shape: Shape, extent: Extent) =>
  at(origin, shape, async ({ again, floor, ours, oursOverFetch, sdks }) => {
    const readers = [floor, again, ...sdks, ...ours]
    for (const reader of readers) await check(reader, shape)
    const medians = await latencies(readers, extent)
    for (const { name } of readers) put(figures, name, key, Measure.spread(medians.get(name) ?? []))
    const base = medians.get(floor.name) ?? []
    return Measure.median((medians.get(oursOverFetch.name) ?? []).map((own, i) => own / (base[i] ?? own)))
  })

/** Passes streams through; `key` is the column of megabytes per second. */
const through = (origin: string, figures: Figures, key: string, shape: Shape, settings: Measure.Settings) =>
  at(origin, shape, async ({ passing, raw, rawAgain }) => {
    const size = bytesOf(shape.events)
    const all: ReadonlyArray<Passing> = [raw, rawAgain, ...passing]
    const samples: Samples = await Measure.alternate(
      all.map(({ name, pass }) => ({
        name,
        call: async () => {
          const came = await pass()
          if (came !== size) throw new Error(`${name}: ${came} bytes, expected ${size}`)
        }
      })),
      settings
    )
    for (const one of all) {
      const own = of(samples, one)
      put(figures, one.name, key, Measure.spread(own.map((sample) => (Measure.perSecond(sample) * size) / 1e6)))
      put(figures, one.name, `${key}Ratio`, Measure.ratios(own, of(samples, raw), Measure.perSecond))
    }
    const [own] = passing
    return own === undefined ? 0 : Measure.ratios(of(samples, own), of(samples, raw), Measure.perSecond).median
  })

const higher = { digits: 0, better: "higher" } as const
const cpu = { unit: "µs", digits: 2, better: "lower" } as const

const columns: ReadonlyArray<Column> = [
  { key: "each", title: "events per second, 100 in a stream", unit: "", ...higher },
  { key: "eachCpu", title: "CPU per event, 100 in a stream", ...cpu },
  { key: "packed", title: "events per second, 20 in a chunk", unit: "", ...higher },
  { key: "longer", title: "events per second, 500 in a stream", unit: "", ...higher },
  { key: "longerCpu", title: "CPU per event, 500 in a stream", ...cpu },
  { key: "first", title: "time to first token", unit: "ms", digits: 2, better: "lower" },
  { key: "thinking", title: "time to first token, 20 ms from the server", unit: "ms", digits: 2, better: "lower" },
  { key: "bytes", title: "passed through, long stream", unit: "MB/s", digits: 0, better: "higher" },
  { key: "bytesRatio", title: "passed through, long stream", unit: "× fetch, piped", digits: 2, better: "higher" },
  { key: "shortBytesRatio", title: "passed through, 100 events", unit: "× fetch, piped", digits: 2, better: "higher" }
]

export const question: Question = {
  name: "stream",
  title: "Streaming: decoded events, first token, bytes passed through",
  ask: ({ quick }) =>
    withUpstream(async ({ origin }) => {
      const extent: Extent = quick
        ? { decoding: { rounds: 2, turn: 40, inFlight: 8 }, blocks: 1, calls: 4 }
        : { decoding: { rounds: 15, turn: 100, inFlight: 8 }, blocks: 11, calls: 20 }
      const { decoding } = extent
      const figures: Figures = new Map()
      if (!quick) {
        await decoded(origin, figures, "each", shapes.each, decoding)
        await decoded(origin, figures, "packed", shapes.packed, decoding)
      }
      const longer = await decoded(origin, figures, "longer", shapes.longer, decoding)
      await first(origin, figures, "first", shapes.atOnce, extent)
      const thinking = await first(origin, figures, "thinking", shapes.thinking, extent)
      const passed = await through(origin, figures, "bytes", shapes.long, decoding)
      if (!quick) await through(origin, figures, "shortBytes", shapes.each, decoding)
      const rows = [...figures].map(
        ([contender, values]): Row => ({
          contender,
          ours: contender.startsWith("ours"),
          values
        })
      )
      const targets: ReadonlyArray<Target> = [
        {
          what: "CPU per event beyond a bare parser's, over fetch, 500 events in a stream",
          bound: 2,
          direction: "at most",
          unit: "µs",
          digits: 2,
          measured: longer.added
        },
        {
          what: `decoded events per second against the fastest SDK (${longer.fastest}), over fetch`,
          bound: 1.5,
          direction: "at least",
          unit: "×",
          digits: 2,
          measured: longer.ahead
        },
        {
          what: "time to first token against the loop by hand, over fetch, from a server that takes 20 ms",
          bound: 1.05,
          direction: "at most",
          unit: "×",
          digits: 2,
          measured: thinking
        },
        {
          what: "bytes passed through against fetch, piped",
          bound: 0.95,
          direction: "at least",
          unit: "×",
          digits: 2,
          measured: passed
        }
      ]
      return {
        columns: columns.filter(({ key }) => rows.some(({ values }) => values[key] !== undefined)),
        rows,
        targets,
        notes: [
          `${decoding.inFlight} streams at a time, ${decoding.rounds} rounds of ${decoding.turn} ms, all in one process and in turns; for the time to first token one stream at a time. The upstream is another process on loopback.`,
          "The loop by hand reads `data:` lines, has no fallback, no limits and no typed errors: the floor, and not a peer. *Again* is the same contender a second time, and shows the noise.",
          "CPU time is the steadier figure; events per second also depend on the upstream, which has to write them, and shares the cores."
        ],
        charts: ["longer", "longerCpu", "first", "bytes"]
      }
    })
}
