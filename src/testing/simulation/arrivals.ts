/**
 * Moments at which simulated runs begin.
 */
import { toMillis } from "../peer/line.ts"
import { drawOf } from "./random.ts"
import type { Arrivals } from "./settings.ts"

function* steady(perSecond: number, isConstant: boolean, seed: number): Generator<number> {
  const gap = 1_000 / perSecond
  const draw = drawOf(seed, "arrivals")
  for (let at = 0, i = 0; ; at = isConstant ? ++i * gap : at - Math.log(1 - draw()) * gap) yield at
}

function* bursts(size: number, every: number, perSecond: number | undefined, seed: number): Generator<number> {
  const between = perSecond === undefined ? undefined : steady(perSecond, false, seed)
  let next = between?.next().value ?? Number.POSITIVE_INFINITY
  for (let at = 0; ; at += every) {
    for (; next < at; next = between?.next().value ?? Number.POSITIVE_INFINITY) yield next
    for (let i = 0; i < size; i++) yield at
  }
}

const all = (arrivals: Arrivals, seed: number): Iterable<number> => {
  if ("times" in arrivals) return arrivals.times.map(toMillis).toSorted((a, b) => a - b)
  if ("burst" in arrivals) return bursts(arrivals.burst, toMillis(arrivals.every), arrivals.perSecond, seed)
  return steady(arrivals.perSecond, arrivals.by === "constant", seed)
}

/** Milliseconds from the beginning, in order, before `end`. */
export function* timesOf(arrivals: Arrivals, seed: number, end: number): Generator<number> {
  for (const at of all(arrivals, seed)) {
    if (at >= end) return
    yield at
  }
}
