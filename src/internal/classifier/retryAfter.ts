/** Reads the wait that an answer requests from its headers or its body. Pure: the clock is an argument. */
import * as Duration from "effect/Duration"
import { date, decimal, inWords, millis, resetOf } from "../data/waits.ts"
import { fields } from "./errorBody.ts"

type AnswerHeaders = Readonly<Record<string, string | undefined>>

const SECONDS = /^(\d+(?:\.\d+)?)s$/

const IN =
  /(?:(?:try|retry)[a-z ]{0,40}?[ -](?:in|after)|wait(?: for)?|resets?[a-z ]{0,20} (?:in|after)):?(?: (?:about|approximately|around|at least))? (?=\d)/gi

/** Reads the wait in a message: `Please try again in 634ms`, `Please wait 37 seconds before retrying`. */
const fromMessage = (message = ""): Duration.Duration | undefined => {
  const text = message.slice(0, 2000)
  for (const { 0: found, index } of text.matchAll(IN)) {
    const wait = inWords(text.slice(index + found.length))
    if (wait !== undefined) return wait
  }
  return undefined
}

/** The longest wait for the windows that the headers report as exhausted. */
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
 * fraction, or an HTTP date), Google's `RetryInfo.retryDelay` and Hugging Face's `estimated_time` in the parsed body,
 * `retry_after` (seconds) there, a message that says "try again in" or "wait", and the reset of rate-limit windows in
 * which nothing remains (`x-ratelimit-reset-tokens` and the like). The first readable one counts. A date in the past is
 * zero. Anything negative, infinite or unreadable is no hint, and a date without `now` is none either.
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
