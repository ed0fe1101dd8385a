/** Monotonic time for deadlines and durations: the wall clock may be set in the meantime. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/** Milliseconds since an arbitrary moment, with fractions. */
export const monotonicMillis: Effect.Effect<number> = Effect.map(
  Clock.monotonicTimeNanos,
  (nanos) => Number(nanos) / 1e6
)

/** The same from a clock, for code that runs between effects. */
export const monotonicMillisOf = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

/**
 * A difference of such times as a wait in whole milliseconds. Noise of doubles counts as none: a clock in tests does
 * not move by it, and what waits in a loop would never end.
 */
export const waitOf = (millis: number): number => Math.ceil(Math.round(millis * 1000) / 1000)
