import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Chat from "../../../src/Chat.ts"
import * as bodies from "../../fixtures/chat/anthropic.ts"
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

const decode = (body: unknown) => Result.getOrThrow(Chat.anthropic.decode(body))
const issue = (body: unknown) => Result.getOrThrow(Result.flip(Chat.anthropic.decode(body)))
const encode = (input: Chat.Input) => Result.getOrThrow(Chat.anthropic.encode(input, "claude-haiku-4-5"))
const encodeIssue = (input: Chat.Input, dialect = Chat.anthropic) =>
  Result.getOrThrow(Result.flip(dialect.encode(input, "claude-haiku-4-5"))).field
const schema = { type: "object", properties: { city: { type: "string" } }, additionalProperties: false }

describe("anthropic encode", () => {
  it("writes a text as one user message with the default bound", () => {
    assert.deepStrictEqual(encode("Hi"), {
      model: "claude-haiku-4-5",
      max_tokens: 4096,
      messages: [{ role: "user", content: "Hi" }]
    })
    assert.strictEqual(Chat.anthropicMaxTokens, 4096)
  })

  it("writes a request with every field", () => {
    const body = encode({
      messages: [
        Chat.system("Be brief."),
        Chat.user([
          { type: "text", text: "Look" },
          { type: "image", url: "https://example.com/a.png" },
          { type: "image", data: "aGk=", mediaType: "image/png" },
          { type: "image", url: "data:image/webp;base64,d2VicA==" }
        ]),
        Chat.assistant("Let me see.", [
          { id: "a", name: "weather", arguments: { city: "Lyon" } },
          { id: "b", name: "weather", arguments: { city: "Nice" } }
        ]),
        Chat.tool("a", "sunny"),
        Chat.system([{ type: "text", text: "Use Celsius." }]),
        Chat.tool("b", ""),
        Chat.user("And?")
      ],
      maxTokens: 100,
      temperature: 0.5,
      stop: ["END"],
      tools: [{ name: "weather", description: "Weather of a city", parameters: schema }],
      toolChoice: "required",
      output: { type: "json", name: "ignored", schema },
      extra: { thinking: { type: "adaptive" }, max_tokens: 99 }
    })
    assert.deepStrictEqual(body, {
      model: "claude-haiku-4-5",
      max_tokens: 99,
      system: "Be brief.\n\nUse Celsius.",
      messages: [
        {
          role: "user",
          content: [
            { type: "text", text: "Look" },
            { type: "image", source: { type: "url", url: "https://example.com/a.png" } },
            { type: "image", source: { type: "base64", media_type: "image/png", data: "aGk=" } },
            { type: "image", source: { type: "base64", media_type: "image/webp", data: "d2VicA==" } }
          ]
        },
        {
          role: "assistant",
          content: [
            { type: "text", text: "Let me see." },
            { type: "tool_use", id: "a", name: "weather", input: { city: "Lyon" } },
            { type: "tool_use", id: "b", name: "weather", input: { city: "Nice" } }
          ]
        },
        {
          role: "user",
          content: [
            { type: "tool_result", tool_use_id: "a", content: "sunny" },
            { type: "tool_result", tool_use_id: "b", content: "" }
          ]
        },
        { role: "user", content: "And?" }
      ],
      temperature: 0.5,
      stop_sequences: ["END"],
      tools: [{ name: "weather", description: "Weather of a city", input_schema: schema }],
      tool_choice: { type: "any" },
      output_config: { format: { type: "json_schema", schema } },
      thinking: { type: "adaptive" }
    })
  })

  it("writes tool choices", () => {
    const tools = [{ name: "f", parameters: { type: "object" } }]
    const choice = (toolChoice: Chat.ToolChoice) =>
      encode({ messages: [Chat.user("x")], tools, toolChoice }).tool_choice
    assert.deepStrictEqual(choice("auto"), { type: "auto" })
    assert.deepStrictEqual(choice("none"), { type: "none" })
    assert.deepStrictEqual(choice({ name: "f" }), { type: "tool", name: "f" })
    assert.notProperty(encode({ messages: [Chat.user("x")], tools: [] }), "tools")
  })

  it("sends strict of tools, and the user's name as metadata", () => {
    const request: Chat.Request = {
      messages: [Chat.user("x")],
      tools: [{ name: "f", parameters: schema, strict: true }],
      user: "u-1"
    }
    assert.deepNestedInclude(encode(request), { "tools[0].strict": true, metadata: { user_id: "u-1" } })
    const json = { ...request, output: { type: "json", schema, strict: true } } as const
    assert.deepStrictEqual(encode(json).output_config, { format: { type: "json_schema", schema } })
    const tool = Result.getOrThrow(Chat.anthropicJsonTool.encode(json, "claude-haiku-4-5"))
    assert.deepNestedInclude(tool, { "tools[1].strict": true })
  })

  it("makes ids of other providers acceptable and unique", () => {
    const call = (id: string) => Chat.assistant("", [{ id, name: "f", arguments: {} }])
    const messages = [
      Chat.user("x"),
      call("functions.f:0"),
      Chat.tool("functions.f:0", "1"),
      call("call_0"),
      Chat.tool("call_0", "2")
    ]
    const body = JSON.stringify(encode({ messages: [...messages, call("call_0"), Chat.tool("call_0", "3")] }))
    for (const id of ["functions_f_0", "call_0", "call_0_"]) {
      assert.include(body, `"type":"tool_use","id":"${id}"`)
      assert.include(body, `"tool_use_id":"${id}"`)
    }
  })

  it("rejects what Anthropic cannot take", () => {
    const messages = [Chat.user("x")]
    assert.strictEqual(encodeIssue({ messages, seed: 1 }), "seed")
    assert.strictEqual(encodeIssue({ messages, temperature: 1.5 }), "temperature")
    assert.strictEqual(encodeIssue({ messages, output: { type: "json" } }), "output.schema")
    assert.strictEqual(encodeIssue({ messages, tools: [{ name: "f", parameters: {} }] }), "tools[0].parameters.type")
    assert.strictEqual(encodeIssue({ messages: [Chat.system("x")] }), "messages")
    assert.strictEqual(encodeIssue({ messages: [Chat.user("")] }), "messages[0].content")
    const image = Chat.user([{ type: "image", data: "aGk=", mediaType: "image/bmp" }])
    assert.strictEqual(encodeIssue({ messages: [image] }), "messages[0].content[0]")
    const call = Chat.assistant("", [{ id: "a", name: "f", arguments: [1] }])
    assert.strictEqual(encodeIssue({ messages: [...messages, call] }), "messages[1].toolCalls[0].arguments")
  })

  const Blocks = Schema.Array(
    Schema.Union([
      Schema.Struct({ type: Schema.Literal("text"), text: Schema.String }),
      Schema.Struct({ type: Schema.Literal("tool_use"), id: Schema.String, name: Schema.String, input: Schema.Json }),
      Schema.Struct({ type: Schema.Literal("tool_result"), tool_use_id: Schema.String, content: Schema.String })
    ])
  )
  const Messages = Schema.Array(
    Schema.Struct({ role: Schema.Literals(["user", "assistant"]), content: Schema.Union([Schema.String, Blocks]) })
  )
  const events = (body: Record<string, unknown>): ReadonlyArray<Event> =>
    Schema.decodeUnknownSync(Messages)(body.messages).flatMap(
      ({ content, role }): ReadonlyArray<Event> =>
        typeof content === "string"
          ? [{ type: "text", role, text: content }]
          : content.map((block): Event => {
              if (block.type === "text") return { type: "text", role, text: block.text }
              return block.type === "tool_use"
                ? { type: "call", id: block.id, name: block.name, args: block.input }
                : { type: "result", id: block.tool_use_id, text: block.content }
            })
    )

  it.prop("writes any conversation so that it can be read back", { conversation: Conversation }, ({ conversation }) => {
    const { events: expected, request } = build(conversation)
    // Claude takes one of them.
    const { topP, ...rest } = request
    const body = canonical(encode({ ...rest, ...(rest.temperature === undefined && { topP }) }))
    assert.deepStrictEqual(events(body), expected)
    const system = conversation.system.filter((text) => text.trim() !== "")
    assert.strictEqual(body.system, system.length === 0 ? undefined : system.join("\n\n"))
  })
})

describe("anthropicJsonTool", () => {
  const encode = (request: Partial<Chat.Request>) =>
    Result.getOrThrow(Chat.anthropicJsonTool.encode({ messages: [Chat.user("x")], ...request }, "claude-3-haiku"))
  const own = [{ name: "weather", parameters: schema }]
  const output = { type: "json", name: "person", schema } as const

  it("forces a tool named after the schema", () => {
    const body = encode({ output })
    assert.deepStrictEqual(body.tool_choice, { type: "tool", name: "output__person", disable_parallel_tool_use: true })
    assert.deepStrictEqual(body.tools, [
      { name: "output__person", description: "Gives the final answer.", input_schema: schema }
    ])
    assert.notProperty(body, "output_config")
    assert.include(JSON.stringify(encode({ output: { type: "json" } }).tools), `"input_schema":{"type":"object"}`)
  })

  it("leaves room for other tools", () => {
    const choice = (toolChoice?: Chat.ToolChoice) => encode({ output, tools: own, toolChoice }).tool_choice
    assert.deepStrictEqual(choice(), { type: "any", disable_parallel_tool_use: true })
    assert.deepStrictEqual(choice("none"), { type: "tool", name: "output__person", disable_parallel_tool_use: true })
    assert.deepStrictEqual(choice({ name: "weather" }), { type: "tool", name: "weather" })
    assert.notProperty(encode({ tools: own }), "tool_choice")
  })

  it("rejects reserved names and schemas that are not objects", () => {
    const messages = [Chat.user("x")]
    const tools = [{ name: "output__x", parameters: schema }]
    assert.strictEqual(encodeIssue({ messages, tools }, Chat.anthropicJsonTool), "tools[0].name")
    const list = { type: "json", schema: { type: "array" } } as const
    assert.strictEqual(encodeIssue({ messages, output: list }, Chat.anthropicJsonTool), "output.schema.type")
  })

  it("reads the tool's arguments as text, unlike the plain dialect", () => {
    const reply = Result.getOrThrow(Chat.anthropicJsonTool.decode(bodies.answerTool))
    assert.strictEqual(reply.text, `{"name":"Ada","age":36}`)
    assert.strictEqual(reply.finishReason, "stop")
    assert.deepStrictEqual(reply.toolCalls, [])
    assert.strictEqual(decode(bodies.answerTool).toolCalls[0]?.name, "output__person")
    const own = Result.getOrThrow(Chat.anthropicJsonTool.decode(bodies.toolUse))
    assert.deepStrictEqual(own, decode(bodies.toolUse))
  })
})

describe("anthropic decode", () => {
  it("reads a recorded message, and counts cached tokens into the input", () => {
    assert.deepStrictEqual(decode(bodies.message), {
      text: "Hi! I am Claude.",
      toolCalls: [],
      finishReason: "stop",
      usage: {
        inputTokens: 1209,
        outputTokens: 393,
        totalTokens: 1602,
        cachedInputTokens: 1000,
        cacheWriteTokens: 188,
        reasoningTokens: 120
      },
      tier: "standard",
      model: "claude-haiku-4-5-20251001",
      id: "msg_013Zva2CMHLNnXjNJJKqJ2EF",
      raw: bodies.message
    })
  })

  it("reads tool use and thinking", () => {
    const reply = decode(bodies.toolUse)
    assert.strictEqual(reply.reasoning, "Two cities, two calls.")
    assert.strictEqual(reply.text, "Let me look.")
    assert.strictEqual(reply.finishReason, "toolCalls")
    assert.deepStrictEqual(reply.toolCalls, [
      { id: "toolu_01A09q90qw90lq917835lq9", name: "weather", arguments: { city: "Lyon" } },
      { id: "toolu_01B", name: "weather", arguments: { city: "Nice" } }
    ])
    assert.deepStrictEqual(reply.usage, { inputTokens: 384, outputTokens: 71, totalTokens: 455 })
  })

  it("reads stop reasons", () => {
    assert.strictEqual(decode(bodies.refusal).finishReason, "contentFilter")
    const reason = (stop_reason: unknown) =>
      decode({ content: [{ type: "text", text: "x" }], stop_reason }).finishReason
    assert.deepStrictEqual(
      ["end_turn", "stop_sequence", "max_tokens", "model_context_window_exceeded", "pause_turn", "tool_use", null].map(
        reason
      ),
      ["stop", "stop", "length", "length", "pause", "stop", "other"]
    )
  })

  it("reports the place of a fault in a body", () => {
    const block = (value: unknown) => ({ content: [{ type: "text", text: "x" }, value] })
    const cases: ReadonlyArray<readonly [unknown, string]> = [
      [null, "body"],
      [{ type: "error", error: { type: "overloaded_error" } }, "content"],
      [{ content: "x" }, "content"],
      [block(1), "content[1]"],
      [block({ type: "text" }), "content[1].text"],
      [block({ type: "thinking", thinking: 1 }), "content[1].thinking"],
      [block({ type: "tool_use", id: "a", input: {} }), "content[1].name"],
      [block({ type: "tool_use", name: "f", input: {} }), "content[1].id"],
      [block({ type: "tool_use", id: "a", name: "f", input: "{" }), "content[1].input"]
    ]
    for (const [body, field] of cases) assert.strictEqual(issue(body).field, field, JSON.stringify(body))
  })

  it.prop("decodes any answer to its content", { answer: Answer }, ({ answer }) => {
    const body = {
      content: [
        ...(answer.reasoning === undefined ? [] : [{ type: "thinking", thinking: answer.reasoning, signature: "s" }]),
        { type: "text", text: answer.text },
        ...callsOf(answer).map(({ arguments: input, id, name }) => ({ type: "tool_use", id, name, input }))
      ],
      stop_reason: answer.calls.length > 0 ? "tool_use" : "end_turn",
      usage: {
        input_tokens: answer.plain,
        cache_read_input_tokens: answer.cached,
        cache_creation_input_tokens: answer.written,
        output_tokens: answer.visible + answer.thinking,
        output_tokens_details: { thinking_tokens: answer.thinking }
      }
    }
    const reply = decode(canonical(body))
    assert.deepStrictEqual(summary(reply), said(answer))
    assert.strictEqual(reply.usage.cacheWriteTokens, answer.written)
  })
})
