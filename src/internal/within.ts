/**
 * Time limits of requests. Every call has one, so they are made of two fibers and one callback; `Effect.timeoutOrElse` does the same and
 * takes more time and memory.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

/**
 * Interrupts an effect that has not ended after so many milliseconds, waits for its finalizers, and then fails as `expired` says.
 * `undefined`: no limit.
 */
export const within = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  millis: number | undefined,
  expired: (millis: number) => E
): Effect.Effect<A, E, R> =>
  millis === undefined
    ? self
    : Effect.contextWith((context: Context.Context<R>) =>
        Effect.callback((resume) => {
          const fork = Effect.runForkWith(context)
          const running = fork(self)
          const ended = running.pollUnsafe()
          if (ended !== undefined) return resume(ended)
          const timer = fork(Effect.sleep(millis))
          running.addObserver((exit) => {
            timer.interruptUnsafe()
            resume(exit)
          })
          timer.addObserver(({ _tag }) => {
            if (_tag === "Success") resume(Effect.flatMap(Fiber.interrupt(running), () => Effect.fail(expired(millis))))
          })
          // The timer ends with it.
          return Fiber.interrupt(running)
        })
      )
