/** Parses waits as servers write them: numbers, dates, words. */
import * as Duration from "effect/Duration"

const DECIMAL = /^\d+(?:\.\d+)?$/
// `Date.parse` alone takes "in 5 minutes" for a day in May, so a date must at least contain a time of day.
const DATE = /^[\w, :+-]*\d\d:\d\d:\d\d[\w :+.-]*$/

/** Longer than a date in any notation. In a longer text the pattern would search to the end from every position. */
const maxDate = 100

/**
 * Milliseconds as a wait. A hint is a lower bound, so fractions round up; negative and infinite values are not waits.
 */
export const millis = (value: number): Duration.Duration | undefined =>
  Number.isFinite(value) && value >= 0 ? Duration.millis(Math.ceil(value)) : undefined

/** Parses a number of units; `unit` is their length in milliseconds. */
export const decimal = (text: string | undefined, unit: number): Duration.Duration | undefined => {
  const value = text?.trim()
  return value !== undefined && DECIMAL.test(value) ? millis(Number(value) * unit) : undefined
}

/**
 * The time until a date in any notation with a time of day; zero for the past. `now` is in milliseconds since the
 * epoch.
 */
export const date = (text: string | undefined, now: number | undefined): Duration.Duration | undefined => {
  if (text === undefined || now === undefined || text.length > maxDate || !DATE.test(text)) return undefined
  const at = Date.parse(text)
  return Number.isNaN(at) ? undefined : millis(Math.max(0, at - now))
}

const units: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const PART =
  /,? ?(?:and )?(\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?) ?(ms|milli(?:second)?s?|s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?)(?![a-z])/giy

/**
 * Parses a time in words as servers write it: `634ms`, `6m0s`, `26 seconds`, `1 minute and 30 seconds`. Stops at the
 * first other word.
 */
export const inWords = (text: string): Duration.Duration | undefined => {
  let sum: number | undefined
  for (const [, value = "", unit = ""] of text.matchAll(PART)) {
    const scale = /^m(?:s|il)/i.test(unit) ? 1 : units[unit.slice(0, 1).toLowerCase()]
    sum = (sum ?? 0) + Number(value.replaceAll(",", "")) * (scale ?? 0)
  }
  return sum === undefined ? undefined : millis(sum)
}

/**
 * Time until an exhausted window restarts: a time in words, seconds, or a moment (seconds or milliseconds since the
 * epoch, or a date).
 */
export const resetOf = (text: string, now: number | undefined): Duration.Duration | undefined => {
  if (!DECIMAL.test(text)) return inWords(text.slice(0, 40)) ?? date(text, now)
  const value = Number(text)
  if (value < 1e9) return millis(value * 1000)
  return now === undefined ? undefined : millis(Math.max(0, (value < 1e11 ? value * 1000 : value) - now))
}
