/**
 * Lets promises settle while the time of a test stands still.
 */
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"

const turns = Effect.promise(async () => {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
})

/**
 * A millisecond of real time, and turns of the event loop: a machine that does something else in that millisecond has
 * taken hardly one.
 */
export const settle: Effect.Effect<void> = Effect.andThen(TestClock.withLive(Effect.sleep(1)), turns)
