/**
 * Measures the remains of streams: heap and sockets over thousands of them, of which the consumer abandons every second
 * one after the first delta.
 */
import { heapUsed } from "../child.ts"
import { median } from "../measure.ts"
import type { Question } from "../question.ts"
import { at, withUpstream } from "../stream/server.ts"
import { textOf } from "../upstream.ts"

const inFlight = 16
const events = 100

export const question: Question = {
  name: "leaks",
  title: "Heap and sockets over many streams, half of them left early",
  ask: ({ quick }) =>
    withUpstream(({ origin, sockets }) =>
      at(origin, { events, perChunk: 1, delay: 0 }, (whole) =>
        at(origin, { events, perChunk: 1, delay: 0, special: "open" }, async (unfinished) => {
          const streams = quick ? 1500 : 60_000
          const every = streams / 10
          const expected = textOf(events)
          const used: Array<number> = []
          let next = 0
          const worker = async (until: number): Promise<void> => {
            while (next < until) {
              const left = next++ % 2 === 1
              const text = left ? await unfinished.abandon() : await whole.oursOverFetch.read()
              if (text === "" || (!left && text !== expected)) throw new Error("wrong text")
            }
          }
          for (let until = every; until <= streams; until += every) {
            await Promise.all(Array.from({ length: inFlight }, () => worker(until)))
            used.push(heapUsed())
          }
          // Idle connections are kept for four seconds; connections that are still open after that are leaked.
          let open = await sockets()
          for (let waited = 0; open > 0 && waited < 80; waited++) {
            await new Promise((resolve) => setTimeout(resolve, 100))
            open = await sockets()
          }
          // The first part still warms up: compiled code, pools of sockets.
          const settled = used.slice(used.length / 2)
          const third = Math.ceil(settled.length / 2)
          const growth = median(settled.slice(-third)) - median(settled.slice(0, third))
          const perStream = growth / (every * (settled.length - third))
          return {
            columns: used.map((_, index) => ({
              key: `after${index}`,
              title: `after ${((index + 1) * every).toLocaleString("en-US")}`,
              unit: "MB",
              digits: 2,
              better: "lower" as const
            })),
            rows: [
              {
                contender: "ours over fetch",
                ours: true,
                values: Object.fromEntries(
                  used.map((bytes, index) => {
                    const megabytes = bytes / 1e6
                    return [`after${index}`, { median: megabytes, low: megabytes, high: megabytes }]
                  })
                )
              }
            ],
            targets: [
              {
                what: "growth of the heap per stream, once warm",
                bound: 50,
                direction: "at most",
                unit: "bytes",
                digits: 0,
                measured: perStream
              },
              {
                what: "connections still open after the last stream",
                bound: 0,
                direction: "at most",
                unit: "",
                digits: 0,
                measured: open
              }
            ],
            notes: [
              `${streams.toLocaleString("en-US")} streams, ${inFlight} at a time: half of them are read to their end; the upstream keeps the other half open, and the consumer leaves after the first delta. The heap is taken after a forced collection.`
            ],
            charts: []
          }
        })
      )
    )
}
