/**
 * The orders of `Route.balance`: the first target, and the order of its fallbacks. Pure: numbers in, indices out.
 *
 * All strategies separate three groups: callable targets, targets whose breaker is open, and targets of weight 0. A
 * weight of 0 means "never first", so such a target is last even if every other one is open.
 */
import type { Problem } from "../../GatewayOptions.ts"

/** The names of the strategies. */
export const strategies = ["weight", "roundRobin", "leastInFlight", "latency", "session"] as const
/** A strategy of `Route.balance`: see `BalanceOptions.by`. */
export type Strategy = (typeof strategies)[number]

/** Facts for every strategy. Arrays have one entry per child, in declared order. */
interface Children {
  /** Finite, from 0. The caller has checked them with {@link weightProblems}. */
  readonly weights: ReadonlyArray<number>
  /** Whether the breaker of a child is open. Default: none is. */
  readonly open?: ReadonlyArray<boolean> | undefined
}

/** The facts by which a strategy chooses. */
export type Choosing = Children &
  (
    | {
        readonly by: "weight"
        /** Random, from 0 to less than 1. */
        readonly draw: number
      }
    | {
        readonly by: "session"
        readonly session: string
        /** Stable names of the children: a renamed child gets other sessions. */
        readonly names: ReadonlyArray<string>
        /** Requests of this balance in flight. */
        readonly inFlight: ReadonlyArray<number>
      }
    | {
        readonly by: "roundRobin"
        /** Kept by the caller between runs, initially zeros. {@link order} changes it. */
        readonly credits: Float64Array
      }
    | {
        readonly by: "leastInFlight"
        /** Requests in flight. */
        readonly inFlight: ReadonlyArray<number>
      }
    | {
        readonly by: "latency"
        /** Random, from 0 to less than 1. */
        readonly draw: number
        /** Peak EWMA times (pending + 1), in milliseconds; infinite if requests are pending and none has ended. */
        readonly loads: ReadonlyArray<number>
      }
  )

/** Multiple of its fair share up to which a session may fill a target. */
const boundedFactor = 1.25

const maxWeight = 1_000_000

/** FNV-1a over UTF-16 code units, continued from `state`. */
const absorb = (state: number, text: string): number => {
  let hash = state
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  return hash
}

/** The finalizer of MurmurHash3: every bit of the input changes half of the output. */
const mix = (state: number): number => {
  let hash = Math.imul(state ^ (state >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

const offsetBasis = 0x811c9dc5

/** The 32-bit hash behind the scores of {@link order}. */
export const hash = (text: string): number => mix(absorb(offsetBasis, text))

/** The score of weighted rendezvous hashing: the highest wins, with a chance in proportion to the weight. */
const score = (weight: number, bits: number): number => -weight / Math.log((bits + 0.5) / 2 ** 32)

/**
 * Maximum number of requests in flight with which a target accepts one more session.
 *
 * @param share the part of the sessions that is the target's own: its weight over the sum of weights
 */
export const boundedCap = (inFlight: number, share: number): number => Math.ceil(boundedFactor * (inFlight + 1) * share)

/** Lists the problems of the weights of a balance with the given number of children. */
export const weightProblems = (weights: ReadonlyArray<number>, children: number): ReadonlyArray<Problem> => {
  const problems: Array<Problem> = []
  if (weights.length !== children) problems.push({ field: "weights", accepted: `one per route: ${children}` })
  // A copy has no holes, which `forEach` would skip.
  Array.from(weights).forEach((weight, index) => {
    if (!(typeof weight === "number" && weight >= 0 && weight <= maxWeight)) {
      problems.push({ field: `weights[${index}]`, accepted: `a number from 0 to ${maxWeight}` })
    }
  })
  if (problems.length === 0 && children > 0 && weights.every((weight) => weight === 0)) {
    problems.push({ field: "weights", accepted: "at least one weight above 0" })
  }
  return problems
}

/** Sorts by a key, smallest first. Equal keys stay in declared order. */
const sortBy = (indices: Array<number>, key: (index: number) => number): Array<number> =>
  // A difference of infinities is not a number.
  indices.sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0))

/** Returns the children that may be first, and the others in their groups. */
const grouped = ({
  open,
  weights
}: Children): readonly [free: Array<number>, ...rest: ReadonlyArray<Array<number>>] => {
  const groups: [Array<number>, Array<number>, Array<number>, Array<number>] = [[], [], [], []]
  weights.forEach((weight, index) => {
    groups[(weight > 0 ? 0 : 2) + (open?.[index] === true ? 1 : 0)]?.push(index)
  })
  return groups
}

const sum = (indices: ReadonlyArray<number>, values: ArrayLike<number>): number =>
  indices.reduce((total, index) => total + (values[index] ?? 0), 0)

/**
 * Chooses two different children at random, with one draw for both, and puts the less loaded one first. On a tie, the
 * one that was drawn first.
 */
const powerOfTwo = (free: ReadonlyArray<number>, draw: number, load: (index: number) => number): number | undefined => {
  const position = draw * free.length
  const first = Math.floor(position)
  const other = Math.floor((position - first) * (free.length - 1))
  const one = free[first]
  const two = free[other < first ? other : other + 1]
  return one === undefined || two === undefined ? one : load(two) < load(one) ? two : one
}

/** Moves children above their bound behind the rest of the front group. */
const bounded = (
  free: ReadonlyArray<number>,
  weights: ReadonlyArray<number>,
  inFlight: ReadonlyArray<number>
): Array<number> => {
  const total = sum(free, inFlight)
  const weight = sum(free, weights)
  const isFull = (index: number): boolean => (inFlight[index] ?? 0) >= boundedCap(total, (weights[index] ?? 0) / weight)
  return [...free.filter((index) => !isFull(index)), ...free.filter(isFull)]
}

/**
 * Returns the order in which a balance tries its children, as indices in declared order.
 *
 * - `session`, `weight`: weighted rendezvous, by the session's key or by a draw. When a child goes, only its own
 *   sessions move. A session whose target already has more than 1.25 times its share of the requests in flight moves to
 *   its next target.
 * - `roundRobin`: smooth and weighted. Open children earn no credit.
 * - `leastInFlight`: smallest (in flight + 1) / weight, ties in declared order.
 * - `latency`: of two children at random the one with the smaller load / weight; the rest by load / weight.
 */
export const order = (choosing: Choosing): Array<number> => {
  const { weights } = choosing
  const weightOf = (index: number): number => weights[index] ?? 0
  const [free, ...rest] = grouped(choosing)
  const by = (key: (index: number) => number): Array<number> => [free, ...rest].flatMap((group) => sortBy(group, key))
  switch (choosing.by) {
    case "weight": {
      const seed = (choosing.draw * 2 ** 32) >>> 0
      // By position and not by name: a draw needs no stability, and two children may be the same target.
      const scores = weights.map((weight, index) => score(weight, mix(seed + Math.imul(index + 1, 0x9e3779b9))))
      return by((index) => -(scores[index] ?? 0))
    }
    case "session": {
      const prefix = absorb(offsetBasis, `${choosing.session}\0`)
      const scores = weights.map((weight, index) => score(weight, mix(absorb(prefix, choosing.names[index] ?? ""))))
      const byScore = (group: Array<number>): Array<number> => sortBy(group, (index) => -(scores[index] ?? 0))
      return [bounded(byScore(free), weights, choosing.inFlight), ...rest.map(byScore)].flat()
    }
    case "roundRobin": {
      const { credits } = choosing
      for (const index of free) credits[index] = (credits[index] ?? 0) + weightOf(index)
      const ordered = by((index) => -(credits[index] ?? 0))
      const [first] = ordered
      if (first !== undefined) credits[first] = (credits[first] ?? 0) - sum(free, weights)
      return ordered
    }
    case "leastInFlight":
      return by((index) => ((choosing.inFlight[index] ?? 0) + 1) / (weightOf(index) || 1))
    case "latency": {
      const load = (index: number): number => (choosing.loads[index] ?? 0) / (weightOf(index) || 1)
      const first = powerOfTwo(free, choosing.draw, load)
      const ordered = by(load)
      return first === undefined ? ordered : [first, ...ordered.filter((index) => index !== first)]
    }
  }
}
