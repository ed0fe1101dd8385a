/**
 * Schemas in the form of each dialect, and JSON between fences.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { schemaFor, unfenced } from "../../../src/internal/dialect/outputSchema.ts"

describe("unfenced", () => {
  it("removes the fence, and changes nothing else", () => {
    for (const [text, expected] of [
      ["```json\n{}\n```", "{}\n"],
      ["  ```JSON \n{}```\n", "{}"],
      ["```\n[1]\n```", "[1]\n"],
      ["{}", "{}"],
      ["```ts\n{}\n```", "```ts\n{}\n```"],
      ["```json\n{}", "```json\n{}"],
      ["```json {}```", "```json {}```"],
      ["```", "```"],
      ["```\n```", ""]
    ] as const) {
      assert.strictEqual(unfenced(text), expected)
    }
  })

  it("reads a fence without an end in linear time", () => {
    // A pattern needs minutes for this.
    const text = `\`\`\`json\n${" \n".repeat(2_000_000)}x`
    assert.strictEqual(unfenced(text), text)
  })
})

describe("schemaFor", () => {
  const schema = { type: "object", properties: { n: { type: "number", minimum: 0 } }, required: ["n"] }

  it("fits a schema for Anthropic once, and does not change a fitted one", () => {
    const first = schemaFor("anthropic", schema)
    assert.strictEqual(schemaFor("anthropic", schema), first)
    assert.isTrue(Result.isSuccess(first))
    const sent = Result.getOrThrow(first).schema
    assert.strictEqual(schemaFor("anthropic", sent), first)
    assert.deepStrictEqual(sent, {
      type: "object",
      properties: { n: { type: "number", description: "minimum: 0" } },
      required: ["n"],
      additionalProperties: false
    })
  })

  it("finds recursion through names that a reference escapes", () => {
    const schema = (name: string, ref: string) => ({
      type: "object",
      properties: { a: { $ref: ref } },
      required: ["a"],
      $defs: { [name]: { type: "object", properties: { a: { $ref: ref } }, required: ["a"] } }
    })
    for (const [name, ref] of [
      ["app/Tree", "#/$defs/app~1Tree"],
      ["a tree~", "#/$defs/a%20tree~0"],
      ["50%", "#/$defs/50%"]
    ] as const) {
      assert.deepInclude(schemaFor("anthropic", schema(name, ref)), {
        failure: "a schema that does not refer to itself"
      })
    }
  })

  it("finds a recursive definition, and visits each definition once", () => {
    const both = (name: string) => ({
      type: "object",
      properties: { a: { $ref: `#/$defs/${name}` }, b: { $ref: `#/$defs/${name}` } },
      required: ["a", "b"]
    })
    const chain = (last: object) => ({
      ...both("d0"),
      $defs: Object.fromEntries([
        ...Array.from({ length: 60 }, (_, i) => [`d${i}`, both(`d${i + 1}`)] as const),
        ["d60", last] as const
      ])
    })
    // Two references from each of sixty definitions: visiting every path would never end.
    assert.isTrue(Result.isSuccess(schemaFor("anthropic", chain({ type: "string" }))))
    assert.isTrue(Result.isFailure(schemaFor("anthropic", chain(both("d3")))))
  })
})
