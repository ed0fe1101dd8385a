import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Chat from "../../../src/Chat.ts"
import { schemaFor } from "../../../src/internal/dialect/outputSchema.ts"
import { openaiResponses } from "../../../src/internal/dialect/responsesStream.ts"
import * as LocalGateway from "../../../src/local/LocalGateway.ts"
import * as Provider from "../../../src/Provider.ts"
import * as Route from "../../../src/Route.ts"
import * as Router from "../../../src/Router.ts"

const sent = (request: Chat.Input, model = "gpt-5.2") => {
  const dropped: Array<string> = []
  const onDropped = (field: string) => void dropped.push(field)
  return { body: Result.getOrThrow(Chat.openaiResponses.encode(request, model, { onDropped })), dropped }
}
const issueOf = (request: Chat.Request) =>
  Result.getOrThrow(Result.flip(Chat.openaiResponses.encode(request, "gpt-5.2")))
const decode = (body: unknown) => Result.getOrThrow(Chat.openaiResponses.decode(body))
const schema = { type: "object", properties: {}, additionalProperties: false }

describe("responses encode", () => {
  it("writes a text as one item, and stores nothing", () => {
    assert.deepStrictEqual(sent("Hi", "gpt-4.1").body, {
      model: "gpt-4.1",
      input: [{ role: "user", content: "Hi" }],
      store: false
    })
  })

  it("writes a request with every field", () => {
    const opaque = { origin: "openai", value: "ZW5j", id: "rs_1" }
    const { body, dropped } = sent({
      messages: [
        Chat.system("Be brief."),
        Chat.user([
          { type: "text", text: "Look", cache: {} },
          { type: "image", url: "https://example.com/a.png", detail: "low" },
          { type: "file", data: "JVBERi0=", mediaType: "application/pdf" },
          { type: "file", url: "https://example.com/a.pdf" }
        ]),
        Chat.assistant(
          [
            { type: "reasoning", text: "Hm.", opaque },
            { type: "text", text: "Let me see." }
          ],
          [{ id: "call_1", name: "f", arguments: { a: 1 } }]
        ),
        Chat.tool("call_1", [{ type: "image", data: "aGk=", mediaType: "image/png" }])
      ],
      maxTokens: 100,
      tools: [{ name: "f", parameters: schema }],
      toolChoice: { allowed: ["f"], mode: "required" },
      parallelToolCalls: false,
      serverTools: [{ origin: "openai", tool: { type: "web_search" } }],
      output: { type: "json", name: "o", schema, strict: true },
      reasoning: { effort: "high", show: true },
      verbosity: "low",
      user: "u",
      cacheKey: "k",
      tier: "flex"
    })
    assert.deepStrictEqual(dropped, [])
    assert.deepStrictEqual(body, {
      model: "gpt-5.2",
      input: [
        { role: "system", content: "Be brief." },
        {
          role: "user",
          content: [
            { type: "input_text", text: "Look", prompt_cache_breakpoint: { mode: "explicit" } },
            { type: "input_image", image_url: "https://example.com/a.png", detail: "low" },
            {
              type: "input_file",
              file_data: "data:application/pdf;base64,JVBERi0=",
              filename: "document.pdf"
            },
            { type: "input_file", file_url: "https://example.com/a.pdf" }
          ]
        },
        {
          type: "reasoning",
          id: "rs_1",
          summary: [{ type: "summary_text", text: "Hm." }],
          encrypted_content: "ZW5j"
        },
        { role: "assistant", content: [{ type: "output_text", text: "Let me see." }] },
        { type: "function_call", call_id: "call_1", name: "f", arguments: '{"a":1}' },
        {
          type: "function_call_output",
          call_id: "call_1",
          output: [{ type: "input_image", image_url: "data:image/png;base64,aGk=" }]
        }
      ],
      store: false,
      include: ["reasoning.encrypted_content"],
      max_output_tokens: 100,
      user: "u",
      prompt_cache_key: "k",
      service_tier: "flex",
      reasoning: { effort: "high", summary: "auto" },
      text: { format: { type: "json_schema", name: "o", schema, strict: true }, verbosity: "low" },
      tools: [{ type: "function", name: "f", parameters: schema, strict: false }, { type: "web_search" }],
      tool_choice: { type: "allowed_tools", mode: "required", tools: [{ type: "function", name: "f" }] },
      parallel_tool_calls: false
    })
  })

  it("names fields that it cannot express", () => {
    const messages = [Chat.user("x")]
    assert.deepInclude(issueOf({ messages, stop: ["a"] }), { field: "stop", isUnsupported: true })
    assert.deepInclude(issueOf({ messages, seed: 1 }), { field: "seed", isUnsupported: true })
    const sound = { type: "file", data: "aGk=", mediaType: "audio/wav" } as const
    assert.deepInclude(issueOf({ messages: [Chat.user([sound])] }), { field: "messages[0].content[0]" })
    const file = { type: "file", fileId: { origin: "google", id: "f" } } as const
    assert.deepInclude(issueOf({ messages: [Chat.user([file])] }), { field: "messages[0].content[0].fileId.origin" })
    assert.deepStrictEqual(sent({ messages, seed: 1, frequencyPenalty: 1, losses: "dropHints" }).dropped, [
      "seed",
      "frequencyPenalty"
    ])
  })

  it("sends no thinking back before an empty text, which is omitted", () => {
    const thought = { type: "reasoning", text: "", opaque: { origin: "openai", value: "ZW5j" } } as const
    const { body } = sent({
      messages: [Chat.user("a"), Chat.assistant([thought, { type: "text", text: "" }]), Chat.user("b")]
    })
    assert.deepStrictEqual(body.input, [
      { role: "user", content: "a" },
      { role: "user", content: "b" }
    ])
  })

  it("sends thinking back only with the item after it, and none of another provider", () => {
    const part = (origin: string) => ({ type: "reasoning", text: "hm", opaque: { origin, value: "v" } }) as const
    const alone = sent({ messages: [Chat.user("a"), Chat.assistant([part("openai")]), Chat.user("b")] })
    assert.lengthOf(alone.body.input as ReadonlyArray<unknown>, 2)
    assert.deepStrictEqual(alone.dropped, ["messages[1].content[0]"])
    const said = { type: "text", text: "c" } as const
    const foreign = sent({ messages: [Chat.user("a"), Chat.assistant([part("anthropic"), said]), Chat.user("b")] })
    assert.notInclude(JSON.stringify(foreign.body), "hm")
  })

  it("requests encrypted thinking only if there is some", () => {
    const includes = (model: string) => sent("x", model).body.include
    assert.deepStrictEqual(includes("o4-mini"), ["reasoning.encrypted_content"])
    assert.deepStrictEqual(includes("gpt-6"), ["reasoning.encrypted_content"])
    assert.isUndefined(includes("gpt-4o"))
    assert.isUndefined(includes("gpt-5-chat-latest"))
    assert.isUndefined(includes("my-deployment"))
  })
})

const usage = {
  input_tokens: 10,
  output_tokens: 7,
  total_tokens: 17,
  input_tokens_details: { cached_tokens: 4 },
  output_tokens_details: { reasoning_tokens: 3 }
}
const annotation = { type: "url_citation", url: "https://a.example", title: "A", start_index: 0, end_index: 3 }
const output = [
  { type: "reasoning", id: "rs_1", summary: [{ type: "summary_text", text: "Hm." }], encrypted_content: "ZW5j" },
  { type: "web_search_call", id: "ws_1", status: "completed" },
  {
    type: "message",
    id: "msg_1",
    role: "assistant",
    content: [{ type: "output_text", text: "Yes.", annotations: [annotation], logprobs: [] }]
  },
  { type: "function_call", id: "fc_1", call_id: "call_1", name: "f", arguments: '{"a":1}' },
  { type: "custom_tool_call", id: "ctc_1", call_id: "call_2", name: "sql", input: 'select "1"' }
]
const response = {
  id: "resp_1",
  model: "gpt-5.2",
  service_tier: "flex",
  status: "completed",
  error: null,
  output,
  usage
}

const events = [
  { type: "response.created", response: { ...response, status: "in_progress", output: [], service_tier: "flex" } },
  { type: "response.output_item.added", output_index: 0, item: { ...output[0], summary: [], encrypted_content: "" } },
  { type: "response.reasoning_summary_text.delta", output_index: 0, delta: "H" },
  { type: "response.reasoning_summary_text.delta", output_index: 0, delta: "m." },
  { type: "response.output_item.done", output_index: 0, item: output[0] },
  { type: "response.output_item.added", output_index: 1, item: output[1] },
  { type: "response.output_item.done", output_index: 1, item: output[1] },
  { type: "response.output_item.added", output_index: 2, item: { ...output[2], content: [] } },
  { type: "response.output_text.delta", output_index: 2, delta: "Ye", logprobs: [] },
  { type: "response.output_text.delta", output_index: 2, delta: "s.", logprobs: [] },
  { type: "response.output_text.annotation.added", output_index: 2, annotation },
  { type: "response.output_text.done", output_index: 2, text: "Yes." },
  { type: "response.output_item.done", output_index: 2, item: output[2] },
  { type: "response.output_item.added", output_index: 3, item: { ...output[3], arguments: "" } },
  { type: "response.output_item.added", output_index: 4, item: { ...output[4], input: "" } },
  { type: "response.function_call_arguments.delta", output_index: 3, delta: '{"a":' },
  { type: "response.custom_tool_call_input.delta", output_index: 4, delta: 'select "' },
  { type: "response.function_call_arguments.delta", output_index: 3, delta: "1}" },
  { type: "response.custom_tool_call_input.delta", output_index: 4, delta: '1"' },
  { type: "response.output_item.done", output_index: 3, item: output[3] },
  { type: "response.output_item.done", output_index: 4, item: output[4] },
  { type: "response.completed", response }
]

const run = (all: ReadonlyArray<object>) => {
  const decoder = openaiResponses.decoder()
  const steps = all.map((event) => decoder.event({ data: JSON.stringify(event), event: "message" }))
  return [...steps, decoder.end()]
}

describe("responses decode", () => {
  it("reads a complete answer, streamed or not", () => {
    const reply = decode(response)
    assert.deepStrictEqual(reply, {
      text: "Yes.",
      reasoning: "Hm.",
      content: [
        { type: "reasoning", text: "Hm.", opaque: { origin: "openai", value: "ZW5j", id: "rs_1" } },
        { type: "text", text: "Yes.", citations: [{ url: "https://a.example", title: "A", start: 0, end: 3 }] }
      ],
      toolCalls: [
        { id: "call_1", name: "f", arguments: { a: 1 } },
        { id: "call_2", name: "sql", arguments: 'select "1"' }
      ],
      parts: [{ type: "web_search_call", id: "ws_1", status: "completed" }],
      finishReason: "toolCalls",
      usage: { inputTokens: 10, outputTokens: 7, totalTokens: 17, cachedInputTokens: 4, reasoningTokens: 3 },
      tier: "flex",
      model: "gpt-5.2",
      id: "resp_1",
      raw: response
    })
    const steps = run(events)
    assert.isTrue(steps.every(({ fault }) => fault === undefined))
    const streamed = Result.getOrThrow(Chat.collect(steps.flatMap(({ deltas }) => deltas)))
    assert.deepStrictEqual({ ...streamed, raw: response, tier: "flex" }, reply)
    assert.deepStrictEqual(sent({ messages: [Chat.user("a"), Chat.fromReply(reply)] }).dropped, [])
  })

  it("ends by the status", () => {
    const message = { type: "message", content: [{ type: "output_text", text: "x" }] }
    const reason = (status: string, cut?: string) =>
      decode({ status, output: [message], ...(cut && { incomplete_details: { reason: cut } }) }).finishReason
    assert.deepStrictEqual(
      [
        reason("completed"),
        reason("incomplete", "max_output_tokens"),
        reason("incomplete", "content_filter"),
        reason("incomplete", "steered"),
        reason("cancelled")
      ],
      ["stop", "length", "contentFilter", "other", "other"]
    )
    for (const status of ["failed", "in_progress", "queued", undefined]) {
      assert.isTrue(Result.isFailure(Chat.openaiResponses.decode({ status, output: [message] })), status)
    }
    const refusal = { type: "message", content: [{ type: "refusal", refusal: "No." }] }
    assert.deepInclude(decode({ status: "completed", output: [refusal] }), {
      text: "No.",
      refusal: "No.",
      finishReason: "contentFilter"
    })
    assert.isTrue(Result.isFailure(Chat.openaiResponses.decode({ status: "completed", output: [] })))
  })

  it("does not treat a stream that fails or breaks off as an answer", () => {
    const begun = events.slice(0, 10)
    const failed = {
      type: "response.failed",
      response: { status: "failed", error: { code: "server_error", message: "m" } }
    }
    assert.deepStrictEqual(run([...begun, failed]).at(-1)?.fault, {
      issue: "an error event",
      body: '{"error":{"code":"server_error","message":"m"}}'
    })
    const flat = { type: "error", code: "rate_limit_exceeded", message: "m", param: null }
    assert.isDefined(run([...begun, flat]).at(-1)?.fault)
    assert.match(run(begun).at(-1)?.fault?.issue ?? "", /response\.completed/)
  })

  describe("for servers with deviations", () => {
    const completed = (output: ReadonlyArray<object> = []) => ({
      type: "response.completed",
      response: { id: "resp_1", model: "m", status: "completed", output }
    })
    const read = (...events: ReadonlyArray<object>): Chat.Reply => {
      const decoder = openaiResponses.decoder()
      const deltas = events.flatMap((event) => decoder.event({ event: "message", data: JSON.stringify(event) }).deltas)
      return Result.getOrThrow(Chat.collect(deltas))
    }
    const call = (n: number) => ({ id: `fc_${n}`, type: "function_call", call_id: `c${n}`, name: "f", arguments: "" })
    const whole = (n: number) => ({ ...call(n), arguments: `{"n":${n}}` })
    const calls = [0, 1, 2].map((n) => ({ id: `c${n}`, name: "f", arguments: { n } }))
    const added = (n: number) => ({ type: "response.output_item.added", item: call(n) })
    const argued = (n: number, id = `fc_${n}`) => ({
      type: "response.function_call_arguments.delta",
      item_id: id,
      delta: `{"n":${n}}`
    })
    const done = (item: object, more: object = {}) => ({ type: "response.output_item.done", item, ...more })
    const message = {
      id: "msg_1",
      type: "message",
      content: [
        {
          type: "output_text",
          text: "Hello.",
          annotations: [{ type: "url_citation", url: "https://example.com", title: "A" }]
        }
      ]
    }
    const spoken = {
      text: "Hello.",
      content: [{ type: "text" as const, text: "Hello.", citations: [{ url: "https://example.com", title: "A" }] }]
    }
    const said = { type: "response.output_text.delta", delta: "Hello." }

    it("distinguishes calls without numbers, interleaved and with one number for all", () => {
      const turns = [0, 1, 2].flatMap((n) => [added(n), argued(n), done(whole(n))])
      assert.deepStrictEqual(read(...turns, completed()).toolCalls, calls)
      const mixed = [added(0), added(1), added(2), argued(0), argued(1), argued(2), completed()]
      assert.deepStrictEqual(read(...mixed).toolCalls, calls)
      const numbered = turns.map((event) => ({ ...event, output_index: 0 }))
      assert.deepStrictEqual(read(...numbered, completed()).toolCalls, calls)
    })

    it("reads calls, texts, thinking and refusals that only arrive with the end of their item, once", () => {
      const ends = [0, 1, 2].map((n) => done(whole(n)))
      assert.deepStrictEqual(read(...ends, ...ends.slice(2), completed()).toolCalls, calls)
      assert.deepInclude(read(done(message, { output_index: 0 }), completed()), spoken)
      const thinking = { id: "rs_1", type: "reasoning", summary: [{ type: "summary_text", text: "Hm." }] }
      assert.strictEqual(read(done(thinking), done(message), completed()).reasoning, "Hm.")
      const refused = read(done({ ...message, content: [{ type: "refusal", refusal: "No." }] }), completed())
      assert.deepInclude(refused, { refusal: "No.", finishReason: "contentFilter" })
    })

    it("reads an answer that only arrives with the end of the response", () => {
      const reply = read(completed([message, whole(0)]))
      assert.deepInclude(reply, { ...spoken, toolCalls: calls.slice(0, 1), finishReason: "toolCalls" })
    })

    it("delivers nothing twice if items have no id, or a different one in each event", () => {
      for (const place of [{}, { item_id: "a" }]) {
        assert.strictEqual(read({ ...said, ...place }, done(message), completed([message])).text, "Hello.")
      }
      const other = { ...message, id: "msg_2" }
      const two = [
        { ...said, output_index: 0 },
        { ...said, output_index: 1 },
        done(message, { output_index: 0 }),
        done(other, { output_index: 1 })
      ]
      assert.strictEqual(read(...two, completed()).text, "Hello.Hello.")
    })
  })

  it("delivers arguments that only arrive with the end of their item", () => {
    const steps = run(events.filter(({ type }) => !type.includes("arguments.delta") && !type.includes("input.delta")))
    const reply = Result.getOrThrow(Chat.collect(steps.flatMap(({ deltas }) => deltas)))
    assert.deepStrictEqual(reply.toolCalls, decode(response).toolCalls)
  })
})

describe("Provider.openai.responses", () => {
  const route = Provider.openai.responses("gpt-5.2")
  const live = Layer.provideMerge(Router.layer, LocalGateway.layer())

  it.effect("runs and streams at its own path", () =>
    Effect.gen(function* () {
      const { attempts, value } = yield* Router.run(route, "Hello there")
      assert.include(value.text, "Hello there")
      assert.strictEqual(attempts[0]?.endpoint, "responses")
      const deltas = yield* Stream.runCollect(Router.stream(route, "Hello there"))
      assert.include(Result.getOrThrow(Chat.collect(deltas)).text, "Hello there")
    }).pipe(Effect.provide(live))
  )

  it("enforces the schemas of objects where OpenAI can", () => {
    assert.deepStrictEqual(Result.getOrThrow(schemaFor("openai-responses", { ...schema, required: [] })), {
      schema: { ...schema, required: [] },
      strict: true
    })
  })

  it("is stored and read again", () => {
    const json = Result.getOrThrow(Route.toJson(route))
    assert.deepStrictEqual(json.route, {
      provider: "openai",
      model: "gpt-5.2",
      endpoint: "responses",
      dialect: "openai-responses"
    })
    assert.isTrue(Result.isSuccess(Route.fromJson(JSON.parse(JSON.stringify(json)))))
  })
})
