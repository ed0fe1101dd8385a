import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { fingerprint, IdIndex, maxIdLength, NumberColumn } from "../../../src/internal/data/idIndex.ts"

describe("IdIndex", () => {
  it.prop(
    "numbers texts as a Map does",
    // Few characters, so that texts repeat; some beyond Latin-1, and halves of surrogate pairs.
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

describe("fingerprint", () => {
  const prints = (texts: ReadonlyArray<string>): ReadonlyArray<Uint32Array> =>
    texts.map((text) => {
      const out = new Uint32Array(4)
      fingerprint(text, out)
      return out
    })

  it("is MurmurHash3", () => {
    // The values of the reference implementation for the same bytes, in UTF-16, with seed 0.
    const hex = (text: string): string =>
      prints([text])
        .flatMap((out) => [...out].map((word) => word.toString(16).padStart(8, "0")))
        .join("")
    assert.strictEqual(hex(""), "0".repeat(32))
    assert.strictEqual(hex("fiber-42"), "3ce4d77f0d66458dcc6ebb0d3d892ef7")
    assert.strictEqual(hex("which item is it"), "084f6c6e4005a7a7bfbe91b2bbc7a815")
    assert.strictEqual(hex("ab漢字ü😀c"), "4467f9d53ed2098769b02115bc0963aa")
  })

  it("has no more collisions for similar texts than by chance", () => {
    const count = 100_000
    const all = prints(Array.from({ length: count }, (_, i) => `request-${i.toString().padStart(8, "0")}`))
    for (let word = 0; word < 4; word++) {
      // One pair in 2^32 has the same word: 1.2 are expected.
      const distinct = new Set(all.map((out) => out[word]))
      assert.isAtLeast(distinct.size, count - 8)
    }
    for (let bit = 0; bit < 128; bit++) {
      const set = all.filter((out) => (((out[bit >> 5] ?? 0) >>> (bit & 31)) & 1) === 1).length
      assert.closeTo(set, count / 2, 5 * Math.sqrt(count / 4))
    }
  })
})

describe("NumberColumn", () => {
  it("keeps set values, and is 0 elsewhere", () => {
    const column = new NumberColumn("float64")
    // Near the sizes where it grows, and where a block ends.
    const at = [0, 1, 32_767, 32_768, 100_000, 2 ** 21, 2 ** 22 - 1, 2 ** 22, 2 ** 22 + 1]
    for (const index of at) column.set(index, 2 ** 52 + index)
    for (const index of at) assert.strictEqual(column.get(index), 2 ** 52 + index)
    for (const index of [2, 50_000, 1_000_000, 2 ** 22 + 2, 2 ** 24]) assert.strictEqual(column.get(index), 0)
  })
})
