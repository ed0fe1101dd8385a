/**
 * Checks that neither credentials nor prompts follow a redirect: on real sockets, over every client.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Tracer from "effect/Tracer"
import * as AiService from "../../../src/AiService.ts"
import type { GatewayError } from "../../../src/GatewayError.ts"
import * as GatewayService from "../../../src/GatewayService.ts"
import * as Transport from "../../../src/Transport.ts"
import { clients } from "../../support/httpClients.ts"
import { json, makePeer } from "../../support/httpPeer.ts"

const secret = (name: string) => Redacted.make(`secret-${name}`)

const leg = {
  provider: "openai",
  endpoint: "chat/completions",
  headers: { authorization: secret("provider-key"), "x-api-key": secret("other-key") },
  query: { model: "m", messages: [{ role: "user", content: "secret-prompt" }] }
}

const services = (url: string) =>
  Layer.merge(
    GatewayService.layerHttp({
      accountId: "acc",
      gateway: "gw",
      baseUrl: url,
      apiBaseUrl: url,
      token: secret("token"),
      apiToken: secret("api-token")
    }),
    AiService.layerHttp({ accountId: "acc", baseUrl: url, apiBaseUrl: url, apiToken: secret("api-token") })
  )

type Services = GatewayService.GatewayService | AiService.AiService

const gatewayOf = GatewayService.GatewayService
const calls: ReadonlyArray<readonly [name: string, call: Effect.Effect<unknown, GatewayError, Services>]> = [
  ["run", Effect.flatMap(gatewayOf, (gateway) => gateway.run(leg))],
  ["run of two legs", Effect.flatMap(gatewayOf, (gateway) => gateway.run([leg, leg]))],
  ["getLog", Effect.flatMap(gatewayOf, (gateway) => gateway.getLog("01J"))],
  ["patchLog", Effect.flatMap(gatewayOf, (gateway) => gateway.patchLog("01J", { feedback: 1 }))],
  [
    "AiService.run",
    Effect.flatMap(AiService.AiService, (ai) => ai.run("@cf/meta/llama-3.1-8b-instruct", { prompt: "secret-prompt" }))
  ],
  ["models", Effect.flatMap(AiService.AiService, (ai) => ai.models())]
]

/** A server that redirects to another one, which accepts everything. */
const redirecting = Effect.fnUntraced(function* (status: number) {
  const other = yield* makePeer((_, response) => json(response, 200, { success: true, result: {} }))
  const peer = yield* makePeer((_, response) => {
    response.writeHead(status, { location: `${other.url}/elsewhere`, "cf-aig-log-id": "not-ours" })
    response.end("moved")
  })
  return { other, peer }
})

describe.each(clients)("over %s", (name, client) => {
  for (const status of [301, 302, 303, 307, 308]) {
    it.effect(`sends nothing after a ${status}`, () =>
      Effect.gen(function* () {
        for (const [call, effect] of calls) {
          const { other, peer } = yield* redirecting(status)
          const error = yield* Effect.flip(Effect.provide(effect, Layer.provide(services(peer.url), client)))
          assert.strictEqual(error.reason._tag, "InvalidResponse", call)
          assert.strictEqual(error.reason.message, "invalid response: a redirect to another address")
          // On the short way, Node's `fetch` rejects a redirect itself and does not report the status.
          assert.strictEqual(error.reason.status, name === "fetch, the short way" ? undefined : status)
          assert.strictEqual(peer.requests.length, 1)
          assert.include(JSON.stringify(peer.requests), "secret-")
          assert.deepStrictEqual(other.requests, [])
        }
      })
    )
  }
})

const [, call] = calls[0] ?? assert.fail("no calls")

/** Whether a client's requests have spans switched off. */
const tracing = (disabled: boolean) => Effect.provideService(HttpClient.TracerDisabledWhen, () => disabled)

describe("a client based on fetch", () => {
  it.effect("keeps its RequestInit and its Fetch", () =>
    Effect.gen(function* () {
      const { other, peer } = yield* redirecting(307)
      const seen: Array<globalThis.RequestInit | undefined> = []
      const fetch: typeof globalThis.fetch = (input, init) => {
        seen.push(init)
        return globalThis.fetch(input, init)
      }
      const client = FetchHttpClient.layer.pipe(
        Layer.provide(Layer.succeed(FetchHttpClient.Fetch, fetch)),
        Layer.provide(Layer.succeed(FetchHttpClient.RequestInit, { headers: { "x-app": "1" }, keepalive: true }))
      )
      yield* Effect.flip(Effect.provide(call, Layer.provide(services(peer.url), client)))
      assert.deepStrictEqual(
        seen.map((init) => [init?.redirect, init?.keepalive]),
        [["manual", true]]
      )
      assert.strictEqual(peer.requests[0]?.headers["x-app"], "1")
      assert.deepStrictEqual(other.requests, [])
    })
  )

  it.effect("keeps them behind middleware, and where spans are not propagated", () =>
    Effect.gen(function* () {
      const { other, peer } = yield* redirecting(307)
      const between = Layer.effect(
        HttpClient.HttpClient,
        Effect.map(HttpClient.HttpClient, (client) =>
          client.pipe(
            HttpClient.mapRequest(HttpClientRequest.setHeader("x-between", "1")),
            HttpClient.transform((effect) => effect),
            HttpClient.transformResponse(Effect.timeoutOrElse({ duration: "1 minute", orElse: () => Effect.never }))
          )
        )
      ).pipe(
        Layer.provide(FetchHttpClient.layer),
        Layer.provide(Layer.succeed(FetchHttpClient.RequestInit, { headers: { "x-app": "1" } }))
      )
      yield* call.pipe(
        Effect.provide(Layer.provide(services(peer.url), between)),
        Effect.flip,
        Effect.provideService(Tracer.DisablePropagation, true)
      )
      const { headers } = peer.requests[0] ?? assert.fail("nothing was sent")
      assert.deepStrictEqual([headers["x-between"], headers["x-app"]], ["1", "1"])
      assert.deepStrictEqual(other.requests, [])
    })
  )

  /** Middleware that the protection must survive. */
  const between: ReadonlyArray<
    readonly [name: string, middleware: (client: HttpClient.HttpClient) => HttpClient.HttpClient]
  > = [
    ["decides which spans there are", HttpClient.transformResponse(tracing(true))],
    ["opens spans", HttpClient.transformResponse(tracing(false))],
    ["transforms requests without spans", HttpClient.transform(tracing(true))],
    [
      "transforms requests between two that decide about spans",
      (client) =>
        client.pipe(
          HttpClient.transform(tracing(true)),
          HttpClient.retry({ times: 0 }),
          HttpClient.tap(() => Effect.void)
        )
    ],
    ["propagates no spans", HttpClient.transformResponse(Effect.provideService(Tracer.DisablePropagation, true))],
    ["runs without a tracer", HttpClient.transformResponse(Effect.withTracerEnabled(false))],
    ["forks", HttpClient.transform((effect) => Effect.flatMap(Effect.forkChild(tracing(true)(effect)), Fiber.join))],
    [
      "copies the request",
      (client) =>
        client.pipe(HttpClient.mapRequest(HttpClientRequest.setUrlParam("a", "b")), HttpClient.transform(tracing(true)))
    ],
    [
      "is a client around another one",
      (client) =>
        HttpClient.make((request) =>
          tracing(true)(client.execute(HttpClientRequest.setHeader(request, "x-around", "1")))
        )
    ]
  ]

  for (const [name, middleware] of between) {
    for (const [base, layer] of [
      ["FetchHttpClient", FetchHttpClient.layer],
      ["Transport.layerFetch", Transport.layerFetch]
    ] as const) {
      it.effect(`sends nothing elsewhere over ${base} when middleware ${name}`, () =>
        Effect.gen(function* () {
          const { other, peer } = yield* redirecting(307)
          let calls = 0
          const fetch: typeof globalThis.fetch = (input, init) => {
            calls++
            return globalThis.fetch(input, init)
          }
          const client = Layer.effect(HttpClient.HttpClient, Effect.map(HttpClient.HttpClient, middleware)).pipe(
            Layer.provide(layer),
            Layer.provide(Layer.succeed(FetchHttpClient.Fetch, fetch)),
            Layer.provide(Layer.succeed(FetchHttpClient.RequestInit, { headers: { "x-app": "1" } }))
          )
          const error = yield* Effect.flip(Effect.provide(call, Layer.provide(services(peer.url), client)))
          assert.strictEqual(error.reason.message, "invalid response: a redirect to another address")
          assert.deepStrictEqual(other.requests, [])
          assert.strictEqual(calls, 1)
          // The library only sees the outer of two clients, so its `RequestInit` replaces the inner one.
          if (!name.includes("around")) assert.strictEqual(peer.requests[0]?.headers["x-app"], "1")
        })
      )
    }
  }

  it.effect("keeps a RequestInit that middleware provides", () =>
    Effect.gen(function* () {
      const { other, peer } = yield* redirecting(307)
      const client = Layer.effect(
        HttpClient.HttpClient,
        Effect.map(
          HttpClient.HttpClient,
          HttpClient.transform((effect) =>
            tracing(true)(Effect.provideService(effect, FetchHttpClient.RequestInit, { headers: { "x-app": "2" } }))
          )
        )
      ).pipe(Layer.provide(FetchHttpClient.layer))
      yield* Effect.flip(Effect.provide(call, Layer.provide(services(peer.url), client)))
      assert.strictEqual(peer.requests[0]?.headers["x-app"], "2")
      assert.deepStrictEqual(other.requests, [])
    })
  )

  it.effect("still serves other requests of the application", () =>
    Effect.gen(function* () {
      const { other, peer } = yield* redirecting(302)
      yield* Effect.gen(function* () {
        yield* Effect.flip(Effect.provide(call, services(peer.url)))
        const response = yield* HttpClient.get(peer.url)
        assert.strictEqual(response.status, 200)
      }).pipe(Effect.provide(FetchHttpClient.layer))
      assert.strictEqual(other.requests.length, 1)
    })
  )

  for (const redirect of ["error", "follow"] as const) {
    it.effect(`that was told to ${redirect} does so, and the answer is rejected`, () =>
      Effect.gen(function* () {
        const { other, peer } = yield* redirecting(302)
        const client = Layer.provide(FetchHttpClient.layer, Layer.succeed(FetchHttpClient.RequestInit, { redirect }))
        const error = yield* Effect.flip(Effect.provide(call, Layer.provide(services(peer.url), client)))
        assert.strictEqual(error.reason.message, "invalid response: a redirect to another address")
        assert.isUndefined(error.logId)
        assert.strictEqual(other.requests.length, redirect === "follow" ? 1 : 0)
      })
    )
  }
})
