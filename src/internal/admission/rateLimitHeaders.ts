/**
 * Reads the limits of the other side from the headers of an answer.
 */
import * as Duration from "effect/Duration"
import { date, decimal, resetOf } from "../data/waits.ts"
import type { RemainingUnits, ToldLimits } from "./learntLimits.ts"

type AnswerHeaders = Readonly<Record<string, string | undefined>>

/** Reads a count, also with a fraction or with thousands separators; `undefined` for anything else. */
const countOf = (text: string | undefined): number | undefined => {
  const plain = text?.trim().replace(/(?<=\d),(?=\d{3}(?!\d))/g, "")
  return plain !== undefined && /^\d{1,15}(?:\.\d+)?$/.test(plain) ? Math.floor(Number(plain)) : undefined
}

const unitsOf = (
  limit: string | undefined,
  remaining: string | undefined,
  reset: string | undefined,
  now: number | undefined
): RemainingUnits | undefined => {
  const left = countOf(remaining)
  if (left === undefined || reset === undefined) return undefined
  const resetAfter = resetOf(reset.trim(), now)
  if (resetAfter === undefined || Duration.isZero(resetAfter)) return undefined
  const all = countOf(limit)
  return { remaining: left, resetAfter, ...(all !== undefined && { limit: all }) }
}

/** Returns the limit with less remaining. */
const tighter = (one: RemainingUnits | undefined, other: RemainingUnits | undefined): RemainingUnits | undefined =>
  one === undefined || (other !== undefined && other.remaining < one.remaining) ? other : one

/** Reads `x-ratelimit-remaining-tokens` and the related headers. */
const common = (headers: AnswerHeaders, unit: string, now: number | undefined): RemainingUnits | undefined =>
  unitsOf(
    headers[`x-ratelimit-limit-${unit}`],
    headers[`x-ratelimit-remaining-${unit}`],
    headers[`x-ratelimit-reset-${unit}`],
    now
  )

/** Reads `anthropic-ratelimit-tokens-remaining` and the related headers. */
const anthropic = (headers: AnswerHeaders, unit: string, now: number | undefined): RemainingUnits | undefined =>
  unitsOf(
    headers[`anthropic-ratelimit-${unit}-limit`],
    headers[`anthropic-ratelimit-${unit}-remaining`],
    headers[`anthropic-ratelimit-${unit}-reset`],
    now
  )

/**
 * Reads `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` (OpenAI, Azure, Groq and many more),
 * `anthropic-ratelimit-*` (with timestamps as resets), and `retry-after-ms`, `x-ms-retry-after-ms` and `retry-after`.
 * The tightest of several token limits applies. Limits without a reset, or with one in the past, are omitted;
 * `undefined` if there are none.
 *
 * `headers` have lower-case names; `now` is in milliseconds since the epoch, and without it timestamps cannot be read.
 */
export const toldLimits = (headers: AnswerHeaders, now: number | undefined): ToldLimits | undefined => {
  const requests = tighter(common(headers, "requests", now), anthropic(headers, "requests", now))
  const tokens = ["tokens", "input-tokens", "output-tokens"]
    .map((unit) => anthropic(headers, unit, now))
    .reduce(tighter, common(headers, "tokens", now))
  const retryAfter =
    decimal(headers["retry-after-ms"], 1) ??
    decimal(headers["x-ms-retry-after-ms"], 1) ??
    decimal(headers["retry-after"], 1_000) ??
    date(headers["retry-after"], now)
  if (requests === undefined && tokens === undefined && retryAfter === undefined) return undefined
  return {
    ...(requests !== undefined && { requests }),
    ...(tokens !== undefined && { tokens }),
    ...(retryAfter !== undefined && { retryAfter })
  }
}
