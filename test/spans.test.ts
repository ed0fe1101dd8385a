/**
 * Spans: who opens them, what they say, and that nobody pays for them where nobody looks.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { traced } from "./support/leaks.ts"
import * as Scripted from "./support/scripted.ts"

const route = Route.fallback(Provider.openai.chat("m"), Provider.groq.chat("m"))

const parentOf = ({ parent }: Tracer.Span): string | undefined =>
  Option.getOrUndefined(Option.map(parent, (one) => (one._tag === "Span" ? one.name : "external")))

const said = (spans: ReadonlyArray<Tracer.Span>) => spans.map((span) => [span.name, parentOf(span), span.status._tag])

describe("spans", () => {
  it.effect("are one per run and one per attempt below it, and say what came out", () =>
    Effect.gen(function* () {
      const gateway = Scripted.make({ openai: [{ status: 503 }] })
      const { spans } = yield* traced(Effect.provide(Router.run(route, "hi"), gateway.layer))
      assert.deepStrictEqual(said(spans), [
        ["Router.run", undefined, "Ended"],
        ["GatewayService.run", "Router.run", "Ended"],
        ["GatewayService.run", "Router.run", "Ended"]
      ])
      const [run, failed, answered] = spans.map(({ attributes }) => Object.fromEntries(attributes))
      assert.strictEqual(run?.["ai_gateway.attempts"], 2)
      assert.strictEqual(run?.["ai_gateway.log_id"], "log-2")
      assert.strictEqual(run?.["gen_ai.usage.output_tokens"], 2)
      assert.strictEqual(failed?.["gen_ai.provider.name"], "openai")
      assert.strictEqual(answered?.["http.response.status_code"], 200)
    })
  )

  it.effect("are not opened without a tracer, also inside of a span of the caller", () =>
    Effect.gen(function* () {
      const inner: Array<string | undefined> = []
      const client = HttpClient.make((request) =>
        Effect.map(Effect.option(Effect.currentSpan), (span) => {
          inner.push(Option.getOrUndefined(Option.map(span, ({ name }) => name)))
          return HttpClientResponse.fromWeb(request, Response.json(Scripted.completion("an answer")))
        })
      )
      const layer = Router.layerWith({ execution: "client" }).pipe(
        Layer.provide(GatewayService.layerHttp({ accountId: "acct", gateway: "gw" })),
        Layer.provide(Layer.succeed(HttpClient.HttpClient, client))
      )
      yield* Router.run(route, "hi").pipe(Effect.withSpan("mine"), Effect.provide(layer))
      yield* Router.run(route, "hi").pipe(Effect.provide(layer))
      assert.deepStrictEqual(inner, ["mine", undefined])
    })
  )

  it.effect("of a stream end with its first delta", () =>
    Effect.gen(function* () {
      const text = 'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
      const headers = { "content-type": "text/event-stream" }
      const gateway = Scripted.make({ openai: [{ status: 500 }], groq: [{ text, headers }] })
      const { exit, spans } = yield* traced(
        Effect.provide(Stream.runCollect(Router.stream(route, "hi")), gateway.layer)
      )
      assert.strictEqual(exit._tag, "Success")
      assert.deepStrictEqual(said(spans), [
        ["Router.open", undefined, "Ended"],
        ["GatewayService.run", "Router.open", "Ended"],
        ["GatewayService.run", "Router.open", "Ended"]
      ])
      assert.strictEqual(spans[0]?.attributes.get("ai_gateway.log_id"), "log-2")
    })
  )
})
