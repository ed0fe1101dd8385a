/**
 * A conversation whose tools another provider called continues with any model: ids that it would reject are rewritten,
 * all others are kept.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Chat from "effect-ai-gateway/Chat"
import { readChat } from "../../../src/internal/dialect/server/openaiRequestReader.ts"

type Dialect = Chat.Dialect<Chat.Input, Chat.Reply>

/** Two turns: a pair of parallel calls with their results in the other order, and one more call. */
const conversation = ([a, b, c]: readonly [string, string, string]): ReadonlyArray<Chat.Message> => {
  const call = (id: string): Chat.ToolCall => ({ id, name: "find", arguments: { id } })
  return [
    Chat.user("Hi"),
    Chat.assistant("", [call(a), call(b)]),
    Chat.tool(call(b), "of b"),
    Chat.tool(call(a), "of a"),
    Chat.assistant("", [call(c)]),
    Chat.tool(call(c), "of c")
  ]
}

interface Sent {
  readonly tool_calls?: ReadonlyArray<{ readonly id: string }>
  readonly tool_call_id?: string
}

const encode = (dialect: Dialect, model: string, messages: ReadonlyArray<Chat.Message>): ReadonlyArray<Sent> =>
  Result.getOrThrow(dialect.encode({ messages }, model)).messages as ReadonlyArray<Sent>

/** The ids of `a`, `b` and `c`. Fails if a result names another id than its call. */
const idsOf = (sent: ReadonlyArray<Sent>): ReadonlyArray<string> => {
  const [a, b, c] = sent.flatMap(({ tool_calls }) => tool_calls?.map(({ id }) => id) ?? [])
  if (a === undefined || b === undefined || c === undefined) throw new Error("a call is missing")
  assert.deepStrictEqual(
    sent.flatMap(({ tool_call_id }) => (tool_call_id === undefined ? [] : [tool_call_id])),
    [b, a, c]
  )
  return [a, b, c]
}

const anthropicId = "toolu_01D7FLrfh4GYq7yT1ULFeyMV"
const long = "x".repeat(80)

const mistral: ReadonlyArray<readonly [name: string, dialect: Dialect, model: string]> = [
  ["Mistral", Chat.openaiCompatible, "mistral-large-latest"],
  ["Codestral", Chat.openaiCompatible, "codestral-2508"],
  ["a model of Mistral's by way of compat", Chat.openaiCompatible, "mistral/magistral-medium-latest"],
  ["a model of Mistral's at Workers AI", Chat.workersAi, "@cf/mistralai/mistral-small-3.1-24b-instruct"],
  ["a model of Mistral's asked for as OpenAI's", Chat.openai, "ministral-8b"]
]

for (const [name, dialect, model] of mistral) {
  describe(name, () => {
    it("gets nine letters or digits, in call and result alike", () => {
      for (const foreign of [anthropicId, "call_0", "functions.find:0", long, "äöü", "abcDEF12", "abcDEF1234"]) {
        const ids = idsOf(encode(dialect, model, conversation([foreign, `${foreign}1`, `${foreign}2`])))
        for (const id of ids) assert.match(id, /^[A-Za-z0-9]{9}$/)
        assert.strictEqual(new Set(ids).size, 3)
      }
    })

    it("keeps ids that fit", () => {
      assert.deepStrictEqual(
        idsOf(encode(dialect, model, conversation(["abcDEF123", anthropicId, "000000000"])))[0],
        "abcDEF123"
      )
      const fitting = ["abcDEF123", "D681PevKs", "000000000"] as const
      assert.deepStrictEqual(idsOf(encode(dialect, model, conversation(fitting))), fitting)
    })

    it("writes an earlier turn unchanged, so that prompt caches match", () => {
      const all = conversation([anthropicId, "call_0", "call_1"])
      const later = encode(dialect, model, all)
      assert.deepStrictEqual(encode(dialect, model, all.slice(0, 4)), later.slice(0, 4))
      assert.deepStrictEqual(encode(dialect, model, all), later)
    })
  })
}

describe("OpenAI", () => {
  const openai: ReadonlyArray<readonly [dialect: Dialect, model: string]> = [
    [Chat.openai, "gpt-4.1-mini"],
    [Chat.openai, "a-deployment"]
  ]

  it("gets at most 64 characters, in call and result alike", () => {
    for (const [dialect, model] of openai) {
      const [a, b, c] = idsOf(encode(dialect, model, conversation([long, `${long}y`, "x".repeat(65)])))
      for (const id of [a, b, c]) assert.match(id ?? "", /^call_[0-9a-f]{24}$/)
      assert.strictEqual(new Set([a, b, c]).size, 3)
    }
  })

  it("keeps ids that fit", () => {
    const fitting = [anthropicId, "x".repeat(64), "😀".repeat(64)] as const
    for (const [dialect, model] of openai) {
      assert.deepStrictEqual(idsOf(encode(dialect, model, conversation(fitting))), fitting)
    }
  })
})

it("keeps the ids of other servers, which may encode data in long ones", () => {
  const ids = [long, "call_0", anthropicId] as const
  for (const model of ["llama-3.3-70b-versatile", "deepseek-chat", "google-ai-studio/gemini-3-pro", "grok-4"]) {
    assert.deepStrictEqual(idsOf(encode(Chat.openaiCompatible, model, conversation(ids))), ids)
  }
  assert.deepStrictEqual(idsOf(encode(Chat.workersAi, "@cf/meta/llama-3.3-70b", conversation(ids))), ids)
})

it("gives all ids of a long conversation different values", () => {
  const all = Array.from({ length: 5000 }, (_, i) => [`call_${i}`, `toolu_${i}`, `${i}`.repeat(70)]).flat()
  const call = (id: string): Chat.ToolCall => ({ id, name: "find", arguments: {} })
  for (const [dialect, model] of [
    [Chat.openaiCompatible, "mistral-small"],
    [Chat.openai, "gpt-4.1"]
  ] as const) {
    const [sent] = encode(dialect, model, [Chat.assistant("", all.map(call))])
    assert.strictEqual(new Set(sent?.tool_calls?.map(({ id }) => id)).size, all.length)
  }
})

it("rewrites the ids of a line of a batch file", () => {
  const { request } = Result.getOrThrow(
    readChat(
      {
        model: "gpt-4.1",
        messages: [
          { role: "user", content: "Hi" },
          {
            role: "assistant",
            content: null,
            tool_calls: [{ id: "call_0", type: "function", function: { name: "find", arguments: "{}" } }]
          },
          { role: "tool", tool_call_id: "call_0", content: "found" }
        ]
      },
      "refuse"
    )
  )
  const [, call, result] = encode(Chat.openaiCompatible, "mistral-small-latest", request.messages)
  assert.match(result?.tool_call_id ?? "", /^[A-Za-z0-9]{9}$/)
  assert.strictEqual(call?.tool_calls?.[0]?.id, result?.tool_call_id)
})

describe("Claude in OpenAI's dialect", () => {
  it("gets letters, digits, _ and - only, in call and result alike", () => {
    for (const model of ["anthropic/claude-sonnet-4-5", "us.anthropic.claude-haiku"]) {
      const ids = idsOf(encode(Chat.openaiCompatible, model, conversation(["functions.find:0", anthropicId, "äöü"])))
      for (const id of ids) assert.match(id, /^[A-Za-z0-9_-]+$/)
      assert.strictEqual(new Set(ids).size, 3)
      assert.strictEqual(ids[1], anthropicId)
    }
  })
})

it("sends Anthropic a result for each of two calls with one id, in order", () => {
  const call: Chat.ToolCall = { id: "x", name: "find", arguments: {} }
  const turn = [Chat.assistant("", [call, call]), Chat.tool(call, "first"), Chat.tool(call, "second")]
  const query = Result.getOrThrow(Chat.anthropic.encode({ messages: [Chat.user("Hi"), ...turn, ...turn] }, "claude"))
  const messages = query.messages as ReadonlyArray<{ readonly content: ReadonlyArray<Record<string, string>> }>
  const ids = (at: number, field: string) => messages[at]?.content.map((block) => block[field])
  assert.deepStrictEqual(ids(1, "id"), ["x", "x_"])
  assert.deepStrictEqual(ids(2, "tool_use_id"), ["x", "x_"])
  assert.deepStrictEqual(ids(3, "id"), ["x__", "x___"])
  assert.deepStrictEqual(ids(4, "tool_use_id"), ["x__", "x___"])
})
