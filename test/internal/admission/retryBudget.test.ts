import { assert, describe, it } from "@effect/vitest"
import { budgetOf, Purse } from "../../../src/internal/admission/retryBudget.ts"

/** Numbers from 0 to 1 that are the same each time. */
const sequence = (seed: number) => () => {
  seed = (seed * 1664525 + 1013904223) % 2 ** 32
  return seed / 2 ** 32
}

describe("a purse", () => {
  it("has its floor at the start, and regains it when withdrawals expire", () => {
    const purse = new Purse({ ratio: 0.2, perSecond: 10 })
    assert.strictEqual(purse.balance(0), 100)
    for (let i = 0; i < 100; i++) purse.deposit(0)
    assert.strictEqual(purse.balance(0), 120)
    for (let i = 0; i < 120; i++) assert.isTrue(purse.withdraw(0))
    assert.isFalse(purse.withdraw(0))
    assert.strictEqual(purse.balance(9_999), 0)
    assert.strictEqual(purse.balance(10_001), 100)
  })

  it("pays for every fifth at a ratio of 0.2 without a floor", () => {
    const purse = new Purse({ ratio: 0.2, perSecond: 0 })
    const paid = Array.from({ length: 12 }, () => {
      purse.deposit(0)
      return purse.withdraw(0) ? 1 : 0
    })
    assert.deepStrictEqual(paid, [0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0])
  })

  it.each([
    { ratio: 0.2, perSecond: 0, load: 1.2 },
    { ratio: 0.2, perSecond: 3, load: 1.23 },
    { ratio: 0.1, perSecond: 1, load: 1.11 }
  ])("bounds the load of a total failure: $ratio and $perSecond give $load", ({ load, perSecond, ratio }) => {
    const purse = new Purse({ ratio, perSecond })
    let sent = 0
    for (let call = 0; call < 6_000; call++) {
      const now = call * 10
      purse.deposit(now)
      sent++
      for (let again = 0; again < 3; again++) if (purse.withdraw(now)) sent++
    }
    assert.closeTo(sent / 6_000, load, 0.006)
  })

  it("allows one call a minute its retry", () => {
    const purse = new Purse({ ratio: 0.2, perSecond: 3 })
    for (let minute = 0; minute < 60; minute++) {
      purse.deposit(minute * 60_000)
      assert.isTrue(purse.withdraw(minute * 60_000))
    }
  })

  it("pays the floor once in ten seconds, also across the edge of a slot", () => {
    const purse = new Purse({ ratio: 0.2, perSecond: 3 })
    const drain = (now: number): number => {
      let paid = 0
      while (purse.withdraw(now)) paid++
      return paid
    }
    assert.strictEqual(drain(999), 30)
    assert.strictEqual(drain(10_000), 0)
    assert.strictEqual(drain(10_998), 0)
    assert.strictEqual(drain(10_999), 30)
  })

  it("agrees with a list of all events: the law holds, and nothing is rejected that it clearly allows", () => {
    for (let seed = 1; seed <= 12; seed++) {
      const random = sequence(seed)
      const ratio = 0.05 + random() * 0.95
      const perSecond = Math.floor(random() * 4)
      const purse = new Purse({ ratio, perSecond })
      let paidIn: Array<number> = []
      let paidOut: Array<number> = []
      let now = random() * 1e6
      let [paid, refused] = [0, 0]
      for (let step = 0; step < 3_000; step++) {
        now += random() < 0.02 ? random() * 20_000 : random() < 0.1 ? 100 : random() * 40
        if (random() < 0.5) {
          purse.deposit(now)
          paidIn.push(now)
          continue
        }
        const within = (times: ReadonlyArray<number>, millis: number) => times.filter((at) => at > now - millis).length
        if (purse.withdraw(now)) {
          paidOut.push(now)
          paid++
          assert.isAtMost(within(paidOut, 10_000), ratio * within(paidIn, 10_000) + 10 * perSecond + 1e-6)
        } else {
          refused++
          assert.isBelow(ratio * within(paidIn, 9_900) + 10 * perSecond, within(paidOut, 10_101) + 1)
        }
        paidIn = paidIn.slice(-2_000)
        paidOut = paidOut.slice(-2_000)
      }
      assert.isAbove(paid, 0)
      assert.isAbove(refused, 0)
    }
  })
})

describe("a budget", () => {
  it("has defaults, and names its problems", () => {
    assert.deepStrictEqual(budgetOf(undefined).budget, { ratio: 0.2, perSecond: 3 })
    assert.deepStrictEqual(budgetOf({ perSecond: 0 }).budget, { ratio: 0.2, perSecond: 0 })
    assert.isUndefined(budgetOf("none").budget)
    const fields = (options: Parameters<typeof budgetOf>[0]) => budgetOf(options).problems.map(({ field }) => field)
    assert.deepStrictEqual(fields("none"), [])
    assert.deepStrictEqual(fields({ ratio: 0 }), ["budget.ratio"])
    assert.deepStrictEqual(fields({ ratio: 1.1, perSecond: -1 }), ["budget.ratio", "budget.perSecond"])
    assert.deepStrictEqual(fields({ ratio: Number.NaN, perSecond: Number.POSITIVE_INFINITY }), [
      "budget.ratio",
      "budget.perSecond"
    ])
    assert.deepStrictEqual(fields({ ratio: "0.5", perSecond: null } as never), ["budget.ratio", "budget.perSecond"])
    assert.deepStrictEqual(fields({ floor: 3 } as never), ["budget.floor"])
    assert.deepStrictEqual(fields(3 as never), ["budget"])
  })
})
