/**
 * Checks of numbers, and counts in words.
 */

/** Whether a setting is absent, or a whole number within its bounds. */
export const isWhole = (n: number | undefined, min: number, max: number): boolean =>
  n === undefined || (Number.isInteger(n) && n >= min && n <= max)

/** A count and its noun, as people write it: `1 attempt`, `2 attempts`. */
export const counted = <Noun extends string>(count: number, noun: Noun): `${number} ${Noun}` | `${number} ${Noun}s` =>
  count === 1 ? `${count} ${noun}` : `${count} ${noun}s`
