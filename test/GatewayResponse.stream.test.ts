/**
 * Responses as streams: bytes, events, deltas, and the web response itself.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type * as Chat from "effect-ai-gateway/Chat"
import { type GatewayError, isGatewayError } from "effect-ai-gateway/GatewayError"
import * as GatewayResponse from "effect-ai-gateway/GatewayResponse"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import { streaming } from "../src/internal/dialect/streaming.ts"
import { webBody } from "../src/internal/transport/body.ts"
import * as anthropic from "./fixtures/streams/anthropic.ts"
import { bytesOf, cut, runText } from "./fixtures/streams/drive.ts"
import * as google from "./fixtures/streams/google.ts"
import * as openai from "./fixtures/streams/openai.ts"
import * as workersAi from "./fixtures/streams/workersAi.ts"
import { makeBinding } from "./support/bindingDouble.ts"
import * as S from "./support/streamScript.ts"

type Chunk = string | Uint8Array | "stall" | "error"

/** A response whose body comes in these chunks, and what is done to it. */
const respond = (chunks: ReadonlyArray<Chunk>) => {
  const seen = { pulled: 0, cancelled: 0, aborted: 0 }
  const stream = new ReadableStream<Uint8Array>(
    {
      pull: (controller) => {
        const chunk = chunks[seen.pulled++]
        if (chunk === undefined) return controller.close()
        if (chunk === "stall") return new Promise(() => {})
        if (chunk === "error") return controller.error(new TypeError("terminated"))
        return controller.enqueue(typeof chunk === "string" ? bytesOf(chunk) : chunk)
      },
      cancel: () => {
        seen.cancelled++
      }
    },
    { highWaterMark: 0 }
  )
  const web = new Response(stream)
  const abort = Effect.sync(() => {
    seen.aborted++
  })
  const headers = { "cf-aig-log-id": "l-1", "content-type": "text/event-stream" }
  const response = new GatewayResponse.GatewayResponse(
    { status: 200, headers, body: webBody(web, abort), resent: false },
    { method: "GatewayService.run", provider: "openai", model: "m" }
  )
  return { response, seen, web }
}

const isGone = (seen: { readonly cancelled: number; readonly aborted: number }): void => {
  assert.strictEqual(seen.cancelled, 1)
  assert.isAtLeast(seen.aborted, 1)
}

const decoderOf = (id: string): Chat.DeltaDecoder => {
  const own = streaming[id]
  if (own === undefined) throw new Error(`no dialect ${id}`)
  return own.decoder()
}

/** The three ways to read a response as a stream. */
const ways: ReadonlyArray<
  readonly [name: string, read: (self: GatewayResponse.GatewayResponse) => Stream.Stream<unknown, GatewayError>]
> = [
  ["bytes", GatewayResponse.bytes],
  ["events", GatewayResponse.events],
  ["deltas", (self) => GatewayResponse.deltas(self, decoderOf("openai"))]
]

describe("every stream of a response", () => {
  const chunks = [S.say("a"), S.say("b"), S.say("c"), S.say("d")]

  it.effect.each(ways)("%s: pulls what is consumed, and lets go of the rest", ([, read]) =>
    Effect.gen(function* () {
      const { response, seen } = respond(chunks)
      const pulled: Array<number> = []
      yield* Stream.runForEach(Stream.take(read(response), 3), () =>
        Effect.sync(() => {
          pulled.push(seen.pulled)
        })
      )
      // The first event tells two things: who speaks, and what.
      assert.isAtMost(pulled[0] ?? 9, 1)
      assert.isAtMost(pulled[2] ?? 9, 3)
      isGone(seen)
    })
  )

  it.effect.each(ways)("%s: a consumer that fails or is interrupted aborts the request", ([, read]) =>
    Effect.gen(function* () {
      const failing = respond(chunks)
      assert.strictEqual(
        yield* Effect.flip(Stream.runForEach(read(failing.response), () => Effect.fail("enough"))),
        "enough"
      )
      isGone(failing.seen)
      const stalled = respond([S.say("a"), "stall"])
      const fiber = yield* Effect.forkChild(Stream.runDrain(read(stalled.response)))
      yield* Effect.repeat(Effect.yieldNow, { until: () => stalled.seen.pulled === 2 })
      yield* Fiber.interrupt(fiber)
      isGone(stalled.seen)
    })
  )

  it.effect.each(ways)("%s: a connection that breaks is a failure, after what had come", ([, read]) =>
    Effect.gen(function* () {
      const { response } = respond([S.say("a"), "error"])
      let count = 0
      const error = yield* Effect.flip(
        Stream.runForEach(read(response), () =>
          Effect.sync(() => {
            count++
          })
        )
      )
      assert.isAtLeast(count, 1)
      assert.isTrue(isGatewayError(error))
      assert.deepInclude({ ...error }, { logId: "l-1", provider: "openai", model: "m" })
      assert.deepInclude({ ...error.reason }, { _tag: "TransportFailure", kind: "reset" })
    })
  )

  it.effect.each(ways)("%s: a body that has been taken is not an empty one", ([, read]) =>
    Effect.gen(function* () {
      const message = (form: string) =>
        `GatewayService.run: openai/m: invalid body: expected one way of reading it, which was ${form}`
      const late = (response: GatewayResponse.GatewayResponse) =>
        Effect.map(Effect.flip(Stream.runDrain(read(response))), ({ message }) => message)
      const left = respond(chunks)
      yield* Stream.runDrain(Stream.take(read(left.response), 1))
      assert.strictEqual(yield* late(left.response), message("reader"))
      const text = respond(chunks)
      yield* text.response.text
      assert.strictEqual(yield* late(text.response), message("text"))
      const bytes = respond(chunks)
      yield* bytes.response.bytes
      assert.strictEqual(yield* late(bytes.response), message("bytes"))
      // The description of a stream takes nothing.
      const twice = respond([S.say("a"), S.finish])
      const described = read(twice.response)
      assert.isAbove(yield* Stream.runCount(described), 0)
    })
  )
})

describe("bytes", () => {
  it.effect("are the chunks as they came", () =>
    Effect.gen(function* () {
      const chunks = [bytesOf("data: é").slice(0, 7), bytesOf("data: é").slice(7), new Uint8Array([0, 255])]
      const { response, seen } = respond(chunks)
      assert.deepStrictEqual(yield* Stream.runCollect(GatewayResponse.bytes(response)), chunks)
      assert.strictEqual(seen.pulled, 4)
      assert.deepStrictEqual(yield* Stream.runCollect(GatewayResponse.bytes(respond([]).response)), [])
    })
  )
})

const Sizes = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 30 })))
const Event = Schema.Struct({
  event: Schema.Literals(["message", "delta", "ping"]),
  data: Schema.Array(Schema.Literals(["x", "é", "😀", " ", ":", "data: ", "{}", "\u2028"])).check(
    Schema.isMinLength(1)
  ),
  more: Schema.optional(Schema.Literals(["second line", ""])),
  before: Schema.Literals(["", ": comment\n", ":\n\n", "id: 7\n", "retry: 10\n\n", "odd\n", "event:\n"])
})

describe("events", () => {
  it.effect.prop(
    "are the same for any cut, line end and company",
    {
      events: Schema.Array(Event),
      sizes: Sizes,
      newline: Schema.Literals(["\n", "\r\n", "\r"]),
      bom: Schema.Boolean,
      ended: Schema.Boolean
    },
    ({ bom, ended, events, newline, sizes }) =>
      Effect.gen(function* () {
        const expected = events.map(({ data, event, more }) => ({
          event,
          data: data.join("") + (more === undefined ? "" : `\n${more}`)
        }))
        const text = events
          .map(({ before }, i) => {
            const lines = (expected[i]?.data ?? "").split("\n").map((line) => `data: ${line}\n`)
            const name = events[i]?.event === "message" ? "" : `event: ${events[i]?.event}\n`
            return `${before}${name}${lines.join("")}\n`
          })
          .join("")
        // The blank line after the last event may be missing.
        const wire = (bom ? "\ufeff" : "") + (ended ? text : text.slice(0, -1)).replaceAll("\n", newline)
        const { response } = respond(cut(bytesOf(wire), sizes))
        assert.deepStrictEqual(yield* Stream.runCollect(GatewayResponse.events(response)), expected)
      }),
    { arbitrary: { runs: 300 } }
  )

  it.effect("one without an end is a failure, and what came before it is not lost", () =>
    Effect.gen(function* () {
      const piece = new Uint8Array(8 * 1024 * 1024).fill(120)
      const endless = Array.from({ length: 9 }, () => piece)
      // However it is cut: with the chunk that goes too far comes a whole event.
      const oneByOne = ["data: first\n\n", "data: ", ...endless]
      const together = new Uint8Array(13 + 6 + 9 * piece.length).fill(120)
      together.set(bytesOf("data: first\n\ndata: "))
      const after = bytesOf("\n\ndata: late\n\n")
      const ended = new Uint8Array(together.length + after.length)
      ended.set(together)
      ended.set(after, together.length)
      for (const chunks of [oneByOne, [together], [ended]]) {
        const { response, seen } = respond([...chunks, "data: late\n\n"])
        const found: Array<string> = []
        const error = yield* Effect.flip(
          Stream.runForEach(GatewayResponse.events(response), ({ data }) =>
            Effect.sync(() => {
              found.push(data)
            })
          )
        )
        assert.deepStrictEqual(found, ["first"])
        assert.strictEqual(error.reason.message, "invalid response: an event of more than 67108864 characters")
        isGone(seen)
      }
    })
  )
})

describe("deltas", () => {
  const complete: ReadonlyArray<readonly [id: string, stream: string]> = [
    ["openai", openai.text],
    ["openai-compatible", openai.toolCalls],
    ["anthropic", anthropic.text],
    ["google", Object.values(google.all)[0] ?? ""],
    ["workers-ai", Object.values(workersAi.all)[0] ?? ""]
  ]

  it.effect.each(complete)("%s: as the decoder says", ([id, stream]) =>
    Effect.gen(function* () {
      const { deltas: expected } = runText(decoderOf(id), stream)
      assert.strictEqual(expected.at(-1)?.type === "usage" || expected.at(-1)?.type === "finish", true)
      for (const size of [1, 7, 10_000]) {
        const { response } = respond(cut(bytesOf(stream), [size]))
        const deltas = yield* Stream.runCollect(GatewayResponse.deltas(response, decoderOf(id)))
        assert.deepStrictEqual(deltas, expected)
      }
    })
  )

  it.effect.each(complete)("%s: an end before the finish is a failure", ([id, stream]) =>
    Effect.gen(function* () {
      const [first = ""] = stream.split("\n\n")
      const { response } = respond([`${first}\n\n`])
      const error = yield* Effect.flip(Stream.runDrain(GatewayResponse.deltas(response, decoderOf(id))))
      assert.strictEqual(error.reason._tag, "InvalidResponse")
      assert.include(error.reason.message, "before the stream ends")
      assert.strictEqual(error.logId, "l-1")
    })
  )

  it.effect("an error event is its own reason, after the deltas before it", () =>
    Effect.gen(function* () {
      const { response, seen } = respond([S.role + S.say("a") + S.error("rate_limit_exceeded"), "stall"])
      const types: Array<string> = []
      const error = yield* Effect.flip(
        Stream.runForEach(GatewayResponse.deltas(response, decoderOf("openai")), ({ type }) =>
          Effect.sync(() => {
            types.push(type)
          })
        )
      )
      assert.deepStrictEqual(types, ["meta", "text"])
      assert.strictEqual(error.reason._tag, "RateLimited")
      isGone(seen)
    })
  )
})

describe("toWeb", () => {
  it("is the very same response, unread", () => {
    const { response, seen, web } = respond([S.say("a")])
    assert.strictEqual(GatewayResponse.toWeb(response), web)
    assert.isFalse(web.bodyUsed)
    assert.strictEqual(seen.pulled, 0)
  })

  const leg = { provider: "openai", endpoint: "chat/completions", query: {} }

  it.effect("also through the transports: what fetch gave, and what the binding gave", () =>
    Effect.gen(function* () {
      const given: Array<Response> = []
      const answer = () => new Response("data: 1\n\n", { headers: { "content-type": "text/event-stream" } })
      const fetch = async () => {
        const response = answer()
        given.push(response)
        return response
      }
      const overHttp = GatewayService.layerHttp({ accountId: "acct", gateway: "gw" }).pipe(
        Layer.provide(FetchHttpClient.layer),
        Layer.provide(Layer.succeed(FetchHttpClient.Fetch, fetch))
      )
      const double = makeBinding(async () => answer())
      const overBinding = GatewayService.layerBinding(
        {
          gateway: (id) => {
            const own = double.gateway(id)
            return {
              ...own,
              run: async (data, options) => {
                const response = await own.run(Object(data), Object(options))
                given.push(response)
                return response
              },
              getLog: (id) => own.getLog(id),
              patchLog: (id, data) => own.patchLog(id, data),
              getUrl: (provider) => own.getUrl(provider)
            }
          }
        },
        { gateway: "gw" }
      )
      for (const layer of [overHttp, overBinding]) {
        const response = yield* Effect.provide(
          GatewayService.GatewayService.use((gateway) => gateway.run(leg)),
          layer
        )
        const web = GatewayResponse.toWeb(response)
        assert.strictEqual(web, given.at(-1))
        assert.strictEqual(web.headers.get("content-type"), "text/event-stream")
        assert.strictEqual(yield* Effect.promise(() => web.text()), "data: 1\n\n")
      }
    })
  )
})
