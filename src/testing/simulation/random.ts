/**
 * Randomness from a seed, with a separate sequence for every purpose: draws of one part of a model do not shift those
 * of another.
 */

/** Numbers from 0 to less than 1. */
export type Draw = () => number

/** 32 bits of a text, by FNV-1a. */
export const hashOf = (text: string): number => {
  let hash = 2166136261
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16777619)
  return hash
}

/** The generator mulberry32, seeded by a number and a name. */
export const drawOf = (seed: number, name: string): Draw => {
  let state = hashOf(`${seed} ${name}`)
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let bits = Math.imul(state ^ (state >>> 15), state | 1)
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61)
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A number of the standard normal distribution. Uses two draws. */
export const normal = (draw: Draw): number => {
  const [a, b] = [1 - draw(), draw()]
  return Math.sqrt(-2 * Math.log(a)) * Math.cos(2 * Math.PI * b)
}
