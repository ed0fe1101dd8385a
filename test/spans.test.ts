/**
 * Spans: when they open, what they record of a run, and that they cost nothing without a tracer. Streams are
 * in `spans.stream.test.ts`.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import * as TestClock from "effect/testing/TestClock"
import * as AiService from "effect-ai-gateway/AiService"
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

const attributesOf = (span: Tracer.Span | undefined) => Object.fromEntries(span?.attributes ?? [])

const outcomeOf = (span: Tracer.Span | undefined) =>
  span?.status._tag === "Ended" ? span.status.exit._tag : span?.status._tag

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
      assert.deepStrictEqual(
        spans.map(({ kind }) => kind),
        ["internal", "client", "client"]
      )
      assert.deepStrictEqual(spans.map(outcomeOf), ["Success", "Failure", "Success"])
      const [run, failed, answered] = spans.map(attributesOf)
      const eventId = run?.["ai_gateway.event_id"]
      assert.match(String(eventId), /^[0-9a-f-]{36}$/)
      const request = { "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "ai_gateway.event_id": eventId }
      assert.deepStrictEqual(run, {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "groq",
        "gen_ai.response.model": "m",
        "gen_ai.usage.input_tokens": 1,
        "gen_ai.usage.output_tokens": 2,
        "ai_gateway.attempts": 2,
        "ai_gateway.event_id": eventId,
        "ai_gateway.execution": "client",
        "ai_gateway.log_id": "log-2"
      })
      assert.deepStrictEqual(failed, {
        ...request,
        "error.type": "ProviderUnavailable",
        "gen_ai.provider.name": "openai",
        "http.response.status_code": 503,
        "ai_gateway.id": "gw",
        "ai_gateway.legs": 1,
        "ai_gateway.log_id": "log-1"
      })
      assert.deepStrictEqual(answered, {
        ...request,
        "gen_ai.provider.name": "groq",
        "http.response.status_code": 200,
        "ai_gateway.id": "gw",
        "ai_gateway.legs": 1,
        "ai_gateway.log_id": "log-2"
      })
    })
  )

  it.effect("say how a run failed: the last attempt's provider, status and log, and what ended it", () =>
    Effect.gen(function* () {
      const gateway = Scripted.make({ openai: [{ status: 503 }], groq: [{ status: 401 }] })
      const { spans } = yield* traced(Effect.provide(Router.run(route, "hi"), gateway.layer))
      const [run] = spans
      assert.strictEqual(outcomeOf(run), "Failure")
      const { "ai_gateway.event_id": eventId, ...rest } = attributesOf(run)
      assert.match(String(eventId), /^[0-9a-f-]{36}$/)
      assert.deepStrictEqual(rest, {
        "error.type": "Unauthorized",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "groq",
        "gen_ai.request.model": "m",
        "http.response.status_code": 401,
        "ai_gateway.attempts": 2,
        "ai_gateway.ended": "attempts",
        "ai_gateway.execution": "client",
        "ai_gateway.log_id": "log-2"
      })
    })
  )

  it.effect("say that a request without an answer failed", () =>
    Effect.gen(function* () {
      const gateway = Scripted.make({ openai: [{ reset: true }] })
      const { spans } = yield* traced(Effect.provide(Router.run(Provider.openai.chat("m"), "hi"), gateway.layer))
      assert.deepStrictEqual(spans.map(outcomeOf), ["Failure", "Failure"])
      for (const span of spans) {
        assert.strictEqual(span.attributes.get("error.type"), "TransportFailure")
        assert.isFalse(span.attributes.has("http.response.status_code"))
        assert.isFalse(span.attributes.has("ai_gateway.log_id"))
      }
    })
  )

  it.effect("say that a route was rejected before anything was sent", () =>
    Effect.gen(function* () {
      const bad = Provider.openai.chat("m").pipe(Route.timeout(-1))
      const { spans } = yield* traced(Effect.provide(Router.run(bad, "hi"), Scripted.make({}).layer))
      assert.deepStrictEqual(said(spans), [["Router.run", undefined, "Ended"]])
      assert.deepStrictEqual(attributesOf(spans[0]), { "error.type": "InvalidRequest" })
    })
  )

  it.effect("of a run that is interrupted are ended without an error, and say what it did", () =>
    Effect.gen(function* () {
      const gateway = Scripted.make({ openai: [{ status: 503 }], groq: [{ never: true }] })
      const program = Effect.timeoutOption(Router.run(route, "hi"), "1 second")
      const fiber = yield* Effect.forkChild(traced(Effect.provide(program, gateway.layer)))
      yield* TestClock.adjust("1 second")
      const { spans } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(said(spans), [
        ["Router.run", undefined, "Ended"],
        ["GatewayService.run", "Router.run", "Ended"],
        ["GatewayService.run", "Router.run", "Ended"]
      ])
      assert.strictEqual(spans[0]?.attributes.get("ai_gateway.attempts"), 2)
      assert.isFalse(spans[0]?.attributes.has("error.type"))
      assert.isFalse(spans[2]?.attributes.has("error.type"))
    })
  )

  it.effect("name the model and the operation of each provider in the words of the conventions", () =>
    Effect.gen(function* () {
      const targets = Route.fallback(
        Provider.googleAiStudio.chat("gemini-x"),
        Provider.workersAi.chat("@cf/meta/llama-x"),
        Provider.anthropic.messages("claude-x"),
        Provider.grok.chat("grok-x"),
        Provider.mistral.chat("mistral-x")
      )
      const gateway = Scripted.make(() => ({ status: 503 }))
      const { spans } = yield* traced(Effect.provide(Router.run(targets, "hi"), gateway.layer))
      assert.deepStrictEqual(
        spans
          .slice(1)
          .map(({ attributes }) => [
            attributes.get("gen_ai.operation.name"),
            attributes.get("gen_ai.provider.name"),
            attributes.get("gen_ai.request.model")
          ]),
        [
          ["generate_content", "gcp.gemini", "gemini-x"],
          ["chat", "workers-ai", "@cf/meta/llama-x"],
          ["chat", "anthropic", "claude-x"],
          ["chat", "x_ai", "grok-x"],
          ["chat", "mistral_ai", "mistral-x"]
        ]
      )
    })
  )

  it.effect("of other requests are of kind client, too, and say how they failed", () =>
    Effect.gen(function* () {
      const failing = HttpClient.make((request) =>
        Effect.succeed(HttpClientResponse.fromWeb(request, Response.json({}, { status: 500 })))
      )
      const ai = AiService.layerHttp({ accountId: "acct", apiToken: Redacted.make("api-token") })
      const { spans } = yield* traced(
        Effect.gen(function* () {
          const service = yield* AiService.AiService
          yield* Effect.exit(service.models({}))
          yield* Effect.exit(service.models({ page: 0 }))
          yield* Effect.exit(service.gateway("no id"))
        }).pipe(Effect.provide(Layer.provide(ai, Layer.succeed(HttpClient.HttpClient, failing))))
      )
      assert.deepStrictEqual(
        spans.map((span) => [span.name, span.kind, span.attributes.get("error.type")]),
        [
          ["AiService.models", "client", "ProviderUnavailable"],
          ["AiService.models", "client", "InvalidRequest"],
          ["AiService.gateway", "internal", "InvalidRequest"]
        ]
      )
    })
  )

  it.effect("of a call that the gateway ran over several legs are about the leg that answered", () =>
    Effect.gen(function* () {
      const gateway = Scripted.make(
        () => ({ headers: { "cf-aig-step": "1" }, body: Scripted.completion("yes") }),
        "gateway"
      )
      const { spans } = yield* traced(Effect.provide(Router.run(route, "hi"), gateway.layer))
      assert.strictEqual(spans[0]?.attributes.get("ai_gateway.execution"), "gateway")
      assert.strictEqual(spans[0]?.attributes.get("gen_ai.provider.name"), "groq")
      assert.strictEqual(spans[1]?.attributes.get("ai_gateway.step"), 1)
      assert.strictEqual(spans[1]?.attributes.get("ai_gateway.legs"), 2)
      assert.strictEqual(spans[1]?.attributes.get("gen_ai.provider.name"), "groq")
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

  /** The options of a span, and its attributes. */
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
          Traced.withSpan("one", "internal", (span) => {
            span?.annotate({ answer: 42, unknown: undefined })
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
