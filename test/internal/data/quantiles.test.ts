import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { Quantiles } from "../../../src/internal/data/quantiles.ts"

const Value = Schema.Finite.check(Schema.isBetween({ minimum: 0.001, maximum: 1e8 }))

describe("Quantiles", () => {
  it.prop(
    "are within one percent of the exact ones",
    { values: Schema.Array(Value).check(Schema.isMinLength(1)) },
    ({ values }) => {
      const sketch = new Quantiles()
      for (const value of values) sketch.add(value)
      const sorted = [...values].sort((a, b) => a - b)
      for (const q of [0, 0.1, 0.5, 0.9, 0.99, 1]) {
        const exact = sorted[Math.max(1, Math.ceil(q * sorted.length)) - 1] ?? 0
        assert.isAtMost(Math.abs((sketch.quantile(q) ?? Number.NaN) / exact - 1), 0.0101, `${q}`)
      }
      assert.strictEqual(sketch.count, values.length)
      assert.strictEqual(sketch.max, sorted.at(-1))
      assert.strictEqual(sketch.min, sorted[0])
    }
  )

  it.prop(
    "are the same after a merge as for all values in one",
    { left: Schema.Array(Value), right: Schema.Array(Value) },
    ({ left, right }) => {
      const [merged, other, whole] = [new Quantiles(), new Quantiles(), new Quantiles()]
      for (const value of left) merged.add(value)
      for (const value of right) other.add(value)
      for (const value of [...left, ...right]) whole.add(value)
      merged.merge(other)
      for (const q of [0, 0.25, 0.5, 0.9, 1]) assert.strictEqual(merged.quantile(q), whole.quantile(q), `${q}`)
      const facts = ({ count, max, min }: Quantiles) => ({ count, max, min })
      assert.deepStrictEqual(facts(merged), facts(whole))
      assert.closeTo(merged.sum, whole.sum, whole.sum * 1e-9)
    }
  )

  it("are undefined without values; for zero and beyond the ends they stay within the seen values", () => {
    const sketch = new Quantiles()
    assert.isUndefined(sketch.quantile(0.5))
    sketch.add(0)
    assert.strictEqual(sketch.quantile(0.5), 0)
    sketch.add(1e15)
    assert.isAtMost(sketch.quantile(1) ?? Number.NaN, 1e15)
  })
})
