/**
 * Makes chance repeatable: every test draws from a sequence of its own, made of its name and of `TEST_SEED`. Property
 * tests take their seed from there too, so that a change is judged by what it changes, and not by what a search happens
 * to find that day.
 *
 * `TEST_SEED=random npm test` searches elsewhere, and a failure prints which seed to repeat it with.
 */
import { createHash } from "node:crypto"
import { beforeEach, onTestFailed } from "vitest"

const given = process.env["TEST_SEED"] ?? ""
const seed = given === "random" ? `${process.pid}-${process.hrtime.bigint()}` : given
const native = Math.random

/** The generator mulberry32. */
const sequence = (start: number) => (): number => {
  start = (start + 0x6d2b79f5) | 0
  let bits = Math.imul(start ^ (start >>> 15), start | 1)
  bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61)
  return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32
}

beforeEach(({ task }) => {
  const name = `${task.file.name}\n${task.fullName}\n${seed}`
  Math.random = sequence(createHash("sha256").update(name).digest().readInt32LE())
  if (given !== "") onTestFailed(() => console.error(`repeat it with TEST_SEED=${seed}`))
  return () => {
    Math.random = native
  }
})
