import { assert } from "@effect/vitest"

const factor = 16

const cost = (run: () => unknown): number => {
  const before = process.hrtime.bigint()
  run()
  return Number(process.hrtime.bigint() - before) / 1e6
}

/** The least of some runs: what a busy machine adds is left out. */
const least = (run: () => unknown): number => Math.min(...Array.from({ length: 3 }, () => cost(run)))

/**
 * Asserts that sixteen times the text costs no more than about sixteen times as much; a quadratic reader costs 256 times. The bound
 * lies between, and the first cost counts as a millisecond at least, because less cannot be told from nothing.
 */
export const linear = (label: string, text: (n: number) => string, read: (text: string) => unknown, n = 4000): void => {
  const [small, large] = [text(n), text(n * factor)]
  read(small)
  const first = Math.max(
    least(() => read(small)),
    1
  )
  const second = cost(() => read(large))
  // A second look only where the first says too much: one that was interrupted is no proof.
  const ratio = second / first > 5 * factor ? least(() => read(large)) / first : second / first
  assert.isBelow(ratio, 5 * factor, label)
}
