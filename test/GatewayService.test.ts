import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import type { GatewayError } from "../src/GatewayError.ts"
import * as GatewayService from "../src/GatewayService.ts"
import * as LogTrail from "../src/LogTrail.ts"
import { eventually, suite } from "./suites/GatewaySuite.ts"
import { transports } from "./suites/transports.ts"
import { makeBinding } from "./support/bindingDouble.ts"
import { json, makePeer, type Reply } from "./support/httpPeer.ts"
import { assertSilent, traced } from "./support/leaks.ts"

for (const transport of transports) suite(transport)

const token = Redacted.make("gateway-token-7f3a")
const apiToken = Redacted.make("api-token-91cc")

const build = (layer: Layer.Layer<GatewayService.GatewayService, GatewayError>) =>
  Effect.flatMap(Layer.build(layer), (context) => Effect.provide(GatewayService.GatewayService, context))

/** A gateway over `fetch` against a peer. */
const overPeer = Effect.fnUntraced(function* (reply: Reply, options: Partial<GatewayService.HttpOptions> = {}) {
  const peer = yield* makePeer(reply)
  const gateway = yield* build(
    GatewayService.layerHttp({
      accountId: "acc",
      gateway: "gw",
      baseUrl: peer.url,
      apiBaseUrl: `${peer.url}/client/v4`,
      ...options
    }).pipe(Layer.provide(FetchHttpClient.layer))
  )
  return { peer, gateway }
})

const ok: Reply = (_, response) => json(response, 200, {})
const query = { model: "m", messages: [{ role: "user", content: "hi" }] }
const leg = { provider: "openai", endpoint: "chat/completions", query }

/** Headers of a request without those that `fetch` adds. */
const ownHeaders = (headers: Readonly<Record<string, unknown>>) => {
  const added = ["host", "connection", "accept", "accept-language", "sec-fetch-mode", "user-agent", "accept-encoding"]
  return Object.fromEntries(Object.entries(headers).filter(([name]) => ![...added, "content-length"].includes(name)))
}

const notFoundOf = (error: GatewayError) => (error.reason._tag === "NotFound" ? error.reason.what : error.reason._tag)

describe("over HTTP", () => {
  it.effect("one leg is a request to the provider's own endpoint", () =>
    Effect.gen(function* () {
      const { gateway, peer } = yield* overPeer(ok, { token, apiToken })
      yield* gateway.run(
        {
          ...leg,
          endpoint: "chat/completions?api-version=1",
          headers: { authorization: Redacted.make("Bearer sk-1"), "cf-aig-request-timeout": "7" },
          config: { requestTimeout: 5, maxAttempts: 2, retryDelay: 10, backoff: "linear" }
        },
        { timeout: "1 second", metadata: { name: "Zoë" }, eventId: "e-1", retries: { attempts: 5 } }
      )
      const [seen] = peer.requests
      assert.strictEqual(seen?.method, "POST")
      assert.strictEqual(seen?.url, "/v1/acc/gw/openai/chat/completions?api-version=1")
      assert.strictEqual(seen?.body, JSON.stringify(query))
      assert.deepStrictEqual(ownHeaders(seen?.headers ?? {}), {
        authorization: "Bearer sk-1",
        "cf-aig-authorization": "Bearer gateway-token-7f3a",
        "cf-aig-backoff": "linear",
        "cf-aig-event-id": "e-1",
        "cf-aig-max-attempts": "2",
        "cf-aig-metadata": `{"name":"Zo\\u00eb"}`,
        "cf-aig-request-timeout": "7",
        "cf-aig-retry-delay": "10",
        "content-type": "application/json"
      })
    })
  )

  it.effect("several legs are an array to the gateway, with its token as a real header", () =>
    Effect.gen(function* () {
      const { gateway, peer } = yield* overPeer(ok, { token })
      yield* gateway.run(
        [
          { ...leg, headers: { authorization: Redacted.make("Bearer sk-1") }, config: { maxAttempts: 2 } },
          { ...leg, provider: "anthropic", query: null }
        ],
        { timeout: 250 }
      )
      const [seen] = peer.requests
      assert.strictEqual(seen?.url, "/v1/acc/gw")
      assert.deepStrictEqual(ownHeaders(seen?.headers ?? {}), {
        "cf-aig-authorization": "Bearer gateway-token-7f3a",
        "cf-aig-request-timeout": "250",
        "content-type": "application/json"
      })
      assert.deepStrictEqual(JSON.parse(seen?.body ?? ""), [
        {
          ...leg,
          headers: { "content-type": "application/json", authorization: "Bearer sk-1" },
          config: { maxAttempts: 2 }
        },
        { ...leg, provider: "anthropic", query: null, headers: { "content-type": "application/json" } }
      ])
    })
  )

  it.effect("a custom domain stands for account and gateway", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer(ok)
      const gateway = yield* build(
        GatewayService.layerHttp({ accountId: "acc", gateway: "gw", gatewayUrl: `${peer.url}/` }).pipe(
          Layer.provide(FetchHttpClient.layer)
        )
      )
      yield* gateway.run(leg)
      yield* gateway.run([leg, leg])
      assert.deepStrictEqual(
        peer.requests.map(({ url }) => url),
        ["/openai/chat/completions", "/"]
      )
      assert.strictEqual(yield* gateway.getUrl("openai"), `${peer.url}/openai`)
      assert.isUndefined(peer.requests[0]?.headers["cf-aig-authorization"])
    })
  )

  it.effect("logs are on the API's host, with the API's token", () =>
    Effect.gen(function* () {
      const { gateway, peer } = yield* overPeer(
        (seen, response) => json(response, 200, { success: true, result: seen.url.includes("?") ? [] : { id: "l.1" } }),
        { token, apiToken }
      )
      yield* gateway.getLog("l.1")
      yield* gateway.patchLog("l.1", { feedback: -1, score: undefined })
      yield* gateway.listLogs({
        page: 2,
        perPage: 50,
        search: "a b",
        orderBy: "created_at",
        direction: "desc",
        eventId: "e-1",
        filters: [{ key: "provider", operator: "neq", value: ["openai", null] }]
      })
      const logs = "/client/v4/accounts/acc/ai-gateway/gateways/gw/logs"
      assert.deepStrictEqual(
        peer.requests.map(({ body, headers, method, url }) => [method, url.split("?")[0], body, ownHeaders(headers)]),
        [
          ["GET", `${logs}/l.1`, "", { authorization: "Bearer api-token-91cc" }],
          [
            "PATCH",
            `${logs}/l.1`,
            `{"feedback":-1}`,
            { authorization: "Bearer api-token-91cc", "content-type": "application/json" }
          ],
          ["GET", logs, "", { authorization: "Bearer api-token-91cc" }]
        ]
      )
      const params = new URL(peer.requests[2]?.url ?? "", peer.url).searchParams
      assert.deepStrictEqual(Object.fromEntries(params), {
        page: "2",
        per_page: "50",
        search: "a b",
        order_by: "created_at",
        order_by_direction: "desc",
        filters: JSON.stringify([
          { key: "provider", operator: "neq", value: ["openai", null] },
          { key: "event_id", operator: "eq", value: ["e-1"] }
        ])
      })
    })
  )

  it.effect("logs need the API's token, and say so", () =>
    Effect.gen(function* () {
      const { gateway, peer } = yield* overPeer(ok, { token })
      const { reason } = yield* Effect.flip(gateway.getLog("l"))
      assert.isTrue(reason._tag === "InvalidRequest" && reason.field === "apiToken")
      assert.include(reason.message, "AI Gateway Read")
      assert.strictEqual(peer.requests.length, 0)
    })
  )

  it.effect("answers of the logs API that are none are invalid responses", () =>
    Effect.gen(function* () {
      const bodies = [{ success: true, result: { no: "id" } }, { success: true, result: "text" }, { success: true }]
      const { gateway } = yield* overPeer((_, response, __, index) => json(response, 200, bodies[index % 3]), {
        apiToken
      })
      for (let n = 0; n < 3; n++) {
        const error = yield* Effect.flip(gateway.getLog("l"))
        assert.strictEqual(error.reason._tag, "InvalidResponse")
        assert.strictEqual(error.logId, "l")
      }
      for (let n = 0; n < 3; n++) {
        assert.strictEqual((yield* Effect.flip(gateway.listLogs())).reason._tag, "InvalidResponse")
      }
    })
  )

  it.effect("a failure in the envelope of a 200 is a failure, of whom it was asked", () =>
    Effect.gen(function* () {
      const { gateway } = yield* overPeer(
        (_, response) => json(response, 200, { success: false, errors: [{ code: 7002, message: "Log Not Found" }] }),
        { apiToken }
      )
      assert.strictEqual(notFoundOf(yield* Effect.flip(gateway.getLog("l"))), "log")
    })
  )

  it.effect("what is no leg and no list of legs is named, before anything is sent", () =>
    Effect.gen(function* () {
      const { gateway, peer } = yield* overPeer(ok)
      // What a program without types passes.
      for (const text of ["null", "{}", "3", `"x"`, "[null]", `[[{"provider":"openai"}]]`]) {
        const error = yield* Effect.flip(gateway.run(JSON.parse(text)))
        assert.isTrue(error.reason._tag === "InvalidRequest" && /^legs\[0\]/.test(error.reason.field ?? ""), text)
        assert.strictEqual(error.method, "GatewayService.run")
      }
      for (const [options, field] of [
        [`{"cacheTtl":60}`, "options.cacheTtl"],
        [`{"headers":{}}`, "options.headers"]
      ] as const) {
        const leg = { provider: "openai", endpoint: "chat/completions", query: {} }
        const error = yield* Effect.flip(gateway.run(leg, JSON.parse(options)))
        assert.isTrue(error.reason._tag === "InvalidRequest" && error.reason.field === field, options)
      }
      for (const id of [undefined, null, 5]) {
        const error = yield* Effect.flip(gateway.getLog(id as unknown as string))
        assert.isTrue(error.reason._tag === "InvalidRequest" && error.reason.field === "logId")
      }
      assert.strictEqual(peer.requests.length, 0)
    })
  )

  it.effect("a malformed option of the layer is named", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [Partial<GatewayService.HttpOptions>, string]> = [
        // An environment variable that is not set, for example.
        [JSON.parse(`{"accountId":null}`), "accountId"],
        [{ accountId: undefined as unknown as string }, "accountId"],
        [{ gateway: undefined as unknown as string }, "gateway"],
        [JSON.parse(`{"token":"not redacted"}`), "token"],
        [{ accountId: "" }, "accountId"],
        [{ gateway: "a/b" }, "gateway"],
        [{ gateway: "x".repeat(65) }, "gateway"],
        [{ baseUrl: "gateway.test" }, "baseUrl"],
        [{ baseUrl: "https://user:pw@gateway.test" }, "baseUrl"],
        // After an empty query or fragment, a path would not be a path.
        [{ baseUrl: "https://gateway.test/?" }, "baseUrl"],
        [{ gatewayUrl: "https://gateway.test/#" }, "gatewayUrl"],
        [{ apiBaseUrl: "https://gateway.test/ " }, "apiBaseUrl"],
        [{ gatewayUrl: "https://gateway.test/?x=1" }, "gatewayUrl"],
        [{ apiBaseUrl: "ftp://gateway.test" }, "apiBaseUrl"],
        [{ token: Redacted.make("a\nb") }, "token"],
        [{ apiToken: Redacted.make("") }, "apiToken"]
      ]
      for (const [options, field] of cases) {
        const error = yield* Effect.flip(overPeer(ok, options))
        assert.isTrue(error.reason._tag === "InvalidRequest" && error.reason.field === field, field)
        assert.strictEqual(error.method, "GatewayService.layerHttp")
      }
    })
  )
})

describe("getUrl", () => {
  const asking = () => {
    const asked: Array<string> = []
    let fail = false
    const ai = makeBinding(async (request) => {
      asked.push(new URL(request.url).pathname)
      if (fail) return Response.json({ errors: [] }, { status: 500 })
      return Response.json({ result: { url: `https://gateway.test/${asked.length}` } })
    })
    return {
      asked,
      failing: (value: boolean) => {
        fail = value
      },
      gateway: build(GatewayService.layerBinding(ai, { gateway: "gw" }))
    }
  }

  it.effect("asks once per provider", () =>
    Effect.gen(function* () {
      const { asked, gateway: building } = asking()
      const gateway = yield* building
      const urls = yield* Effect.all(
        Array.from({ length: 100 }, (_, n) => gateway.getUrl(n % 2 === 0 ? "openai" : undefined))
      )
      assert.deepStrictEqual(asked, ["/ai-gateway/gateways/gw/url/openai", "/ai-gateway/gateways/gw/url/universal"])
      assert.strictEqual(new Set(urls).size, 2)
      yield* TestClock.adjust("1000 days")
      yield* gateway.getUrl("openai")
      assert.strictEqual(asked.length, 2)
    })
  )

  it.effect("does not remember failures", () =>
    Effect.gen(function* () {
      const { asked, failing, gateway: building } = asking()
      const gateway = yield* building
      failing(true)
      assert.strictEqual((yield* Effect.flip(gateway.getUrl("openai"))).reason._tag, "ProviderUnavailable")
      failing(false)
      assert.strictEqual(yield* gateway.getUrl("openai"), "https://gateway.test/2")
      assert.strictEqual(asked.length, 2)
    })
  )

  // In a Worker a question dies with the request that asked it.
  it.effect("lets no caller wait for the request of another", () =>
    Effect.gen(function* () {
      const { asked, gateway: building } = asking()
      const gateway = yield* building
      const first = yield* Effect.forkChild(gateway.getUrl(), { startImmediately: true })
      const second = yield* Effect.forkChild(gateway.getUrl(), { startImmediately: true })
      yield* Fiber.interrupt(first)
      assert.strictEqual(yield* Fiber.join(second), "https://gateway.test/2")
      assert.strictEqual(asked.length, 2)
      assert.strictEqual(yield* gateway.getUrl(), "https://gateway.test/2")
      assert.strictEqual(asked.length, 2)
    })
  )
})

describe("getLog with awaitLog", () => {
  /** A gateway whose log appears after a number of questions. */
  const lagging = Effect.fnUntraced(function* (misses: number, status = 404, code = 7002) {
    const asked: Array<number> = []
    const fetch: typeof globalThis.fetch = async () => {
      asked.push(asked.length)
      return asked.length <= misses
        ? Response.json({ success: false, errors: [{ code, message: "No" }] }, { status })
        : Response.json({ success: true, result: { id: "l" } })
    }
    const gateway = yield* build(
      GatewayService.layerHttp({ accountId: "acc", gateway: "gw", apiToken }).pipe(
        Layer.provide(FetchHttpClient.layer),
        Layer.provide(Layer.succeed(FetchHttpClient.Fetch, fetch))
      )
    )
    return { asked, gateway }
  })

  /** Moves the clock until a fiber has ended. */
  const drive = <A, E>(self: Effect.Effect<A, E>, step = 10) =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(Effect.exit(self))
      yield* eventually(
        Effect.andThen(
          TestClock.adjust(step),
          Effect.sync(() => fiber.pollUnsafe())
        ),
        (exit) => exit !== undefined
      )
      return yield* yield* Fiber.join(fiber)
    })

  it.effect("asks again while the log is not there yet", () =>
    Effect.gen(function* () {
      const { asked, gateway } = yield* lagging(4)
      assert.strictEqual((yield* drive(gateway.getLog("l", { awaitLog: true }))).id, "l")
      assert.strictEqual(asked.length, 5)
    })
  )

  it.effect("gives up at the end of its time with the last answer", () =>
    Effect.gen(function* () {
      const { asked, gateway } = yield* lagging(Number.POSITIVE_INFINITY)
      const error = yield* Effect.flip(drive(gateway.getLog("l", { awaitLog: "1 second" })))
      assert.strictEqual(notFoundOf(error), "log")
      assert.strictEqual(error.logId, "l")
      assert.isAtLeast(asked.length, 3)
      const enough = asked.length
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(asked.length, enough)
    })
  )

  it.effect("asks once without it, and when another failure comes", () =>
    Effect.gen(function* () {
      const plain = yield* lagging(1)
      for (const options of [undefined, {}, { awaitLog: false }] as const) {
        plain.asked.length = 0
        assert.strictEqual(notFoundOf(yield* Effect.flip(plain.gateway.getLog("l", options))), "log")
        assert.strictEqual(plain.asked.length, 1)
      }
      const failing = yield* lagging(1, 500, 1000)
      const error = yield* Effect.flip(failing.gateway.getLog("l", { awaitLog: true }))
      assert.strictEqual(failing.asked.length, 1)
      assert.notStrictEqual(notFoundOf(error), "log")
    })
  )

  it.effect("refuses a duration that is none", () =>
    Effect.gen(function* () {
      const { asked, gateway } = yield* lagging(0)
      const { reason } = yield* Effect.flip(gateway.getLog("l", { awaitLog: -1 }))
      assert.isTrue(reason._tag === "InvalidRequest" && reason.field === "awaitLog")
      assert.strictEqual(asked.length, 0)
    })
  )
})

describe("patchLog", () => {
  it.effect("fails when a 200 says that nothing was done", () =>
    Effect.gen(function* () {
      const bodies = [
        JSON.stringify({ success: true, result: {} }),
        "",
        JSON.stringify({ success: false, errors: [{ code: 7002, message: "Log Not Found" }] }),
        "<html>Sign in</html>"
      ]
      const { gateway } = yield* overPeer(
        (_, response, __, index) => {
          response.writeHead(200)
          response.end(bodies[index])
        },
        { apiToken }
      )
      yield* gateway.patchLog("l", { feedback: 1 })
      yield* gateway.patchLog("l", { feedback: 1 })
      const missing = yield* Effect.flip(gateway.patchLog("l", { feedback: 1 }))
      assert.strictEqual(notFoundOf(missing), "log")
      assert.strictEqual(missing.logId, "l")
      assert.strictEqual((yield* Effect.flip(gateway.patchLog("l", { feedback: 1 }))).reason._tag, "InvalidResponse")
    })
  )

  it.effect("refuses what the gateway would lose", () =>
    Effect.gen(function* () {
      const { gateway, peer } = yield* overPeer(ok, { apiToken })
      const bad = (patch: object) =>
        // What a program without types passes.
        Effect.map(Effect.flip(gateway.patchLog("l", patch as Parameters<typeof gateway.patchLog>[1])), ({ reason }) =>
          reason._tag === "InvalidRequest" ? reason.field : reason._tag
        )
      assert.deepStrictEqual(
        yield* Effect.forEach(
          [
            {},
            { feedback: 0 },
            { feedback: true },
            { score: Number.NaN },
            { score: "1" },
            { metadata: { a: {} } },
            { metadata: { "cf.a": 1 } },
            { metadata: { a: 1, b: 2, c: 3, d: 4, e: 5, f: 6 } }
          ],
          bad
        ),
        ["patch", "feedback", "feedback", "score", "score", "metadata.a", `metadata key "cf.a"`, "metadata"]
      )
      assert.strictEqual(peer.requests.length, 0)
    })
  )
})

describe("secrets", () => {
  const provider = "Bearer sk-live-5d41402abc4b2a76"
  const secrets = ["gateway-token-7f3a", "api-token-91cc", "sk-live-5d41402abc4b2a76"]

  /** A peer that sends back everything it was sent, with a status of its choice. */
  const echoing =
    (status: number, contentType: string): Reply =>
    (seen, response) => {
      const { authorization } = seen.headers
      const echo = { headers: seen.headers, body: seen.body }
      const error = { code: `no ${authorization}`, message: `you sent ${JSON.stringify(echo)}`, type: authorization }
      response.writeHead(status, { "content-type": contentType, "x-echo": String(authorization) })
      response.end(contentType === "text/html" ? `<p>${JSON.stringify(echo)}` : JSON.stringify({ error }))
    }

  const program = (status: number, contentType: string) =>
    Effect.gen(function* () {
      const { gateway } = yield* overPeer(echoing(status, contentType), { token, apiToken })
      const withKey = { ...leg, headers: { authorization: Redacted.make(provider) } }
      const calls: ReadonlyArray<Effect.Effect<unknown, GatewayError>> = [
        Effect.flatMap(gateway.run(withKey), (response) => response.result),
        Effect.flatMap(gateway.run([withKey, withKey]), (response) => response.json),
        gateway.getLog("l"),
        gateway.patchLog("l", { feedback: 1 }),
        gateway.listLogs()
      ]
      for (const call of calls) {
        const { attempts, value } = yield* LogTrail.collect(Effect.exit(call))
        const traces = yield* traced(
          Effect.gen(function* () {
            yield* Effect.logInfo("attempts", attempts)
            return yield* value
          })
        )
        assertSilent(traces, secrets)
        const live = yield* traced(call)
        assert.isAtLeast(live.spans.length, 1)
        assertSilent(live, secrets)
      }
    })

  for (const status of [200, 400, 401, 429, 503]) {
    it.effect(`are in no error, log or span when a ${status} echoes them`, () =>
      Effect.gen(function* () {
        yield* program(status, "application/json")
        yield* program(status, "text/html")
      })
    )
  }

  it.effect("are cut out whole, also when one is the beginning of another or JSON escapes it", () =>
    Effect.gen(function* () {
      const odd = `quo"ted-key`
      const { gateway } = yield* overPeer((_, response) => {
        response.writeHead(200, { "content-type": "text/html" })
        response.end(`<p>key-1234567 ${JSON.stringify(odd)}`)
      })
      const headers = {
        authorization: Redacted.make("key-1234"),
        "x-a": Redacted.make("key-1234567"),
        "x-b": Redacted.make(odd)
      }
      const error = yield* Effect.flip(Effect.flatMap(gateway.run({ ...leg, headers }), (response) => response.json))
      assert.strictEqual(error.reason.detail, `<p><redacted> "<redacted>"`)
    })
  )

  it.effect("are in no error when the connection fails", () =>
    Effect.gen(function* () {
      const { gateway } = yield* overPeer((_, __, socket) => socket.destroy(), { token })
      const traces = yield* traced(gateway.run({ ...leg, headers: { authorization: Redacted.make(provider) } }))
      assertSilent(traces, secrets)
      assert.include(traces.text, "TransportFailure")
    })
  )

  it.effect("are in no error when a client prints them", () =>
    Effect.gen(function* () {
      const careless = HttpClient.make((request) =>
        Effect.fail(
          new HttpClientError.HttpClientError({
            reason: new HttpClientError.TransportError({
              request,
              cause: new Error(`could not send ${JSON.stringify(request.headers)}`)
            })
          })
        )
      )
      const gateway = yield* build(
        GatewayService.layerHttp({ accountId: "acc", gateway: "gw", token, apiToken }).pipe(
          Layer.provide(Layer.succeed(HttpClient.HttpClient, careless))
        )
      )
      const headers = { authorization: Redacted.make(provider), "x-other": Redacted.make(provider) }
      for (const call of [
        gateway.run({ ...leg, headers }),
        gateway.run([leg, { ...leg, headers }]),
        gateway.getLog("l")
      ]) {
        const failing: Effect.Effect<unknown, GatewayError> = call
        const traces = yield* traced(failing)
        assertSilent(traces, secrets)
        assert.include(traces.text, "could not send")
      }
    })
  )

  it.effect("are in no error of a layer", () =>
    Effect.gen(function* () {
      for (const bad of ["secret-with\nbreak", "sécret-token"]) {
        assertSilent(yield* traced(Effect.scoped(overPeer(ok, { token: Redacted.make(bad) }))), [bad])
      }
      assertSilent(yield* traced(Effect.scoped(overPeer(ok, { baseUrl: "https://u:secret-pw@x.test" }))), ["secret-pw"])
    })
  )

  it.effect("are found by this very test when they leak", () =>
    Effect.gen(function* () {
      const leaks = [
        Effect.fail(new Error("gateway-token-7f3a")),
        Effect.die({ nested: { token: "gateway-token-7f3a" } }),
        Effect.logDebug("x", { token: "gateway-token-7f3a" }),
        Effect.withSpan(Effect.annotateCurrentSpan("token", "gateway-token-7f3a"), "leak")
      ]
      for (const leak of leaks) {
        const traces = yield* traced(leak)
        assert.throws(() => assertSilent(traces, secrets))
      }
    })
  )
})
