/** An `HttpClient` that reaches the embedded gateway: `LocalGateway.layerHttpClient`. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { GatewayHttpClient } from "effect-ai-gateway/ai"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import * as LocalGateway from "effect-ai-gateway/local"

const chat = JSON.stringify({ model: "gpt-4.1-mini", messages: [{ role: "user", content: "Hello there" }] })
const form = () => {
  const data = new FormData()
  data.set("purpose", "batch")
  data.set("file", new Blob(["{}"]), "a.jsonl")
  return data
}
const locked = () => {
  const { body } = new Response("{}")
  body?.getReader()
  return body
}
const Live = Layer.provideMerge(LocalGateway.layerHttpClient, LocalGateway.layer())

describe("an HTTP client of the embedded gateway", () => {
  it.effect.each<readonly [string, HttpBody.HttpBody]>([
    ["bytes", HttpBody.text(chat, "application/json")],
    ["a stream", HttpBody.stream(Stream.make(new TextEncoder().encode(chat)), "application/json")]
  ])("sends %s complete", ([, body]) =>
    Effect.gen(function* () {
      const gateway = yield* GatewayService.GatewayService
      const client = yield* HttpClient.HttpClient
      const response = yield* client.post(`${yield* gateway.getUrl("openai")}/chat/completions`, { body })
      assert.strictEqual(response.status, 200)
      assert.include(yield* response.text, "Hello there")
      const local = yield* LocalGateway.Current
      const [call] = yield* local.calls
      assert.deepInclude(call, { provider: "openai", endpoint: "chat/completions" })
    }).pipe(Effect.provide(Live))
  )

  it.effect("carries a provider's client through GatewayHttpClient, forms included", () =>
    Effect.gen(function* () {
      const client = yield* HttpClient.HttpClient
      const { attempts, value } = yield* LogTrail.collect(
        client.post("https://api.openai.com/v1/files", { body: HttpBody.formData(form()) })
      )
      assert.strictEqual(attempts[0]?.status, value.status)
      assert.deepInclude(attempts[0], { provider: "openai", endpoint: "files" })
    }).pipe(Effect.provide(GatewayHttpClient.layer().pipe(Layer.provideMerge(Live))))
  )

  it.effect.each<readonly [string, HttpClientRequest.HttpClientRequest]>([
    ["a GET with a body", HttpClientRequest.bodyText(HttpClientRequest.get("http://local.gateway/v1"), "x")],
    ["a header of two lines", HttpClientRequest.get("http://local.gateway/v1", { headers: { "x-a": "a\nb" } })],
    ["credentials in the URL", HttpClientRequest.get("http://user:word@local.gateway/v1")],
    ["a body that is locked", HttpClientRequest.post("http://local.gateway/v1", { body: HttpBody.raw(locked()) })],
    ["a method that fetch forbids", HttpClientRequest.make("TRACE")("http://local.gateway/v1")]
  ])("fails for %s without a defect", ([, request]) =>
    Effect.gen(function* () {
      const client = yield* HttpClient.HttpClient
      const { reason } = yield* Effect.flip(client.execute(request))
      assert.strictEqual(reason._tag, "EncodeError")
      assert.instanceOf(reason.cause, Error)
    }).pipe(Effect.provide(Live))
  )

  it.effect("answers HEAD without a body", () =>
    Effect.gen(function* () {
      const client = yield* HttpClient.HttpClient
      const response = yield* client.head("http://local.gateway/v1/local/default/openai/none")
      assert.strictEqual(response.status, 404)
      assert.strictEqual(yield* response.text, "")
    }).pipe(Effect.provide(Live))
  )
})
