import { assert, describe, it } from "@effect/vitest"
import { operationOf } from "../../../src/internal/data/telemetry.ts"
import { providerName } from "../../../src/internal/hotpath/span.ts"

const chat = { messages: [] }

describe("the name of an operation", () => {
  const cases: ReadonlyArray<readonly [endpoint: string, query: unknown, operation: string]> = [
    ["chat/completions", chat, "chat"],
    ["v1/chat/completions", undefined, "chat"],
    ["res/dep/chat/completions?api-version=2026-01-01", chat, "chat"],
    ["v1/messages", chat, "chat"],
    ["responses", { input: "a" }, "chat"],
    ["model/anthropic.claude/converse", {}, "chat"],
    ["completions", { prompt: "a" }, "text_completion"],
    ["v1/completions", undefined, "text_completion"],
    ["embeddings", { input: "a" }, "embeddings"],
    ["v1beta/models/text-embedding-004:embedContent", {}, "embeddings"],
    ["@cf/baai/bge-m3", { text: ["a"] }, "embeddings"],
    ["@cf/google/embeddinggemma-300m", undefined, "embeddings"],
    ["v1beta/models/gemini-3-flash:generateContent", {}, "generate_content"],
    ["v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse", undefined, "generate_content"],
    ["@cf/meta/llama-3.1-8b-instruct", chat, "chat"],
    ["@cf/meta/llama-3.1-8b-instruct", undefined, "chat"],
    ["@cf/openai/whisper", { audio: [] }, "run"],
    ["openai/gpt-4.1-mini", chat, "chat"],
    ["images/generations", { prompt: "a" }, "run"],
    ["images/generations", undefined, "run"]
  ]
  for (const [endpoint, query, operation] of cases) {
    it(`of ${endpoint} with ${JSON.stringify(query)} is ${operation}`, () => {
      assert.strictEqual(operationOf(endpoint, query), operation)
    })
  }
})

describe("the name of a provider", () => {
  it("is that of the conventions if they have one, otherwise that of AI Gateway", () => {
    const names = ["openai", "google-ai-studio", "grok", "xai", "workers-ai", "custom-own", "constructor"]
    assert.deepStrictEqual(names.map(providerName), [
      "openai",
      "gcp.gemini",
      "x_ai",
      "x_ai",
      "workers-ai",
      "custom-own",
      "constructor"
    ])
  })
})
