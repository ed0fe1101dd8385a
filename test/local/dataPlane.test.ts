import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import { base, call, chat, dataPlane, drive, leg, logs, mirror, trace, universal } from "./support.ts"

const question = leg("openai").query

describe("provider-native", () => {
  it.effect("passes any method, path and query to the provider, without the gateway's headers", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ upstreams: { openai: mirror } })
      const reply = yield* call(
        gateway,
        "PUT",
        `${dataPlane}/openai/files/a%20b?purpose=x`,
        { a: 1 },
        {
          authorization: "Bearer sk-1",
          "cf-aig-metadata": "{}",
          "cf-connecting-ip": "1.2.3.4",
          "openai-beta": "x"
        }
      )
      assert.deepStrictEqual(reply.json, { mirrored: { a: 1 } })
      const [seen] = yield* gateway.calls
      assert.strictEqual(seen?.endpoint, "files/a%20b?purpose=x")
      assert.deepStrictEqual(Object.keys(seen?.headers ?? {}).sort(), ["authorization", "content-type", "openai-beta"])
    })
  )

  it.effect("carries ids and the step", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(Date.UTC(2026, 10, 21))
      const gateway = yield* LocalGateway.make()
      const { headers } = yield* chat(gateway)
      assert.match(
        headers["cf-aig-log-id"] ?? "",
        /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
      )
      const millis = Number.parseInt((headers["cf-aig-log-id"] ?? "").replaceAll("-", "").slice(0, 12), 16)
      assert.strictEqual(millis, Date.UTC(2026, 10, 21))
      assert.strictEqual(headers["cf-aig-request-id"], headers["cf-aig-log-id"])
      assert.strictEqual(headers["cf-aig-step"], "0")
      assert.isUndefined(headers["cf-aig-cache-status"])
      assert.strictEqual(headers["content-type"], "application/json")
    })
  )

  it.effect("serves configured custom providers only", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ upstreams: { "custom-mine": Upstream.echo() } })
      const body = { model: "m", messages: [{ role: "user", content: "Hi" }] }
      const known = yield* call(gateway, "POST", `${dataPlane}/custom-mine/chat/completions`, body)
      assert.strictEqual(known.json.choices[0].message.content, "custom-mine/m: Hi")
      const unknown = yield* call(gateway, "POST", `${dataPlane}/custom-other/chat/completions`, body)
      assert.strictEqual(unknown.status, 400)
      assert.strictEqual(unknown.json.error[0].code, 2008)
    })
  )
})

describe("compat and dynamic routes", () => {
  const compat = `${dataPlane}/compat/chat/completions`
  const body = (model: string) => ({ model, messages: [{ role: "user", content: "Hi" }] })

  it.effect("select the provider by the model's name, and pass the bare name", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const reply = yield* call(gateway, "POST", compat, body("workers-ai/@cf/meta/llama"))
      assert.strictEqual(reply.json.choices[0].message.content, "workers-ai/@cf/meta/llama: Hi")
      const [seen] = yield* gateway.calls
      assert.strictEqual(seen?.provider, "workers-ai")
      assert.strictEqual(seen?.model, "@cf/meta/llama")
      assert.deepStrictEqual(seen?.body, body("@cf/meta/llama"))
    })
  )

  it.effect.each(["gpt-4", "", "openai/"])("model %j has the wrong format", (model) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const reply = yield* call(gateway, "POST", compat, body(model))
      assert.strictEqual(reply.status, 400)
      assert.strictEqual(reply.json.error[0].code, 2019)
    })
  )

  it.effect("try the models of a dynamic route, and name the one that answered", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ routes: { support: ["openai/a", "groq/b"] } })
      yield* gateway.script("openai", [{ status: 503 }])
      const reply = yield* call(gateway, "POST", compat, body("dynamic/support"))
      assert.strictEqual(reply.headers["cf-aig-model"], "b")
      assert.strictEqual(reply.headers["cf-aig-provider"], "groq")
      assert.strictEqual(reply.headers["cf-aig-step"], "1")
      const inArray = yield* universal(gateway, [
        { provider: "compat", endpoint: "chat/completion", headers: {}, query: body("dynamic/support") }
      ])
      assert.strictEqual(inArray.json.choices[0].message.content, "openai/a: Hi")
    })
  )

  it.effect("report an unknown route as not found, and another leg may answer", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const reply = yield* call(gateway, "POST", compat, body("dynamic/none"))
      assert.strictEqual(reply.status, 404)
      const legs = [
        { provider: "compat", endpoint: "chat/completions", headers: {}, query: body("dynamic/none") },
        leg("groq")
      ]
      assert.strictEqual((yield* universal(gateway, legs)).headers["cf-aig-step"], "1")
    })
  )
})

describe("the run API", () => {
  it.effect("answers with state and result, and fails with state Failed", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const input = { messages: [{ role: "user", content: "Hi" }] }
      const good = yield* call(gateway, "POST", `${dataPlane}/run`, { model: "xai/grok-4", input })
      assert.strictEqual(good.json.state, "Completed")
      assert.strictEqual(good.json.provider, "grok")
      assert.strictEqual(good.json.result.choices[0].message.content, "grok/grok-4: Hi")
      yield* gateway.script("grok", [{ reset: true }])
      const bad = yield* call(gateway, "POST", `${dataPlane}/run`, { model: "xai/grok-4", input })
      assert.strictEqual(bad.status, 400)
      assert.deepStrictEqual(bad.json.state, "Failed")
      assert.strictEqual(bad.json.error.code, "2005")
    })
  )
})

describe("refusals before any leg", () => {
  const refused = Effect.fnUntraced(function* (
    options: LocalGateway.Options,
    send: (gateway: LocalGateway.LocalGateway) => ReturnType<typeof call>
  ) {
    const gateway = yield* LocalGateway.make(options)
    const reply = yield* send(gateway)
    assert.deepStrictEqual(yield* gateway.calls, [])
    assert.strictEqual(reply.json.success, false)
    assert.strictEqual(reply.json.name, "AiGatewayError")
    assert.strictEqual(reply.json.httpCode, reply.status)
    return [reply.status, reply.json.error[0].code]
  })

  it.effect("reject an unknown gateway or account with 400 and 2001", () =>
    Effect.gen(function* () {
      const url = `${base}/v1/local/other/openai/chat/completions`
      assert.deepStrictEqual(yield* refused({}, (gateway) => call(gateway, "POST", url, question)), [400, 2001])
      const account = `${base}/v1/stranger/default/openai/chat/completions`
      assert.deepStrictEqual(
        yield* refused({ account: "mine" }, (gateway) => call(gateway, "POST", account, question)),
        [400, 2001]
      )
      const gateway = yield* LocalGateway.make({ gateways: { other: {} } })
      assert.strictEqual((yield* call(gateway, "POST", url, question)).status, 200)
      assert.strictEqual((yield* call(gateway, "POST", account, question)).status, 200)
    })
  )

  it.effect("reject a missing or wrong token with 401 and 2009", () =>
    Effect.gen(function* () {
      const options = { token: Redacted.make("cf-secret"), gateways: { open: { authentication: false } } }
      assert.deepStrictEqual(yield* refused(options, (gateway) => chat(gateway)), [401, 2009])
      const wrong = { "cf-aig-authorization": "Bearer cf-secre" }
      assert.deepStrictEqual(yield* refused(options, (gateway) => chat(gateway, wrong)), [401, 2009])
      const provider = { authorization: "Bearer cf-secret" }
      assert.deepStrictEqual(yield* refused(options, (gateway) => chat(gateway, provider)), [401, 2009])
      // The token is a real header, not one of a leg.
      const inLeg = [leg("openai", "m", { headers: { "cf-aig-authorization": "Bearer cf-secret" } })]
      assert.deepStrictEqual(yield* refused(options, (gateway) => universal(gateway, inLeg)), [401, 2009])
      const gateway = yield* LocalGateway.make(options)
      assert.strictEqual((yield* chat(gateway, { "cf-aig-authorization": "Bearer cf-secret" })).status, 200)
      const open = `${base}/v1/local/open/openai/chat/completions`
      assert.strictEqual((yield* call(gateway, "POST", open, question)).status, 200)
      const none = `${base}/v1/local/none/openai/chat/completions`
      assert.strictEqual((yield* call(gateway, "POST", none, question)).status, 401)
    })
  )

  it.effect("reject an unknown slug with 400 and 2008, and an unknown alias with 400 and 2040", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(
        yield* refused({}, (gateway) => call(gateway, "POST", `${dataPlane}/nobody/x`, question)),
        [400, 2008]
      )
      const options = { gateways: { default: { byokAliases: ["prod"] } } }
      assert.deepStrictEqual(
        yield* refused(options, (gateway) => chat(gateway, { "cf-aig-byok-alias": "dev" })),
        [400, 2040]
      )
      const gateway = yield* LocalGateway.make(options)
      assert.strictEqual((yield* chat(gateway, { "cf-aig-byok-alias": "prod" })).status, 200)
    })
  )

  it.effect("require a credential without wholesale, except for Workers AI", () =>
    Effect.gen(function* () {
      const strict = { "cf-aig-no-wholesale": "true" }
      assert.deepStrictEqual(yield* refused({}, (gateway) => chat(gateway, strict)), [400, 2040])
      const gateway = yield* LocalGateway.make()
      assert.strictEqual((yield* chat(gateway, { ...strict, authorization: "Bearer k" })).status, 200)
      const workersAi = yield* call(gateway, "POST", `${dataPlane}/workers-ai/@cf/x/y`, { prompt: "Hi" }, strict)
      assert.strictEqual(workersAi.status, 200)
    })
  )

  it.effect.each([
    ["cf-aig-cache-ttl", "59"],
    ["cf-aig-cache-ttl", "2592001"],
    ["cf-aig-cache-ttl", "x"],
    ["cf-aig-skip-cache", "yes"],
    ["cf-aig-collect-log", "1"],
    ["cf-aig-collect-log-payload", "no"],
    ["cf-aig-request-timeout", "-1"],
    ["cf-aig-request-timeout", "1.5"],
    ["cf-aig-max-attempts", "0"],
    ["cf-aig-max-attempts", "6"],
    ["cf-aig-retry-delay", "5001"],
    ["cf-aig-backoff", "random"],
    ["cf-aig-custom-cost", "{}"],
    ["cf-aig-custom-cost", `{"per_token_in":-1}`],
    ["cf-aig-no-wholesale", "maybe"],
    ["cf-aig-zdr", "maybe"],
    ["cf-aig-local-faults", "[{}]"]
  ] as const)("%s: %s is 400", ([name, value]) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* refused({}, (gateway) => chat(gateway, { [name]: value })), [400, 7001])
      const gateway = yield* LocalGateway.make()
      const reply = yield* universal(gateway, [leg("openai"), leg("groq", "m", { headers: { [name]: value } })])
      assert.strictEqual(reply.status, 400)
      assert.include(reply.json.message, name)
      assert.deepStrictEqual(yield* gateway.calls, [])
    })
  )

  it.effect.each([
    ["cf-aig-cache-ttl", "0"],
    ["cf-aig-cache-ttl", "60"],
    ["cf-aig-cache-ttl", "2592000"],
    ["cf-cache-ttl", "60"],
    ["cf-aig-max-attempts", "5"],
    ["cf-aig-retry-delay", "5000"],
    ["cf-aig-request-timeout", "0"],
    ["cf-aig-backoff", "linear"],
    ["cf-aig-custom-cost", `{"total_cost":1}`]
  ] as const)("%s: %s is accepted", ([name, value]) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      assert.strictEqual((yield* chat(gateway, { [name]: value })).status, 200)
    })
  )

  it.effect.each([
    "{",
    "",
    "[]",
    "[1]",
    `[{"endpoint":"x","query":{}}]`,
    `[{"provider":"openai","query":{}}]`,
    `[{"provider":"openai","endpoint":"x"}]`,
    `[{"provider":"openai","endpoint":"x","query":{},"headers":[]}]`,
    `[{"provider":"openai","endpoint":"x","query":{},"config":3}]`,
    `[{"provider":"openai","endpoint":"x","query":{},"config":{"maxAttempts":9}}]`
  ])("universal body %j is 400", (body) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* refused({}, (gateway) => universal(gateway, body)), [400, 7001])
    })
  )

  it.effect("reject other methods and paths", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      assert.strictEqual((yield* call(gateway, "GET", dataPlane)).status, 405)
      assert.strictEqual((yield* call(gateway, "POST", `${dataPlane}/compat/embeddings`, {})).status, 404)
      assert.strictEqual((yield* call(gateway, "GET", `${base}/elsewhere`)).status, 404)
      const socket = yield* call(gateway, "GET", `${dataPlane}/openai?model=x`, undefined, { upgrade: "websocket" })
      assert.strictEqual(socket.status, 400)
    })
  )
})

describe("rate limits", () => {
  it.effect.each(["fixed", "sliding"] as const)(
    "%s: more than the limit is 429 with 2003 and no Retry-After",
    (technique) =>
      Effect.gen(function* () {
        yield* TestClock.setTime(500_000)
        const rateLimit = { limit: 2, intervalSeconds: 10, technique }
        const gateway = yield* LocalGateway.make({ gateways: { default: { rateLimit }, free: {} } })
        yield* TestClock.adjust("8 seconds")
        const status = Effect.map(chat(gateway), (reply) => reply.status)
        assert.deepStrictEqual([yield* status, yield* status, yield* status], [200, 200, 429])
        const reply = yield* chat(gateway)
        assert.strictEqual(reply.json.error[0].code, 2003)
        assert.isUndefined(reply.headers["retry-after"])
        assert.isString(reply.headers["cf-aig-event-id"])
        assert.strictEqual((yield* gateway.calls).length, 2)
        const free = yield* call(gateway, "POST", `${base}/v1/local/free/openai/chat/completions`, question)
        assert.strictEqual(free.status, 200)
        // The fixed window turns at the tenth second, the sliding one ten seconds after the first request.
        yield* TestClock.adjust("2 seconds")
        const next = technique === "fixed" ? 200 : 429
        assert.deepStrictEqual([yield* status, yield* status], [next, next])
        // Refused requests did not count.
        yield* TestClock.adjust(technique === "fixed" ? "10 seconds" : "8 seconds")
        assert.strictEqual(yield* status, 200)
      })
  )
})

describe("metadata, cost and logging options", () => {
  const last = (gateway: LocalGateway.LocalGateway) =>
    Effect.map(call(gateway, "GET", `${logs}?per_page=1`), (reply) => reply.json.result[0])

  it.effect("keep five flat metadata entries, and drop all when one is bad", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const stored = Effect.fnUntraced(function* (metadata: string) {
        yield* gateway.reset
        yield* chat(gateway, { "cf-aig-metadata": metadata })
        return (yield* last(gateway)).metadata
      })
      assert.deepStrictEqual(yield* stored(`{"a":"x","b":2,"c":true}`), { a: "x", b: 2, c: true })
      assert.deepStrictEqual(yield* stored(`{"a":"gr\\u00fc\\u00df"}`), { a: "grüß" })
      assert.deepStrictEqual(yield* stored(`{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}`), { a: 1, b: 1, c: 1, d: 1, e: 1 })
      assert.deepStrictEqual(yield* stored(`{"cf.user":"x","a":1}`), { a: 1 })
      assert.isNull(yield* stored(`{"a":1,"b":null}`))
      assert.isNull(yield* stored(`{"a":1,"b":{"c":1}}`))
      assert.isNull(yield* stored("no json"))
    })
  )

  it.effect("count tokens and apply the custom cost", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const body = { model: "m", messages: [{ role: "user", content: "one two three" }] }
      yield* chat(gateway, { "cf-aig-custom-cost": `{"per_token_in":0.5,"per_token_out":2}` }, body)
      const entry = yield* last(gateway)
      // "openai/m: one two three" has four words.
      assert.deepStrictEqual([entry.tokens_in, entry.tokens_out, entry.cost, entry.custom_cost], [3, 4, 9.5, true])
      yield* chat(
        gateway,
        { "cf-aig-custom-cost": `{"total_cost":7}` },
        { ...body, stream: true, stream_options: { include_usage: true } }
      )
      const streamed = yield* last(gateway)
      assert.deepStrictEqual([streamed.tokens_in, streamed.tokens_out, streamed.cost], [3, 4, 7])
    })
  )

  it.effect("leave no log id and no entry for a request that is not logged", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ gateways: { default: { collectLogs: false } } })
      const silent = yield* chat(gateway)
      assert.isUndefined(silent.headers["cf-aig-log-id"])
      assert.isString(silent.headers["cf-aig-request-id"])
      const logged = yield* chat(gateway, { "cf-aig-collect-log": "true" })
      const listed = yield* call(gateway, "GET", logs)
      assert.deepStrictEqual(
        listed.json.result.map((entry: { id: string }) => entry.id),
        [logged.headers["cf-aig-log-id"]]
      )
    })
  )

  it.effect("omit payloads from the log on request", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const reply = yield* chat(gateway, { "cf-aig-collect-log-payload": "false" })
      const url = `${logs}/${reply.headers["cf-aig-log-id"]}`
      assert.strictEqual((yield* call(gateway, "GET", `${url}/request`)).status, 404)
      assert.strictEqual((yield* call(gateway, "GET", `${url}/response`)).status, 404)
      const entry = (yield* call(gateway, "GET", url)).json.result
      assert.strictEqual(entry.request_head, "")
      assert.strictEqual(entry.request_head_complete, false)
      assert.isAbove(entry.request_size, 0)
    })
  )
})

describe("faults of one request", () => {
  it.effect("apply to this request alone, before any other script", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const faults = JSON.stringify([{ status: 500 }, { status: 502 }])
      const headers = { "cf-aig-local-faults": faults, "cf-aig-max-attempts": "3" }
      const reply = yield* drive(chat(gateway, headers))
      assert.strictEqual(reply.status, 200)
      assert.deepStrictEqual(yield* trace(gateway), [
        "0:openai#1 answered 500",
        "0:openai#2 answered 502",
        "0:openai#3 answered 200"
      ])
      assert.strictEqual((yield* chat(gateway)).status, 200)
    })
  )

  it.effect("apply to one leg when it lists them", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const headers = { "cf-aig-local-faults": [{ status: 500 }] }
      const reply = yield* universal(gateway, [leg("openai", "m", { headers }), leg("groq")])
      assert.strictEqual(reply.headers["cf-aig-step"], "1")
    })
  )
})
