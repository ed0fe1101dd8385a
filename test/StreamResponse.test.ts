import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Chat from "effect-ai-gateway/Chat"
import {
  GatewayError,
  isGatewayError,
  RateLimited,
  StreamInterrupted,
  TransportFailure,
  Unauthorized
} from "effect-ai-gateway/GatewayError"
import { deltas as deltasOf, GatewayResponse } from "effect-ai-gateway/GatewayResponse"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import * as StreamResponse from "effect-ai-gateway/StreamResponse"
import OpenAI, { APIError } from "openai"
import { streaming } from "../src/internal/dialect/streaming.ts"
import { textBody } from "../src/internal/transport/body.ts"
import { assertSilent, traced } from "./support/leaks.ts"
import { dataOf, eventsOf, finish, readerOf, recorder, say, settle, text } from "./support/streamResponses.ts"

const meta: Chat.Delta = { type: "meta", model: "m-1", id: "chatcmpl-7" }
const usage: Chat.Delta = { type: "usage", usage: { inputTokens: 3, outputTokens: 2, totalTokens: 5 } }
const whole = [meta, say("Hel"), say("lo"), usage, finish]

const decode = (chunk: Uint8Array | undefined): string => new TextDecoder().decode(chunk)

const failing = (reason: GatewayError["reason"], deltas: ReadonlyArray<Chat.Delta> = []) =>
  Stream.concat(
    Stream.fromIterable(deltas),
    Stream.fail(new GatewayError({ method: "Router.run", provider: "openai", reason }))
  )

describe("deltas as events", () => {
  it.effect("one event each, and the end", () =>
    Effect.gen(function* () {
      const response = yield* StreamResponse.fromDeltas(Stream.fromIterable(whole), { logId: "log-1" })
      assert.strictEqual(response.status, 200)
      assert.deepStrictEqual(Object.fromEntries(response.headers), {
        "cache-control": "no-store",
        "cf-aig-log-id": "log-1",
        "content-type": "text/event-stream; charset=utf-8",
        "x-accel-buffering": "no"
      })
      assert.strictEqual(
        yield* text(response),
        `${whole.map((delta) => `data: ${JSON.stringify(delta)}\n\n`).join("")}data: [DONE]\n\n`
      )
    })
  )

  it.effect("own headers are added, and cannot change the type", () =>
    Effect.gen(function* () {
      const headers = { "access-control-allow-origin": "*", "content-type": "text/html", "cache-control": "private" }
      const response = yield* StreamResponse.fromDeltas(Stream.fromIterable(whole), { headers })
      assert.strictEqual(response.headers.get("access-control-allow-origin"), "*")
      assert.strictEqual(response.headers.get("cache-control"), "private")
      assert.strictEqual(response.headers.get("content-type"), "text/event-stream; charset=utf-8")
      assert.isNull(response.headers.get("cf-aig-log-id"))
      yield* text(response)
    })
  )

  it.effect("a restart is an event too", () =>
    Effect.gen(function* () {
      const { onEnd, summaries } = recorder()
      const all: ReadonlyArray<Chat.Delta> = [say("no"), { type: "restart" }, say("yes"), finish]
      const body = yield* Effect.flatMap(StreamResponse.fromDeltas(Stream.fromIterable(all), { onEnd }), text)
      assert.deepStrictEqual(dataOf(body), [...all, "[DONE]"])
      assert.deepInclude(summaries[0], { outcome: "complete", text: "yes", deltas: 2, restarts: 1 })
    })
  )

  it.effect("wrong options are defects that name the field", () =>
    Effect.gen(function* () {
      const wrong: ReadonlyArray<readonly [field: string, options: object]> = [
        ["format", { format: "xml" }],
        ["heartbeat", { heartbeat: 0 }],
        ["heartbeat", { heartbeat: -1 }],
        ["heartbeat", { heartbeat: Number.NaN }],
        ["heartbeat", { heartbeat: "soon" }],
        ["logId", { logId: "a\nb" }],
        ["headers", { headers: { "X-A": "1" } }],
        ["headers.x-a", { headers: { "x-a": "1\r\nset-cookie: a" } }]
      ]
      for (const [field, options] of wrong) {
        const exit = yield* Effect.exit(StreamResponse.fromDeltas(Stream.empty, options))
        const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
        assert.isTrue(isGatewayError(defect), field)
        assert.include(String(defect), `StreamResponse.fromDeltas: invalid ${field}: expected`)
        assert.notInclude(String(defect), "set-cookie")
      }
    })
  )
})

describe("the format of OpenAI", () => {
  const respond = (deltas: Stream.Stream<Chat.Delta, GatewayError>) =>
    StreamResponse.fromDeltas(deltas, { format: "openai" })

  const answer: ReadonlyArray<Chat.Delta> = [
    meta,
    { type: "usage", usage: { inputTokens: 3 } },
    { type: "reasoning", text: "Hm." },
    say("Hel"),
    say("lo"),
    { type: "toolCall", index: 0, id: "call_1", name: "add", arguments: "" },
    { type: "toolCall", index: 0, arguments: '{"a":1}', signature: "sig" },
    { type: "toolCall", index: 1, id: "call_2", name: "now", arguments: "{}" },
    { type: "finish", reason: "toolCalls" },
    {
      type: "usage",
      usage: {
        inputTokens: 3,
        outputTokens: 9,
        totalTokens: 12,
        cachedInputTokens: 1,
        cacheWriteTokens: 1,
        reasoningTokens: 2
      }
    }
  ]

  it.effect("is that of its chunks", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(1_700_000_000_999)
      const body = yield* Effect.flatMap(respond(Stream.fromIterable(whole)), text)
      const chunk = (delta: object, finish_reason: string | null) => ({
        id: "chatcmpl-7",
        object: "chat.completion.chunk",
        created: 1_700_000_000,
        model: "m-1",
        service_tier: null,
        choices: [{ index: 0, delta, logprobs: null, finish_reason }]
      })
      assert.deepStrictEqual(dataOf(body), [
        chunk({ role: "assistant", content: "", refusal: null }, null),
        chunk({ content: "Hel" }, null),
        chunk({ content: "lo" }, null),
        chunk({}, "stop"),
        {
          ...chunk({}, null),
          choices: [],
          usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 }
        },
        "[DONE]"
      ])
    })
  )

  it.effect("leaves out the chunk without a choice where the client did not ask for the usage", () =>
    Effect.gen(function* () {
      const deltas = Stream.fromIterable(whole)
      const response = yield* StreamResponse.fromDeltas(deltas, { format: "openai", includeUsage: false })
      const body = yield* text(response)
      assert.notInclude(body, "usage")
      assert.deepNestedInclude(Object(dataOf(body).at(-2)), { "choices[0].finish_reason": "stop" })
    })
  )

  it.effect("has one id and one model, also when the deltas tell none", () =>
    Effect.gen(function* () {
      const late = [say("a"), meta, say("b"), finish]
      const chunks = dataOf(yield* Effect.flatMap(respond(Stream.fromIterable(late)), text)).slice(0, -1)
      const ids = chunks.map((chunk) => Reflect.get(Object(chunk), "id"))
      assert.match(String(ids[0]), /^chatcmpl-[0-9a-z]+$/)
      assert.deepStrictEqual(new Set(ids).size, 1)
      assert.deepStrictEqual(new Set(chunks.map((chunk) => Reflect.get(Object(chunk), "model"))), new Set(["unknown"]))
    })
  )

  it.effect("hands on output without a neutral form", () =>
    Effect.gen(function* () {
      const part = { inlineData: { mimeType: "image/png", data: "aGk=" } }
      const deltas = Stream.fromIterable<Chat.Delta>([meta, { type: "part", part }, finish])
      const [, chunk] = dataOf(yield* Effect.flatMap(respond(deltas), text))
      assert.deepNestedInclude(Object(chunk), { "choices[0].delta.parts": [part] })
    })
  )

  const client = (response: Response) =>
    new OpenAI({ apiKey: "k", baseURL: "http://server.test", maxRetries: 0, fetch: async () => response })
  const ask = { model: "m", stream: true as const, messages: [{ role: "user" as const, content: "Hi" }] }

  it.effect("is read by OpenAI's own client", () =>
    Effect.gen(function* () {
      const response = yield* respond(Stream.fromIterable(answer))
      const completion = yield* Effect.promise(async () =>
        client(response).chat.completions.stream(ask).finalChatCompletion()
      )
      const [choice] = completion.choices
      assert.strictEqual(completion.id, "chatcmpl-7")
      assert.strictEqual(choice?.message.content, "Hello")
      assert.strictEqual(choice?.finish_reason, "tool_calls")
      assert.deepStrictEqual(
        choice?.message.tool_calls?.map((call) => [call.id, call.type === "function" && call.function]),
        [
          ["call_1", { name: "add", arguments: '{"a":1}' }],
          ["call_2", { name: "now", arguments: "{}" }]
        ]
      )
      assert.strictEqual(completion.usage?.total_tokens, 12)
    })
  )

  it.effect("a failure in it is one for that client", () =>
    Effect.gen(function* () {
      const response = yield* respond(failing(new StreamInterrupted({ events: 1, partial: "secret text" }), [say("a")]))
      const [seen, thrown] = yield* Effect.promise(async () => {
        const seen: Array<string> = []
        try {
          for await (const chunk of await client(response).chat.completions.create(ask)) {
            seen.push(chunk.choices[0]?.delta.content ?? "")
          }
        } catch (error) {
          return [seen, error] as const
        }
        return [seen, undefined] as const
      })
      assert.deepStrictEqual(seen, ["", "a"])
      assert.instanceOf(thrown, APIError)
      assert.include(String(thrown), "stream interrupted after 1 delta")
    })
  )

  it.effect("a restart cannot be told, so the stream breaks off", () =>
    Effect.gen(function* () {
      const { onEnd, summaries } = recorder()
      let pulled = 0
      const all: ReadonlyArray<Chat.Delta> = [say("no"), { type: "restart" }, say("yes"), finish]
      const deltas = Stream.tap(Stream.rechunk(Stream.fromIterable(all), 1), () => Effect.sync(() => pulled++))
      const response = yield* StreamResponse.fromDeltas(deltas, { format: "openai", onEnd })
      const events = eventsOf(yield* text(response))
      assert.strictEqual(events.length, 3)
      assert.strictEqual(events[2]?.event, "error")
      assert.deepInclude(JSON.parse(events[2]?.data ?? "").error, {
        type: "server_error",
        code: "stream_interrupted",
        reason: "StreamInterrupted",
        events: 1
      })
      assert.strictEqual(pulled, 2)
      assert.strictEqual(summaries[0]?.outcome, "failed")
    })
  )

  const piece = Schema.Union([
    Schema.Struct({ type: Schema.Literals(["text", "reasoning"]), text: Schema.NonEmptyString }),
    Schema.Struct({ type: Schema.Literal("usage"), usage: Schema.Struct({ inputTokens: Schema.Natural }) }),
    Schema.Struct({
      type: Schema.Literal("toolCall"),
      name: Schema.NonEmptyString,
      arguments: Schema.Record(Schema.String, Schema.String)
    })
  ])

  it.effect.prop(
    "loses nothing that a reply is made of",
    {
      pieces: Schema.Array(piece).check(Schema.isMaxLength(8)),
      // OpenAI has no word for `other`.
      reason: Schema.Literals(["stop", "length", "contentFilter"])
    },
    ({ pieces, reason }) =>
      Effect.gen(function* () {
        let calls = 0
        const deltas: Array<Chat.Delta> = [meta, { type: "text", text: "a" }]
        for (const piece of pieces) {
          if (piece.type !== "toolCall") deltas.push(piece)
          else {
            const args = JSON.stringify(piece.arguments)
            const index = calls++
            deltas.push({ type: "toolCall", index, id: `c${index}`, name: piece.name, arguments: args.slice(0, 3) })
            deltas.push({ type: "toolCall", index, arguments: args.slice(3) })
          }
        }
        deltas.push({ type: "finish", reason: calls > 0 && reason === "stop" ? "toolCalls" : reason })
        const response = yield* respond(Stream.fromIterable(deltas))
        const read = new GatewayResponse(
          { status: 200, headers: {}, resent: false, body: textBody(yield* text(response)) },
          { method: "test" }
        )
        const decoder = streaming["openai"]?.decoder()
        if (decoder === undefined) throw new Error("no decoder")
        const decoded = yield* Stream.runCollect(deltasOf(read, decoder))
        assert.deepStrictEqual(Chat.collect(decoded), Chat.collect(deltas))
        assert.isTrue(Result.isSuccess(Chat.collect(decoded)))
      }),
    { arbitrary: { runs: 60, seed: 41 } }
  )
})

describe("failures in the stream", () => {
  const secret = "sk-live-0123456789"
  const reasons: ReadonlyArray<GatewayError["reason"]> = [
    new StreamInterrupted({ events: 2, partial: "what was said", failure: "Timeout", detail: secret, code: secret }),
    new Unauthorized({ origin: "provider", detail: secret, code: secret }),
    new TransportFailure({ kind: "reset", detail: secret })
  ]

  for (const reason of reasons) {
    it.effect(`${reason._tag} is the last event, and says little`, () =>
      Effect.gen(function* () {
        const { onEnd, summaries } = recorder()
        const deltas = failing(reason, [say("what was"), say(" said")])
        const body = yield* Effect.flatMap(StreamResponse.fromDeltas(deltas, { onEnd }), text)
        const events = eventsOf(body)
        assert.strictEqual(events.length, 3)
        assert.strictEqual(events[2]?.event, "error")
        const message =
          reason._tag === "StreamInterrupted"
            ? "stream interrupted after 2 deltas: Timeout"
            : `stream failed after 2 deltas: ${reason._tag}`
        assert.deepStrictEqual(JSON.parse(events[2]?.data ?? ""), { reason: reason._tag, message, events: 2 })
        assert.notInclude(body, "[DONE]")
        assert.notInclude(body, secret)
        assert.deepInclude(summaries[0], { outcome: "failed", text: "what was said", deltas: 2 })
        assert.strictEqual(summaries[0]?.error?.reason, reason)
        assert.strictEqual(summaries.length, 1)
      })
    )
  }

  it.effect("also before the first delta", () =>
    Effect.gen(function* () {
      const response = yield* StreamResponse.fromDeltas(failing(new RateLimited({ origin: "provider" })))
      assert.strictEqual(response.status, 200)
      assert.deepStrictEqual(dataOf(yield* text(response)), [
        { reason: "RateLimited", message: "stream failed after 0 deltas: RateLimited", events: 0 }
      ])
    })
  )

  it.effect("a stream that ends without its finish is no answer", () =>
    Effect.gen(function* () {
      const { onEnd, summaries } = recorder()
      const response = yield* StreamResponse.fromDeltas(Stream.make(meta, say("Hel")), { onEnd })
      const events = eventsOf(yield* text(response))
      assert.deepStrictEqual(
        events.map(({ event }) => event),
        [undefined, undefined, "error"]
      )
      assert.strictEqual(summaries[0]?.outcome, "failed")
      assert.strictEqual(summaries[0]?.error?.reason._tag, "StreamInterrupted")
    })
  )

  it.effect("a stream that interrupts itself has failed, and its consumer has not left", () =>
    Effect.gen(function* () {
      const { onEnd, summaries } = recorder()
      const deltas = Stream.concat(Stream.make(say("a")), Stream.fromEffect(Effect.interrupt))
      const body = yield* Effect.flatMap(StreamResponse.fromDeltas(deltas, { onEnd }), text)
      assert.strictEqual(eventsOf(body).at(-1)?.event, "error")
      assert.deepStrictEqual([summaries.length, summaries[0]?.outcome], [1, "failed"])
    })
  )

  it.effect("a defect is reported and logged without its text", () =>
    Effect.gen(function* () {
      const { onEnd, summaries } = recorder()
      const deltas = Stream.concat(Stream.make(say("a")), Stream.die(new Error(`cannot parse ${secret}`)))
      const traces = yield* traced(Effect.flatMap(StreamResponse.fromDeltas(deltas, { onEnd }), text))
      const body = Option.getOrElse(Exit.getSuccess(traces.exit), () => "")
      assert.include(body, "event: error")
      assert.notInclude(body, "[DONE]")
      assert.notInclude(body, secret)
      assert.isTrue(traces.logs.some((line) => line.includes("StreamResponse.fromDeltas: died: Error")))
      assertSilent(traces, [secret])
      assert.deepInclude(summaries[0], { outcome: "failed", deltas: 1 })
      assert.strictEqual(summaries[0]?.error?.reason._tag, "Unknown")
    })
  )
})

describe("heartbeats", () => {
  const open = Effect.gen(function* () {
    const queue = yield* Queue.unbounded<Chat.Delta, Cause.Done>()
    return { queue, deltas: Stream.fromQueue(queue) }
  })

  /** One read, and a way to see whether it is over. */
  const startRead = (reader: ReadableStreamDefaultReader<Uint8Array>) =>
    Effect.tap(Effect.forkChild(Effect.promise(() => reader.read())), () => settle)

  const beat = ": keep-alive\n\n"

  it.effect("come after every 15 seconds of silence, and interrupt nothing", () =>
    Effect.gen(function* () {
      const { deltas, queue } = yield* open
      const reader = readerOf(yield* StreamResponse.fromDeltas(deltas))
      for (let i = 0; i < 3; i++) {
        const fiber = yield* startRead(reader)
        yield* TestClock.adjust("14999 millis")
        yield* settle
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual(decode((yield* Fiber.join(fiber)).value), beat)
      }
      const fiber = yield* startRead(reader)
      yield* TestClock.adjust("10 seconds")
      yield* Queue.offer(queue, say("a"))
      assert.strictEqual(decode((yield* Fiber.join(fiber)).value), `data: ${JSON.stringify(say("a"))}\n\n`)
      // The silence begins anew.
      const next = yield* startRead(reader)
      yield* TestClock.adjust("10 seconds")
      yield* settle
      assert.isUndefined(next.pollUnsafe())
      yield* Queue.offer(queue, finish)
      yield* Fiber.join(next)
      yield* Queue.end(queue)
      assert.strictEqual(decode((yield* Effect.promise(() => reader.read())).value), "data: [DONE]\n\n")
      assert.isTrue((yield* Effect.promise(() => reader.read())).done)
    })
  )

  it.effect("do not pile up without a reader", () =>
    Effect.gen(function* () {
      const { deltas, queue } = yield* open
      const reader = readerOf(yield* StreamResponse.fromDeltas(deltas, { heartbeat: "1 second" }))
      yield* settle
      for (let i = 0; i < 60; i++) yield* TestClock.adjust("1 second")
      const fiber = yield* startRead(reader)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.strictEqual(decode((yield* Fiber.join(fiber)).value), beat)
      for (let i = 0; i < 60; i++) yield* TestClock.adjust("1 second")
      yield* Queue.offer(queue, say("a"))
      yield* settle
      const { value } = yield* Effect.promise(() => reader.read())
      assert.include(decode(value), `"a"`)
      yield* Effect.promise(() => reader.cancel())
    })
  )

  it.effect("can be switched off", () =>
    Effect.gen(function* () {
      const { deltas, queue } = yield* open
      const reader = readerOf(yield* StreamResponse.fromDeltas(deltas, { heartbeat: Duration.infinity }))
      const fiber = yield* startRead(reader)
      yield* TestClock.adjust("1 day")
      yield* settle
      assert.isUndefined(fiber.pollUnsafe())
      yield* Queue.offer(queue, say("a"))
      assert.include(decode((yield* Fiber.join(fiber)).value), `"a"`)
      yield* Effect.promise(() => reader.cancel())
    })
  )
})

describe("back-pressure", () => {
  it.effect("nothing is pulled that was not asked for", () =>
    Effect.gen(function* () {
      let pulled = 0
      const endless = Stream.rechunk(Stream.fromEffectRepeat(Effect.sync(() => say(`${pulled++}`))), 1)
      const response = yield* StreamResponse.fromDeltas(endless)
      yield* settle
      assert.strictEqual(pulled, 0)
      const reader = readerOf(response)
      for (let i = 1; i <= 5; i++) {
        yield* Effect.promise(() => reader.read())
        yield* settle
        assert.strictEqual(pulled, i)
      }
      yield* Effect.promise(() => reader.cancel())
    })
  )
})

describe("the end", () => {
  /** A stream that says one thing, then nothing, and tells when it is let go of. */
  const open = () => {
    const seen = { released: 0 }
    const deltas = Stream.ensuring(
      Stream.concat(Stream.make(meta, say("Hel")), Stream.never),
      Effect.sync(() => seen.released++)
    )
    return { seen, deltas }
  }

  it.effect("a client that leaves ends everything, once", () =>
    Effect.gen(function* () {
      const { deltas, seen } = open()
      const { onEnd, summaries } = recorder()
      const reader = readerOf(yield* StreamResponse.fromDeltas(deltas, { onEnd }))
      yield* Effect.promise(() => reader.read())
      assert.deepStrictEqual(summaries, [])
      yield* Effect.promise(() => reader.cancel())
      assert.strictEqual(seen.released, 1)
      assert.deepStrictEqual(summaries, [
        { outcome: "left", deltas: 2, text: "Hel", restarts: 0, attempts: [], model: "m-1" }
      ])
      yield* Effect.promise(() => reader.cancel())
      assert.strictEqual(summaries.length, 1)
    })
  )

  it.effect("a client that leaves while it is waited for", () =>
    Effect.gen(function* () {
      const { deltas, seen } = open()
      const { onEnd, summaries } = recorder()
      const reader = readerOf(yield* StreamResponse.fromDeltas(deltas, { onEnd }))
      yield* Effect.promise(() => reader.read())
      const waiting = yield* Effect.forkChild(Effect.promise(() => reader.read()))
      yield* settle
      yield* Effect.promise(() => reader.cancel())
      assert.isTrue((yield* Fiber.join(waiting)).done)
      assert.deepStrictEqual([seen.released, summaries.length], [1, 1])
    })
  )

  it.effect("a body that is cancelled before it is read", () =>
    Effect.gen(function* () {
      const { deltas } = open()
      const { onEnd, summaries } = recorder()
      const { body } = yield* StreamResponse.fromDeltas(deltas, { onEnd })
      yield* Effect.promise(async () => body?.cancel())
      assert.deepInclude(summaries[0], { outcome: "left", deltas: 0 })
      assert.strictEqual(summaries.length, 1)
    })
  )

  it.effect("onEnd has run when the body is closed, and cannot be interrupted", () =>
    Effect.gen(function* () {
      let ended = 0
      const onEnd = () =>
        Effect.andThen(
          Effect.sleep("1 second"),
          Effect.sync(() => ended++)
        )
      const complete = readerOf(yield* StreamResponse.fromDeltas(Stream.make(finish), { onEnd }))
      yield* Effect.promise(() => complete.read())
      yield* Effect.promise(() => complete.read())
      const closed = yield* Effect.forkChild(Effect.promise(() => complete.read()))
      yield* settle
      assert.isUndefined(closed.pollUnsafe())
      const left = yield* Effect.forkChild(Effect.promise(() => complete.cancel()))
      yield* settle
      assert.strictEqual(ended, 0)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(left)
      yield* Fiber.join(closed)
      assert.strictEqual(ended, 1)
    })
  )

  it.effect("an onEnd that fails or dies changes nothing, and is logged without its text", () =>
    Effect.gen(function* () {
      const secret = "sk-live-0123456789"
      for (const onEnd of [
        () => Effect.fail({ _tag: "Oops", key: secret }),
        () => Effect.die(new Error(secret)),
        (): Effect.Effect<void> => {
          throw new Error(secret)
        }
      ]) {
        const self = StreamResponse.fromDeltas(Stream.make(say("a"), finish), { onEnd })
        const traces = yield* traced(Effect.flatMap(self, text))
        assert.include(
          Option.getOrElse(Exit.getSuccess(traces.exit), () => ""),
          "[DONE]"
        )
        assert.isTrue(traces.logs.some((line) => line.includes("StreamResponse.fromDeltas: onEnd: ")))
        assertSilent(traces, [secret])
      }
    })
  )

  it.effect("sees the services of the caller", () =>
    Effect.gen(function* () {
      const names: Array<string> = []
      const onEnd = () =>
        Effect.map(LogTrail.current, (attempts) => names.push(...attempts.map(({ target }) => target)))
      const deltas = Stream.unwrap(
        Effect.map(
          LogTrail.record(Effect.void, { target: "openai/m", provider: "openai", endpoint: "run" }, () => ({
            logId: "log-9"
          })),
          () => Stream.make(say("a"), finish)
        )
      )
      const { onEnd: record, summaries } = recorder()
      const both = (summary: StreamResponse.Summary) => Effect.andThen(record(summary), onEnd())
      yield* Effect.flatMap(StreamResponse.fromDeltas(deltas, { onEnd: both }), text)
      assert.deepStrictEqual(names, ["openai/m"])
      assert.deepInclude(summaries[0], { target: "openai/m", provider: "openai", logId: "log-9" })
      assert.strictEqual(summaries[0]?.attempts.length, 1)
    })
  )
})
