import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Chat from "../../../src/Chat.ts"
import { anthropic, anthropicJsonTool } from "../../../src/internal/dialect/anthropicStream.ts"
import type { Delta } from "../../../src/internal/dialect/delta.ts"
import * as streams from "../../fixtures/streams/anthropic.ts"
import { named, runText } from "../../fixtures/streams/drive.ts"

const { block, start, stop, textBlock, toolBlock } = streams
const run = (stream: string, decoder = anthropic.decoder()) => runText(decoder, stream)
const collect = (stream: string, decoder = anthropic.decoder()) =>
  Result.getOrThrow(Chat.collect(run(stream, decoder).deltas))
const fault = (...events: ReadonlyArray<string>) => run(events.join("")).fault
const meta: Delta = { type: "meta", model: "claude-haiku-4-5-20251001", id: "msg_01Cu" }
const first: Delta = { type: "usage", usage: { inputTokens: 25, outputTokens: 1, totalTokens: 26 } }

describe("anthropic streams", () => {
  it("deliver text, and the finish with the stop reason", () => {
    assert.deepStrictEqual(run(streams.text), {
      deltas: [
        meta,
        first,
        { type: "text", text: "Hello" },
        { type: "text", text: "! 👋🏽" },
        { type: "usage", usage: { inputTokens: 25, outputTokens: 15, totalTokens: 40 } },
        { type: "finish", reason: "stop" }
      ],
      fault: undefined
    })
    assert.deepStrictEqual(fault(streams.text.slice(0, streams.text.indexOf("event: message_delta"))), {
      issue: "message_stop: expected one before the stream ends"
    })
  })

  it("ignore events after message_stop", () => {
    const late = named({ type: "error", error: { type: "api_error", message: "late" } })
    assert.isUndefined(fault(streams.text, late))
    assert.isUndefined(fault(streams.text, "data: [DONE]\n\n"))
  })

  it("deliver tool use, and merge usage from both events", () => {
    assert.deepStrictEqual(run(streams.toolUse).deltas, [
      meta,
      {
        type: "usage",
        usage: { inputTokens: 580, outputTokens: 2, totalTokens: 582, cachedInputTokens: 100, cacheWriteTokens: 8 }
      },
      { type: "text", text: "Okay" },
      { type: "toolCall", index: 0, id: "toolu_01", name: "get_weather", arguments: "" },
      { type: "toolCall", index: 0, arguments: '{"location":' },
      { type: "toolCall", index: 0, arguments: ' "San' },
      { type: "toolCall", index: 0, arguments: ' Francisco"}' },
      { type: "toolCall", index: 1, id: "toolu_02", name: "clock", arguments: "" },
      {
        type: "usage",
        usage: { inputTokens: 588, outputTokens: 89, totalTokens: 677, cachedInputTokens: 100, cacheWriteTokens: 8 }
      },
      { type: "finish", reason: "toolCalls" }
    ])
    assert.deepStrictEqual(collect(streams.toolUse).toolCalls[1], { id: "toolu_02", name: "clock", arguments: {} })
  })

  it("deliver input in the start of its block", () => {
    const whole = block(0, { type: "tool_use", id: "toolu_1", name: "f", input: { a: 1 } }, [])
    assert.deepStrictEqual(collect([start(), ...whole, ...stop("tool_use")].join("")).toolCalls, [
      { id: "toolu_1", name: "f", arguments: { a: 1 } }
    ])
  })

  it("deliver thinking and its signature", () => {
    const reply = collect(streams.thinking)
    assert.strictEqual(reply.reasoning, "27 * 453 = 12231")
    assert.strictEqual(reply.text, "12231")
    assert.deepStrictEqual(reply.usage, { inputTokens: 25, outputTokens: 40, totalTokens: 65, reasoningTokens: 30 })
  })

  it("deliver text in the start of a block", () => {
    const stream = [
      start(),
      ...block(0, { type: "thinking", thinking: "a" }, []),
      ...block(1, { type: "text", text: "b" }, []),
      ...stop("max_tokens")
    ].join("")
    const reply = collect(stream)
    assert.strictEqual(reply.reasoning, "a")
    assert.strictEqual(reply.text, "b")
    assert.strictEqual(reply.finishReason, "length")
  })

  it("do not deliver a server tool as a call", () => {
    const reply = collect(streams.serverTool)
    assert.strictEqual(reply.text, "I'll check.Sunny.")
    assert.deepStrictEqual(reply.toolCalls, [])
  })

  it("ignore text in a block of an unknown type", () => {
    const stream = [
      start(),
      ...block(0, { type: "new_block" }, [
        { type: "text_delta", text: "a" },
        { type: "thinking_delta", thinking: "b" },
        { type: "new_delta", text: "c" }
      ]),
      ...stop("end_turn")
    ].join("")
    const reply = collect(stream)
    assert.strictEqual(reply.text, "")
    assert.isUndefined(reply.reasoning)
  })

  it("deliver a refusal, and a stop without a reason", () => {
    assert.strictEqual(
      collect([start(), ...textBlock(0, "a"), ...stop("refusal")].join("")).finishReason,
      "contentFilter"
    )
    assert.strictEqual(
      collect([start(), ...textBlock(0, "a"), named({ type: "message_stop" })].join("")).finishReason,
      "other"
    )
  })

  it("report an error in mid-stream", () => {
    const { deltas, fault } = run(streams.overloaded)
    assert.deepStrictEqual(deltas, [meta, first, { type: "text", text: "Hel" }])
    assert.strictEqual(JSON.parse(fault?.body ?? "").error.type, "overloaded_error")
  })

  it("report faults", () => {
    const delta = { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "secret" } }
    assert.deepStrictEqual(fault(start(), named(delta)), {
      issue: "content_block_start: expected one before its delta"
    })
    assert.deepStrictEqual(fault(start(), start()), { issue: "message_start: expected only one" })
    assert.deepStrictEqual(fault(start(), ...block(0, { type: "tool_use", name: "f" }, [])), {
      issue: "content_block.id: expected a non-empty string"
    })
    assert.deepStrictEqual(fault(start(), ...block(0, { type: "tool_use", id: "a" }, [])), {
      issue: "content_block.name: expected a non-empty string"
    })
    assert.deepStrictEqual(fault(start(), ...block(0, { type: "text", text: "" }, [{ type: "text_delta", text: 7 }])), {
      issue: "delta.text: expected a string"
    })
    assert.deepStrictEqual(fault(start(), "data: [DONE]\n\n"), {
      issue: "message_stop: expected one before the stream ends"
    })
  })
})

describe("anthropic-json-tool streams", () => {
  const answer = { tools: [{ name: "f" }, { name: "output__output" }] }
  const own = { tools: [{ name: "f" }] }

  it("deliver the answer tool's input as text, without the chatter", () => {
    for (const query of [undefined, answer]) {
      assert.deepStrictEqual(run(streams.answerTool, anthropicJsonTool.decoder(query)).deltas.slice(2), [
        { type: "text", text: '{"city":' },
        { type: "text", text: '"Lyon"}' },
        { type: "usage", usage: { inputTokens: 25, outputTokens: 15, totalTokens: 40 } },
        { type: "finish", reason: "stop" }
      ])
    }
  })

  it("use the first answer, beside calls of the caller's own tools", () => {
    const stream = [
      start(),
      ...toolBlock(0, "output__output", "{}"),
      ...toolBlock(1, "output__output", '{"second":1}'),
      ...toolBlock(2, "f", "[1]"),
      ...textBlock(3, "chatter"),
      ...stop("tool_use")
    ].join("")
    const reply = collect(stream, anthropicJsonTool.decoder(answer))
    assert.strictEqual(reply.text, "{}")
    assert.deepStrictEqual(reply.toolCalls, [{ id: "toolu_02", name: "f", arguments: [1] }])
    assert.strictEqual(reply.finishReason, "toolCalls")
  })

  it("deliver an answer without input, and one in a single piece", () => {
    const empty = [start(), ...toolBlock(0, "output__output", ""), ...stop("tool_use")].join("")
    assert.strictEqual(collect(empty, anthropicJsonTool.decoder()).text, "{}")
    const tool = { type: "tool_use", id: "toolu_1", name: "output__output", input: { a: 1 } }
    const whole = [start(), ...block(0, tool, []), ...stop("tool_use")].join("")
    assert.strictEqual(collect(whole, anthropicJsonTool.decoder()).text, '{"a":1}')
  })

  it("hold text back to the end as long as an answer may follow", () => {
    const text = (query?: Record<string, unknown>) =>
      run(streams.text, anthropicJsonTool.decoder(query)).deltas.filter(({ type }) => type === "text")
    const held: ReadonlyArray<Delta> = [{ type: "text", text: "Hello! 👋🏽" }]
    const prompt: ReadonlyArray<Delta> = [
      { type: "text", text: "Hello" },
      { type: "text", text: "! 👋🏽" }
    ]
    assert.deepStrictEqual<ReadonlyArray<Delta>>(text(), held)
    assert.deepStrictEqual<ReadonlyArray<Delta>>(text(answer), held)
    assert.deepStrictEqual<ReadonlyArray<Delta>>(text(own), prompt)
    assert.deepStrictEqual<ReadonlyArray<Delta>>(text({}), prompt)
    const { deltas } = run(streams.overloaded, anthropicJsonTool.decoder())
    assert.deepStrictEqual(deltas, [meta, first])
  })

  it("deliver the same tool as a call in the other dialect", () => {
    assert.deepStrictEqual(collect(streams.answerTool).toolCalls[0]?.name, "output__output")
  })
})
