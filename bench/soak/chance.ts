/** Repeatable randomness: everything random in a soak derives from its seed. */

/** Mixes whole numbers to one from 0 to 1: equal inputs give equal outputs. */
export const mixed = (...numbers: ReadonlyArray<number>): number => {
  let hash = 0x9e3779b9
  for (const number of numbers) {
    hash = Math.imul(hash ^ number, 0x85ebca6b)
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
    hash ^= hash >>> 16
  }
  return (hash >>> 0) / 2 ** 32
}

/** Draws whole numbers, from the first up to the second. */
export type Between = (from: number, to: number) => number

/** A sequence for each seed and name, so that parts of a soak are independent of each other's draws. */
export const between = (seed: number, name: string): Between => {
  const letters = [...name].map((letter) => letter.charCodeAt(0))
  let drawn = 0
  return (from, to) => from + Math.floor(mixed(seed, ...letters, drawn++) * (to - from + 1))
}
