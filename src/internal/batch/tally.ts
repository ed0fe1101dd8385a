/** Totals of a running batch, in memory that does not depend on the number of items. */
import * as Duration from "effect/Duration"
import type { Attempt, ReasonTag } from "../../GatewayError.ts"
import { Quantiles } from "../data/quantiles.ts"
import type { Usage } from "../dialect/chat.ts"

/** Latencies in milliseconds; percentiles are within one percent. */
export interface Latencies {
  readonly count: number
  readonly mean: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly max: number
}

/** Totals of one target. */
export interface TargetSummary {
  /** Requests to it, and the number of failures, by reason. */
  readonly requests: number
  readonly failures: Readonly<Partial<Record<ReasonTag, number>>>
  /** Items that it answered. */
  readonly answered: number
  readonly tokensIn: number
  readonly tokensOut: number
  /** US dollars, where known. */
  readonly cost: number
  readonly latency?: Latencies
}

/** Outcome of an item. */
export interface ItemOutcome {
  /** Target of a success. */
  readonly target: string | undefined
  /** Reason of a dead letter. */
  readonly reason: ReasonTag | undefined
  readonly attempts: ReadonlyArray<Attempt>
  readonly usage: Usage | undefined
  readonly cacheStatus: string | undefined
  /** Index of the leg that answered, when the gateway chose. */
  readonly step: number | undefined
  readonly cost: number | undefined
  /** Milliseconds. */
  readonly latency: number
}

type Reasons = Partial<Record<ReasonTag, number>>

interface TargetTally {
  requests: number
  failures: Reasons
  answered: number
  tokensIn: number
  tokensOut: number
  cost: number
  latency: Quantiles
}

/** Number of targets beyond which the rest is added up under one name. */
const maxTargets = 200
export const otherTargets = "(others)"

const count = (reasons: Reasons, reason: ReasonTag): void => {
  reasons[reason] = (reasons[reason] ?? 0) + 1
}

const latencies = (sketch: Quantiles): Latencies | undefined => {
  const [p50, p90, p99] = [0.5, 0.9, 0.99].map((q) => sketch.quantile(q))
  return p50 === undefined || p90 === undefined || p99 === undefined
    ? undefined
    : { count: sketch.count, mean: sketch.sum / sketch.count, p50, p90, p99, max: sketch.max }
}

export class Tally {
  succeeded = 0
  deadLetters = 0
  requests = 0
  retries = 0
  fallbacks = 0
  cacheHits = 0
  tokensIn = 0
  tokensOut = 0
  cost = 0
  costKnown = 0
  readonly reasons: Reasons = {}
  private readonly latency = new Quantiles()
  private readonly targets = new Map<string, TargetTally>()

  private target(key: string): TargetTally {
    const known = this.targets.get(key)
    if (known !== undefined) return known
    const own = this.targets.size < maxTargets ? key : otherTargets
    const made = this.targets.get(own) ?? {
      requests: 0,
      failures: {},
      answered: 0,
      tokensIn: 0,
      tokensOut: 0,
      cost: 0,
      latency: new Quantiles()
    }
    this.targets.set(own, made)
    return made
  }

  /** Adds the requests of an item, which may stay undone. */
  addRequests(attempts: ReadonlyArray<Attempt>): void {
    this.requests += attempts.length
    for (const [index, attempt] of attempts.entries()) {
      if (index > 0 && attempts.slice(0, index).some(({ target }) => target === attempt.target)) this.retries++
      const one = this.target(attempt.target)
      one.requests++
      if (attempt.error !== undefined) count(one.failures, attempt.error._tag)
      else if (attempt.outcome === "success") one.latency.add(Duration.toMillis(attempt.duration))
    }
  }

  add(outcome: ItemOutcome): void {
    const { attempts, cost, reason, step, target, usage } = outcome
    this.latency.add(outcome.latency)
    this.addRequests(attempts)
    if (reason !== undefined) {
      this.deadLetters++
      count(this.reasons, reason)
      return
    }
    this.succeeded++
    const first = attempts[0]?.target
    if ((first !== undefined && first !== target) || (step !== undefined && step > 0)) this.fallbacks++
    if (outcome.cacheStatus === "HIT") this.cacheHits++
    const [tokensIn, tokensOut] = [usage?.inputTokens ?? 0, usage?.outputTokens ?? 0]
    this.tokensIn += tokensIn
    this.tokensOut += tokensOut
    const answering = this.target(target ?? otherTargets)
    answering.answered++
    answering.tokensIn += tokensIn
    answering.tokensOut += tokensOut
    if (cost !== undefined) {
      this.cost += cost
      this.costKnown++
      answering.cost += cost
    }
  }

  itemLatency(): Latencies | undefined {
    return latencies(this.latency)
  }

  byTarget(): Readonly<Record<string, TargetSummary>> {
    return Object.fromEntries(
      [...this.targets].map(([key, { latency, ...target }]) => {
        const measured = latencies(latency)
        return [
          key,
          { ...target, failures: { ...target.failures }, ...(measured !== undefined && { latency: measured }) }
        ]
      })
    )
  }
}
