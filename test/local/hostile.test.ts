import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import { serve } from "../../src/local/node.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import { base, call, chat, dataPlane, leg, logs, mirror, trace, universal } from "./support.ts"

const nested = (levels: number): string => "[".repeat(levels) + "]".repeat(levels)

const refused = (reply: { readonly status: number; readonly text: string }, field: string): void => {
  assert.strictEqual(reply.status, 400, reply.text.slice(0, 200))
  assert.include(reply.text, "7001")
  assert.include(reply.text, `${field}: expected`)
}

describe("JSON that nests too deep", () => {
  const surfaces = [
    dataPlane,
    `${dataPlane}/openai/chat/completions`,
    `${dataPlane}/compat/chat/completions`,
    `${dataPlane}/run`,
    `${base}/client/v4/accounts/local/ai/run/@cf/meta/llama`,
    `${base}/ai-gateway/run`,
    `${base}/__admin/script`
  ]

  it.effect.each(surfaces)("is rejected at %s", (url) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const headers = { "cf-consn-model-id": "openai/m" }
      for (const body of [nested(1001), nested(20_000), `{"a":${nested(20_000)}}`, "[".repeat(1_000_000)]) {
        refused(yield* call(gateway, "POST", url, body, headers), "the request body")
      }
      assert.deepStrictEqual((yield* call(gateway, "GET", `${base}/__admin/calls`)).json.result, [])
    })
  )

  it.effect("passes with up to a thousand levels, and is listed with the calls", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ upstreams: { openai: mirror } })
      const reply = yield* call(gateway, "POST", `${dataPlane}/openai/anything`, nested(1000))
      assert.strictEqual(JSON.stringify(reply.json.mirrored), nested(1000))
      const calls = yield* call(gateway, "GET", `${base}/__admin/calls`)
      assert.strictEqual(JSON.stringify(calls.json.result[0].body), nested(1000))
    })
  )

  it.effect("does not count brackets inside strings or in a body that is not JSON", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ upstreams: { groq: mirror } })
      const text = `\\"[{`.repeat(5000)
      assert.strictEqual((yield* chat(gateway, {}, leg("openai", "m", { text }).query)).status, 200)
      assert.strictEqual((yield* call(gateway, "POST", `${dataPlane}/groq/x`, `GIF89a${nested(2000)}`)).status, 200)
    })
  )

  it.effect("is rejected in headers and in scripts", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const faults = `[{"status":500,"body":${nested(2000)}}]`
      refused(
        yield* universal(gateway, [leg("openai", "m", { headers: { "cf-aig-local-faults": faults } })]),
        "cf-aig-local-faults faults"
      )
      let body: unknown = 1
      for (let i = 0; i < 20_000; i++) body = [body]
      const exit = yield* Effect.exit(gateway.script("openai", [{ status: 500, body }]))
      assert.include(String(exit), "faults[0]")
      const stream = yield* Effect.exit(gateway.script("openai", [{ stream: { errorAfter: { events: 0, body: 1n } } }]))
      assert.include(String(stream), "faults[0].stream.errorAfter")
    })
  )

  it.effect("passes unchanged in an answer of an upstream", () =>
    Effect.gen(function* () {
      const answer = { status: 200, headers: { "content-type": "application/json" }, body: nested(20_000) }
      const gateway = yield* LocalGateway.make({ upstreams: { openai: Upstream.make(() => Effect.succeed(answer)) } })
      const reply = yield* call(gateway, "POST", `${dataPlane}/run`, { model: "openai/m", input: { messages: [] } })
      assert.deepStrictEqual([reply.status, reply.text], [200, nested(20_000)])
    })
  )
})

describe("too much of something", () => {
  it.effect("is rejected: values, legs, and fields of a leg", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      refused(yield* call(gateway, "POST", dataPlane, `[${"0,".repeat(1_000_001)}0]`), "the request body")
      refused(yield* universal(gateway, new Array(1001).fill(leg("openai"))), "the request body")
      const one = leg("openai")
      refused(yield* universal(gateway, [{ ...one, provider: "p".repeat(129) }]), "[0].provider")
      refused(yield* universal(gateway, [leg("openai", "m", { headers: { x: "x".repeat(140_000) } })]), "[0].headers")
      refused(yield* universal(gateway, [leg("openai", "m".repeat(2001))]), "model")
      const metadata = { "cf-aig-metadata": { a: "x".repeat(17_000) } }
      refused(yield* universal(gateway, [leg("openai", "m", { headers: metadata })]), "cf-aig-metadata")
      const { headers } = yield* chat(gateway)
      const patch = { metadata: { a: "x".repeat(17_000) } }
      refused(yield* call(gateway, "PATCH", `${logs}/${headers["cf-aig-log-id"]}`, patch), "metadata")
    })
  )

  it.effect("is rejected in the JSON of headers, before parsing", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const many = `[${"[],".repeat(60_000)}0]`
      for (const name of ["cf-aig-local-faults", "cf-aig-local-stream", "cf-aig-custom-cost", "cf-aig-metadata"]) {
        const reply = yield* universal(gateway, [leg("openai", "m", { headers: { [name]: many } })])
        refused(reply, name)
        assert.include(reply.text, name === "cf-aig-metadata" ? "16384 characters" : "100000 values in all headers")
        const [half, other] = [`[${"0,".repeat(60_000)}0]`, `[${"1,".repeat(60_000)}0]`]
        if (name !== "cf-aig-local-faults") continue
        const faults = (body: string) => ({ [name]: `[{"status":200,"body":${body}}]` })
        const legs = (...bodies: ReadonlyArray<string>) =>
          universal(
            gateway,
            bodies.map((body) => leg("openai", "m", { headers: faults(body) }))
          )
        assert.strictEqual((yield* legs(half, half)).status, 200)
        refused(yield* legs(half, other), name)
      }
      const headers = { "cf-consn-model-id": "openai/m" }
      for (const metadata of [many, JSON.parse(many)]) {
        const body = { inputs: { messages: [] }, options: { gateway: { id: "default", metadata } } }
        refused(yield* call(gateway, "POST", `${base}/ai-gateway/run`, body, headers), "cf-aig-metadata")
      }
      const faults = new Array(10_001).fill({ ok: true })
      refused(yield* call(gateway, "POST", `${base}/__admin/script`, { provider: "openai", faults }), "faults")
    })
  )

  it.effect("passes in an answer, of which nothing is then read", () =>
    Effect.gen(function* () {
      const body = `[${"[],".repeat(1_000_000)}0]`
      const answer = { status: 200, headers: { "content-type": "application/json" }, body }
      const gateway = yield* LocalGateway.make({ upstreams: { openai: Upstream.make(() => Effect.succeed(answer)) } })
      const reply = yield* call(gateway, "POST", `${dataPlane}/run`, { model: "openai/m", input: { messages: [] } })
      assert.deepStrictEqual([reply.status, reply.text === body], [200, true])
    })
  )

  it.effect("is rejected by the echo: text that is repeated for many events", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const ask = (provider: string, text: string, stream: boolean, events = 1_000_000) =>
        universal(gateway, [
          {
            ...leg(provider, "m", { text, headers: { "cf-aig-local-stream": { events } } }),
            query: { ...leg(provider, "m", { text }).query, stream }
          }
        ])
      for (const provider of ["openai", "anthropic", "workers-ai"]) {
        for (const stream of [true, false]) {
          refused(yield* ask(provider, "a".repeat(2000), stream), "cf-aig-local-stream events")
        }
      }
      assert.strictEqual((yield* ask("openai", "a".repeat(2000), false, 1000)).status, 200)
      const configured = yield* LocalGateway.make({
        upstreams: { openai: Upstream.echo({ stream: { events: 1_000_000 } }) }
      })
      refused(yield* chat(configured, {}, leg("openai", "m", { text: "a".repeat(2000) }).query), "stream.events")
    })
  )

  it.effect("is rejected by the echo: dimensions and inputs of embeddings", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const ask = (body: object) => call(gateway, "POST", `${dataPlane}/openai/embeddings`, { model: "m", ...body })
      for (const dimensions of [0, -1, 1.5, 4097, 1e9]) {
        const reply = yield* ask({ input: "a", dimensions })
        assert.deepStrictEqual([reply.status, reply.json.error.param], [400, "dimensions"])
      }
      const many = yield* ask({ input: new Array(2049).fill("") })
      assert.deepStrictEqual([many.status, many.json.error.param], [400, "input"])
      assert.strictEqual((yield* ask({ input: "a", dimensions: 4096 })).status, 200)
    })
  )
})

describe("text that no header can carry", () => {
  const texts = ["a\r\nset-cookie: b", "a\nb", "\u0000", "Łódź", "\u{1f600}", "", " a", "a".repeat(4097)]

  it.effect.each(texts.map((text) => [text.slice(0, 20), text] as const))(
    "is rejected as an event id: %j",
    ([, eventId]) =>
      Effect.gen(function* () {
        const gateway = yield* LocalGateway.make()
        refused(
          yield* universal(gateway, [leg("openai", "m", { headers: { "cf-aig-event-id": eventId } })]),
          "cf-aig-event-id"
        )
        const options = { gateway: { id: "default", eventId } }
        const headers = { "cf-consn-model-id": "openai/m" }
        refused(
          yield* call(gateway, "POST", `${base}/ai-gateway/run`, { inputs: { messages: [] }, options }, headers),
          "cf-aig-event-id"
        )
        assert.deepStrictEqual(yield* trace(gateway), [])
      })
  )

  it.effect("is rejected as the name or value of a leg's header", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      for (const value of ["a\r\nb", "Łódź", "\u0001"]) {
        for (const name of ["content-type", "authorization", "x-any"]) {
          refused(
            yield* universal(gateway, [leg("openai", "m", { headers: { [name]: value } })]),
            `[0].headers.${name}`
          )
        }
        refused(yield* universal(gateway, [{ ...leg("openai"), authorization: value }]), "[0].authorization")
      }
      for (const name of ["", "a b", "a:", "é", "a\n"]) {
        refused(yield* universal(gateway, [leg("openai", "m", { headers: { [name]: "x" } })]), "[0].headers")
      }
    })
  )

  it.effect("passes unchanged in metadata, cache keys and scripts, which are not sent in headers", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const faults = JSON.stringify([{ status: 200, body: "Łódź" }])
      const headers = {
        "cf-aig-metadata": { city: "Łódź", __proto__: 1 },
        "cf-aig-cache-key": "Łódź",
        "cf-aig-local-faults": faults
      }
      const reply = yield* universal(gateway, [leg("openai", "m", { headers })])
      assert.deepStrictEqual([reply.status, reply.text], [200, "Łódź"])
      const [entry] = (yield* call(gateway, "GET", logs)).json.result
      assert.deepStrictEqual(entry.metadata, { city: "Łódź" })
    })
  )

  it.effect("is rejected as the model of a dynamic route", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(LocalGateway.make({ routes: { a: ["openai/Łódź"] } }))
      assert.isTrue(error.reason._tag === "InvalidRequest" && error.reason.field === "routes.a[0]")
    })
  )
})

describe("an answer that HTTP cannot carry", () => {
  const answering = (status: number, headers: Record<string, string>) =>
    Upstream.make(() => Effect.succeed({ status, headers, body: "{}" }))

  it.effect("counts as a broken connection when its status or a header name is invalid", () =>
    Effect.gen(function* () {
      for (const [status, headers] of [
        [100, {}],
        [600, {}],
        [999, {}],
        [Number.NaN, {}],
        [200, { "bad name": "x" }]
      ] as const) {
        const gateway = yield* LocalGateway.make({ upstreams: { openai: answering(status, headers) } })
        const reply = yield* chat(gateway)
        assert.deepStrictEqual([reply.status, reply.json.internalCode], [400, 2005])
        assert.deepStrictEqual(yield* trace(gateway), ["0:openai#1 failed"])
      }
    })
  )

  it.live("gets spaces in place of characters that no header can hold, over a socket and in the log", () =>
    Effect.gen(function* () {
      const upstreams = { openai: answering(200, { "content-type": "text/\u0001plain", "x-city": "Łódź\r\nb: c" }) }
      const { url } = yield* serve({ port: 0, upstreams })
      const response = yield* Effect.promise(() =>
        fetch(`${url}/v1/local/default/openai/x`, { method: "POST", body: "{}" })
      )
      assert.deepStrictEqual(
        [response.status, response.headers.get("content-type"), response.headers.get("x-city")],
        [200, "text/ plain", "ód   b: c"]
      )
      const id = response.headers.get("cf-aig-log-id")
      const log = `${url}/client/v4/accounts/local/ai-gateway/gateways/default/logs/${id}/response`
      assert.strictEqual((yield* Effect.promise(() => fetch(log))).status, 200)
    })
  )
})
