import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Chat from "../../../src/Chat.ts"
import * as Classifier from "../../../src/Classifier.ts"
import type { Delta } from "../../../src/internal/dialect/delta.ts"
import { google } from "../../../src/internal/dialect/googleStream.ts"
import { data, doneMark, runText } from "../../fixtures/streams/drive.ts"
import * as streams from "../../fixtures/streams/google.ts"

const { response } = streams
const run = (stream: string) => runText(google.decoder(), stream)
const collect = (stream: string) => Result.getOrThrow(Chat.collect(run(stream).deltas))
const fault = (...events: ReadonlyArray<string>) => run(events.join("")).fault
const partial: Delta = { type: "usage", usage: { inputTokens: 8, totalTokens: 8 } }

describe("google streams", () => {
  it("deliver text and thoughts, and the finish at the end", () => {
    assert.deepStrictEqual(run(streams.text), {
      deltas: [
        { type: "meta", model: "gemini-3-flash", id: "mAitaLmkHPPlz7IP" },
        { type: "reasoning", text: "**Thinking**" },
        partial,
        { type: "text", text: "Grüß " },
        partial,
        { type: "text", text: "Gott 👋🏽" },
        partial,
        { type: "opaque", opaque: { origin: "google", value: "CpQBAdHtim" }, of: "text" },
        { type: "usage", usage: { inputTokens: 8, outputTokens: 26, totalTokens: 34, reasoningTokens: 20 } },
        { type: "finish", reason: "stop" }
      ],
      fault: undefined
    })
  })

  it("deliver function calls, with ids generated as in a reply", () => {
    const reply = collect(streams.functionCalls)
    assert.deepStrictEqual(reply.toolCalls, [
      { id: "call_mAitaLmkHPPlz7IP_0", name: "weather", arguments: { city: "Lyon" }, signature: "CoYBAdHt" },
      { id: "call_mAitaLmkHPPlz7IP_1", name: "clock", arguments: {} },
      { id: "fc-9", name: "clock", arguments: { utc: true } }
    ])
    assert.strictEqual(reply.finishReason, "toolCalls")
    const anonymous = data({
      candidates: [{ content: { parts: [{ functionCall: { name: "f" } }] }, finishReason: "STOP" }]
    })
    assert.strictEqual(collect(anonymous).toolCalls[0]?.id, "call_0")
  })

  it("deliver an answer cut off before its first word, and accept reasons in every event", () => {
    const reply = collect(streams.spent)
    assert.strictEqual(reply.text, "")
    assert.strictEqual(reply.finishReason, "length")
    assert.strictEqual(collect(streams.repeated).text, "One two")
  })

  it("deliver usage and parts in an event after the reason", () => {
    const stream = response([{ text: "a" }], "MAX_TOKENS") + response([{ text: "b" }]) + data({ usageMetadata: {} })
    assert.deepStrictEqual(run(stream).deltas.slice(-3), [
      { type: "text", text: "b" },
      // Counts that a later event omits are kept.
      { type: "usage", usage: { inputTokens: 8, outputTokens: 26, totalTokens: 34, reasoningTokens: 20 } },
      { type: "finish", reason: "length" }
    ])
  })

  it("end with the marker of other dialects too, when complete", () => {
    const decoder = google.decoder()
    decoder.event({ event: "message", data: response([{ text: "a" }], "STOP").slice(6) })
    assert.deepStrictEqual(decoder.event({ event: "message", data: "[DONE]" }), {
      deltas: [{ type: "finish", reason: "stop" }],
      done: true
    })
    assert.isDefined(fault(response([{ text: "a" }]), doneMark))
  })

  it("use the first of several candidates, also without its index", () => {
    const stream = data({
      candidates: [
        { index: 1, content: { parts: [{ text: "no" }] }, finishReason: "SAFETY" },
        { content: { parts: [{ text: "yes" }] }, finishReason: "STOP" }
      ]
    })
    assert.strictEqual(collect(stream).text, "yes")
  })

  it("report a blocked prompt as without a stream", () => {
    const body = { promptFeedback: { blockReason: "SAFETY" }, usageMetadata: { promptTokenCount: 4 } }
    const { deltas, fault } = run(data(body))
    assert.deepStrictEqual(deltas, [])
    assert.deepStrictEqual(JSON.parse(fault?.body ?? ""), body)
    const { reason } = Classifier.classify({ status: 200, body: fault?.body, surface: "gateway" })
    assert.strictEqual(reason._tag, "ContentBlocked")
  })

  it("report faults", () => {
    const said = response([{ text: "secret" }])
    assert.deepStrictEqual(fault(said), { issue: "candidates[0].finishReason: expected one before the stream ends" })
    assert.deepStrictEqual(fault(response([], "STOP")), {
      issue: "answer: expected some output, or `allowEmpty`"
    })
    // Older models put a reason into every event, so it does not excuse a cut after it.
    assert.deepStrictEqual(fault(response([{ text: "secret" }], "STOP"), `data: {"candidates":[{"con`), {
      issue: "event: expected a JSON object"
    })
    assert.deepStrictEqual(fault(response([{ text: 7 }])), {
      issue: "candidates[0].content.parts[0].text: expected a string"
    })
    assert.deepStrictEqual(fault(response([{ functionCall: { args: {} } }])), {
      issue: "candidates[0].content.parts[0].functionCall.name: expected a non-empty string"
    })
    assert.deepStrictEqual(fault(response([{ functionCall: { name: "f", willContinue: true } }])), {
      issue:
        "candidates[0].content.parts[0].functionCall: expected a complete call: streamFunctionCallArguments is not supported"
    })
    assert.deepStrictEqual(fault(data({ candidates: "secret" })), { issue: "candidates: expected an array" })
  })
})

describe("google paths for a stream", () => {
  const cases: ReadonlyArray<readonly [from: string, to: string]> = [
    ["v1beta/models/gemini-3-flash:generateContent", "v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse"],
    ["m:generateContent?key=a&alt=json", "m:streamGenerateContent?alt=sse&key=a"],
    ["m:streamGenerateContent", "m:streamGenerateContent?alt=sse"],
    ["m:streamGenerateContent?alt=sse", "m:streamGenerateContent?alt=sse"],
    ["m:embedContent", "m:embedContent"],
    ["generateContent:x", "generateContent:x"]
  ]
  for (const [from, to] of cases) {
    it(from, () => {
      assert.strictEqual(google.endpoint(from), to)
    })
  }
})
