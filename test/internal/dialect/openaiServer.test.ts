/**
 * The server half of OpenAI's dialect against the client half: each reads back what the other writes.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Chat from "../../../src/Chat.ts"
import * as Classifier from "../../../src/Classifier.ts"
import type { ReasonTag } from "../../../src/GatewayError.ts"
import { defined } from "../../../src/internal/data/defined.ts"
import { sourceOf } from "../../../src/internal/dialect/checked.ts"
import { deltasOf } from "../../../src/internal/dialect/deltaDecoder.ts"
import { finish } from "../../../src/internal/dialect/finish.ts"
import { errorOf, errorOfStatus, errorStatus } from "../../../src/internal/dialect/server/openaiErrorWriter.ts"
import { completionOf } from "../../../src/internal/dialect/server/openaiReplyWriter.ts"
import { readChat } from "../../../src/internal/dialect/server/openaiRequestReader.ts"
import { makeChunkWriter } from "../../../src/internal/dialect/server/openaiStreamWriter.ts"
import { streaming } from "../../../src/internal/dialect/streaming.ts"
import { runText } from "../../fixtures/streams/drive.ts"

const facts = { id: "chatcmpl-own", model: "own-model", created: 1_700_000_000 }
const runs = { arbitrary: { runs: 60 } }

const throughJson = <A>(value: A): A => JSON.parse(JSON.stringify(value))

const Name = Schema.Literals(["add", "get_weather", "now"])
const Text = Schema.Union([Schema.Literals(["", "Hello", "\u2028 é \ud83d\ude00\n"]), Schema.String])
const Count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1e6 }))
const Arguments = Schema.Record(Schema.String, Schema.Json)

const Reply = Schema.Struct({
  text: Text,
  reasoning: Schema.optionalKey(Schema.NonEmptyString),
  calls: Schema.Array(
    Schema.Struct({ name: Name, arguments: Arguments, signature: Schema.optionalKey(Schema.NonEmptyString) })
  ).check(Schema.isMaxLength(3)),
  reason: Schema.Literals(["stop", "length", "contentFilter"]),
  input: Schema.optionalKey(Schema.Struct({ fresh: Count, cached: Count, written: Count })),
  output: Schema.optionalKey(Schema.Struct({ said: Count, thought: Schema.optionalKey(Count) })),
  model: Schema.optionalKey(Schema.NonEmptyString),
  id: Schema.optionalKey(Schema.NonEmptyString)
})

/** A reply as a dialect decodes one. */
const replyOf = ({ calls, input, output, reason, ...rest }: typeof Reply.Type): Chat.Reply => {
  const inputTokens = input === undefined ? undefined : input.fresh + input.cached + input.written
  const outputTokens = output === undefined ? undefined : output.said + (output.thought ?? 0)
  const toolCalls = calls.map((call, i) => ({ id: `c${i}`, ...throughJson(call) }))
  return {
    ...rest,
    toolCalls,
    // Without text and calls, only these two are complete answers.
    finishReason: rest.text === "" && calls.length === 0 && reason === "stop" ? "length" : finish(reason, toolCalls),
    usage: defined({
      inputTokens,
      outputTokens,
      totalTokens: inputTokens === undefined || outputTokens === undefined ? undefined : inputTokens + outputTokens,
      cachedInputTokens: input?.cached,
      cacheWriteTokens: input?.written,
      reasoningTokens: output?.thought
    }),
    raw: null
  }
}

const known = (reply: Chat.Reply): Chat.Reply => ({ model: facts.model, id: facts.id, ...reply })

const decoded = (body: unknown): Chat.Reply => ({ ...Result.getOrThrow(Chat.openai.decode(body)), raw: null })

const written = (deltas: ReadonlyArray<Chat.Delta>, includeUsage = true): ReadonlyArray<string> => {
  const writer = makeChunkWriter(facts, includeUsage)
  return [...deltas.flatMap((delta) => writer.delta(delta)), ...writer.end()]
}

const collected = (chunks: ReadonlyArray<string>): Chat.Reply => {
  const decoder = streaming["openai"]?.decoder()
  if (decoder === undefined) throw new Error("no decoder")
  const { deltas, fault } = runText(decoder, chunks.map((chunk) => `data: ${chunk}\n\n`).join(""))
  assert.isUndefined(fault)
  return Result.getOrThrow(Chat.collect(deltas))
}

describe("the reply writer", () => {
  it.prop(
    "writes what the client half reads back",
    { answer: Reply },
    ({ answer }) => {
      const reply = replyOf(answer)
      assert.deepStrictEqual(decoded(throughJson(completionOf(reply, facts))), known(reply))
    },
    runs
  )

  it("writes the fields of OpenAI's answers", () => {
    const usage = { inputTokens: 2, outputTokens: 1, cachedInputTokens: 0, reasoningTokens: 0 }
    const reply: Chat.Reply = { text: "Hi", toolCalls: [], finishReason: "stop", usage, raw: null }
    assert.deepStrictEqual(completionOf(reply, { ...facts, serviceTier: "default", fingerprint: "fp_1" }), {
      id: "chatcmpl-own",
      object: "chat.completion",
      created: 1_700_000_000,
      model: "own-model",
      choices: [
        {
          index: 0,
          message: { role: "assistant", content: "Hi", refusal: null, annotations: [] },
          logprobs: null,
          finish_reason: "stop"
        }
      ],
      usage: {
        prompt_tokens: 2,
        completion_tokens: 1,
        total_tokens: 3,
        prompt_tokens_details: { cached_tokens: 0 },
        completion_tokens_details: { reasoning_tokens: 0 }
      },
      service_tier: "default",
      system_fingerprint: "fp_1"
    })
    assert.deepInclude(completionOf(reply, facts), { service_tier: null, system_fingerprint: null })
  })

  it("writes only OpenAI's finish reasons, and no unknown counts", () => {
    const reply: Chat.Reply = { text: "Hi", toolCalls: [], finishReason: "other", usage: {}, raw: null }
    const body = completionOf(reply, facts)
    assert.strictEqual(decoded(body).finishReason, "stop")
    assert.notProperty(body, "usage")
    const call = { id: "1", name: "f", arguments: {} }
    assert.strictEqual(decoded(completionOf({ ...reply, toolCalls: [call] }, facts)).finishReason, "toolCalls")
    assert.strictEqual(collected(written(deltasOf(reply))).finishReason, "stop")
  })
})

describe("the stream writer", () => {
  it.prop(
    "writes what the client half reads back",
    { answer: Reply, sizes: Schema.NonEmptyArray(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 5 }))) },
    ({ answer, sizes }) => {
      const reply = replyOf(answer)
      const deltas = deltasOf(reply).flatMap((delta, i): ReadonlyArray<Chat.Delta> => {
        if (delta.type !== "toolCall") return [delta]
        const at = sizes[i % sizes.length] ?? 1
        const { arguments: args, index } = delta
        return [
          { ...delta, arguments: args.slice(0, at) },
          { type: "toolCall", index, arguments: args.slice(at) }
        ]
      })
      assert.deepStrictEqual(collected(written(deltas)), known(reply))
    },
    runs
  )

  it.prop(
    "writes the answer that the reply writer writes",
    { answer: Reply },
    ({ answer }) => {
      const reply = replyOf(answer)
      assert.deepStrictEqual(collected(written(deltasOf(reply))), decoded(throughJson(completionOf(reply, facts))))
    },
    runs
  )

  it("accepts usage after the finish, and omits it unless requested", () => {
    const deltas: ReadonlyArray<Chat.Delta> = [
      { type: "text", text: "Hi" },
      { type: "finish", reason: "stop" },
      { type: "usage", usage: { inputTokens: 1 } }
    ]
    assert.deepStrictEqual(collected(written(deltas)).usage, { inputTokens: 1 })
    assert.notInclude(written(deltas, false).join(), "usage")
    const [usage, done] = written(deltas).slice(-2)
    assert.deepInclude(JSON.parse(usage ?? ""), { choices: [], usage: { prompt_tokens: 1 } })
    assert.strictEqual(done, "[DONE]")
  })

  it("begins with the role, and with content only if there is some", () => {
    const first = (delta: Chat.Delta): unknown => JSON.parse(written([delta])[0] ?? "").choices[0].delta
    assert.deepStrictEqual(first({ type: "text", text: "a" }), { role: "assistant", content: "", refusal: null })
    const call: Chat.Delta = { type: "toolCall", index: 0, id: "1", name: "f", arguments: "" }
    assert.deepStrictEqual(first(call), { role: "assistant", content: null, refusal: null })
  })
})

const Part = Schema.Union([
  Schema.Struct({ type: Schema.Literal("text"), text: Schema.String }),
  Schema.Struct({ type: Schema.Literal("image"), url: Schema.Literals(["https://example.com/a.png"]) }),
  Schema.Struct({ type: Schema.Literal("image"), data: Schema.Literal("aGk="), mediaType: Schema.Literal("image/png") })
])
const TextPart = Schema.Struct({ type: Schema.Literal("text"), text: Schema.String })
const Asked = Schema.Struct({
  messages: Schema.NonEmptyArray(
    Schema.Union([
      Schema.Struct({
        role: Schema.Literal("system"),
        content: Schema.Union([Schema.String, Schema.NonEmptyArray(TextPart)])
      }),
      Schema.Struct({
        role: Schema.Literal("user"),
        content: Schema.Union([Schema.String, Schema.NonEmptyArray(Part)])
      }),
      Schema.Struct({
        role: Schema.Literal("assistant"),
        content: Schema.Union([Schema.String, Schema.NonEmptyArray(TextPart)]),
        toolCalls: Schema.optionalKey(
          Schema.NonEmptyArray(
            Schema.Struct({
              id: Schema.NonEmptyString,
              name: Name,
              arguments: Arguments,
              signature: Schema.optionalKey(Schema.NonEmptyString)
            })
          )
        )
      }),
      Schema.Struct({ role: Schema.Literal("tool"), toolCallId: Schema.NonEmptyString, content: Schema.String })
    ])
  ),
  maxTokens: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1e6 }))),
  temperature: Schema.optionalKey(Schema.Literals([0, 0.5, 2])),
  topP: Schema.optionalKey(Schema.Literals([0, 0.5, 1])),
  stop: Schema.optionalKey(Schema.NonEmptyArray(Schema.NonEmptyString)),
  seed: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: -9, maximum: 9 }))),
  tool: Schema.optionalKey(
    Schema.Struct({
      name: Name,
      description: Schema.optionalKey(Schema.String),
      parameters: Arguments,
      strict: Schema.optionalKey(Schema.Literal(true))
    })
  ),
  choice: Schema.optionalKey(Schema.Literals(["auto", "none", "required", "one"])),
  output: Schema.optionalKey(
    Schema.Union([
      Schema.Struct({ type: Schema.Literal("json") }),
      Schema.Struct({
        type: Schema.Literal("json"),
        name: Name,
        schema: Arguments,
        strict: Schema.optionalKey(Schema.Literal(true))
      })
    ])
  ),
  user: Schema.optionalKey(Schema.NonEmptyString)
})

const requestOf = ({ choice, tool, ...rest }: typeof Asked.Type): Chat.Request => ({
  ...rest,
  ...(tool !== undefined && { tools: [tool] }),
  ...(tool !== undefined && choice !== undefined && { toolChoice: choice === "one" ? { name: tool.name } : choice })
})

/** An image is its URL on the wire: data become a `data:` URL. */
const onTheWire = (request: Chat.Request): Chat.Request => ({
  ...request,
  messages: request.messages.map((message): Chat.Message => {
    if (message.role !== "user" || typeof message.content === "string") return message
    const content = message.content.map((part) => {
      if (part.type === "text") return part
      const source = sourceOf(part, "image")
      if (source.type === "id") return part
      const url = source.type === "url" ? source.url : `data:${source.mediaType};base64,${source.data}`
      return { type: "image" as const, url }
    })
    return { ...message, content }
  })
})

const read = (body: unknown): Chat.Request => Result.getOrThrow(readChat(body, "refuse")).request

describe("the request reader", () => {
  for (const dialect of [Chat.openai, Chat.openaiCompatible]) {
    it.prop(
      `reads what the client half of ${dialect.id} writes`,
      { asked: Asked },
      ({ asked }) => {
        const request = throughJson(requestOf(asked))
        const body = throughJson(Result.getOrThrow(dialect.encode(request, "gemini-3")))
        assert.deepStrictEqual(read(body), onTheWire(request))
        const streamed = streaming[dialect.id]?.query(body)
        const call = Result.getOrThrow(readChat(streamed, "refuse"))
        assert.deepInclude(call, { model: "gemini-3", stream: true, includeUsage: true })
      },
      runs
    )
  }

  const messages = [{ role: "user", content: "Hi" }]
  const tools = [{ type: "function", function: { name: "f", parameters: { type: "object" }, strict: true } }]

  it.each([
    { n: 1 },
    { store: false },
    { logprobs: false },
    { logprobs: false, top_logprobs: 0 },
    { presence_penalty: 0, frequency_penalty: 0 },
    { parallel_tool_calls: true },
    { parallel_tool_calls: false },
    { parallel_tool_calls: false, tools: [] },
    { tool_choice: "auto" },
    { tool_choice: "none", tools: null },
    { functions: [], function_call: "none" },
    { logit_bias: {}, metadata: {} },
    { modalities: ["text"], service_tier: "auto" },
    { service_tier: "default", verbosity: "medium" },
    { stream: false, stream_options: { include_usage: true } },
    { reasoning_effort: null, audio: null, prediction: null, web_search_options: null },
    { response_format: { type: "text" } }
  ])("drops %j, which says what its absence says", (body) => {
    const { tools: _, ...request } = read({ model: "m", messages, ...body })
    assert.deepStrictEqual(request, { messages: [{ role: "user", content: "Hi" }] })
  })

  it.each([
    [{ n: 2 }, "n"],
    [{ store: true }, "store"],
    [{ logprobs: true, top_logprobs: 21 }, "top_logprobs"],
    [{ logprobs: "yes" }, "logprobs"],
    [{ top_logprobs: 2 }, "top_logprobs"],
    [{ presence_penalty: 3 }, "presence_penalty"],
    [{ frequency_penalty: "0" }, "frequency_penalty"],
    [{ parallel_tool_calls: "no", tools }, "parallel_tool_calls"],
    [{ tool_choice: "required" }, "tool_choice"],
    [{ logit_bias: { 1: 2 } }, "logit_bias"],
    [{ modalities: ["text", "audio"] }, "modalities"],
    [{ service_tier: "scale" }, "service_tier"],
    [{ verbosity: "none" }, "verbosity"],
    [{ reasoning_effort: "huge" }, "reasoning_effort"],
    [{ prompt_cache_key: "" }, "prompt_cache_key"],
    [{ metadata: { a: 1 } }, "metadata.a"],
    [{ user: 1 }, "user"],
    [{ user: "" }, "user"],
    [{ temperature: "1" }, "temperature"],
    [{ temperature: 9 }, "temperature"],
    [{ top_p: 2 }, "top_p"],
    [{ max_tokens: 0 }, "max_tokens"],
    [{ max_completion_tokens: 0 }, "max_completion_tokens"],
    [{ stop: [""] }, "stop[0]"],
    [{ tools: [{ type: "web_search" }] }, "tools[0].type"],
    [{ tools: [{ ...tools[0], cache_control: {} }] }, "tools[0].cache_control"],
    [{ tools: [{ type: "function", function: { name: "a b" } }] }, "tools[0].function.name"],
    [{ tools: [{ type: "function", function: { name: "f", strict: 1 } }] }, "tools[0].function.strict"],
    [{ tools, tool_choice: { type: "function", function: { name: "g" } } }, "tool_choice.function.name"],
    [{ tools, tool_choice: { type: "allowed_tools", allowed_tools: {} } }, "tool_choice.allowed_tools.mode"],
    [{ tools, tool_choice: { type: "custom", custom: { name: "f" } } }, "tool_choice.type"],
    [
      { response_format: { type: "json_schema", json_schema: { name: "a b", schema: {} } } },
      "response_format.json_schema.name"
    ],
    [
      { response_format: { type: "json_schema", json_schema: { name: "o", strict: true } } },
      "response_format.json_schema.schema"
    ],
    [{ messages: [{ ...messages[0], name: "n" }] }, "messages[0].name"],
    [{ messages: [{ role: "function", name: "f", content: "" }] }, "messages[0].role"],
    [{ messages: [{ role: "user", content: [{ type: "video" }] }] }, "messages[0].content[0].type"],
    [
      {
        messages: [{ role: "user", content: [{ type: "input_audio", input_audio: { data: "aGk=", format: "ogg" } }] }]
      },
      "messages[0].content[0].input_audio.format"
    ],
    [{ messages: [{ role: "user", content: null }] }, "messages[0].content"],
    [{ messages: [{ role: "tool", tool_call_id: "", content: "" }] }, "messages[0].tool_call_id"],
    [
      { messages: [{ role: "assistant", content: null, tool_calls: [{ id: "1", type: "custom", custom: {} }] }] },
      "messages[0].tool_calls[0].type"
    ],
    [
      { messages: [{ role: "assistant", tool_calls: [{ id: "1", type: "function", function: { name: "" } }] }] },
      "messages[0].tool_calls[0].function.name"
    ],
    [{ messages: [] }, "messages"],
    [{ messages: "Hi" }, "messages"]
  ])("refuses %j and names the field of the body", (body, field) => {
    const issue = Result.getFailure(readChat({ model: "m", messages, ...body }, "refuse"))
    assert.strictEqual(issue._tag, "Some")
    if (issue._tag === "Some") assert.strictEqual(issue.value.field, field)
  })

  it("keeps strict, of tools and of the output, and the name of the user", () => {
    const schema = { type: "object", properties: {}, additionalProperties: false }
    const response_format = { type: "json_schema", json_schema: { name: "o", strict: true, schema } }
    const request = read({ messages, tools, response_format, safety_identifier: "u-1" })
    assert.deepStrictEqual(request.tools, [{ name: "f", parameters: { type: "object" }, strict: true }])
    assert.deepStrictEqual(request.output, { type: "json", name: "o", schema, strict: true })
    assert.strictEqual(request.user, "u-1")
    assert.strictEqual(read({ messages, user: "u-2", safety_identifier: "u-1" }).user, "u-2")
  })

  it("reads a turn of the model in the form of an answer", () => {
    const turn = { role: "assistant", content: "Hm.", refusal: null, annotations: [], audio: null, tool_calls: null }
    assert.deepStrictEqual(read({ messages: [turn] }).messages, [{ role: "assistant", content: "Hm." }])
    const refused = { ...turn, content: null, refusal: "No." }
    const no = { role: "assistant" as const, content: [{ type: "refusal" as const, text: "No." }] }
    assert.deepStrictEqual(read({ messages: [refused] }).messages, [no])
    const parts = { ...turn, content: [{ type: "refusal", refusal: "No." }] }
    assert.deepStrictEqual(read({ messages: [parts] }).messages, [no])
  })

  it("reads the settings and parts that a neutral request has", () => {
    const data = "aGk="
    const content = [
      { type: "text", text: "Hi", prompt_cache_breakpoint: { mode: "explicit" } },
      { type: "image_url", image_url: { url: "https://example.com/a.png", detail: "low" } },
      { type: "input_audio", input_audio: { data, format: "mp3" } },
      { type: "file", file: { file_data: `data:application/pdf;base64,${data}`, filename: "a.pdf" } },
      { type: "file", file: { file_id: "file-1" } }
    ]
    const body = {
      messages: [{ role: "user", content }],
      tools,
      tool_choice: {
        type: "allowed_tools",
        allowed_tools: { mode: "auto", tools: [{ type: "function", function: { name: "f" } }] }
      },
      parallel_tool_calls: false,
      frequency_penalty: 0.5,
      logprobs: true,
      top_logprobs: 3,
      reasoning_effort: "high",
      verbosity: "low",
      service_tier: "flex",
      prompt_cache_key: "k",
      metadata: { team: "a" }
    }
    const { tools: _, ...request } = read(body)
    assert.deepStrictEqual(request, {
      messages: [
        {
          role: "user",
          content: [
            { type: "text", text: "Hi", cache: {} },
            { type: "image", url: "https://example.com/a.png", detail: "low" },
            { type: "file", data, mediaType: "audio/mpeg" },
            { type: "file", url: `data:application/pdf;base64,${data}`, name: "a.pdf" },
            { type: "file", fileId: { origin: "openai", id: "file-1" } }
          ]
        }
      ],
      toolChoice: { mode: "auto", allowed: ["f"] },
      parallelToolCalls: false,
      frequencyPenalty: 0.5,
      logprobs: 3,
      reasoning: { effort: "high" },
      verbosity: "low",
      tier: "flex",
      cacheKey: "k",
      metadata: { team: "a" }
    })
    const written = Result.getOrThrow(Chat.openai.encode({ ...request, tools: read(body).tools }, "my-deployment"))
    assert.deepNestedInclude(written, { "messages[0].content[1]": content[1], reasoning_effort: "high" })
  })

  it("skips fields without a neutral form where only the conversation counts", () => {
    const content = [
      { type: "text", text: "Hi" },
      { type: "input_audio", input_audio: {} }
    ]
    const body = { messages: [{ role: "user", content, name: "n" }], n: 3, logprobs: true, tools: [{ type: "custom" }] }
    assert.deepStrictEqual(Result.getOrThrow(readChat(body, "skip")).request, {
      messages: [{ role: "user", content: [{ type: "text", text: "Hi" }] }],
      tools: []
    })
  })
})

describe("the error writer", () => {
  const same: ReadonlyArray<ReasonTag> = [
    "RateLimited",
    "QuotaExhausted",
    "InvalidRequest",
    "ContextLengthExceeded",
    "ContentBlocked",
    "NotFound",
    "ProviderUnavailable"
  ]

  it.each(same)("writes %s so that our own client reads the same reason", (tag) => {
    const body = JSON.stringify({ error: errorOf(tag, tag) })
    const { reason } = Classifier.classify({ surface: "gateway", status: errorStatus(tag), body })
    assert.strictEqual(reason._tag, tag)
  })

  it("writes the error of a status as OpenAI does", () => {
    assert.deepStrictEqual(errorOfStatus(401, "m"), {
      message: "m",
      type: "invalid_request_error",
      param: null,
      code: "invalid_api_key"
    })
    assert.deepInclude(errorOfStatus(429, "m"), { type: "rate_limit_error", code: "rate_limit_exceeded" })
    assert.deepInclude(errorOfStatus(503, "m"), { type: "server_error", code: null })
    assert.deepInclude(errorOfStatus(400, "m", "input"), { type: "invalid_request_error", param: "input" })
  })
})
