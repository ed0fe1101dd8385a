import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import { binding, call, drive, leg, logs, replyOf, request } from "./support.ts"

const messages = [{ role: "user", content: "Hi" }]

/** The request of `env.AI.run`. */
const run = (
  gateway: LocalGateway.LocalGateway,
  model: string,
  inputs: unknown,
  options: Record<string, unknown> = {},
  headers: Record<string, string> = {}
) => {
  const path = options["gateway"] === undefined ? "/run" : "/ai-gateway/run"
  return call(
    gateway,
    "POST",
    `${binding}${path}?version=3`,
    { inputs, options },
    {
      "content-type": "application/json",
      "cf-consn-sdk-version": "2.0.0",
      "cf-consn-model-id": model,
      ...headers
    }
  )
}

describe("env.AI.run", () => {
  it.effect("answers with the model's output for Workers AI without a gateway", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const reply = yield* run(gateway, "@cf/meta/llama", { prompt: "Hi" })
      assert.strictEqual(reply.json.response, "workers-ai/@cf/meta/llama: Hi")
      assert.strictEqual(reply.headers["content-type"], "application/json")
      assert.isString(reply.headers["cf-ai-req-id"])
      assert.isUndefined(reply.headers["cf-aig-log-id"])
      const prefixed = yield* run(gateway, "beta:@cf/meta/llama", { prompt: "Hi" })
      assert.strictEqual(prefixed.json.response, "workers-ai/@cf/meta/llama: Hi")
    })
  )

  it.effect("takes settings of a gateway from the body, and returns the provider's bare output", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ gateways: { mine: {} } })
      yield* gateway.script("openai", [{ status: 500, repeat: 2 }])
      const options = {
        gateway: {
          id: "mine",
          eventId: "e-1",
          cacheTtl: 60,
          metadata: { team: "blue" },
          retries: { maxAttempts: 3, retryDelayMs: 100, backoff: "linear" },
          requestTimeoutMs: 500
        },
        returnRawResponse: true
      }
      const reply = yield* drive(run(gateway, "openai/gpt", { messages }, options, { "cf-aig-max-attempts": "1" }))
      assert.strictEqual(reply.json.choices[0].message.content, "openai/gpt: Hi")
      assert.strictEqual(reply.headers["cf-aig-event-id"], "e-1")
      assert.strictEqual(reply.headers["cf-aig-cache-status"], "MISS")
      const starts = (yield* gateway.calls).map(({ startedAt }) => startedAt)
      assert.deepStrictEqual([(starts[1] ?? 0) - (starts[0] ?? 0), (starts[2] ?? 0) - (starts[1] ?? 0)], [100, 200])
      const url = `${binding}/ai-gateway/gateways/mine/logs/${reply.headers["cf-aig-log-id"]}`
      const entry = (yield* call(gateway, "GET", url)).json.result
      assert.deepStrictEqual([entry.metadata, entry.authentication], [{ team: "blue" }, true])
      assert.strictEqual(
        (yield* run(gateway, "openai/gpt", { messages }, options)).headers["cf-aig-cache-status"],
        "HIT"
      )
    })
  )

  it.effect("applies extra headers where the body sets nothing", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const options = { gateway: { id: "default" } }
      const headers = { "cf-aig-event-id": "e-2" }
      assert.strictEqual(
        (yield* run(gateway, "openai/gpt", { messages }, options, headers)).headers["cf-aig-event-id"],
        "e-2"
      )
    })
  )

  it.effect("rejects an unknown model, gateway, input and option", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const noGateway = yield* run(gateway, "openai/gpt", { messages })
      assert.deepStrictEqual([noGateway.status, noGateway.json.internalCode], [404, 7003])
      assert.strictEqual(noGateway.json.name, "InferenceUpstreamError")
      const unknown = yield* run(gateway, "nobody/x", {}, { gateway: { id: "default" } })
      assert.deepStrictEqual(
        [unknown.status, unknown.json.internalCode, unknown.json.name],
        [404, 7003, "AiGatewayError"]
      )
      const other = yield* run(gateway, "openai/gpt", {}, { gateway: { id: "none" } })
      assert.deepStrictEqual([other.status, other.json.internalCode], [400, 2001])
      const queue = yield* run(gateway, "@cf/a/b", { requests: [] }, { queueRequest: true })
      assert.deepStrictEqual([queue.status, queue.json.internalCode], [400, 7001])
      const bad = yield* run(gateway, "openai/gpt", { messages }, { gateway: { id: "default", cacheTtl: 5 } })
      assert.deepStrictEqual([bad.status, bad.json.internalCode], [400, 7001])
      const socket = yield* call(gateway, "GET", `${binding}/run?version=3&body=%7B%7D`, undefined, {
        upgrade: "websocket"
      })
      assert.strictEqual(socket.status, 400)
    })
  )

  it.effect("passes a stream as events", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const reply = yield* run(gateway, "@cf/meta/llama", { prompt: "Hi", stream: true })
      assert.strictEqual(reply.headers["content-type"], "text/event-stream")
      assert.include(reply.text, "data: [DONE]")
    })
  )
})

describe("env.AI.gateway(id)", () => {
  it.effect("runs the universal endpoint without a token", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ status: 503 }])
      const url = `${binding}/ai-gateway/universal/run/default`
      const reply = yield* call(gateway, "POST", url, [leg("openai"), leg("groq")], { "cf-aig-event-id": "e" })
      assert.deepStrictEqual([reply.status, reply.headers["cf-aig-step"]], [200, "1"])
      const none = yield* call(gateway, "POST", `${binding}/ai-gateway/universal/run/none`, [leg("openai")])
      assert.deepStrictEqual([none.status, none.json.internalCode], [400, 2001])
    })
  )

  it.effect("supports getUrl, getLog and patchLog", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ gateways: { mine: {} } })
      const prefix = `${binding}/ai-gateway/gateways/mine`
      const url = yield* call(gateway, "GET", `${prefix}/url/anthropic`)
      assert.strictEqual(url.json.result.url, gateway.url("mine", "anthropic"))
      const universal = yield* call(gateway, "GET", `${prefix}/url/universal`)
      assert.strictEqual(universal.json.result.url, gateway.url("mine"))
      const bad = yield* call(gateway, "GET", `${prefix}/url/nobody`)
      assert.deepStrictEqual([bad.status, bad.json.errors[0].code], [400, 2008])
      const answer = yield* call(gateway, "POST", `${binding}/ai-gateway/universal/run/mine`, [leg("openai")])
      const log = `${prefix}/logs/${answer.headers["cf-aig-log-id"]}`
      assert.strictEqual((yield* call(gateway, "PATCH", log, { feedback: 1, score: 3 })).status, 200)
      const entry = yield* call(gateway, "GET", log)
      assert.deepStrictEqual([entry.json.result.feedback, entry.json.result.score], [1, 3])
      const missing = yield* call(gateway, "GET", `${prefix}/logs/nope`)
      assert.deepStrictEqual([missing.status, missing.json.errors[0].code], [404, 7002])
    })
  )

  it.effect("lists models, and reports an expired resume", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const models = yield* call(gateway, "GET", `${binding}/ai-api/models/search?search=llama`)
      assert.strictEqual(models.json.result.length, 2)
      const resume = yield* call(
        gateway,
        "GET",
        `${binding}/ai-gateway/gateways/default/run/${"a".repeat(64)}/resume?from=0`
      )
      assert.deepStrictEqual([resume.status, resume.json], [404, { error: "Request not found" }])
      assert.strictEqual(
        (yield* call(gateway, "POST", `${binding}/to-everything/markdown/transformer`, {})).status,
        404
      )
    })
  )
})

describe("Miniflare's remote proxy", () => {
  it.effect("unwraps the real request from its headers", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const wrapped = request("POST", "http://127.0.0.1:9999/", [leg("openai")], {
        "MF-URL": `${binding}/ai-gateway/universal/run/default`,
        "MF-Binding": "AI",
        "MF-Header-content-type": "application/json",
        "MF-Header-cf-aig-event-id": "through",
        "cf-aig-event-id": "outside",
        "cf-aig-max-attempts": "not read here"
      })
      const reply = yield* Effect.flatMap(gateway.handle(wrapped), replyOf)
      assert.strictEqual(reply.status, 200)
      assert.strictEqual(reply.headers["cf-aig-event-id"], "through")
      assert.strictEqual((yield* call(gateway, "GET", logs)).json.result_info.total_count, 1)
    })
  )
})
