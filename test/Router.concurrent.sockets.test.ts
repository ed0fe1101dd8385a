/**
 * Races and hedges over real sockets: the loser's connection is closed.
 */

import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as Transport from "effect-ai-gateway/Transport"
import * as Undici from "effect-ai-gateway/undici"
import { json, makePeer, type Peer } from "./support/httpPeer.ts"
import { completion } from "./support/scripted.ts"
import { groq, openai } from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

const clients = [
  { name: "fetch", layer: FetchHttpClient.layer },
  { name: "fetch, the short way", layer: Transport.layerFetch },
  { name: "undici", layer: NodeHttpClient.layerUndici },
  { name: "undici, the short way", layer: Undici.layer },
  { name: "node:http", layer: NodeHttpClient.layerNodeHttpOptions({ keepAlive: true }) }
]

/** A server on which openai never ends, and groq answers. */
const half = (closed: Array<string>): Effect.Effect<Peer, never, Scope.Scope> =>
  makePeer((request, response, socket) => {
    const isSlow = request.url.includes("/openai/")
    const isStream = request.body.includes('"stream":true')
    if (isSlow) {
      socket.on("close", () => closed.push("openai"))
      if (isStream) {
        response.writeHead(200, { "content-type": "text/event-stream" })
        response.write(S.role)
      }
      return
    }
    if (!isStream) return json(response, 200, completion("quick"))
    response.writeHead(200, { "content-type": "text/event-stream" })
    response.end(S.words("quick").join(""))
  })

/** Waits until a condition holds; otherwise the test's own time limit ends it. */
const until = (holds: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => (holds() ? Effect.void : Effect.andThen(Effect.sleep(5), until(holds))))

const hedged = Route.hedge(Route.fallback(openai, groq), { after: 20 })

describe.each(clients)("$name", ({ layer }) => {
  const over = ({ url }: Peer) =>
    Router.layer.pipe(
      Layer.provide(GatewayService.layerHttp({ accountId: "a", gateway: "g", baseUrl: url })),
      Layer.provide(layer)
    )

  it.live("closes the connection of the losers, complete and streamed, hedged and raced", () =>
    Effect.gen(function* () {
      const closed: Array<string> = []
      const peer = yield* half(closed)
      yield* Effect.gen(function* () {
        for (const route of [hedged, Route.race(openai, groq)]) {
          const before = closed.length
          const { attempts, value } = yield* Router.run(route, "hi")
          assert.strictEqual(value.text, "quick")
          assert.deepStrictEqual(
            attempts.map(({ outcome, superseded, target }) => `${target} ${outcome} ${superseded === true}`),
            ["openai/m interrupted true", "groq/m success false"]
          )
          // While the router is still alive.
          yield* until(() => closed.length === before + 1)
          const deltas = yield* Stream.runCollect(Router.stream(route, "hi"))
          assert.strictEqual(deltas.map((delta) => (delta.type === "text" ? delta.text : "")).join(""), "quick")
          yield* until(() => closed.length === before + 2)
        }
      }).pipe(Effect.provide(over(peer)))
    }).pipe(Effect.scoped)
  )

  it.live("gives 64 callers their own answers and log ids", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer((request, response) => {
        const { messages } = JSON.parse(request.body)
        const [{ content }] = messages
        const provider = request.url.includes("/openai/") ? "openai" : "groq"
        const wait = provider === "openai" && Number(content) % 2 === 0 ? 60_000 : 1
        const timer = setTimeout(
          () =>
            json(response, 200, completion(`${provider} ${content}`), { "cf-aig-log-id": `${provider}-${content}` }),
          wait
        )
        response.on("close", () => clearTimeout(timer))
      })
      const answers = yield* Effect.forEach(
        Array.from({ length: 64 }, (_, i) => i),
        (i) => Effect.map(Router.run(hedged, String(i), { budget: "none" }), (answer) => ({ ...answer, i })),
        { concurrency: "unbounded" }
      ).pipe(Effect.provide(over(peer)))
      for (const { attempts, i, logId, target, value } of answers) {
        const provider = target === "openai/m" ? "openai" : "groq"
        assert.strictEqual(value.text, `${provider} ${i}`)
        assert.strictEqual(logId, `${provider}-${i}`)
        assert.strictEqual(attempts.find(({ outcome }) => outcome === "success")?.logId, logId)
      }
      assert.isTrue(answers.some(({ target }) => target === "groq/m"))
    }).pipe(Effect.scoped)
  )
})
