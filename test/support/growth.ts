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

/** {@link linear} measures one size and this many times as much. */
const step = 16

const cost = (run: () => unknown): number => {
  const before = process.hrtime.bigint()
  run()
  return Number(process.hrtime.bigint() - before) / 1e6
}

/** The least of some runs: what a busy machine adds is left out. */
const least = (run: () => unknown): number => Math.min(...Array.from({ length: 3 }, () => cost(run)))

/**
 * The cheap check, for many pairs of readers and texts: a size that is given, and no search for one. Asserts that sixteen times the text costs no more than about sixteen times as much; a quadratic reader costs 256 times. The bound
 * lies between, and the first cost counts as a millisecond at least, because less cannot be told from nothing.
 */
export const linear = (label: string, text: (n: number) => string, read: (text: string) => unknown, n = 4000): void => {
  const [small, large] = [text(n), text(n * step)]
  read(small)
  const first = Math.max(
    least(() => read(small)),
    1
  )
  const second = cost(() => read(large))
  // A second look only where the first says too much: one that was interrupted is no proof.
  const ratio = second / first > 5 * step ? least(() => read(large)) / first : second / first
  assert.isBelow(ratio, 5 * step, label)
}
