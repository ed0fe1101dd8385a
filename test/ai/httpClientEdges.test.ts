/**
 * Requests of provider clients at the edges: scopes, spans, base URLs written in several ways, headers of the address.
 */
import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { GatewayHttpClient } from "effect-ai-gateway/ai"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import * as Undici from "effect-ai-gateway/undici"
import { json, makePeer } from "../support/httpPeer.ts"
import { to } from "./support.ts"

const models = "https://api.openai.com/v1/models"

const answering = makePeer((_, response) => json(response, 200, { data: [] }, { "cf-aig-log-id": "log-1" }))
const endless = makePeer((_, response) => {
  response.writeHead(200, { "content-type": "text/event-stream" })
  response.write("data: 1\n\n")
})
const client = HttpClient.HttpClient

describe.each([
  { name: "fetch", over: FetchHttpClient.layer },
  { name: "undici", over: Undici.layer }
])("over $name", ({ over }) => {
  it.live("the scope of HttpClient.withScope ends the request when it closes", () =>
    Effect.gen(function* () {
      const peer = yield* endless
      yield* Effect.gen(function* () {
        const scope = yield* Scope.make()
        const response = yield* HttpClient.withScope(yield* client)
          .get(models)
          .pipe(Scope.provide(scope))
        const reader = yield* Effect.forkChild(Effect.exit(Stream.runDrain(response.stream)))
        assert.strictEqual(peer.open(), 1)
        yield* Scope.close(scope, Exit.void)
        yield* peer.until(() => peer.open() === 0)
        assert.isTrue(Exit.isFailure(yield* Fiber.join(reader)))
      }).pipe(Effect.provide(to(peer.url, over)))
    })
  )

  it.live("a request in a scope of the caller outlives it, because its body is not read yet", () =>
    Effect.gen(function* () {
      const peer = yield* answering
      yield* Effect.gen(function* () {
        const response = yield* Effect.scoped((yield* client).get(models))
        assert.deepStrictEqual(yield* response.json, { data: [] })
        assert.strictEqual(yield* response.text, '{"data":[]}')
      }).pipe(Effect.provide(to(peer.url, over)))
    })
  )

  it.live("interruption before the answer closes the connection and is in the trail", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer(() => undefined)
      yield* Effect.gen(function* () {
        const sent = yield* (yield* client)
          .get(models)
          .pipe(Effect.raceFirst(peer.until(() => peer.requests.length === 1)), LogTrail.collect)
        assert.deepInclude(sent.attempts[0], { outcome: "interrupted", provider: "openai" })
        yield* peer.until(() => peer.open() === 0)
      }).pipe(Effect.provide(to(peer.url, over)))
    })
  )

  it.live("one span has the address at the gateway, and no token in its attributes and its end", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer((_, response) => json(response, 401, {}))
      const spans: Array<Tracer.NativeSpan> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      const own = HttpClientRequest.get(`${models}?key=in-query`, {
        headers: { "cf-aig-authorization": "Bearer gateway-token-2" }
      })
      yield* client
        .use((made) => Effect.andThen(made.get(models), made.execute(own)))
        .pipe(
          Effect.withSpan("caller"),
          Effect.provideService(HttpClient.TracerHeaderFilter, () => true),
          Effect.provide(to(peer.url, over)),
          Effect.withTracer(tracer)
        )
      const ours = spans.filter(({ attributes }) => attributes.has("http.request.method"))
      assert.strictEqual(ours.length, 2)
      const address = `${peer.url}/v1/acc/gw/openai/models`
      assert.deepStrictEqual(
        ours.map(({ attributes }) => attributes.get("url.full")),
        [address, `${address}?key=%3Credacted%3E`]
      )
      assert.strictEqual(ours[0]?.attributes.get("server.address"), "127.0.0.1")
      assert.isUndefined(spans.find(({ name }) => name === "caller")?.attributes.get("url.full"))
      const parents = peer.requests.map(({ headers }) => String(headers["traceparent"]).split("-")[2])
      assert.deepStrictEqual(
        parents,
        ours.map(({ spanId }) => spanId)
      )
      const shown = spans.map(({ attributes, status }) => inspect([...attributes, status], { depth: 20 })).join()
      assert.include(shown, "401")
      for (const secret of ["gateway-token-1", "gateway-token-2"]) assert.notInclude(shown, secret)
      assert.notInclude(inspect(spans.map(({ attributes }) => attributes)), "in-query")
    })
  )

  it.live("the host header of the client is left behind with its address", () =>
    Effect.gen(function* () {
      const peer = yield* answering
      const request = HttpClientRequest.get(models, { headers: { Host: "api.openai.com" } })
      yield* client.use((made) => made.execute(request)).pipe(Effect.provide(to(peer.url, over)))
      assert.strictEqual(peer.requests[0]?.headers.host, new URL(peer.url).host)
    })
  )

  it.live("HttpClientResponse.toWeb gives what it gives without the layer", () =>
    Effect.gen(function* () {
      const peer = yield* answering
      const get = (url: string) =>
        Effect.map(
          client.use((made) => made.get(url)),
          HttpClientResponse.toWeb
        )
      const isWeb = (url: string) => Effect.map(get(url), Option.isSome)
      assert.strictEqual(
        yield* isWeb(models).pipe(Effect.provide(to(peer.url, over))),
        yield* isWeb(peer.url).pipe(Effect.provide(over))
      )
    })
  )
})

describe("over a binding", () => {
  it.live("a URL that fails, is slow or ends with a slash does no harm to other requests", () =>
    Effect.gen(function* () {
      const peer = yield* answering
      let calls = 0
      const getUrl = async (provider = ""): Promise<string> => {
        calls++
        if (calls === 1) throw new Error("no URL")
        await new Promise((done) => setTimeout(done, 20))
        return `${peer.url}/${provider}/`
      }
      const gateway = {
        getUrl,
        run: () => Promise.reject(new Error("unused")),
        getLog: () => Promise.reject(new Error("unused")),
        patchLog: () => Promise.reject(new Error("unused"))
      }
      const binding: GatewayService.AiBinding = { gateway: () => gateway, run: gateway.run, models: gateway.run }
      yield* Effect.gen(function* () {
        const made = yield* client
        const error = yield* Effect.flip(made.get(models))
        assert.strictEqual(error.reason._tag, "InvalidUrlError")
        // The first is interrupted while it waits for its URL.
        const [, second] = yield* Effect.all([Effect.timeoutOption(made.get(models), "1 millis"), made.get(models)], {
          concurrency: 2
        })
        assert.strictEqual(second.status, 200)
        assert.deepStrictEqual(
          peer.requests.map(({ url }) => url),
          ["/openai/models"]
        )
      }).pipe(
        Effect.provide(
          GatewayHttpClient.layer().pipe(
            Layer.provide(GatewayService.layerBinding(binding, { gateway: "gw" })),
            Layer.provide(FetchHttpClient.layer)
          )
        )
      )
    })
  )
})

describe("base URLs of the option", () => {
  it.live.each([
    "https://api.openai.com/v1",
    "https://api.openai.com/v1/",
    "https://API.openai.com/v1",
    "https://api.openai.com:443/v1"
  ])("%s wins over the built-in one", (url) =>
    Effect.gen(function* () {
      const peer = yield* answering
      yield* client
        .use((made) => made.get(models))
        .pipe(Effect.provide(to(peer.url, FetchHttpClient.layer, { providers: { [url]: "custom-mine" } })))
      assert.strictEqual(peer.requests[0]?.url, "/v1/acc/gw/custom-mine/models")
    })
  )

  it.effect.each<readonly [unknown, string]>([
    [{ "https://a.example": "custom-a", "https://A.example/": "custom-b" }, 'providers key "https://A.example/"'],
    [new Map([["https://a.example", "custom-a"]]), "providers"]
  ])("%j are rejected, because an entry would be ignored", ([providers, field]) =>
    Effect.gen(function* () {
      // @ts-expect-error Mistakes that types keep out of TypeScript.
      const made = to("http://127.0.0.1:9", FetchHttpClient.layer, { providers })
      const error = yield* Effect.flip(Effect.scoped(Layer.build(made)))
      assert.include(error.message, `invalid ${field}`)
    })
  )
})

describe("the trail", () => {
  it.live("has neither keys of a path nor the fragment that is not sent", () =>
    Effect.gen(function* () {
      const peer = yield* answering
      const { attempts } = yield* LogTrail.collect(
        client.use((made) =>
          Effect.andThen(made.get(`${models};key=secret#part`), made.get(`${models}#part?key=secret`))
        )
      ).pipe(Effect.provide(to(peer.url, FetchHttpClient.layer)))
      assert.deepStrictEqual(
        attempts.map(({ endpoint, target }) => [endpoint, target]),
        [
          ["models;key=<redacted>", "gw:openai/models;key=<redacted>"],
          ["models", "gw:openai/models"]
        ]
      )
    })
  )
})
