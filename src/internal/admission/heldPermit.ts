/**
 * The holdings of an admission, under one set of limits or several for the same key.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { monotonicMillisOf } from "../data/monotonic.ts"
import { countedOf, type Holding, type KeyFacts, type KeyLimits } from "./keyLimits.ts"
import { LearntLimits, type ToldLimits, type Totals } from "./learntLimits.ts"
import type { Outcome, Permit } from "./permit.ts"
import type { Needs } from "./waitQueue.ts"

/** Called once, with the counts of the request. */
export type OnSettled = (permit: HeldPermit, now: number, counted: Omit<Needs, "place">) => void

/** A permit for code that runs between effects. Times are milliseconds of the monotonic clock. */
export class HeldPermit {
  readonly waited: number
  private readonly facts: KeyFacts
  private readonly needs: Needs
  private readonly totals: Totals
  private readonly held: Array<readonly [limits: KeyLimits, holding: Holding]>
  private readonly onSettled: OnSettled | undefined
  private isSettled = false

  /** Counts a request under all of these limits. */
  constructor(
    limits: Iterable<KeyLimits>,
    facts: KeyFacts,
    needs: Needs,
    now: number,
    waited: number,
    onSettled?: OnSettled
  ) {
    this.facts = facts
    this.needs = needs
    this.waited = waited
    this.onSettled = onSettled
    this.held = Array.from(limits, (one) => [one, one.take(now, needs)])
    const { total } = facts
    total.requests += needs.requests
    total.tokens += needs.tokens
    this.totals = { at: now, requests: total.requests, tokens: total.tokens }
  }

  /** Ends it; only the first call counts. */
  settle(now: number, outcome: Outcome): void {
    if (this.isSettled) return
    this.isSettled = true
    const { facts, needs } = this
    const counted = countedOf(needs, outcome)
    facts.total.requests += counted.requests - needs.requests
    facts.total.tokens += counted.tokens - needs.tokens
    for (const [limits, holding] of this.held) limits.settle(now, holding, outcome)
    this.onSettled?.(this, now, counted)
  }

  /** Also counts it under limits that were set since. */
  join(limits: KeyLimits, now: number): void {
    this.held.push([limits, limits.take(now, this.needs)])
  }

  /** Applies the limits of the other side that an answer reports. */
  learn(now: number, told: ToldLimits): void {
    this.facts.learnt ??= new LearntLimits()
    this.facts.learnt.learn(told, this.totals, now)
    // The next waiter may be waiting for a limit that has changed.
    for (const [limits] of this.held) limits.wake(now)
  }
}

const atNow = (act: (now: number) => void): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    act(monotonicMillisOf(fiber.getRef(Clock.Clock)))
    return Effect.void
  })

/** Turns it into a permit of a limiter. */
export const permitOf = (held: HeldPermit): Permit => ({
  waited: Duration.millis(held.waited),
  settle: (outcome = {}) => atNow((now) => held.settle(now, outcome)),
  learn: (told) => atNow((now) => held.learn(now, told))
})
