/**
 * Measures the savings of `src/internal/hotpath` over Effect's operators, per call: CPU time, and heap that a call
 * holds while it waits. They take turns, and medians are printed. An operator that saves less than half a microsecond
 * and less than 100 bytes should be removed.
 *
 * Usage: `node --expose-gc --conditions=effect-ai-gateway-source bench/hotpath.ts`
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { arrival } from "../src/internal/hotpath/eventLoopTurn.ts"
import { tryRequest } from "../src/internal/hotpath/promise.ts"
import { withSpan } from "../src/internal/hotpath/span.ts"
import { withoutStack } from "../src/internal/hotpath/stackless.ts"
import { timeoutOrElse } from "../src/internal/hotpath/timeoutOrElse.ts"

/** One implementation, and the same while it waits. */
interface Way {
  readonly once: Effect.Effect<unknown, unknown>
  readonly waiting?: Effect.Effect<unknown, unknown>
}

const late = (): string => "late"
const settled = (): Promise<number> => Promise.resolve(1)
const pending = (): Promise<number> => new Promise(() => {})
/**
 * A request as the library makes it: with its own signal, resuming at the end of the turn in which the answer arrived.
 */
const own = (make: () => Promise<number>) => tryRequest(make, (value) => Effect.succeed(value), String)
const effects = (make: () => Promise<number>) =>
  Effect.suspend(() => {
    const controller = new AbortController()
    const abort = Effect.sync(() => controller.abort())
    const goOn = arrival()
    const turned = () => make().then((value) => new Promise<number>((resolve) => goOn(() => resolve(value))))
    return Effect.tryPromise({ try: turned, catch: String }).pipe(
      Effect.onError(() => abort),
      Effect.flatMap((value) => Effect.succeed(value))
    )
  })

const pairs: Readonly<Record<string, readonly [own: Way, effects: Way]>> = {
  timeoutOrElse: [
    { once: timeoutOrElse(Effect.yieldNow, 60_000, late), waiting: timeoutOrElse(Effect.never, 60_000, late) },
    {
      once: Effect.timeoutOrElse(Effect.yieldNow, { duration: 60_000, orElse: () => Effect.fail(late()) }),
      waiting: Effect.timeoutOrElse(Effect.never, { duration: 60_000, orElse: () => Effect.fail(late()) })
    }
  ],
  tryRequest: [
    { once: own(settled), waiting: own(pending) },
    { once: effects(settled), waiting: effects(pending) }
  ],
  "withSpan, no tracer": [
    { once: withSpan("a", "client", () => Effect.void), waiting: withSpan("a", "client", () => Effect.never) },
    { once: Effect.withSpan(Effect.void, "a"), waiting: Effect.withSpan(Effect.never, "a") }
  ],
  withoutStack: [
    { once: Effect.sync(() => withoutStack(() => new Error("a"))) },
    { once: Effect.sync(() => new Error("a")) }
  ]
}

const calls = 20_000
const rounds = 15

const cpu = async ({ once }: Way): Promise<number> => {
  const before = process.cpuUsage()
  await Effect.runPromise(Effect.ignore(Effect.replicateEffect(once, calls, { discard: true })))
  const { system, user } = process.cpuUsage(before)
  return (user + system) / calls
}

const heap = async ({ waiting }: Way): Promise<number> => {
  if (waiting === undefined) return Number.NaN
  const gc = globalThis.gc
  if (gc === undefined) throw new Error("run with --expose-gc")
  gc()
  const before = process.memoryUsage().heapUsed
  const fibers = Array.from({ length: calls }, () => Effect.runFork(waiting))
  await new Promise((resolve) => setTimeout(resolve, 10))
  gc()
  const after = process.memoryUsage().heapUsed
  await Effect.runPromise(Fiber.interruptAll(fibers))
  return (after - before) / calls
}

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN

console.log("per call: CPU µs ours / Effect's, bytes held ours / Effect's")
for (const [name, ways] of Object.entries(pairs)) {
  const times: [Array<number>, Array<number>] = [[], []]
  const bytes: [Array<number>, Array<number>] = [[], []]
  for (let round = 0; round < rounds; round++) {
    for (const index of round % 2 === 0 ? ([0, 1] as const) : ([1, 0] as const)) {
      times[index].push(await cpu(ways[index]))
      if (round < 3) bytes[index].push(await heap(ways[index]))
    }
  }
  const [ourTime, theirTime] = times.map(median)
  const [ourBytes, theirBytes] = bytes.map(median)
  const shown = (value = Number.NaN, digits = 0): string => value.toFixed(digits)
  const held = Number.isNaN(ourBytes) ? "" : `, ${shown(ourBytes)} / ${shown(theirBytes)} bytes`
  console.log(`${name}: ${shown(ourTime, 2)} / ${shown(theirTime, 2)} µs${held}`)
}
