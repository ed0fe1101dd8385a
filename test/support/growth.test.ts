import { assert, describe, it } from "@effect/vitest"
import { assertLinear, linear } from "./growth.ts"

/** Takes time in proportion to a number. */
const work = (units: number): number => {
  let sum = 0
  for (let i = 0; i < units; i++) sum = (sum * 31 + i) | 0
  return sum
}

describe("a check of growth", () => {
  it("passes a cost in proportion to the size", () => {
    assertLinear("in proportion", 1000, (n) => () => void work(n))
    linear(
      "in proportion",
      (n) => "x".repeat(n),
      (text) => work(100 * text.length)
    )
  })

  it("fails on a cost in proportion to the square of the size", () => {
    assert.throws(() => assertLinear("squared", 100, (n) => () => void work(n * n)), "squared: 8 times as much")
  })
})
