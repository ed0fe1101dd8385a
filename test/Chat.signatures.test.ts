/**
 * A turn with thinking goes back to its provider with the signatures, and to others without.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Chat from "effect-ai-gateway/Chat"
import { completionOf } from "../src/internal/dialect/server/openaiReplyWriter.ts"
import { streaming } from "../src/internal/dialect/streaming.ts"
import { type Dialect, sent } from "./fixtures/chat/encoded.ts"

type Blocks = ReadonlyArray<Record<string, unknown>>

const decode = (dialect: Dialect, body: unknown): Chat.Reply => Result.getOrThrow(dialect.decode(body))

/** The same answer, read from a stream. */
const streamed = (dialect: Dialect, events: ReadonlyArray<object>): Chat.Reply => {
  const decoder = streaming[dialect.id]?.decoder()
  if (decoder === undefined) throw new Error(dialect.id)
  const deltas = events.flatMap((event) => decoder.event({ data: JSON.stringify(event), event: "message" }).deltas)
  return Result.getOrThrow(Chat.collect([...deltas, ...decoder.end().deltas]))
}

/** The request after a reply, with a result for each of its calls. */
const next = (reply: Chat.Reply): Chat.Request => ({
  messages: [Chat.user("Weather?"), Chat.fromReply(reply), ...reply.toolCalls.map((call) => Chat.tool(call, "sunny"))]
})

const secondTurn = (body: Record<string, unknown>): unknown => {
  const turns = (body.messages ?? body.contents) as ReadonlyArray<Record<string, unknown>>
  return turns[1]?.parts ?? turns[1]?.content
}

const withoutRaw = ({ raw: _, ...reply }: Chat.Reply): object => reply

const others: ReadonlyArray<readonly [dialect: Dialect, model: string]> = [
  [Chat.openai, "gpt-5.2"],
  [Chat.openaiCompatible, "mistral-large-latest"],
  [Chat.openaiCompatible, "deepseek-v4"],
  [Chat.google, "gemini-3-flash"],
  [Chat.workersAi, "@cf/a/b"]
]

describe("Claude", () => {
  const blocks = [
    { type: "thinking", thinking: "Lyon, so I ask.", signature: "c2lnMQ==" },
    { type: "redacted_thinking", data: "cmVkYWN0ZWQ=" },
    { type: "thinking", thinking: "", signature: "c2lnMg==" },
    { type: "text", text: "One moment." },
    { type: "tool_use", id: "toolu_1", name: "weather", input: { city: "Lyon" } }
  ]
  const body = { id: "m", model: "claude-opus-5", content: blocks, stop_reason: "tool_use", usage: {} }
  const at = (index: number, block: object, ...deltas: ReadonlyArray<object>) => [
    { type: "content_block_start", index, content_block: block },
    ...deltas.map((delta) => ({ type: "content_block_delta", index, delta })),
    { type: "content_block_stop", index }
  ]
  const events = [
    { type: "message_start", message: { id: "m", model: "claude-opus-5", usage: {} } },
    ...at(
      0,
      { type: "thinking", thinking: "", signature: "" },
      { type: "thinking_delta", thinking: "Lyon, " },
      { type: "thinking_delta", thinking: "so I ask." },
      { type: "signature_delta", signature: "c2lnMQ==" }
    ),
    ...at(1, { type: "redacted_thinking", data: "cmVkYWN0ZWQ=" }),
    ...at(2, { type: "thinking", thinking: "", signature: "" }, { type: "signature_delta", signature: "c2lnMg==" }),
    ...at(3, { type: "text", text: "" }, { type: "text_delta", text: "One moment." }),
    ...at(
      4,
      { type: "tool_use", id: "toolu_1", name: "weather", input: {} },
      { type: "input_json_delta", partial_json: '{"city":' },
      { type: "input_json_delta", partial_json: '"Lyon"}' }
    ),
    { type: "message_delta", delta: { stop_reason: "tool_use", stop_sequence: null }, usage: {} },
    { type: "message_stop" }
  ]

  it("gets its blocks back as it wrote them, in order, whether they were streamed or not", () => {
    const reply = decode(Chat.anthropic, body)
    assert.strictEqual(reply.reasoning, "Lyon, so I ask.")
    assert.deepStrictEqual(withoutRaw(streamed(Chat.anthropic, events)), withoutRaw(reply))
    for (const dialect of [Chat.anthropic, Chat.anthropicJsonTool]) {
      assert.deepStrictEqual(secondTurn(sent(dialect, "claude-opus-5", next(reply)).body), blocks)
      assert.deepStrictEqual(sent(dialect, "claude-opus-5", next(reply)).dropped, [])
    }
  })

  it("gets them back after the reply was stored", () => {
    const stored = JSON.parse(JSON.stringify(decode(Chat.anthropic, body)))
    const reply = Schema.decodeUnknownSync(Chat.ReplySchema)(stored)
    const request = Schema.decodeUnknownSync(Chat.RequestSchema)(JSON.parse(JSON.stringify(next(reply))))
    assert.deepStrictEqual(secondTurn(sent(Chat.anthropic, "claude-opus-5", request).body), blocks)
  })

  it("is the only one that sees its signatures; the record tells what others did not get", () => {
    const request = next(decode(Chat.anthropic, body))
    for (const [dialect, model] of others) {
      const { body, dropped } = sent(dialect, model, request)
      assert.notMatch(JSON.stringify(body), /c2ln|cmVk/, model)
      if (!/deepseek/.test(model)) {
        assert.notInclude(JSON.stringify(body), "so I ask", model)
        assert.deepStrictEqual(dropped, ["messages[1].content[0]", "messages[1].content[1]", "messages[1].content[2]"])
      }
    }
    const deepseek = sent(Chat.openaiCompatible, "deepseek-v4", request).body
    assert.deepInclude((deepseek.messages as Blocks)[1], {
      reasoning_content: "Lyon, so I ask.",
      content: "One moment."
    })
    // The value that Google documents for calls of another model.
    assert.deepStrictEqual(secondTurn(sent(Chat.google, "gemini-3-flash", request).body), [
      { text: "One moment." },
      {
        functionCall: { id: "toolu_1", name: "weather", args: { city: "Lyon" } },
        thoughtSignature: "skip_thought_signature_validator"
      }
    ])
  })

  it("gets no thinking without a signature, or with that of another provider", () => {
    const part = (more: object) => ({ type: "reasoning", text: "hm", ...more }) as const
    for (const more of [
      {},
      { opaque: { origin: "anthropic", value: "" } },
      { opaque: { origin: "openai", value: "x" } },
      { opaque: { origin: "google", value: "x" }, redacted: true }
    ]) {
      const { body, dropped } = sent(Chat.anthropic, "claude-haiku-4-5", {
        messages: [Chat.user("a"), Chat.assistant([part(more), { type: "text", text: "b" }]), Chat.user("c")]
      })
      assert.deepStrictEqual(secondTurn(body), [{ type: "text", text: "b" }])
      assert.deepStrictEqual(dropped, ["messages[1].content[0]"])
      const alone = sent(Chat.anthropic, "claude-haiku-4-5", {
        messages: [Chat.user("a"), Chat.assistant([part(more)]), Chat.user("c")]
      })
      assert.lengthOf(alone.body.messages as Blocks, 2)
    }
  })

  it("does not think by a budget while the calls of another model are answered", () => {
    const foreign: Chat.Request = {
      messages: [
        Chat.user("a"),
        Chat.assistant("", [{ id: "1", name: "f", arguments: {} }]),
        Chat.tool({ id: "1", name: "f" }, "x")
      ],
      tools: [{ name: "f", parameters: { type: "object" } }],
      reasoning: { effort: "low" }
    }
    const { body, dropped } = sent(Chat.anthropic, "claude-sonnet-4-5", foreign)
    assert.notProperty(body, "thinking")
    assert.deepStrictEqual(dropped, ["reasoning"])
    const later = { ...foreign, messages: [...foreign.messages, Chat.assistant("b"), Chat.user("c")] }
    assert.deepInclude(sent(Chat.anthropic, "claude-sonnet-4-5", later).body, {
      thinking: { type: "enabled", budget_tokens: 1024 }
    })
    // Newer models think in every turn.
    assert.deepInclude(sent(Chat.anthropic, "claude-opus-5", foreign).body, { thinking: { type: "adaptive" } })
  })
})

describe("Gemini", () => {
  const parts = [
    { text: "Let me see.", thought: true },
    { text: "One moment.", thoughtSignature: "dGV4dA==" },
    {
      functionCall: { id: "1", name: "weather", args: { city: "Lyon" } },
      thoughtSignature: "Y2FsbA=="
    }
  ]
  const body = { candidates: [{ content: { role: "model", parts }, finishReason: "STOP" }], responseId: "r" }

  it("gets the signatures of its texts and calls back, whether they were streamed or not", () => {
    const reply = decode(Chat.google, body)
    const events = parts.map((part, i) => ({
      candidates: [{ content: { parts: [part] }, ...(i === 2 && { finishReason: "STOP" }) }],
      responseId: "r"
    }))
    assert.deepStrictEqual(withoutRaw(streamed(Chat.google, events)), withoutRaw(reply))
    const { body: back, dropped } = sent(Chat.google, "gemini-3-flash", next(reply))
    assert.deepStrictEqual(secondTurn(back), parts.slice(1))
    assert.deepStrictEqual(dropped, ["messages[1].content[0]"])
  })

  it("gets a signature back that came with an empty text", () => {
    const empty = { text: "", thoughtSignature: "ZW5k" }
    const reply = decode(Chat.google, {
      candidates: [{ content: { parts: [{ text: "Hi." }, empty] }, finishReason: "STOP" }]
    })
    assert.strictEqual(reply.text, "Hi.")
    assert.deepStrictEqual(secondTurn(sent(Chat.google, "gemini-3-flash", next(reply)).body), [
      { text: "Hi.", thoughtSignature: "ZW5k" }
    ])
  })

  it("is the only one that sees its signatures, also behind OpenAI's dialect", () => {
    const request = next(decode(Chat.google, body))
    for (const [dialect, model] of [...others, [Chat.anthropic, "claude-opus-5"] as const]) {
      if (model.startsWith("gemini")) continue
      assert.notMatch(JSON.stringify(sent(dialect, model, request).body), /dGV4|Y2Fs/, model)
    }
    const compatible = sent(Chat.openaiCompatible, "google/gemini-3-flash", request).body
    assert.deepInclude(JSON.stringify(compatible), `"extra_content":{"google":{"thought_signature":"Y2FsbA=="}}`)
  })

  it("reads a signature from a call with its provider too", () => {
    const call = { id: "1", name: "f", arguments: {}, opaque: { origin: "google", value: "bW9yZQ==" } }
    const request: Chat.Request = { messages: [Chat.user("a"), Chat.assistant("", [call]), Chat.tool("1", "x")] }
    assert.include(JSON.stringify(sent(Chat.google, "gemini-3-flash", request).body), "bW9yZQ==")
    const foreign = { ...call, opaque: { origin: "openai", value: "bW9yZQ==" } }
    const other: Chat.Request = { messages: [Chat.user("a"), Chat.assistant("", [foreign]), Chat.tool("1", "x")] }
    assert.notInclude(JSON.stringify(sent(Chat.google, "gemini-3-flash", other).body), "bW9yZQ==")
  })
})

describe("a refusal", () => {
  const message = { role: "assistant", content: null, refusal: "I won't." }
  const body = { choices: [{ index: 0, message, finish_reason: "stop" }] }

  it("is distinguished from text, in replies and streams, and goes back to OpenAI as a refusal", () => {
    const reply = decode(Chat.openai, body)
    assert.deepInclude(reply, { text: "I won't.", refusal: "I won't.", finishReason: "contentFilter" })
    const events = [
      { choices: [{ index: 0, delta: { role: "assistant", content: null, refusal: "I " } }] },
      { choices: [{ index: 0, delta: { refusal: "won't." } }] },
      { choices: [{ index: 0, delta: {}, finish_reason: "stop" }] }
    ]
    assert.deepStrictEqual(withoutRaw(streamed(Chat.openai, events)), withoutRaw(reply))
    const request = { messages: [...next(reply).messages, Chat.user("Why?")] }
    assert.deepStrictEqual(secondTurn(sent(Chat.openai, "gpt-5.2", request).body), [
      { type: "refusal", refusal: "I won't." }
    ])
    assert.strictEqual(secondTurn(sent(Chat.openaiCompatible, "llama", request).body), "I won't.")
    assert.deepStrictEqual(secondTurn(sent(Chat.anthropic, "claude-opus-5", request).body), [
      { type: "text", text: "I won't." }
    ])
    assert.deepStrictEqual(secondTurn(sent(Chat.google, "gemini-3-flash", request).body), [{ text: "I won't." }])
  })

  it("is written to a client as a refusal", () => {
    const written = completionOf(decode(Chat.openai, body), { id: "c", model: "m", created: 1 })
    const [choice] = written.choices as ReadonlyArray<{ message: object; finish_reason: string }>
    assert.deepInclude(choice?.message, { content: null, refusal: "I won't." })
    assert.strictEqual(choice?.finish_reason, "stop")
  })
})
