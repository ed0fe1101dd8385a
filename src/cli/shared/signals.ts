/**
 * Ctrl-C in two stages.
 *
 * `NodeRuntime.runMain` interrupts the main fiber at every SIGINT and SIGTERM, of which a fiber takes the first only.
 * Here that one asks the work to come to an end while the main fiber waits for it uninterruptibly, and what comes after
 * it is counted by a listener.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"

/** Milliseconds in which two signals are one: npm and the terminal both send theirs for one Ctrl-C. */
const sameSignal = 300

const names = ["SIGINT", "SIGTERM"] as const

/** Ends with a second signal. */
const secondSignal: Effect.Effect<Effect.Effect<void>, never, Scope.Scope> = Effect.gen(function* () {
  const clock = yield* Clock.Clock
  const second = Deferred.makeUnsafe<void>()
  let first: number | undefined
  const onSignal = (): void => {
    const now = clock.currentTimeMillisUnsafe()
    first ??= now
    if (now - first >= sameSignal) Deferred.doneUnsafe(second, Effect.void)
  }
  yield* Effect.acquireRelease(
    Effect.sync(() => {
      for (const name of names) process.on(name, onSignal)
    }),
    () =>
      Effect.sync(() => {
        for (const name of names) process.off(name, onSignal)
      })
  )
  return Deferred.await(second)
})

/** How work came to its end: by itself, asked to, or interrupted. */
export type Ending = "ended" | "asked" | "stopped"

/**
 * Runs `self` in a fiber of its own. When the calling fiber is interrupted `ask` is run, and `self` may go on to its
 * end; a second signal interrupts it. `finish` is run in every case; after it the interruption takes effect.
 */
export const inStages = <A, E, R, B, E2, R2>(
  self: Effect.Effect<A, E, R>,
  ask: Effect.Effect<void>,
  finish: (exit: Exit.Exit<A, E>, ending: Ending) => Effect.Effect<B, E2, R2>
): Effect.Effect<B, E2, R | R2> =>
  Effect.scoped(
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const second = yield* secondSignal
        const fiber = yield* Effect.forkChild(restore(self))
        const waited = yield* Effect.exit(restore(Fiber.await(fiber)))
        if (Exit.isSuccess(waited)) return yield* finish(waited.value, "ended")
        yield* ask
        const stopped = yield* Effect.raceFirst(Effect.as(Fiber.await(fiber), false), Effect.as(second, true))
        if (stopped) yield* Fiber.interrupt(fiber)
        return yield* finish(yield* Fiber.await(fiber), stopped ? "stopped" : "asked")
      })
    )
  )
