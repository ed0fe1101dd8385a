/**
 * Clients with a short way: they are whole clients, what is put between sees every request, and nothing is bought with
 * them.
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import * as GatewayResponse from "effect-ai-gateway/GatewayResponse"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Transport from "effect-ai-gateway/Transport"
import * as Undici from "effect-ai-gateway/undici"
import { json, makePeer } from "./support/httpPeer.ts"

const leg = { provider: "openai", endpoint: "chat/completions", query: { model: "m", messages: [] } }

const over = (url: string) => GatewayService.layerHttp({ accountId: "acc", gateway: "gw", baseUrl: url })

const run = Effect.flatMap(GatewayService.GatewayService, (gateway) => gateway.run(leg))

for (const [name, layer] of [
  ["fetch", Transport.layerFetch],
  ["undici", Undici.layer]
] as const) {
  describe(`${name}, the short way`, () => {
    it.effect("sends what the long way sends", () =>
      Effect.gen(function* () {
        const peer = yield* makePeer((_, response) => json(response, 200, { a: 1 }))
        const long = name === "fetch" ? FetchHttpClient.layer : NodeHttpClient.layerUndici
        for (const client of [long, layer]) {
          yield* Effect.flatMap(run, (response) => response.json).pipe(
            Effect.provide(Layer.provide(over(peer.url), client))
          )
        }
        // Only the short way decompresses while it reads, so only it requests compressed answers.
        const own = name === "fetch" ? ["connection"] : ["connection", "accept-encoding"]
        const [expected, actual] = peer.requests.map(({ body, headers, url }) => ({
          body,

          url,
          headers: Object.fromEntries(Object.entries(headers).filter(([name]) => !own.includes(name)))
        }))
        assert.strictEqual(actual?.headers["content-type"], "application/json")
        assert.deepStrictEqual(actual, expected)
      })
    )

    it.effect("reads together what came together, byte for byte", () =>
      Effect.gen(function* () {
        const pieces = Array.from({ length: 500 }, (_, index) => `data: ${index}\n\n`)
        const peer = yield* makePeer((_, response) => {
          // Each piece is framed by itself; a Node response would frame what is written in one turn as one.
          const framed = pieces.map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`)
          const head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close"
          response.socket?.end(`${head}\r\n\r\n${framed.join("")}0\r\n\r\n`)
        })
        const chunks = yield* Effect.flatMap(run, (response) =>
          Stream.runCollect(GatewayResponse.bytes(response))
        ).pipe(Effect.provide(Layer.provide(over(peer.url), layer)))
        assert.strictEqual(chunks.map((chunk) => new TextDecoder().decode(chunk)).join(""), pieces.join(""))
        assert.isAtMost(chunks.length, pieces.length / 10)
      })
    )

    it.effect("is a client for other requests too", () =>
      Effect.gen(function* () {
        const peer = yield* makePeer((_, response) => json(response, 200, { a: 1 }))
        const body = yield* Effect.flatMap(HttpClient.get(`${peer.url}/other`), (response) => response.json).pipe(
          Effect.provide(layer)
        )
        assert.deepStrictEqual(body, { a: 1 })
      })
    )

    it.effect("is left as soon as something is put between", () =>
      Effect.gen(function* () {
        const peer = yield* makePeer((_, response) => json(response, 200, { a: 1 }))
        const tagged = Layer.effect(
          HttpClient.HttpClient,
          Effect.map(
            HttpClient.HttpClient,
            HttpClient.mapRequest((request) => HttpClientRequest.setHeader(request, "x-between", "yes"))
          )
        ).pipe(Layer.provide(layer))
        yield* Effect.provide(run, Layer.provide(over(peer.url), tagged))
        assert.strictEqual(peer.requests[0]?.headers["x-between"], "yes")
      })
    )

    it.effect("does not follow a redirect, which would take the credentials along", () =>
      Effect.gen(function* () {
        const other = yield* makePeer((_, response) => json(response, 200, { a: 1 }))
        const peer = yield* makePeer((_, response) => {
          response.writeHead(307, { location: `${other.url}/elsewhere` })
          response.end()
        })
        const error = yield* Effect.flip(Effect.provide(run, Layer.provide(over(peer.url), layer)))
        assert.strictEqual(error.reason._tag, "InvalidResponse")
        // The `fetch` of Node refuses it by itself, and does not tell its status.
        assert.strictEqual(error.reason.status, name === "fetch" ? undefined : 307)
        assert.strictEqual(error.reason.message, "invalid response: a redirect to another address")
        assert.strictEqual(other.requests.length, 0)
      })
    )

    it.effect("gives a body in every form, a byte order mark and a split character included", () =>
      Effect.gen(function* () {
        const text = "\uFEFFgrüße 🙂"
        const bytes = Buffer.from(text)
        const peer = yield* makePeer((_, response) => {
          response.writeHead(200, { "content-type": "text/plain", "content-length": bytes.length })
          for (const byte of bytes) response.write(Buffer.of(byte))
          response.end()
        })
        yield* Effect.gen(function* () {
          assert.strictEqual(yield* Effect.flatMap(run, (response) => response.text), "grüße 🙂")
          assert.deepStrictEqual(Buffer.from(yield* Effect.flatMap(run, (response) => response.bytes)), bytes)
          const streamed = yield* Effect.flatMap(run, (response) => Stream.runCollect(GatewayResponse.bytes(response)))
          assert.deepStrictEqual(Buffer.concat(streamed), bytes)
          const web = yield* Effect.map(run, GatewayResponse.toWeb)
          assert.strictEqual(web.status, 200)
          assert.strictEqual(yield* Effect.promise(() => web.text()), "grüße 🙂")
        }).pipe(Effect.provide(Layer.provide(over(peer.url), layer)))
      })
    )

    it.effect("reads no more of a body than is taken", () =>
      Effect.gen(function* () {
        const size = 64 * 1024 * 1024
        const chunk = Buffer.alloc(64 * 1024, "x")
        let written = 0
        const peer = yield* makePeer((_, response) => {
          const pump = (): void => {
            while (written < size && !response.destroyed) {
              written += chunk.length
              if (!response.write(chunk)) return
            }
            response.end()
          }
          response.writeHead(200, { "content-type": "text/plain" })
          response.on("drain", pump)
          pump()
        })
        yield* Effect.gen(function* () {
          const response = yield* run
          const reader = response.reader()
          assert.isAbove((yield* reader.read)?.length ?? 0, 0)
          // As long as it takes until nothing more is written: the sockets' own buffers are full.
          for (let before = -1; before !== written; ) {
            before = written
            yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 50)))
          }
          assert.isBelow(written, size / 2)
          let read = 0
          for (let chunk = yield* reader.read; chunk !== undefined; chunk = yield* reader.read) read += chunk.length
          assert.isAbove(read, size - 16 * 1024 * 1024)
          assert.isAtLeast(written, size)
        }).pipe(Effect.provide(Layer.provide(over(peer.url), layer)))
      })
    )
  })
}

describe("fetch, the short way, with a fetch of the caller", () => {
  it.effect("is not asked for what only Node's is known to have, and tells the status of a redirect", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer((_, response) => {
        response.writeHead(308, { location: "/elsewhere" })
        response.end()
      })
      const asked: Array<RequestRedirect | undefined> = []
      const fetch: typeof globalThis.fetch = (input, init) => {
        asked.push(init?.redirect)
        return globalThis.fetch(input, init)
      }
      const layer = Layer.provide(Transport.layerFetch, Layer.succeed(FetchHttpClient.Fetch, fetch))
      const error = yield* Effect.flip(Effect.provide(run, Layer.provide(over(peer.url), layer)))
      assert.deepStrictEqual(asked, ["manual"])
      assert.strictEqual(error.reason._tag, "InvalidResponse")
      assert.strictEqual(error.reason.status, 308)
      assert.strictEqual(peer.requests.length, 1)
    })
  )

  it.effect("that refuses redirects because it was told to has not broken", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer((_, response) => {
        response.writeHead(308, { location: "/elsewhere" })
        response.end()
      })
      const layer = Transport.layerFetch.pipe(
        Layer.provide(Layer.succeed(FetchHttpClient.Fetch, (input, init) => globalThis.fetch(input, init))),
        Layer.provide(Layer.succeed(FetchHttpClient.RequestInit, { redirect: "error" }))
      )
      const error = yield* Effect.flip(Effect.provide(run, Layer.provide(over(peer.url), layer)))
      assert.strictEqual(error.reason._tag, "InvalidResponse")
      assert.strictEqual(peer.requests.length, 1)
    })
  )
})

describe("undici, the short way, with bodies that are left lying", () => {
  const large = "x".repeat(100_000)

  const serving = Effect.map(
    makePeer((_, response) => json(response, 200, { large })),
    (peer) => ({ peer, layer: Layer.provide(over(peer.url), Undici.layer) })
  )

  it.effect("reads a body whole that has come long before, of any size", () =>
    Effect.gen(function* () {
      for (const size of [1_000, 60_000, 70_000, 100_000, 300_000, 1_000_000]) {
        const peer = yield* makePeer((_, response) => json(response, 200, { text: "x".repeat(size) }))
        const text = yield* Effect.gen(function* () {
          const response = yield* run
          yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 60)))
          return yield* response.text
        }).pipe(Effect.provide(Layer.provide(over(peer.url), Undici.layer)))
        assert.isAbove(text.length, size)
      }
    })
  )

  it.effect("reads one while another is paused, in any order", () =>
    Effect.gen(function* () {
      const { layer } = yield* serving
      yield* Effect.gen(function* () {
        const first = yield* run
        const second = yield* run
        assert.isAbove((yield* first.bytes).length, large.length)
        assert.isAbove((yield* second.bytes).length, large.length)
        const [a, b] = yield* Effect.all([run, run], { concurrency: 2 })
        assert.isAbove((yield* b.bytes).length, large.length)
        assert.isAbove((yield* a.bytes).length, large.length)
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("misses no chunk however often the fiber yields", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer((_, response) => {
        response.writeHead(200, { "content-type": "text/plain" })
        let left = 200
        const timer = setInterval(() => {
          response.write("chunk ")
          if (--left === 0) {
            clearInterval(timer)
            response.end()
          }
        }, 1)
      })
      for (const ops of [3, 4, 5, 6]) {
        const chunks = yield* run.pipe(
          Effect.flatMap((response) => Stream.runCollect(GatewayResponse.bytes(response))),
          Effect.provideService(References.MaxOpsBeforeYield, ops),
          Effect.provide(Layer.provide(over(peer.url), Undici.layer))
        )
        assert.strictEqual(Buffer.concat(chunks).length, 1_200)
      }
    })
  )

  it.effect("keeps connections whose queued requests are interrupted", () =>
    Effect.gen(function* () {
      const goOn = yield* Deferred.make<void>()
      const peer = yield* makePeer((_, response) => {
        void Effect.runPromise(Deferred.await(goOn)).then(() => json(response, 200, {}))
      })
      const client = Undici.layerWithDispatcher.pipe(
        Layer.provide(NodeHttpClient.layerDispatcherOptions({ connections: 2 }))
      )
      yield* Effect.gen(function* () {
        const ask = Effect.flatMap(run, (response) => response.text)
        const two = yield* Effect.forEach([1, 2], () => Effect.forkChild(ask))
        yield* peer.until(() => peer.requests.length === 2)
        const queued = yield* Effect.forEach(Array(20).keys(), () => Effect.forkChild(ask, { startImmediately: true }))
        yield* Fiber.interruptAll(queued)
        yield* Deferred.succeed(goOn, undefined)
        yield* Fiber.joinAll(two)
        yield* ask
        assert.strictEqual(peer.connections(), 2)
        assert.strictEqual(peer.requests.length, 3)
      }).pipe(Effect.provide(Layer.provide(over(peer.url), client)))
    })
  )
})

describe("undici with a dispatcher", () => {
  it.effect("uses the dispatcher and the options of the environment", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer((_, response) => json(response, 200, { a: 1 }))
      const seen: Array<string> = []
      const dispatcher = Layer.effect(
        NodeHttpClient.Dispatcher,
        Effect.map(NodeHttpClient.makeDispatcherOptions({ connections: 1 }), (agent) =>
          agent.compose((dispatch) => (options, handler) => {
            seen.push(`${options.method} ${options.path} ${options.idempotent}`)
            return dispatch(options, handler)
          })
        )
      )
      const client = Undici.layerWithDispatcher.pipe(
        Layer.provide(dispatcher),
        Layer.provide(Layer.succeed(NodeHttpClient.UndiciOptions, { idempotent: false }))
      )
      yield* Effect.provide(
        Effect.forEach([1, 2, 3], () => Effect.flatMap(run, (response) => response.text), { concurrency: 3 }),
        Layer.provide(over(peer.url), client)
      )
      assert.strictEqual(peer.connections(), 1)
      assert.deepStrictEqual(seen, Array(3).fill("POST /v1/acc/gw/openai/chat/completions false"))
    })
  )
})
