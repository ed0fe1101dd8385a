/**
 * Checks compressed answers and streams on real sockets, over every client.
 */
import {
  brotliCompressSync,
  constants,
  createBrotliCompress,
  createDeflate,
  createGzip,
  deflateRawSync,
  deflateSync,
  gzipSync
} from "node:zlib"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as GatewayResponse from "../../../src/GatewayResponse.ts"
import * as GatewayService from "../../../src/GatewayService.ts"
import { clients } from "../../support/httpClients.ts"
import { makePeer, type Reply } from "../../support/httpPeer.ts"

const leg = { provider: "openai", endpoint: "chat/completions", query: { model: "m", messages: [] } }

const over = (url: string) => GatewayService.layerHttp({ accountId: "acc", gateway: "gw", baseUrl: url })

const run = Effect.flatMap(GatewayService.GatewayService, (gateway) => gateway.run(leg))

const answer = { text: "grüße 🙂 ".repeat(5_000), numbers: Array.from({ length: 3_000 }, (_, n) => Math.sin(n)) }
const text = JSON.stringify(answer)

const encodings: ReadonlyArray<readonly [encoding: string, encode: (body: string | Buffer) => Buffer, name?: string]> =
  [
    ["gzip", gzipSync],
    ["x-gzip", gzipSync],
    ["GZip", gzipSync],
    ["deflate", deflateSync],
    ["deflate", deflateRawSync, "bare deflate"],
    ["br", brotliCompressSync],
    ["gzip, br", (body) => brotliCompressSync(gzipSync(body))],
    ["identity", (body) => Buffer.from(body)]
  ]

const damaged = (bytes: Buffer): Buffer => {
  const copy = Buffer.from(bytes)
  copy.fill(255, 100, 400)
  return copy
}

describe.each(clients)("over %s", (name, client) => {
  const scripted = Effect.fnUntraced(function* (reply: Reply) {
    const peer = yield* makePeer(reply)
    const context = yield* Layer.build(Layer.provide(over(peer.url), client))
    return { peer, run: Effect.provide(run, context) }
  })

  for (const [encoding, encode, title = encoding] of encodings) {
    it.effect(`reads an answer in ${title}, in every form`, () =>
      Effect.gen(function* () {
        const body = encode(text)
        const { run } = yield* scripted((_, response) => {
          response.writeHead(200, {
            "content-type": "application/json",
            "content-encoding": encoding,
            "content-length": body.length,
            "cf-aig-log-id": "01J"
          })
          response.end(body)
        })
        const response = yield* run
        assert.deepStrictEqual(yield* response.json, answer)
        assert.strictEqual(response.meta.logId, "01J")
        if (encoding !== "identity") {
          // These headers describe the bytes on the wire.
          assert.isUndefined(response.headers["content-encoding"])
          assert.isUndefined(response.headers["content-length"])
        }
        assert.strictEqual(Buffer.from(yield* Effect.flatMap(run, ({ bytes }) => bytes)).toString(), text)
        const streamed = yield* Effect.flatMap(run, (response) => Stream.runCollect(GatewayResponse.bytes(response)))
        assert.strictEqual(Buffer.concat(streamed).toString(), text)
        const web = yield* Effect.map(run, GatewayResponse.toWeb)
        if (encoding !== "identity") {
          assert.deepStrictEqual([web.headers.get("content-encoding"), web.headers.get("content-length")], [null, null])
        }
        assert.strictEqual(web.headers.get("cf-aig-log-id"), "01J")
        assert.strictEqual(yield* Effect.promise(() => web.text()), text)
      })
    )
  }

  for (const encoding of [
    "none",
    "utf-8",
    "UTF8",
    "binary",
    "iso-8859-1",
    "aws-chunked",
    "x-words",
    "none, utf-8",
    ","
  ]) {
    it.effect(`reads an answer unchanged when its encoding is ${encoding}`, () =>
      Effect.gen(function* () {
        const { run } = yield* scripted((_, response, __, index) => {
          const status = index === 2 ? 429 : 200
          response.writeHead(status, { "content-type": "application/json", "content-encoding": encoding })
          if (index === 1) response.end("data: 1\n\ndata: 2\n\n")
          else response.end(status === 200 ? text : JSON.stringify({ error: { code: "insufficient_quota" } }))
        })
        const response = yield* run
        assert.strictEqual(response.headers["content-encoding"], encoding)
        assert.deepStrictEqual(yield* response.json, answer)
        const events = yield* Effect.flatMap(run, (response) => Stream.runCollect(GatewayResponse.events(response)))
        assert.deepStrictEqual(
          events.map(({ data }) => data),
          ["1", "2"]
        )
        assert.strictEqual((yield* Effect.flip(run)).reason._tag, "QuotaExhausted")
      })
    )
  }

  for (const encoding of ["gzip, identity", "identity, gzip", "gzip,"]) {
    it.effect(`reads an answer in ${encoding}, or fails with a reason`, () =>
      Effect.gen(function* () {
        const { run } = yield* scripted((_, response) => {
          response.writeHead(200, { "content-type": "application/json", "content-encoding": encoding })
          response.end(gzipSync(text))
        })
        const read = Effect.flatMap(run, (response) => response.text)
        // Node's `fetch` then decompresses nothing.
        if (name.startsWith("fetch")) assert.strictEqual((yield* Effect.flip(read)).reason._tag, "InvalidResponse")
        else assert.strictEqual(yield* read, text)
      })
    )
  }

  for (const [encoding, make] of [
    ["gzip", () => createGzip({ flush: constants.Z_SYNC_FLUSH })],
    ["deflate", () => createDeflate({ flush: constants.Z_SYNC_FLUSH })],
    ["br", () => createBrotliCompress({ flush: constants.BROTLI_OPERATION_FLUSH })]
  ] as const) {
    it.effect(`reads events in ${encoding} as they arrive`, () =>
      Effect.gen(function* () {
        let write = (_: string | undefined): void => undefined
        const { run } = yield* scripted((_, response) => {
          response.writeHead(200, { "content-type": "text/event-stream", "content-encoding": encoding })
          const encoder = make()
          encoder.pipe(response)
          write = (event) => void (event === undefined ? encoder.end() : encoder.write(event))
          write("data: 0\n\n")
        })
        const seen: Array<string> = []
        // Each event is written only after the previous one was read.
        yield* Effect.flatMap(run, (response) =>
          Stream.runForEach(GatewayResponse.events(response), ({ data }) =>
            Effect.sync(() => {
              seen.push(data)
              write(seen.length < 5 ? `data: ${seen.length}\n\n` : undefined)
            })
          )
        )
        assert.deepStrictEqual(seen, ["0", "1", "2", "3", "4"])
      })
    )
  }

  it.effect("reports an error by its compressed body", () =>
    Effect.gen(function* () {
      const body = brotliCompressSync(JSON.stringify({ error: { code: "insufficient_quota", message: "none left" } }))
      const { run } = yield* scripted((_, response) => {
        response.writeHead(429, { "content-type": "application/json", "content-encoding": "br" })
        response.end(body)
      })
      assert.strictEqual((yield* Effect.flip(run)).reason._tag, "QuotaExhausted")
    })
  )

  for (const [title, encoding, body] of [
    ["damaged gzip", "gzip", damaged(gzipSync(text))],
    ["damaged deflate", "deflate", damaged(deflateSync(text))],
    ["damaged Brotli", "br", damaged(brotliCompressSync(text))],
    ["JSON that is called gzip", "gzip", Buffer.from(text)],
    ["gzip that breaks off", "gzip", gzipSync(text).subarray(0, -30)],
    ["Brotli that breaks off", "br", brotliCompressSync(text).subarray(0, -30)],
    ["an unknown encoding", "compress", Buffer.from(text)],
    ["an encoding that only a few clients know", "aes128gcm", Buffer.from(text)],
    ["gzip inside a word that is no encoding", "gzip, none", gzipSync(text)],
    ["gzip around an unknown encoding", "foo, gzip", gzipSync(text)],
    ["too many encodings", "gzip, gzip, gzip, gzip, gzip, gzip", gzipSync(text)]
  ] as const) {
    it.effect(`fails with a reason for ${title}, and still reports an error status`, () =>
      Effect.gen(function* () {
        const { peer, run } = yield* scripted((_, response, __, index) => {
          response.writeHead(index === 2 ? 429 : 200, {
            "content-type": "application/json",
            "content-encoding": encoding
          })
          response.end(body)
        })
        const error = yield* Effect.flip(Effect.flatMap(run, (response) => response.json))
        if (title.startsWith("too many") && name.startsWith("fetch")) {
          // Node's `fetch` rejects these itself, and reports no status.
          assert.deepStrictEqual([error.reason._tag, error.reason.status], ["InvalidResponse", undefined])
          return
        }
        assert.strictEqual(error.reason._tag, "InvalidResponse")
        const events = Effect.flatMap(run, (response) => Stream.runCollect(GatewayResponse.events(response)))
        const exit = yield* Effect.exit(events)
        // Node's `fetch` mistakes a stream that breaks off for one that ends.
        if (title.endsWith("breaks off") && name.startsWith("fetch")) assert.isTrue(Exit.isSuccess(exit))
        else assert.strictEqual((yield* Effect.flip(exit)).reason._tag, "InvalidResponse")
        assert.strictEqual((yield* Effect.flip(run)).reason._tag, "RateLimited")
        assert.strictEqual(peer.requests.length, 3)
      })
    )
  }

  it.effect("reads an empty body as empty in every encoding", () =>
    Effect.gen(function* () {
      const { run } = yield* scripted((_, response) => {
        response.writeHead(200, { "content-encoding": "gzip", "content-length": 0 })
        response.end()
      })
      assert.strictEqual(yield* Effect.flatMap(run, (response) => response.text), "")
      assert.strictEqual((yield* Effect.flatMap(run, (response) => response.bytes)).length, 0)
    })
  )

  it.effect("closes the connection of a compressed answer that is no longer read", () =>
    Effect.gen(function* () {
      const { peer, run } = yield* scripted((_, response) => {
        response.writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" })
        const encoder = createGzip({ flush: constants.Z_SYNC_FLUSH })
        encoder.pipe(response)
        encoder.write(`{"half":`)
      })
      const closed = name.startsWith("fetch") ? Effect.void : peer.until(() => peer.open() === 0)
      yield* Effect.flatMap(run, (response) => response.cancel)
      yield* closed
      const response = yield* run
      const fiber = yield* Effect.forkChild(response.text, { startImmediately: true })
      yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 30)))
      yield* Fiber.interrupt(fiber)
      yield* closed
      const reader = (yield* run).reader()
      assert.strictEqual(new TextDecoder().decode(yield* reader.read), `{"half":`)
      yield* reader.cancel
      yield* closed
      assert.strictEqual(peer.requests.length, 3)
    })
  )

  it.effect("fails when the connection breaks inside a compressed answer", () =>
    Effect.gen(function* () {
      const { run } = yield* scripted((_, response, socket) => {
        const body = gzipSync(text)
        response.writeHead(200, { "content-encoding": "gzip", "content-length": body.length })
        response.write(body.subarray(0, 1_000), () => socket.destroy())
      })
      const error = yield* Effect.flip(Effect.flatMap(run, (response) => response.text))
      assert.strictEqual(error.reason._tag, "TransportFailure")
    })
  )
})

describe("undici, the short way", () => {
  it.effect("requests compressed answers, unless the request has an accept-encoding", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer((_, response) => response.end("{}"))
      const [, client] = clients.at(-1) ?? assert.fail("no clients")
      yield* Effect.gen(function* () {
        const gateway = yield* GatewayService.GatewayService
        yield* gateway.run(leg)
        yield* gateway.run({ ...leg, headers: { "accept-encoding": "identity" } })
      }).pipe(Effect.provide(Layer.provide(over(peer.url), client)))
      assert.deepStrictEqual(
        peer.requests.map(({ headers }) => headers["accept-encoding"]),
        ["gzip, deflate, br", "identity"]
      )
    })
  )
})
