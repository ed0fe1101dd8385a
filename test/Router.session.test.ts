/**
 * Headers and the session of a run, as they arrive over real sockets.
 */
import { createHash } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as Transport from "effect-ai-gateway/Transport"
import { serve } from "../src/local/node.ts"
import * as Upstream from "../src/local/Upstream.ts"
import { json, makePeer, type Peer } from "./support/httpPeer.ts"

const session = "customer 4711 <ada@example.com>"
const sessionId = createHash("sha256").update(session).digest("hex").slice(0, 32)

const completion = { choices: [{ message: { role: "assistant", content: "Hello" }, finish_reason: "stop" }] }
const events = `data: ${JSON.stringify({ choices: [{ delta: { content: "Hello" }, finish_reason: "stop" }] })}\n\ndata: [DONE]\n\n`

/** A gateway that answers every request with a completion, complete or streamed. */
const answering = makePeer((request, response) => {
  if (!/"stream":true/.test(request.body)) return json(response, 200, completion, { "cf-aig-step": "0" })
  response.writeHead(200, { "content-type": "text/event-stream", "cf-aig-step": "0" })
  response.end(events)
})

const routerAt = (baseUrl: string): Layer.Layer<Router.Router> =>
  Router.layer.pipe(
    Layer.provide(GatewayService.layerHttp({ accountId: "local", gateway: "default", baseUrl })),
    Layer.provide(Transport.layerFetch),
    Layer.orDie
  )

/** The request that a target received, by client or in the gateway: its headers in lower case and its body. */
interface Received {
  readonly headers: Readonly<Record<string, unknown>>
  readonly body: Readonly<Record<string, unknown>>
}

const received = ({ requests }: Peer): ReadonlyArray<Received> =>
  requests.flatMap(({ body, headers }) => {
    const parsed = JSON.parse(body)
    return Array.isArray(parsed)
      ? parsed.map((leg): Received => ({ headers: leg.headers, body: leg.query }))
      : [{ headers, body: parsed }]
  })

const run = (how: "run" | "stream", route: Provider.ChatRoute, options: Router.RunOptions) =>
  how === "run" ? Effect.asVoid(Router.run(route, "Hi", options)) : Stream.runDrain(Router.stream(route, "Hi", options))

/**
 * The requests that targets receive for a run against a gateway that answers as OpenAI does; other dialects fail after
 * that.
 */
const send = Effect.fnUntraced(function* (
  how: "run" | "stream",
  route: Provider.ChatRoute,
  options: Router.RunOptions
) {
  const peer = yield* answering
  yield* Effect.ignore(run(how, route, options)).pipe(Effect.provide(routerAt(peer.url)))
  for (const { body, headers, url } of peer.requests) {
    assert.notInclude(`${url}${body}${JSON.stringify(headers)}`, "ada@example")
  }
  return received(peer)
})

const gpt = Provider.openai.chat("gpt-4.1-mini")
const claude = Provider.anthropic.messages("claude-haiku-4-5")
const llama = Provider.workersAi.chat("@cf/meta/llama-3.1-8b-instruct")
const off = Route.cache({ ttl: "off" })
const ways = [
  ["run", "client"],
  ["run", "gateway"],
  ["stream", "client"],
  ["stream", "gateway"]
] as const

describe("headers of a run", () => {
  it.live.each(ways)("reach every target (%s, %s)", ([how, execution]) =>
    Effect.gen(function* () {
      const headers = { "anthropic-beta": "context-1m", "cf-aig-not-yet-known": "yes" }
      const route = execution === "client" ? gpt : Route.fallback(gpt, claude)
      const all = yield* send(how, route, { execution, headers })
      assert.lengthOf(all, execution === "client" ? 1 : 2)
      for (const one of all) {
        assert.strictEqual(one.headers["anthropic-beta"], "context-1m")
        assert.strictEqual(one.headers["cf-aig-not-yet-known"], "yes")
        assert.notProperty(one.headers, "cf-aig-session-id")
      }
    }).pipe(Effect.scoped)
  )

  it.live.each(ways)("give way to those of a target (%s, %s)", ([how, execution]) =>
    Effect.gen(function* () {
      const own = Provider.openai.chat("gpt-4.1-mini", {
        apiKey: Redacted.make("sk-own"),
        headers: { "openai-organization": "ours" }
      })
      const headers = { "openai-organization": "theirs", "openai-project": "p" }
      const [one] = yield* send(how, Route.fallback(own, claude), { execution, headers })
      assert.strictEqual(one?.headers["openai-organization"], "ours")
      assert.strictEqual(one?.headers["openai-project"], "p")
      assert.strictEqual(one?.headers["authorization"], "Bearer sk-own")
    }).pipe(Effect.scoped)
  )

  it.live("reach each target that a run falls back to", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer((_, response, __, index) =>
        index === 0 ? json(response, 503, {}) : json(response, 200, completion)
      )
      const options = { execution: "client", headers: { "x-trace": "t" }, session } as const
      yield* Router.run(Route.fallback(gpt, Provider.groq.chat("llama")), "Hi", options).pipe(
        Effect.provide(routerAt(peer.url))
      )
      const seen = received(peer).map(({ headers }) => [headers["x-trace"], headers["cf-aig-session-id"]])
      assert.deepStrictEqual(seen, [
        ["t", sessionId],
        ["t", sessionId]
      ])
    }).pipe(Effect.scoped)
  )

  const credential = "no credential; give it to the target"
  const option = "a header that the router does not write; use `options`"

  it.live.each([
    ["authorization", "Bearer sk-1", credential],
    ["proxy-authorization", "Basic x", credential],
    ["cf-aig-authorization", "Bearer x", credential],
    ["x-api-key", "sk-1", credential],
    ["x-goog-api-key", "sk-1", credential],
    ["api-key", "sk-1", credential],
    ["xi-api-key", "sk-1", credential],
    ["x-auth-key", "sk-1", credential],
    ["ocp-apim-subscription-key", "sk-1", credential],
    ["x-amz-security-token", "t", credential],
    ["cf-access-client-secret", "s", credential],
    ["cf-access-jwt-assertion", "s", credential],
    ["cookie", "a=b", credential],
    ["set-cookie", "a=b", credential],
    ["cf-aig-event-id", "e", option],
    ["cf-aig-cache-key", "k", option],
    ["cf-aig-skip-cache", "true", option],
    ["cf-skip-cache", "true", option],
    ["cf-aig-max-attempts", "5", option],
    ["cf-aig-byok-alias", "a", option],
    ["cf-aig-metadata", "{}", option],
    ["cf-aig-gateway-id", "g", option],
    ["content-type", "text/plain", "a header that the transport does not write"],
    ["content-length", "1", "a header that the transport does not write"],
    ["host", "example.com", "a header that the transport does not write"],
    ["X-Trace", "t", "lower-case header names"],
    ["x trace", "t", "lower-case header names"],
    ["", "t", "lower-case header names"],
    ["x-trace", "a\r\nb: c", "printable ASCII without control characters or spaces at the ends"],
    ["x-trace", "", "printable ASCII without control characters or spaces at the ends"],
    ["x-trace", "é", "printable ASCII without control characters or spaces at the ends"]
  ] as const)("reject %s: %j before anything is sent", ([name, value, accepted]) =>
    Effect.gen(function* () {
      const peer = yield* answering
      for (const [how, execution] of ways) {
        const route = Route.fallback(gpt, claude)
        const { reason } = yield* run(how, route, { execution, headers: { "x-fine": "1", [name]: value } }).pipe(
          Effect.provide(routerAt(peer.url)),
          Effect.flip
        )
        assert.strictEqual(reason._tag, "InvalidRequest")
        if (reason._tag === "InvalidRequest") {
          assert.deepStrictEqual([reason.field, reason.accepted], [`headers.${name}`, accepted])
        }
      }
      assert.lengthOf(peer.requests, 0)
    }).pipe(Effect.scoped)
  )

  it.live("may be none", () =>
    Effect.gen(function* () {
      assert.lengthOf(yield* send("run", gpt, { headers: {} }), 1)
    }).pipe(Effect.scoped)
  )
})

describe("the session of a run", () => {
  it.live.each(ways)("is sent as a hash, in the fields that each target supports (%s, %s)", ([how, execution]) =>
    Effect.gen(function* () {
      const routes = [gpt, claude, llama, Provider.fireworks.chat("kimi"), Provider.azureOpenai.chat("gpt", azure)]
      const [first, ...rest] = routes.map((route) => off(route))
      const all: Array<Received> = []
      if (first === undefined) return
      if (execution === "gateway")
        all.push(...(yield* send(how, Route.fallback(first, ...rest), { execution, session })))
      else for (const route of routes) all.push(...(yield* send(how, off(route), { execution, session })))
      const seen = all.map(({ body, headers }) => [headers["x-session-affinity"], body["prompt_cache_key"]])
      for (const { headers } of all) assert.strictEqual(headers["cf-aig-session-id"], sessionId)
      assert.deepStrictEqual(seen, [
        [undefined, sessionId],
        [undefined, undefined],
        [sessionId, undefined],
        [sessionId, sessionId],
        [undefined, undefined]
      ])
    }).pipe(Effect.scoped)
  )

  const azure = { resource: "r", apiVersion: "2024-10-21" }
  it.live.each([
    ["openai/gpt-5-mini", undefined, sessionId],
    ["workers-ai/@cf/meta/llama", sessionId, undefined],
    ["dynamic/support", sessionId, undefined],
    ["cloudflare/auto", sessionId, undefined],
    ["groq/llama", undefined, undefined]
  ] as const)("follows the model of compat: %s", ([model, affinity, key]) =>
    Effect.gen(function* () {
      const [one] = yield* send("run", off(Provider.compat.chat(model)), { session })
      assert.strictEqual(one?.headers["x-session-affinity"], affinity)
      assert.strictEqual(one?.body["prompt_cache_key"], key)
    }).pipe(Effect.scoped)
  )

  it.live("is in the body only where the gateway's cache is off or has its own key", () =>
    Effect.gen(function* () {
      const peer = yield* answering
      const cached = Route.cache({ ttl: "1 hour" })(gpt)
      const keyed = Route.cache({ ttl: "1 hour", key: "mine" })(gpt)
      const cases = [
        [gpt, {}, undefined],
        [cached, {}, undefined],
        [keyed, {}, sessionId],
        [off(gpt), {}, sessionId],
        [gpt, { options: { cache: { ttl: "off" } } }, sessionId],
        [gpt, { options: { cache: { skip: true } } }, sessionId],
        [cached, { options: { cache: { ttl: "off" } } }, undefined]
      ] as const
      for (const [route, options] of cases) {
        yield* Effect.provide(Router.run(route, "Hi", { ...options, session }), routerAt(peer.url))
      }
      const keys = received(peer).map(({ body }) => body["prompt_cache_key"])
      assert.deepStrictEqual(
        keys,
        cases.map(([, , expected]) => expected)
      )
    }).pipe(Effect.scoped)
  )

  it.live.each(ways)("never replaces fields of the input or the target (%s, %s)", ([how, execution]) =>
    Effect.gen(function* () {
      const peer = yield* answering
      const input = { messages: [{ role: "user", content: "Hi" }], extra: { prompt_cache_key: "own" } } as const
      const options = { execution, session } as const
      const route = off(
        Route.fallback(
          Provider.openai.chat("gpt-4.1-mini", { headers: { "x-session-affinity": "route" } }),
          Provider.openai.chat("gpt-4.1", { body: { prompt_cache_key: "target" } })
        )
      )
      yield* (
        how === "run" ? Router.run(route, input, options) : Stream.runDrain(Router.stream(route, input, options))
      ).pipe(Effect.provide(routerAt(peer.url)))
      const [first] = received(peer)
      assert.deepStrictEqual([first?.body["prompt_cache_key"], first?.headers["x-session-affinity"]], ["own", "route"])
      const [second] = yield* send(
        how,
        off(Provider.openai.chat("gpt-4.1", { body: { prompt_cache_key: "target" } })),
        options
      )
      assert.strictEqual(second?.body["prompt_cache_key"], "target")
    }).pipe(Effect.scoped)
  )

  it.live("does not change embeddings and custom requests", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer((_, response) => json(response, 200, { data: [{ index: 0, embedding: [1] }] }))
      const route = off(Provider.openai.embeddings("text-embedding-3-small"))
      yield* Router.run(route, "Hi", { session }).pipe(Effect.provide(routerAt(peer.url)))
      const [one] = received(peer)
      assert.notProperty(one?.body, "prompt_cache_key")
      assert.strictEqual(one?.headers["cf-aig-session-id"], sessionId)
    }).pipe(Effect.scoped)
  )

  it.live("shares cached answers between sessions", () =>
    Effect.gen(function* () {
      const { gateway, url } = yield* serve({ port: 0, gateways: { default: { cacheTtl: 3600 } } })
      const ask = (session: string) =>
        Effect.map(Router.run(gpt, "Hi", { session }), ({ cacheStatus }) => cacheStatus).pipe(
          Effect.provide(routerAt(url))
        )
      assert.deepStrictEqual([yield* ask("ada"), yield* ask("grace"), yield* ask("ada")], ["MISS", "HIT", "HIT"])
      assert.lengthOf(yield* gateway.calls, 1)
    }).pipe(Effect.scoped)
  )

  it.live.each([
    ["", {}, "session", "a text of 1 to 1024 characters"],
    ["x".repeat(1025), {}, "session", "a text of 1 to 1024 characters"],
    ["a", { "cf-aig-session-id": "b" }, "headers.cf-aig-session-id", "nothing beside `session`"],
    ["a", { "x-session-affinity": "b" }, "headers.x-session-affinity", "nothing beside `session`"]
  ] as const)("rejects %j with %j", ([given, headers, field, accepted]) =>
    Effect.gen(function* () {
      const peer = yield* answering
      const { reason } = yield* Router.run(gpt, "Hi", { session: given, headers }).pipe(
        Effect.provide(routerAt(peer.url)),
        Effect.flip
      )
      assert.deepInclude(reason, { _tag: "InvalidRequest", field, accepted })
      assert.lengthOf(peer.requests, 0)
    }).pipe(Effect.scoped)
  )

  it.live("accepts any string, and headers for it if no session is given", () =>
    Effect.gen(function* () {
      const [emoji] = yield* send("run", gpt, { session: "会話 🎈" })
      assert.match(String(emoji?.headers["cf-aig-session-id"]), /^[0-9a-f]{32}$/)
      const [own] = yield* send("run", gpt, { headers: { "cf-aig-session-id": "mine", "cf-aig-turn-id": "2" } })
      assert.deepStrictEqual([own?.headers["cf-aig-session-id"], own?.headers["cf-aig-turn-id"]], ["mine", "2"])
    }).pipe(Effect.scoped)
  )
})

describe("targets that the gateway resolves", () => {
  const autoModels = ["openai/gpt-4.1-mini", "anthropic/claude-haiku-4-5"]
  const aliases = { fast: ["openai/gpt-4.1-mini", "@cf/meta/llama-3.1-8b-instruct"] }

  it.live.each(ways)("auto only uses the allowed models and providers (%s, %s)", ([how, execution]) =>
    Effect.gen(function* () {
      const { gateway, url } = yield* serve({ port: 0, autoModels })
      const routes = [
        Provider.auto(),
        Provider.auto({ models: ["anthropic/*"] }),
        Provider.auto({ providers: ["anthropic"] })
      ]
      for (const route of routes) {
        yield* run(how, Route.fallback(route, gpt), { execution, session }).pipe(Effect.provide(routerAt(url)))
      }
      const calls = yield* gateway.calls
      assert.deepStrictEqual(
        calls.map(({ model }) => model),
        ["gpt-4.1-mini", "claude-haiku-4-5", "claude-haiku-4-5"]
      )
      for (const { headers } of calls) assert.strictEqual(headers["x-session-affinity"], sessionId)
    }).pipe(Effect.scoped)
  )

  it.live.each(ways)("an alias tries its models in order (%s, %s)", ([how, execution]) =>
    Effect.gen(function* () {
      const { gateway, url } = yield* serve({
        port: 0,
        gateways: { default: { aliases } },
        upstreams: { openai: Upstream.script([{ status: 503, repeat: "forever" }]) }
      })
      yield* run(how, Provider.alias("fast"), { execution }).pipe(Effect.provide(routerAt(url)))
      const calls = yield* gateway.calls
      assert.deepStrictEqual(
        calls.map(({ provider }) => provider),
        ["openai", "workers-ai"]
      )
    }).pipe(Effect.scoped)
  )

  it.live("an alias that the gateway does not have is a failure of its target", () =>
    Effect.gen(function* () {
      const { url } = yield* serve({ port: 0 })
      const route = Route.fallback(Provider.alias("none"), gpt)
      const { attempts, target } = yield* Router.run(route, "Hi", { execution: "client" }).pipe(
        Effect.provide(routerAt(url))
      )
      assert.deepStrictEqual([attempts.length, target], [2, "openai/gpt-4.1-mini"])
    }).pipe(Effect.scoped)
  )

  it("are stored and read again", () => {
    const route = Route.fallback(Provider.auto({ models: ["openai/*"], providers: ["openai"] }), Provider.alias("fast"))
    const stored = Result.getOrThrow(Route.toJson(route))
    const read = Result.getOrThrow(Route.fromJson(JSON.parse(JSON.stringify(stored))))
    assert.deepStrictEqual(Result.getOrThrow(Route.toJson(read)), stored)
  })

  it.each([
    [Provider.auto({ models: [] }), "compat.models"],
    [Provider.auto({ models: ["gpt-4.1"] }), "compat.models[0]"],
    [Provider.auto({ models: ["openai/a,openai/b"] }), "compat.models[0]"],
    [Provider.auto({ providers: ["openai", "Open AI"] }), "compat.providers[1]"],
    [Provider.alias(""), "compat.alias"],
    [Provider.alias("custom/fast"), "compat.alias"]
  ])("name what cannot be used (%#)", (route, field) => {
    assert.deepStrictEqual(
      Route.problems(route).map((problem) => problem.field),
      [field]
    )
  })

  it("do not pass headers of the gateway to other targets", () => {
    const route = Provider.openai.chat("gpt", { headers: { "cf-aig-allowed-models": "x/y" } })
    assert.deepStrictEqual(
      Route.problems(route).map(({ field }) => field),
      ["openai.headers.cf-aig-allowed-models"]
    )
  })
})
