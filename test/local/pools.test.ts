/**
 * Names that stand for several models: aliases of a gateway, and the Auto Router.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import { api, binding, call, dataPlane } from "./support.ts"

const messages = [{ role: "user", content: "Hi" }]
const llama = "@cf/meta/llama-3.1-8b-instruct"

describe("custom/{name}", () => {
  const make = LocalGateway.make({ gateways: { mine: { aliases: { fast: ["openai/gpt", llama, "minimax/m3"] } } } })
  const inMine = { "cf-aig-gateway-id": "mine" }
  const body = { model: "custom/fast", input: { messages } }

  it.effect("tries its models in order, and names the one that answered", () =>
    Effect.gen(function* () {
      const gateway = yield* make
      const first = yield* call(gateway, "POST", `${api}/ai/run`, body, inMine)
      assert.strictEqual(first.json.result.result.choices[0].message.content, "openai/gpt: Hi")
      assert.deepStrictEqual([first.headers["cf-aig-model"], first.headers["cf-aig-step"]], ["gpt", "0"])
      yield* gateway.script("openai", [{ status: 503, repeat: "forever" }])
      const second = yield* call(gateway, "POST", `${api}/ai/run`, body, inMine)
      assert.strictEqual(second.json.result.response, `workers-ai/${llama}: Hi`)
      assert.deepStrictEqual([second.headers["cf-aig-provider"], second.headers["cf-aig-step"]], ["workers-ai", "1"])
      yield* gateway.script("workers-ai", [{ status: 429 }])
      const inputs = { inputs: { messages }, options: { gateway: { id: "mine" } } }
      const name = { "cf-consn-model-id": "custom/fast" }
      const third = yield* call(gateway, "POST", `${binding}/ai-gateway/run`, inputs, name)
      assert.strictEqual(third.json.choices[0].message.content, "minimax/m3: Hi")
      const sdk = yield* call(gateway, "POST", `${dataPlane.replace("default", "mine")}/run`, body)
      assert.deepStrictEqual([sdk.status, sdk.json.provider], [200, "workers-ai"])
    })
  )

  it.effect("belongs to its gateway", () =>
    Effect.gen(function* () {
      const gateway = yield* make
      const elsewhere = yield* call(gateway, "POST", `${api}/ai/run`, body)
      assert.deepStrictEqual([elsewhere.status, elsewhere.json.errors[0].code], [404, 7003])
      const other = yield* call(gateway, "POST", `${api}/ai/run`, { ...body, model: "custom/slow" }, inMine)
      assert.deepStrictEqual([other.status, other.json.errors[0].code], [404, 7003])
    })
  )

  it.effect.each([
    [{ "a b": ["openai/x"] }, "gateways.mine.aliases.a b"],
    [{ a: [] }, "gateways.mine.aliases.a"],
    [{ a: ["mistral/x"] }, "gateways.mine.aliases.a[0]"]
  ] as const)("%j is refused when the gateway is made", ([aliases, field]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(LocalGateway.make({ gateways: { mine: { aliases } } }))
      assert.include(error.message, field)
    })
  )
})

describe("cloudflare/auto", () => {
  const autoModels = ["openai/gpt", "anthropic/claude-a", "openrouter/meta/llama"]

  const ask = Effect.fnUntraced(function* (headers: Record<string, string>) {
    const gateway = yield* LocalGateway.make({ autoModels })
    const body = { model: "cloudflare/auto", messages }
    const reply = yield* call(gateway, "POST", `${dataPlane}/compat/chat/completions`, body, headers)
    return { ...reply, chosen: reply.headers["cf-aig-routed-model"], reason: reply.headers["cf-aig-routing-reason"] }
  })

  it.effect("answers with a model of the pool, and reports the choice and its reason", () =>
    Effect.gen(function* () {
      const { chosen, headers, json, reason } = yield* ask({})
      assert.strictEqual(json.choices[0].message.content, "openai/gpt: Hi")
      assert.deepStrictEqual([chosen, reason], ["openai/gpt", "cost_optimal_within_pool"])
      assert.strictEqual(headers["cf-aig-routing-decision-id"], headers["cf-aig-request-id"])
    })
  )

  it.effect.each([
    [{ "cf-aig-allowed-models": "anthropic/*" }, "anthropic/claude-a"],
    [{ "cf-aig-allowed-models": "openrouter/meta/*, anthropic/c*e-a" }, "anthropic/claude-a"],
    [{ "cf-aig-allowed-models": "openrouter/*/llama" }, "openrouter/meta/llama"],
    [{ "cf-aig-allowed-providers": "openrouter,anthropic" }, "anthropic/claude-a"],
    [{ "cf-aig-allowed-models": "*/*", "cf-aig-allowed-providers": "openai" }, "openai/gpt"]
  ] as const)("keeps to %j", ([headers, model]) =>
    Effect.gen(function* () {
      assert.strictEqual((yield* ask(headers)).chosen, model)
    })
  )

  it.effect("reports when only one model was allowed", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* ask({ "cf-aig-allowed-models": "openai/gpt" })).reason, "forced_by_candidate_pool")
    })
  )

  it.effect.each([
    [{ "cf-aig-allowed-models": "openai/gpt,openai/none" }, "openai/none"],
    [{ "cf-aig-allowed-models": "openrouter/*" }, "openrouter/*"],
    [{ "cf-aig-allowed-models": "*" }, "cf-aig-allowed-models"],
    [{ "cf-aig-allowed-models": "" }, "cf-aig-allowed-models"],
    [{ "cf-aig-allowed-providers": "groq" }, "cf-aig-allowed-providers"]
  ] as const)("refuses %j", ([headers, says]) =>
    Effect.gen(function* () {
      const { json, status } = yield* ask(headers)
      assert.deepStrictEqual([status, json.error[0].code], [400, 7001])
      assert.include(json.error[0].message, says)
    })
  )

  it.effect("checks its pool when the gateway is made", () =>
    Effect.gen(function* () {
      assert.include((yield* Effect.flip(LocalGateway.make({ autoModels: ["nobody/x"] }))).message, "autoModels[0]")
    })
  )
})
