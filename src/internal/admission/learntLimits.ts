/**
 * The remaining limits that the other side reports. They apply in addition to the configured ones, so they can only
 * tighten them.
 */
import * as Duration from "effect/Duration"

/** Units of one limit, as an answer reports them. */
export interface RemainingUnits {
  /** Total units of the limit. Absent: unknown. */
  readonly limit?: number | undefined
  /** Remaining units: a number of at least 0. */
  readonly remaining: number
  /** Time until all of them are available again. With a `limit` they return evenly, otherwise all at once. */
  readonly resetAfter: Duration.Duration
}

/** The limits of the other side that an answer reports. */
export interface ToldLimits {
  readonly requests?: RemainingUnits | undefined
  readonly tokens?: RemainingUnits | undefined
  /** Nothing is admitted before this time. */
  readonly retryAfter?: Duration.Duration | undefined
}

/** Totals of a key's admissions at the time of a request. */
export interface Totals {
  readonly at: number
  readonly requests: number
  readonly tokens: number
}

/** Maximum time in milliseconds: a longer one is reduced to it, and learned again afterwards. */
const longest = 3_600_000

/**
 * Remaining units, from one answer until its reset.
 *
 * The other side counted when the request arrived, which may be long before it answered. So admissions after that
 * request are subtracted, and units that have returned since then are added.
 */
class Level {
  readonly at: number
  private readonly remaining: number
  private readonly limit: number
  private readonly refill: number
  private readonly until: number
  private readonly total: number

  constructor({ limit, remaining, resetAfter }: RemainingUnits, at: number, total: number, now: number) {
    const reset = Duration.toMillis(resetAfter)
    this.at = at
    this.remaining = remaining
    this.limit = limit ?? remaining
    this.refill = limit !== undefined && limit > remaining && reset > 0 ? (limit - remaining) / reset : 0
    this.until = now + Math.min(reset, longest)
    this.total = total
  }

  /** Milliseconds until the given number of units fits, after `total` admissions. */
  delay(now: number, units: number, total: number): number {
    if (units === 0 || now >= this.until) return 0
    const back = (now - this.at) * this.refill
    const left = Math.min(this.limit, this.remaining + back) - (total - this.total)
    if (left >= units) return 0
    const whole = this.until - now
    return Math.ceil(this.refill === 0 ? whole : Math.min(whole, (units - left) / this.refill))
  }
}

/** Known limits of one key. Times are milliseconds of the monotonic clock. */
export class LearntLimits {
  private requests: Level | undefined
  private tokens: Level | undefined
  private closedUntil = 0

  /**
   * Applies the limits in the answer to a request. Answers to requests that were admitted earlier are outdated, and
   * ignored.
   */
  learn(told: ToldLimits, { at, requests, tokens }: Totals, now: number): void {
    if (told.requests !== undefined && (this.requests === undefined || this.requests.at <= at)) {
      this.requests = new Level(told.requests, at, requests, now)
    }
    if (told.tokens !== undefined && (this.tokens === undefined || this.tokens.at <= at)) {
      this.tokens = new Level(told.tokens, at, tokens, now)
    }
    if (told.retryAfter !== undefined) {
      this.closedUntil = Math.max(this.closedUntil, now + Math.min(Duration.toMillis(told.retryAfter), longest))
    }
  }

  /** Whether a limit of tokens is known. */
  get knowsTokens(): boolean {
    return this.tokens !== undefined
  }

  /** Milliseconds for which the other side asked for no requests. No answer shortens them. */
  closedFor(now: number): number {
    return Math.max(0, Math.ceil(this.closedUntil - now))
  }

  /** Milliseconds until a request may be admitted; 0 means now. `total`: all admissions so far. */
  delay(now: number, requests: number, tokens: number, total: Omit<Totals, "at">): number {
    return Math.max(
      requests > 0 ? this.closedFor(now) : 0,
      this.requests?.delay(now, requests, total.requests) ?? 0,
      this.tokens?.delay(now, tokens, total.tokens) ?? 0
    )
  }
}
