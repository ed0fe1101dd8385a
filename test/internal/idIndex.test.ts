import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { IdIndex, maxIdLength, NumberColumn } from "../../src/internal/idIndex.ts"

describe("IdIndex", () => {
  it.prop(
    "numbers texts as a Map does",
    // Few characters, so that texts come again; some beyond Latin-1, and halves of surrogate pairs.
    { texts: Schema.Array(Schema.Array(Schema.Literals(["a", "b", "é", "漢", "\ud83d", "😀", "\0"]))) },
    ({ texts }) => {
      const index = new IdIndex()
      const model = new Map<string, number>()
      for (const parts of texts) {
        const text = parts.join("").slice(0, maxIdLength)
        assert.strictEqual(index.find(text), model.get(text))
        const number = index.add(text)
        assert.strictEqual(number, model.get(text) ?? model.size)
        model.set(text, number)
        assert.strictEqual(index.size, model.size)
      }
    }
  )

  it("finds each of very many, of all lengths, and nothing else", () => {
    const index = new IdIndex()
    const textOf = (i: number): string =>
      `${i % 3 === 0 ? "ü" : i % 3 === 1 ? "漢" : ""}${i}`.padStart(i % maxIdLength, "x")
    const count = 20_000
    for (let i = 0; i < count; i++) assert.strictEqual(index.add(textOf(i)), i)
    for (let i = 0; i < count; i++) {
      assert.strictEqual(index.find(textOf(i)), i)
      assert.isUndefined(index.find(`${textOf(i)}.`))
    }
    assert.strictEqual(index.size, count)
  })
})

describe("NumberColumn", () => {
  it("keeps what was set, and is 0 elsewhere", () => {
    const column = new NumberColumn("float64")
    const at = [0, 1, 16_383, 16_384, 100_000]
    for (const index of at) column.set(index, 2 ** 52 + index)
    for (const index of at) assert.strictEqual(column.get(index), 2 ** 52 + index)
    for (const index of [2, 50_000, 1_000_000]) assert.strictEqual(column.get(index), 0)
  })
})
