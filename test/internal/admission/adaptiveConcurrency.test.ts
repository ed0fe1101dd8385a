import { assert, describe, it } from "@effect/vitest"
import { AdaptiveLimit } from "../../../src/internal/admission/adaptiveConcurrency.ts"

const limitOf = (initial: number) => new AdaptiveLimit({ initial, min: 1, max: 1_000, tolerance: 2 })

/**
 * The limit after each round: as many requests as it allows are sent at once, and those beyond the capacity are
 * rejected.
 */
const rounds = (
  limit: AdaptiveLimit,
  capacity: (round: number) => number,
  count: number,
  demand = Number.POSITIVE_INFINITY
): ReadonlyArray<number> =>
  Array.from({ length: count }, (_, round) => {
    const startedAt = round * 100
    let inFlight = Math.min(demand, limit.current)
    for (let i = 0, sent = inFlight; i < sent; i++) {
      const busy = inFlight >= limit.current * 0.8
      limit.answered(startedAt + 90 + i / 1_000, startedAt, i < capacity(round) ? 50 : undefined, busy)
      inFlight--
    }
    return limit.current
  })

const mean = (numbers: ReadonlyArray<number>) => numbers.reduce((sum, one) => sum + one, 0) / numbers.length

describe("an adaptive limit", () => {
  it("decreases once for twenty simultaneous rejections", () => {
    for (const startedAt of [0, 50]) {
      const limit = limitOf(20)
      // Also when rejections arrive in the very millisecond in which their calls began.
      for (let i = 0; i < 20; i++) limit.answered(50, startedAt, undefined, true)
      assert.strictEqual(limit.current, 10)
      for (let i = 0; i < 20; i++) limit.answered(51, startedAt, undefined, true)
      assert.strictEqual(limit.current, 10)
    }
  })

  it("decreases by the rejected share, and not below nine tenths of the accepted rate", () => {
    const limit = limitOf(100)
    for (let i = 0; i < 100; i++) limit.answered(50 + i / 1_000, 0, i < 80 ? 10 : undefined, false)
    assert.strictEqual(limit.current, 90)
  })

  it("never grows while idle", () => {
    assert.deepStrictEqual(new Set(rounds(limitOf(10), () => 1_000, 200, 7)), new Set([10]))
  })

  for (const capacity of [1, 2, 3, 5, 8, 15, 40, 100]) {
    it(`stays within 20 % of a capacity of ${capacity}, or one more`, () => {
      const after = rounds(limitOf(8), () => capacity, 300).slice(200)
      assert.isAtMost(Math.abs(mean(after) - capacity), Math.max(1, capacity * 0.2))
      assert.isAtMost(Math.max(...after), Math.max(capacity + 1, capacity * 1.2))
    })

    it(`is back at 80 % of a capacity of ${capacity} within 30 rounds of an outage`, () => {
      for (const outage of [1, 3, 20, 100]) {
        const capacityAt = (round: number) => (round >= 200 && round < 200 + outage ? 0 : capacity)
        const after = rounds(limitOf(8), capacityAt, 231 + outage).slice(200 + outage)
        const back = after.findIndex((limit) => limit >= capacity * 0.8)
        assert.isTrue(back >= 0 && back <= 30, `${outage} rounds: ${after.join(" ")}`)
      }
    })
  }
})
