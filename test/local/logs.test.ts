import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import { api, base, binding, call, chat, dataPlane, leg, logs } from "./support.ts"

const list = (gateway: LocalGateway.LocalGateway, query: Record<string, string>) =>
  call(gateway, "GET", `${logs}?${new URLSearchParams(query)}`)

const models = (reply: { readonly json: { readonly result: ReadonlyArray<{ readonly model: string }> } }) =>
  reply.json.result.map(({ model }) => model)

/** Three entries at seconds 0, 10 and 20: a (success), b (failure, metadata), c (other provider, cached later). */
const filled = Effect.gen(function* () {
  const gateway = yield* LocalGateway.make()
  yield* chat(gateway, { "user-agent": "test/1", "cf-aig-event-id": "e-a" }, leg("openai", "a").query)
  yield* TestClock.adjust("10 seconds")
  yield* gateway.script("openai", [{ status: 400 }])
  yield* chat(gateway, { "cf-aig-metadata": `{"team":"blue","tier":2}` }, leg("openai", "b").query)
  yield* TestClock.adjust("10 seconds")
  const body = { ...leg("groq", "c").query, messages: [{ role: "user", content: "one two three four" }] }
  const cost = { "cf-aig-custom-cost": `{"total_cost":5}` }
  yield* call(gateway, "POST", `${dataPlane}/groq/chat/completions`, body, cost)
  return gateway
})

describe("list", () => {
  it.effect("returns the envelope, newest first", () =>
    Effect.gen(function* () {
      const gateway = yield* filled
      const reply = yield* call(gateway, "GET", logs)
      assert.strictEqual(reply.status, 200)
      assert.deepStrictEqual([reply.json.success, reply.json.errors, reply.json.messages], [true, [], []])
      assert.deepStrictEqual(models(reply), ["c", "b", "a"])
      assert.deepStrictEqual(reply.json.result_info, { count: 3, page: 1, per_page: 20, total_count: 3 })
      const [c] = reply.json.result
      assert.strictEqual(c.created_at, "1970-01-01T00:00:20.000Z")
      assert.strictEqual(c.path, "chat/completions")
      assert.isUndefined(c.request_head)
    })
  )

  it.effect("returns pages", () =>
    Effect.gen(function* () {
      const gateway = yield* filled
      const page = yield* list(gateway, { page: "2", per_page: "2" })
      assert.deepStrictEqual(models(page), ["a"])
      assert.deepStrictEqual(page.json.result_info, { count: 1, page: 2, per_page: 2, total_count: 3 })
    })
  )

  it.effect.each([
    ["created_at", "asc", ["a", "b", "c"]],
    ["model", "desc", ["c", "b", "a"]],
    ["provider", "asc", ["c", "a", "b"]],
    ["success", "asc", ["b", "a", "c"]]
  ] as const)("order by %s %s", ([order_by, order_by_direction, wanted]) =>
    Effect.gen(function* () {
      const gateway = yield* filled
      assert.deepStrictEqual(models(yield* list(gateway, { order_by, order_by_direction })), [...wanted])
    })
  )

  it.effect.each([
    [{ key: "provider", operator: "eq", value: ["openai"] }, ["b", "a"]],
    [{ key: "provider", operator: "eq", value: ["groq", "mistral"] }, ["c"]],
    [{ key: "provider", operator: "neq", value: ["groq"] }, ["b", "a"]],
    [{ key: "model", operator: "contains", value: ["B"] }, ["b"]],
    [{ key: "success", operator: "eq", value: [false] }, ["b"]],
    [{ key: "success", operator: "eq", value: ["true"] }, ["c", "a"]],
    [{ key: "cached", operator: "eq", value: [true] }, []],
    [{ key: "created_at", operator: "gt", value: ["1970-01-01T00:00:05Z"] }, ["c", "b"]],
    [{ key: "created_at", operator: "lt", value: ["1970-01-01T01:00:05+01:00"] }, ["a"]],
    [{ key: "created_at", operator: "eq", value: ["1970-01-01T00:00:10.000Z"] }, ["b"]],
    [{ key: "cost", operator: "gt", value: [4] }, ["c"]],
    [{ key: "tokens_in", operator: "gt", value: [3] }, ["c"]],
    [{ key: "tokens_in", operator: "lt", value: [3] }, ["a"]],
    [{ key: "tokens", operator: "gt", value: [8] }, ["c"]],
    [{ key: "tokens_out", operator: "eq", value: [5] }, ["c"]],
    [{ key: "duration", operator: "lt", value: [1] }, ["c", "b", "a"]],
    [{ key: "feedback", operator: "eq", value: [null] }, ["c", "b", "a"]],
    [{ key: "event_id", operator: "eq", value: ["e-a"] }, ["a"]],
    [{ key: "user_agent", operator: "contains", value: ["test"] }, ["a"]],
    [{ key: "metadata.key", operator: "eq", value: ["team"] }, ["b"]],
    [{ key: "metadata.value", operator: "eq", value: [2] }, ["b"]],
    [{ key: "metadata.value", operator: "gt", value: [1] }, ["b"]],
    [{ key: "model_type", operator: "eq", value: ["chat"] }, ["c", "b", "a"]],
    [{ key: "request_type", operator: "eq", value: ["provider"] }, ["c", "b", "a"]],
    [{ key: "request_content_type", operator: "contains", value: ["json", "plain"] }, ["c", "b", "a"]],
    [{ key: "response_content_type", operator: "eq", value: ["application/json"] }, ["c", "b", "a"]],
    [{ key: "authentication", operator: "eq", value: [true] }, []],
    [{ key: "wholesale", operator: "eq", value: [false] }, ["c", "b", "a"]],
    [{ key: "compatibilityMode", operator: "eq", value: [true] }, []],
    [{ key: "dlp_action", operator: "eq", value: [null] }, ["c", "b", "a"]]
  ] as const)("filter %j", ([filter, wanted]) =>
    Effect.gen(function* () {
      const gateway = yield* filled
      assert.deepStrictEqual(models(yield* list(gateway, { filters: JSON.stringify([filter]) })), [...wanted])
    })
  )

  it.effect("requires all filters; id works; metadata keys and values match independently", () =>
    Effect.gen(function* () {
      const gateway = yield* filled
      const two = [
        { key: "provider", operator: "eq", value: ["openai"] },
        { key: "success", operator: "eq", value: [true] }
      ]
      assert.deepStrictEqual(models(yield* list(gateway, { filters: JSON.stringify(two) })), ["a"])
      const apart = [
        { key: "metadata.key", operator: "eq", value: ["team"] },
        { key: "metadata.value", operator: "eq", value: [2] }
      ]
      assert.deepStrictEqual(models(yield* list(gateway, { filters: JSON.stringify(apart) })), ["b"])
      const all = yield* list(gateway, {})
      const byId = [{ key: "id", operator: "eq", value: [all.json.result[1].id] }]
      assert.deepStrictEqual(models(yield* list(gateway, { filters: JSON.stringify(byId) })), ["b"])
    })
  )

  it.effect.each([
    [{ search: "BLUE" }, ["b"]],
    [{ search: "one two" }, ["c"]],
    [{ provider: "groq" }, ["c"]],
    [{ success: "false" }, ["b"]],
    [{ min_cost: "5" }, ["c"]],
    [{ max_tokens_in: "1" }, ["a"]],
    [{ min_total_tokens: "9" }, ["c"]],
    [{ start_date: "1970-01-01T00:00:10Z", end_date: "1970-01-01T00:00:10Z" }, ["b"]]
  ] as const)("query %j", ([query, wanted]) =>
    Effect.gen(function* () {
      const gateway = yield* filled
      assert.deepStrictEqual(models(yield* list(gateway, query)), [...wanted])
    })
  )

  it.effect("adds the ranges with meta_info", () =>
    Effect.gen(function* () {
      const gateway = yield* filled
      const { result_info } = (yield* list(gateway, { meta_info: "true" })).json
      assert.deepStrictEqual([result_info.min_cost, result_info.max_cost], [0, 5])
      assert.deepStrictEqual([result_info.min_total_tokens, result_info.max_total_tokens], [3, 9])
    })
  )

  it.effect.each([
    { per_page: "51" },
    { per_page: "0" },
    { page: "0" },
    { order_by: "cost" },
    { order_by_direction: "up" },
    { filters: "{}" },
    { filters: `[{"key":"colour","operator":"eq","value":[1]}]` },
    { filters: `[{"key":"toString","operator":"eq","value":[1]}]` },
    { filters: `[{"key":"id","operator":"like","value":[1]}]` },
    { filters: `[{"key":"id","operator":"eq","value":[]}]` },
    { filters: `[{"key":"id","operator":"eq","value":[{}]}]` },
    { limit: "3" },
    { colour: "red" }
  ])("query %j is 400", (query) =>
    Effect.gen(function* () {
      const gateway = yield* filled
      const reply = yield* list(gateway, query)
      assert.strictEqual(reply.status, 400)
      assert.deepStrictEqual([reply.json.success, reply.json.errors[0].code, reply.json.result], [false, 7001, null])
    })
  )

  it.effect("separates the entries of gateways", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ gateways: { other: {} } })
      const { headers } = yield* chat(gateway)
      const url = `${api}/ai-gateway/gateways/other/logs`
      assert.strictEqual((yield* call(gateway, "GET", url)).json.result_info.total_count, 0)
      assert.strictEqual((yield* call(gateway, "GET", `${url}/${headers["cf-aig-log-id"]}`)).status, 404)
    })
  )
})

describe("one entry", () => {
  it.effect("has heads and sizes, and the original bodies", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const body = { ...leg("openai").query, user: "x".repeat(2000) }
      const answer = yield* chat(gateway, { "content-type": "application/json" }, body)
      const url = `${logs}/${answer.headers["cf-aig-log-id"]}`
      const entry = (yield* call(gateway, "GET", url)).json.result
      assert.strictEqual(entry.request_head.length, 1000)
      assert.deepStrictEqual([entry.request_head_complete, entry.response_head_complete], [false, true])
      assert.strictEqual(entry.request_size, JSON.stringify(body).length)
      assert.strictEqual(entry.response_head, answer.text)
      const request = yield* call(gateway, "GET", `${url}/request`)
      assert.deepStrictEqual(request.json, body)
      assert.strictEqual(request.headers["content-type"], "application/json")
      assert.strictEqual((yield* call(gateway, "GET", `${url}/response`)).text, answer.text)
    })
  )

  it.effect("is 404 with 7002 for an unknown id", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      for (const [method, body] of [["GET"], ["PATCH", { feedback: 1 }]] as const) {
        const reply = yield* call(gateway, method, `${logs}/nope`, body)
        assert.deepStrictEqual([reply.status, reply.json.errors[0].code], [404, 7002])
      }
    })
  )

  it.effect("is missing at first with freshLogDelay", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ freshLogDelay: 500 })
      const { headers } = yield* chat(gateway)
      const read = Effect.map(call(gateway, "GET", `${logs}/${headers["cf-aig-log-id"]}`), ({ status }) => status)
      assert.strictEqual(yield* read, 404)
      assert.strictEqual((yield* call(gateway, "GET", logs)).json.result_info.total_count, 0)
      yield* TestClock.adjust("499 millis")
      assert.strictEqual(yield* read, 404)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* read, 200)
    })
  )
})

describe("feedback", () => {
  const patched = Effect.fnUntraced(function* (...patches: ReadonlyArray<unknown>) {
    const gateway = yield* LocalGateway.make()
    const { headers } = yield* chat(gateway, { "cf-aig-metadata": `{"a":1}` })
    const url = `${logs}/${headers["cf-aig-log-id"]}`
    for (const patch of patches) {
      const reply = yield* call(gateway, "PATCH", url, patch)
      if (reply.status !== 200) return [reply.status, reply.json.errors[0].code]
    }
    const { feedback, metadata, score } = (yield* call(gateway, "GET", url)).json.result
    return { feedback, metadata, score }
  })

  it.effect("sets fields, keeps the others, and clears with null", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* patched({ feedback: 1 }), { feedback: 1, metadata: { a: 1 }, score: null })
      assert.deepStrictEqual(yield* patched({ feedback: -1 }, { score: 80, metadata: { b: "x" } }), {
        feedback: -1,
        metadata: { b: "x" },
        score: 80
      })
      assert.deepStrictEqual(
        yield* patched({ feedback: 1, score: 1 }, { feedback: null, score: null, metadata: null }),
        {
          feedback: null,
          metadata: null,
          score: null
        }
      )
    })
  )

  it.effect.each([
    { feedback: 0 },
    { feedback: "1" },
    { score: "high" },
    { metadata: { a: null } },
    { metadata: { a: 1, b: 1, c: 1, d: 1, e: 1, f: 1 } },
    { metadata: [] },
    { comment: "x" },
    [],
    "{"
  ])("%j is 400", (patch) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* patched(patch), [400, 7001])
    })
  )
})

describe("bulk deletion", () => {
  it.effect("removes matching entries, at most `limit`, in the given order", () =>
    Effect.gen(function* () {
      const gateway = yield* filled
      const remove = (query: Record<string, string>) => call(gateway, "DELETE", `${logs}?${new URLSearchParams(query)}`)
      const openai = JSON.stringify([{ key: "provider", operator: "eq", value: ["openai"] }])
      const reply = yield* remove({ filters: openai, limit: "1", order_by: "created_at", order_by_direction: "asc" })
      assert.deepStrictEqual(reply.json.result, { success: true })
      assert.deepStrictEqual(models(yield* list(gateway, {})), ["c", "b"])
      assert.strictEqual((yield* remove({ order_by: "cost", order_by_direction: "desc", limit: "1" })).status, 200)
      assert.deepStrictEqual(models(yield* list(gateway, {})), ["b"])
      yield* remove({})
      assert.deepStrictEqual(models(yield* list(gateway, {})), [])
    })
  )
})

describe("access", () => {
  it.effect("requires the token, and an existing account and gateway", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ account: "local", token: Redacted.make("cf-secret") })
      const none = yield* call(gateway, "GET", logs)
      assert.deepStrictEqual([none.status, none.json.errors[0].code], [401, 10000])
      const auth = { authorization: "Bearer cf-secret" }
      assert.strictEqual((yield* call(gateway, "GET", logs, undefined, auth)).status, 200)
      const account = `${base}/client/v4/accounts/other/ai-gateway/gateways/default/logs`
      assert.strictEqual((yield* call(gateway, "GET", account, undefined, auth)).status, 404)
      const id = `${api}/ai-gateway/gateways/none/logs`
      const missing = yield* call(gateway, "GET", id, undefined, auth)
      assert.deepStrictEqual([missing.status, missing.json.errors[0].code], [400, 2001])
      // The prefix of the host may be missing.
      const short = `${base}/accounts/local/ai-gateway/gateways/default/logs`
      assert.strictEqual((yield* call(gateway, "GET", short, undefined, auth)).status, 200)
      // The binding is trusted.
      assert.strictEqual((yield* call(gateway, "GET", `${binding}/ai-gateway/gateways/default/logs/x`)).status, 404)
    })
  )

  it.effect("returns the URL of a provider as a string", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ baseUrl: "https://gw.example/" })
      const url = `${api}/ai-gateway/gateways/default/url`
      const openai = yield* call(gateway, "GET", `${url}/openai`)
      assert.strictEqual(openai.json.result, "https://gw.example/v1/local/default/openai")
      assert.strictEqual((yield* call(gateway, "GET", `${url}/universal`)).json.result, gateway.url())
      assert.strictEqual((yield* call(gateway, "GET", `${url}/nobody`)).status, 400)
    })
  )
})
