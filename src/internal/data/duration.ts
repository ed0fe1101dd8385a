/**
 * Durations from a caller, without the generosity of `Duration` itself.
 */
import * as Duration from "effect/Duration"

// `Duration` reads NaN, `{}` and its own JSON form as zero; here they are no durations.
const isDurationInput = (input: Duration.Input): boolean =>
  typeof input === "number"
    ? !Number.isNaN(input)
    : typeof input !== "object" || input === null || Duration.isDuration(input)
      ? true
      : Object.values(input).length > 0 &&
        Object.values(input).every((part) => typeof part === "number" && !Number.isNaN(part))

/** In milliseconds, so that equal durations have one form. */
export const durationOf = (input: Duration.Input | undefined): Duration.Duration | undefined => {
  if (input === undefined || !isDurationInput(input)) return undefined
  try {
    return Duration.millis(Duration.toMillis(input))
  } catch {
    return undefined
  }
}

/** Milliseconds of an input; not a number when it is no duration. */
export const millisOf = (input: Duration.Input): number => {
  const duration = durationOf(input)
  return duration === undefined ? Number.NaN : Duration.toMillis(duration)
}
