import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import { call, dataPlane, drive, leg, logs, trace, universal } from "./support.ts"

describe("fallback", () => {
  it.effect("answers with the first leg that succeeds, and reports the step", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ status: 503 }])
      yield* gateway.script("groq", [{ status: 404 }])
      const reply = yield* universal(gateway, [leg("openai"), leg("groq"), leg("mistral", "small")])
      assert.strictEqual(reply.status, 200)
      assert.strictEqual(reply.headers["cf-aig-step"], "2")
      assert.strictEqual(reply.json.choices[0].message.content, "mistral/small: Hello")
      assert.deepStrictEqual(yield* trace(gateway), [
        "0:openai#1 answered 503",
        "1:groq#1 answered 404",
        "2:mistral#1 answered 200"
      ])
    })
  )

  it.effect("accepts a single object as one leg", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const reply = yield* universal(gateway, leg("openai", "a"))
      assert.strictEqual(reply.headers["cf-aig-step"], "0")
      assert.strictEqual(reply.headers["cf-aig-request-id"], reply.headers["cf-aig-log-id"])
      assert.strictEqual(reply.headers["cf-aig-event-id"], reply.headers["cf-aig-request-id"])
    })
  )

  it.effect.each([400, 413, 422])("ends at once on status %d", (status) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ status }])
      const reply = yield* universal(gateway, [leg("openai"), leg("groq")], { "cf-aig-max-attempts": "3" })
      assert.strictEqual(reply.status, status)
      assert.strictEqual(reply.headers["cf-aig-step"], "0")
      assert.strictEqual((yield* gateway.calls).length, 1)
    })
  )

  it.effect("passes the last answer with its status, body, headers and step when every leg fails", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ status: 500 }])
      yield* gateway.script("groq", [{ status: 429, body: { error: { message: "slow" } }, retryAfter: 7 }])
      const reply = yield* universal(gateway, [leg("openai"), leg("groq")])
      assert.strictEqual(reply.status, 429)
      assert.strictEqual(reply.headers["retry-after"], "7")
      assert.strictEqual(reply.headers["cf-aig-step"], "1")
      assert.deepStrictEqual(reply.json, { error: { message: "slow" } })
    })
  )

  it.effect.each([{ reset: true }, { truncate: 5 }] as const)(
    "reports a broken connection as 400 with code 2005: %j",
    (fault) =>
      Effect.gen(function* () {
        const gateway = yield* LocalGateway.make()
        yield* gateway.script("openai", [{ status: 500 }])
        yield* gateway.script("groq", [fault])
        const reply = yield* universal(gateway, [leg("openai"), leg("groq")])
        assert.strictEqual(reply.status, 400)
        assert.strictEqual(reply.json.error[0].code, 2005)
        assert.strictEqual(reply.json.name, "AiGatewayError")
        assert.strictEqual(reply.json.internalCode, 2005)
        assert.strictEqual(reply.headers["cf-aig-step"], "1")
        assert.deepStrictEqual(yield* trace(gateway), ["0:openai#1 answered 500", "1:groq#1 failed"])
      })
  )

  it.effect("does not inspect a 2xx", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ garble: true }])
      const reply = yield* universal(gateway, [leg("openai"), leg("groq")])
      assert.strictEqual(reply.status, 200)
      assert.isUndefined(reply.json)
      assert.strictEqual(reply.headers["cf-aig-step"], "0")
    })
  )

  it.effect("moves on after a page instead of JSON", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ html: true }])
      const reply = yield* universal(gateway, [leg("openai"), leg("groq")])
      assert.strictEqual(reply.headers["cf-aig-step"], "1")
    })
  )

  it.effect("counts an unknown provider as a leg that fails with 2008", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const reply = yield* universal(gateway, [leg("nobody"), leg("groq")])
      assert.strictEqual(reply.headers["cf-aig-step"], "1")
      const alone = yield* universal(gateway, [leg("nobody")])
      assert.strictEqual(alone.status, 400)
      assert.strictEqual(alone.json.internalCode, 2008)
      assert.strictEqual(alone.headers["cf-aig-step"], "0")
      assert.strictEqual((yield* gateway.calls).length, 1)
    })
  )

  it.effect("logs every leg that was tried under one event id", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ status: 503 }])
      yield* gateway.script("groq", [{ reset: true }])
      const reply = yield* universal(gateway, [leg("openai"), leg("groq"), leg("mistral")], {
        "cf-aig-event-id": "order-7"
      })
      assert.strictEqual(reply.headers["cf-aig-event-id"], "order-7")
      const filters = JSON.stringify([{ key: "event_id", operator: "eq", value: ["order-7"] }])
      const found = yield* call(gateway, "GET", `${logs}?order_by_direction=asc&filters=${encodeURIComponent(filters)}`)
      const seen = found.json.result.map(
        (entry: { step: number; provider: string; status_code: number; success: boolean }) => [
          entry.step,
          entry.provider,
          entry.status_code,
          entry.success
        ]
      )
      assert.deepStrictEqual(seen, [
        [0, "openai", 503, false],
        [1, "groq", 400, false],
        [2, "mistral", 200, true]
      ])
      const ids = found.json.result.map((entry: { id: string }) => entry.id)
      assert.strictEqual(new Set(ids).size, 3)
      assert.strictEqual(ids[2], reply.headers["cf-aig-log-id"])
      assert.deepStrictEqual(
        (yield* gateway.calls).map(({ logId }) => logId),
        ids
      )
    })
  )
})

describe("retries", () => {
  const failing = { "cf-aig-max-attempts": "3", "cf-aig-retry-delay": "100" }

  it.effect("count the first attempt, and keep the leg's log id", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ status: 500, repeat: 2 }])
      const reply = yield* drive(universal(gateway, [leg("openai"), leg("groq")], failing))
      assert.strictEqual(reply.headers["cf-aig-step"], "0")
      assert.deepStrictEqual(yield* trace(gateway), [
        "0:openai#1 answered 500",
        "0:openai#2 answered 500",
        "0:openai#3 answered 200"
      ])
      assert.strictEqual(new Set((yield* gateway.calls).map(({ logId }) => logId)).size, 1)
      const listed = yield* call(gateway, "GET", logs)
      assert.strictEqual(listed.json.result_info.total_count, 1)
    })
  )

  it.effect("end with the next leg after the last attempt", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ status: 500, repeat: "forever" }])
      const reply = yield* drive(universal(gateway, [leg("openai"), leg("groq")], failing))
      assert.strictEqual(reply.headers["cf-aig-step"], "1")
      assert.strictEqual((yield* gateway.calls).length, 4)
    })
  )

  it.effect("are not made for failures that only another target can cure", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ status: 401, repeat: "forever" }])
      const reply = yield* drive(universal(gateway, [leg("openai"), leg("groq")], failing))
      assert.strictEqual(reply.headers["cf-aig-step"], "1")
      assert.strictEqual((yield* gateway.calls).length, 2)
    })
  )

  it.effect.each([
    ["constant", [100, 100, 100, 100]],
    ["linear", [100, 200, 300, 400]],
    ["exponential", [100, 200, 400, 800]]
  ] as const)("%s back-off, and Retry-After is ignored", ([backoff, gaps]) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ status: 429, retryAfter: 60, repeat: "forever" }])
      const headers = { "cf-aig-max-attempts": "5", "cf-aig-retry-delay": "100", "cf-aig-backoff": backoff }
      yield* drive(universal(gateway, [leg("openai")], headers))
      const starts = (yield* gateway.calls).map(({ startedAt }) => startedAt)
      assert.deepStrictEqual(
        starts.slice(1).map((at, i) => at - (starts[i] ?? 0)),
        [...gaps]
      )
    })
  )

  it.effect("take a leg's config before its headers, the request's, and the gateway's", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ gateways: { default: { retry: { maxAttempts: 5 } } } })
      const attempts = Effect.fnUntraced(function* (legs: unknown, headers?: Record<string, string>) {
        yield* gateway.reset
        yield* gateway.script("openai", [{ status: 500, repeat: "forever" }])
        yield* drive(universal(gateway, legs, headers))
        return (yield* gateway.calls).length
      })
      const config = { maxAttempts: 2 }
      const own = { "cf-aig-max-attempts": 3 }
      const request = { "cf-aig-max-attempts": "4" }
      assert.strictEqual(yield* attempts([leg("openai", "m", { config, headers: own })], request), 2)
      assert.strictEqual(yield* attempts([leg("openai", "m", { headers: own })], request), 3)
      assert.strictEqual(yield* attempts([leg("openai")], request), 4)
      assert.strictEqual(yield* attempts([leg("openai")]), 5)
    })
  )
})

describe("timeouts", () => {
  const elapsed = <A, E, R>(self: Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      const before = yield* Clock.currentTimeMillis
      const value = yield* drive(self)
      return [value, (yield* Clock.currentTimeMillis) - before] as const
    })

  it.effect("move on without retries", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ stall: true }])
      const reply = yield* drive(universal(gateway, [leg("openai"), leg("groq")], { "cf-aig-request-timeout": "500" }))
      assert.strictEqual(reply.headers["cf-aig-step"], "1")
      const [first] = yield* gateway.calls
      assert.strictEqual(first?.outcome, "timeout")
      assert.strictEqual((first?.endedAt ?? 0) - (first?.startedAt ?? 0), 500)
    })
  )

  it.effect("answer a provider endpoint with 408", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ stall: true }])
      const url = `${dataPlane}/openai/chat/completions`
      const reply = yield* drive(call(gateway, "POST", url, leg("openai").query, { "cf-aig-request-timeout": "500" }))
      assert.strictEqual(reply.status, 408)
      assert.strictEqual(reply.json.name, "AiGatewayError")
      assert.strictEqual(reply.json.httpCode, 408)
    })
  )

  it.effect("let the last attempt wait as long as it takes", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ ok: true, delay: 3000, repeat: "forever" }])
      const config = { requestTimeout: 500, maxAttempts: 2, retryDelay: 200 }
      const [reply] = yield* elapsed(universal(gateway, [leg("openai", "m", { config })]))
      assert.strictEqual(reply.status, 200)
      const [one, two] = yield* gateway.calls
      assert.deepStrictEqual([one?.outcome, two?.outcome], ["timeout", "answered"])
      assert.strictEqual((two?.startedAt ?? 0) - (one?.endedAt ?? 0), 200)
      assert.strictEqual((two?.endedAt ?? 0) - (two?.startedAt ?? 0), 3000)
    })
  )

  it.effect("take config.requestTimeout before the header", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ ok: true, delay: "2 seconds" }])
      const legs = [leg("openai", "m", { config: { requestTimeout: 5000 } }), leg("groq")]
      const reply = yield* drive(universal(gateway, legs, { "cf-aig-request-timeout": "500" }))
      assert.strictEqual(reply.headers["cf-aig-step"], "0")
    })
  )
})

describe("compared with a reference", () => {
  const Fault = Schema.Literals(["ok", "500", "429", "404", "401", "400", "413", "reset", "slow"])
  type Fault = typeof Fault.Type
  const script = (fault: Fault) => {
    switch (fault) {
      case "ok":
        return { ok: true } as const
      case "reset":
        return { reset: true } as const
      case "slow":
        return { ok: true, delay: 1000 } as const
      default:
        return { status: Number(fault) }
    }
  }
  const again = new Set<Fault>(["500", "429", "reset", "slow"])
  const stop = new Set<Fault>(["400", "413"])

  /** The same rules as a plain loop over names. */
  const expected = (faults: ReadonlyArray<ReadonlyArray<Fault>>, attempts: number) => {
    const calls: Array<string> = []
    for (const [index, script] of faults.entries()) {
      for (let attempt = 1; attempt <= attempts; attempt++) {
        const fault = script[attempt - 1] ?? "ok"
        const limited = attempts === 1 || attempt < attempts
        calls.push(`${index}#${attempt}`)
        if (fault === "ok" || (fault === "slow" && !limited)) return { calls, step: String(index), ok: true }
        if (stop.has(fault)) return { calls, step: String(index), ok: false }
        if (!again.has(fault)) break
      }
    }
    return { calls, step: String(faults.length - 1), ok: false }
  }

  it.effect.prop(
    "any script produces the attempts and the step of the reference",
    {
      faults: Schema.Array(Schema.Array(Fault).check(Schema.isMaxLength(5))).check(
        Schema.isMinLength(1),
        Schema.isMaxLength(4)
      ),
      attempts: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 5 }))
    },
    ({ attempts, faults }) =>
      Effect.gen(function* () {
        const providers = ["openai", "groq", "mistral", "grok"]
        const gateway = yield* LocalGateway.make()
        for (const [index, one] of faults.entries()) {
          yield* gateway.script(providers[index] ?? "", one.map(script))
        }
        const legs = faults.map((_, index) => leg(providers[index] ?? ""))
        const headers = { "cf-aig-max-attempts": String(attempts), "cf-aig-request-timeout": "500" }
        const reply = yield* drive(universal(gateway, legs, headers), "500 millis")
        const want = expected(faults, attempts)
        const calls = (yield* gateway.calls).map(({ attempt, leg }) => `${leg}#${attempt}`)
        assert.deepStrictEqual({ calls, step: reply.headers["cf-aig-step"], ok: reply.status === 200 }, want)
      }),
    { arbitrary: { runs: 60 } }
  )
})
