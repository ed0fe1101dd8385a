/**
 * Balances: the options of a caller, their limits, and their normal form.
 */
import type { Problem } from "../../GatewayOptions.ts"
import { type Strategy, strategies, weightProblems } from "../admission/choice.ts"
import { isObject, strayField } from "../data/json.ts"
import type { BalanceOptions } from "./node.ts"

const names = ["by", "weights"]

/** A balance in its normal form. */
export interface Balancing {
  readonly by: Strategy
  /** One per route. */
  readonly weights: ReadonlyArray<number>
  readonly problems: ReadonlyArray<Problem>
}

/** Normalizes a balance of the given number of routes, and lists everything that is wrong with it. */
export const balancingOf = (options: BalanceOptions, routes: number): Balancing => {
  const equal = Array.from({ length: routes }, () => 1)
  if (!isObject(options)) {
    return { by: "weight", weights: equal, problems: [{ field: "balance", accepted: "an object with by" }] }
  }
  const { by, weights = equal } = options
  const own = Array.isArray(weights) ? weights : []
  const stray = strayField(options, names)
  const problems = [
    ...(stray === undefined ? [] : [{ field: stray, accepted: `one of ${names.join(", ")}` }]),
    ...(strategies.includes(by) ? [] : [{ field: "by", accepted: `one of ${strategies.join(", ")}` }]),
    ...weightProblems(own, routes)
  ]
  return {
    by,
    weights: own,
    problems: problems.map(({ accepted, field }) => ({ field: `balance.${field}`, accepted }))
  }
}
