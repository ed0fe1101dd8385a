/** Measures the cost of a waiting call: the heap with thousands of calls in flight, minus the heap before, per call. */
import { floor, remarkOf } from "../contenders/index.ts"
import { type Spread, spread } from "../measure.ts"
import { heapPerCall, type Who } from "../memory/heap.ts"
import { absence, each, present } from "../pool.ts"
import type { Question, Row } from "../question.ts"

interface Waiting {
  readonly name: string
  readonly ours: boolean
  readonly who: Who
  /** The contender with the same transport and nothing else. */
  readonly over: string
  readonly remark?: string | undefined
}

const undici = "raw undici.request"

const oursModule = "contenders/ours.ts"

const stubs: ReadonlyArray<Waiting> = [
  { name: "stub alone", ours: false, who: { stub: "alone" }, over: "stub alone" },
  { name: "ours over the stub", ours: true, who: { stub: "ours" }, over: "stub alone" }
]

const difference = (a: Spread, b: Spread): Spread => ({
  median: a.median - b.median,
  low: a.low - b.median,
  high: a.high - b.median
})

export const question: Question = {
  name: "memory",
  title: "Heap per call in flight",
  ask: async (settings) => {
    const { quick } = settings
    /**
     * All calls for ours and the layer below; a fifth for the peers, which gives the same result in a fifth of the
     * time, and a tenth in a quick run.
     */
    const inFlightOf = ({ name, ours }: Waiting): number =>
      quick ? 1000 : ours || name === undici || name === floor || name === "stub alone" ? 10_000 : 2000
    const here = present(settings)
    const network = here
      .filter(({ checksOnly, module }) => checksOnly !== true && !module.includes("portkey"))
      // The stub stands for the binding, whose double is a `fetch` of its own.
      .filter(({ make, ours }) => !(ours && make === "overBinding"))
      .filter(({ make, module, name }) => !quick || name === undici || (module === oursModule && make === "overUndici"))
      .map((entry): Waiting => {
        const over = entry.name.includes("undici") ? undici : floor
        return { name: entry.name, ours: entry.ours, who: entry, over, remark: remarkOf(entry) }
      })
    const all = [...network, ...stubs]
    // Two at a time, because speed is not measured.
    const measured = await each(all, async (one) => {
      const perCall = await heapPerCall(one.who, { inFlight: inFlightOf(one), waves: quick ? 1 : 2 })
      return [one.name, spread(perCall)] as const
    })
    const heaps = new Map(measured)
    const rows = all.flatMap(({ name, ours, over, remark }): ReadonlyArray<Row> => {
      const [heap, transport] = [heaps.get(name), heaps.get(over)]
      if (heap === undefined || transport === undefined) return []
      const values = name === over ? { heap } : { heap, beyond: difference(heap, transport) }
      return [{ contender: name, ours, values, ...(remark !== undefined && { remark }) }]
    })
    return {
      columns: [
        { key: "heap", title: "heap per call", unit: "kB", digits: 1, better: "lower" },
        { key: "beyond", title: "beyond its transport", unit: "kB", digits: 1, better: "lower" }
      ],
      rows,
      targets: rows
        .filter(({ ours }) => ours)
        .map(({ contender, values }) => ({
          what: `heap per call in flight beyond the transport's own, ${contender}`,
          bound: 8,
          direction: "at most",
          unit: "kB",
          digits: 1,
          measured: values["beyond"]?.median ?? Number.POSITIVE_INFINITY
        })),
      notes: [
        `${quick ? "1,000" : "10,000 (peers: 2,000)"} calls wait at once, each contender in a process of its own. The heap is taken after a forced collection, with the calls and before them; the first wave, which opens the connections, does not count. kB are 1,000 bytes.`,
        "The job is the same as everywhere here, with a longer time limit. A transport alone has no retries, limits or fallbacks. The stub stands for the binding of a Worker: a promise that waits.",
        ...(quick ? ["A quick run asks the stub and undici only."] : absence(here))
      ],
      charts: ["heap"]
    }
  }
}
