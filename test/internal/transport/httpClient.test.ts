/**
 * The HTTP transport against a real server, through every client that the documentation recommends.
 */

import type { ServerResponse } from "node:http"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as GatewayService from "../../../src/GatewayService.ts"
import * as LogTrail from "../../../src/LogTrail.ts"
import { clients } from "../../support/httpClients.ts"
import { json, makePeer, type Peer, type Reply } from "../../support/httpPeer.ts"

/** Lets a client return its connection to the pool: a few turns of the event loop, because no client reports it. */
const turns = Effect.promise(async () => {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
})

const leg = { provider: "openai", endpoint: "chat/completions", query: { model: "m", messages: [] } }

describe.each(clients)("over %s", (_name, client) => {
  /** A gateway whose server acts by `reply`. */
  const scripted = Effect.fnUntraced(function* (reply: Reply) {
    const peer = yield* makePeer(reply)
    const context = yield* Layer.build(
      GatewayService.layerHttp({ accountId: "acc", gateway: "gw", baseUrl: peer.url }).pipe(Layer.provide(client))
    )
    const gateway = yield* Effect.provide(GatewayService.GatewayService, context)
    return { peer, gateway, run: gateway.run(leg) }
  })

  const failing = Effect.fnUntraced(function* (reply: Reply) {
    const { peer, run } = yield* scripted(reply)
    const error = yield* Effect.flip(run)
    return { peer, error, reason: error.reason }
  })

  const allClosed = (peer: Peer) => peer.until(() => peer.connections() > 0 && peer.open() === 0)

  describe("an interrupted call", () => {
    it.effect("that has not connected yet never reaches the server", () =>
      Effect.gen(function* () {
        const { peer, run } = yield* scripted((_, response) => json(response, 200, {}))
        const fiber = yield* Effect.forkChild(run, { startImmediately: true })
        yield* Fiber.interrupt(fiber)
        assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
        // Anything still in flight would arrive before this.
        yield* Effect.andThen(run, (response) => response.text)
        assert.strictEqual(peer.requests.length, 1)
      })
    )

    it.effect("that waits for headers closes its connection", () =>
      Effect.gen(function* () {
        const { peer, run } = yield* scripted(() => undefined)
        const fiber = yield* Effect.forkChild(run)
        yield* peer.until(() => peer.requests.length === 1)
        yield* Fiber.interrupt(fiber)
        yield* allClosed(peer)
        const exit = yield* Fiber.await(fiber)
        assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
        assert.strictEqual(peer.requests.length, 1)
      })
    )

    const stalling: Reply = (_, response) => {
      response.writeHead(200, { "content-type": "application/json" })
      response.write(`{"half":`)
    }

    it.effect("that reads the body closes its connection", () =>
      Effect.gen(function* () {
        for (const read of ["text", "bytes", "json", "result"] as const) {
          const { peer, run } = yield* scripted(stalling)
          const response = yield* run
          const reading: Effect.Effect<unknown, unknown> = response[read]
          const fiber = yield* Effect.forkChild(reading, { startImmediately: true })
          assert.strictEqual(peer.open(), 1, read)
          yield* Fiber.interrupt(fiber)
          yield* allClosed(peer)
        }
      })
    )

    it.effect("that stalls in an error body closes its connection", () =>
      Effect.gen(function* () {
        const { peer, run } = yield* scripted((_, response) => {
          response.writeHead(500, { "content-type": "application/json" })
          response.write(`{"half":`)
        })
        const fiber = yield* Effect.forkChild(run)
        yield* peer.until(() => peer.requests.length === 1)
        yield* Fiber.interrupt(fiber)
        yield* allClosed(peer)
      })
    )

    it.effect("frees the connection by cancelling its answer", () =>
      Effect.gen(function* () {
        const { peer, run } = yield* scripted(stalling)
        const response = yield* run
        yield* response.cancel
        yield* allClosed(peer)
      })
    )
  })

  describe("a bad answer", () => {
    it.effect("with an endless error body is cut", () =>
      Effect.gen(function* () {
        const size = 100 * 1024 * 1024
        const chunk = Buffer.alloc(64 * 1024, "x")
        let written = 0
        const pump = (response: ServerResponse): void => {
          while (written < size && !response.destroyed) {
            written += chunk.length
            if (!response.write(chunk)) return
          }
          if (!response.destroyed) response.end()
        }
        const { peer, reason } = yield* failing((_, response) => {
          response.writeHead(503, { "content-type": "text/plain", "retry-after": "7" })
          response.on("drain", () => pump(response))
          pump(response)
        })
        yield* allClosed(peer)
        assert.isBelow(written, size / 4)
        assert.strictEqual(reason._tag, "ProviderUnavailable")
        assert.strictEqual(reason.status, 503)
        assert.isAtMost(reason.detail?.length ?? 0, 2_000)
      })
    )

    it.effect("that redirects is rejected, and nothing at the other address is used", () =>
      Effect.gen(function* () {
        const other = yield* makePeer((_, response) => json(response, 200, { a: 1 }, { "cf-aig-log-id": "not-ours" }))
        for (const status of [301, 302, 303, 307, 308]) {
          const { error, peer } = yield* failing((_, response) => {
            response.writeHead(status, { location: `${other.url}/elsewhere` })
            response.end()
          })
          assert.isUndefined(error.logId)
          // The `fetch` of Node 22 fails to follow a 307 with a body of bytes, which is as good.
          const tripped = process.versions.node.startsWith("22.") ? ["TransportFailure"] : []
          assert.include(["InvalidResponse", ...tripped], error.reason._tag)
          assert.strictEqual(peer.requests.length, 1)
        }
        yield* other.until(() => other.open() === 0)
      })
    )

    it.effect("that is a page and not JSON is an invalid response, or classified by its status", () =>
      Effect.gen(function* () {
        const page = "<html><head><title>520 | unknown error</title></head></html>"
        const { run } = yield* scripted((_, response, __, index) => {
          response.writeHead(index === 0 ? 200 : 520, { "content-type": "text/html" })
          response.end(page)
        })
        const error = yield* Effect.flatMap(run, (response) => Effect.flip(response.json))
        assert.strictEqual(error.reason._tag, "InvalidResponse")
        assert.strictEqual(error.reason.detail, page)
        assert.strictEqual(error.provider, "openai")
        assert.notInclude(error.message, "title")
        const edge = yield* Effect.flip(run)
        assert.strictEqual(edge.reason._tag, "ProviderUnavailable")
        assert.strictEqual(edge.reason.status, 520)
      })
    )

    it.effect("whose error body breaks off is still classified by its status", () =>
      Effect.gen(function* () {
        const { reason } = yield* failing((_, response, socket) => {
          response.writeHead(429, { "content-type": "application/json", "content-length": "1000" })
          response.write(`{"error":`, () => socket.destroy())
        })
        assert.strictEqual(reason._tag, "RateLimited")
        assert.strictEqual(reason.status, 429)
      })
    )

    it.effect("whose body breaks off is a transport failure", () =>
      Effect.gen(function* () {
        const { run } = yield* scripted((_, response, socket) => {
          response.writeHead(200, { "content-type": "application/json", "content-length": "1000" })
          response.write(`{"result":`, () => socket.destroy())
        })
        const error = yield* Effect.flip(Effect.flatMap(run, (response) => response.text))
        assert.strictEqual(error.reason._tag, "TransportFailure")
        assert.strictEqual(error.provider, "openai")
      })
    )
  })

  describe("a connection", () => {
    it.effect("that is refused is a transport failure", () =>
      Effect.gen(function* () {
        const url = yield* Effect.scoped(
          Effect.map(
            makePeer(() => undefined),
            (peer) => peer.url
          )
        )
        const context = yield* Layer.build(
          GatewayService.layerHttp({ accountId: "acc", gateway: "gw", baseUrl: url }).pipe(Layer.provide(client))
        )
        const gateway = yield* Effect.provide(GatewayService.GatewayService, context)
        const { reason } = yield* Effect.flip(gateway.run(leg))
        assert.isTrue(reason._tag === "TransportFailure" && reason.kind === "connect")
        assert.strictEqual(reason.code, "ECONNREFUSED")
      })
    )

    it.effect("that the server closes before any byte is retried once if it had served before", () =>
      Effect.gen(function* () {
        const { peer, run } = yield* scripted((seen, response, socket, index) => {
          if (index > 0 && seen.connection === 0) socket.destroy()
          else json(response, 200, { index })
        })
        const first = yield* run
        assert.isFalse(first.resent)
        yield* first.text
        yield* turns
        const { attempts, value: second } = yield* LogTrail.collect(run)
        assert.isTrue(second.resent)
        assert.strictEqual(yield* second.text, `{"index":2}`)
        assert.deepStrictEqual(
          peer.requests.map(({ connection }) => connection),
          [0, 0, 1]
        )
        assert.deepStrictEqual({ ...peer.requests[2], connection: 0 }, peer.requests[1])
        assert.deepStrictEqual(
          attempts.map(({ outcome, resent }) => ({ outcome, resent })),
          [{ outcome: "success", resent: true }]
        )
      })
    )

    it.effect("that the server closes every time is retried only once", () =>
      Effect.gen(function* () {
        const { peer, run } = yield* scripted((_, response, socket, index) => {
          if (index > 0) socket.destroy()
          else json(response, 200, {})
        })
        yield* Effect.flatMap(run, (response) => response.text)
        yield* turns
        const { reason } = yield* Effect.flip(run)
        assert.strictEqual(reason._tag, "TransportFailure")
        assert.deepStrictEqual(
          peer.requests.map(({ connection }) => connection),
          [0, 0, 1]
        )
      })
    )

    it.effect("that the server closes while idle is replaced", () =>
      Effect.gen(function* () {
        const { peer, run } = yield* scripted((seen, response, socket) => {
          response.on("finish", () => setImmediate(() => seen.connection === 0 && socket.destroy()))
          json(response, 200, {})
        })
        yield* Effect.flatMap(run, (response) => response.text)
        yield* Effect.flatMap(run, (response) => response.text)
        assert.isAtLeast(peer.connections(), 2)
        assert.isAtMost(peer.requests.length, 3)
      })
    )
  })
})
