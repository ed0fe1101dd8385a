/**
 * Reads what the headers of an answer say about the limits of the other side.
 */
import * as Duration from "effect/Duration"
import { date, decimal, resetOf } from "../data/waits.ts"
import type { RemainingUnits, ToldLimits } from "./learntLimits.ts"

type AnswerHeaders = Readonly<Record<string, string | undefined>>

/** A count as headers write it, also with a fraction or with separators of thousands. Anything else is none. */
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

/** The one of which less is left. */
const tighter = (one: RemainingUnits | undefined, other: RemainingUnits | undefined): RemainingUnits | undefined =>
  one === undefined || (other !== undefined && other.remaining < one.remaining) ? other : one

/** `x-ratelimit-remaining-tokens`, and what belongs to it. */
const common = (headers: AnswerHeaders, unit: string, now: number | undefined): RemainingUnits | undefined =>
  unitsOf(
    headers[`x-ratelimit-limit-${unit}`],
    headers[`x-ratelimit-remaining-${unit}`],
    headers[`x-ratelimit-reset-${unit}`],
    now
  )

/** `anthropic-ratelimit-tokens-remaining`, and what belongs to it. */
const anthropic = (headers: AnswerHeaders, unit: string, now: number | undefined): RemainingUnits | undefined =>
  unitsOf(
    headers[`anthropic-ratelimit-${unit}-limit`],
    headers[`anthropic-ratelimit-${unit}-remaining`],
    headers[`anthropic-ratelimit-${unit}-reset`],
    now
  )

/**
 * Reads `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` (OpenAI, Azure, Groq and many more),
 * `anthropic-ratelimit-*` (with moments as resets), and `retry-after-ms`, `x-ms-retry-after-ms` and `retry-after`. Of
 * several limits for tokens the tightest counts. What has no reset, or one in the past, is left out; `undefined` when
 * nothing remains to say.
 *
 * `headers` have lower-case names; `now` is in milliseconds since the epoch, and without it moments cannot be read.
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
