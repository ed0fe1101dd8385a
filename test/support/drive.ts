/**
 * Runs programs on the test clock, from one sleep to the next.
 */
import { assert } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"

/** How a program ended, when it began, and how long it took in milliseconds of the test clock. */
export interface Driven<A, E> {
  readonly exit: Exit.Exit<A, E>
  readonly startedAt: number
  readonly millis: number
}

// Reading a body takes a few turns of the event loop that no clock counts.
const settle = Effect.repeat(Effect.yieldNow, { times: 20 })

/**
 * Runs an effect until it ends, and lets time pass only while it sleeps: the clock goes straight to the next sleep's
 * end, so that waits of any length cost nothing and fractions of a millisecond are kept. `interruptAt` interrupts it
 * after that many milliseconds. `step`: the clock goes no further at once; for programs that wait for others, whose
 * sleeps are not seen here.
 */
export const drive = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  options: { readonly interruptAt?: number | undefined; readonly step?: number | undefined } = {}
): Effect.Effect<Driven<A, E>, never, R> =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const ends: Array<number> = []
    const recording: Clock.Clock = {
      ...clock,
      sleep: (duration) => {
        ends.push(clock.currentTimeMillisUnsafe() + Duration.toMillis(duration))
        return clock.sleep(duration)
      }
    }
    const startedAt = clock.currentTimeMillisUnsafe()
    const stopAt = options.interruptAt === undefined ? Number.POSITIVE_INFINITY : startedAt + options.interruptAt
    let endedAt = startedAt
    const fiber = yield* self.pipe(
      Effect.onExit(() =>
        Effect.sync(() => {
          endedAt = clock.currentTimeMillisUnsafe()
        })
      ),
      Effect.provideService(Clock.Clock, recording),
      Effect.forkChild
    )
    yield* settle
    while (fiber.pollUnsafe() === undefined) {
      const now = clock.currentTimeMillisUnsafe()
      if (now >= stopAt) {
        yield* Fiber.interrupt(fiber)
        break
      }
      const next = Math.min(stopAt, ...ends.filter((end) => end > now))
      assert.isTrue(Number.isFinite(next), "the program neither ends nor sleeps")
      yield* TestClock.setTime(Math.min(next, now + (options.step ?? Number.POSITIVE_INFINITY)))
      yield* settle
    }
    const exit = yield* Fiber.await(fiber)
    return { exit, startedAt, millis: endedAt - startedAt }
  })
