import { assert, describe, it } from "@effect/vitest"
import { Outcomes } from "../../../src/internal/admission/outcomes.ts"

const seconds = 1_000

describe("outcomes", () => {
  it("count only what is in the window", () => {
    const outcomes = new Outcomes()
    outcomes.add(false, 0)
    outcomes.add(false, 1 * seconds)
    outcomes.add(true, 2 * seconds)
    assert.deepStrictEqual(outcomes.count(30 * seconds, 2 * seconds), { calls: 3, failures: 1, slow: 0 })
    outcomes.add(true, 31 * seconds)
    assert.deepStrictEqual(outcomes.count(30 * seconds, 31 * seconds), { calls: 2, failures: 2, slow: 0 })
    outcomes.add(false, 302 * seconds)
    // The slot of second 2 has been reused.
    assert.deepStrictEqual(outcomes.count(300 * seconds, 302 * seconds), { calls: 2, failures: 1, slow: 0 })
  })

  it("agree with a list of all outcomes, for any window and any order of times", () => {
    let seed = 1
    const next = (below: number): number => {
      seed = (seed * 1664525 + 1013904223) % 2 ** 32
      return Math.floor((seed / 2 ** 32) * below)
    }
    const outcomes = new Outcomes()
    outcomes.watch(500)
    const all: Array<{ readonly at: number; readonly isFailure: boolean; readonly millis: number }> = []
    let now = 0
    for (let i = 0; i < 3_000; i++) {
      now += next(10) === 0 ? next(400_000) : next(1_500)
      const one = { at: now, isFailure: next(3) === 0, millis: next(1_000) }
      all.push(one)
      outcomes.add(one.isFailure, one.at, one.millis)
      const window = (1 + next(300)) * seconds
      const first = Math.floor(now / seconds) - window / seconds
      const live = all.filter(({ at }) => Math.floor(at / seconds) > first)
      assert.deepStrictEqual(outcomes.count(window, now, undefined, 500), {
        calls: live.length,
        failures: live.filter(({ isFailure }) => isFailure).length,
        slow: live.filter(({ millis }) => millis > 500).length
      })
    }
  })

  it("count nothing before a mark, and everything after it, also in the same second", () => {
    const outcomes = new Outcomes()
    outcomes.watch(100)
    outcomes.add(true, 10_200, 500)
    const mark = outcomes.mark(10_500, 100)
    outcomes.add(true, 10_700, 500)
    outcomes.add(false, 11_000, 50)
    assert.deepStrictEqual(outcomes.count(30 * seconds, 11_000, mark, 100), { calls: 2, failures: 1, slow: 1 })
    assert.deepStrictEqual(outcomes.count(30 * seconds, 50_000, mark, 100), { calls: 0, failures: 0, slow: 0 })
  })

  it("count slow calls by each limit, from its first use on", () => {
    const outcomes = new Outcomes()
    outcomes.add(false, 0, 700)
    outcomes.watch(500)
    outcomes.watch(1_000)
    for (const millis of [500, 501, 1_500]) outcomes.add(false, 0, millis)
    // A call without a time is a call.
    outcomes.add(true, 0)
    assert.deepStrictEqual(outcomes.count(seconds, 0, undefined, 500), { calls: 5, failures: 1, slow: 2 })
    assert.deepStrictEqual(outcomes.count(seconds, 0, undefined, 1_000), { calls: 5, failures: 1, slow: 1 })
    assert.deepStrictEqual(outcomes.count(seconds, 0, undefined, 7), { calls: 5, failures: 1, slow: 0 })
  })
})
