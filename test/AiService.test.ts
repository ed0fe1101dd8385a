import { assert, describe, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as AiService from "../src/AiService.ts"
import { type GatewayError, isGatewayError } from "../src/GatewayError.ts"
import { targetOf } from "../src/internal/ai/backend.ts"
import { suite } from "./suites/AiSuite.ts"
import { transports } from "./suites/transports.ts"
import { makeBinding } from "./support/bindingDouble.ts"
import { json, makePeer, type Reply } from "./support/httpPeer.ts"
import { assertSilent, traced } from "./support/leaks.ts"

for (const transport of transports) suite(transport)

const apiToken = Redacted.make("api-token-91cc")
const token = Redacted.make("gateway-token-7f3a")
const llama = "@cf/meta/llama-3.1-8b-instruct"
const mini = "openai/gpt-4.1-mini"

/** The service over `fetch` against a peer. */
const overPeer = Effect.fnUntraced(function* (reply: Reply, options: Partial<AiService.HttpOptions> = {}) {
  const peer = yield* makePeer(reply)
  const context = yield* Layer.build(
    AiService.layerHttp({
      accountId: "acc",
      apiToken,
      token,
      baseUrl: peer.url,
      apiBaseUrl: `${peer.url}/client/v4/`,
      ...options
    }).pipe(Layer.provide(FetchHttpClient.layer))
  )
  return { peer, ai: yield* Effect.provide(AiService.AiService, context) }
})

/** The service over the binding, whose service answers `reply`. */
const overBinding = Effect.fnUntraced(function* (reply: () => Response) {
  const context = yield* Layer.build(AiService.layerBinding(makeBinding(async () => reply())))
  return yield* Effect.provide(AiService.AiService, context)
})

const ok: Reply = (_, response) => json(response, 200, {})

/** Headers of a request without those that `fetch` adds. */
const ownHeaders = (headers: Readonly<Record<string, unknown>>) => {
  const added = ["host", "connection", "accept", "accept-language", "sec-fetch-mode", "user-agent", "accept-encoding"]
  return Object.fromEntries(Object.entries(headers).filter(([name]) => ![...added, "content-length"].includes(name)))
}

describe("the name of a model", () => {
  it("says where it runs", () => {
    const kinds = [
      llama,
      "@cf/deepgram/nova-3",
      "@hf/nousresearch/hermes-2-pro-mistral-7b",
      mini,
      "xai/grok-4.3",
      "anthropic/claude-haiku-4.5",
      "black-forest-labs/flux/pro-1.1",
      "dynamic/support",
      "dynamic/v1.2_a"
    ].map((model) => targetOf(model))
    assert.deepStrictEqual(
      kinds.map((target) => [target?.kind, target?.provider, target?.model]),
      [
        ["workers-ai", "workers-ai", llama],
        ["workers-ai", "workers-ai", "@cf/deepgram/nova-3"],
        ["workers-ai", "workers-ai", "@hf/nousresearch/hermes-2-pro-mistral-7b"],
        ["third-party", "openai", "gpt-4.1-mini"],
        ["third-party", "xai", "grok-4.3"],
        ["third-party", "anthropic", "claude-haiku-4.5"],
        ["third-party", "black-forest-labs", "flux/pro-1.1"],
        ["dynamic", "compat", "dynamic/support"],
        ["dynamic", "compat", "dynamic/v1.2_a"]
      ]
    )
  })

  it("is refused when it has none of the forms", () => {
    const bad = [
      "",
      "gpt-4.1",
      "@cf/",
      "@cf/meta",
      "@cf/meta/",
      "@cf/meta/../x",
      "@cf/a/b/c",
      "cf/@a/b",
      "workers-ai/@cf/meta/llama",
      "openai/",
      "/gpt",
      "openai//x",
      "openai/..",
      "openai/x?y",
      "openai/x#y",
      "openai/x%2f",
      "openai/é",
      "openai/x\n",
      "dynamic/",
      "dynamic/a/b",
      "dynamic/a b",
      `openai/${"x".repeat(200)}`
    ]
    for (const model of bad) assert.isUndefined(targetOf(model), model)
  })
})

describe("over HTTP", () => {
  it.effect("a third-party model is named in the body, and the gateway in a header", () =>
    Effect.gen(function* () {
      const { ai, peer } = yield* overPeer(ok)
      yield* ai.run(
        mini,
        { messages: [] },
        {
          gateway: "gw",
          cache: { ttl: "2 minutes", key: "k" },
          timeout: "1 second",
          headers: { "x-a": "1", "cf-aig-zdr": "true", "x-key": Redacted.make("k-1") }
        }
      )
      yield* ai.run(mini, { messages: [] })
      const [first, second] = peer.requests
      assert.strictEqual(`${first?.method} ${first?.url}`, "POST /client/v4/accounts/acc/ai/run")
      assert.deepStrictEqual(ownHeaders(first?.headers ?? {}), {
        authorization: "Bearer api-token-91cc",
        "cf-aig-cache-key": "k",
        "cf-aig-cache-ttl": "120",
        "cf-aig-gateway-id": "gw",
        "cf-aig-request-timeout": "1000",
        "cf-aig-skip-cache": "false",
        "cf-aig-zdr": "true",
        "content-type": "application/json",
        "x-a": "1",
        "x-key": "k-1"
      })
      assert.strictEqual(first?.body, JSON.stringify({ model: mini, input: { messages: [] } }))
      assert.deepStrictEqual(ownHeaders(second?.headers ?? {}), {
        authorization: "Bearer api-token-91cc",
        "content-type": "application/json"
      })
    })
  )

  it.effect("a Workers AI model is in the URL, and its input is the body", () =>
    Effect.gen(function* () {
      const { ai, peer } = yield* overPeer(ok)
      yield* ai.run(llama, { prompt: "x" }, { gateway: "gw" })
      yield* ai.run(llama, { prompt: "x" })
      assert.deepStrictEqual(
        peer.requests.map(({ body, headers, url }) => [url, body, headers["cf-aig-gateway-id"]]),
        ["gw", undefined].map((id) => [`/client/v4/accounts/acc/ai/run/${llama}`, `{"prompt":"x"}`, id])
      )
    })
  )

  it.effect("a dynamic route is a chat completion on its gateway, with the gateway's token", () =>
    Effect.gen(function* () {
      const { ai, peer } = yield* overPeer(ok)
      yield* ai.run("dynamic/support", { messages: [] }, { gateway: "gw", eventId: "e", headers: { "x-a": "1" } })
      const [seen] = peer.requests
      assert.strictEqual(seen?.url, "/v1/acc/gw/compat/chat/completions")
      assert.strictEqual(seen?.body, JSON.stringify({ messages: [], model: "dynamic/support" }))
      assert.deepStrictEqual(ownHeaders(seen?.headers ?? {}), {
        "cf-aig-authorization": "Bearer gateway-token-7f3a",
        "cf-aig-event-id": "e",
        "content-type": "application/json",
        "x-a": "1"
      })
      const { reason } = yield* Effect.flip(ai.run("dynamic/support", { model: mini }, { gateway: "gw" }))
      assert.isTrue(reason._tag === "InvalidRequest" && reason.field === "input.model")
      const input = yield* Effect.flip(ai.run("dynamic/support", { n: 1n }, { gateway: "gw" }))
      assert.isTrue(input.reason._tag === "InvalidRequest" && input.reason.field === "input")
      assert.strictEqual(peer.requests.length, 1)
    })
  )

  it.effect("the catalogue is asked with the names of the API", () =>
    Effect.gen(function* () {
      const { ai, peer } = yield* overPeer((_, response) => json(response, 200, { success: true, result: [] }))
      yield* ai.models()
      yield* ai.models({
        author: "a&b",
        hideExperimental: false,
        page: 2,
        perPage: 10,
        search: "llama 3",
        source: 1,
        task: "Text Generation"
      })
      const [first, second] = peer.requests
      assert.strictEqual(`${first?.method} ${first?.url}`, "GET /client/v4/accounts/acc/ai/models/search")
      assert.deepStrictEqual(Object.fromEntries(new URL(second?.url ?? "", peer.url).searchParams), {
        author: "a&b",
        hide_experimental: "false",
        page: "2",
        per_page: "10",
        search: "llama 3",
        source: "1",
        task: "Text Generation"
      })
      assert.strictEqual(second?.headers["authorization"], "Bearer api-token-91cc")
    })
  )

  it.effect("a gateway of the account has the same hosts and tokens", () =>
    Effect.gen(function* () {
      const { ai, peer } = yield* overPeer((_, response) => json(response, 200, { success: true, result: { id: "l" } }))
      const gateway = yield* ai.gateway("gw-2")
      yield* gateway.run({ provider: "openai", endpoint: "chat/completions", query: {} })
      yield* gateway.getLog("l")
      assert.deepStrictEqual(
        peer.requests.map(({ headers, url }) => [url, headers["cf-aig-authorization"] ?? headers["authorization"]]),
        [
          ["/v1/acc/gw-2/openai/chat/completions", "Bearer gateway-token-7f3a"],
          ["/client/v4/accounts/acc/ai-gateway/gateways/gw-2/logs/l", "Bearer api-token-91cc"]
        ]
      )
    })
  )

  it.effect("a malformed option of the layer is named", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [Partial<AiService.HttpOptions>, string]> = [
        [{ accountId: "a/b" }, "accountId"],
        [{ apiToken: Redacted.make("") }, "apiToken"],
        [{ token: Redacted.make("a\nb") }, "token"],
        [{ baseUrl: "x" }, "baseUrl"],
        [{ apiBaseUrl: "file:///x" }, "apiBaseUrl"]
      ]
      for (const [options, field] of cases) {
        const error = yield* Effect.flip(overPeer(ok, options))
        assert.isTrue(error.reason._tag === "InvalidRequest" && error.reason.field === field, field)
        assert.strictEqual(error.method, "AiService.layerHttp")
      }
    })
  )

  it.effect("distinguishes who refused", () =>
    Effect.gen(function* () {
      const envelope = { success: false, errors: [{ code: 10000, message: "Authentication error" }] }
      const { ai } = yield* overPeer((seen, response) =>
        json(response, seen.url.endsWith("search") ? 200 : 401, envelope)
      )
      for (const call of [ai.run(llama, {}), ai.models()] as const) {
        const { reason } = yield* Effect.flip<unknown, GatewayError, never>(call)
        assert.isTrue(reason._tag === "Unauthorized" && reason.origin === "api" && reason.code === "10000")
      }
    })
  )
})

describe("result", () => {
  const output = { choices: [{ message: { content: "hi" } }] }
  const bodies: ReadonlyArray<readonly [string, unknown, unknown]> = [
    ["bare output", output, output],
    ["a state", { state: "Completed", result: output, gatewayMetadata: { keySource: "Unified" } }, output],
    ["an envelope", { success: true, errors: [], messages: [], result: output }, output],
    ["both", { success: true, result: { state: "Completed", result: output } }, output],
    ["an output that only looks like one", { state: "Open", result: 1 }, { state: "Open", result: 1 }],
    ["an array", [1, 2], [1, 2]],
    ["null in an envelope", { success: true, result: null }, null]
  ]
  for (const [what, body, expected] of bodies) {
    it.effect(`unwraps ${what}`, () =>
      Effect.gen(function* () {
        const ai = yield* overBinding(() => Response.json(body, { headers: { "content-type": "text/plain" } }))
        const response = yield* ai.run(llama, {})
        assert.deepStrictEqual(yield* response.result, expected)
        assert.deepStrictEqual(yield* response.json, body)
      })
    )
  }
})

describe("models", () => {
  const named = (more: object) => ({ id: "1", name: "@cf/a/b", ...more })

  it.effect("are read as far as they can be", () =>
    Effect.gen(function* () {
      const result = [
        named({
          source: 1,
          description: "d",
          task: { id: "t", name: "Text Generation", description: "" },
          tags: ["a", 1],
          properties: [{ property_id: "context_window", value: "8192" }, { property_id: 1 }, null],
          created_at: "2026-01-01"
        }),
        named({ source: "1", task: null, tags: null, properties: null, description: null })
      ]
      const models = yield* Effect.flatMap(
        overBinding(() => Response.json({ result })),
        (ai) => ai.models()
      )
      assert.deepStrictEqual(models, [
        {
          id: "1",
          name: "@cf/a/b",
          description: "d",
          source: 1,
          task: "Text Generation",
          tags: ["a"],
          properties: { context_window: "8192" }
        },
        { id: "1", name: "@cf/a/b", tags: [], properties: {} }
      ])
    })
  )

  it.effect("without id or name are an invalid response", () =>
    Effect.gen(function* () {
      for (const result of [undefined, null, {}, [null], [{ id: "1" }], [named({}), { name: "x" }]]) {
        const ai = yield* overBinding(() => Response.json({ result }))
        assert.strictEqual((yield* Effect.flip(ai.models())).reason._tag, "InvalidResponse")
      }
    })
  )
})

describe("layerConfig", () => {
  const run = (env: Record<string, string>) =>
    Effect.gen(function* () {
      const peer = yield* makePeer(ok)
      const provided = Object.fromEntries(
        Object.entries(env).map(([key, value]) => [key, value.replace("PEER", peer.url)])
      )
      const context = yield* Layer.build(
        AiService.layerConfig.pipe(
          Layer.provide(FetchHttpClient.layer),
          Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(provided)))
        )
      )
      const ai = yield* Effect.provide(AiService.AiService, context)
      yield* ai.run(llama, {})
      yield* ai.run("dynamic/r", {}, { gateway: "gw" })
      return peer.requests.map(({ headers, url }) => [url, headers["cf-aig-authorization"] ?? headers["authorization"]])
    })
  const env = { CLOUDFLARE_ACCOUNT_ID: "acc", CLOUDFLARE_API_TOKEN: "t2", CLOUDFLARE_API_URL: "PEER" }

  it.effect("takes everything from the environment", () =>
    Effect.gen(function* () {
      const api = [`/accounts/acc/ai/run/${llama}`, "Bearer t2"]
      const route = "/v1/acc/gw/compat/chat/completions"
      for (const url of ["PEER", "PEER/", "PEER/v1/acc", "PEER/v1/acc/my-gateway", "PEER/v1/acc/my-gateway/"]) {
        assert.deepStrictEqual(yield* run({ ...env, AI_GATEWAY_URL: url }), [api, [route, undefined]])
      }
      assert.deepStrictEqual(yield* run({ ...env, AI_GATEWAY_URL: "PEER/v1/account-2/x", CF_AIG_TOKEN: "t1" }), [
        api,
        [`/v1/account-2/x${route}`, "Bearer t1"]
      ])
    })
  )

  it.effect("names what is missing or wrong", () =>
    Effect.gen(function* () {
      for (const missing of ["CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN"]) {
        const some = Object.fromEntries(Object.entries(env).filter(([name]) => name !== missing))
        const error = yield* Effect.flip(run(some))
        assert.instanceOf(error, Config.ConfigError)
        assert.include(String(error), missing)
      }
      const error = yield* Effect.flip(run({ ...env, CLOUDFLARE_API_URL: "nowhere" }))
      assert.isTrue(isGatewayError(error) && error.message.includes("apiBaseUrl"))
    })
  )
})

describe("secrets", () => {
  const secrets = ["api-token-91cc", "gateway-token-7f3a", "header-key-03aa"]
  const headers = { "x-key": Redacted.make("header-key-03aa") }

  for (const status of [200, 401, 500]) {
    it.effect(`are in no error, log or span when a ${status} echoes them`, () =>
      Effect.gen(function* () {
        const { ai } = yield* overPeer((seen, response) => {
          const error = { code: seen.headers.authorization, message: `you sent ${JSON.stringify(seen)}` }
          json(response, status, { error })
        })
        const gateway = yield* ai.gateway("gw")
        const calls: ReadonlyArray<Effect.Effect<unknown, GatewayError>> = [
          ...[llama, mini, "dynamic/r"].map((model) =>
            Effect.flatMap(ai.run(model, {}, { gateway: "gw", headers }), (response) => response.result)
          ),
          ai.models(),
          gateway.getLog("l")
        ]
        for (const call of calls) {
          const traces = yield* traced(call)
          assert.include(traces.text, "GatewayError")
          assert.isAtLeast(traces.spans.length, 1)
          assertSilent(traces, secrets)
        }
      })
    )
  }

  it.effect("are in no error of the binding", () =>
    Effect.gen(function* () {
      const thrown = () => {
        throw new Error("3040: header-key-03aa was refused")
      }
      const context = yield* Layer.build(AiService.layerBinding({ run: thrown, models: thrown, gateway: thrown }))
      const ai = yield* Effect.provide(AiService.AiService, context)
      const traces = yield* traced(ai.run(llama, {}, { gateway: "gw", headers }))
      assert.include(traces.text, "RateLimited")
      assertSilent(traces, secrets)
    })
  )
})
