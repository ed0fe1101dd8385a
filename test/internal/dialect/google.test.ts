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
import * as bodies from "../../fixtures/chat/google.ts"

const decode = (body: unknown) => Result.getOrThrow(Chat.google.decode(body))
const issue = (body: unknown) => Result.getOrThrow(Result.flip(Chat.google.decode(body)))
const encode = (input: Chat.Input, model = "gemini-2.5-flash", dialect = Chat.google) =>
  Result.getOrThrow(dialect.encode(input, model))
const encodeIssue = (input: Chat.Input) => Result.getOrThrow(Result.flip(Chat.google.encode(input, "gemini"))).field

describe("google encode", () => {
  it("writes a text as one user turn, without the model", () => {
    assert.deepStrictEqual(encode("Hi"), { contents: [{ role: "user", parts: [{ text: "Hi" }] }] })
  })

  it("writes a request with every field", () => {
    const schema = { type: "object", properties: { city: { type: "string" } } }
    const body = encode(
      {
        messages: [
          Chat.system("Be brief."),
          Chat.user([
            { type: "text", text: "Look" },
            { type: "image", url: "https://example.com/a.png", mediaType: "image/png" },
            { type: "image", url: "https://example.com/b" },
            { type: "image", data: "aGk=", mediaType: "image/png" }
          ]),
          Chat.assistant("Let me see.", [
            { id: "a", name: "weather", arguments: { city: "Lyon" }, signature: "c2ln" },
            { id: "b", name: "clock", arguments: {} }
          ]),
          Chat.tool("a", "sunny"),
          Chat.system("Use Celsius."),
          Chat.tool("b", "noon")
        ],
        maxTokens: 100,
        temperature: 0.5,
        topP: 0.9,
        stop: ["END"],
        seed: 7,
        tools: [
          { name: "weather", description: "Weather of a city", parameters: schema },
          { name: "clock", parameters: {} }
        ],
        toolChoice: { name: "weather" },
        output: { type: "json", schema },
        extra: { generationConfig: { topP: 0.1, thinkingConfig: { thinkingBudget: 0 } }, cachedContent: "c/1" }
      },
      "gemini-3-flash"
    )
    assert.deepStrictEqual(body, {
      systemInstruction: { parts: [{ text: "Be brief." }, { text: "Use Celsius." }] },
      contents: [
        {
          role: "user",
          parts: [
            { text: "Look" },
            { fileData: { fileUri: "https://example.com/a.png", mimeType: "image/png" } },
            { fileData: { fileUri: "https://example.com/b" } },
            { inlineData: { mimeType: "image/png", data: "aGk=" } }
          ]
        },
        {
          role: "model",
          parts: [
            { text: "Let me see." },
            { functionCall: { id: "a", name: "weather", args: { city: "Lyon" } }, thoughtSignature: "c2ln" },
            { functionCall: { id: "b", name: "clock", args: {} } }
          ]
        },
        {
          role: "user",
          parts: [
            { functionResponse: { id: "a", name: "weather", response: { output: "sunny" } } },
            { functionResponse: { id: "b", name: "clock", response: { output: "noon" } } }
          ]
        }
      ],
      tools: [
        {
          functionDeclarations: [
            { name: "weather", description: "Weather of a city", parametersJsonSchema: schema },
            { name: "clock", parametersJsonSchema: {} }
          ]
        }
      ],
      toolConfig: { functionCallingConfig: { mode: "ANY", allowedFunctionNames: ["weather"] } },
      generationConfig: {
        maxOutputTokens: 100,
        temperature: 0.5,
        topP: 0.1,
        stopSequences: ["END"],
        seed: 7,
        responseMimeType: "application/json",
        responseJsonSchema: schema,
        thinkingConfig: { thinkingBudget: 0 }
      },
      cachedContent: "c/1"
    })
  })

  it("writes tool choices, and JSON without a schema", () => {
    const tools = [{ name: "f", parameters: {} }]
    const choice = (toolChoice: Chat.ToolChoice) => encode({ messages: [Chat.user("x")], tools, toolChoice }).toolConfig
    const modes = (["auto", "none", "required"] as const).map(choice)
    assert.deepStrictEqual(
      modes,
      ["AUTO", "NONE", "ANY"].map((mode) => ({ functionCallingConfig: { mode } }))
    )
    assert.notProperty(encode({ messages: [Chat.user("x")], tools }), "toolConfig")
    assert.deepStrictEqual(encode({ messages: [Chat.user("x")], output: { type: "json" } }).generationConfig, {
      responseMimeType: "application/json"
    })
  })

  it("enforces the schemas of calls if a tool is strict, and omits the user's name", () => {
    const tools = [
      { name: "f", parameters: {}, strict: true },
      { name: "g", parameters: {} }
    ]
    const config = (more: object) =>
      encode({ messages: [Chat.user("x")], tools, user: "u-1", ...more }, "gemini-3-flash")
    const mode = (toolChoice?: Chat.ToolChoice) => config({ toolChoice }).toolConfig
    for (const choice of [undefined, "auto"] as const) {
      assert.deepStrictEqual(mode(choice), { functionCallingConfig: { mode: "VALIDATED" } })
    }
    // Forced calls fit their schemas in any case.
    assert.deepStrictEqual(mode("required"), { functionCallingConfig: { mode: "ANY" } })
    assert.deepStrictEqual(mode("none"), { functionCallingConfig: { mode: "NONE" } })
    assert.deepStrictEqual(mode({ name: "f" }), { functionCallingConfig: { mode: "ANY", allowedFunctionNames: ["f"] } })
    const body = JSON.stringify(config({ output: { type: "json", schema: {}, strict: true } }))
    assert.notInclude(body, "strict")
    assert.notInclude(body, "u-1")
  })

  it("gives the first call of another model the documented placeholder from Gemini 3 on", () => {
    const calls = ["a", "b"].map((id) => ({ id, name: "f", arguments: {} }))
    const placeholders = (model: string) =>
      JSON.stringify(encode({ messages: [Chat.user("x"), Chat.assistant("", calls)] }, model)).split(
        "skip_thought_signature_validator"
      ).length - 1
    assert.strictEqual(placeholders("gemini-3-flash"), 1)
    assert.strictEqual(placeholders("gemini-10-pro"), 1)
    assert.strictEqual(placeholders("gemini-flash-latest"), 1)
    assert.strictEqual(placeholders("gemini-2.5-flash"), 0)
    assert.strictEqual(placeholders("gemini-1.5-pro"), 0)
    assert.strictEqual(placeholders("gemma-3-27b-it"), 0)
  })

  it("sends no ids of calls to Vertex", () => {
    const messages = [Chat.user("x"), Chat.assistant("", [{ id: "a", name: "f", arguments: {} }]), Chat.tool("a", "1")]
    assert.notInclude(JSON.stringify(encode({ messages }, "gemini-2.5-pro", Chat.googleVertex)), `"id"`)
  })

  it("puts the results of parallel calls in the order of the calls at Vertex, which has no ids", () => {
    const calls = ["a", "b", "c"].map((id, n) => ({ id, name: "f", arguments: { n } }))
    const messages = [
      Chat.user("x"),
      Chat.assistant("", calls),
      Chat.tool("c", "third"),
      Chat.tool("a", "first"),
      Chat.tool("b", "second"),
      Chat.assistant("", calls.slice(0, 2)),
      Chat.tool("b", "second"),
      Chat.tool("a", "first")
    ]
    const answers = (dialect: typeof Chat.google) =>
      JSON.stringify(encode({ messages }, "gemini-2.5-pro", dialect)).match(/first|second|third/g)
    assert.deepStrictEqual(answers(Chat.googleVertex), ["first", "second", "third", "first", "second"])
    assert.deepStrictEqual(answers(Chat.google), ["third", "first", "second", "second", "first"])
  })

  it("rejects what Google cannot take", () => {
    const messages = [Chat.user("x")]
    assert.strictEqual(encodeIssue({ messages: [Chat.system("x")] }), "messages")
    assert.strictEqual(encodeIssue({ messages: [Chat.user("")] }), "messages[0].content")
    assert.strictEqual(encodeIssue({ messages: [...messages, Chat.tool("a", "1")] }), "messages[1].name")
    assert.strictEqual(encodeIssue({ messages, tools: [{ name: "1f", parameters: {} }] }), "tools[0].name")
    assert.strictEqual(encodeIssue({ messages, extra: { generationConfig: 1 } }), "extra.generationConfig")
    const call = Chat.assistant("", [{ id: "a", name: "f", arguments: "x" }])
    assert.strictEqual(encodeIssue({ messages: [...messages, call] }), "messages[1].toolCalls[0].arguments")
  })

  const Contents = Schema.Array(
    Schema.Struct({
      role: Schema.Literals(["user", "model"]),
      parts: Schema.Array(
        Schema.Union([
          Schema.Struct({ text: Schema.String }),
          Schema.Struct({
            functionCall: Schema.Struct({ id: Schema.String, name: Schema.String, args: Schema.Json })
          }),
          Schema.Struct({
            functionResponse: Schema.Struct({
              id: Schema.String,
              name: Schema.String,
              response: Schema.Struct({ output: Schema.String })
            })
          })
        ])
      )
    })
  )
  const events = (body: Record<string, unknown>): ReadonlyArray<Event> =>
    Schema.decodeUnknownSync(Contents)(body.contents).flatMap(({ parts, role }) =>
      parts.map((part): Event => {
        if ("text" in part) return { type: "text", role: role === "user" ? "user" : "assistant", text: part.text }
        return "functionCall" in part
          ? { type: "call", ...part.functionCall }
          : { type: "result", id: part.functionResponse.id, text: part.functionResponse.response.output }
      })
    )

  it.prop("writes any conversation so that it can be read back", { conversation: Conversation }, ({ conversation }) => {
    const { events: expected, request } = build(conversation)
    assert.deepStrictEqual(events(canonical(encode(request))), expected)
  })
})

describe("google decode", () => {
  it("reads a recorded response, and counts thinking into the output", () => {
    assert.deepStrictEqual(decode(bodies.response), {
      text: "Hello there.",
      reasoning: "The user greets.",
      content: [
        { type: "reasoning", text: "The user greets." },
        { type: "text", text: "Hello", opaque: { origin: "google", value: "CiQB" } },
        { type: "text", text: " there." }
      ],
      toolCalls: [],
      finishReason: "stop",
      usage: {
        inputTokens: 13,
        outputTokens: 34,
        totalTokens: 47,
        cachedInputTokens: 2,
        reasoningTokens: 30,
        toolInputTokens: 5
      },
      model: "gemini-2.5-flash",
      id: "xJ3aaM7yNpqJ",
      raw: bodies.response
    })
  })

  it("keeps the signatures of function calls, and gives them missing ids", () => {
    const reply = decode(bodies.functionCalls)
    assert.deepStrictEqual(reply.toolCalls, [
      { id: "8f2b1a3c", name: "weather", arguments: { city: "Lyon" }, signature: "EtkBCtYB" },
      { id: "call_aB3_x-9_1", name: "clock", arguments: {} }
    ])
    assert.strictEqual(reply.finishReason, "toolCalls")
  })

  it("reads a blocked prompt, a filtered answer and an empty one as replies", () => {
    const blocked = decode(bodies.blocked)
    assert.deepStrictEqual(blocked, {
      text: "",
      toolCalls: [],
      finishReason: "contentFilter",
      usage: { inputTokens: 14, totalTokens: 14 },
      model: "gemini-2.5-flash",
      raw: bodies.blocked
    })
    assert.strictEqual(decode(bodies.filtered).finishReason, "contentFilter")
    assert.strictEqual(decode(bodies.cutOff).finishReason, "length")
    assert.deepStrictEqual(decode(bodies.cutOff).usage, {
      inputTokens: 10,
      outputTokens: 99,
      totalTokens: 109,
      reasoningTokens: 99
    })
  })

  it("reads finish reasons", () => {
    const reason = (finishReason: string) =>
      decode({ candidates: [{ content: { parts: [{ text: "x" }] }, finishReason }] }).finishReason
    assert.deepStrictEqual(["STOP", "MAX_TOKENS", "RECITATION", "SPII", "MODEL_ARMOR", "LANGUAGE"].map(reason), [
      "stop",
      "length",
      "contentFilter",
      "contentFilter",
      "contentFilter",
      "other"
    ])
  })

  it("reports the place of a fault in a body", () => {
    const part = (value: unknown) => ({ candidates: [{ content: { parts: [value] }, finishReason: "STOP" }] })
    const cases: ReadonlyArray<readonly [unknown, string]> = [
      [[], "body"],
      [{}, "candidates"],
      [{ candidates: [] }, "candidates"],
      [{ candidates: [], promptFeedback: { blockReason: "" } }, "candidates"],
      [{ candidates: {} }, "candidates"],
      [{ candidates: ["x"] }, "candidates[0]"],
      [{ candidates: [{}] }, "candidates[0].content.parts"],
      [{ candidates: [{ content: {}, finishReason: "STOP" }] }, "candidates[0].content.parts"],
      [{ candidates: [{ content: 1 }] }, "candidates[0].content"],
      [{ candidates: [{ content: { parts: 1 } }] }, "candidates[0].content.parts"],
      [part(1), "candidates[0].content.parts[0]"],
      [part({ text: 1 }), "candidates[0].content.parts[0].text"],
      [part({ functionCall: 1 }), "candidates[0].content.parts[0].functionCall"],
      [part({ functionCall: {} }), "candidates[0].content.parts[0].functionCall.name"],
      [part({ functionCall: { name: "f", args: "{" } }), "candidates[0].content.parts[0].functionCall.args"]
    ]
    for (const [body, field] of cases) assert.strictEqual(issue(body).field, field, JSON.stringify(body))
  })

  it.prop("decodes any answer to its content", { answer: Answer }, ({ answer }) => {
    const body = {
      candidates: [
        {
          content: {
            parts: [
              ...(answer.reasoning === undefined ? [] : [{ text: answer.reasoning, thought: true }]),
              { text: answer.text },
              ...callsOf(answer).map(({ arguments: args, id, name }) => ({ functionCall: { id, name, args } }))
            ]
          },
          finishReason: "STOP"
        }
      ],
      usageMetadata: {
        promptTokenCount: answer.plain + answer.cached + answer.written,
        cachedContentTokenCount: answer.cached,
        candidatesTokenCount: answer.visible,
        thoughtsTokenCount: answer.thinking
      }
    }
    assert.deepStrictEqual(summary(decode(canonical(body))), said(answer))
  })
})
