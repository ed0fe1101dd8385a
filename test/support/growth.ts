/**
 * Tells whether a cost grows in proportion to the size or to its square: measured as a ratio, so that a slow machine changes nothing.
 */
import { assert } from "@effect/vitest"

/** The factor between the two sizes. A linear cost is then about 8 times as high, a quadratic one 64 times; garbage collection adds to the 8. */
const factor = 8
const most = 32
/** Shortest run, in milliseconds, that proves something. */
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
 * Fails unless reading eight times as much costs about eight times as much. `make` prepares an input of a size, and returns the function that reads it. `size` is a size that takes
 * almost no time, and is doubled until a run takes long enough.
 */
export const assertLinear = (name: string, size: number, make: (size: number) => () => void): void => {
  let n = size
  let run = make(n)
  run()
  while (n <= size * 4096 && best(2, run) < leastMillis) {
    n *= 2
    run = make(n)
  }
  if (n > size * 4096) return // Reading takes no time at any size.
  let ratio = Number.POSITIVE_INFINITY
  const larger = make(n * factor)
  for (let i = 0; i < tries && ratio > most; i++) ratio = Math.min(ratio, best(1, larger) / best(3, run))
  assert.isAtMost(ratio, most, `${name}: ${factor} times as much as ${n} costs ${ratio.toFixed(0)} times as much`)
}

/** The factor between the two sizes of {@link linear}. */
const step = 16

const cost = (run: () => unknown): number => {
  const before = process.hrtime.bigint()
  run()
  return Number(process.hrtime.bigint() - before) / 1e6
}

/** The shortest of some runs, without the delays of a busy machine. */
const least = (run: () => unknown): number => Math.min(...Array.from({ length: 3 }, () => cost(run)))

/**
 * A cheaper check for many pairs of readers and texts, with a fixed size. Asserts that sixteen times the text costs no more than about sixteen times as much; a quadratic reader costs
 * 256 times as much. The bound lies between, and the first cost counts as at least a millisecond, because less cannot be measured.
 */
export const linear = (label: string, text: (n: number) => string, read: (text: string) => unknown, n = 4000): void => {
  const [small, large] = [text(n), text(n * step)]
  read(small)
  const first = Math.max(
    least(() => read(small)),
    1
  )
  const second = cost(() => read(large))
  // Measured again only if the first ratio is too high: the run may have been interrupted.
  const ratio = second / first > 5 * step ? least(() => read(large)) / first : second / first
  assert.isBelow(ratio, 5 * step, label)
}
