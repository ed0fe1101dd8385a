/** Durations from a caller, checked more strictly than by `Duration` itself. */
import * as Duration from "effect/Duration"

// `Duration` reads NaN, `{}` and its own JSON form as zero; here they are not durations.
const isDurationInput = (input: Duration.Input): boolean =>
  typeof input === "number"
    ? !Number.isNaN(input)
    : typeof input !== "object" || input === null || Duration.isDuration(input)
      ? true
      : Object.values(input).length > 0 &&
        Object.values(input).every((part) => typeof part === "number" && !Number.isNaN(part))

/** Normalizes to milliseconds, so that equal durations have one form. */
export const durationOf = (input: Duration.Input | undefined): Duration.Duration | undefined => {
  if (input === undefined || !isDurationInput(input)) return undefined
  try {
    return Duration.millis(Duration.toMillis(input))
  } catch {
    return undefined
  }
}

/** Milliseconds of an input; NaN when it is not a duration. */
export const millisOf = (input: Duration.Input): number => {
  const duration = durationOf(input)
  return duration === undefined ? Number.NaN : Duration.toMillis(duration)
}
