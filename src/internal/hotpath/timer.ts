/**
 * A timer that can be called off, without a fiber where time passes by itself.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/** The clock of a program that brings none. It sleeps by the timers of the runtime. */
const ordinary = Context.get(Context.empty(), Clock.Clock)

/** Longer ones end at once. */
const longestTimer = 2 ** 31 - 1

/**
 * Calls back after so many milliseconds, and gives back what calls it off. Where time passes by itself that is a bare
 * timer, as a fiber that sleeps is another 1 kB; every other clock is asked.
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
