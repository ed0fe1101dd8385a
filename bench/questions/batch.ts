/**
 * Measures the cost of a batch in addition to its requests: the same items through a hand-written loop, bare
 * `Router.run`, `Batch.run`, and `Batch.run` with a journal in files that keeps every value.
 */
import { names } from "../batch/command.ts"
import { measure, type Taken } from "../batch/measure.ts"
import { start } from "../child.ts"
import { type Spread, spread } from "../measure.ts"
import type { Question } from "../question.ts"

const concurrency = 64

export const question: Question = {
  name: "batch",
  title: "Batches: items per second, CPU and memory",
  ask: async ({ items: asked, quick }) => {
    // Until a process is warm it compiles during its work, and a batch has more to compile than a loop: long enough to
    // make that negligible.
    const items = asked ?? (quick ? 1500 : 150_000)
    const rounds = quick || items > 200_000 ? 1 : 3
    const reports = new Map<string, Array<Taken>>(Object.values(names).map((name) => [name, []]))
    const upstream = await start(new URL("../batch/upstream.ts", import.meta.url))
    try {
      const url = `http://127.0.0.1:${await upstream.ask<number>({})}`
      for (let round = 0; round < rounds; round++) {
        const all = Object.values(names)
        const order = round % 2 === 0 ? all : all.toReversed()
        const taken = await measure(order.map((name) => ({ command: { name, url, items, concurrency } })))
        for (const [index, name] of order.entries()) {
          const one = taken[index]
          if (one !== undefined) reports.get(name)?.push(one)
        }
      }
    } finally {
      upstream.close()
    }
    const of = (name: string): ReadonlyArray<Taken> => reports.get(name) ?? []
    const against = (name: string, base: string): Spread =>
      spread(of(name).map(({ wall }, round) => (of(base)[round]?.wall ?? Number.NaN) / wall))
    const bare = { what: "of bare Router.run", bound: 0.8, base: names.bare }
    const loop = { what: "of the loop by hand", bound: 0.6, base: names.loop }
    return {
      columns: [
        { key: "speed", title: "items per second", unit: "", digits: 0, better: "higher" },
        { key: "bare", title: "against bare Router.run", unit: "×", digits: 2, better: "higher" },
        { key: "loop", title: "against the loop by hand", unit: "×", digits: 2, better: "higher" },
        { key: "cpu", title: "CPU per item", unit: "µs", digits: 0, better: "lower" },
        ...[1, 2, 3, 4].map((quarter) => ({
          key: `memory${quarter}`,
          title: `resident, quarter ${quarter}`,
          unit: "MB",
          digits: 0,
          better: "lower" as const
        }))
      ],
      rows: Object.values(names).map((name) => ({
        contender: name,
        ours: name !== names.loop && name !== names.kept,
        values: {
          speed: spread(of(name).map(({ wall }) => (items / wall) * 1000)),
          bare: against(name, names.bare),
          loop: against(name, names.loop),
          cpu: spread(of(name).map(({ cpu }) => (cpu / items) * 1000)),
          ...Object.fromEntries(
            [0, 1, 2, 3].map((quarter) => [
              `memory${quarter + 1}`,
              spread(of(name).map(({ resident }) => resident[quarter] ?? Number.NaN))
            ])
          )
        }
      })),
      targets: [bare, loop].flatMap(({ base, bound, what }) =>
        [names.batch, names.journal, names.cli].map((name) => ({
          what: `items per second of ${name}, as a share ${what}`,
          bound,
          direction: "at least" as const,
          unit: "×",
          digits: 2,
          measured: against(name, base).median
        }))
      ),
      notes: [
        `${items.toLocaleString("en-US")} items, ${concurrency} at once over undici, ${rounds === 1 ? "one round" : `${rounds} rounds`}, each contender in a process of its own. They take turns of a quarter of a second, in which the others are stopped: a machine that is slow for a while is slow for all. Every item is one request that is answered at once; with providers that take seconds, the batch is never the limit.`,
        "The loop by hand has a time limit and three tries per item, and nothing else: no order of results, nothing that survives it, no record of attempts. Memory is the resident size after each quarter and a forced collection. It should stay flat, apart from the known ids.",
        "*Kept by hand* is the least work of a loop whose results survive it: a line before and after each request, written in groups, and a sync before an answer counts. It checks, counts and resumes nothing.",
        "The command line reads and writes files and keeps a journal; the time of a run over a single item, its start, is subtracted. It is not warmed up, and its memory is the highest of each quarter, without a collection."
      ],
      charts: ["speed", "cpu"]
    }
  }
}
