/**
 * The rest of a plan after the answer of one of its targets has broken.
 */
import type { GatewayError } from "../../GatewayError.ts"
import type { Plan, Target } from "../route/plan.ts"
import type { Deadlines, Orders } from "./attempt.ts"
import { canFallback } from "./walk.ts"

type Superseded = ReadonlySet<Target<never, unknown>>

/** What the run has done so far. */
interface Known {
  readonly deadlines: Deadlines
  readonly superseded: Superseded
  readonly orders: Orders
}

interface Left<In, Out> {
  /** The broken target alone, in the deadlines around it. */
  readonly again: Plan<In, Out>
  /** What comes after it; absent when nothing may. */
  readonly rest: Plan<In, Out> | undefined
}

/** The targets of a plan that were given up because another one had answered: nothing is known against them. */
const supersededOf = <In, Out>(plan: Plan<In, Out>, superseded: Superseded): Plan<In, Out> | undefined => {
  switch (plan._tag) {
    case "Target":
      return superseded.has(plan) ? plan : undefined
    case "Fallback":
    case "Race":
    case "Balance": {
      const plans = plan.plans.flatMap((child) => supersededOf(child, superseded) ?? [])
      return plans.length === 0 ? undefined : { ...plan, plans }
    }
    case "When":
      return supersededOf(plan.onTrue, superseded) ?? supersededOf(plan.onFalse, superseded)
    case "Hedge":
    case "Deadline": {
      const inner = supersededOf(plan.plan, superseded)
      return inner && { ...plan, plan: inner }
    }
  }
}

/** Finds the broken target, and cuts away what has failed before it. */
const cut = <In, Out>(
  plan: Plan<In, Out>,
  broken: Target<never, unknown>,
  error: GatewayError,
  known: Known,
  left: (deadline: Plan<In, Out> & { readonly _tag: "Deadline" }) => number
): Left<In, Out> | undefined => {
  const { orders, superseded } = known
  const within = (wrap: (inner: Plan<In, Out>) => Plan<In, Out>, inner: Plan<In, Out>): Left<In, Out> | undefined => {
    const found = cut(inner, broken, error, known, left)
    return found && { again: wrap(found.again), rest: found.rest && wrap(found.rest) }
  }
  switch (plan._tag) {
    case "Target":
      return Object.is(plan, broken) ? { again: plan, rest: undefined } : undefined
    case "When":
      // The side that has it is the one that was taken: a predicate may answer otherwise the next time.
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
        const unfailed = (plans: ReadonlyArray<Plan<In, Out>>) =>
          plans.flatMap((one) => supersededOf(one, superseded) ?? [])
        const later = plan.plans.slice(index + 1)
        const plans = canFallback(error, plan.on)
          ? [...unfailed(plan.plans.slice(0, index)), ...own, ...(plan._tag === "Race" ? unfailed(later) : later)]
          : own
        return { again: found.again, rest: plans.length === 0 ? undefined : { ...plan, plans } }
      }
      return undefined
    }
  }
}

/**
 * The plan of a restart: the targets that have not failed and to which the fallbacks of the broken one may move after this failure, else the
 * broken one again. Deadlines that have begun keep their ends, the others their full time. `undefined`: the plan does not have that target.
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
