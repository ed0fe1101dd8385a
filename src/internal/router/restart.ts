/**
 * The rest of a plan after the answer of one of its targets has broken.
 */
import type { GatewayError } from "../../GatewayError.ts"
import type { Plan, Target } from "../route/plan.ts"
import type { Deadlines } from "./attempt.ts"
import { canFallback } from "./client.ts"

interface Left<In, Out> {
  /** The broken target alone, in the deadlines around it. */
  readonly again: Plan<In, Out>
  /** What comes after it; absent when nothing may. */
  readonly rest: Plan<In, Out> | undefined
}

/** Finds the broken target, and cuts away what came before it. */
const cut = <In, Out>(
  plan: Plan<In, Out>,
  broken: Target<never, unknown>,
  error: GatewayError,
  left: (deadline: Plan<In, Out> & { readonly _tag: "Deadline" }) => number
): Left<In, Out> | undefined => {
  switch (plan._tag) {
    case "Target":
      return Object.is(plan, broken) ? { again: plan, rest: undefined } : undefined
    case "When":
      // The side that has it is the one that was taken: a predicate may answer otherwise the next time.
      return cut(plan.onTrue, broken, error, left) ?? cut(plan.onFalse, broken, error, left)
    case "Deadline": {
      const found = cut(plan.plan, broken, error, left)
      if (found === undefined) return undefined
      const within = (inner: Plan<In, Out>): Plan<In, Out> => ({ _tag: "Deadline", millis: left(plan), plan: inner })
      return { again: within(found.again), rest: found.rest && within(found.rest) }
    }
    case "Fallback": {
      for (const [index, child] of plan.plans.entries()) {
        const found = cut(child, broken, error, left)
        if (found === undefined) continue
        const later = canFallback(error, plan.on) ? plan.plans.slice(index + 1) : []
        const plans = found.rest === undefined ? later : [found.rest, ...later]
        return { again: found.again, rest: plans.length === 0 ? undefined : { ...plan, plans } }
      }
      return undefined
    }
  }
}

/**
 * The plan of a restart: the targets after the broken one to which its fallbacks may move after this failure, else the broken
 * one again. Deadlines that have begun keep their ends, the others their full time. `undefined`: the plan does not have that target.
 */
export const planAfter = <In, Out>(
  plan: Plan<In, Out>,
  broken: Target<never, unknown>,
  error: GatewayError,
  deadlines: Deadlines,
  now: number
): Plan<In, Out> | undefined => {
  const found = cut(plan, broken, error, (node) => {
    const end = deadlines.get(node)
    return end === undefined ? node.millis : Math.max(0, end - now)
  })
  return found?.rest ?? found?.again
}
