import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import { api, base, call, dataPlane, leg, trace, universal } from "./support.ts"

/** A proxy in front of a server that records the requests. */
const noting = (baseUrl = "http://host.test/v1") => {
  const asked: Array<string> = []
  const fetch: typeof globalThis.fetch = (input) => {
    asked.push(String(input))
    return Promise.resolve(Response.json({}))
  }
  return { asked, upstream: Upstream.proxy({ baseUrl, fetch }) }
}

const leaving = [
  "../../api/delete",
  "..",
  ".",
  "./x",
  "a/../../b",
  "a/../b",
  "%2e%2e/api",
  "%2E%2e/api",
  ".%2e/api",
  "%2e./api",
  "..%2fapi",
  "..%5capi",
  "a%2F..%2F..%2Fapi",
  "..\\..\\api",
  "a\\b",
  "..;/api",
  "..;x=1/api",
  "..?x=1",
  "../#x",
  "a#b",
  "\t../api",
  ".\t./api",
  ".\n./api",
  ".\r./api",
  "../api ",
  " ../api",
  "x/.. ",
  "x/..\u0000",
  "x/\uff0e\uff0e/y",
  "/../api",
  "//../api",
  "%252e%252e/api",
  "%25252E%2525252e/api",
  "%%32e%%32e/api",
  "%2%35%32e./api",
  "..%252fapi",
  "..%255capi",
  "..%3bx/api",
  "..%253b/api",
  "..%3fx",
  "..%23x",
  "..%20/api",
  "..%00",
  "..%00/api",
  "..%09/api",
  "a%00b",
  "a%0d%0ab",
  "a%7f",
  "a%250ab",
  "%c0%ae%c0%ae/api",
  "%C0%AE./api",
  "..%c0%afapi",
  "..%c1%9capi",
  "%e0%80%ae%e0%80%ae/api",
  "%f0%80%80%ae./api",
  "%25c0%25ae./api",
  Array.from({ length: 5 }).reduce((path: string) => path.replaceAll("%", "%%32%35"), "%2e."),
  "x".repeat(20_000)
]

describe("a base to which an endpoint is appended", () => {
  it.effect.each(leaving.map((endpoint) => [endpoint.slice(0, 30), endpoint] as const))("rejects %j", ([, endpoint]) =>
    Effect.gen(function* () {
      const { asked, upstream } = noting()
      const gateway = yield* LocalGateway.make({ upstreams: { openai: upstream } })
      const reply = yield* universal(gateway, [leg("anthropic"), { ...leg("openai"), endpoint }])
      assert.strictEqual(reply.status, 400)
      assert.strictEqual(reply.json.internalCode, 7001)
      assert.include(reply.json.message, "[1].endpoint: expected a path")
      assert.deepStrictEqual(asked, [])
      assert.deepStrictEqual(yield* trace(gateway), [])
    })
  )

  it.effect.each([
    ["chat/completions", "http://host.test/v1/chat/completions"],
    ["v1/chat/completions", "http://host.test/v1/chat/completions"],
    ["", "http://host.test/v1/"],
    ["?x=../../y", "http://host.test/v1/?x=../../y"],
    ["a?u=http://x/../y&z=\\", "http://host.test/v1/a?u=http://x/../y&z=\\"],
    ["//evil.test/x", "http://host.test/v1/evil.test/x"],
    ["http://evil.test/x", "http://host.test/v1/http://evil.test/x"],
    ["a..b/...", "http://host.test/v1/a..b/..."],
    ["a%2Fb", "http://host.test/v1/a%2Fb"],
    ["a%252Fb/100%25/%2541", "http://host.test/v1/a%252Fb/100%25/%2541"],
    ["models/M%C3%BCnchen%20%E2%82%AC%F0%9F%98%80", "http://host.test/v1/models/M%C3%BCnchen%20%E2%82%AC%F0%9F%98%80"],
    ["a%5cb%3Bc%3Fd", "http://host.test/v1/a%5cb%3Bc%3Fd"],
    ["v1.2/%2ehidden", "http://host.test/v1/v1.2/%2ehidden"],
    ["a?b=%00%2e%2e%2f", "http://host.test/v1/a?b=%00%2e%2e%2f"],
    ["@cf/meta/llama", "http://host.test/v1/@cf/meta/llama"]
  ] as const)("accepts %j", ([endpoint, url]) =>
    Effect.gen(function* () {
      const { asked, upstream } = noting()
      const gateway = yield* LocalGateway.make({ upstreams: { openai: upstream } })
      assert.strictEqual((yield* universal(gateway, [{ ...leg("openai"), endpoint }])).status, 200)
      assert.deepStrictEqual(asked, [url])
    })
  )

  it.effect("is not escaped by encoded parts of a provider-native path", () =>
    Effect.gen(function* () {
      const { asked, upstream } = noting()
      const gateway = yield* LocalGateway.make({ upstreams: { openai: upstream } })
      for (const path of ["..%2f..%2fapi", "..%5c..%5capi", "x/..;/api"]) {
        const reply = yield* call(gateway, "POST", `${dataPlane}/openai/${path}`, {})
        assert.deepStrictEqual([reply.status, reply.json.internalCode], [400, 7001], path)
        assert.include(reply.json.message, "endpoint: expected a path")
      }
      assert.deepStrictEqual(asked, [])
    })
  )

  it.effect("is not escaped by the name of a model that is the path", () =>
    Effect.gen(function* () {
      const { asked, upstream } = noting()
      const gateway = yield* LocalGateway.make({ upstreams: { "workers-ai": upstream } })
      for (const model of ["@cf/../..", "@cf/%2e%2e/x", "@cf/a\\..\\..", "@cf/.\t./x", "@cf/x#y"]) {
        const input = { prompt: "Hello" }
        const replies = [
          yield* call(gateway, "POST", `${dataPlane}/run`, { model, input }),
          yield* call(gateway, "POST", `${api}/ai/run`, { model, input }),
          yield* universal(gateway, [{ ...leg("workers-ai"), endpoint: model }]),
          ...(model.includes("\t")
            ? []
            : [yield* call(gateway, "POST", `${base}/run`, { inputs: input }, { "cf-consn-model-id": model })])
        ]
        for (const reply of replies) {
          assert.strictEqual(reply.status, 400, model)
          assert.match(reply.text, /7001/)
          assert.match(reply.text, /(model|endpoint): expected a path/)
        }
      }
      assert.deepStrictEqual(asked, [])
    })
  )

  it.effect("is not escaped by any request that otherwise reaches the proxy", () =>
    Effect.gen(function* () {
      const { asked, upstream } = noting("http://host.test/v1/")
      const handler = yield* upstream.start
      const request = { provider: "openai", method: "POST", model: undefined, headers: {}, body: undefined, json: {} }
      for (const endpoint of leaving) assert.strictEqual((yield* handler({ ...request, endpoint })).status, 400)
      assert.deepStrictEqual(asked, [])
    })
  )

  it.effect.each([
    "http://host/v1?x=1",
    "http://host/v1#x",
    "http://host/v1?",
    "http://a:b@host/",
    "http://host/ v",
    "ftp://x"
  ])("is rejected when it is %j", (baseUrl) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(LocalGateway.make({ upstreams: { openai: Upstream.proxy({ baseUrl }) } }))
      assert.isTrue(error.reason._tag === "InvalidRequest" && error.reason.field === "upstreams.openai.baseUrl")
    })
  )
})
