/**
 * The rest of a plan after the answer of one of its targets broke.
 */
import type { GatewayError } from "../../GatewayError.ts"
import type { Plan, Target } from "../route/plan.ts"
import type { Deadlines, Orders } from "./attempt.ts"
import { canFallback } from "./walk.ts"

type Superseded = ReadonlySet<Target<never, unknown>>

/** Facts of the run so far. */
interface Known {
  readonly deadlines: Deadlines
  readonly superseded: Superseded
  /** Keys of the targets whose last attempt has failed. */
  readonly failed: ReadonlySet<string>
  readonly orders: Orders
}

interface Left<In, Out> {
  /** Only the broken target, in the deadlines around it. */
  readonly again: Plan<In, Out>
  /** The plan after it; absent if nothing may follow. */
  readonly rest: Plan<In, Out> | undefined
}

/**
 * Removes the targets that must not be called again from a plan; `undefined` if none is left. A balance keeps the order
 * of this run.
 */
const onlyThose = <In, Out>(
  plan: Plan<In, Out>,
  orders: Orders,
  keeps: (target: Target<In, Out>) => boolean
): Plan<In, Out> | undefined => {
  const within = (child: Plan<In, Out>): Plan<In, Out> | undefined => onlyThose(child, orders, keeps)
  switch (plan._tag) {
    case "Target":
      return keeps(plan) ? plan : undefined
    case "Fallback":
    case "Race": {
      const plans = plan.plans.flatMap((child) => within(child) ?? [])
      return plans.length === 0 ? undefined : { ...plan, plans }
    }
    case "Balance": {
      const { on, plans } = plan
      return within((orders.get(plan) as Plan<In, Out> | undefined) ?? { _tag: "Fallback", on, plans })
    }
    case "When": {
      const [onTrue, onFalse] = [within(plan.onTrue), within(plan.onFalse)]
      // If both branches have targets left, the predicate decides again.
      return onTrue === undefined || onFalse === undefined ? (onTrue ?? onFalse) : { ...plan, onTrue, onFalse }
    }
    case "Hedge":
    case "Deadline": {
      const inner = within(plan.plan)
      return inner && { ...plan, plan: inner }
    }
  }
}

/** Finds the broken target, and cuts off the failed plans before it. */
const cut = <In, Out>(
  plan: Plan<In, Out>,
  broken: Target<never, unknown>,
  error: GatewayError,
  known: Known,
  left: (deadline: Plan<In, Out> & { readonly _tag: "Deadline" }) => number
): Left<In, Out> | undefined => {
  const { failed, orders, superseded } = known
  const within = (wrap: (inner: Plan<In, Out>) => Plan<In, Out>, inner: Plan<In, Out>): Left<In, Out> | undefined => {
    const found = cut(inner, broken, error, known, left)
    return found && { again: wrap(found.again), rest: found.rest && wrap(found.rest) }
  }
  switch (plan._tag) {
    case "Target":
      return Object.is(plan, broken) ? { again: plan, rest: undefined } : undefined
    case "When":
      // The branch that has the target is the one that was taken: the predicate may decide otherwise the next time.
      return cut(plan.onTrue, broken, error, known, left) ?? cut(plan.onFalse, broken, error, known, left)
    case "Deadline":
      return within((inner) => ({ _tag: "Deadline", millis: left(plan), plan: inner }), plan.plan)
    case "Hedge":
      return within((inner) => ({ ...plan, plan: inner }), plan.plan)
    case "Balance": {
      // Its restart keeps the order of the run.
      const chosen = orders.get(plan) ?? { _tag: "Fallback" as const, on: plan.on, plans: plan.plans }
      return cut(chosen as Plan<In, Out>, broken, error, known, left)
    }
    case "Fallback":
    case "Race": {
      for (const [index, child] of plan.plans.entries()) {
        const found = cut(child, broken, error, known, left)
        if (found === undefined) continue
        const own = found.rest === undefined ? [] : [found.rest]
        // A fallback reaches its later plans in any case, and left the earlier ones for a reason; a race has no order.
        const keeps = (target: Target<In, Out>): boolean =>
          plan._tag === "Race" ? !failed.has(target.key) : superseded.has(target)
        const kept = (plans: ReadonlyArray<Plan<In, Out>>) =>
          plans.flatMap((one) => onlyThose(one, orders, keeps) ?? [])
        const later = plan.plans.slice(index + 1)
        const plans = canFallback(error, plan.on)
          ? [...kept(plan.plans.slice(0, index)), ...own, ...(plan._tag === "Race" ? kept(later) : later)]
          : own
        return { again: found.again, rest: plans.length === 0 ? undefined : { ...plan, plans } }
      }
      return undefined
    }
  }
}

/**
 * Makes the plan of a restart: the targets that have not failed and to which the fallbacks of the broken one may move
 * after this failure, otherwise the broken one again. Deadlines that have begun keep their ends, the others get their
 * full time. `undefined`: the plan does not contain the target.
 */
export const planAfter = <In, Out>(
  plan: Plan<In, Out>,
  broken: Target<never, unknown>,
  error: GatewayError,
  known: Known,
  now: number
): Plan<In, Out> | undefined => {
  const found = cut(plan, broken, error, known, (node) => {
    const end = known.deadlines.get(node)
    return end === undefined ? node.millis : Math.max(0, end - now)
  })
  return found?.rest ?? found?.again
}
