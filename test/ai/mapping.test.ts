/**
 * Prompts, answers and failures, mapped between `effect/ai` and `Chat`.
 */
import { assert, describe, it } from "@effect/vitest"
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { GatewayModel } from "effect-ai-gateway/ai"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import { ScriptedPeer } from "effect-ai-gateway/testing"
import { Tree } from "../fixtures/tree.ts"
import { call, kit, openai, reply, runs, scripted } from "./support.ts"

const chunk = (delta: object, finish: string | null = null, more: object = {}) => ({
  id: "c1",
  model: "m-1",
  choices: [{ index: 0, delta, finish_reason: finish }],
  ...more
})

const events = (...values: ReadonlyArray<string | object>) => ({
  headers: { "content-type": "text/event-stream" },
  stream: ScriptedPeer.events(...values, "[DONE]")
})

describe("finish reasons", () => {
  const cases: ReadonlyArray<readonly [wire: string, message: object, reason: string]> = [
    ["stop", { content: "hi" }, "stop"],
    ["length", { content: "hi" }, "length"],
    ["content_filter", { content: "" }, "content-filter"],
    ["tool_calls", { content: null, tool_calls: [call("c", "lookup", '{"id":"7"}')] }, "tool-calls"],
    ["whatever", { content: "hi" }, "other"],
    ["stop", { refusal: "no" }, "content-filter"]
  ]
  for (const [wire, message, reason] of cases) {
    it.effect(`maps ${wire} of ${Object.keys(message).join()} to ${reason}, complete and streamed`, () => {
      const { layer } = scripted({
        openai: [reply(message, wire), events(chunk({ ...message, ...streamedCalls(message) }), chunk({}, wire))]
      })
      return runs(
        Effect.gen(function* () {
          const answer = yield* LanguageModel.generateText({ prompt: "hi", toolkit: kit })
          assert.strictEqual(answer.finishReason, reason)
          const parts = yield* Stream.runCollect(LanguageModel.streamText({ prompt: "hi", toolkit: kit }))
          const finish = parts.at(-1)
          assert.strictEqual(finish?.type === "finish" ? finish.reason : undefined, reason)
        }),
        layer
      )
    })
  }
})

const streamedCalls = (message: object): object =>
  "tool_calls" in message && Array.isArray(message.tool_calls)
    ? { tool_calls: message.tool_calls.map((one: object, index: number) => ({ index, ...one })) }
    : {}

describe("failures", () => {
  const route = openai
  const body = (message: string, code: string | null = null, type = "error") => ({ error: { message, code, type } })
  const cases: ReadonlyArray<readonly [name: string, line: ScriptedPeer.Line, reason: string, retryable: boolean]> = [
    ["429", { status: 429, headers: { "retry-after": "7" } }, "RateLimitError", true],
    ["exhausted credit", { status: 429, body: body("quota", "insufficient_quota") }, "QuotaExhaustedError", false],
    ["401", { status: 401 }, "AuthenticationError", false],
    [
      "a blocked prompt",
      { status: 400, body: body("blocked", "content_policy_violation") },
      "ContentPolicyError",
      false
    ],
    ["400", { status: 400, body: body("bad", null, "invalid_request_error") }, "InvalidRequestError", false],
    [
      "a prompt that is too long",
      { status: 400, body: body("long", "context_length_exceeded") },
      "InvalidRequestError",
      false
    ],
    ["a model that is not there", { status: 404, body: body("gone", "model_not_found") }, "InvalidRequestError", false],
    ["503", { status: 503 }, "InternalProviderError", true],
    ["529", { status: 529 }, "InternalProviderError", true],
    ["408", { status: 408 }, "InternalProviderError", true],
    ["a connection that breaks", { reset: true }, "NetworkError", true],
    ["an answer that is no JSON", { text: "<html>" }, "InvalidOutputError", true],
    ["an answer without anything in it", reply({ content: "" }, "stop"), "InvalidOutputError", true]
  ]
  for (const [name, line, reason, retryable] of cases) {
    it.effect(`${name}: ${reason}, and the failure behind it`, () => {
      const { layer } = scripted(
        { openai: [{ ...line, headers: { ...line.headers, "cf-aig-log-id": "log-1" } }] },
        route
      )
      return Effect.gen(function* () {
        const error = yield* Effect.flip(LanguageModel.generateText({ prompt: "hi" }))
        assert.strictEqual(error.reason._tag, reason)
        assert.strictEqual(error.isRetryable, retryable)
        assert.strictEqual(`${error.module}.${error.method}`, "GatewayLanguageModel.generateText")
        const failure = GatewayModel.failureOf(error)
        assert.strictEqual(failure?.attempts?.length, 1)
        if ("metadata" in error.reason) {
          assert.deepInclude(error.reason.metadata.gateway, {
            reason: failure?.reason._tag,
            logId: failure?.logId ?? null
          })
        }
        const json = Schema.encodeSync(AiError.AiError)(error)
        assert.isString(JSON.stringify(json))
      }).pipe(Effect.provide(layer))
    })
  }

  it.effect("keep the wait that the provider asked for, and the time at which credit returns", () => {
    const exhausted = { status: 429, headers: { "retry-after": "60" }, body: body("quota", "insufficient_quota") }
    const { layer } = scripted({ openai: [{ status: 429, headers: { "retry-after": "7" } }, exhausted] })
    return Effect.gen(function* () {
      yield* TestClock.adjust("10 seconds")
      const first = yield* Effect.flip(LanguageModel.generateText({ prompt: "hi" }))
      assert.deepStrictEqual(first.retryAfter && Duration.toSeconds(first.retryAfter), 7)
      const { reason } = yield* Effect.flip(LanguageModel.generateText({ prompt: "hi" }))
      const resetAt = reason._tag === "QuotaExhaustedError" ? reason.resetAt : undefined
      if (resetAt !== undefined) assert.strictEqual(resetAt.epochMilliseconds, 70_000)
    }).pipe(Effect.provide(layer))
  })

  it.effect("remain errors when a provider asks for a wait beyond the range of dates", () => {
    const headers = { "retry-after": "99999999999999" }
    const { layer } = scripted({
      openai: [
        { status: 402, headers },
        { status: 429, headers }
      ]
    })
    return Effect.gen(function* () {
      const { reason } = yield* Effect.flip(LanguageModel.generateText({ prompt: "hi" }))
      assert.strictEqual(reason._tag, "QuotaExhaustedError")
      assert.isUndefined(reason._tag === "QuotaExhaustedError" ? reason.resetAt : null)
      const limited = yield* Effect.flip(LanguageModel.generateText({ prompt: "hi" }))
      assert.strictEqual(limited.reason._tag, "RateLimitError")
    }).pipe(Effect.provide(layer))
  })

  it.effect("distinguish a limit that resets from a cost that does not", () => {
    const limited = Route.limits(openai, { requestsPerMinute: 1, queue: { maxWait: 0 } })
    const { layer } = scripted({}, limited)
    return Effect.gen(function* () {
      yield* LanguageModel.generateText({ prompt: "hi" })
      const error = yield* Effect.flip(LanguageModel.generateText({ prompt: "hi" }))
      assert.strictEqual(error.reason._tag, "RateLimitError")
      assert.isOk(error.retryAfter)
    }).pipe(Effect.provide(layer))
  })
})

describe("answers", () => {
  it.effect("keep the kinds of usage apart, and unknown ones unknown", () => {
    const usage = {
      prompt_tokens: 100,
      completion_tokens: 30,
      total_tokens: 130,
      prompt_tokens_details: { cached_tokens: 60 },
      completion_tokens_details: { reasoning_tokens: 10 }
    }
    const { layer } = scripted({
      openai: [reply({ content: "hi" }, "stop", { usage }), reply({ content: "hi" }, "stop")]
    })
    return Effect.gen(function* () {
      const { usage: counted } = yield* LanguageModel.generateText({ prompt: "hi" })
      assert.deepInclude(counted.inputTokens, { total: 100, cacheRead: 60, uncached: 40 })
      assert.deepInclude(counted.outputTokens, { total: 30, reasoning: 10, text: 20 })
      const { usage: unknown } = yield* LanguageModel.generateText({ prompt: "hi" })
      assert.strictEqual(unknown.inputTokens.total, undefined)
      assert.strictEqual(unknown.outputTokens.text, undefined)
    }).pipe(Effect.provide(layer))
  })

  it.effect("keep reasoning, pictures, and output without a form", () => {
    const images = [{ type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } }]
    const message = { reasoning_content: "hm", content: "look", images, audio: { id: "a1" } }
    const { layer } = scripted(
      {
        groq: [
          reply(message, "stop"),
          events(
            chunk({ reasoning_content: "h" }),
            chunk({ reasoning_content: "m" }),
            chunk({ content: "look", images }),
            chunk({}, "stop")
          )
        ]
      },
      Provider.groq.chat("m")
    )
    return Effect.gen(function* () {
      const answer = yield* LanguageModel.generateText({ prompt: "hi" })
      assert.strictEqual(answer.reasoningText, "hm")
      const file = answer.content.find((part) => part.type === "file")
      assert.deepStrictEqual([file?.mediaType, file?.data], ["image/png", new Uint8Array([0, 0, 0])])
      const finish = answer.content.at(-1)
      const { gateway } = finish?.type === "finish" ? finish.metadata : {}
      assert.deepStrictEqual(gateway?.otherParts, [{ type: "audio", audio: { id: "a1" } }])
      const parts = yield* Stream.runCollect(LanguageModel.streamText({ prompt: "hi" }))
      const shape = parts.map((part) => ("delta" in part ? `${part.type} ${part.delta}` : part.type))
      assert.deepStrictEqual(shape, [
        "response-metadata",
        "reasoning-start",
        "reasoning-delta h",
        "reasoning-delta m",
        "reasoning-end",
        "text-start",
        "text-delta look",
        "file",
        "text-end",
        "finish"
      ])
    }).pipe(Effect.provide(layer))
  })

  it.effect("keep pictures that OpenAI's own tool made, complete and streamed", () => {
    const item = {
      type: "image_generation_call",
      id: "ig_1",
      status: "completed",
      result: "AAAA",
      output_format: "webp"
    }
    const response = { id: "resp_1", status: "completed", output: [item] }
    const { layer } = scripted(
      {
        openai: [
          { body: response },
          events({ type: "response.output_item.done", output_index: 0, item }, { type: "response.completed", response })
        ]
      },
      Provider.openai.responses("gpt-5.2")
    )
    return Effect.gen(function* () {
      const answer = yield* LanguageModel.generateText({ prompt: "Draw." })
      const parts = yield* Stream.runCollect(LanguageModel.streamText({ prompt: "Draw." }))
      for (const all of [answer.content, parts]) {
        const files = all.flatMap((part) => (part.type === "file" ? [[part.mediaType, part.data]] : []))
        assert.deepStrictEqual(files, [["image/webp", new Uint8Array([0, 0, 0])]])
        const finish = all.at(-1)
        assert.deepStrictEqual(finish?.type === "finish" && finish.metadata.gateway?.otherParts, [])
      }
    }).pipe(Effect.provide(layer))
  })

  it.effect("stream parallel calls in pieces, each as a complete call at the end", () => {
    const piece = (index: number, id: string | undefined, name: string | undefined, args: string) =>
      chunk({
        tool_calls: [
          { index, ...(id && { id, type: "function" }), function: { ...(name && { name }), arguments: args } }
        ]
      })
    const { layer } = scripted({
      openai: [
        events(
          chunk({ content: "Let me look." }),
          piece(0, "a", "lookup", ""),
          piece(1, "b", "lookup", '{"id"'),
          piece(0, undefined, undefined, '{"id":'),
          piece(1, undefined, undefined, ':"2"}'),
          piece(0, undefined, undefined, '"1"}'),
          chunk({}, "tool_calls")
        )
      ]
    })
    return runs(
      Effect.gen(function* () {
        const parts = yield* Stream.runCollect(LanguageModel.streamText({ prompt: "hi", toolkit: kit }))
        assert.deepStrictEqual(
          parts.flatMap((part) => (part.type === "tool-result" ? [[part.id, part.result]] : [])).sort(),
          [
            ["a", "found 1"],
            ["b", "found 2"]
          ]
        )
        assert.deepStrictEqual(
          parts.flatMap((part) => (part.type === "tool-params-delta" && part.id === "a" ? [part.delta] : [])).join(""),
          '{"id":"1"}'
        )
      }),
      layer
    )
  })

  it.effect("omit a call that was cut off at the length limit", () => {
    const cut = {
      tool_calls: [{ index: 0, id: "a", type: "function", function: { name: "lookup", arguments: '{"id":' } }]
    }
    const { layer } = scripted({ openai: [events(chunk(cut), chunk({}, "length"))] })
    return runs(
      Effect.gen(function* () {
        const parts = yield* Stream.runCollect(LanguageModel.streamText({ prompt: "hi", toolkit: kit }))
        assert.notInclude(
          parts.map(({ type }) => type),
          "tool-call"
        )
        const finish = parts.at(-1)
        assert.strictEqual(finish?.type === "finish" && finish.reason, "length")
      }),
      layer
    )
  })

  it.effect("reject arguments that would change a prototype, complete and streamed", () => {
    const message = { content: null, tool_calls: [call("c", "merge", '{"a":{"__proto__":{"admin":true}}}')] }
    const { layer } = scripted({
      openai: [reply(message, "tool_calls"), events(chunk(streamedCalls(message)), chunk({}, "tool_calls"))]
    })
    const Merge = Tool.dynamic("merge", { parameters: { type: "object" }, success: Schema.String })
    const options = { prompt: "hi", toolkit: Toolkit.make(Merge), disableToolCallResolution: true } as const
    return Effect.gen(function* () {
      const whole = yield* Effect.flip(LanguageModel.generateText(options))
      const streamed = yield* Effect.flip(Stream.runDrain(LanguageModel.streamText(options)))
      for (const error of [whole, streamed]) {
        assert.strictEqual(error.reason._tag, "InvalidOutputError")
        assert.include(error.message, "would change a prototype")
      }
    }).pipe(Effect.provide(layer))
  })

  it.effect("reject a call of a tool that was not offered, unless its check is deferred", () => {
    const message = { content: null, tool_calls: [call("c", "unknown", "{}")] }
    const { layer } = scripted({
      openai: [
        reply(message, "tool_calls"),
        events(chunk(streamedCalls(message)), chunk({}, "tool_calls")),
        reply(message, "tool_calls")
      ]
    })
    return runs(
      Effect.gen(function* () {
        const whole = yield* Effect.flip(LanguageModel.generateText({ prompt: "hi", toolkit: kit }))
        const streamed = yield* Effect.flip(Stream.runDrain(LanguageModel.streamText({ prompt: "hi", toolkit: kit })))
        for (const { reason } of [whole, streamed]) {
          assert.deepInclude(reason, { _tag: "ToolNotFoundError", toolName: "unknown", availableTools: ["lookup"] })
        }
        const deferred = yield* LanguageModel.generateText({
          prompt: "hi",
          toolkit: kit,
          disableToolCallResolution: true,
          toolCallValidation: "deferred"
        })
        assert.strictEqual(deferred.toolCalls[0]?.name, "unknown")
      }),
      layer
    )
  })

  it.effect("give a tool the class, the date and the recursion of its schema, strict or not", () => {
    class Visit extends Schema.Class<Visit>("app/Visit")({ day: Schema.Date, guests: Schema.BigInt }) {}
    const Book = Tool.make("book", { parameters: Visit, success: Schema.String })
    const BookStrictly = Tool.make("strictly", { parameters: Visit, success: Schema.String }).annotate(
      Tool.Strict,
      true
    )
    const Grow = Tool.make("grow", { parameters: Tree, success: Schema.String })
    const tools = Toolkit.make(Book, BookStrictly, Grow)
    const visit = '{"day":"2026-01-01T00:00:00.000Z","guests":"2"}'
    const tree = { name: "a", children: [{ name: "b", children: [] }] }
    const calls = [call("a", "book", visit), call("b", "strictly", visit), call("c", "grow", JSON.stringify(tree))]
    const message = { content: null, tool_calls: calls }
    const { layer, seen } = scripted({
      openai: [reply(message, "tool_calls"), events(chunk(streamedCalls(message)), chunk({}, "tool_calls"))]
    })
    const got: Array<unknown> = []
    const take = (value: unknown) => Effect.sync(() => `${got.push(value)}`)
    const live = tools.toLayer({ book: take, strictly: take, grow: take })
    return Effect.gen(function* () {
      yield* LanguageModel.generateText({ prompt: "hi", toolkit: tools })
      yield* Stream.runDrain(LanguageModel.streamText({ prompt: "hi", toolkit: tools }))
      assert.strictEqual(got.length, 6)
      const visits = got.filter((value) => value instanceof Visit)
      assert.deepStrictEqual(
        visits.map(({ day, guests }) => [day.getUTCFullYear(), guests]),
        Array.from({ length: 4 }, () => [2026, 2n])
      )
      assert.deepStrictEqual(
        got.filter((value) => !(value instanceof Visit)),
        [tree, tree]
      )
      const body = seen[0]?.body as { tools: ReadonlyArray<{ function: { parameters: { type: string } } }> } | undefined
      assert.deepStrictEqual(
        body?.tools.map((tool) => tool.function.parameters.type),
        ["object", "object", "object"]
      )
    }).pipe(Effect.provide(Layer.merge(layer, live)))
  })

  it.effect("give a strict tool the arguments of its handler, and send providers a closed schema", () => {
    const Book = Tool.make("book", {
      parameters: Schema.Struct({
        seat: Schema.Tuple([Schema.String, Schema.Int]),
        note: Schema.optionalKey(Schema.String)
      }),
      success: Schema.String
    }).annotate(Tool.Strict, true)
    const Ping = Tool.make("ping", { success: Schema.String })
    const strictKit = Toolkit.make(Book, Ping)
    const message = { content: null, tool_calls: [call("c", "book", '{"seat":{"0":"A","1":3},"note":null}')] }
    const { layer, seen } = scripted({ openai: [reply(message, "tool_calls")] })
    return Effect.gen(function* () {
      const answer = yield* LanguageModel.generateText({ prompt: "hi", toolkit: strictKit })
      assert.deepStrictEqual(answer.toolResults[0]?.result, '{"seat":["A",3]}')
      const body = seen[0]?.body as { tools: ReadonlyArray<{ function: Record<string, unknown> }> }
      const [book, ping] = body.tools
      assert.strictEqual(book?.function.strict, true)
      assert.deepInclude(book?.function.parameters, { additionalProperties: false, required: ["seat", "note"] })
      assert.deepStrictEqual(ping?.function.parameters, { type: "object", additionalProperties: false, properties: {} })
      assert.notProperty(ping?.function, "strict")
    }).pipe(
      Effect.provide(
        Layer.merge(
          layer,
          strictKit.toLayer({
            book: (params) => Effect.succeed(JSON.stringify(params)),
            ping: () => Effect.succeed("pong")
          })
        )
      )
    )
  })
})
