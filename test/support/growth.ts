/**
 * Tells whether a cost grows in proportion to the size or to its square: measured as a ratio, so that a slow machine
 * changes nothing.
 */
import { assert } from "@effect/vitest"

/**
 * The factor between the two sizes. A linear cost is then about 8 times as high, a quadratic one 64 times; garbage
 * collection adds to the 8.
 */
const factor = 8
const most = 32
/** Shortest run, in milliseconds of the processor, that proves something. */
const leastMillis = 2
const tries = 4

/**
 * Milliseconds of the processor that this process has used, collections included. What others use of the machine does
 * not count.
 */
export const cpuMillis = (): number => {
  const { system, user } = process.cpuUsage()
  return (user + system) / 1000
}

const cost = (run: () => unknown): number => {
  const before = cpuMillis()
  run()
  return cpuMillis() - before
}

const best = (times: number, run: () => unknown): number => Math.min(...Array.from({ length: times }, () => cost(run)))

/**
 * Fails unless reading eight times as much costs about eight times as much. `make` prepares an input of a size, and
 * returns the function that reads it. `size` is a size that takes almost no time, and is doubled until a run takes long
 * enough.
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

/**
 * A cheaper check for many pairs of readers and texts, with a fixed size. Asserts that sixteen times the text costs no
 * more than about sixteen times as much; a quadratic reader costs 256 times as much. The bound lies between, and the
 * first cost counts as at least a millisecond, because less cannot be measured.
 */
export const linear = (label: string, text: (n: number) => string, read: (text: string) => unknown, n = 4000): void => {
  const [small, large] = [text(n), text(n * step)]
  read(small)
  const first = Math.max(
    best(3, () => read(small)),
    1
  )
  const second = cost(() => read(large))
  // Measured again only if the first ratio is too high: a collection or a compilation may have come in between.
  const ratio = second / first > 5 * step ? best(3, () => read(large)) / first : second / first
  assert.isBelow(ratio, 5 * step, label)
}
