/**
 * Circuit breakers: the evidence against a target, and the time when it is called again.
 *
 * There are three separate causes. Failing: a rate over a window. Throttled: a hint that is longer than a caller would
 * wait. Exhausted: credit or an allocation that returns at a known time, before which no attempt is made.
 */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type Attempt, type Reason, retryAfter } from "../../GatewayError.ts"
import type { BreakerPhase } from "../../RouterEvent.ts"
import { monotonicMillisOf } from "../data/monotonic.ts"
import {
  type BreakerAdmission,
  type BreakerReport,
  type BreakerStore,
  memory,
  probeHint,
  type SafeStore,
  safe
} from "./breakerStore.ts"
import { type Mark, Outcomes } from "./outcomes.ts"
import { outcomeOf, type Verdict } from "./verdict.ts"

/** Settings of a breaker. Times in milliseconds. */
export interface BreakerSettings {
  readonly window: number
  readonly minimumCalls: number
  readonly failureRate: number
  /** Absent: slow calls do not open the breaker. */
  readonly slowCalls: { readonly after: number; readonly rate: number } | undefined
  readonly openFor: number
  readonly maxOpenFor: number
}

/** A run waits for a shorter hint, or a limiter handles it. */
const shortHint = 5_000
const longestHint = 3_600_000

const minute = 60_000
const longestExhaustion = 15 * minute
const day = 86_400_000

/**
 * Maximum number of breakers of one target, because routes that are made for each request could all have different
 * numbers.
 */
const maxBreakers = 64

const hintOf = (reason: Reason): number | undefined => {
  const given = retryAfter(reason)
  return given === undefined ? undefined : Duration.toMillis(given)
}

/** A long wait that a target asked for. */
interface Held {
  readonly cause: "throttled" | "exhausted"
  readonly until: number
}

/** The facts about one target. Times are milliseconds of the monotonic clock. */
export class TargetFacts {
  readonly outcomes = new Outcomes()
  private readonly key: string
  private readonly store: SafeStore
  private throttled: Held | undefined
  private exhausted: Held | undefined
  /** Called when one of its breakers changes its phase. */
  onChange: ((from: BreakerPhase, to: BreakerPhase) => void) | undefined
  /** Time of the last successful probe: earlier attempts are outdated. */
  recoveredAt = Number.NEGATIVE_INFINITY
  private exhaustions = 0
  private readonly breakers = new Map<string, Breaker>()

  constructor(key: string, store: SafeStore) {
    this.key = key
    this.store = store
  }

  /**
   * Records an outcome. `millis`: the time to the first output, or to the end if there was none; `today`: milliseconds
   * since the epoch.
   */
  record(
    attempt: Pick<Attempt, "error" | "outcome">,
    startedAt: number,
    millis: number,
    now: number,
    today: number
  ): Verdict {
    const { breaker: verdict, latency } = outcomeOf(attempt)
    const { error } = attempt
    if (verdict === "success") this.exhaustions = 0
    if (verdict === "success" || verdict === "failure") {
      if (startedAt >= this.recoveredAt)
        this.outcomes.add(verdict === "failure", now, latency === "none" ? undefined : millis)
    } else if (error !== undefined) {
      if (verdict === "throttled") this.throttle(hintOf(error), now)
      if (verdict === "exhausted") this.exhaust(error, now, today)
    }
    return verdict
  }

  /** Returns the wait that the target itself asked for. */
  heldAt(now: number): Held | undefined {
    const { exhausted, throttled } = this
    if (exhausted !== undefined && exhausted.until > now) return exhausted
    return throttled !== undefined && throttled.until > now ? throttled : undefined
  }

  /** Returns the breaker of these settings. Two routes with the same numbers share it. */
  breaker(settings: BreakerSettings): Breaker {
    const { failureRate, maxOpenFor, minimumCalls, openFor, slowCalls, window } = settings
    const slow = slowCalls === undefined ? "" : ` ${slowCalls.after} ${slowCalls.rate}`
    const numbers = `${window} ${minimumCalls} ${failureRate} ${openFor} ${maxOpenFor}${slow}`
    const { breakers } = this
    const known = breakers.get(numbers)
    if (known !== undefined && breakers.size < maxBreakers) return known
    const breaker = known ?? new Breaker(this, settings, `${this.key} ${numbers}`, this.store)
    // The first key is the least recently used.
    breakers.delete(numbers)
    breakers.set(numbers, breaker)
    const [oldest] = breakers.keys()
    if (breakers.size > maxBreakers && oldest !== undefined) breakers.delete(oldest)
    return breaker
  }

  /**
   * Returns the most restrictive of its breakers, and the milliseconds until it allows a probe; absent without
   * breakers.
   */
  look(now: number): { readonly phase: BreakerPhase; readonly millis: number | undefined } | undefined {
    const held = this.heldAt(now)
    let worst: number | undefined
    let phase: BreakerPhase | undefined
    for (const breaker of this.breakers.values()) {
      const until = breaker.look(now)
      phase ??= breaker.phase
      if (until === undefined || (worst !== undefined && worst >= until)) continue
      worst = until
      phase = held?.cause === "exhausted" ? "exhausted" : breaker.phase === "closed" ? "open" : breaker.phase
    }
    return phase && { phase, millis: worst === undefined ? undefined : worst - now }
  }

  private throttle(hint: number | undefined, now: number): void {
    if (hint === undefined || hint <= shortHint) return
    const until = now + Math.min(hint, longestHint)
    // The longest hint applies, because the target itself gave it.
    if (until > (this.throttled?.until ?? 0)) this.throttled = { cause: "throttled", until }
  }

  private exhaust(reason: Reason, now: number, today: number): void {
    const hint = hintOf(reason)
    const isHeld = this.exhausted !== undefined && this.exhausted.until > now
    if (hint !== undefined) {
      if (!isHeld || now + hint > (this.exhausted?.until ?? 0))
        this.exhausted = { cause: "exhausted", until: now + hint }
      return
    }
    // An attempt that was already in flight has no new information.
    if (isHeld) return
    const isDaily = reason._tag === "QuotaExhausted" && reason.kind === "allocation"
    const guess = isDaily ? day - (today % day) : Math.min(longestExhaustion, minute * 2 ** this.exhaustions)
    this.exhaustions++
    this.exhausted = { cause: "exhausted", until: now + guess }
  }
}

/**
 * Makes the records of the outcomes of targets; the given store, or this process, keeps the phases of their breakers.
 */
export const makeFacts = (given: BreakerStore | undefined): ((key: string) => TargetFacts) => {
  const store = given === undefined ? memory() : safe(given)
  return (key) => new TargetFacts(key, store)
}

/** An admitted call. It ends once: with its attempt, or released if no attempt was made. */
export interface Pass {
  /** Whether an attempt has begun, which will end it. */
  isTaken: boolean
  /** Whether it is the one call by which an open breaker tests its target. */
  readonly isProbe: boolean
  /** `millis`: as in {@link TargetFacts.record}. */
  readonly end: (verdict: Verdict, millis: number, now: number) => void
}

/** The response of a breaker to a call. */
export type Admitted =
  | { readonly isOpen: false; readonly pass: Pass }
  /**
   * `until`: time of the next try. `isExhausted`: no attempt is made before that, even if all other targets are down.
   */
  | { readonly isOpen: true; readonly until: number; readonly isExhausted: boolean }

/** The breaker of one target for one set of numbers. The store keeps its phase. */
export class Breaker {
  private readonly facts: TargetFacts
  private readonly settings: BreakerSettings
  private readonly key: string
  private readonly store: SafeStore
  private readonly asked: ReturnType<SafeStore["admit"]>
  /** Generation of the closed phase that was seen last. */
  private generation: number | undefined
  /** Outcomes before this mark do not count for the phase. */
  private since: Mark | undefined
  /** Version of the outcomes that were checked last. */
  private version = -1
  /** The last response of the store, for callers that cannot wait for it. */
  private seen: { readonly until: number; readonly isProbing: boolean } | undefined
  /** The wait that the store has been told. */
  private told: Held | undefined
  /** The phase that was seen last. */
  phase: BreakerPhase = "closed"

  constructor(facts: TargetFacts, settings: BreakerSettings, key: string, store: SafeStore) {
    this.facts = facts
    this.settings = settings
    this.key = key
    this.store = store
    this.asked = store.admit(key)
    if (settings.slowCalls !== undefined) facts.outcomes.watch(settings.slowCalls.after)
  }

  /** Checks the phase that this process knows, without requesting a call. Returns the end of an open phase. */
  look(now: number): number | undefined {
    const held = this.facts.heldAt(now)
    if (held !== undefined) return held.until
    const { seen } = this
    if (seen === undefined) return this.isTripped(now) ? now + this.settings.openFor : undefined
    return seen.until > now ? seen.until : seen.isProbing ? now + probeHint : undefined
  }

  private change(to: BreakerPhase): void {
    const { phase } = this
    if (phase === to) return
    this.phase = to
    this.facts.onChange?.(phase, to)
  }

  /** Requests a call. */
  admit(clock: Clock.Clock, context: Context.Context<never>): Effect.Effect<Admitted> {
    const held = this.facts.heldAt(monotonicMillisOf(clock))
    if (held !== undefined && held === this.told) return Effect.succeed(refusal(held))
    return Effect.flatMap(this.asked, (admission) => {
      const now = monotonicMillisOf(clock)
      const own = this.facts.heldAt(now)
      if (own !== undefined) {
        this.change(own.cause === "exhausted" ? "exhausted" : "open")
        return Effect.as(this.hold(own, admission, now), refusal(own))
      }
      return Effect.suspend(() => this.judge(admission, now, context))
    })
  }

  private judge(
    admission: BreakerAdmission | undefined,
    now: number,
    context: Context.Context<never>
  ): Effect.Effect<Admitted> {
    if (admission === undefined)
      return Effect.succeed({ isOpen: false, pass: { isTaken: false, isProbe: false, end: () => {} } })
    if (admission._tag === "Refused") {
      const until = now + Duration.toMillis(admission.retryAfter)
      const isExhausted = admission.cause === "exhausted"
      this.seen = { until, isProbing: false }
      // The store also rejects calls while another one is the probe.
      if (this.phase !== "halfOpen" || isExhausted) this.change(isExhausted ? "exhausted" : "open")
      return Effect.succeed({ isOpen: true, until, isExhausted })
    }
    const { generation } = admission
    if (admission._tag === "Probe") {
      this.seen = { until: now, isProbing: true }
      this.change("halfOpen")
      return Effect.succeed({ isOpen: false, pass: this.pass(generation, admission.openings, true, context) })
    }
    this.seen = undefined
    if (generation !== this.generation) {
      if (this.generation !== undefined) this.since = this.facts.outcomes.mark(now, this.settings.slowCalls?.after)
      this.generation = generation
      this.version = -1
    }
    if (!this.isTripped(now)) {
      this.change("closed")
      return Effect.succeed({ isOpen: false, pass: this.pass(generation, 0, false, context) })
    }
    return Effect.map(this.report(generation, this.opened(0), now), () => ({
      isOpen: true,
      until: now + this.settings.openFor,
      isExhausted: false
    }))
  }

  private pass(generation: number, openings: number, isProbe: boolean, context: Context.Context<never>): Pass {
    const tell = (report: BreakerReport, now: number): void => {
      Effect.runForkWith(context)(this.report(generation, report, now))
    }
    return {
      isTaken: false,
      isProbe,
      end: (verdict, millis, now) => {
        const held = this.facts.heldAt(now)
        if (held !== undefined && held !== this.told) {
          Effect.runForkWith(context)(this.hold(held, { _tag: "Probe", generation, openings }, now))
        } else if (!isProbe) {
          if (this.seen === undefined && this.isTripped(now)) tell(this.opened(openings), now)
        } else if (verdict === "failure" || (verdict === "success" && this.isSlow(millis))) {
          tell(this.opened(openings), now)
        } else if (verdict === "success") {
          this.facts.recoveredAt = now
          tell({ _tag: "Closed" }, now)
        } else tell({ _tag: "Released" }, now)
      }
    }
  }

  private isSlow(millis: number): boolean {
    const { slowCalls } = this.settings
    return slowCalls !== undefined && millis > slowCalls.after
  }

  /** Reports to the store the wait that the target asked for. */
  private hold(held: Held, admission: BreakerAdmission | undefined, now: number): Effect.Effect<void> {
    if (this.told === held || admission === undefined) return Effect.void
    this.told = held
    const openFor = Duration.millis(held.until - now)
    // An open breaker has no generation to name; it only accepts exhaustion.
    const generation = admission._tag === "Refused" ? -1 : admission.generation
    return this.report(generation, { _tag: "Opened", cause: held.cause, openFor }, now)
  }

  /** Whether the outcomes open the breaker. */
  private isTripped(now: number): boolean {
    const { outcomes } = this.facts
    // Only a failure or a slow call can open it.
    if (this.version === outcomes.version) return false
    const { failureRate, minimumCalls, slowCalls, window } = this.settings
    const { calls, failures, slow } = outcomes.count(window, now, this.since, slowCalls?.after)
    if (calls >= minimumCalls) {
      if (failures / calls >= failureRate || (slowCalls !== undefined && slow / calls >= slowCalls.rate)) return true
      this.version = outcomes.version
    }
    return false
  }

  private opened(openings: number): BreakerReport & { readonly _tag: "Opened" } {
    const { maxOpenFor, openFor } = this.settings
    return {
      _tag: "Opened",
      cause: "failing",
      openFor: Duration.millis(Math.min(maxOpenFor, openFor * 2 ** openings))
    }
  }

  private report(generation: number, report: BreakerReport, now: number): Effect.Effect<void> {
    const openFor = report._tag === "Opened" ? Duration.toMillis(report.openFor) : 0
    this.seen = report._tag === "Closed" ? undefined : { until: now + openFor, isProbing: false }
    if (report._tag === "Closed") {
      // The outcomes that had opened it are obsolete; a check before the next call must not see them.
      this.since = this.facts.outcomes.mark(now, this.settings.slowCalls?.after)
      this.change("closed")
    } else if (report._tag === "Opened") this.change(report.cause === "exhausted" ? "exhausted" : "open")
    return this.store.report(this.key, generation, report)
  }
}

const refusal = ({ cause, until }: Held): Admitted => ({ isOpen: true, until, isExhausted: cause === "exhausted" })
