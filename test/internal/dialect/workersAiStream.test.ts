import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Chat from "../../../src/Chat.ts"
import { workersAi } from "../../../src/internal/dialect/workersAiStream.ts"
import { data, doneMark, runText } from "../../fixtures/streams/drive.ts"
import * as streams from "../../fixtures/streams/workersAi.ts"

const run = (stream: string) => runText(workersAi.decoder(), stream)
const collect = (stream: string) => Result.getOrThrow(Chat.collect(run(stream).deltas))
const fault = (...events: ReadonlyArray<string>) => run(events.join("")).fault
const usage = { inputTokens: 24, outputTokens: 17, totalTokens: 41 }

describe("workers-ai streams", () => {
  it("deliver its own events, with [DONE] as the finish", () => {
    assert.deepStrictEqual(run(streams.native), {
      deltas: [
        { type: "text", text: "As" },
        { type: "text", text: " ü" },
        { type: "text", text: "👋🏽" },
        { type: "usage", usage },
        { type: "finish", reason: "stop" }
      ],
      fault: undefined
    })
  })

  it("deliver tokens and JSON that did not arrive as text", () => {
    assert.strictEqual(collect(streams.numbers).text, "42!")
    assert.strictEqual(collect(data({ response: { a: [1] } }) + doneMark).text, '{"a":[1]}')
  })

  it("handle an empty answer, and a missing one", () => {
    assert.deepStrictEqual(fault(data({ response: "" }), doneMark), {
      issue: "answer: expected some output, or `allowEmpty`"
    })
    assert.deepStrictEqual(fault(doneMark), { issue: "response: expected one before [DONE]" })
    assert.deepStrictEqual(fault(data({ usage: streams.usage, choices: [] }), doneMark), {
      issue: "response: expected one before [DONE]"
    })
  })

  it("deliver complete tool calls, with ids generated as in a reply", () => {
    const reply = collect(streams.wholeCalls)
    assert.deepStrictEqual(reply.toolCalls, [
      { id: "call_0", name: "weather", arguments: { city: "Lyon" } },
      { id: "call_1", name: "clock", arguments: {} }
    ])
    assert.strictEqual(reply.finishReason, "toolCalls")
  })

  it("deliver tool calls in fragments, ended by nulls", () => {
    assert.deepStrictEqual(run(streams.fragments).deltas, [
      { type: "toolCall", index: 0, id: "chatcmpl-tool-1", name: "weather", arguments: "" },
      { type: "toolCall", index: 0, arguments: '{"city":' },
      { type: "toolCall", index: 0, arguments: '"Lyon"}' },
      { type: "usage", usage },
      { type: "finish", reason: "toolCalls" }
    ])
  })

  it("deliver OpenAI's chunks whose last one is repeated", () => {
    assert.deepStrictEqual(run(streams.completion).deltas, [
      { type: "meta", model: "@cf/meta/llama-3.1-8b-instruct", id: "id-1778255778230" },
      { type: "reasoning", text: "Hm." },
      { type: "text", text: "Hello" },
      { type: "usage", usage: { inputTokens: 44, outputTokens: 1, totalTokens: 45 } },
      { type: "finish", reason: "stop" },
      { type: "usage", usage: { inputTokens: 44, outputTokens: 2, totalTokens: 46 } }
    ])
  })

  it("deliver OpenAI's chunks without a reason", () => {
    const chunk = data({ choices: [{ index: 0, delta: { content: "a" } }] })
    assert.strictEqual(collect(chunk + doneMark).finishReason, "stop")
    assert.deepStrictEqual(fault(chunk), { issue: "[DONE]: expected one before the stream ends" })
  })

  it("report faults", () => {
    assert.deepStrictEqual(fault(data({ response: "secret" })), {
      issue: "[DONE]: expected one before the stream ends"
    })
    assert.deepStrictEqual(fault(data({ response: "secret", finish_reason: "error" })), {
      issue: "finish_reason: expected an end, not error"
    })
    assert.deepStrictEqual(fault(data({ tool_calls: "secret" })), { issue: "tool_calls: expected an array" })
    assert.deepStrictEqual(fault(data({ response: "secret" }), "data: [DON"), {
      issue: "event: expected a JSON object"
    })
  })
})
