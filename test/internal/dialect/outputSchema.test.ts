/**
 * Schemas as dialects take them, and JSON between fences.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { schemaFor, unfenced } from "../../../src/internal/dialect/outputSchema.ts"

describe("unfenced", () => {
  it("takes the fence off, and leaves everything else as it is", () => {
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

  it("fits a schema for Anthropic once, and what it has fitted not again", () => {
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
})
