/**
 * Errors have the shape of the provider that they come from, and endpoints that the echo does not know are errors.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import { makeBinding } from "../support/bindingDouble.ts"
import { api, call, dataPlane, leg } from "./support.ts"

const llama = "@cf/meta/llama-3.1-8b-instruct"

const bindingOf = (gateway: LocalGateway.LocalGateway) =>
  makeBinding((request) => Effect.runPromise(gateway.handle(request)))

const thrown = (run: () => Promise<unknown>) =>
  Effect.promise(() =>
    run().then(
      () => undefined,
      (error: unknown) => error as Error
    )
  )

describe("errors of Workers AI", () => {
  const codes: ReadonlyArray<readonly [number, number]> = [
    [400, 5004],
    [401, 10000],
    [403, 5018],
    [404, 3042],
    [405, 5019],
    [408, 3007],
    [413, 3006],
    [429, 3040],
    [500, 3043],
    [503, 3043],
    [504, 3046]
  ]

  it.effect.each(codes)("with status %s have the code %s, thrown by the binding", ([status, code]) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const ai = bindingOf(gateway)
      for (const options of [undefined, { gateway: { id: "default" } }]) {
        yield* gateway.script("workers-ai", [{ status, repeat: 2 }])
        const error = yield* thrown(() => ai.run(llama, { prompt: "Hi" }, options))
        assert.strictEqual(error?.message, `${code}: scripted status ${status}`)
        assert.strictEqual(error?.name, "InferenceUpstreamError")
        const raw = (yield* Effect.promise(() =>
          ai.run(llama, { prompt: "Hi" }, { ...options, returnRawResponse: true })
        )) as Response
        const message = `scripted status ${status}`
        assert.strictEqual(raw.status, status)
        assert.deepStrictEqual(yield* Effect.promise(() => raw.json()), {
          internalCode: code,
          message,
          name: "InferenceUpstreamError",
          description: message
        })
      }
    })
  )

  it.effect("over HTTP are { errors, success: false }, on the paths of other dialects too", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("workers-ai", [{ status: 429, retryAfter: 3, repeat: 5 }])
      const chat = { model: llama, messages: [{ role: "user", content: "Hi" }] }
      const replies = [
        yield* call(gateway, "POST", `${api}/ai/run/${llama}`, { prompt: "Hi" }),
        yield* call(gateway, "POST", `${api}/ai/v1/chat/completions`, chat),
        yield* call(gateway, "POST", `${dataPlane}/workers-ai/${llama}`, { prompt: "Hi" }),
        yield* call(gateway, "POST", `${dataPlane}/workers-ai/v1/chat/completions`, chat),
        yield* call(gateway, "POST", dataPlane, [leg("workers-ai")])
      ]
      const errors = [{ code: 3040, message: "scripted status 429" }]
      for (const { headers, json, status } of replies) {
        assert.deepStrictEqual([status, headers["retry-after"]], [429, "3"])
        assert.deepStrictEqual(json, { errors, success: false, result: null, messages: [] })
      }
    })
  )

  it.effect("in a script's own words reach the binding unchanged", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const body = { internalCode: 3036, name: "AiError", message: "used up", description: "the day's allocation" }
      yield* gateway.script("workers-ai", [
        { status: 429, body },
        { status: 429, body: "busy" }
      ])
      const ai = bindingOf(gateway)
      const own = yield* thrown(() => ai.run(llama, { prompt: "Hi" }))
      assert.deepStrictEqual([own?.name, own?.message], ["AiError", "3036: the day's allocation"])
      assert.strictEqual((yield* thrown(() => ai.run(llama, { prompt: "Hi" })))?.message, "busy")
    })
  )
})

describe("an endpoint that the echo does not know", () => {
  it.effect.each([
    ["openai", "POST", "audio/nothing"],
    ["openai", "POST", "files"],
    ["openai", "DELETE", "models/gpt"],
    ["openai", "GET", "chat/completions"],
    ["openai", "POST", ""],
    ["groq", "POST", "v2/x"],
    ["cartesia", "POST", "tts/bytes"],
    ["azure-openai", "POST", "r/d/assistants"]
  ] as const)("%s: %s %s is 404 in OpenAI's shape", ([provider, method, endpoint]) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const body = method === "POST" ? { a: 1 } : undefined
      const { json, status } = yield* call(gateway, method, `${dataPlane}/${provider}/${endpoint}`, body)
      assert.deepStrictEqual([status, Object.keys(json), json.error.type], [404, ["error"], "invalid_request_error"])
      assert.include(json.error.message, `${method} ${endpoint}`)
    })
  )

  it.effect("is 404 in the shape of its provider", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const anthropic = yield* call(gateway, "POST", `${dataPlane}/anthropic/v1/complete`, {})
      assert.deepStrictEqual([anthropic.status, anthropic.json.error.type], [404, "not_found_error"])
      const google = yield* call(gateway, "POST", `${dataPlane}/google-ai-studio/v1beta/models/g:predict`, {})
      assert.deepStrictEqual([google.status, google.json.error.status], [404, "NOT_FOUND"])
      const workersAi = yield* call(gateway, "POST", `${dataPlane}/workers-ai/v1/files`, {})
      assert.deepStrictEqual([workersAi.status, workersAi.json.errors[0].code], [404, 3042])
    })
  )

  it.effect("can be served by a custom upstream", () =>
    Effect.gen(function* () {
      const headers = { "content-type": "application/json" }
      const cartesia = Upstream.make(() => Effect.succeed({ status: 200, headers, body: "{}" }))
      const gateway = yield* LocalGateway.make({ upstreams: { cartesia } })
      assert.strictEqual((yield* call(gateway, "POST", `${dataPlane}/cartesia/tts/bytes`, {})).status, 200)
    })
  )
})
