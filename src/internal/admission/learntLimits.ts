/**
 * What the other side says is left of its limits. It holds beside the limits that were set, so it only ever tightens
 * them.
 */
import * as Duration from "effect/Duration"

/** Units of one limit, as an answer reports them. */
export interface RemainingUnits {
  /** Units that the limit allows in all. Absent: unknown. */
  readonly limit?: number | undefined
  /** Units that are left: a number of at least 0. */
  readonly remaining: number
  /** Until all of them are there again. With a `limit` they come back evenly, else all at once. */
  readonly resetAfter: Duration.Duration
}

/** What an answer says about the limits of the other side. */
export interface ToldLimits {
  readonly requests?: RemainingUnits | undefined
  readonly tokens?: RemainingUnits | undefined
  /** Nothing is admitted before. */
  readonly retryAfter?: Duration.Duration | undefined
}

/** How much a key had admitted, in all, when one of its requests was. */
export interface Totals {
  readonly at: number
  readonly requests: number
  readonly tokens: number
}

/** A longer time is believed for so many milliseconds, and asked for again. */
const longest = 3_600_000

/**
 * Units that are left, from one answer until its reset.
 *
 * The other side counted when the request arrived, which may be long before it answered. So everything that was
 * admitted after that request is taken off, and what has come back since then is added.
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

  /** Milliseconds until so many more units fit, when `total` have been admitted. */
  delay(now: number, units: number, total: number): number {
    if (units === 0 || now >= this.until) return 0
    const back = (now - this.at) * this.refill
    const left = Math.min(this.limit, this.remaining + back) - (total - this.total)
    if (left >= units) return 0
    const whole = this.until - now
    return Math.ceil(this.refill === 0 ? whole : Math.min(whole, (units - left) / this.refill))
  }
}

/** What is known of the limits of one key. Times are milliseconds of the monotonic clock. */
export class LearntLimits {
  private requests: Level | undefined
  private tokens: Level | undefined
  private closedUntil = 0

  /**
   * Takes over what the answer to a request says. Answers to requests that were admitted earlier are older news, and
   * leave it as it is.
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

  /** Whether there is a limit of tokens. */
  get knowsTokens(): boolean {
    return this.tokens !== undefined
  }

  /** Milliseconds for which the other side has asked to be left alone. No answer shortens them. */
  closedFor(now: number): number {
    return Math.max(0, Math.ceil(this.closedUntil - now))
  }

  /** Milliseconds until a request may be admitted; 0 is now. `total`: what has been admitted so far. */
  delay(now: number, requests: number, tokens: number, total: Omit<Totals, "at">): number {
    return Math.max(
      requests > 0 ? this.closedFor(now) : 0,
      this.requests?.delay(now, requests, total.requests) ?? 0,
      this.tokens?.delay(now, tokens, total.tokens) ?? 0
    )
  }
}
