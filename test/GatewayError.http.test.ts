/**
 * Failures as responses of Effect's HTTP servers: over a real socket, as a web handler, and through middlewares.
 */
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, describe, it } from "@effect/vitest"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import type { HttpPlatform } from "effect/http/HttpPlatform"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import { GatewayLanguageModel, GatewayModel } from "effect-ai-gateway/ai"
import * as GatewayError from "effect-ai-gateway/GatewayError"
import * as Provider from "effect-ai-gateway/Provider"
import * as Router from "effect-ai-gateway/Router"
import { ScriptedPeer } from "effect-ai-gateway/testing"
import * as Worker from "effect-ai-gateway/worker"

const origin = "provider"
const retryAfter = Duration.millis(6_200)

/** One failure of each reason, and variants with a different answer. */
const reasons: ReadonlyArray<GatewayError.Reason> = [
  new GatewayError.TransportFailure({ kind: "reset" }),
  new GatewayError.Timeout({ phase: "deadline" }),
  new GatewayError.RateLimited({ origin, retryAfter }),
  new GatewayError.RateLimited({ origin }),
  new GatewayError.QuotaExhausted({ origin, kind: "credits", retryAfter: Duration.hours(1) }),
  new GatewayError.Unauthorized({ origin }),
  new GatewayError.InvalidRequest({ origin: "client", field: "maxTokens", accepted: "a whole number" }),
  new GatewayError.Unsupported({ field: "seed", accepted: "nothing" }),
  new GatewayError.ContextLengthExceeded({}),
  new GatewayError.ContentBlocked({ by: "provider", subject: "prompt" }),
  new GatewayError.NotFound({ what: "model" }),
  new GatewayError.NotFound({ what: "log" }),
  new GatewayError.ProviderUnavailable({ origin, retryAfter }),
  new GatewayError.InvalidResponse({ issue: "text: expected JSON" }),
  new GatewayError.StreamInterrupted({ events: 3, partial: "secret words" }),
  new GatewayError.Rejected({ by: "limiter", retryAfter }),
  new GatewayError.BindingMissing({ member: "AI.gateway" }),
  new GatewayError.Unknown({ detail: "secret words" })
]
const errorOf = (reason: GatewayError.Reason) => new GatewayError.GatewayError({ method: "Router.run", reason })
const errors = reasons.map(errorOf)

const routes = HttpRouter.use(
  Effect.fnUntraced(function* (router) {
    for (const [i, error] of errors.entries()) yield* router.add("GET", `/${i}`, Effect.fail(error))
    yield* router.add("GET", "/died", Effect.die(errors[2]))
  })
)

/** Serves routes on a free port. */
const start = <E>(
  app: Layer.Layer<
    never,
    E,
    | HttpRouter.HttpRouter
    | HttpRouter.Request<"Error", GatewayError.GatewayError>
    | HttpRouter.Request<"GlobalRequires", HttpPlatform>
  >
) =>
  Effect.gen(function* () {
    const server = createServer()
    yield* Layer.build(
      HttpRouter.serve(app, { disableLogger: true, disableListenLog: true }).pipe(
        Layer.provide(NodeHttpServer.layer(() => server, { port: 0, host: "127.0.0.1" }))
      )
    )
    const { port } = server.address() as AddressInfo
    return (path: string, init?: RequestInit) =>
      Effect.promise(async () => {
        const response = await fetch(`http://127.0.0.1:${port}${path}`, init)
        return { status: response.status, headers: response.headers, text: await response.text() }
      })
  })

const facts = ["content-type", "cache-control", "retry-after"] as const
const told = (status: number, headers: Headers, text: string) => ({
  status,
  text,
  ...Object.fromEntries(facts.map((name) => [name, headers.get(name)]))
})

/** The answer of a Worker, from the same table. */
const expected = (error: GatewayError.GatewayError) =>
  Effect.promise(async () => {
    const response = Worker.failureResponse(error)
    return told(response.status, response.headers, await response.text())
  })

describe("a GatewayError in HttpRouter", () => {
  it.live("has the answer of the table over a socket, as a failure and as a defect", () =>
    Effect.gen(function* () {
      const get = yield* start(routes)
      for (const [i, error] of errors.entries()) {
        const { headers, status, text } = yield* get(`/${i}`)
        assert.deepStrictEqual(told(status, headers, text), yield* expected(error))
        assert.deepStrictEqual(JSON.parse(text), {
          error: { reason: error.reason._tag, retryable: error.isRetryable }
        })
        assert.notInclude(text, "secret")
      }
      const died = yield* get("/died")
      assert.strictEqual(died.status, 429)
      assert.strictEqual(died.headers.get("retry-after"), "7")
      const head = yield* get("/2", { method: "HEAD" })
      assert.deepStrictEqual([head.status, head.text], [429, ""])
    }).pipe(Effect.scoped)
  )

  it.live("has the same answer as a web handler", () =>
    Effect.gen(function* () {
      const { dispose, handler } = HttpRouter.toWebHandler(routes, { disableLogger: true })
      for (const [i, error] of errors.entries()) {
        const response = yield* Effect.promise(() => handler(new Request(`http://localhost/${i}`)))
        const text = yield* Effect.promise(() => response.text())
        assert.deepStrictEqual(told(response.status, response.headers, text), yield* expected(error))
      }
      yield* Effect.promise(dispose)
    })
  )

  it.live("passes through CORS, compression, the logger, and middlewares that look at responses", () =>
    Effect.gen(function* () {
      const touched = HttpRouter.middleware(
        (self) =>
          Effect.catchCause(self, (cause) =>
            Effect.gen(function* () {
              const failure = cause.reasons.find((reason) => reason._tag === "Fail")?.error
              if (!HttpServerRespondable.isRespondable(failure)) return yield* Effect.failCause(cause)
              const response = yield* HttpServerRespondable.toResponse(failure)
              return response.pipe(
                HttpServerResponse.setHeader("x-trace", "t-1"),
                HttpServerResponse.setCookieUnsafe("session", "s-1", { httpOnly: true })
              )
            })
          ),
        { global: true }
      )
      const app = Layer.mergeAll(
        routes,
        HttpRouter.cors({ allowedOrigins: ["https://example.com"] }),
        HttpRouter.middleware(HttpMiddleware.compression({ minSize: 1 }), { global: true }),
        HttpRouter.middleware(HttpMiddleware.logger, { global: true }),
        touched
      )
      const get = yield* start(app)
      const { headers, status, text } = yield* get("/2", {
        headers: { origin: "https://example.com", "accept-encoding": "gzip" }
      })
      assert.strictEqual(status, 429)
      assert.deepStrictEqual(JSON.parse(text), { error: { reason: "RateLimited", retryable: true } })
      assert.strictEqual(headers.get("x-trace"), "t-1")
      assert.strictEqual(headers.get("retry-after"), "7")
      assert.strictEqual(headers.get("content-encoding"), "gzip")
      assert.strictEqual(headers.get("access-control-allow-origin"), "https://example.com")
      assert.include(headers.get("set-cookie"), "session=s-1")
    }).pipe(Effect.scoped)
  )
})

describe("an AiError in HttpRouter", () => {
  it.live("has the answer of the GatewayError behind it, when a handler fails with that instead", () =>
    Effect.gen(function* () {
      const peer = ScriptedPeer.make({ openai: [{ status: 429, headers: { "retry-after": "7" } }] })
      const model = GatewayLanguageModel.layer(Provider.openai.chat("m")).pipe(
        Layer.provide(Router.layer),
        Layer.provide(peer.layer)
      )
      const handler = LanguageModel.generateText({ prompt: "hi" }).pipe(
        Effect.map(({ text }) => HttpServerResponse.text(text)),
        Effect.mapError((error) => GatewayModel.failureOf(error) ?? error),
        Effect.provide(Layer.orDie(model))
      )
      const { dispose, handler: web } = HttpRouter.toWebHandler(HttpRouter.add("GET", "/", handler), {
        disableLogger: true
      })
      const response = yield* Effect.promise(() => web(new Request("http://localhost/")))
      assert.deepStrictEqual([response.status, response.headers.get("retry-after")], [429, "7"])
      yield* Effect.promise(dispose)
    })
  )
})

describe("the response of a GatewayError", () => {
  const response = Effect.suspend(() =>
    HttpServerRespondable.toResponse(errorOf(new GatewayError.RateLimited({ origin, retryAfter })))
  )

  it.effect("can be changed like every other response", () =>
    Effect.gen(function* () {
      const given = yield* response
      assert.isTrue(HttpServerResponse.isHttpServerResponse(given))
      const changed = given.pipe(
        HttpServerResponse.setStatus(418),
        HttpServerResponse.setHeaders({ "x-a": "1", "cache-control": "private" }),
        HttpServerResponse.removeHeader("retry-after"),
        HttpServerResponse.setCookieUnsafe("a", "1"),
        HttpServerResponse.expireCookieUnsafe("b")
      )
      const web = HttpServerResponse.toWeb(changed)
      assert.strictEqual(web.status, 418)
      assert.strictEqual(web.headers.get("x-a"), "1")
      assert.strictEqual(web.headers.get("cache-control"), "private")
      assert.strictEqual(web.headers.get("retry-after"), null)
      assert.strictEqual(web.headers.getSetCookie().length, 2)
      assert.deepStrictEqual(yield* Effect.promise(() => web.json()), {
        error: { reason: "RateLimited", retryable: true }
      })
      // Another change has not affected it.
      assert.strictEqual(given.status, 429)
      assert.strictEqual(HttpServerResponse.toWeb(given, { withoutBody: true }).headers.get("retry-after"), "7")
      assert.isString(JSON.stringify(given))
      assert.isString(String(given))
    })
  )
})

describe("httpFailure", () => {
  it("omits a wait that the header cannot express", () => {
    const headersFor = (wait: Duration.Duration) =>
      GatewayError.httpFailure(errorOf(new GatewayError.RateLimited({ origin, retryAfter: wait }))).headers
    assert.deepInclude(headersFor(Duration.days(400)), { "retry-after": "34560000" })
    assert.deepInclude(headersFor(Duration.zero), { "retry-after": "0" })
    assert.notProperty(headersFor(Duration.infinity), "retry-after")
    assert.notProperty(headersFor(Duration.seconds(1e22)), "retry-after")
  })
})

describe("failureStatus", () => {
  it("has a status for every reason, the same in every module", () => {
    const tags = [...new Set(reasons.map(({ _tag }) => _tag))].sort()
    assert.deepStrictEqual(Object.keys(GatewayError.failureStatus).sort(), tags)
    assert.strictEqual(Worker.failureStatus, GatewayError.failureStatus)
    for (const error of errors) {
      const isLog = error.reason._tag === "NotFound" && error.reason.what === "log"
      const status = isLog ? 404 : GatewayError.failureStatus[error.reason._tag]
      assert.strictEqual(GatewayError.httpFailure(error).status, status)
    }
  })
})
