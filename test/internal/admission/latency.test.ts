import { assert, describe, it } from "@effect/vitest"
import { Latency } from "../../../src/internal/admission/latency.ts"

const filled = (times: ReadonlyArray<number>, now = 0): Latency => {
  const latency = new Latency()
  for (const millis of times) latency.observe(millis, now)
  return latency
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1)

describe("percentiles", () => {
  it("are within five percent of the exact ones", () => {
    const latency = filled(upTo(1_000).map((i) => i * 10))
    for (const percentile of [0.5, 0.9, 0.95, 0.99, 0.999]) {
      const exact = percentile * 10_000
      assert.closeTo(latency.percentile(percentile, 0) ?? 0, exact, exact * 0.05, String(percentile))
    }
  })

  it("are unknown for fewer than 30 samples, or for ones older than ten minutes", () => {
    assert.isUndefined(filled(upTo(29)).percentile(0.5, 0))
    assert.isDefined(filled(upTo(30)).percentile(0.5, 0))
    const latency = filled(upTo(100))
    assert.isDefined(latency.percentile(0.5, 9 * 60_000))
    assert.isUndefined(latency.percentile(0.5, 10 * 60_000))
    // The slot is reused.
    for (const millis of upTo(40)) latency.observe(millis, 20 * 60_000)
    assert.strictEqual(latency.count(20 * 60_000), 40)
  })

  it("count times that were cut short as longer, so that hedging early does not make the next hedge earlier", () => {
    // 90 quick ones, and ten that would have taken 1,000 ms and were abandoned at 200.
    const quick = upTo(90).map((i) => 100 + i / 10)
    const latency = filled(quick)
    for (let i = 0; i < 10; i++) latency.atLeast(200, 0)
    assert.isUndefined(latency.percentile(0.95, 0), "their complete times are unknown")
    assert.closeTo(latency.percentile(0.85, 0) ?? 0, 108, 6)
    // Without the slow ones, the same percentile would be that of the quick ones.
    assert.closeTo(filled(quick).percentile(0.95, 0) ?? 0, 108.5, 6)
  })

  it("equal those of the uncut times when some were complete", () => {
    const latency = new Latency()
    // Every second of the slow ones is cut at 200; the others take 1,000.
    for (let i = 0; i < 800; i++) latency.observe(100, 0)
    for (let i = 0; i < 100; i++) latency.observe(1_000, 0)
    for (let i = 0; i < 100; i++) latency.atLeast(200, 0)
    assert.closeTo(latency.percentile(0.95, 0) ?? 0, 1_000, 50)
    assert.closeTo(latency.percentile(0.75, 0) ?? 0, 100, 5)
  })
})

describe("load", () => {
  it("takes a peak at once and forgets it slowly", () => {
    const latency = new Latency()
    assert.strictEqual(latency.load(0, 0), 0)
    assert.strictEqual(latency.load(1, 0), Number.POSITIVE_INFINITY)
    latency.observe(100, 100)
    assert.closeTo(latency.load(0, 100), 100, 1e-9)
    latency.observe(800, 1_100)
    assert.closeTo(latency.load(0, 1_100), 800, 1e-9)
    latency.observe(100, 2_100)
    assert.closeTo(latency.load(0, 2_100), 733.386, 1e-3)
    assert.closeTo(latency.load(1, 2_100), 1_466.772, 1e-3)
    latency.observe(100, 12_100)
    assert.closeTo(latency.load(0, 12_100), 333.01, 1e-2)
  })

  it("never improves by times that were cut short", () => {
    const latency = filled([500])
    for (let i = 0; i < 50; i++) latency.atLeast(1, i)
    assert.isAbove(latency.load(0, 50), 490)
    latency.atLeast(2_000, 60)
    assert.closeTo(latency.load(0, 60), 2_000, 1e-9)
  })
})
