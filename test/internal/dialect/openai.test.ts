import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Chat from "../../../src/Chat.ts"
import {
  Answer,
  build,
  Conversation,
  callsOf,
  canonical,
  type Event,
  said,
  summary
} from "../../fixtures/chat/arbitrary.ts"
import * as bodies from "../../fixtures/chat/openai.ts"

const decode = (body: unknown) => Result.getOrThrow(Chat.openai.decode(body))
const issue = (body: unknown) => Result.getOrThrow(Result.flip(Chat.openai.decode(body)))
const encode = (input: Chat.Input, model = "gpt-4.1-mini") => Result.getOrThrow(Chat.openai.encode(input, model))
const choice = (message: unknown, finish_reason: unknown = "stop") => ({ choices: [{ message, finish_reason }] })

describe("openai encode", () => {
  it("writes a text as one user message", () => {
    assert.deepStrictEqual(encode("Hi"), { model: "gpt-4.1-mini", messages: [{ role: "user", content: "Hi" }] })
  })

  it("writes a request with every field", () => {
    const parameters = { type: "object", properties: { city: { type: "string" } } }
    const body = encode({
      messages: [
        Chat.system([{ type: "text", text: "Be brief." }]),
        Chat.user([
          { type: "text", text: "Look" },
          { type: "image", url: "https://example.com/a.png" },
          { type: "image", data: "aGk=", mediaType: "image/png" }
        ]),
        Chat.assistant("", [{ id: "call_1", name: "weather", arguments: { city: "Lyon" } }]),
        Chat.tool({ id: "call_1", name: "weather" }, "sunny")
      ],
      maxTokens: 100,
      temperature: 0.5,
      topP: 0.9,
      stop: ["END"],
      seed: 7,
      tools: [
        { name: "weather", description: "Weather of a city", parameters },
        { name: "clock", parameters: {} }
      ],
      toolChoice: { name: "weather" },
      output: { type: "json", schema: parameters },
      extra: { reasoning_effort: "low", temperature: 1 }
    })
    assert.deepStrictEqual(body, {
      model: "gpt-4.1-mini",
      messages: [
        { role: "system", content: [{ type: "text", text: "Be brief." }] },
        {
          role: "user",
          content: [
            { type: "text", text: "Look" },
            { type: "image_url", image_url: { url: "https://example.com/a.png" } },
            { type: "image_url", image_url: { url: "data:image/png;base64,aGk=" } }
          ]
        },
        {
          role: "assistant",
          content: "",
          tool_calls: [{ id: "call_1", type: "function", function: { name: "weather", arguments: '{"city":"Lyon"}' } }]
        },
        { role: "tool", tool_call_id: "call_1", content: "sunny" }
      ],
      max_completion_tokens: 100,
      temperature: 1,
      top_p: 0.9,
      stop: ["END"],
      seed: 7,
      tools: [
        { type: "function", function: { name: "weather", description: "Weather of a city", parameters } },
        { type: "function", function: { name: "clock", parameters: {} } }
      ],
      tool_choice: { type: "function", function: { name: "weather" } },
      response_format: { type: "json_schema", json_schema: { name: "output", schema: parameters } },
      reasoning_effort: "low"
    })
  })

  it("sends strict and the user's name, and none to a model of Mistral", () => {
    const schema = { type: "object", properties: {}, additionalProperties: false }
    const request: Chat.Request = {
      messages: [Chat.user("x")],
      tools: [{ name: "f", parameters: schema, strict: true }],
      output: { type: "json", schema, strict: true },
      user: "u-1"
    }
    for (const dialect of [Chat.openai, Chat.openaiCompatible]) {
      const body = Result.getOrThrow(dialect.encode(request, "m"))
      assert.deepNestedInclude(body, {
        "tools[0].function.strict": true,
        "response_format.json_schema": { name: "output", schema, strict: true },
        user: "u-1"
      })
      assert.notProperty(Result.getOrThrow(dialect.encode(request, "mistral-small-latest")), "user")
    }
  })

  it("rejects strict that is not a boolean or has no schema, and a user without a name", () => {
    const issueOf = (request: object) =>
      Result.getOrThrow(Result.flip(Chat.openai.encode({ messages: [Chat.user("x")], ...request }, "m"))).field
    assert.strictEqual(issueOf({ tools: [{ name: "f", parameters: {}, strict: "yes" }] }), "tools[0].strict")
    assert.strictEqual(issueOf({ output: { type: "json", schema: {}, strict: 1 } }), "output.strict")
    assert.strictEqual(issueOf({ output: { type: "json", strict: true } }), "output.schema")
    assert.strictEqual(issueOf({ user: "" }), "user")
  })

  it("writes JSON without a schema, tool choices as words, and no empty lists", () => {
    const tools = [{ name: "f", parameters: {} }]
    assert.deepStrictEqual(encode({ messages: [Chat.user("x")], output: { type: "json" } }).response_format, {
      type: "json_object"
    })
    assert.strictEqual(encode({ messages: [Chat.user("x")], tools, toolChoice: "required" }).tool_choice, "required")
    assert.deepStrictEqual(Object.keys(encode({ messages: [Chat.user("x")], tools: [], stop: [] })), [
      "model",
      "messages"
    ])
  })

  it("sends max_tokens to compatible servers, and Gemini its signature", () => {
    const request: Chat.Request = {
      messages: [
        Chat.user("x"),
        Chat.assistant("", [{ id: "c", name: "f", arguments: {}, signature: "sig" }]),
        Chat.tool("c", "1")
      ],
      maxTokens: 5
    }
    const toGemini = Result.getOrThrow(Chat.openaiCompatible.encode(request, "google-ai-studio/gemini-3-flash"))
    const toOthers = Result.getOrThrow(Chat.openaiCompatible.encode(request, "mistral/mistral-small"))
    assert.strictEqual(toGemini.max_tokens, 5)
    assert.notProperty(toGemini, "max_completion_tokens")
    assert.include(JSON.stringify(toGemini), `"extra_content":{"google":{"thought_signature":"sig"}}`)
    assert.notInclude(JSON.stringify(toOthers), "extra_content")
  })

  const events = (body: Record<string, unknown>): ReadonlyArray<Event> => {
    const messages = Schema.decodeUnknownSync(Schema.Array(Schema.Record(Schema.String, Schema.Unknown)))(body.messages)
    const Calls = Schema.Array(
      Schema.Struct({ id: Schema.String, function: Schema.Struct({ name: Schema.String, arguments: Schema.String }) })
    )
    return messages.flatMap((message): ReadonlyArray<Event> => {
      const text = String(message.content)
      if (message.role === "system") return []
      if (message.role === "tool") return [{ type: "result", id: String(message.tool_call_id), text }]
      const calls = Schema.decodeUnknownSync(Calls)(message.tool_calls ?? []).map(
        ({ function: { arguments: args, name }, id }): Event => ({ type: "call", id, name, args: JSON.parse(args) })
      )
      const role = message.role === "user" ? "user" : "assistant"
      return [...(text === "" ? [] : [{ type: "text" as const, role: role as "user" | "assistant", text }]), ...calls]
    })
  }

  it.prop("writes any conversation so that it can be read back", { conversation: Conversation }, ({ conversation }) => {
    const { events: expected, request } = build(conversation)
    assert.deepStrictEqual(events(encode(request)), expected)
  })
})

describe("openai decode", () => {
  it("reads a recorded completion, and keeps unknown fields in raw", () => {
    assert.deepStrictEqual(decode(bodies.completion), {
      text: "Good morning!",
      toolCalls: [],
      finishReason: "stop",
      usage: {
        inputTokens: 19,
        outputTokens: 10,
        totalTokens: 29,
        cachedInputTokens: 8,
        cacheWriteTokens: 4,
        reasoningTokens: 3
      },
      tier: "default",
      model: "gpt-4.1-2025-04-14",
      id: "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
      raw: bodies.completion
    })
    assert.strictEqual(decode(bodies.completion).raw, bodies.completion)
  })

  it("reads tool calls, parsed", () => {
    const reply = decode(bodies.toolCalls)
    assert.deepStrictEqual(reply.toolCalls, [
      { id: "call_one", name: "weather", arguments: { city: "Lyon", days: 2 } },
      { id: "call_two", name: "clock", arguments: {} }
    ])
    assert.strictEqual(reply.finishReason, "toolCalls")
    assert.strictEqual(reply.text, "")
  })

  it("reads refusals and filtered answers as contentFilter", () => {
    assert.strictEqual(decode(bodies.refusal).finishReason, "contentFilter")
    assert.strictEqual(decode(bodies.refusal).text, "I can't help with that.")
    assert.strictEqual(decode(bodies.filtered).finishReason, "contentFilter")
    assert.strictEqual(decode(bodies.filtered).text, "")
  })

  it("reads thinking of DeepSeek, Groq and Mistral", () => {
    assert.strictEqual(decode(bodies.deepseek).reasoning, "Compare the tenths.")
    assert.strictEqual(decode(bodies.deepseek).usage.cachedInputTokens, 16)
    assert.strictEqual(decode(choice({ content: "x", reasoning: "thought" })).reasoning, "thought")
    assert.strictEqual(decode(bodies.mistral).reasoning, "Four legs, so a cat.")
    assert.strictEqual(decode(bodies.mistral).text, "A cat.")
  })

  it("gives a call without an id one, and keeps Gemini's signature", () => {
    assert.deepStrictEqual(decode(bodies.gemini).toolCalls, [
      { id: "call_0", name: "weather", arguments: { city: "Paris" }, signature: "c2lnbmF0dXJl" }
    ])
  })

  it("reads finish reasons", () => {
    const reason = (finish_reason: unknown) => decode(choice({ content: "x" }, finish_reason)).finishReason
    assert.deepStrictEqual(
      ["stop", "length", "model_length", "content_filter", "tool_calls", "eos", null].map(reason),
      ["stop", "length", "length", "contentFilter", "other", "stop", "other"]
    )
    const called = { content: null, tool_calls: [{ id: "a", function: { name: "f", arguments: "{}" } }] }
    assert.strictEqual(decode(choice(called)).finishReason, "toolCalls")
    assert.strictEqual(decode(choice(called, "length")).finishReason, "length")
  })

  it("omits usage that is not a count", () => {
    const usage = { prompt_tokens: "3", completion_tokens: -1, total_tokens: 4 }
    const reply = decode({ ...choice({ content: "x" }), usage, model: 5, id: null })
    assert.deepStrictEqual(reply.usage, { totalTokens: 4 })
    assert.notProperty(reply, "model")
    assert.strictEqual(Chat.openai.usage(decode(choice({ content: "x" }))), undefined)
    assert.deepStrictEqual(Chat.openai.usage(reply), { totalTokens: 4 })
    assert.strictEqual(Chat.openai.model(decode(bodies.completion)), "gpt-4.1-2025-04-14")
  })

  it("reports the place of a fault in a body", () => {
    const call = (value: unknown) => choice({ content: null, tool_calls: [value] })
    const cases: ReadonlyArray<readonly [unknown, string]> = [
      [undefined, "body"],
      ["text", "body"],
      [{}, "choices"],
      [{ error: { message: "overloaded" } }, "choices"],
      [{ choices: [] }, "choices"],
      [{ choices: [null] }, "choices[0]"],
      [{ choices: [{}] }, "choices[0].message"],
      [choice({}), "choices[0].message.content"],
      [choice({ content: null }, "tool_calls"), "choices[0].message.content"],
      [choice({ content: null, reasoning_content: "x" }), "choices[0].message.content"],
      [choice({ content: [{ type: "text" }] }), "choices[0].message.content[0].text"],
      [choice({ content: "x", tool_calls: {} }), "choices[0].message.tool_calls"],
      [call("x"), "choices[0].message.tool_calls[0]"],
      [call({ id: 1, function: { name: "f" } }), "choices[0].message.tool_calls[0].id"],
      [call({ id: "a", function: {} }), "choices[0].message.tool_calls[0].function.name"],
      [
        call({ id: "a", function: { name: "f", arguments: "{oops" } }),
        "choices[0].message.tool_calls[0].function.arguments"
      ]
    ]
    for (const [body, field] of cases) assert.strictEqual(issue(body).field, field, JSON.stringify(body))
  })

  it.prop("decodes any answer to its content", { answer: Answer }, ({ answer }) => {
    const body = {
      model: "m",
      choices: [
        {
          finish_reason: answer.calls.length > 0 ? "tool_calls" : "stop",
          message: {
            content: answer.text,
            reasoning_content: answer.reasoning,
            tool_calls: callsOf(answer).map(({ arguments: args, id, name }) => ({
              id,
              type: "function",
              function: { name, arguments: JSON.stringify(args) }
            }))
          }
        }
      ],
      usage: {
        prompt_tokens: answer.plain + answer.cached + answer.written,
        completion_tokens: answer.visible + answer.thinking,
        prompt_tokens_details: { cached_tokens: answer.cached, cache_write_tokens: answer.written },
        completion_tokens_details: { reasoning_tokens: answer.thinking }
      }
    }
    const reply = decode(canonical(body))
    assert.deepStrictEqual(summary(reply), said(answer))
    assert.strictEqual(reply.usage.cacheWriteTokens, answer.written)
  })
})
