/**
 * The storm law of a purse: in any 10 seconds, further attempts are at most a share of the first ones, and the floor.
 */

/** One attempt at a provider. `isFirst`: the first of its run there. */
export interface Sent {
  readonly at: number
  readonly isFirst: boolean
}

const windowMillis = 10_000

/** The most by which any 10 seconds that end with a further attempt exceed the law; 0 or less: they keep it. */
export const excessOf = (
  sent: ReadonlyArray<Sent>,
  { perSecond, ratio }: { readonly ratio: number; readonly perSecond: number }
): number => {
  const sorted = sent.toSorted((a, b) => a.at - b.at || Number(b.isFirst) - Number(a.isFirst))
  let worst = Number.NEGATIVE_INFINITY
  let from = 0
  const counts = { first: 0, further: 0 }
  const count = ({ isFirst }: Sent, by: 1 | -1): void => {
    counts[isFirst ? "first" : "further"] += by
  }
  for (const [index, one] of sorted.entries()) {
    count(one, 1)
    while ((sorted[from]?.at ?? 0) <= one.at - windowMillis) {
      const left = sorted[from++]
      if (left !== undefined) count(left, -1)
    }
    // A window without a further attempt at its end is part of one that has it. Those of the same moment belong
    // together.
    if (one.isFirst || sorted[index + 1]?.at === one.at) continue
    worst = Math.max(worst, Math.ceil(counts.further - ratio * counts.first - perSecond * 10 - 1e-9))
  }
  return worst
}
