/**
 * Checks that a request is sent again only if no part of an answer can exist: on real sockets, over every client.
 */
import type { Socket } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as GatewayService from "../../src/GatewayService.ts"
import { isSilent } from "../../src/internal/reused.ts"
import * as Transport from "../../src/Transport.ts"
import { clients } from "../support/httpClients.ts"
import { makeRawPeer } from "../support/rawPeer.ts"

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

    it.effect(`sends a request once when a fresh connection brings nothing, then ${end}`, () =>
      Effect.gen(function* () {
        const peer = yield* makeRawPeer((socket) => close(socket))
        const { reason } = yield* Effect.flip(Effect.provide(run, Layer.provide(over(peer.url), client)))
        assert.isTrue(reason._tag === "TransportFailure" && reason.kind === "reset")
        assert.deepStrictEqual(peer.requests, [0])
      })
    )

    it.effect(`sends a request again when a reused connection brings nothing, then ${end}`, () =>
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
