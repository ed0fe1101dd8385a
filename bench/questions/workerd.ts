/**
 * What the library costs inside workerd: CPU per request against a loop written by hand over the same genuine binding, and whether the heap of the isolate
 * grows. CPU is what the process of the runtime used, HTTP and binding included (`/proc`, so Linux only).
 */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { Agent } from "node:http"
import * as Effect from "effect/Effect"
import { bundle } from "../../test/workerd/support/bundle.ts"
import * as Workerd from "../../test/workerd/support/workerd.ts"
import { type Spread, shuffler, spread } from "../measure.ts"
import type { Question, Row } from "../question.ts"
import { inspect, load, makeService, type Service } from "../workerd/service.ts"

/** Microseconds of CPU time of all threads of a process; the kernel counts them in nanoseconds. */
const cpuOf = (pid: number): number =>
  readdirSync(`/proc/${pid}/task`)
    .map((task) => Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]) / 1000)
    .reduce((sum, own) => sum + own, 0)

interface Variant {
  readonly path: string
  readonly name: string
  /** Makes an attempt after a failed one. */
  readonly again: boolean
}

const variants: ReadonlyArray<Variant> = [
  { path: "/nothing", name: "no binding, no library", again: false },
  { path: "/empty", name: "Worker.make, no binding", again: false },
  { path: "/bare", name: "one call of the binding", again: false },
  { path: "/by-hand", name: "try … catch loop, by hand", again: true },
  { path: "/library", name: "ours: Router.run in Worker.make", again: true }
]

interface Extent {
  readonly perRound: number
  readonly rounds: number
  /** Requests while the heap is watched; none, and it is not. */
  readonly forHeap: number
}

type Figures = Map<string, Record<string, Spread>>

const put = (figures: Figures, name: string, key: string, values: ReadonlyArray<number>): void => {
  figures.set(name, { ...figures.get(name), [key]: spread(values) })
}

const cpu = Effect.fnUntraced(function* (
  code: string,
  service: Service,
  { perRound, rounds }: Extent,
  agent: Agent,
  figures: Figures
) {
  // Without the inspector, which makes promises and errors expensive.
  const worker = yield* Workerd.start({ code, ai: { AI: { url: service.url } } })
  const measure = async (): Promise<void> => {
    for (const failing of [false, true]) {
      service.state.fail = failing
      const present = variants.filter(({ again }) => again || !failing)
      const samples = new Map<string, Array<number>>(present.map(({ name }) => [name, []]))
      for (const { path } of present) await load(agent, `${worker.url}${path}`, perRound)
      const shuffled = shuffler()
      for (let round = 0; round < rounds; round++) {
        for (const { name, path } of shuffled(present)) {
          const before = cpuOf(worker.pid)
          await load(agent, `${worker.url}${path}`, perRound)
          samples.get(name)?.push((cpuOf(worker.pid) - before) / perRound)
        }
      }
      for (const [name, values] of samples) put(figures, name, failing ? "failing" : "well", values)
    }
    service.state.fail = false
  }
  yield* Effect.promise(measure)
})

const heap = Effect.fnUntraced(function* (
  code: string,
  service: Service,
  { forHeap, perRound }: Extent,
  agent: Agent,
  figures: Figures
) {
  const worker = yield* Workerd.start({ code, ai: { AI: { url: service.url } }, inspector: true })
  const measure = async (): Promise<void> => {
    const inspector = await inspect(agent, worker)
    for (const { name, path } of variants.filter(({ again }) => again)) {
      await load(agent, `${worker.url}${path}`, perRound)
      const before = await inspector.heap()
      await load(agent, `${worker.url}${path}`, forHeap)
      put(figures, name, "heap", [((await inspector.heap()) - before) / forHeap])
    }
    inspector.close()
  }
  yield* Effect.promise(measure)
})

const measure = (extent: Extent): Promise<Figures> => {
  const figures: Figures = new Map()
  const program = Effect.gen(function* () {
    const agent = yield* Effect.acquireRelease(
      Effect.sync(() => new Agent({ keepAlive: true, maxSockets: 16 })),
      (agent) => Effect.sync(() => agent.destroy())
    )
    const service = yield* makeService
    const { code } = yield* Effect.promise(() => bundle(new URL("../workerd/worker.ts", import.meta.url)))
    yield* Effect.scoped(cpu(code, service, extent, agent, figures))
    if (extent.forHeap > 0) yield* Effect.scoped(heap(code, service, extent, agent, figures))
  })
  return Effect.runPromise(Effect.as(Effect.scoped(program), figures))
}

export const question: Question = {
  name: "workerd",
  title: "CPU per request inside workerd, the runtime of Workers",
  ask: async ({ quick }) => {
    const possible = existsSync("/proc/self/schedstat")
    const extent: Extent = quick
      ? { perRound: 300, rounds: 3, forHeap: 0 }
      : { perRound: 1000, rounds: 7, forHeap: 10_000 }
    const figures: Figures = possible ? await measure(extent) : new Map()
    const rows = [...figures].map(
      ([contender, values]): Row => ({
        contender,
        ours: contender.startsWith("ours"),
        values
      })
    )
    return {
      columns: [
        { key: "well", title: "all providers are well", unit: "µs", digits: 0, better: "lower" },
        { key: "failing", title: "the first one fails", unit: "µs", digits: 0, better: "lower" },
        { key: "heap", title: "growth of the heap per request", unit: "bytes", digits: 0, better: "lower" }
      ],
      rows,
      targets: [],
      notes: [
        ...(possible ? [] : ["Not measured: this system does not say what CPU time a process has used in `/proc`."]),
        `The released runtime with its genuine binding; ${extent.rounds} rounds of ${extent.perRound} requests, 16 at a time, in turns. CPU is that of the runtime's process, HTTP included. The service behind the binding is in another process.`,
        "The library also logs a line for every failure that it overcomes, and the loop by hand does not."
      ],
      charts: possible ? ["well", "failing"] : []
    }
  }
}
