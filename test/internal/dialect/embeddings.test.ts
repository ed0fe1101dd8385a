import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Chat from "../../../src/Chat.ts"
import { canonical } from "../../fixtures/chat/arbitrary.ts"
import * as bodies from "../../fixtures/chat/embeddings.ts"

const openai = Chat.openaiEmbeddings
const workersAi = Chat.workersAiEmbeddings

describe("embeddings encode", () => {
  it("writes texts, lists and requests", () => {
    const encode = (input: Chat.EmbeddingInput) => Result.getOrThrow(openai.encode(input, "m"))
    assert.deepStrictEqual(encode("a"), { model: "m", input: "a" })
    assert.deepStrictEqual(encode(["a", "b"]), { model: "m", input: ["a", "b"] })
    assert.deepStrictEqual(encode({ input: ["a"], dimensions: 256, extra: { user: "u" } }), {
      model: "m",
      input: ["a"],
      dimensions: 256,
      user: "u"
    })
    assert.deepStrictEqual(Result.getOrThrow(workersAi.encode({ input: ["a"], extra: { pooling: "cls" } }, "m")), {
      text: ["a"],
      pooling: "cls"
    })
  })

  it("rejects empty texts and wrong dimensions", () => {
    const field = (input: Chat.EmbeddingInput, dialect = openai) =>
      Result.getOrThrow(Result.flip(dialect.encode(input, "m"))).field
    assert.strictEqual(field(""), "input")
    assert.strictEqual(field([]), "input")
    assert.strictEqual(field(["a", ""]), "input[1]")
    assert.strictEqual(field({ input: "a", dimensions: 0 }), "dimensions")
    assert.strictEqual(field({ input: "a", dimensions: 1.5 }), "dimensions")
    assert.strictEqual(field({ input: "a", dimensions: 256 }, workersAi), "dimensions")
  })
})

describe("embeddings decode", () => {
  it("reads OpenAI's, in the order of the index", () => {
    assert.deepStrictEqual(Result.getOrThrow(openai.decode(bodies.openai)), {
      vectors: [
        [0.0023, -0.0093, -0.0028],
        [0.25, -0.5, 0.125]
      ],
      usage: { inputTokens: 8, totalTokens: 8 },
      model: "text-embedding-3-small",
      raw: bodies.openai
    })
  })

  it("reads those of Workers AI, bare and enveloped", () => {
    for (const raw of [bodies.workersAi, bodies.workersAiEnvelope]) {
      assert.deepStrictEqual(Result.getOrThrow(workersAi.decode(raw)), {
        vectors: bodies.workersAi.data,
        usage: {},
        raw
      })
    }
    assert.isUndefined(workersAi.usage(Result.getOrThrow(workersAi.decode(bodies.workersAi))))
  })

  it("reports the place of a fault in a body", () => {
    const cases: ReadonlyArray<readonly [typeof openai, unknown, string]> = [
      [openai, {}, "data"],
      [openai, { data: [] }, "data"],
      [openai, { data: [1] }, "data[0]"],
      [openai, { data: [{ embedding: "AAAA" }] }, "data[0].embedding"],
      [openai, { data: [{ embedding: [] }] }, "data[0].embedding"],
      [openai, { data: [{ embedding: [1, null] }] }, "data[0].embedding"],
      [openai, { data: [{ index: 1, embedding: [1] }] }, "data[0].index"],
      [openai, { data: [{ index: 0.5, embedding: [1] }] }, "data[0].index"],
      [openai, { data: [{ index: "0", embedding: [1] }] }, "data[0].index"],
      [
        openai,
        {
          data: [
            { index: 0, embedding: [1] },
            { index: 0, embedding: [1] }
          ]
        },
        "data[1].index"
      ],
      [workersAi, { request_id: "queued" }, "data"],
      [workersAi, { data: [] }, "data"],
      [workersAi, { data: [["x"]] }, "data[0]"],
      [workersAi, { shape: [2, 1], data: [[1]] }, "data"],
      [workersAi, { success: true, result: { data: [1] } }, "result.data[0]"]
    ]
    for (const [dialect, body, field] of cases) {
      assert.strictEqual(Result.getOrThrow(Result.flip(dialect.decode(body))).field, field, JSON.stringify(body))
    }
  })

  const Vectors = Schema.NonEmptyArray(Schema.NonEmptyArray(Schema.Finite))

  it.prop("returns any vectors in order", { vectors: Vectors }, ({ vectors }) => {
    const expected = canonical(vectors)
    const shuffled = expected.map((embedding, index) => ({ embedding, index })).reverse()
    assert.deepStrictEqual(Result.getOrThrow(openai.decode({ data: shuffled })).vectors, expected)
    const unnumbered = expected.map((embedding) => ({ embedding }))
    assert.deepStrictEqual(Result.getOrThrow(openai.decode({ data: unnumbered })).vectors, expected)
    assert.deepStrictEqual(Result.getOrThrow(workersAi.decode({ data: expected })).vectors, expected)
  })
})
