/**
 * Time limits of requests. Every call has one, so they consist of one fiber and one timer; `Effect.timeoutOrElse` does
 * the same and takes more time and memory.
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { after } from "./timer.ts"

/**
 * Interrupts an effect that has not ended after a number of milliseconds, waits for its finalizers, and then fails with
 * `expired`, or with the effect's own failure if it has a more specific one than its interruption. `undefined`: no
 * limit.
 */
export const timeoutOrElse = <A, E>(
  self: Effect.Effect<A, E>,
  millis: number | undefined,
  expired: (millis: number) => E
): Effect.Effect<A, E> =>
  millis === undefined ? self : Effect.withFiber(({ context }) => limited(self, millis, expired, context))

const limited = <A, E>(
  self: Effect.Effect<A, E>,
  millis: number,
  expired: (millis: number) => E,
  context: Context.Context<never>
): Effect.Effect<A, E> =>
  Effect.callback((resume) => {
    // The effect reports its end itself, instead of an observer of the fiber. V8 may take lists of observers for
    // long-lived and allocate them in the old generation, where everything that such a list references lives until the
    // next major collection; a list of this fiber would reference the complete answer.
    let ended = false
    let callOff = (): void => {}
    const running = Effect.runForkWith(context)(
      Effect.onExit(self, (exit) => {
        ended = true
        callOff()
        resume(exit)
        return Effect.void
      })
    )
    if (ended) return
    callOff = after(context, millis, () =>
      resume(
        Effect.flatMap(Fiber.interrupt(running), () => {
          const exit = running.pollUnsafe()
          return exit !== undefined && Exit.isFailure(exit) && Cause.hasFails(exit.cause)
            ? exit
            : Effect.fail(expired(millis))
        })
      )
    )
    // The timer ends with it.
    return Fiber.interrupt(running)
  })
