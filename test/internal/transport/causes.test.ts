import { createServer, type Server } from "node:net"
import { runInNewContext } from "node:vm"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import { Agent } from "undici"
import { decide, type GatewayError } from "../../../src/GatewayError.ts"
import * as GatewayService from "../../../src/GatewayService.ts"
import { tryRequest } from "../../../src/internal/hotpath/promise.ts"
import { call } from "../../../src/internal/transport/binding.ts"
import { transportReason } from "../../../src/internal/transport/request.ts"
import * as Provider from "../../../src/Provider.ts"
import * as Route from "../../../src/Route.ts"
import * as Router from "../../../src/Router.ts"
import * as Transport from "../../../src/Transport.ts"
import * as Undici from "../../../src/undici/Undici.ts"
import { clients } from "../../support/httpClients.ts"
import { json, makePeer } from "../../support/httpPeer.ts"
import * as scripted from "../../support/scripted.ts"

const leg = { provider: "openai", endpoint: "chat/completions", query: { model: "m", messages: [] } }
const over = (baseUrl: string) => GatewayService.layerHttp({ accountId: "acc", gateway: "gw", baseUrl })
const run = (request: typeof leg = leg) =>
  Effect.flatMap(GatewayService.GatewayService, (gateway) => gateway.run(request))

/** An address without a listener. */
const nobody = Effect.callback<string>((resume) => {
  const server: Server = createServer().listen(0, "127.0.0.1", () => {
    const address = server.address()
    const port = typeof address === "object" ? address?.port : undefined
    server.close(() => resume(Effect.succeed(`http://127.0.0.1:${port}`)))
  })
})

describe("an error whose body does not arrive", () => {
  for (const [name, client] of clients) {
    it.live(`keeps its status over ${name}, within the attempt's timeout`, () =>
      Effect.gen(function* () {
        const peer = yield* makePeer((_seen, response) => {
          response.writeHead(503, { "content-type": "application/json", "retry-after": "7", "content-length": "900" })
          response.write(`{"error":{"message":"bu`)
        })
        const route = Provider.openai.chat("m").pipe(Route.timeout("300 millis"))
        const layer = Router.layer.pipe(Layer.provide(over(peer.url)), Layer.provide(client))
        const error = yield* Effect.flip(Effect.provide(Router.run(route, "hi"), layer))
        assert.deepInclude(error.reason, { _tag: "ProviderUnavailable", status: 503 })
        assert.strictEqual(error.attempts?.[0]?.outcome, "failure")
        // Nothing of it stays open.
        yield* peer.until(() => peer.open() === 0)
      }).pipe(Effect.scoped)
    )
  }

  it.effect("is not awaited forever without a timeout", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer((_seen, response) => {
        response.writeHead(429, { "content-type": "application/json" })
        response.flushHeaders()
      })
      const fiber = yield* Effect.forkChild(
        Effect.provide(Effect.flip(run()), over(peer.url).pipe(Layer.provide(Undici.layer)))
      )
      const turn = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      while (fiber.pollUnsafe() === undefined) yield* Effect.andThen(turn, TestClock.adjust("1 second"))
      assert.deepInclude((yield* Fiber.join(fiber)).reason, { _tag: "RateLimited", status: 429 })
    }).pipe(Effect.scoped)
  )

  for (const limit of ["with", "without"]) {
    it.live(`does not delay an interruption, or continue after it, ${limit} a timeout`, () =>
      Effect.gen(function* () {
        const peer = yield* makePeer((_seen, response) => {
          response.writeHead(500)
          response.flushHeaders()
        })
        const layer = Router.layerWith({ execution: "client" }).pipe(
          Layer.provide(over(peer.url)),
          Layer.provide(Undici.layer)
        )
        const both = Route.fallback(Provider.openai.chat("m"), Provider.groq.chat("m"))
        const again = Route.retry(both, { attempts: 3, delay: 1 })
        const route = limit === "with" ? Route.timeout(again, "20 seconds") : again
        const fiber = yield* Effect.forkChild(Effect.provide(Router.run(route, "hi"), layer))
        yield* peer.until(() => peer.requests.length === 1)
        yield* Effect.sleep(50)
        const before = performance.now()
        const exit = yield* Effect.andThen(Fiber.interrupt(fiber), Fiber.await(fiber))
        assert.isBelow(performance.now() - before, 3_000)
        assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
        yield* peer.until(() => peer.open() === 0)
        assert.strictEqual(peer.requests.length, 1)
      }).pipe(Effect.scoped)
    )
  }
})

describe("a time limit of the client", () => {
  // Our own dispatcher has none; `fetch` has one of five minutes unless the application sets another.
  const impatient = Layer.unwrap(
    Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => new Agent({ headersTimeout: 300, bodyTimeout: 300 })),
        (agent) => Effect.promise(() => agent.destroy())
      ),
      (dispatcher) => {
        const own: typeof fetch = (url, init) => fetch(url, Object.assign({}, init, { dispatcher }))
        return Transport.layerFetch.pipe(Layer.provide(Layer.succeed(FetchHttpClient.Fetch, own)))
      }
    )
  )

  it.live("for headers is a timeout of the first byte", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer(() => {})
      const error = yield* Effect.flip(Effect.provide(run(), over(peer.url).pipe(Layer.provide(impatient))))
      assert.deepInclude(error.reason, { _tag: "Timeout", phase: "firstByte" })
    }).pipe(Effect.scoped)
  )

  it.live("for a body is an idle timeout", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer((_seen, response) => {
        response.writeHead(200, { "content-type": "application/json" })
        response.write("{")
      })
      const layer = over(peer.url).pipe(Layer.provide(impatient))
      const error = yield* Effect.flip(
        Effect.provide(
          Effect.flatMap(run(), ({ json }) => json),
          layer
        )
      )
      assert.deepInclude(error.reason, { _tag: "Timeout", phase: "idle" })
    }).pipe(Effect.scoped)
  )

  for (const name of ["TimeoutError", "HeadersTimeoutError", "BodyTimeoutError"]) {
    it(`is found behind other errors: ${name}`, () => {
      const cause = Object.assign(new Error("late"), { name })
      const thrown = new TypeError("fetch failed", { cause: new Error("outer", { cause }) })
      assert.deepInclude(transportReason(thrown, []), { _tag: "Timeout", phase: "firstByte" })
    })
  }

  it("for a connection means that nothing was sent", () => {
    const cause = Object.assign(new Error("late"), { name: "ConnectTimeoutError", code: "UND_ERR_CONNECT_TIMEOUT" })
    assert.deepInclude(transportReason(new TypeError("fetch failed", { cause }), []), {
      _tag: "TransportFailure",
      kind: "connect"
    })
  })
})

describe("a refused connection", () => {
  for (const [name, client] of clients) {
    it.live(`is distinguished from a broken one over ${name}`, () =>
      Effect.gen(function* () {
        const url = yield* nobody
        const error = yield* Effect.flip(Effect.provide(run(), over(url).pipe(Layer.provide(client))))
        assert.deepInclude(error.reason, { _tag: "TransportFailure", kind: "connect", code: "ECONNREFUSED" })
      })
    )
  }

  // In the runtimes' own words: Bun 1.4, Deno 2.9 (refused, and an unknown host), workerd, Chromium, Safari, Firefox.
  const told: ReadonlyArray<readonly [runtime: string, thrown: Error]> = [
    ["Bun", Object.assign(new TypeError("ECONNREFUSED: Unable to connect."), { code: "ECONNREFUSED" })],
    [
      "Deno",
      new TypeError("fetch failed", {
        cause: new Error(
          "error sending request for url (http://127.0.0.1:1/): client error (Connect): tcp connect error: Connection refused (os error 111)"
        )
      })
    ],
    [
      "Deno, no such host",
      new TypeError(
        "error sending request for url (http://x.invalid/): client error (Connect): dns error: failed to lookup"
      )
    ],
    ["workerd", new Error("Network connection lost.")],
    ["Chromium", new TypeError("Failed to fetch")],
    ["Safari", new TypeError("Load failed")],
    ["Firefox", new TypeError("NetworkError when attempting to fetch resource.")]
  ]
  for (const [runtime, thrown] of told) {
    it(`is a failure to connect in ${runtime}`, () => {
      assert.deepInclude(transportReason(thrown, []), { _tag: "TransportFailure", kind: "connect" })
    })
  }
})

describe("a limit of the Workers platform", () => {
  it("is the request's own fault, also over HTTP", () => {
    const reason = transportReason(new Error("Too many subrequests by single Worker invocation."), [])
    assert.deepInclude(reason, { _tag: "InvalidRequest", origin: "client", field: "request" })
    assert.deepStrictEqual([decide(reason).again, decide(reason).next], [false, false])
  })
})

describe("a context without DOMException", () => {
  it.effect("aborts a request that is interrupted", () =>
    Effect.gen(function* () {
      const descriptor = Object.getOwnPropertyDescriptor(globalThis, "DOMException") ?? {}
      let reason: unknown
      const waiting = tryRequest(
        (signal) => {
          signal.addEventListener("abort", () => {
            reason = signal.reason
          })
          return new Promise<string>(() => {})
        },
        Effect.succeed,
        (thrown) => thrown
      )
      const fiber = yield* Effect.forkChild(waiting)
      yield* Effect.yieldNow
      Reflect.deleteProperty(globalThis, "DOMException")
      try {
        yield* Fiber.interrupt(fiber)
      } finally {
        Object.defineProperty(globalThis, "DOMException", descriptor)
      }
      assert.instanceOf(reason, Error)
      assert.include(reason, { name: "AbortError", message: "This operation was aborted" })
      assert.strictEqual(runInNewContext("typeof DOMException"), "undefined")
    })
  )
})

describe("a credential in the query of an endpoint", () => {
  const secret = "AIzaSyA-Fake+Key/123"
  const endpoint = `v1beta/models/m:generateContent?alt=json&key=${encodeURIComponent(secret)}`
  const echo = (shown: string) => ({
    error: { code: 400, message: `no model at ${shown}`, status: "INVALID_ARGUMENT" }
  })

  const assertClean = ({ reason, ...error }: GatewayError): void => {
    const text = JSON.stringify([reason, error, reason.message])
    assert.include(text, "<redacted>")
    for (const part of [secret, encodeURIComponent(secret), "Fake"]) assert.notInclude(text, part)
  }

  it.effect("is removed from a provider's echo, decoded or not", () =>
    Effect.gen(function* () {
      for (const shown of [endpoint, decodeURIComponent(endpoint)]) {
        const { layer } = scripted.make(() => ({ status: 400, body: echo(shown) }))
        const run = Effect.flatMap(GatewayService.GatewayService, (gateway) =>
          gateway.run({ provider: "google-ai-studio", endpoint, query: {} })
        )
        assertClean(yield* Effect.flip(Effect.provide(run, layer)))
      }
    })
  )

  it.effect("is removed over the binding, also from its exceptions", () =>
    Effect.gen(function* () {
      const answers = [
        async () => Response.json(echo(endpoint), { status: 400 }),
        async () => Promise.reject(new Error(`internal error at ${endpoint}`))
      ]
      for (const answer of answers) {
        const unused = async () => Promise.reject(new Error("unused"))
        const gateway = { run: answer, getLog: unused, patchLog: unused, getUrl: unused }
        const ai = { gateway: () => gateway, run: unused, models: unused }
        const run = Effect.flatMap(GatewayService.GatewayService, (service) =>
          service.run([
            { provider: "openai", endpoint: "chat/completions", query: {} },
            { provider: "google-ai-studio", endpoint, query: {} }
          ])
        )
        assertClean(yield* Effect.flip(Effect.provide(run, GatewayService.layerBinding(ai, { gateway: "g" }))))
      }
    })
  )
})

describe("a repeated header of the gateway", () => {
  it.live("is absent, over HTTP and over the binding", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer((_seen, response) => {
        response.setHeader("cf-aig-log-id", ["log-1", "log-2"])
        response.setHeader("cf-aig-cache-status", ["HIT", "MISS"])
        response.setHeader("cf-aig-step", ["0", "1"])
        json(response, 200, {})
      })
      const token = Redacted.make("a token")
      const layer = GatewayService.layerHttp({ accountId: "acc", gateway: "gw", baseUrl: peer.url, token })
      for (const [, client] of clients) {
        const { meta } = yield* Effect.provide(run(), layer.pipe(Layer.provide(client)))
        assert.deepStrictEqual([meta.logId, meta.cacheStatus, meta.step], [undefined, undefined, undefined])
      }
      const headers = new Headers([
        ["cf-aig-log-id", "log-1"],
        ["cf-aig-log-id", "log-2"]
      ])
      const answer = yield* call(
        () => Promise.resolve(new Response("{}", { headers })),
        (thrown) => thrown
      )
      assert.strictEqual(answer.headers["cf-aig-log-id"], "log-1, log-2")
    }).pipe(Effect.scoped)
  )
})
