/**
 * The wait that an answer asks for, read from its headers or its body. Pure: the clock comes in as an argument.
 */
import * as Duration from "effect/Duration"
import { fields } from "./errorBody.ts"

type AnswerHeaders = Readonly<Record<string, string | undefined>>

const DECIMAL = /^\d+(?:\.\d+)?$/
const SECONDS = /^(\d+(?:\.\d+)?)s$/
// `Date.parse` alone takes "in 5 minutes" for a day in May, so a date must at least show a time of day.
const DATE = /^[\w, :+-]*\d\d:\d\d:\d\d[\w :+.-]*$/

/** More characters than a date has in any notation. In a longer text the pattern would search to the end from every position. */
const maxDate = 100

// A hint is a lower bound, so fractions of a millisecond round up.
const millis = (value: number): Duration.Duration | undefined =>
  Number.isFinite(value) && value >= 0 ? Duration.millis(Math.ceil(value)) : undefined

const decimal = (text: string | undefined, unit: number): Duration.Duration | undefined => {
  const value = text?.trim()
  return value !== undefined && DECIMAL.test(value) ? millis(Number(value) * unit) : undefined
}

const date = (text: string | undefined, now: number | undefined): Duration.Duration | undefined => {
  if (text === undefined || now === undefined || text.length > maxDate || !DATE.test(text)) return undefined
  const at = Date.parse(text)
  return Number.isNaN(at) ? undefined : millis(Math.max(0, at - now))
}

const units: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const PART =
  /,? ?(?:and )?(\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?) ?(ms|milli(?:second)?s?|s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?)(?![a-z])/giy
const IN =
  /(?:(?:try|retry)[a-z ]{0,40}?[ -](?:in|after)|wait(?: for)?|resets?[a-z ]{0,20} (?:in|after)):?(?: (?:about|approximately|around|at least))? (?=\d)/gi

/** A time in words as servers write it: `634ms`, `6m0s`, `26 seconds`, `1 minute and 30 seconds`. It ends where nothing of the kind follows. */
const inWords = (text: string): Duration.Duration | undefined => {
  let sum: number | undefined
  for (const [, value = "", unit = ""] of text.matchAll(PART)) {
    const scale = /^m(?:s|il)/i.test(unit) ? 1 : units[unit.slice(0, 1).toLowerCase()]
    sum = (sum ?? 0) + Number(value.replaceAll(",", "")) * (scale ?? 0)
  }
  return sum === undefined ? undefined : millis(sum)
}

/** What a message says: `Please try again in 634ms`, `Please wait 37 seconds before retrying`. */
const fromMessage = (message = ""): Duration.Duration | undefined => {
  const text = message.slice(0, 2000)
  for (const { 0: found, index } of text.matchAll(IN)) {
    const wait = inWords(text.slice(index + found.length))
    if (wait !== undefined) return wait
  }
  return undefined
}

/** When a window that is used up begins anew: a time in words, seconds, or a moment (seconds or milliseconds since the epoch, or a date). */
const resetOf = (text: string, now: number | undefined): Duration.Duration | undefined => {
  if (!DECIMAL.test(text)) return inWords(text.slice(0, 40)) ?? date(text, now)
  const value = Number(text)
  if (value < 1e9) return millis(value * 1000)
  return now === undefined ? undefined : millis(Math.max(0, (value < 1e11 ? value * 1000 : value) - now))
}

/** The longest wait for those windows of which the headers say that nothing is left. */
const fromWindows = (headers: AnswerHeaders = {}, now: number | undefined): Duration.Duration | undefined => {
  let longest: Duration.Duration | undefined
  for (const name in headers) {
    if (!name.includes("ratelimit")) continue
    const isReset = /(^|-)reset(-|$)/.test(name)
    const left = isReset ? headers[name.replace("reset", "remaining")] : undefined
    if (left === undefined || Number(left) !== 0) continue
    const wait = resetOf(headers[name] ?? "", now)
    if (wait !== undefined && (longest === undefined || Duration.toMillis(wait) > Duration.toMillis(longest)))
      longest = wait
  }
  return longest
}

const fromBody = (json: unknown): Duration.Duration | undefined => {
  const root = Array.isArray(json) ? json[0] : json
  const o = fields(root)
  const estimated = o?.estimated_time
  if (typeof estimated === "number") return millis(estimated * 1000)
  for (const at of [fields(o?.error), o]) {
    const wait = at?.retry_after ?? at?.retry_after_seconds
    if (typeof wait === "number") return millis(wait * 1000)
  }
  const details = fields(o?.error)?.details
  if (!Array.isArray(details)) return undefined
  for (const detail of details) {
    const delay = fields(detail)?.retryDelay
    const seconds = typeof delay === "string" ? SECONDS.exec(delay)?.[1] : undefined
    if (seconds !== undefined) return decimal(seconds, 1000)
  }
  return undefined
}

/**
 * Reads, in this order, `retry-after-ms` and `x-ms-retry-after-ms` (milliseconds), `retry-after` (seconds, also with a
 * fraction, or an HTTP date), Google's `RetryInfo.retryDelay` and Hugging Face's `estimated_time` in the parsed body, `retry_after` (seconds) there, a
 * message that says "try again in" or "wait", and the reset of rate-limit windows in which nothing remains (`x-ratelimit-reset-tokens` and the like).
 * The first readable one counts. A date in the past is zero. Anything negative, infinite or unreadable is no hint, and
 * a date without `now` is none either.
 *
 * `headers` have lower-case names; `now` is in milliseconds since the epoch.
 */
export const waitHint = (
  headers: AnswerHeaders | undefined,
  now: number | undefined,
  bodyJson?: unknown,
  message?: string
): Duration.Duration | undefined =>
  decimal(headers?.["retry-after-ms"], 1) ??
  decimal(headers?.["x-ms-retry-after-ms"], 1) ??
  decimal(headers?.["retry-after"], 1000) ??
  date(headers?.["retry-after"], now) ??
  fromBody(bodyJson) ??
  fromMessage(message) ??
  fromWindows(headers, now)
