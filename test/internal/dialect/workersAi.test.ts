import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Chat from "../../../src/Chat.ts"
import { Answer, callsOf, canonical, said, summary } from "../../fixtures/chat/arbitrary.ts"
import * as bodies from "../../fixtures/chat/workersAi.ts"

const decode = (body: unknown) => Result.getOrThrow(Chat.workersAi.decode(body))
const issue = (body: unknown) => Result.getOrThrow(Result.flip(Chat.workersAi.decode(body)))
const encode = (input: Chat.Input) =>
  Result.getOrThrow(Chat.workersAi.encode(input, "@cf/meta/llama-3.3-70b-instruct-fp8-fast"))
const encodeIssue = (input: Chat.Input) => Result.getOrThrow(Result.flip(Chat.workersAi.encode(input, "@cf/x"))).field

describe("workersAi encode", () => {
  it("writes a text as one user message, without the model", () => {
    assert.deepStrictEqual(encode("Hi"), { messages: [{ role: "user", content: "Hi" }] })
  })

  it("writes a request with every field", () => {
    const schema = { type: "object", properties: { city: { type: "string" } } }
    const body = encode({
      messages: [
        Chat.system([
          { type: "text", text: "Be brief." },
          { type: "text", text: "Be kind." }
        ]),
        Chat.user([
          { type: "text", text: "Look" },
          { type: "image", data: "aGk=", mediaType: "image/png" }
        ]),
        Chat.assistant("", [{ id: "call_0", name: "weather", arguments: { city: "Lyon" } }]),
        Chat.tool({ id: "call_0", name: "weather" }, "sunny"),
        Chat.tool("call_1", "none"),
        Chat.assistant([
          { type: "text", text: "Sunny." },
          { type: "text", text: "Anything else?" }
        ])
      ],
      maxTokens: 100,
      temperature: 4,
      topP: 0.9,
      stop: ["END"],
      seed: 7,
      tools: [{ name: "weather", parameters: schema }],
      toolChoice: "auto",
      output: { type: "json", name: "unused", schema },
      extra: { top_k: 3 }
    })
    assert.deepStrictEqual(body, {
      messages: [
        { role: "system", content: "Be brief.\nBe kind." },
        {
          role: "user",
          content: [
            { type: "text", text: "Look" },
            { type: "image_url", image_url: { url: "data:image/png;base64,aGk=" } }
          ]
        },
        {
          role: "assistant",
          content: "",
          tool_calls: [{ id: "call_0", type: "function", function: { name: "weather", arguments: '{"city":"Lyon"}' } }]
        },
        { role: "tool", tool_call_id: "call_0", name: "weather", content: "sunny" },
        { role: "tool", tool_call_id: "call_1", content: "none" },
        { role: "assistant", content: "Sunny.\nAnything else?" }
      ],
      max_tokens: 100,
      temperature: 4,
      top_p: 0.9,
      stop: ["END"],
      seed: 7,
      tools: [{ type: "function", function: { name: "weather", parameters: schema } }],
      tool_choice: "auto",
      response_format: { type: "json_schema", json_schema: schema },
      top_k: 3
    })
    assert.deepStrictEqual(encode({ messages: [Chat.user("x")], output: { type: "json" } }).response_format, {
      type: "json_object"
    })
  })

  it("sends strict of tools, and omits the user's name", () => {
    const schema = { type: "object" }
    const body = encode({
      messages: [Chat.user("x")],
      tools: [{ name: "f", parameters: schema, strict: true }],
      output: { type: "json", schema, strict: true },
      user: "u-1"
    })
    assert.deepNestedInclude(body, {
      "tools[0].function.strict": true,
      response_format: { type: "json_schema", json_schema: schema }
    })
    assert.notProperty(body, "user")
  })

  it("rejects images that would have to be fetched, and temperatures above 5", () => {
    const image = Chat.user([{ type: "image", url: "https://example.com/a.png" }])
    assert.strictEqual(encodeIssue({ messages: [image] }), "messages[0].content[0].url")
    assert.strictEqual(encodeIssue({ messages: [Chat.user("x")], temperature: 5.1 }), "temperature")
  })
})

describe("workersAi decode", () => {
  it("reads a recorded answer, bare and in its envelopes", () => {
    const expected = {
      text: "Hello, World first appeared in a book about C.",
      toolCalls: [],
      finishReason: "stop" as const,
      usage: { inputTokens: 26, outputTokens: 60, totalTokens: 86 }
    }
    const both = { success: true, errors: [], messages: [], result: bodies.run }
    for (const raw of [bodies.native, bodies.envelope, bodies.run, both]) {
      assert.deepStrictEqual(decode(raw), { ...expected, raw })
    }
  })

  it("reads flat tool calls without ids, and OpenAI's inside a native answer", () => {
    const reply = decode(bodies.toolCalls)
    assert.deepStrictEqual(reply.toolCalls, [
      { id: "call_0", name: "weather", arguments: { latitude: "51.5074", longitude: "-0.1278" } },
      { id: "call_1", name: "clock", arguments: {} }
    ])
    assert.strictEqual(reply.finishReason, "toolCalls")
    const nested = { response: "", tool_calls: [{ id: "x", function: { name: "f", arguments: { a: 1 } } }] }
    assert.deepStrictEqual(decode(nested).toolCalls, [{ id: "x", name: "f", arguments: { a: 1 } }])
  })

  it("turns parsed JSON, numbers and bare strings into text", () => {
    assert.strictEqual(decode(bodies.json).text, `{"name":"India","capital":"New Delhi"}`)
    assert.strictEqual(decode({ response: 42 }).text, "42")
    assert.strictEqual(decode("plain").text, "plain")
    assert.strictEqual(decode({ success: true, result: "plain" }).text, "plain")
  })

  it("reads OpenAI's shape, also in an envelope", () => {
    for (const raw of [bodies.completion, { state: "Completed", result: bodies.completion }]) {
      const reply = decode(raw)
      assert.deepStrictEqual(reply.toolCalls, [{ id: "functions.weather:0", name: "weather", arguments: {} }])
      assert.strictEqual(reply.reasoning, "The user wants the weather.")
      assert.strictEqual(reply.finishReason, "toolCalls")
      assert.strictEqual(reply.usage.cachedInputTokens, 64)
      assert.strictEqual(reply.model, "@cf/openai/gpt-oss-120b")
      assert.strictEqual(reply.raw, raw)
    }
  })

  it("uses a finish reason if there is one", () => {
    assert.strictEqual(decode({ response: "x", finish_reason: "length" }).finishReason, "length")
  })

  it("reports the place of a fault in a body", () => {
    const cases: ReadonlyArray<readonly [unknown, string]> = [
      [7, "body"],
      [{}, "response"],
      [{ response: null }, "response"],
      [{ response: "x", tool_calls: {} }, "tool_calls"],
      [{ tool_calls: [{ arguments: {} }] }, "tool_calls[0].name"],
      [{ request_id: "queued" }, "response"],
      [{ success: false, result: null, errors: [] }, "success"],
      [{ state: "Failed", result: {}, error: {} }, "state"],
      [{ success: true, result: { state: "Failed", result: null } }, "result.state"],
      [{ success: true, result: null }, "result"],
      [{ success: true, result: { state: "Completed", result: {} } }, "result.result.response"],
      [{ success: true, result: { choices: [] } }, "result.choices"],
      [{ result: { choices: [{ message: { content: null } }] }, success: true }, "result.choices[0].message.content"]
    ]
    for (const [body, field] of cases) assert.strictEqual(issue(body).field, field, JSON.stringify(body))
  })

  it.prop("decodes any native answer to its text", { answer: Answer }, ({ answer }) => {
    const body = {
      result: {
        response: answer.text,
        tool_calls: callsOf(answer).map(({ arguments: args, name }) => ({ name, arguments: args })),
        usage: {
          prompt_tokens: answer.plain + answer.cached + answer.written,
          completion_tokens: answer.visible + answer.thinking,
          prompt_tokens_details: { cached_tokens: answer.cached }
        }
      },
      success: true
    }
    // Native answers report no thinking.
    const expected = { ...said(answer), reasoning: undefined, reasoningTokens: undefined }
    assert.deepStrictEqual(summary(decode(canonical(body))), expected)
  })
})
