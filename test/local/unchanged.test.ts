/** Data that passes through the run path unchanged, bytes in place of JSON, and the management API as SDKs call it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import { memberText, withMember } from "../../src/local/wire/jsonText.ts"
import { makeBinding } from "../support/bindingDouble.ts"
import { api, binding, call, dataPlane, leg, logs, replyOf } from "./support.ts"

const digits = "12345678901234567890.5"
const answered = `{ "id": ${digits}, "choices": [],  "text": "\\u00e9 } \\"" }`

/** An upstream that answers with a body, and records its requests. */
const recording = (body: string, type: string) => {
  const seen: Array<string> = []
  const upstream = Upstream.make((request) => {
    seen.push(new TextDecoder().decode(request.body))
    return Effect.succeed({ status: 200, headers: { "content-type": type }, body })
  })
  return { seen, upstream }
}

describe("JSON of the run path", () => {
  it.effect("keeps its large numbers and its spelling, in both directions", () =>
    Effect.gen(function* () {
      const { seen, upstream } = recording(answered, "application/json")
      const gateway = yield* LocalGateway.make({ upstreams: { openai: upstream } })
      const input = `{"seed": ${digits}, "a": [1, 2]}`
      const rest = yield* call(gateway, "POST", `${api}/ai/run`, `{"input":${input},"model":"openai/gpt"}`)
      assert.include(rest.text, `"result":${answered}`)
      assert.deepStrictEqual(Object.keys(rest.json.result), ["state", "result", "gatewayMetadata"])
      const inputs = `{"inputs":${input},"options":{"gateway":{"id":"default"}}}`
      const bound = yield* call(gateway, "POST", `${binding}/ai-gateway/run`, inputs, {
        "cf-consn-model-id": "openai/gpt"
      })
      assert.strictEqual(bound.text, answered)
      const sdk = yield* call(
        gateway,
        "POST",
        `${api}/ai/v1/responses`,
        `{"input": "Hi", "model": "openai/gpt", "n": ${digits}}`
      )
      assert.strictEqual(sdk.text, answered)
      assert.deepStrictEqual(seen, [
        `{"model":"gpt","seed": ${digits}, "a": [1, 2]}`,
        `{"model":"gpt","seed": ${digits}, "a": [1, 2]}`,
        `{"input": "Hi", "model": "gpt", "n": ${digits}}`
      ])
    })
  )

  it.effect("keeps its content type without an envelope", () =>
    Effect.gen(function* () {
      const type = "application/json; charset=utf-8"
      const gateway = yield* LocalGateway.make({ upstreams: { openai: recording(answered, type).upstream } })
      const body = { inputs: {}, options: { gateway: { id: "default" } } }
      const bound = yield* call(gateway, "POST", `${binding}/ai-gateway/run`, body, {
        "cf-consn-model-id": "openai/gpt"
      })
      assert.strictEqual(bound.headers["content-type"], type)
      const rest = yield* call(gateway, "POST", `${api}/ai/run`, { model: "openai/gpt", input: {} })
      assert.strictEqual(rest.headers["content-type"], "application/json")
    })
  )

  it.effect("of Workers AI leaves its envelope as it was written", () =>
    Effect.gen(function* () {
      const enveloped = `{"success": true, "result" : ${answered}, "errors": []}`
      const { seen, upstream } = recording(enveloped, "application/json")
      const gateway = yield* LocalGateway.make({ upstreams: { "workers-ai": upstream } })
      const headers = { "cf-consn-model-id": "@cf/a/b" }
      const bound = yield* call(gateway, "POST", `${binding}/run`, `{"inputs":{"x":${digits}}}`, headers)
      assert.strictEqual(bound.text, answered)
      const rest = yield* call(gateway, "POST", `${api}/ai/run/@cf/a/b`, `{ "x": ${digits} }`)
      assert.include(rest.text, `"result":${answered}`)
      assert.deepStrictEqual(seen, [`{"x":${digits}}`, `{ "x": ${digits} }`])
    })
  )

  it("finds and sets members whatever surrounds them", () => {
    const text = ` { "a\\"}" : "{,]" , "b":[{"c":1},"]"],"\\u0063": -1e5,"d":null } `
    assert.deepStrictEqual(
      ['a"}', "b", "c", "d", "e"].map((name) => memberText(text, name)),
      ['"{,]"', '[{"c":1},"]"]', "-1e5", "null", undefined]
    )
    for (const name of ['a"}', "b", "c", "d", "e"]) {
      const changed = JSON.parse(withMember(text, name, "[7]"))
      assert.deepStrictEqual(changed, { ...JSON.parse(text), [name]: [7] })
    }
    assert.strictEqual(withMember("{ }", "a", "1"), '{"a":1 }')
    assert.strictEqual(withMember("[1]", "a", "1"), "[1]")
    assert.isUndefined(memberText("[1]", "a"))
    assert.strictEqual(memberText('{"a":1,"a":2}', "a"), "2")
  })
})

describe("bytes in place of JSON", () => {
  const audio = new Uint8Array([0xff, 0xfb, 0x90, 0x64, 0x00])
  const whisper = "@cf/openai/whisper"

  it.effect("reach a model of Workers AI by its path, and through the binding's streams", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const send = (type: string) =>
        Effect.flatMap(
          gateway.handle(
            new Request(`${api}/ai/run/${whisper}`, { method: "POST", body: audio, headers: { "content-type": type } })
          ),
          replyOf
        )
      for (const type of ["audio/mpeg", "application/octet-stream", "application/x-www-form-urlencoded"]) {
        assert.include((yield* send(type)).json.result.text, "5 bytes of audio")
      }
      assert.strictEqual((yield* send("application/json")).status, 400)
      const ai = makeBinding((request) => Effect.runPromise(gateway.handle(request)))
      const body = new Blob([audio]).stream()
      const heard = yield* Effect.promise(() => ai.run(whisper, { audio: { body, contentType: "audio/mpeg" } }))
      assert.include(JSON.stringify(heard), "5 bytes of audio")
      assert.strictEqual((yield* gateway.calls)[0]?.headers["content-type"], "audio/mpeg")
    })
  )
})

describe("filters as SDKs write them", () => {
  it.effect("are read by their dots, several after each other", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("groq", [{ status: 400 }])
      for (const slug of ["openai", "groq", "mistral"]) yield* call(gateway, "POST", dataPlane, [leg(slug)])
      const providers = Effect.fnUntraced(function* (query: string) {
        const { json, status } = yield* call(
          gateway,
          "GET",
          `${logs}?${query}&order_by=provider&order_by_direction=asc`
        )
        return status === 200
          ? json.result.map(({ provider }: { provider: string }) => provider)
          : json.errors[0].message
      })
      const named = "filters.key=provider&filters.operator=eq&filters.value=openai&filters.value=groq"
      assert.deepStrictEqual(yield* providers(named), ["groq", "openai"])
      const and = "filters.key=success&filters.operator=eq&filters.value=true"
      assert.deepStrictEqual(yield* providers(`${named}&${and}`), ["openai"])
      const reordered = "filters.value=true&filters.operator=eq&filters.key=success"
      assert.deepStrictEqual(
        yield* providers(`${reordered}&filters.value=m&filters.key=provider&filters.operator=contains`),
        ["mistral"]
      )
      assert.include(yield* providers("filters.key=provider&filters.operator=eq"), "value")
      assert.include(yield* providers("filters.colour=red"), "unknown query parameter")
      yield* call(gateway, "DELETE", `${logs}?${named}`)
      assert.deepStrictEqual(yield* providers("page=1"), ["mistral"])
    })
  )
})

describe("gateways", () => {
  const gateways = `${api}/ai-gateway/gateways`

  it.effect("are listed in pages, and each is read by its id", () =>
    Effect.gen(function* () {
      const rateLimit = { limit: 5, intervalSeconds: 60, technique: "sliding" } as const
      const gateway = yield* LocalGateway.make({ gateways: { mine: { cacheTtl: 300, rateLimit }, other: {} } })
      const listed = (yield* call(gateway, "GET", `${gateways}?per_page=2`)).json
      assert.deepStrictEqual(
        listed.result.map(({ id }: { id: string }) => id),
        ["default", "mine"]
      )
      assert.deepStrictEqual(listed.result_info, { count: 2, page: 1, per_page: 2, total_count: 3 })
      assert.strictEqual((yield* call(gateway, "GET", `${gateways}?search=OTH`)).json.result[0].id, "other")
      const one = (yield* call(gateway, "GET", `${gateways}/mine`)).json.result
      assert.deepInclude(one, {
        id: "mine",
        is_default: false,
        cache_ttl: 300,
        collect_logs: true,
        rate_limiting_limit: 5,
        rate_limiting_interval: 60,
        rate_limiting_technique: "sliding"
      })
      const none = yield* call(gateway, "GET", `${gateways}/none`)
      assert.deepStrictEqual([none.status, none.json.errors[0].code], [400, 2001])
      assert.strictEqual((yield* call(gateway, "GET", `${gateways}?colour=red`)).status, 400)
      assert.strictEqual((yield* call(gateway, "DELETE", `${gateways}/mine`)).status, 404)
    })
  )
})

describe("a script for the logs", () => {
  it.effect("makes their API fail, over HTTP and the binding, and then answers again", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const { headers } = yield* call(gateway, "POST", dataPlane, [leg("openai")])
      const id = headers["cf-aig-log-id"]
      const ofBinding = `${binding}/ai-gateway/gateways/default/logs/${id}`
      yield* gateway.script("logs", [{ status: 503 }, { status: 404 }, { status: 429, retryAfter: 7 }, { ok: true }])
      const failed = yield* call(gateway, "GET", `${logs}/${id}`)
      assert.deepStrictEqual([failed.status, failed.json.success, failed.json.errors.length], [503, false, 1])
      const missing = yield* call(gateway, "GET", ofBinding)
      assert.deepStrictEqual([missing.status, missing.json.errors[0].code], [404, 7002])
      const limited = yield* call(gateway, "PATCH", ofBinding, { feedback: 1 })
      assert.deepStrictEqual([limited.status, limited.headers["retry-after"]], [429, "7"])
      assert.strictEqual((yield* call(gateway, "GET", `${logs}/${id}`)).json.result.id, id)
      yield* gateway.script("logs", [{ reset: true }, { truncate: 3 }, { drop: true }])
      for (let i = 0; i < 3; i++) {
        assert.strictEqual((yield* Effect.flip(call(gateway, "GET", logs)))._tag, "Disconnect")
      }
      // The failed PATCH changed nothing.
      assert.strictEqual((yield* call(gateway, "GET", `${logs}/${id}`)).json.result.feedback ?? null, null)
      assert.strictEqual((yield* gateway.calls).length, 1)
    })
  )

  it.effect("can come from another process", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const script = { provider: "logs", faults: [{ status: 500 }] }
      assert.strictEqual((yield* call(gateway, "POST", "http://gateway.test/__admin/script", script)).status, 200)
      assert.strictEqual((yield* call(gateway, "GET", logs)).status, 500)
      const wrong = { provider: "logs/x", faults: [] }
      assert.strictEqual((yield* call(gateway, "POST", "http://gateway.test/__admin/script", wrong)).status, 400)
    })
  )
})
