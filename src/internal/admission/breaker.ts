/**
 * Circuit breakers: what is known against a target, and when it is called again.
 *
 * Three causes are kept apart. Failing: a rate over a window. Throttled: a hint longer than a caller would wait. Exhausted: credit or an allocation that comes back at a certain
 * time, before which nothing is tried.
 */
import * as Duration from "effect/Duration"
import { type Reason, retryAfter } from "../../GatewayError.ts"
import { Outcomes } from "./outcomes.ts"

/** When a target is left alone. Times in milliseconds. */
export interface BreakerSettings {
  readonly window: number
  readonly minimumCalls: number
  readonly failureRate: number
  readonly openFor: number
  readonly maxOpenFor: number
}

/** What an outcome says about a target. */
export type Verdict = "success" | "failure" | "throttled" | "exhausted" | "ignored"

/** A shorter hint is waited out, or is the business of a limiter. */
const shortHint = 5_000
const longestHint = 3_600_000

const minute = 60_000
const longestExhaustion = 15 * minute
const day = 86_400_000

/** Failures inside a stream that are about the request. */
const ofCaller: ReadonlyArray<Reason["_tag"]> = ["ContentBlocked", "InvalidRequest", "ContextLengthExceeded"]

/** What a failure says about its target. Failures of the caller's own say nothing. */
export const verdictOf = (reason: Reason): Verdict => {
  const { status = 0 } = reason
  switch (reason._tag) {
    case "RateLimited":
      return "throttled"
    case "QuotaExhausted":
      return "exhausted"
    case "Timeout":
      return reason.phase === "deadline" ? "ignored" : "failure"
    case "Unauthorized":
      return reason.origin === "provider" ? "failure" : "ignored"
    case "ProviderUnavailable":
      return status === 529 ? "throttled" : "failure"
    case "TransportFailure":
    case "InvalidResponse":
      return "failure"
    case "StreamInterrupted":
      // A filter that ends an answer says nothing about the target.
      return reason.failure !== undefined && ofCaller.includes(reason.failure) ? "ignored" : "failure"
    case "Unknown":
      // Without a status nothing came back that could be read.
      return status === 529 ? "throttled" : status >= 500 || status === 0 ? "failure" : "ignored"
    default:
      return "ignored"
  }
}

/** Most different numbers that are kept for one target. */
const maxBreakers = 64

/** What happened at one target. Times are milliseconds of the monotonic clock. */
export class TargetFacts {
  readonly outcomes = new Outcomes()
  /** Until then a hint asks for no requests. */
  throttledUntil = 0
  /** Until then there is no credit. */
  exhaustedUntil = 0
  /** A probe has succeeded then: failures of attempts from before that are old news. */
  recoveredAt = Number.NEGATIVE_INFINITY
  private exhaustions = 0
  private readonly breakers = new Map<string, Breaker>()

  /** Writes down how an attempt ended. `today` is the time of day, in milliseconds since the epoch. */
  record(reason: Reason | undefined, startedAt: number, now: number, today: number): void {
    const verdict = reason === undefined ? "success" : verdictOf(reason)
    if ((verdict === "success" || verdict === "failure") && startedAt >= this.recoveredAt) {
      this.outcomes.add(verdict === "failure", now)
    }
    if (verdict === "success") this.exhaustions = 0
    if (reason === undefined) return
    const given = retryAfter(reason)
    const hint = given === undefined ? undefined : Duration.toMillis(given)
    if (verdict === "throttled" && hint !== undefined && hint > shortHint) {
      this.throttledUntil = Math.max(this.throttledUntil, now + Math.min(hint, longestHint))
    }
    if (verdict === "exhausted" && hint !== undefined) {
      this.exhaustedUntil = Math.max(this.exhaustedUntil, now + hint)
    } else if (verdict === "exhausted" && now >= this.exhaustedUntil) {
      const isDaily = reason._tag === "QuotaExhausted" && reason.kind === "allocation"
      const guess = isDaily ? day - (today % day) : Math.min(longestExhaustion, minute * 2 ** this.exhaustions)
      this.exhaustions++
      this.exhaustedUntil = now + guess
    }
  }

  /** The breaker of these settings. Two routes with the same numbers share it. */
  breaker(settings: BreakerSettings): Breaker {
    const { failureRate, maxOpenFor, minimumCalls, openFor, window } = settings
    const key = [window, minimumCalls, failureRate, openFor, maxOpenFor].join(" ")
    const found = this.breakers.get(key) ?? new Breaker(this, settings)
    // The one that was used longest ago is the first.
    this.breakers.delete(key)
    this.breakers.set(key, found)
    const [oldest] = this.breakers.keys()
    if (this.breakers.size > maxBreakers && oldest !== undefined) this.breakers.delete(oldest)
    return found
  }
}

/** What a breaker says to a request. */
export type Admitted =
  /** `probe`: it is the only one, and decides whether the target is back. */
  | { readonly isOpen: false; readonly isProbe: boolean }
  /** `until`: when it may be tried again. `isExhausted`: before that nothing is tried, whatever else is down. */
  | { readonly isOpen: true; readonly until: number; readonly isExhausted: boolean }

/** The phase of one target under one set of numbers. */
export class Breaker {
  private readonly facts: TargetFacts
  private readonly settings: BreakerSettings
  private openUntil: number | undefined
  /** Openings in a row. */
  private openings = 0
  /** What was before does not count. */
  private since = Number.NEGATIVE_INFINITY
  private isProbing = false

  constructor(facts: TargetFacts, settings: BreakerSettings) {
    this.facts = facts
    this.settings = settings
  }

  /** Whether a request may be made now, without asking for it. */
  look(now: number): Admitted {
    const { exhaustedUntil, throttledUntil } = this.facts
    if (exhaustedUntil > now) return { isOpen: true, until: exhaustedUntil, isExhausted: true }
    if (throttledUntil > now) return { isOpen: true, until: throttledUntil, isExhausted: false }
    this.trip(now)
    const { isProbing, openUntil } = this
    if (openUntil === undefined) return { isOpen: false, isProbe: false }
    // While the probe is on its way nobody knows when it ends.
    if (openUntil > now || isProbing) return { isOpen: true, until: Math.max(openUntil, now), isExhausted: false }
    return { isOpen: false, isProbe: true }
  }

  /** Asks for a request. A probe that is granted must be ended by {@link end}. */
  admit(now: number): Admitted {
    const admitted = this.look(now)
    if (!admitted.isOpen && admitted.isProbe) this.isProbing = true
    return admitted
  }

  /** A request has ended. What was already on its way when the breaker opened changes nothing. */
  end(isProbe: boolean, verdict: Verdict, now: number): void {
    if (!isProbe) {
      if (this.openUntil === undefined) this.trip(now)
      return
    }
    this.isProbing = false
    if (verdict === "success") {
      this.openUntil = undefined
      this.openings = 0
      this.since = now
      this.facts.recoveredAt = now
    } else if (verdict === "failure") this.open(now)
  }

  /** Opens when the facts say so. */
  private trip(now: number): void {
    if (this.openUntil !== undefined) return
    const { failureRate, minimumCalls, window } = this.settings
    const { calls, failures } = this.facts.outcomes.count(window, this.since, now)
    if (calls >= minimumCalls && failures / calls >= failureRate) this.open(now)
  }

  private open(now: number): void {
    const { maxOpenFor, openFor } = this.settings
    this.openUntil = now + Math.min(maxOpenFor, openFor * 2 ** this.openings)
    this.openings++
  }
}
