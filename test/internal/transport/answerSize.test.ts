/**
 * Checks that no answer takes more memory than allowed: on real sockets over every client, and over the binding.
 */
import type { ServerResponse } from "node:http"
import { gzipSync } from "node:zlib"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as AiService from "../../../src/AiService.ts"
import { decide, type GatewayError } from "../../../src/GatewayError.ts"
import * as GatewayResponse from "../../../src/GatewayResponse.ts"
import * as GatewayService from "../../../src/GatewayService.ts"
import type { Delta } from "../../../src/internal/dialect/delta.ts"
import { openai } from "../../../src/internal/dialect/openaiStream.ts"
import * as Provider from "../../../src/Provider.ts"
import * as Route from "../../../src/Route.ts"
import * as Router from "../../../src/Router.ts"
import * as Undici from "../../../src/undici/Undici.ts"
import { clients } from "../../support/httpClients.ts"
import { json, makePeer, type Reply } from "../../support/httpPeer.ts"
import { completion } from "../../support/scripted.ts"

const max = 200_000

const leg = { provider: "openai", endpoint: "chat/completions", query: { model: "m", messages: [] } }

const over = (url: string, maxAnswerBytes?: number) =>
  GatewayService.layerHttp({ accountId: "acc", gateway: "gw", baseUrl: url, maxAnswerBytes })

const run = Effect.flatMap(GatewayService.GatewayService, (gateway) => gateway.run(leg))

/** Writes until the client disconnects, or until far more than the limit has been written. */
const endless = (
  response: ServerResponse,
  written: { bytes: number },
  chunk: string | Buffer = Buffer.alloc(16_384, "x")
): void => {
  const pump = (): void => {
    while (written.bytes < 100 * max && !response.destroyed) {
      written.bytes += chunk.length
      if (!response.write(chunk)) return
    }
    if (!response.destroyed) response.end()
  }
  response.on("drain", pump)
  pump()
}

const assertTooLarge = ({ reason }: GatewayError, issue: string) => {
  assert.strictEqual(reason._tag, "InvalidResponse")
  assert.strictEqual(reason.message, `invalid response: ${issue}`)
  assert.deepStrictEqual([decide(reason).again, decide(reason).next], [false, true])
}

const forms = ["text", "bytes", "json", "result"] as const

const bomb = gzipSync(Buffer.alloc(50 * max, " "))

describe.each(clients)("over %s", (name, client) => {
  const scripted = Effect.fnUntraced(function* (reply: Reply, maxAnswerBytes?: number) {
    const peer = yield* makePeer(reply)
    const context = yield* Layer.build(Layer.provide(over(peer.url, maxAnswerBytes), client))
    return { peer, run: Effect.provide(run, context) }
  })

  it.effect("reads a body that is as large as the limit, but not one byte more", () =>
    Effect.gen(function* () {
      const { run } = yield* scripted((_, response, __, index) => {
        response.writeHead(200, { "content-type": "text/plain" })
        response.end("x".repeat(index < 2 ? max : max + 1))
      }, max)
      assert.strictEqual((yield* Effect.flatMap(run, (response) => response.text)).length, max)
      assert.strictEqual((yield* Effect.flatMap(run, (response) => response.bytes)).length, max)
      for (const form of forms) {
        const response = yield* run
        const reading: Effect.Effect<unknown, GatewayError> = response[form]
        assertTooLarge(yield* Effect.flip(reading), `a body of more than ${max} bytes`)
      }
    })
  )

  it.effect("cancels an endless body as soon as it is too large", () =>
    Effect.gen(function* () {
      const written = { bytes: 0 }
      const { peer, run } = yield* scripted((_, response) => {
        response.writeHead(200, { "content-type": "application/json" })
        endless(response, written)
      }, max)
      assertTooLarge(
        yield* Effect.flip(Effect.flatMap(run, (response) => response.text)),
        `a body of more than ${max} bytes`
      )
      // Node's `fetch` closes the connection some seconds later.
      if (!name.startsWith("fetch")) yield* peer.until(() => peer.open() === 0)
      assert.isBelow(written.bytes, 90 * max)
    })
  )

  it.effect("counts bytes after decompression", () =>
    Effect.gen(function* () {
      const { peer, run } = yield* scripted((_, response) => {
        response.writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" })
        response.end(bomb)
      }, max)
      assert.isBelow(bomb.length, max)
      for (const form of forms) {
        const reading = Effect.flatMap(run, (response): Effect.Effect<unknown, GatewayError> => response[form])
        assertTooLarge(yield* Effect.flip(reading), `a body of more than ${max} bytes`)
      }
      assert.strictEqual(peer.requests.length, forms.length)
    })
  )

  it.effect("reads only the beginning of an error body that is a bomb", () =>
    Effect.gen(function* () {
      const { run } = yield* scripted((_, response) => {
        response.writeHead(429, { "content-type": "text/plain", "content-encoding": "gzip" })
        response.end(bomb)
      }, max)
      const { reason } = yield* Effect.flip(run)
      assert.strictEqual(reason._tag, "RateLimited")
      assert.isAtMost(reason.detail?.length ?? 0, 2_000)
    })
  )

  for (const [kind, encoding] of [
    ["", undefined],
    ["compressed ", "gzip"]
  ] as const) {
    it.effect(`accepts a long ${kind}stream, but not a long event in it`, () =>
      Effect.gen(function* () {
        const event = `data: ${"x".repeat(max / 2)}\n\n`
        const text = `${event.repeat(6)}data: ${"y".repeat(5 * max)}`
        const { run } = yield* scripted((_, response) => {
          response.writeHead(200, {
            "content-type": "text/event-stream",
            ...(encoding !== undefined && { "content-encoding": encoding })
          })
          response.end(encoding === undefined ? text : gzipSync(text))
        }, max)
        const seen: Array<number> = []
        const error = yield* Effect.flatMap(run, (response) =>
          Stream.runForEach(GatewayResponse.events(response), ({ data }) => Effect.sync(() => seen.push(data.length)))
        ).pipe(Effect.flip)
        assertTooLarge(error, `an event of more than ${max} characters`)
        assert.deepStrictEqual(seen, Array(6).fill(max / 2))
      })
    )
  }

  for (const [kind, event] of [
    ["usage", { choices: [], usage: { prompt_tokens: 1, completion_tokens: 1 } }],
    ["nothing", { choices: [] }],
    ["empty text", { choices: [{ delta: { content: "" } }] }]
  ] as const) {
    it.effect(`ends an endless stream of ${kind}, and continues with the next target`, () =>
      Effect.gen(function* () {
        const written = { bytes: 0 }
        const peer = yield* makePeer(({ url }, response) => {
          if (url.includes("/groq/")) return json(response, 200, completion("short"))
          response.writeHead(200, { "content-type": "text/event-stream" })
          endless(response, written, `data: ${JSON.stringify(event)}\n\n`.repeat(200))
        })
        const opened = Router.open(Route.fallback(Provider.openai.chat("a"), Provider.groq.chat("b")), "Hello", {
          execution: "client"
        })
        const answer = yield* opened.pipe(
          Effect.flatMap(({ deltas, summary }) => Effect.andThen(Stream.runDrain(deltas), summary)),
          Effect.scoped,
          Effect.provide(Layer.provide(Router.layer, Layer.provide(over(peer.url, max), client)))
        )
        const [first] = answer.attempts
        assert.strictEqual(
          first?.error?.message,
          `invalid response: more than ${max} characters of events without an answer`
        )
        assert.isBelow(written.bytes, 90 * max)
      })
    )
  }

  it.effect("continues with the next target of a route, and calls no target twice", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer(({ url }, response) => {
        if (url.includes("/openai/")) json(response, 200, completion("x".repeat(max)))
        else json(response, 200, completion("short"))
      })
      const route = Route.fallback(Provider.openai.chat("a"), Provider.groq.chat("b")).pipe(
        Route.retry({ attempts: 3, delay: "1 milli" })
      )
      const live = Layer.provide(Router.layer, Layer.provide(over(peer.url, max), client))
      yield* Effect.gen(function* () {
        const { value } = yield* Router.run(route, "Hello")
        assert.strictEqual(value.text, "short")
        const streamed = yield* Stream.runCollect(Router.stream(route, "Hello"))
        assert.strictEqual(streamed.map((delta) => (delta.type === "text" ? delta.text : "")).join(""), "short")
      }).pipe(Effect.provide(live))
      assert.deepStrictEqual(
        peer.requests.map(({ url }) => url.split("/")[4]),
        ["openai", "groq", "openai", "groq"]
      )
    })
  )
})

describe("undici, the short way", () => {
  it.effect("reports the limit of a dispatcher as such", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer((_, response) => response.end("x".repeat(max)))
      const client = Undici.layerWithDispatcher.pipe(
        Layer.provide(NodeHttpClient.layerDispatcherOptions({ maxResponseSize: 1_000 }))
      )
      const { reason } = yield* Effect.flatMap(run, (response) => response.text).pipe(
        Effect.provide(Layer.provide(over(peer.url), client)),
        Effect.flip
      )
      assert.strictEqual(
        reason.message,
        "invalid response: a body of more bytes than the dispatcher accepts (maxResponseSize)"
      )
    })
  )
})

describe("the default", () => {
  for (const [name, client] of clients.filter(([name]) => name.endsWith("the short way"))) {
    it.effect(`is 64 MiB over ${name}`, () =>
      Effect.gen(function* () {
        const most = GatewayResponse.defaultMaxBytes
        const large = gzipSync(Buffer.alloc(most + 1, " "), { level: 1 })
        const peer = yield* makePeer((_, response) => {
          response.writeHead(200, { "content-encoding": "gzip" })
          response.end(large)
        })
        const error = yield* Effect.flatMap(run, (response) => response.text).pipe(
          Effect.provide(Layer.provide(over(peer.url), client)),
          Effect.flip
        )
        assertTooLarge(error, "a body of more than 67108864 bytes")
      })
    )
  }
})

describe("over the binding", () => {
  const bindingOf = (answer: () => unknown): GatewayService.AiBinding => {
    const call = async () => answer()
    return {
      run: call,
      models: call,
      gateway: () => ({ run: call, getLog: call, patchLog: call, getUrl: async () => "" })
    }
  }

  const bytes = (size: number) => new Response("x".repeat(size), { headers: { "content-length": "5" } })

  /** Produces chunks as long as a consumer reads. */
  const unending = () => {
    let pulled = 0
    const stream = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        pulled++
        controller.enqueue(new Uint8Array(10_000))
      }
    })
    return { stream, pulled: () => pulled }
  }

  it.effect("limits every kind of answer, including one with a false length and a parsed body", () =>
    Effect.gen(function* () {
      for (const answer of [() => bytes(max + 1), () => ({ text: "x".repeat(max) }), () => unending().stream]) {
        const ai = bindingOf(answer)
        yield* Effect.gen(function* () {
          for (const form of forms) {
            const own = yield* Effect.flatMap(AiService.AiService, (ai) => ai.run("@cf/meta/llama", { prompt: "x" }))
            for (const response of [yield* run, own]) {
              const reading: Effect.Effect<unknown, GatewayError> = response[form]
              assertTooLarge(yield* Effect.flip(reading), `a body of more than ${max} bytes`)
            }
          }
        }).pipe(
          Effect.provide([
            GatewayService.layerBinding(ai, { gateway: "gw", maxAnswerBytes: max }),
            AiService.layerBinding(ai, { maxAnswerBytes: max })
          ])
        )
      }
    })
  )

  it.effect("limits an endless event, too", () =>
    Effect.gen(function* () {
      const { pulled, stream } = unending()
      const error = yield* Effect.flatMap(run, (response) => Stream.runDrain(GatewayResponse.events(response))).pipe(
        Effect.provide(
          GatewayService.layerBinding(
            bindingOf(() => new Response(stream)),
            { gateway: "gw", maxAnswerBytes: max }
          )
        ),
        Effect.flip
      )
      assertTooLarge(error, `an event of more than ${max} characters`)
      assert.isAtMost(pulled(), max / 10_000 + 3)
    })
  )
})

describe("events without an answer", () => {
  const max = 1_000
  const usage = `data: ${JSON.stringify({ choices: [], usage: { prompt_tokens: 1 } })}\n\n`
  const words = (content: string) => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`
  const end = `data: ${JSON.stringify({ choices: [{ delta: {}, finish_reason: "stop" }] })}\n\ndata: [DONE]\n\n`

  /** Deltas of a body that comes in the given pieces, by way of the service, of `AiService.stream` and of a router. */
  const read = (pieces: ReadonlyArray<string>) => {
    const answer = async () =>
      new Response(
        new ReadableStream({
          start: (controller) => {
            for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece))
            controller.close()
          }
        }),
        { headers: { "content-type": "text/event-stream" } }
      )
    const ai: GatewayService.AiBinding = {
      run: answer,
      models: answer,
      gateway: () => ({ run: answer, getLog: answer, patchLog: answer, getUrl: async () => "" })
    }
    const live = Layer.mergeAll(
      Layer.provideMerge(Router.layer, GatewayService.layerBinding(ai, { gateway: "gw", maxAnswerBytes: max })),
      AiService.layerBinding(ai, { maxAnswerBytes: max })
    )
    const ways: ReadonlyArray<Effect.Effect<ReadonlyArray<Delta>, GatewayError, Layer.Success<typeof live>>> = [
      Effect.flatMap(run, (response) => Stream.runCollect(GatewayResponse.deltas(response, openai.decoder()))),
      Stream.runCollect(AiService.stream("openai/m", { messages: [] })),
      Stream.runCollect(Router.stream(Provider.openai.chat("m"), "Hello"))
    ]
    return ways.map((way) => Effect.provide(way, live))
  }

  it.effect("are counted from zero after each delta of the answer", () =>
    Effect.gen(function* () {
      const some = usage.repeat(15)
      for (const deltas of read([some, words("a"), some, words("b"), some, end])) {
        const text = (yield* deltas).map((delta) => (delta.type === "text" ? delta.text : ""))
        assert.strictEqual(text.join(""), "ab")
      }
    })
  )

  it.effect("have the same limit after the commit point, where the stream is interrupted", () =>
    Effect.gen(function* () {
      for (const deltas of read([words("a"), ...Array(30).fill(usage), end])) {
        const { reason } = yield* Effect.flip(deltas)
        if (reason._tag === "StreamInterrupted") {
          assert.deepStrictEqual([reason.failure, reason.partial], ["InvalidResponse", "a"])
        } else assertTooLarge(yield* Effect.flip(deltas), `more than ${max} characters of events without an answer`)
      }
    })
  )

  it.effect("do not include comments, nor the event that is still arriving", () =>
    Effect.gen(function* () {
      const long = "é".repeat(max - 100)
      const pieces = [": waiting\n\n".repeat(500), ...(words(long).match(/.{1,100}/gs) ?? []), end]
      for (const deltas of read(pieces)) {
        const text = (yield* deltas).map((delta) => (delta.type === "text" ? delta.text : ""))
        assert.strictEqual(text.join(""), long)
      }
    })
  )

  it.effect("give a router only the last usage", () =>
    Effect.gen(function* () {
      const [, , routed] = read([...Array(10).fill(usage), words("a"), end])
      assert.deepStrictEqual(
        (yield* routed ?? assert.fail("no router")).map(({ type }) => type),
        ["usage", "text", "finish"]
      )
    })
  )
})

describe("maxAnswerBytes", () => {
  for (const value of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 29 - 23]) {
    it.effect(`may not be ${value}`, () =>
      Effect.gen(function* () {
        const ai: GatewayService.AiBinding = {
          run: async () => null,
          models: async () => null,
          gateway: () => assert.fail("nothing is asked")
        }
        const [, client] = clients[0] ?? assert.fail("no clients")
        const http = { accountId: "acc", gateway: "gw", maxAnswerBytes: value }
        const builds: ReadonlyArray<Effect.Effect<unknown, GatewayError, Scope.Scope>> = [
          Layer.build(Layer.provide(GatewayService.layerHttp(http), client)),
          Layer.build(Layer.provide(AiService.layerHttp({ ...http, apiToken: Redacted.make("token") }), client)),
          Layer.build(GatewayService.layerBinding(ai, { gateway: "gw", maxAnswerBytes: value })),
          Layer.build(AiService.layerBinding(ai, { maxAnswerBytes: value }))
        ]
        for (const build of builds) {
          const { reason } = yield* Effect.flip(build)
          assert.strictEqual(reason.message, "invalid maxAnswerBytes: expected a whole number from 1 to 536870888")
        }
      })
    )
  }
})
