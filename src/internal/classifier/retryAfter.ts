/**
 * The wait that an answer asks for, read from its headers or its body. Pure: the clock comes in as an argument.
 */
import * as Duration from "effect/Duration"
import { fields } from "./errorBody.ts"

type Headers = Readonly<Record<string, string | undefined>>

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

const fromBody = (json: unknown): Duration.Duration | undefined => {
  const root = Array.isArray(json) ? json[0] : json
  const estimated = fields(root)?.estimated_time
  if (typeof estimated === "number") return millis(estimated * 1000)
  const details = fields(fields(root)?.error)?.details
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
 * fraction, or an HTTP date), Google's `RetryInfo.retryDelay` and Hugging Face's `estimated_time` in the parsed body.
 * The first readable one counts. A date in the past is zero. Anything negative, infinite or unreadable is no hint, and
 * a date without `now` is none either.
 *
 * `headers` have lower-case names; `now` is in milliseconds since the epoch.
 */
export const waitHint = (
  headers: Headers | undefined,
  now: number | undefined,
  bodyJson?: unknown
): Duration.Duration | undefined =>
  decimal(headers?.["retry-after-ms"], 1) ??
  decimal(headers?.["x-ms-retry-after-ms"], 1) ??
  decimal(headers?.["retry-after"], 1000) ??
  date(headers?.["retry-after"], now) ??
  fromBody(bodyJson)
