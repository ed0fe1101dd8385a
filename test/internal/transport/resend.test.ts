/**
 * Checks that a request is sent again only if no part of an answer can exist: on real sockets, over every client.
 */
import type { Socket } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as GatewayService from "../../../src/GatewayService.ts"
import { isSilent } from "../../../src/internal/transport/connectionReuse.ts"
import * as Provider from "../../../src/Provider.ts"
import * as Route from "../../../src/Route.ts"
import * as Router from "../../../src/Router.ts"
import * as Transport from "../../../src/Transport.ts"
import { clients } from "../../support/httpClients.ts"
import { makePeer } from "../../support/httpPeer.ts"
import { makeRawPeer } from "../../support/rawPeer.ts"

const leg = { provider: "openai", endpoint: "chat/completions", query: { model: "m", messages: [] } }

const whole = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"

/** Beginnings of an answer, after which the connection ends. */
const beginnings: ReadonlyArray<readonly [name: string, bytes: string]> = [
  ["one byte", "H"],
  ["half a status line", "HTTP/1.1 2"],
  ["a 103", "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n"],
  ["a 200 without its blank line", "HTTP/1.1 200 OK\r\ncf-aig-log-id: 01J\r\ncontent-length: 2\r\n"]
]

const ends: ReadonlyArray<readonly [name: string, end: (socket: Socket) => void]> = [
  ["FIN", (socket) => socket.end()],
  ["RST", (socket) => setTimeout(() => socket.resetAndDestroy(), 20)]
]

/** Lets a client return its connection to the pool; no client reports that. */
const turns = Effect.promise(async () => {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
})

const over = (url: string) => GatewayService.layerHttp({ accountId: "acc", gateway: "gw", baseUrl: url })

const run = Effect.flatMap(GatewayService.GatewayService, (gateway) => gateway.run(leg))

describe.each(clients)("over %s", (_, client) => {
  for (const [end, close] of ends) {
    for (const [name, bytes] of beginnings) {
      it.effect(`sends a request once when ${name} comes on a fresh connection, then ${end}`, () =>
        Effect.gen(function* () {
          const peer = yield* makeRawPeer((socket) => socket.write(bytes, () => close(socket)))
          const error = yield* Effect.flip(Effect.provide(run, Layer.provide(over(peer.url), client)))
          assert.strictEqual(error.reason._tag, "TransportFailure")
          assert.isUndefined(error.logId)
          assert.deepStrictEqual(peer.requests, [0])
        })
      )

      it.effect(`sends a request once when ${name} comes on a reused connection, then ${end}`, () =>
        Effect.gen(function* () {
          const peer = yield* makeRawPeer((socket, index) => {
            if (index === 0) socket.write(whole)
            else socket.write(bytes, () => close(socket))
          })
          yield* Effect.gen(function* () {
            yield* Effect.flatMap(run, (response) => response.text)
            yield* turns
            const error = yield* Effect.flip(run)
            assert.strictEqual(error.reason._tag, "TransportFailure")
          }).pipe(Effect.provide(Layer.provide(over(peer.url), client)))
          assert.deepStrictEqual(peer.requests, [0, 0])
        })
      )
    }

    it.effect(`sends a request once when a fresh connection delivers nothing, then ${end}`, () =>
      Effect.gen(function* () {
        const peer = yield* makeRawPeer((socket) => close(socket))
        const { reason } = yield* Effect.flip(Effect.provide(run, Layer.provide(over(peer.url), client)))
        assert.isTrue(reason._tag === "TransportFailure" && reason.kind === "reset")
        assert.deepStrictEqual(peer.requests, [0])
      })
    )

    it.effect(`sends a request again when a reused connection delivers nothing, then ${end}`, () =>
      Effect.gen(function* () {
        const peer = yield* makeRawPeer((socket, index) => (index === 1 ? close(socket) : socket.write(whole)))
        yield* Effect.gen(function* () {
          yield* Effect.flatMap(run, (response) => response.text)
          yield* turns
          const second = yield* run
          assert.isTrue(second.resent)
          assert.strictEqual(yield* second.text, "{}")
        }).pipe(Effect.provide(Layer.provide(over(peer.url), client)))
        assert.deepStrictEqual(peer.requests, [0, 0, 1])
      })
    )
  }
})

/** Answers each request of a peer with a status and headers that clients treat in a special way. */
const answering = (status: number, headers: Record<string, string> = {}) =>
  makePeer((_, response) => {
    response.writeHead(status, { "content-type": "application/json", "cf-aig-log-id": "01J", ...headers })
    response.end("{}")
  })

describe.each(clients)("an answer, over %s,", (name, client) => {
  const route = Provider.openai.chat("m").pipe(Route.retry({ attempts: 3, delay: "1 milli" }))
  const routed = (url: string) =>
    Effect.flip(Router.run(route, "grüße 🙂 \ud800")).pipe(
      Effect.provide(Layer.provide(Router.layer, Layer.provide(over(url), client)))
    )

  it.effect("with status 421 ends its target", () =>
    Effect.gen(function* () {
      const peer = yield* answering(421)
      const error = yield* routed(peer.url)
      assert.strictEqual(error.reason._tag, "InvalidRequest")
      assert.strictEqual(error.logId, "01J")
      assert.strictEqual(error.attempts?.length, 1)
      // `FetchHttpClient` lets Node's `fetch` send a second time by itself.
      assert.strictEqual(peer.requests.length, name === "fetch" ? 2 : 1)
      for (const { body, headers } of peer.requests) {
        assert.strictEqual(headers["content-length"], String(Buffer.byteLength(body)))
        assert.isUndefined(headers["transfer-encoding"])
        assert.include(body, "grüße 🙂")
      }
    })
  )

  for (const [what, status, headers, issue] of [
    ["status 407", 407, {}, "an answer that `fetch` does not deliver, such as a 407"],
    [
      "6 encodings",
      200,
      { "content-encoding": "gzip,".repeat(6) },
      "more content encodings than the HTTP client accepts"
    ],
    ["long headers", 200, { "x-long": "x".repeat(100_000) }, "headers of more bytes than the HTTP client accepts"]
  ] as const) {
    it.effect(`with ${what} is never requested again`, () =>
      Effect.gen(function* () {
        const peer = yield* answering(status, headers)
        const { attempts, reason } = yield* routed(peer.url)
        if (status === 407 && !name.startsWith("fetch")) assert.strictEqual(reason._tag, "InvalidRequest")
        else {
          assert.strictEqual(reason._tag, "InvalidResponse")
          if (name.startsWith("fetch") || what === "long headers") assert.include(reason.message, issue)
        }
        assert.deepStrictEqual([attempts?.length, peer.requests.length], [1, 1])
      })
    )
  }
})

describe("Node's fetch, the short way", () => {
  for (const init of [{ keepalive: true }, { headers: { "x-app": "1" } }]) {
    it.effect(`accepts ${Object.keys(init)} of a RequestInit`, () =>
      Effect.gen(function* () {
        const peer = yield* makePeer((_, response) => response.end("{}"))
        const client = Layer.provide(Transport.layerFetch, Layer.succeed(FetchHttpClient.RequestInit, init))
        const response = yield* Effect.provide(run, Layer.provide(over(peer.url), client))
        assert.strictEqual(yield* response.text, "{}")
        assert.deepStrictEqual(JSON.parse(peer.requests[0]?.body ?? ""), leg.query)
      })
    )
  }

  it.effect("gives a stub in the place of the global fetch the body as text", () =>
    Effect.gen(function* () {
      const real = globalThis.fetch
      const bodies: Array<unknown> = []
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          globalThis.fetch = real
        })
      )
      globalThis.fetch = async (_, init) => {
        bodies.push(init?.body)
        return new Response("{}")
      }
      const client = Layer.provide(Transport.layerFetch, Layer.succeed(FetchHttpClient.Fetch, globalThis.fetch))
      yield* Effect.provide(run, Layer.provide(over("http://127.0.0.1:9"), client))
      assert.deepStrictEqual(bodies, [JSON.stringify(leg.query)])
    })
  )
})

describe("a client that does not report its connections", () => {
  for (const layer of [FetchHttpClient.layer, Transport.layerFetch]) {
    it.effect("never sends a second time", () =>
      Effect.gen(function* () {
        let calls = 0
        const fetch: typeof globalThis.fetch = async () => {
          calls++
          throw new TypeError("fetch failed", { cause: { code: "ECONNRESET", socket: { bytesRead: 40 } } })
        }
        const client = Layer.provide(layer, Layer.succeed(FetchHttpClient.Fetch, fetch))
        const { reason } = yield* Effect.flip(Effect.provide(run, Layer.provide(over("http://127.0.0.1:9"), client)))
        assert.isTrue(reason._tag === "TransportFailure" && reason.kind === "reset")
        assert.strictEqual(calls, 1)
      })
    )
  }

  it("has no errors that are known to come from a silent connection", () => {
    for (const error of [undefined, null, "ECONNRESET", new Error("ECONNRESET")]) assert.isFalse(isSilent(error))
  })
})
