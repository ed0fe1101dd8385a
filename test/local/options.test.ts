import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import { isGatewayError } from "../../src/GatewayError.ts"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import { base, call, chat, leg, logs, trace, universal } from "./support.ts"

describe("make", () => {
  const secret = Redacted.make("cf-secret")

  it.effect.each([
    [{ account: "a b" }, "account"],
    [{ account: "" }, "account"],
    [{ gateway: "a/b" }, "gateway"],
    [{ gateways: { "a?b": {} } }, "gateways.a?b"],
    [{ gateways: { a: { cacheTtl: 59 } } }, "gateways.a.cacheTtl"],
    [{ gateways: { a: { cacheTtl: 2_592_001 } } }, "gateways.a.cacheTtl"],
    [{ gateways: { a: { rateLimit: { limit: 0, intervalSeconds: 1 } } } }, "gateways.a.rateLimit.limit"],
    [{ gateways: { a: { rateLimit: { limit: 1, intervalSeconds: 0.5 } } } }, "gateways.a.rateLimit.intervalSeconds"],
    [{ gateways: { a: { retry: { maxAttempts: 6 } } } }, "gateways.a.retry.maxAttempts"],
    [{ gateways: { a: { retry: { delay: 5001 } } } }, "gateways.a.retry.delay"],
    [{ gateways: { a: { authentication: true } } }, "gateways.a.authentication"],
    [{ token: Redacted.make("") }, "token"],
    [{ token: Redacted.make("a\nb") }, "token"],
    [{ adminToken: Redacted.make("a b") }, "adminToken"],
    [{ upstreams: { nobody: Upstream.echo() } }, "upstreams.nobody"],
    [{ upstreams: { "custom-": Upstream.echo() } }, "upstreams.custom-"],
    [{ upstreams: { openai: Upstream.echo({ dimensions: 0 }) } }, "upstreams.openai.dimensions"],
    [{ upstreams: { openai: Upstream.script([{ status: 99 }]) } }, "upstreams.openai.faults[0]"],
    [{ upstreams: { openai: Upstream.proxy({ baseUrl: "ftp://x" }) } }, "upstreams.openai.baseUrl"],
    [{ routes: { "a b": ["openai/x"] } }, "routes.a b"],
    [{ routes: { a: [] } }, "routes.a"],
    [{ routes: { a: ["nobody/x"] } }, "routes.a[0]"],
    [{ routes: { a: ["openai/x", "openai"] } }, "routes.a[1]"],
    [{ baseUrl: "gateway" }, "baseUrl"],
    [{ freshLogDelay: -1 }, "freshLogDelay"],
    [{ keep: { logs: -1 } }, "keep.logs"],
    [{ keep: { calls: 0.5 } }, "keep.calls"],
    [{ keep: { logBytes: -1 } }, "keep.logBytes"],
    [{ keep: { callBytes: Number.NaN } }, "keep.callBytes"],
    [{ keep: { cacheBytes: 2 ** 60 } }, "keep.cacheBytes"],
    [{ keep: { runBytes: 0.5 } }, "keep.runBytes"],
    [{ keep: Object.assign({ logs: 1 }, { bytes: 1 }) }, "keep.bytes"],
    [{ inFlightBytes: 0 }, "inFlightBytes"]
  ] as const)("%j is refused", ([options, field]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(LocalGateway.make(options))
      assert.strictEqual(error.method, "LocalGateway.make")
      assert.isTrue(error.reason._tag === "InvalidRequest" && error.reason.field === field, error.message)
    })
  )

  it.effect("does not print the token in an error", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(LocalGateway.make({ token: Redacted.make("bad secret"), account: "x" }))
      assert.notInclude(JSON.stringify(error) + String(error) + error.message, "bad secret")
    })
  )

  it.effect("guards the admin paths with the admin token, or else with the token", () =>
    Effect.gen(function* () {
      const status = Effect.fnUntraced(function* (options: LocalGateway.Options, headers?: Record<string, string>) {
        const gateway = yield* LocalGateway.make(options)
        return (yield* call(gateway, "GET", `${base}/__admin/calls`, undefined, headers)).status
      })
      assert.strictEqual(yield* status({}), 200)
      assert.strictEqual(yield* status({}, { origin: "https://evil.example" }), 403)
      assert.strictEqual(yield* status({ token: secret }), 401)
      assert.strictEqual(yield* status({ token: secret }, { authorization: "Bearer cf-secret" }), 200)
      const both = { token: secret, adminToken: Redacted.make("ops") }
      assert.strictEqual(yield* status(both, { authorization: "Bearer cf-secret" }), 401)
      assert.strictEqual(yield* status(both, { authorization: "Bearer ops" }), 200)
    })
  )
})

describe("scripts", () => {
  it.effect("of a model win over those of its provider", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ status: 500, repeat: "forever" }])
      yield* gateway.script("openai/good", [])
      yield* gateway.script("workers-ai/@cf/meta/llama-3.1-8b-instruct", [{ status: 502 }])
      assert.strictEqual((yield* universal(gateway, [leg("openai", "good")])).status, 200)
      assert.strictEqual((yield* universal(gateway, [leg("openai", "bad")])).status, 500)
      assert.strictEqual((yield* universal(gateway, [leg("workers-ai")])).status, 502)
    })
  )

  it.effect("are used in order, with their repeats, until a new script replaces them", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ status: 500, repeat: 2 }, { ok: true }, { status: 404 }])
      const statuses = Effect.replicateEffect(
        Effect.map(chat(gateway), ({ status }) => status),
        5
      )
      assert.deepStrictEqual(yield* statuses, [500, 500, 200, 404, 200])
      yield* gateway.script("openai", [{ status: 401, repeat: 9 }])
      yield* gateway.script("openai", [])
      assert.strictEqual((yield* chat(gateway)).status, 200)
    })
  )

  it.effect.each([
    ["nobody", [], "provider"],
    ["openai/", [], "provider"],
    ["openai", [{ status: 199 }], "faults[0]"],
    ["openai", [{ status: 500 }, { status: 503, delay: -1 }], "faults[1]"],
    ["openai", [{ status: 503, delay: "soon" }], "faults[0]"],
    ["openai", [{ ok: true, repeat: 0 }], "faults[0]"],
    ["openai", [{ status: 200, headers: { a: "b\r\nc: d" } }], "faults[0]"]
  ] as const)("script %j is refused: %j", ([provider, faults, field]) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const exit = yield* Effect.exit(gateway.script(provider, faults))
      const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
      assert.isTrue(isGatewayError(defect) && defect.reason._tag === "InvalidRequest" && defect.reason.field === field)
      const reply = yield* call(gateway, "POST", `${base}/__admin/script`, { provider, faults })
      assert.strictEqual(reply.status, 400)
      assert.include(reply.json.errors[0].message, field)
    })
  )

  it.effect.each([[{}], [{ status: 500, stall: true }], [{ stall: false }], [null], "x", undefined])(
    "the admin path refuses faults %j",
    (faults) =>
      Effect.gen(function* () {
        const gateway = yield* LocalGateway.make()
        const reply = yield* call(gateway, "POST", `${base}/__admin/script`, { provider: "openai", faults })
        assert.strictEqual(reply.status, 400)
      })
  )

  it.effect("are set, shown and reset through the admin paths", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const admin = `${base}/__admin`
      yield* call(gateway, "POST", `${admin}/script`, { provider: "openai", faults: [{ status: 503 }] })
      assert.strictEqual((yield* chat(gateway)).status, 503)
      const calls = yield* call(gateway, "GET", `${admin}/calls`)
      assert.deepStrictEqual(calls.json.result, JSON.parse(JSON.stringify(yield* gateway.calls)))
      assert.strictEqual(calls.json.result.length, 1)
      yield* call(gateway, "POST", `${admin}/script`, { provider: "openai", faults: [{ status: 503 }] })
      yield* call(gateway, "POST", `${admin}/reset`)
      assert.deepStrictEqual(yield* gateway.calls, [])
      assert.strictEqual((yield* call(gateway, "GET", logs)).json.result_info.total_count, 0)
      assert.strictEqual((yield* chat(gateway)).status, 200)
      assert.strictEqual((yield* call(gateway, "GET", `${admin}/nothing`)).status, 404)
    })
  )

  it.effect("restart on reset, which also empties the cache and the limits", () =>
    Effect.gen(function* () {
      const rateLimit = { limit: 2, intervalSeconds: 3600 }
      const gateway = yield* LocalGateway.make({
        gateways: { default: { rateLimit, cacheTtl: 60 } },
        upstreams: { openai: Upstream.script([{ status: 500 }]) }
      })
      const round = Effect.replicateEffect(
        Effect.map(chat(gateway), ({ status }) => status),
        2
      )
      assert.deepStrictEqual(yield* round, [500, 200])
      yield* gateway.reset
      assert.deepStrictEqual(yield* round, [500, 200])
    })
  )

  it.effect("keep separate positions in two gateways from one option", () =>
    Effect.gen(function* () {
      const options = { upstreams: { openai: Upstream.script([{ status: 500 }]) } }
      const one = yield* LocalGateway.make(options)
      const two = yield* LocalGateway.make(options)
      assert.strictEqual((yield* chat(one)).status, 500)
      assert.strictEqual((yield* chat(two)).status, 500)
    })
  )
})

describe("credentials", () => {
  it.effect("appear in no call, no log and no answer", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ token: Redacted.make("SECRET-token") })
      const auth = { "cf-aig-authorization": "Bearer SECRET-token" }
      const url = `${base}/v1/local/default/google-ai-studio/v1beta/models/g:generateContent?key=SECRET-query&alt=json`
      yield* call(
        gateway,
        "POST",
        url,
        { contents: [] },
        {
          ...auth,
          authorization: "Bearer SECRET-a",
          "x-api-key": "SECRET-b",
          "api-key": "SECRET-c",
          "x-goog-api-key": "SECRET-d",
          "xi-api-key": "SECRET-e",
          "x-amz-security-token": "SECRET-f",
          cookie: "SECRET-g"
        }
      )
      const legs = [leg("openai", "m", { headers: { Authorization: "Bearer SECRET-h" } })]
      yield* call(gateway, "POST", `${base}/v1/local/default`, legs, auth)
      const calls = yield* gateway.calls
      assert.strictEqual(calls.length, 2)
      assert.strictEqual(calls[0]?.headers["x-api-key"], "<redacted>")
      assert.strictEqual(calls[0]?.endpoint, "v1beta/models/g:generateContent?key=<redacted>&alt=json")
      assert.strictEqual(calls[1]?.headers["authorization"], "<redacted>")
      assert.notInclude(JSON.stringify(calls), "SECRET")
      const bearer = { authorization: "Bearer SECRET-token" }
      const listed = yield* call(gateway, "GET", logs, undefined, bearer)
      assert.strictEqual(listed.json.result.length, 2)
      assert.notInclude(listed.text, "SECRET")
      const one = yield* call(gateway, "GET", `${logs}/${listed.json.result[1].id}`, undefined, bearer)
      assert.strictEqual(one.status, 200)
      assert.notInclude(one.text, "SECRET")
    })
  )
})

describe("bounds", () => {
  it.effect("keep only the newest logs and calls", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ keep: { logs: 2, calls: 3 } })
      for (const model of ["a", "b", "c", "d"]) yield* chat(gateway, {}, leg("openai", model).query)
      assert.deepStrictEqual(
        (yield* gateway.calls).map(({ model }) => model),
        ["b", "c", "d"]
      )
      assert.strictEqual((yield* call(gateway, "GET", logs)).json.result_info.total_count, 2)
      assert.strictEqual((yield* trace(gateway)).length, 3)
    })
  )

  it.effect("reject a request that was already read", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const request = new Request(gateway.url("default", "openai/x"), { method: "POST", body: "{}" })
      yield* Effect.promise(() => request.text())
      assert.strictEqual((yield* gateway.handle(request)).status, 400)
    })
  )

  it.effect("reject a body that announces too much", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const headers = { "content-length": String(101 * 1024 * 1024) }
      assert.strictEqual((yield* chat(gateway, headers)).status, 413)
    })
  )
})
