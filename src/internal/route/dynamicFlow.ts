/**
 * A plan as a flow of models, in the form of a dynamic route: each model leads to the next one when it fails, and a
 * percentage chooses the first.
 */
import type { Balance, Plan, Target } from "./plan.ts"

/** The next element of a dynamic route. */
export type Flow<In, Out> =
  | { readonly _tag: "End" }
  | { readonly _tag: "Model"; readonly target: Target<In, Out>; readonly next: Flow<In, Out> }
  /** Shares of 100 with six decimals; the last branch has the rest. */
  | {
      readonly _tag: "Percentage"
      readonly shares: ReadonlyArray<number>
      readonly branches: ReadonlyArray<Flow<In, Out>>
    }

/** Maximum number of branches of a percentage: five with a share, and one for the rest. */
const maxBranches = 6

/** Millionths in one percent. */
const millionths = 1_000_000

type AnyBalance = Balance<never, unknown>

/** Indexes of the children that may be first. */
const candidates = ({ weights }: AnyBalance): ReadonlyArray<number> =>
  weights.flatMap((weight, index) => (weight > 0 ? [index] : []))

/** Whether a percentage can choose the first child. A percentage inside another one would multiply the elements. */
const canSplit = (balance: AnyBalance, isInside: boolean): boolean =>
  balance.by === "weight" && !isInside && candidates(balance).length <= maxBranches

/** Describes what a dynamic route loses of a balance; `undefined` if nothing. */
export const balanceLoss = (balance: AnyBalance, isInside: boolean): string | undefined => {
  if (balance.by !== "weight") return `only a choice by weight has a place in a dynamic route, not one by ${balance.by}`
  if (isInside) return "a balance within another one keeps its declared order"
  const { length } = candidates(balance)
  if (length > maxBranches) return `a percentage has at most ${maxBranches} branches, not ${length}`
  return length > 2 ? "after the first route, the others come in declared order" : undefined
}

/**
 * Shares of all candidates except the last. They are names of outputs, so equal ones are made to differ by a millionth
 * of a percent.
 */
const sharesOf = (weights: ReadonlyArray<number>): ReadonlyArray<number> => {
  const sum = weights.reduce((all, weight) => all + weight, 0)
  const taken = new Set<number>()
  for (const weight of weights.slice(0, -1)) {
    const share = Math.round((weight / sum) * 100 * millionths)
    const isFree = (one: number): boolean => one >= 0 && !taken.has(one)
    let distance = 0
    while (!isFree(share - distance) && !isFree(share + distance)) distance++
    taken.add(isFree(share - distance) ? share - distance : share + distance)
  }
  return [...taken].map((share) => share / millionths)
}

/** Returns the flow of a plan. `next`: the element after a failure of all its targets. */
export const flowOf = <In, Out>(plan: Plan<In, Out>, next: Flow<In, Out>, isInside = false): Flow<In, Out> => {
  const inOrder = (plans: ReadonlyArray<Plan<In, Out>>, inside: boolean): Flow<In, Out> =>
    plans.reduceRight((after, one) => flowOf(one, after, inside), next)
  switch (plan._tag) {
    case "Target":
      return { _tag: "Model", target: plan, next }
    case "Fallback":
    case "Race":
      return inOrder(plan.plans, isInside)
    case "Balance": {
      if (!canSplit(plan, isInside)) return inOrder(plan.plans, isInside)
      const first = candidates(plan)
      const rest = plan.weights.flatMap((weight, index) => (weight > 0 ? [] : [index]))
      const branches = first.map((index) =>
        inOrder(
          [index, ...first.filter((other) => other !== index), ...rest].flatMap((one) => plan.plans[one] ?? []),
          true
        )
      )
      const [only] = branches
      return branches.length === 1 && only !== undefined
        ? only
        : { _tag: "Percentage", shares: sharesOf(first.map((index) => plan.weights[index] ?? 0)), branches }
    }
    case "Hedge":
    case "Deadline":
      return flowOf(plan.plan, next, isInside)
    case "When":
      return flowOf(plan.onTrue, next, isInside)
  }
}
