/**
 * Measures the library's cost inside workerd: CPU per request compared with a hand-written loop over the same genuine
 * binding, and whether the isolate's heap grows. CPU is that of the runtime's process, including HTTP and the binding
 * (`/proc`, so Linux only).
 */
import { existsSync } from "node:fs"
import { Agent } from "node:http"
import * as Effect from "effect/Effect"
import { bundle } from "../../test/workerd/support/bundle.ts"
import * as Workerd from "../../test/workerd/support/workerd.ts"
import { type Spread, shuffler, spread } from "../measure.ts"
import type { Question, Row } from "../question.ts"
import { cpuOf, inspect, load, makeService, type Service } from "../workerd/service.ts"

interface Variant {
  readonly path: string
  readonly name: string
  /** Whether it makes an attempt after a failed one. */
  readonly again: boolean
}

const variants: ReadonlyArray<Variant> = [
  { path: "/nothing", name: "no binding, no library", again: false },
  { path: "/empty", name: "Worker.make, no binding", again: false },
  { path: "/bare", name: "one call of the binding", again: false },
  { path: "/by-hand", name: "try … catch loop, by hand", again: true },
  { path: "/guarded", name: "the same with our guarantees, by hand", again: true },
  { path: "/library", name: "ours: Router.run in Worker.make", again: true }
]
/** Baseline of the others. */
const hand = "try … catch loop, by hand"

interface Extent {
  readonly perRound: number
  readonly rounds: number
  /** Requests during the watch of the heap; 0 turns it off. */
  readonly forHeap: number
}

type Figures = Map<string, Record<string, Spread>>

const put = (figures: Figures, name: string, key: string, values: ReadonlyArray<number>): void => {
  figures.set(name, { ...figures.get(name), [key]: spread(values) })
}

/** Conditions of a measurement: concurrency, and whether the first provider fails. */
const conditions = [
  { key: "well", inFlight: 16, failing: false },
  { key: "failing", inFlight: 16, failing: true },
  { key: "wellAlone", inFlight: 1, failing: false },
  { key: "failingAlone", inFlight: 1, failing: true }
] as const

/** One process for each: a process that also serves other paths has their code and garbage, too. */
const cpu = Effect.fnUntraced(function* (
  code: string,
  service: Service,
  { perRound, rounds }: Extent,
  agents: Readonly<Record<number, Agent>>,
  figures: Figures
) {
  // Without the inspector, which makes promises and errors expensive.
  const workers = yield* Effect.forEach(variants, (variant) =>
    Effect.map(Workerd.start({ code, ai: { AI: { url: service.url } } }), (worker) => ({ ...variant, worker }))
  )
  const measure = async (): Promise<void> => {
    for (const { failing, inFlight, key } of conditions) {
      const agent = agents[inFlight]
      if (agent === undefined) throw new Error(`no agent for ${inFlight}`)
      service.state.fail = failing
      const requests = inFlight === 1 ? Math.ceil(perRound / 3) : perRound
      const present = workers.filter(({ again }) => again || !failing)
      const samples = new Map<string, Array<number>>(present.map(({ name }) => [name, []]))
      for (const { path, worker } of present) await load(agent, `${worker.url}${path}`, perRound)
      const shuffled = shuffler()
      for (let round = 0; round < rounds; round++) {
        for (const { name, path, worker } of shuffled(present)) {
          const before = cpuOf(worker.pid)
          await load(agent, `${worker.url}${path}`, requests)
          samples.get(name)?.push((cpuOf(worker.pid) - before) / requests)
        }
      }
      for (const [name, values] of samples) {
        put(figures, name, key, values)
        const own = samples.get(hand) ?? []
        put(
          figures,
          name,
          `${key}Ratio`,
          values.map((value, round) => value / (own[round] ?? Number.NaN))
        )
      }
    }
    service.state.fail = false
  }
  yield* Effect.promise(measure)
})

/** Bundles of one variant each, for the first request of an isolate. */
const firsts = [
  { entry: "loop.ts", name: hand },
  { entry: "library.ts", name: "ours: Router.run in Worker.make" }
] as const

/** CPU of a process until its first request is answered, including the runtime itself. */
const cold = Effect.fnUntraced(function* (service: Service, { rounds }: Extent, agent: Agent, figures: Figures) {
  const samples = new Map<string, Array<number>>(firsts.map(({ name }) => [name, []]))
  const codes = yield* Effect.forEach(firsts, ({ entry, name }) =>
    Effect.map(
      Effect.promise(() => bundle(new URL(`../workerd/${entry}`, import.meta.url))),
      ({ code }) => ({ code, name })
    )
  )
  for (let round = 0; round < 2 * rounds; round++) {
    for (const { code, name } of codes) {
      const used = Effect.gen(function* () {
        const worker = yield* Workerd.start({ code, ai: { AI: { url: service.url } } })
        yield* Effect.promise(() => load(agent, `${worker.url}/`, 1))
        return cpuOf(worker.pid)
      })
      samples.get(name)?.push((yield* Effect.scoped(used)) / 1000)
    }
  }
  for (const [name, values] of samples) put(figures, name, "cold", values)
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
    const agentOf = (maxSockets: number) =>
      Effect.acquireRelease(
        Effect.sync(() => new Agent({ keepAlive: true, maxSockets })),
        (agent) => Effect.sync(() => agent.destroy())
      )
    const agent = yield* agentOf(16)
    const agents = { 1: yield* agentOf(1), 16: agent }
    const service = yield* makeService
    const { code } = yield* Effect.promise(() => bundle(new URL("../workerd/worker.ts", import.meta.url)))
    yield* Effect.scoped(cpu(code, service, extent, agents, figures))
    service.state.fail = false
    yield* cold(service, extent, agents[1], figures)
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
        { key: "well", title: "all providers healthy", unit: "µs", digits: 0, better: "lower" },
        { key: "wellRatio", title: "against the loop", unit: "×", digits: 2, better: "lower" },
        { key: "failing", title: "the first one fails", unit: "µs", digits: 0, better: "lower" },
        { key: "failingRatio", title: "against the loop", unit: "×", digits: 2, better: "lower" },
        { key: "wellAlone", title: "healthy, one at a time", unit: "µs", digits: 0, better: "lower" },
        { key: "failingAlone", title: "fails, one at a time", unit: "µs", digits: 0, better: "lower" },
        { key: "cold", title: "until the first answer", unit: "ms", digits: 0, better: "lower" },
        { key: "heap", title: "growth of the heap per request", unit: "bytes", digits: 0, better: "lower" }
      ],
      rows,
      targets: [],
      notes: [
        ...(possible ? [] : ["Not measured: this system does not say what CPU time a process has used in `/proc`."]),
        `The released runtime with its genuine binding; ${extent.rounds} rounds of ${extent.perRound} requests, 16 at a time or one, in turns; each contender has a process of its own. CPU is that of the runtime's process, HTTP included. The service behind the binding is in another process.`,
        "The library also logs a line for every failure that it overcomes, and so does the loop with our guarantees; the plain loop by hand does not."
      ],
      charts: possible ? ["well", "failing"] : []
    }
  }
}
