/**
 * Headers that join the spans of the gateway to those of the application, over sockets and over the binding.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import type { HttpClient } from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Tracer from "effect/Tracer"
import * as AiService from "effect-ai-gateway/AiService"
import type { GatewayError } from "effect-ai-gateway/GatewayError"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as LocalGateway from "effect-ai-gateway/local"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as Undici from "effect-ai-gateway/undici"
import { Local } from "./suites/transports.ts"
import { makeBinding } from "./support/bindingDouble.ts"
import { makePeer } from "./support/httpPeer.ts"
import { traced } from "./support/leaks.ts"

const trace = "cf-aig-otel-trace-id"
const parent = "cf-aig-otel-parent-span-id"
const chat = { messages: [{ role: "user", content: "hi" }] }
const leg = { provider: "openai", endpoint: "chat/completions", query: { model: "m", ...chat } }
const theirs = { [trace]: "0af7651916cd43dd8448eb211c80319c", [parent]: "b7ad6b7169203331" }

type Links = ReadonlyArray<ReadonlyArray<string | undefined>>

/** The two headers of each request for an answer that reached the gateway, in order. */
class Arrived extends Context.Service<Arrived, { readonly links: Effect.Effect<Links> }>()("test/Arrived") {}

const linksOf = Effect.flatMap(Arrived, ({ links }) => links)

const options = { account: "acc", gateway: "gw", token: Redacted.make("local-gateway-token") }

/** A local gateway that remembers the headers of requests before it takes them. */
const recording = Effect.gen(function* () {
  const local = yield* LocalGateway.make(options)
  const links: Array<ReadonlyArray<string | undefined>> = []
  const context = yield* Effect.context()
  const handle = async (request: Request, signal?: AbortSignal): Promise<Response> => {
    // The binding sends the headers of a caller's leg with the leg.
    const [own]: ReadonlyArray<{ headers?: Record<string, string> }> = [await request.clone().json()].flat()
    links.push([trace, parent].map((name) => request.headers.get(name) ?? own?.headers?.[name]))
    return Effect.runPromiseWith(context)(local.handle(request).pipe(Effect.orDie, Effect.withTracerEnabled(false)), {
      signal
    })
  }
  const layer = Layer.merge(Layer.succeed(Arrived, { links: Effect.sync(() => links) }), Layer.succeed(Local, local))
  return { handle, layer }
})

const overSocket = (client: Layer.Layer<HttpClient, GatewayError>) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const { handle, layer } = yield* recording
      const peer = yield* makePeer(({ body, headers, method, url }, response) => {
        const request = new Request(`http://local.gateway${url}`, { method, body, headers: headers as HeadersInit })
        void handle(request).then(async (answer) => {
          response.writeHead(answer.status, Object.fromEntries(answer.headers))
          response.end(Buffer.from(await answer.arrayBuffer()))
        })
      })
      const { account: accountId, gateway, token } = options
      const http = { accountId, token, apiToken: token, baseUrl: peer.url, apiBaseUrl: `${peer.url}/client/v4` }
      const services = Layer.merge(GatewayService.layerHttp({ ...http, gateway }), AiService.layerHttp(http))
      return Layer.merge(layer, Layer.provide(services, client))
    })
  )

const overBinding = Layer.unwrap(
  Effect.gen(function* () {
    const { handle, layer } = yield* recording
    const ai = makeBinding(handle)
    return Layer.mergeAll(layer, GatewayService.layerBinding(ai, { gateway: "gw" }), AiService.layerBinding(ai))
  })
)

const ways = [
  { name: "HTTP over a socket", layer: overSocket(FetchHttpClient.layer) },
  { name: "undici over a socket", layer: overSocket(Undici.layer) },
  { name: "the binding", layer: overBinding }
]

/** The ids of the spans of requests, in order. */
const idsOf = (spans: ReadonlyArray<Tracer.Span>, name: string) =>
  spans.filter((span) => span.name === name).map(({ spanId, traceId }) => [traceId, spanId])

const runLeg = (headers: Record<string, string> = {}) =>
  Effect.flatMap(GatewayService.GatewayService, (gateway) => gateway.run({ ...leg, headers }))

for (const { layer, name } of ways) {
  const services = Layer.provideMerge(Router.layerWith({ execution: "client" }), layer)
  describe(`over ${name}`, () => {
    it.live("each request names the span around it as the parent", () =>
      Effect.gen(function* () {
        const route = Route.fallback(Provider.openai.chat("m"), Provider.groq.chat("m"))
        const { exit, spans } = yield* traced(
          Effect.gen(function* () {
            yield* (yield* Local).script("openai", [{ status: 503 }])
            yield* Router.run(route, "hi")
            return yield* linksOf
          }).pipe(Effect.provide(services))
        )
        const ids = idsOf(spans, "GatewayService.run")
        assert.strictEqual(ids.length, 2)
        assert.deepStrictEqual(exit._tag === "Success" && exit.value, ids)
        const [run] = spans.filter((span) => span.name === "Router.run")
        assert.deepStrictEqual(
          ids.map(([id]) => id),
          [run?.traceId, run?.traceId]
        )
      })
    )

    it.live("several legs in one request name one span", () =>
      Effect.gen(function* () {
        const { exit, spans } = yield* traced(
          Effect.gen(function* () {
            yield* (yield* Local).script("openai", [{ status: 503 }])
            const gateway = yield* GatewayService.GatewayService
            yield* gateway.run([leg, { ...leg, provider: "groq" }])
            return yield* linksOf
          }).pipe(Effect.provide(services))
        )
        const [ids = []] = idsOf(spans, "GatewayService.run")
        assert.deepStrictEqual(exit._tag === "Success" && exit.value, [ids])
      })
    )

    it.live("env.AI names its span where a gateway is asked, and only there", () =>
      Effect.gen(function* () {
        const { exit, spans } = yield* traced(
          Effect.gen(function* () {
            const ai = yield* AiService.AiService
            yield* ai.run("openai/m", chat, { gateway: "gw" })
            yield* ai.run("@cf/meta/llama-3.1-8b-instruct", chat, { gateway: "gw" })
            yield* ai.run("@cf/meta/llama-3.1-8b-instruct", chat)
            return yield* linksOf
          }).pipe(Effect.provide(services))
        )
        const [first = [], second = []] = idsOf(spans, "AiService.run")
        assert.deepStrictEqual(exit._tag === "Success" && exit.value, [first, second, [undefined, undefined]])
      })
    )

    it.live("headers of the caller win, and are not mixed with ours", () =>
      Effect.gen(function* () {
        const { exit } = yield* traced(
          Effect.gen(function* () {
            yield* runLeg(theirs)
            yield* runLeg({ [trace]: theirs[trace] ?? "" })
            yield* Router.run(Provider.openai.chat("m"), "hi", { headers: { [parent]: theirs[parent] ?? "" } })
            const ai = yield* AiService.AiService
            yield* ai.run("openai/m", chat, { gateway: "gw", headers: theirs })
            return yield* linksOf
          }).pipe(Effect.provide(services))
        )
        assert.deepStrictEqual(exit._tag === "Success" && exit.value, [
          [theirs[trace], theirs[parent]],
          [theirs[trace], undefined],
          [undefined, theirs[parent]],
          [theirs[trace], theirs[parent]]
        ])
      })
    )

    const without: ReadonlyArray<readonly [string, <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>]> =
      [
        ["without a tracer", (self) => Effect.withSpan(self, "mine")],
        [
          "in a trace that is not sampled",
          (self) => Effect.withTracer(Effect.withSpan(self, "a", { sampled: false }), kept)
        ],
        ["with ids of another form", (self) => Effect.withTracer(self, odd)]
      ]
    for (const [when, within] of without) {
      it.live(`no request names a span ${when}`, () =>
        Effect.gen(function* () {
          yield* within(runLeg())
          assert.deepStrictEqual(yield* linksOf, [[undefined, undefined]])
        }).pipe(Effect.provide(services))
      )
    }

    it.live("fills up a trace id of 64 bits, as exporters do", () =>
      Effect.gen(function* () {
        const outside = Tracer.externalSpan({ traceId: "48485a3953bb6124", spanId: "b7ad6b7169203331" })
        yield* runLeg().pipe(Effect.withParentSpan(outside), Effect.withTracer(kept))
        const [[id] = []] = yield* linksOf
        assert.strictEqual(id, "000000000000000048485a3953bb6124")
      }).pipe(Effect.provide(services))
    )
  })
}

const kept = Tracer.make({ span: (options) => new Tracer.NativeSpan(options) })
const odd = Tracer.make({
  span: (options) => Object.defineProperty(new Tracer.NativeSpan(options), "spanId", { value: "span 1" })
})
