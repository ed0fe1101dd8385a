/**
 * Whether the cost of reading something grows with its size, or with the square of it: measured as a ratio, so that a slow machine changes nothing.
 */
import { assert } from "@effect/vitest"

/** So many times larger is the larger one. Its cost is then about 8 times, or 64 times as high; memory and its collection make the 8 more. */
const factor = 8
const most = 32
/** What is shorter than this says nothing. */
const leastMillis = 2
const tries = 4

const best = (times: number, run: () => void): number => {
  let least = Number.POSITIVE_INFINITY
  for (let i = 0; i < times; i++) {
    const startedAt = performance.now()
    run()
    least = Math.min(least, performance.now() - startedAt)
  }
  return least
}

/**
 * Fails unless reading eight times as much costs about eight times as much. `make` gives what reads an input of that size, which it has made before; `size` is one of which reading
 * takes next to nothing, and is doubled until it takes long enough.
 */
export const assertLinear = (name: string, size: number, make: (size: number) => () => void): void => {
  let n = size
  let run = make(n)
  run()
  while (n <= size * 4096 && best(2, run) < leastMillis) {
    n *= 2
    run = make(n)
  }
  if (n > size * 4096) return // It takes nothing, whatever there is.
  let ratio = Number.POSITIVE_INFINITY
  const larger = make(n * factor)
  for (let i = 0; i < tries && ratio > most; i++) ratio = Math.min(ratio, best(1, larger) / best(3, run))
  assert.isAtMost(ratio, most, `${name}: ${factor} times as much as ${n} costs ${ratio.toFixed(0)} times as much`)
}
