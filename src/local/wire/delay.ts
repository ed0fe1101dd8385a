/**
 * Waiting times in options and faults: milliseconds, or text such as `"2 seconds"`.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const parse = Schema.decodeUnknownOption(Schema.DurationFromString)

export const Millis = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))

const DurationText = Schema.String.check(
  Schema.makeFilter((text) =>
    Option.exists(parse(text), (duration) => Duration.toMillis(duration) >= 0 && Duration.isFinite(duration))
      ? undefined
      : 'expected a duration such as "2 seconds"'
  )
)

export const Delay = Schema.Union([Millis, DurationText])
export type Delay = typeof Delay.Type

/** Description of the values that {@link Delay} accepts. */
export const accepted = 'milliseconds from 0, or a duration text such as "2 seconds"'

/** Converts a delay; zero when there is none. */
export const toDuration = (delay: Delay | undefined): Duration.Duration => {
  if (delay === undefined) return Duration.zero
  return typeof delay === "number" ? Duration.millis(delay) : Option.getOrElse(parse(delay), () => Duration.zero)
}

/** The waiting time before a piece of a body, or `undefined` when there is none. */
export const pauses = (
  first: Delay | undefined,
  between: Delay | undefined
): ((index: number) => Duration.Duration | undefined) => {
  const [head, rest] = [toDuration(first), toDuration(between)]
  return (index) => {
    const pause = index === 0 ? head : rest
    return Duration.isZero(pause) ? undefined : pause
  }
}
