import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import { call, chat, dataPlane, leg, logs, universal } from "./support.ts"

const hour = { "cf-aig-cache-ttl": "3600" }
const status = (self: ReturnType<typeof chat>) => Effect.map(self, ({ headers }) => headers["cf-aig-cache-status"])
const calls = (gateway: LocalGateway.LocalGateway) => Effect.map(gateway.calls, (all) => all.length)

describe("the cache", () => {
  it.effect("answers the same request until the entry expires", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const first = yield* chat(gateway, hour)
      const second = yield* chat(gateway, hour)
      assert.strictEqual(first.headers["cf-aig-cache-status"], "MISS")
      assert.strictEqual(second.headers["cf-aig-cache-status"], "HIT")
      assert.strictEqual(second.text, first.text)
      assert.strictEqual(second.headers["content-type"], "application/json")
      assert.notStrictEqual(second.headers["cf-aig-log-id"], first.headers["cf-aig-log-id"])
      assert.strictEqual(yield* calls(gateway), 1)
      yield* TestClock.adjust("59 minutes")
      assert.strictEqual(yield* status(chat(gateway, hour)), "HIT")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* status(chat(gateway, hour)), "MISS")
    })
  )

  it.effect("keys entries by provider, endpoint, model, credential and body, not by metadata", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const body = leg("openai").query
      yield* chat(gateway, hour, body)
      assert.strictEqual(yield* status(chat(gateway, { ...hour, authorization: "Bearer other" }, body)), "MISS")
      assert.strictEqual(yield* status(chat(gateway, hour, { ...body, temperature: 1 })), "MISS")
      assert.strictEqual(yield* status(chat(gateway, hour, { ...body, model: "other" })), "MISS")
      const groq = call(gateway, "POST", `${dataPlane}/groq/chat/completions`, body, hour)
      assert.strictEqual(yield* status(groq), "MISS")
      const path = call(gateway, "POST", `${dataPlane}/openai/v1/chat/completions`, body, hour)
      assert.strictEqual(yield* status(path), "MISS")
      assert.strictEqual(yield* status(chat(gateway, { ...hour, "cf-aig-metadata": `{"a":1}` }, body)), "HIT")
    })
  )

  it.effect("is written but not read with skip-cache", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ gateways: { default: { cacheTtl: 60 } } })
      yield* chat(gateway)
      assert.strictEqual(yield* status(chat(gateway, { "cf-aig-skip-cache": "true" })), "MISS")
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(yield* status(chat(gateway, { "cf-aig-skip-cache": "true" })), "MISS")
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(yield* status(chat(gateway)), "HIT")
    })
  )

  it.effect("is off with a TTL of 0", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ gateways: { default: { cacheTtl: 60 } } })
      yield* chat(gateway)
      assert.isUndefined(yield* status(chat(gateway, { "cf-aig-cache-ttl": "0" })))
      assert.strictEqual(yield* calls(gateway), 2)
    })
  )

  it.effect("uses an own key, for five minutes when caching is off", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const keyed = { "cf-aig-cache-key": "k" }
      yield* chat(gateway, keyed, leg("openai", "a").query)
      const other = yield* chat(gateway, keyed, leg("openai", "b").query)
      assert.strictEqual(other.headers["cf-aig-cache-status"], "HIT")
      assert.strictEqual(other.json.model, "a")
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(yield* status(chat(gateway, keyed)), "MISS")
    })
  )

  it.effect("stores neither failures nor streams", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ status: 500 }])
      yield* chat(gateway, hour)
      assert.strictEqual(yield* status(chat(gateway, hour)), "MISS")
      const stream = { ...leg("openai").query, stream: true }
      yield* chat(gateway, hour, stream)
      assert.strictEqual(yield* status(chat(gateway, hour, stream)), "MISS")
    })
  )

  it.effect("is consulted before the rate limit, and logs a hit without cost", () =>
    Effect.gen(function* () {
      const rateLimit = { limit: 1, intervalSeconds: 3600 }
      const gateway = yield* LocalGateway.make({ gateways: { default: { rateLimit, cacheTtl: 3600 } } })
      const cost = { "cf-aig-custom-cost": `{"total_cost":1}` }
      yield* chat(gateway, cost)
      const hit = yield* chat(gateway, cost)
      assert.strictEqual(hit.headers["cf-aig-cache-status"], "HIT")
      assert.strictEqual((yield* chat(gateway, { "cf-aig-skip-cache": "true" })).status, 429)
      const entry = (yield* call(gateway, "GET", `${logs}/${hit.headers["cf-aig-log-id"]}`)).json.result
      assert.deepStrictEqual(
        [entry.cached, entry.cost, entry.tokens_in, entry.tokens_out, entry.success],
        [true, 0, 0, 0, true]
      )
    })
  )

  it.effect("may answer a later leg", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const cached = leg("groq", "m", { headers: { "cf-aig-cache-ttl": 3600 } })
      yield* universal(gateway, [cached])
      yield* gateway.script("openai", [{ status: 500 }])
      const reply = yield* universal(gateway, [leg("openai"), cached])
      assert.strictEqual(reply.headers["cf-aig-cache-status"], "HIT")
      assert.strictEqual(reply.headers["cf-aig-step"], "1")
    })
  )
})
