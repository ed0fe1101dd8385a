import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import { api, call, drive, logs, trace } from "./support.ts"

const messages = [{ role: "user", content: "Hi" }]
const run = (gateway: LocalGateway.LocalGateway, body: unknown, headers?: Record<string, string>) =>
  call(gateway, "POST", `${api}/ai/run`, body, headers)

describe("/ai/run", () => {
  it.effect("sends a third-party model through the default gateway, wrapped in state and envelope", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const reply = yield* run(gateway, { model: "xai/grok-4", input: { messages } }, { authorization: "Bearer cf" })
      assert.strictEqual(reply.json.success, true)
      assert.strictEqual(reply.json.result.state, "Completed")
      assert.deepStrictEqual(reply.json.result.gatewayMetadata, { keySource: "Unified" })
      assert.strictEqual(reply.json.result.result.choices[0].message.content, "grok/grok-4: Hi")
      assert.isString(reply.headers["cf-aig-log-id"])
      const [seen] = yield* gateway.calls
      assert.strictEqual(seen?.endpoint, "chat/completions")
      assert.isUndefined(seen?.headers["authorization"])
      assert.strictEqual((yield* call(gateway, "GET", logs)).json.result_info.total_count, 1)
    })
  )

  it.effect.each([
    ["bare", ["id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint"]],
    ["state", ["state", "result", "gatewayMetadata"]],
    ["full", ["success", "errors", "messages", "result"]]
  ] as const)("envelope %s", ([envelope, keys]) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ envelope })
      const reply = yield* run(gateway, { model: "openai/gpt", input: { messages } })
      assert.deepStrictEqual(Object.keys(reply.json), [...keys])
    })
  )

  it.effect("runs Workers AI without a gateway unless the request names one", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const body = { model: "@cf/meta/llama", input: { prompt: "Hi you" } }
      const alone = yield* run(gateway, body)
      assert.strictEqual(alone.json.result.response, "workers-ai/@cf/meta/llama: Hi you")
      assert.deepStrictEqual(
        Object.keys(alone.headers).filter((name) => name.startsWith("cf-")),
        ["cf-ai-req-id"]
      )
      assert.strictEqual((yield* call(gateway, "GET", logs)).json.result_info.total_count, 0)
      const named = yield* run(gateway, body, { "cf-aig-gateway-id": "default" })
      assert.strictEqual(named.headers["cf-aig-step"], "0")
      assert.strictEqual((yield* call(gateway, "GET", logs)).json.result_info.total_count, 1)
      const inPath = yield* call(gateway, "POST", `${api}/ai/run/@cf/meta/llama`, { prompt: "Hi" })
      assert.strictEqual(inPath.json.result.response, "workers-ai/@cf/meta/llama: Hi")
      assert.deepStrictEqual((yield* trace(gateway)).length, 3)
    })
  )

  it.effect("selects chat, responses or embeddings by the input", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ envelope: "bare" })
      const responses = yield* run(gateway, { model: "openai/gpt", input: { input: "Hi" } })
      assert.strictEqual(responses.json.object, "response")
      const embeddings = yield* run(gateway, { model: "openai/text-embedding-3-small", input: { input: "Hi" } })
      assert.strictEqual(embeddings.json.object, "list")
    })
  )

  it.effect("applies options in headers: retries and cache", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("anthropic", [{ status: 529, repeat: 2 }])
      const body = { model: "anthropic/claude-haiku-4.5", input: { max_tokens: 9, messages } }
      const headers = { "cf-aig-max-attempts": "3", "cf-aig-cache-ttl": "60" }
      const reply = yield* drive(run(gateway, body, headers))
      assert.strictEqual(reply.json.result.result.content[0].text, "anthropic/claude-haiku-4.5: Hi")
      assert.strictEqual((yield* run(gateway, body, headers)).headers["cf-aig-cache-status"], "HIT")
      assert.strictEqual((yield* gateway.calls).length, 3)
    })
  )

  it.effect("shapes refusals like the API, and passes provider errors unchanged", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const input = { messages }
      const expect = Effect.fnUntraced(function* (
        body: unknown,
        wanted: readonly [number, number],
        headers?: Record<string, string>
      ) {
        const reply = yield* run(gateway, body, headers)
        assert.deepStrictEqual([reply.status, reply.json.errors[0].code], [...wanted])
        assert.deepStrictEqual([reply.json.success, reply.json.result], [false, null])
      })
      yield* expect({ model: "nobody/x", input }, [404, 7003])
      yield* expect({ model: "gpt", input }, [404, 7003])
      yield* expect({ model: "openai/", input }, [404, 7003])
      yield* expect({ input }, [400, 7001])
      yield* expect({ model: "openai/gpt" }, [400, 7001])
      yield* expect("no json", [400, 7001])
      yield* expect({ model: "openai/gpt", input }, [400, 2001], { "cf-aig-gateway-id": "none" })
      yield* gateway.script("openai", [{ reset: true }, { status: 418, body: { error: { message: "tea" } } }])
      yield* expect({ model: "openai/gpt", input }, [400, 2005])
      const own = yield* run(gateway, { model: "openai/gpt", input })
      assert.deepStrictEqual([own.status, own.json], [418, { error: { message: "tea" } }])
    })
  )

  it.effect("requires the token", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ token: Redacted.make("cf-secret") })
      const body = { model: "openai/gpt", input: { messages } }
      const none = yield* run(gateway, body, { "cf-aig-authorization": "Bearer cf-secret" })
      assert.deepStrictEqual([none.status, none.json.errors[0].code], [401, 10000])
      assert.strictEqual((yield* run(gateway, body, { authorization: "Bearer cf-secret" })).status, 200)
    })
  )

  it.effect("passes JSON that does not parse unchanged", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ garble: true }])
      const reply = yield* run(gateway, { model: "openai/gpt", input: { messages } })
      assert.strictEqual(reply.status, 200)
      assert.isUndefined(reply.json)
    })
  )
})

describe("/ai/v1", () => {
  it.effect("answers chat completions, messages and responses in their own shapes", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const chat = yield* call(gateway, "POST", `${api}/ai/v1/chat/completions`, { model: "google/gemini", messages })
      assert.strictEqual(chat.json.choices[0].message.content, "google-ai-studio/gemini: Hi")
      const workersAi = yield* call(gateway, "POST", `${api}/ai/v1/chat/completions`, { model: "@cf/a/b", messages })
      assert.strictEqual(workersAi.json.choices[0].message.content, "workers-ai/@cf/a/b: Hi")
      assert.isUndefined(workersAi.headers["cf-aig-log-id"])
      const claude = { model: "anthropic/c", max_tokens: 5, messages }
      const message = yield* call(gateway, "POST", `${api}/ai/v1/messages`, claude)
      assert.strictEqual(message.json.content[0].text, "anthropic/c: Hi")
      const response = yield* call(gateway, "POST", `${api}/ai/v1/responses`, { model: "openai/g", input: "Hi" })
      assert.strictEqual(response.json.output[0].content[0].text, "openai/g: Hi")
      assert.deepStrictEqual(
        (yield* gateway.calls).map(({ endpoint }) => endpoint),
        ["chat/completions", "v1/chat/completions", "v1/messages", "responses"]
      )
      const unknown = yield* call(gateway, "POST", `${api}/ai/v1/audio`, { model: "openai/g" })
      assert.deepStrictEqual([unknown.status, unknown.json.errors[0].code], [404, 7000])
    })
  )
})

describe("models", () => {
  it.effect("can be searched by name, author and task, in pages", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const names = Effect.fnUntraced(function* (query: string) {
        const reply = yield* call(gateway, "GET", `${api}/ai/models/search?${query}`)
        return reply.json.result.map(({ name }: { name: string }) => name)
      })
      assert.strictEqual((yield* names("")).length, 4)
      assert.deepStrictEqual(yield* names("search=WHISPER"), ["@cf/openai/whisper"])
      assert.deepStrictEqual(yield* names("author=baai"), ["@cf/baai/bge-base-en-v1.5"])
      assert.strictEqual((yield* names("task=Text%20Generation")).length, 2)
      assert.strictEqual((yield* names("per_page=3&page=2")).length, 1)
      assert.strictEqual((yield* call(gateway, "GET", `${api}/ai/models/search?colour=red`)).status, 400)
    })
  )
})
