/**
 * The worst case of a route, computed without running it.
 */
import * as Duration from "effect/Duration"
import type * as GatewayOptions from "../../GatewayOptions.ts"
import { backoffMillis, isSchedule } from "./node.ts"
import { attemptsOf, type Plan, type Planned, type Target } from "./plan.ts"

/** Worst case of one target. */
export interface TargetBounds {
  readonly key: string
  /** Attempts of the router on this target, at most. Infinite for a schedule. */
  readonly attempts: number
  /** Requests that the provider can see: attempts, times the gateway's own where the route leaves retries to it. */
  readonly requests: number
}

/**
 * Worst case of a route, up to the first output of a stream. Each restart after it can make as many attempts, requests
 * and waits again.
 */
export interface Bounds {
  readonly targets: ReadonlyArray<TargetBounds>
  /** Attempts of the router in one run, at most. */
  readonly attempts: number
  /** Attempts of the router that are open at once, at most. */
  readonly concurrent: number
  /** Requests that providers can see in one run, at most. */
  readonly requests: number
  /** The same under an SDK that retries twice and calls the program again on failure: three times as many. */
  readonly requestsUnderSdkRetries: number
  /** Waiting between attempts, at most, when no server gives a hint. */
  readonly waiting: Duration.Duration
  /** Waiting between attempts, at most, with hints: the deadline, or infinite. */
  readonly waitingWithHints: Duration.Duration
  /**
   * Waiting in the queues of `Route.limits` before attempts, at most. Attempts that are rejected there are waited for
   * as after a hint.
   */
  readonly admission: Duration.Duration
  /** The deadline that bounds the whole run, if there is one. */
  readonly deadline: Duration.Duration | undefined
  /** Keys of targets that no failure can reach. */
  readonly unreachable: ReadonlyArray<string>
  /** Likely mistakes, in words. */
  readonly warnings: ReadonlyArray<string>
  /** Faults that make the route invalid; it would fail before anything is sent. */
  readonly problems: ReadonlyArray<GatewayOptions.Problem>
}

interface Worst {
  /** By key, because a route can call one target in several places. */
  readonly targets: ReadonlyMap<string, { readonly attempts: number; readonly requests: number }>
  readonly attempts: number
  readonly requests: number
  readonly waiting: number
  readonly hints: number
  readonly admission: number
}

const none: Worst = { targets: new Map(), attempts: 0, requests: 0, waiting: 0, hints: 0, admission: 0 }

const combine = (a: Worst, b: Worst, f: (x: number, y: number) => number): Worst => {
  const targets = new Map(a.targets)
  for (const [key, { attempts, requests }] of b.targets) {
    const other = targets.get(key) ?? { attempts: 0, requests: 0 }
    targets.set(key, { attempts: f(other.attempts, attempts), requests: f(other.requests, requests) })
  }
  return {
    targets,
    attempts: f(a.attempts, b.attempts),
    requests: f(a.requests, b.requests),
    waiting: f(a.waiting, b.waiting),
    hints: f(a.hints, b.hints),
    admission: f(a.admission, b.admission)
  }
}

const add = (a: Worst, b: Worst): Worst => combine(a, b, (x, y) => x + y)
const most = (a: Worst, b: Worst): Worst => combine(a, b, Math.max)
/** The worst case of two plans that run at once. */
const beside = (a: Worst, b: Worst): Worst => ({
  ...add(a, b),
  waiting: Math.max(a.waiting, b.waiting),
  hints: Math.max(a.hints, b.hints),
  admission: Math.max(a.admission, b.admission)
})

const gatewayAttempts = (target: Target<never, unknown>): number => target.options.retries?.attempts ?? 1

const worstOfTarget = (target: Target<never, unknown>): Worst => {
  const attempts = attemptsOf(target.retry)
  const requests = attempts * gatewayAttempts(target)
  const { retry } = target
  const admission = target.limits === undefined ? 0 : attempts * target.limits.maxWait
  const counts = { targets: new Map([[target.key, { attempts, requests }]]), attempts, requests, admission }
  if (retry === undefined) return { ...counts, waiting: 0, hints: 0 }
  if (isSchedule(retry)) return { ...counts, waiting: Number.POSITIVE_INFINITY, hints: Number.POSITIVE_INFINITY }
  let waiting = 0
  let hints = 0
  for (let attempt = 1; attempt < attempts; attempt++) {
    const wait = backoffMillis(retry, attempt)
    waiting += wait
    // A hint has no upper limit, and the router waits for it when there is no other target.
    hints += retry.retryAfter ? Number.POSITIVE_INFINITY : wait
  }
  return { ...counts, waiting, hints }
}

/** Attempts that a hedge adds on a target. */
const moreOf = (target: Target<never, unknown>, attempts: number): Worst => {
  const requests = attempts * gatewayAttempts(target)
  return { ...none, targets: new Map([[target.key, { attempts, requests }]]), attempts, requests }
}

/** The targets that are the only one for some input. */
const loneTargets = (plan: Plan<never, unknown>): ReadonlyArray<Target<never, unknown>> => {
  switch (plan._tag) {
    case "Target":
      return [plan]
    case "Fallback":
    case "Balance":
      return plan.plans.length === 1 ? plan.plans.flatMap(loneTargets) : []
    // These order their targets themselves.
    case "Race":
    case "Hedge":
      return []
    case "Deadline":
      return loneTargets(plan.plan)
    case "When":
      return [...loneTargets(plan.onTrue), ...loneTargets(plan.onFalse)]
  }
}

/**
 * The maximum number of attempts that each step of a plan has open at once; for a condition, the larger branch counts.
 */
const stepsOf = (plan: Plan<never, unknown>): ReadonlyArray<number> => {
  switch (plan._tag) {
    case "Target":
      return [1]
    case "Fallback":
    case "Balance":
      return plan.plans.flatMap(stepsOf)
    case "Race":
      return [plan.plans.reduce((sum, child) => sum + Math.max(0, ...stepsOf(child)), 0)]
    case "Hedge": {
      const steps = stepsOf(plan.plan).toSorted((a, b) => b - a)
      const max = plan.hedge?.max ?? 0
      const open = steps.slice(0, 1 + max).reduce((sum, one) => sum + one, 0)
      return [loneTargets(plan.plan).length > 0 ? Math.max(open, 1 + max) : open]
    }
    case "Deadline":
      return stepsOf(plan.plan)
    case "When": {
      const [a, b] = [stepsOf(plan.onTrue), stepsOf(plan.onFalse)]
      return Array.from({ length: Math.max(a.length, b.length) }, (_, i) => Math.max(a[i] ?? 0, b[i] ?? 0))
    }
  }
}

/** Computes the bounds of a plan. */
export const boundsOf = (planned: Planned<never, unknown>): Bounds => {
  const unreachable: Array<string> = []
  const warnings: Array<string> = []

  const keysOf = (plan: Plan<never, unknown>): ReadonlyArray<string> => {
    switch (plan._tag) {
      case "Target":
        return [plan.key]
      case "Fallback":
      case "Race":
      case "Balance":
        return plan.plans.flatMap(keysOf)
      case "Hedge":
      case "Deadline":
        return keysOf(plan.plan)
      case "When":
        return [...keysOf(plan.onTrue), ...keysOf(plan.onFalse)]
    }
  }

  const go = (plan: Plan<never, unknown>, deadline: number): Worst => {
    switch (plan._tag) {
      case "Target":
        if (plan.timeout !== undefined && plan.timeout > deadline) {
          warnings.push(`${plan.key}: the timeout of ${plan.timeout} ms is longer than the deadline of ${deadline} ms`)
        }
        if (gatewayAttempts(plan) > 1) {
          warnings.push(`${plan.key}: the gateway makes up to ${gatewayAttempts(plan)} attempts of its own per request`)
        }
        return worstOfTarget(plan)
      case "Fallback":
      case "Balance": {
        const stops = Array.isArray(plan.on) && plan.on.length === 0
        let total = none
        plan.plans.forEach((child, index) => {
          if (stops && index > 0 && plan._tag === "Fallback") {
            unreachable.push(...keysOf(child))
            return
          }
          total = add(total, go(child, deadline))
        })
        // Attempts that limits hold back are waited for when the others have failed, as after a hint.
        const comesBack = plan.plans.length > 1 && total.admission > 0
        return comesBack ? { ...total, hints: Number.POSITIVE_INFINITY } : total
      }
      case "Race":
        return plan.plans.reduce((total, child) => beside(total, go(child, deadline)), none)
      case "Hedge": {
        const worst = go(plan.plan, deadline)
        const max = plan.hedge?.max ?? 0
        // Lone targets are called once more, outside their retry policy.
        const alone = loneTargets(plan.plan)
        if (max === 0 || alone.length === 0) return worst
        return add(worst, alone.map((target) => moreOf(target, max)).reduce(most))
      }
      case "Deadline": {
        const inner = Math.min(deadline, plan.millis)
        const worst = go(plan.plan, inner)
        return {
          ...worst,
          waiting: Math.min(worst.waiting, inner),
          hints: Math.min(worst.hints, inner),
          admission: Math.min(worst.admission, inner)
        }
      }
      case "When":
        return most(go(plan.onTrue, deadline), go(plan.onFalse, deadline))
    }
  }

  const worst = go(planned.plan, Number.POSITIVE_INFINITY)
  const deadline = planned.plan._tag === "Deadline" ? Duration.millis(planned.plan.millis) : undefined
  return {
    targets: Array.from(worst.targets, ([key, counts]) => ({ key, ...counts })),
    attempts: worst.attempts,
    concurrent: Math.max(0, ...stepsOf(planned.plan)),
    requests: worst.requests,
    requestsUnderSdkRetries: worst.requests * 3,
    waiting: Duration.millis(worst.waiting),
    waitingWithHints: Duration.millis(worst.hints),
    admission: Duration.millis(worst.admission),
    deadline,
    // A target may stand in several places.
    unreachable: [...new Set(unreachable)].filter((key) => !worst.targets.has(key)),
    warnings: [...new Set(warnings)],
    problems: planned.problems
  }
}
