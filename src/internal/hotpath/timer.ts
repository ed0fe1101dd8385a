/** A timer that can be cancelled, without a fiber on a real clock. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/** The default clock of a program. It sleeps by the timers of the runtime. */
const ordinary = Context.get(Context.empty(), Clock.Clock)

/** Longer timers end at once. */
const longestTimer = 2 ** 31 - 1

/**
 * Calls back after a number of milliseconds, and returns a function that cancels it. On the default clock this is a
 * bare timer, as a sleeping fiber takes another 1 kB; any other clock is used through a fiber.
 */
export const after = (context: Context.Context<never>, millis: number, act: () => void): (() => void) => {
  if (millis > 0 && millis <= longestTimer && Context.get(context, Clock.Clock) === ordinary) {
    const timer = setTimeout(act, millis)
    return () => clearTimeout(timer)
  }
  const timer = Effect.runForkWith(context)(Effect.sleep(millis))
  timer.addObserver(({ _tag }) => {
    if (_tag === "Success") act()
  })
  return () => timer.interruptUnsafe()
}
