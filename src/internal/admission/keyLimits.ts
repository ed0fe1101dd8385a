/**
 * One key under its limits: windows, places, the limits that the other side reports, and the queue.
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { GatewayError, Rejected } from "../../GatewayError.ts"
import { defined } from "../data/defined.ts"
import { millisOf } from "../data/duration.ts"
import { monotonicMillisOf } from "../data/monotonic.ts"
import { AdaptiveLimit } from "./adaptiveConcurrency.ts"
import type { LearntLimits } from "./learntLimits.ts"
import {
  type AdaptiveConcurrency,
  defaultBurst,
  defaultMaxWait,
  defaultQueueSize,
  defaultSkew,
  type Limits
} from "./limits.ts"
import type { Outcome, State } from "./permit.ts"
import { RateBudget, type Taken } from "./slidingWindow.ts"
import { type Needs, type WaitClass, type Waiting, WaitQueue } from "./waitQueue.ts"

/** The window of all limits, in milliseconds. */
export const windowMillis = 60_000

/** Known facts about the other side, for all sets of limits. */
export interface KeyFacts {
  /** Everything that has been admitted so far. */
  readonly total: { requests: number; tokens: number }
  learnt: LearntLimits | undefined
}

/** Facts without any information. */
export const noFacts = (): KeyFacts => ({ total: { requests: 0, tokens: 0 }, learnt: undefined })

/** The holding of an admission in one set of limits. */
export interface Holding {
  readonly at: number
  readonly needs: Needs
  readonly requests: Taken | undefined
  readonly tokens: Taken | undefined
}

/** Returns the counts of a request that has ended. */
export const countedOf = (
  { requests, tokens }: Needs,
  { sent = true, tokens: used }: Outcome
): { readonly requests: number; readonly tokens: number } =>
  sent ? { requests, tokens: Math.max(0, Math.ceil(used ?? tokens)) } : { requests: 0, tokens: 0 }

/** Options of a waiter. */
export interface Entry {
  readonly class: WaitClass
  readonly needs: Needs
  /** Milliseconds. Absent: the limit of the queue. */
  readonly maxWait: number | undefined
  /** Called when it has to wait. */
  readonly onQueue?: (() => void) | undefined
}

interface Waiter extends Waiting {
  /** Whether anything has changed since its last check. */
  signalled: boolean
  /** Whether it had to leave the queue for others. */
  displaced: boolean
  wake: (() => void) | undefined
}

/** The failure of a request that is not admitted. `millis`: when a new try may succeed. */
export const rejected = (millis: number | undefined, detail: string): GatewayError =>
  new GatewayError({
    method: "Limiter.acquire",
    reason: new Rejected({
      by: "limiter",
      detail,
      ...(millis !== undefined && Number.isFinite(millis) && { retryAfter: Duration.millis(Math.ceil(millis)) })
    })
  })

const reached = "the limit is reached"
const full = "too many wait"

/** Milliseconds after which a full queue may be tried again, while it is unknown how long places are held. */
const shortestRetry = 1_000

/** Weight of the newest value in the mean time that places are held. */
const heldShare = 1 / 8

const adaptiveOf = ({ initial, max = 512, min = 1, tolerance = 2 }: AdaptiveConcurrency): AdaptiveLimit =>
  new AdaptiveLimit({ min, max, tolerance, initial: initial ?? Math.max(min, Math.min(max, 8)) })

/**
 * Waits for a signal, for at most `millis`. The only place where an acquisition can be interrupted, so an admission is
 * never lost.
 */
const pause = (waiter: Waiter, millis: number): Effect.Effect<void> => {
  const woken = Effect.callback<void>((resume) => {
    // Resumes after everything that ends in this tick has ended: then several can be admitted one after the other.
    waiter.wake = () => resume(Effect.yieldNow)
    if (waiter.signalled) waiter.wake()
  })
  return Effect.interruptible(Number.isFinite(millis) ? Effect.raceFirst(woken, Effect.sleep(millis)) : woken)
}

/** Limits of one key. Times are milliseconds of the monotonic clock. */
export class KeyLimits {
  readonly facts: KeyFacts
  private readonly requests: RateBudget | undefined
  private readonly tokens: RateBudget | undefined
  private readonly adaptive: AdaptiveLimit | undefined
  private readonly places: number | undefined
  private readonly bounds: { readonly size: number; readonly maxWait: number } | undefined
  private readonly queue = new WaitQueue<Waiter>()
  private inFlight = 0
  /** Mean time that a place is held; absent before the first is released. */
  private held: number | undefined

  constructor(limits: Limits, facts: KeyFacts) {
    const { burst = defaultBurst, concurrency, queue, requestsPerMinute, skew = defaultSkew, tokensPerMinute } = limits
    const budget = (limit: number | undefined): RateBudget | undefined =>
      limit === undefined ? undefined : new RateBudget(limit, windowMillis, millisOf(skew), Math.max(1, limit * burst))
    this.facts = facts
    this.requests = budget(requestsPerMinute)
    this.tokens = budget(tokensPerMinute)
    if (typeof concurrency === "number") this.places = concurrency
    else if (concurrency !== undefined) this.adaptive = adaptiveOf(concurrency === "adaptive" ? {} : concurrency)
    this.bounds = queue && {
      size: queue.size ?? defaultQueueSize,
      maxWait: millisOf(queue.maxWait ?? defaultMaxWait)
    }
  }

  /** Number of places; absent if they are not limited. */
  private get concurrency(): number | undefined {
    return this.adaptive === undefined ? this.places : this.adaptive.current
  }

  /** Whether there is no waiter, and no place is held. */
  get isIdle(): boolean {
    return this.inFlight === 0 && this.queue.size === 0
  }

  get hasWaiting(): boolean {
    return this.queue.size > 0
  }

  /** Whether estimates of tokens matter for these limits. */
  get countsTokens(): boolean {
    return this.tokens !== undefined
  }

  look(now: number): State {
    return {
      inFlight: this.inFlight,
      waiting: this.queue.size,
      requests: this.requests?.used(now) ?? 0,
      tokens: this.tokens?.used(now) ?? 0,
      ...defined({ concurrency: this.concurrency })
    }
  }

  /** Milliseconds until a request fits; infinity if it needs another one to end. */
  private delay(now: number, { place, requests, tokens }: Needs): number {
    const { concurrency, facts } = this
    return place && concurrency !== undefined && this.inFlight >= concurrency
      ? Number.POSITIVE_INFINITY
      : Math.max(
          this.requests?.delay(now, requests) ?? 0,
          this.tokens?.delay(now, tokens) ?? 0,
          facts.learnt?.delay(now, requests, tokens, facts.total) ?? 0
        )
  }

  /**
   * Estimated milliseconds of waiting for a newcomer, behind all waiters with precedence. Too low if facts are missing.
   */
  private estimate(now: number, own: WaitClass, needs: Needs): number {
    const { concurrency, facts, held = 0, inFlight, queue } = this
    const ahead = queue.ahead(own)
    const rates = Math.max(
      this.requests?.estimate(now, ahead.requests, needs.requests) ?? 0,
      this.tokens?.estimate(now, ahead.tokens, needs.tokens) ?? 0,
      facts.learnt?.delay(now, ahead.requests + needs.requests, ahead.tokens + needs.tokens, facts.total) ?? 0
    )
    if (!needs.place || concurrency === undefined) return rates
    const missing = Math.max(0, inFlight + ahead.places + 1 - concurrency)
    return Math.max(rates, Math.ceil((missing * held) / concurrency))
  }

  /** Milliseconds until a new try may succeed. */
  private later(now: number, own: WaitClass, needs: Needs): number {
    return Math.max(shortestRetry, this.estimate(now, own, needs))
  }

  /** The failure of a request that can never fit. */
  private impossible({ requests, tokens }: Needs): GatewayError | undefined {
    if (this.requests !== undefined && requests > this.requests.limit) {
      return rejected(undefined, `${requests} requests are more than ${this.requests.limit} a minute`)
    }
    if (this.tokens !== undefined && tokens > this.tokens.limit) {
      return rejected(undefined, `${tokens} tokens are more than ${this.tokens.limit} a minute`)
    }
    return undefined
  }

  /** Whether a request would be admitted at once. */
  isOpenTo(now: number, needs: Needs): boolean {
    return this.queue.size === 0 && this.impossible(needs) === undefined && this.delay(now, needs) === 0
  }

  /** Counts a request, whether it fits or not. */
  take(now: number, needs: Needs): Holding {
    if (needs.place) this.inFlight++
    return {
      at: now,
      needs,
      requests: this.requests?.take(now, needs.requests),
      tokens: this.tokens?.take(now, needs.tokens)
    }
  }

  /** Counts a request that ended before these limits were set. */
  count(now: number, at: number, requests: number, tokens: number): void {
    this.requests?.count(now, at, requests)
    this.tokens?.count(now, at, tokens)
  }

  /** Ends a holding. */
  settle(now: number, { at, needs, requests, tokens }: Holding, outcome: Outcome): void {
    const { adaptive } = this
    const { latency, sent = true, throttled = false } = outcome
    const counted = countedOf(needs, outcome)
    if (requests !== undefined) this.requests?.settle(now, requests, counted.requests)
    if (tokens !== undefined) this.tokens?.settle(now, tokens, counted.tokens)
    if (adaptive !== undefined) {
      const busy = this.inFlight >= adaptive.current * 0.8
      if (throttled) adaptive.answered(now, at, undefined, busy)
      else if (sent && latency !== undefined) adaptive.answered(now, at, millisOf(latency), busy)
    }
    if (needs.place) {
      const held = now - at
      this.held = this.held === undefined ? held : this.held + (held - this.held) * heldShare
      this.inFlight--
    }
    this.wake(now)
  }

  /** Makes the next waiter check again. */
  wake(now: number): void {
    const head = this.queue.head(now)
    if (head === undefined) return
    head.signalled = true
    head.wake?.()
  }

  private leave(waiter: Waiter, now: number): void {
    if (this.queue.delete(waiter)) this.wake(now)
  }

  /** Waits until a request fits, and admits it. Call it in an uninterruptible region. */
  acquire<P>(
    clock: Clock.Clock,
    { class: own, maxWait, needs, onQueue }: Entry,
    admit: (now: number, since: number) => P
  ): Effect.Effect<P, GatewayError> {
    const { bounds, queue } = this
    const never = this.impossible(needs)
    if (never !== undefined) return Effect.fail(never)
    const now = monotonicMillisOf(clock)
    const delay = this.delay(now, needs)
    if (delay === 0 && !queue.isBehind(own, now)) return Effect.succeed(admit(now, now))
    const limit = maxWait ?? bounds?.maxWait
    // If it waits for a place, the time is unknown.
    if (limit !== undefined && (limit === 0 || (Number.isFinite(delay) && delay > limit))) {
      return Effect.fail(rejected(bounds === undefined ? delay : this.later(now, own, needs), reached))
    }
    const waiter: Waiter = { class: own, needs, since: now, signalled: false, displaced: false, wake: undefined }
    if (bounds !== undefined) {
      const estimate = this.estimate(now, own, needs)
      if (limit !== undefined && estimate > limit) return Effect.fail(rejected(estimate, reached))
      if (queue.size >= bounds.size) {
        const victim = bounds.size === 0 ? undefined : queue.victim(own, now)
        if (victim === undefined) return Effect.fail(rejected(this.later(now, own, needs), full))
        queue.delete(victim)
        victim.displaced = true
        victim.signalled = true
        victim.wake?.()
      }
    }
    queue.add(waiter)
    onQueue?.()
    const until = limit === undefined ? Number.POSITIVE_INFINITY : now + limit
    return Effect.onInterrupt(this.wait(waiter, clock, until, admit), () =>
      Effect.sync(() => this.leave(waiter, monotonicMillisOf(clock)))
    )
  }

  private wait<P>(
    waiter: Waiter,
    clock: Clock.Clock,
    until: number,
    admit: (now: number, since: number) => P
  ): Effect.Effect<P, GatewayError> {
    return Effect.suspend(() => {
      waiter.signalled = false
      const { class: own, needs, since } = waiter
      const now = monotonicMillisOf(clock)
      if (waiter.displaced) return Effect.fail(rejected(this.later(now, own, needs), full))
      const isHead = this.queue.head(now) === waiter
      const delay = isHead ? this.delay(now, needs) : Number.POSITIVE_INFINITY
      if (delay === 0) {
        const admitted = admit(now, since)
        this.leave(waiter, now)
        return Effect.succeed(admitted)
      }
      const closedFor = needs.requests > 0 ? (this.facts.learnt?.closedFor(now) ?? 0) : 0
      if (now >= until || now + closedFor > until) {
        this.leave(waiter, now)
        return Effect.fail(
          rejected(this.bounds === undefined ? this.delay(now, needs) : this.later(now, own, needs), reached)
        )
      }
      // A waiter with precedence may have arrived while it slept, and be asleep itself.
      if (!isHead && waiter.wake !== undefined) this.wake(now)
      // Rounded up, as timers are: otherwise it would wake too early, and repeatedly.
      return Effect.flatMap(pause(waiter, Math.min(delay, Math.ceil(until - now))), () =>
        this.wait(waiter, clock, until, admit)
      )
    })
  }
}
