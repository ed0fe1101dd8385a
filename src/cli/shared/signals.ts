/**
 * Handles Ctrl-C in two stages.
 *
 * `NodeRuntime.runMain` interrupts the main fiber at every SIGINT and SIGTERM, but a fiber reacts only to the first.
 * Here the first signal asks the work to finish while the main fiber waits for it uninterruptibly, and a listener
 * counts the later ones.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"

/** Milliseconds within which two signals count as one: npm and the terminal both send theirs for one Ctrl-C. */
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

/** How work ended: by itself, on request, or interrupted. */
export type Ending = "ended" | "asked" | "stopped"

/**
 * Runs `self` in its own fiber. When the calling fiber is interrupted, `ask` runs, and `self` may continue to its end;
 * a second signal interrupts it. `finish` runs in every case; after it the interruption takes effect.
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
