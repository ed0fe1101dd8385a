/**
 * Checks of numbers.
 */

/** Whether a setting is absent, or a whole number within its bounds. */
export const isWhole = (n: number | undefined, min: number, max: number): boolean =>
  n === undefined || (Number.isInteger(n) && n >= min && n <= max)
