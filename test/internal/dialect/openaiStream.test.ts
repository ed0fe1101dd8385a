import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Chat from "../../../src/Chat.ts"
import type { Delta } from "../../../src/internal/dialect/delta.ts"
import { openai, openaiCompatible } from "../../../src/internal/dialect/openaiStream.ts"
import { data, doneMark, runText } from "../../fixtures/streams/drive.ts"
import * as streams from "../../fixtures/streams/openai.ts"

const { choice, chunk } = streams
const run = (stream: string) => runText(openai.decoder(), stream)
const collect = (stream: string) => Result.getOrThrow(Chat.collect(run(stream).deltas))
const fault = (...events: ReadonlyArray<string>) => run(events.join("")).fault
const meta: Delta = {
  type: "meta",
  model: "gpt-4.1-mini-2025-04-14",
  id: "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
  tier: "default"
}

describe("openai streams", () => {
  it("deliver text, and usage after the end", () => {
    assert.deepStrictEqual(run(streams.text), {
      deltas: [
        meta,
        { type: "text", text: "Grüße" },
        { type: "text", text: " 👋🏽 漢字" },
        { type: "finish", reason: "stop" },
        {
          type: "usage",
          usage: { inputTokens: 19, outputTokens: 10, totalTokens: 29, cachedInputTokens: 16, reasoningTokens: 3 }
        }
      ],
      fault: undefined
    })
  })

  it("ignore events after [DONE]", () => {
    const decoder = openai.decoder()
    for (const data of [chunk(choice({ content: "a" }, "stop")).slice(6)]) decoder.event({ event: "message", data })
    assert.deepStrictEqual(decoder.event({ event: "message", data: "[DONE]" }), { deltas: [], done: true })
    const late = { event: "message", data: `{"error":{"message":"late"}}` }
    assert.deepStrictEqual(decoder.event(late), { deltas: [], done: true })
    assert.deepStrictEqual(decoder.end(), { deltas: [], done: true })
  })

  it("deliver tool calls in fragments", () => {
    assert.deepStrictEqual(run(streams.toolCalls).deltas, [
      meta,
      { type: "toolCall", index: 0, id: "call_DdmO9pD3", name: "weather", arguments: "" },
      { type: "toolCall", index: 0, arguments: '{"ci' },
      { type: "toolCall", index: 0, arguments: 'ty":"Lyon"}' },
      { type: "toolCall", index: 1, id: "call_x2", name: "clock", arguments: "" },
      { type: "toolCall", index: 1, arguments: "{}" },
      { type: "finish", reason: "toolCalls" }
    ])
  })

  it("deliver a refusal as text, with its reason", () => {
    const reply = collect(streams.refusal)
    assert.strictEqual(reply.text, "I'm sorry, I can't.")
    assert.strictEqual(reply.finishReason, "contentFilter")
    const both = collect(`${chunk(choice({ content: "a" }))}${chunk(choice({ refusal: "b" }, "stop"))}`)
    assert.strictEqual(both.text, "a")
    assert.strictEqual(both.finishReason, "contentFilter")
  })

  it("deliver reasoning under either name, once", () => {
    const reply = collect(streams.reasoning)
    assert.strictEqual(reply.reasoning, "Let me see.")
    assert.strictEqual(reply.text, "42")
    assert.deepStrictEqual(reply.usage, { inputTokens: 5, outputTokens: 9, totalTokens: 14, cachedInputTokens: 4 })
    const twice = chunk(choice({ reasoning: "a", reasoning_content: "a" }, "length"))
    assert.strictEqual(collect(twice).reasoning, "a")
    assert.strictEqual(collect(chunk(choice({ reasoning: "b", content: "" }, "length"))).reasoning, "b")
  })

  it("deliver content in parts", () => {
    const reply = collect(streams.parts)
    assert.strictEqual(reply.reasoning, "Hm.")
    assert.strictEqual(reply.text, "Yes.")
  })

  it("accept calls without index, separate signatures, `stop` after calls, and no [DONE]", () => {
    const reply = collect(streams.gemini)
    assert.deepStrictEqual(reply.toolCalls, [
      { id: "function-call-1", name: "weather", arguments: { city: "Lyon" }, signature: "CpQB" },
      { id: "function-call-2", name: "clock", arguments: {} }
    ])
    assert.strictEqual(reply.finishReason, "toolCalls")
  })

  it("distinguish calls that all have number 0", () => {
    assert.deepStrictEqual(collect(streams.allZero).toolCalls, [
      { id: "call_0a", name: "weather", arguments: { city: "Beijing" } },
      { id: "call_1a", name: "weather", arguments: { city: "Shanghai" } }
    ])
  })

  it("distinguish calls with one id, one name, or none in every fragment", () => {
    const call = (body: object) => chunk(choice({ tool_calls: [body] }))
    const calls = (...bodies: ReadonlyArray<object>) =>
      collect([...bodies.map(call), chunk(choice({}, "tool_calls"))].join("")).toolCalls
    assert.deepStrictEqual(
      calls(
        { index: 0, id: "a", function: { name: "f", arguments: "{" } },
        { index: 0, id: "a", function: { name: "f", arguments: "}" } }
      ),
      [{ id: "a", name: "f", arguments: {} }]
    )
    assert.deepStrictEqual(
      calls({ id: "a", function: { name: "f", arguments: "{" } }, { id: "a", function: { name: "f", arguments: "}" } }),
      [{ id: "a", name: "f", arguments: {} }]
    )
    assert.deepStrictEqual(
      calls(
        { id: "a", function: { name: "f", arguments: "[" } },
        { id: "b", function: { name: "f", arguments: "{}" } },
        { id: "a", function: { arguments: "1]" } }
      ),
      [
        { id: "a", name: "f", arguments: [1] },
        { id: "b", name: "f", arguments: {} }
      ]
    )
    // Numbers need not begin at 0, nor come in order.
    assert.deepStrictEqual(
      calls(
        { index: 2, function: { name: "f", arguments: null } },
        { index: 1, id: "b", function: { name: "g", arguments: "[" } },
        { index: 2, id: "late", function: { arguments: "{}" } },
        { index: 1, id: "other", function: { name: "", arguments: "1]" } },
        { index: 1, id: null, function: { name: null, arguments: "" } }
      ),
      [
        { id: "call_0", name: "f", arguments: {} },
        { id: "b", name: "g", arguments: [1] }
      ]
    )
    assert.deepStrictEqual(calls({ index: 0, function: { name: "f", arguments: { parsed: true } } }), [
      { id: "call_0", name: "f", arguments: { parsed: true } }
    ])
  })

  it("accept a first event without a model, null choices, and usage in a field of Groq's", () => {
    assert.deepStrictEqual(run(streams.azure).deltas, [
      meta,
      { type: "text", text: "Hi" },
      { type: "finish", reason: "contentFilter" }
    ])
    assert.deepStrictEqual(collect(streams.groq).usage, { inputTokens: 7, outputTokens: 1, totalTokens: 8 })
    const stream = `${chunk(choice({ content: "a" }, "stop"))}${chunk(null, { usage: streams.usage })}`
    assert.strictEqual(collect(stream).usage.inputTokens, 19)
  })

  it("use the first of several answers", () => {
    const stream = [
      chunk([{ index: 1, delta: { content: "no" }, finish_reason: "length" }]),
      chunk([
        { index: 1, delta: { content: "no" } },
        { index: 0, delta: { content: "yes" } }
      ]),
      chunk([{ index: 0, delta: {}, finish_reason: "stop" }])
    ].join("")
    assert.deepStrictEqual(run(stream).deltas.slice(1), [
      { type: "text", text: "yes" },
      { type: "finish", reason: "stop" }
    ])
  })

  it("deliver a complete message in one event, and not a second time after its deltas", () => {
    const whole = [{ index: 0, message: { role: "assistant", content: "all" }, finish_reason: "stop" }]
    assert.strictEqual(collect(chunk(whole)).text, "all")
    assert.strictEqual(collect(chunk(choice({ content: "all" })) + chunk(whole)).text, "all")
  })

  it("finish once", () => {
    const stream = chunk(choice({ content: "a" }, "stop")) + chunk(choice({ content: "" }, "length")) + doneMark
    assert.deepStrictEqual(run(stream).deltas.slice(1), [
      { type: "text", text: "a" },
      { type: "finish", reason: "stop" }
    ])
    assert.strictEqual(
      collect(chunk(choice({ content: "a" }, "")) + chunk(choice({}, "length"))).finishReason,
      "length"
    )
  })

  it("keep the answer when a usage event was cut off, but not when an error follows", () => {
    const answer = chunk(choice({ content: "a" }, "stop"))
    assert.isUndefined(fault(answer, `data: {"choices":[],"usage":{"prom`))
    assert.strictEqual(fault(answer, data({ error: { message: "x" } }))?.issue, "an error event")
  })

  it("report faults", () => {
    const said = chunk(choice({ content: "secret" }))
    assert.deepStrictEqual(fault(said), { issue: "choices[0].finish_reason: expected one before the stream ends" })
    assert.deepStrictEqual(fault(said, doneMark), {
      issue: "choices[0].finish_reason: expected one before the stream ends"
    })
    assert.deepStrictEqual(fault(chunk(choice({ content: "secret" }, "error"))), {
      issue: "choices[0].finish_reason: expected an end, not error"
    })
    assert.deepStrictEqual(fault(chunk(choice({ content: [{ type: "text", text: null }] }))), {
      issue: "choices[0].delta.content[0].text: expected a string"
    })
    assert.deepStrictEqual(fault(chunk({ secret: 1 })), { issue: "choices: expected an array" })
    assert.deepStrictEqual(fault(chunk(choice({ tool_calls: "secret" }))), {
      issue: "choices[0].delta.tool_calls: expected an array"
    })
    assert.deepStrictEqual(fault(chunk(choice({ tool_calls: ["secret"] }))), {
      issue: "choices[0].delta.tool_calls[0]: expected an object"
    })
  })

  it("deliver what came before a fault in the same event", () => {
    const { deltas, fault } = run(chunk(choice({ content: "a", tool_calls: 1 })))
    assert.deepStrictEqual(deltas, [meta, { type: "text", text: "a" }])
    assert.isDefined(fault)
  })

  it("report an error in mid-stream, among comments", () => {
    const { deltas, fault } = run(streams.openrouterError)
    assert.deepStrictEqual(deltas, [meta, { type: "text", text: "Once" }])
    assert.strictEqual(JSON.parse(fault?.body ?? "").error.code, 429)
  })
})

describe("openai requests for a stream", () => {
  it("request usage, with the caller's own options", () => {
    const query = { model: "gpt-5", stream_options: { include_obfuscation: false } }
    assert.deepStrictEqual(openai.query(query).stream_options, { include_usage: true, include_obfuscation: false })
    const without = { model: "gpt-5", stream_options: { include_usage: false } }
    assert.deepStrictEqual(openai.query(without).stream_options, { include_usage: false })
    assert.deepStrictEqual(openai.query({ stream_options: 7 }), { stream: true, stream_options: 7 })
  })

  it("do not request usage if the caller forbids it, or from Mistral", () => {
    assert.deepStrictEqual(openai.query({ model: "gpt-5", stream_options: null }), { model: "gpt-5", stream: true })
    for (const model of ["mistral-small-latest", "open-mixtral-8x7b", "mistral/magistral-medium", "codestral-2508"]) {
      assert.deepStrictEqual(openaiCompatible.query({ model }), { model, stream: true })
      assert.isDefined(openaiCompatible.query({ model, stream_options: {} }).stream_options)
    }
    assert.isDefined(openaiCompatible.query({ model: "llama-3.3-70b-versatile" }).stream_options)
  })
})
