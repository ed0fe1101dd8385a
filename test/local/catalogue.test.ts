/**
 * The run catalogue has other providers than the paths of a gateway. A model that works here works at the service.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import { api, binding, call, dataPlane, leg } from "./support.ts"

const messages = [{ role: "user", content: "Hi" }]
const input = { messages }

/** The same model on every path that reads names of the catalogue: status and code, or the text of a success. */
const everywhere = Effect.fnUntraced(function* (gateway: LocalGateway.LocalGateway, model: string) {
  const options = { gateway: { id: "default" } }
  const headers = { "cf-consn-model-id": model }
  const replies = [
    yield* call(gateway, "POST", `${api}/ai/run`, { model, input }),
    yield* call(gateway, "POST", `${api}/ai/v1/chat/completions`, { model, messages }),
    yield* call(gateway, "POST", `${binding}/ai-gateway/run?version=3`, { inputs: input, options }, headers),
    yield* call(gateway, "POST", `${dataPlane}/run`, { model, input })
  ]
  return replies.map(({ json, status }) => {
    const body = json.result?.result ?? json.result ?? json
    return status === 200
      ? (body.choices?.[0].message.content ?? body.content[0].text)
      : `${status}/${(json.errors ?? json.error)[0].code}`
  })
})

it.effect("rejects the creation of gateways with a message that fits", () =>
  Effect.gen(function* () {
    const gateway = yield* LocalGateway.make()
    const { json, status } = yield* call(gateway, "POST", `${api}/ai-gateway/gateways`, { id: "new" })
    assert.deepStrictEqual([status, json.errors[0].code], [404, 7000])
  })
)

describe("the run catalogue", () => {
  it.effect.each([
    ...["mistral/mistral-large", "cerebras/llama", "fireworks/llama", "cohere/command-a", "perplexity/sonar"],
    ...["perplexity-ai/sonar", "openrouter/openai/gpt", "baseten/x", "huggingface/x", "replicate/x", "parallel/x"],
    ...["google-ai-studio/gemini", "google-vertex-ai/gemini", "grok/grok-4", "azure-openai/r/d", "aws-bedrock/x"],
    ...["workers-ai/@cf/meta/llama", "custom-mine/m", "custom/alias", "toString/x", "nobody/x"],
    ...["anthropic/claude-haiku-4-5", "anthropic/claude-3-5-haiku-latest"]
  ])("has no %s", (model) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ upstreams: { "custom-mine": Upstream.echo() } })
      assert.deepStrictEqual(yield* everywhere(gateway, model), ["404/7003", "404/7003", "404/7003", "404/7003"])
      assert.deepStrictEqual(yield* gateway.calls, [])
    })
  )

  it.effect.each([
    ["alibaba/qwen3-max", "alibaba/qwen3-max"],
    ["minimax/m3", "minimax/m3"],
    ["moonshotai/kimi-k2", "moonshotai/kimi-k2"],
    ["openai/gpt-4.1-mini", "openai/gpt-4.1-mini"],
    ["google/gemini-3-flash", "google-ai-studio/gemini-3-flash"],
    ["xai/grok-4.3", "grok/grok-4.3"],
    ["groq/llama", "groq/llama"],
    ["deepseek/deepseek-v4-pro", "deepseek/deepseek-v4-pro"]
  ] as const)("has %s", ([model, name]) =>
    Effect.gen(function* () {
      const said = `${name}: Hi`
      assert.deepStrictEqual(yield* everywhere(yield* LocalGateway.make(), model), [said, said, said, said])
    })
  )

  it.effect("names Anthropic's models with dots in their versions, and says so", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const body = { model: "anthropic/claude-haiku-4.5", input: { ...input, max_tokens: 9 } }
      const reply = yield* call(gateway, "POST", `${api}/ai/run`, body)
      assert.strictEqual(reply.json.result.result.content[0].text, "anthropic/claude-haiku-4.5: Hi")
      const dashed = yield* call(gateway, "POST", `${api}/ai/run`, { ...body, model: "anthropic/claude-haiku-4-5" })
      assert.include(dashed.json.errors[0].message, "with dots")
      const elsewhere = yield* call(gateway, "POST", `${api}/ai/run`, { model: "mistral/large", input })
      assert.include(elsewhere.json.errors[0].message, "a gateway's own paths")
    })
  )

  it.effect.each(["alibaba", "minimax", "moonshotai"])("%s is on no path of a gateway", (slug) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const native = yield* call(gateway, "POST", `${dataPlane}/${slug}/chat/completions`, { model: "m", messages })
      const universal = yield* call(gateway, "POST", dataPlane, [leg(slug)])
      const compat = { model: `${slug}/m`, messages }
      const replies = [
        native,
        universal,
        yield* call(gateway, "POST", `${dataPlane}/compat/chat/completions`, compat),
        yield* call(gateway, "POST", `${binding}/ai-gateway/universal/run/default`, [leg(slug)])
      ]
      for (const { json, status } of replies) assert.deepStrictEqual([status, json.error[0].code], [400, 2008])
      const url = yield* call(gateway, "GET", `${api}/ai-gateway/gateways/default/url/${slug}`)
      assert.deepStrictEqual([url.status, url.json.errors[0].code], [400, 2008])
      const next = yield* call(gateway, "POST", dataPlane, [leg(slug), leg("groq")])
      assert.deepStrictEqual([next.status, next.headers["cf-aig-step"]], [200, "1"])
      const route = yield* Effect.flip(LocalGateway.make({ routes: { r: [`${slug}/m`] } }))
      assert.include(route.message, "routes.r[0]")
    })
  )

  it.effect("accepts upstreams and scripts for its own providers", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ upstreams: { minimax: Upstream.echo({ text: () => "mine" }) } })
      yield* gateway.script("alibaba", [{ status: 503 }])
      const status = (yield* call(gateway, "POST", `${api}/ai/run`, { model: "alibaba/q", input })).status
      assert.strictEqual(status, 503)
      assert.strictEqual((yield* everywhere(gateway, "minimax/m"))[0], "mine")
    })
  )

  it.effect("leaves dynamic routes to providers of a gateway", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ routes: { r: ["mistral/large", "groq/llama"] } })
      const said = "mistral/large: Hi"
      assert.deepStrictEqual(yield* everywhere(gateway, "dynamic/r"), [said, said, said, said])
    })
  )
})

describe("paths of the API", () => {
  it.effect.each([
    ["GET", "run"],
    ["GET", "run/@cf/meta/llama"],
    ["PUT", "run"],
    ["POST", "run/@cf%2Fmeta%2Fllama"],
    ["POST", "run/%40cf%2Fmeta%2Fllama"],
    ["POST", "run/openai/gpt"],
    ["POST", "run/@cf"]
  ] as const)("%s /ai/%s is no route: 400 with code 7000", ([method, path]) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const body = method === "GET" ? undefined : { prompt: "Hi" }
      const reply = yield* call(gateway, method, `${api}/ai/${path}`, body)
      assert.deepStrictEqual([reply.status, reply.json.errors[0].code], [400, 7000])
    })
  )

  it.effect("serve OpenAI's embeddings for Workers AI only", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const url = `${api}/ai/v1/embeddings`
      const reply = yield* call(gateway, "POST", url, { model: "@cf/baai/bge-m3", input: ["a", "b"] })
      assert.deepStrictEqual([reply.status, reply.json.object, reply.json.data.length], [200, "list", 2])
      assert.strictEqual(reply.json.model, "@cf/baai/bge-m3")
      assert.strictEqual((yield* gateway.calls)[0]?.endpoint, "v1/embeddings")
      const other = yield* call(gateway, "POST", url, { model: "openai/text-embedding-3-small", input: "a" })
      assert.deepStrictEqual([other.status, other.json.errors[0].code], [404, 7003])
    })
  )

  it.effect("name a missing gateway, on every surface", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const named = { "cf-aig-gateway-id": "none" }
      const options = { gateway: { id: "none" } }
      const replies = [
        yield* call(gateway, "POST", `${dataPlane.replace("default", "none")}/openai/chat/completions`, input),
        yield* call(gateway, "POST", `${api}/ai/run`, { model: "openai/gpt", input }, named),
        yield* call(gateway, "GET", `${api}/ai-gateway/gateways/none/logs`),
        yield* call(gateway, "POST", `${binding}/ai-gateway/universal/run/none`, [leg("openai")]),
        yield* call(
          gateway,
          "POST",
          `${binding}/ai-gateway/run`,
          { inputs: input, options },
          { "cf-consn-model-id": "a/b" }
        )
      ]
      for (const { json, status } of replies) {
        const [error] = json.errors ?? json.error
        assert.deepStrictEqual([status, error.code], [400, 2001])
        assert.include(error.message, '"none"')
      }
    })
  )
})
