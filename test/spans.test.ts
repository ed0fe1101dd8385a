/**
 * Spans: who opens them, what they say, and that nobody pays for them where nobody looks.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import * as TestClock from "effect/testing/TestClock"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as Traced from "../src/internal/hotpath/span.ts"
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

  /** What a tracer is asked for, and what its span is told. */
  const asked = <A>(within: <B>(self: Effect.Effect<B>) => Effect.Effect<B>, self: Effect.Effect<A>) =>
    Effect.gen(function* () {
      const told: Array<unknown> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          const parent = Option.getOrUndefined(Option.map(options.parent, ({ spanId, traceId }) => [spanId, traceId]))
          // The caller's own spans have ids that differ each time.
          told.push({
            ...options,
            parent: options.name === "one" && parent?.[0] === "outside" ? parent : options.parent._tag
          })
          const { attribute, end } = span
          span.attribute = (key, value) => {
            told.push([key, value])
            attribute.call(span, key, value)
          }
          span.end = (time, exit) => {
            told.push([options.name, time, exit._tag])
            end.call(span, time, exit)
          }
          return span
        }
      })
      yield* within(self).pipe(Effect.withTracer(tracer))
      return told
    })

  const unwanted = Context.make(Tracer.DisablePropagation, true)
  const outside = { spanId: "outside", traceId: "outside" }
  const settings: ReadonlyArray<readonly [string, <B>(self: Effect.Effect<B>) => Effect.Effect<B>]> = [
    ["nothing set", (self) => self],
    ["a span around it", Effect.withSpan("outer")],
    ["a span around it that wants no children", Effect.withSpan("outer", { annotations: unwanted })],
    [
      "two spans around it, the inner one without children",
      (self) => self.pipe(Effect.withSpan("inner", { annotations: unwanted }), Effect.withSpan("outer"))
    ],
    ["a span around it that is not sampled", Effect.withSpan("outer", { sampled: false })],
    ["a span from outside", Effect.withParentSpan(Tracer.externalSpan(outside))],
    [
      "a span from outside that is not sampled",
      Effect.withParentSpan(Tracer.externalSpan({ ...outside, sampled: false }))
    ],
    [
      "a span from outside that wants no children",
      Effect.withParentSpan(Tracer.externalSpan({ ...outside, annotations: unwanted }))
    ],
    ["a level that is too fine", Effect.provideService(Tracer.MinimumTraceLevel, "Error")],
    [
      "a level that is coarse enough",
      (self) =>
        self.pipe(
          Effect.provideService(Tracer.MinimumTraceLevel, "Error"),
          Effect.provideService(Tracer.CurrentTraceLevel, "Error")
        )
    ],
    ["no times", Effect.provideService(References.TracerTimingEnabled, false)],
    ["annotations", Effect.annotateSpans({ tenant: "a", plan: 2 })],
    ["links", Effect.linkSpans(Tracer.externalSpan({ spanId: "linked", traceId: "linked" }))],
    ["no tracing", Effect.withTracerEnabled(false)]
  ]
  for (const [name, within] of settings) {
    it.effect(`are those of Effect: ${name}`, () =>
      Effect.gen(function* () {
        const inner = TestClock.adjust("1 second")
        const ours = yield* asked(
          within,
          Traced.withSpan("one", (annotate) => {
            annotate?.({ answer: 42 })
            return Effect.withSpan(inner, "two")
          })
        )
        yield* TestClock.setTime(0)
        const effects = yield* asked(
          within,
          Effect.useSpan("one", (span) => {
            span.attribute("answer", 42)
            return Effect.withParentSpan(Effect.withSpan(inner, "two"), span)
          })
        )
        assert.deepStrictEqual(ours, effects)
        assert.strictEqual(ours.length === 0, name === "no tracing")
      })
    )
  }
})
