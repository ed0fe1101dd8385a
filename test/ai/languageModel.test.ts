/**
 * A program of `effect/ai` with a toolkit, objects and a stream, over every transport, and the effects of its route.
 */
import { assert, describe, it } from "@effect/vitest"
import type * as AiError from "effect/ai/AiError"
import * as Chat from "effect/ai/Chat"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Model from "effect/ai/Model"
import type * as AiResponse from "effect/ai/Response"
import * as ResponseIdTracker from "effect/ai/ResponseIdTracker"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as ExecutionPlan from "effect/ExecutionPlan"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { GatewayLanguageModel, GatewayModel } from "effect-ai-gateway/ai"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Upstream from "effect-ai-gateway/local/Upstream"
import * as Pricing from "effect-ai-gateway/Pricing"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { ScriptedPeer } from "effect-ai-gateway/testing"
import { transports } from "../suites/transports.ts"
import { completion, make } from "../support/scripted.ts"
import { reply } from "./support.ts"

const Add = Tool.make("add", {
  description: "Adds two numbers.",
  parameters: Schema.Struct({ a: Schema.Int, b: Schema.Int }),
  success: Schema.Int
})
const kit = Toolkit.make(Add)
const KitLive = kit.toLayer({ add: ({ a, b }) => Effect.succeed(a + b) })

const both = Route.fallback(Provider.openai.chat("gpt-4.1-mini"), Provider.anthropic.messages("claude-haiku-4-5"))

const finishOf = (parts: ReadonlyArray<AiResponse.AnyPart>): GatewayModel.AnswerMetadata => {
  const found = parts.find((part) => part.type === "finish")?.metadata.gateway
  assert.isOk(found)
  return found
}

const textOf = (parts: ReadonlyArray<AiResponse.AnyPart>): string =>
  parts.map((part) => (part.type === "text-delta" ? part.delta : "")).join("")

const failing = <A, R>(effect: Effect.Effect<A, AiError.AiError, R>) => Effect.flip(effect)

describe.each(transports)("over $name", ({ canListLogs, layer: gatewayLayer }) => {
  const run = <A, E>(
    effect: Effect.Effect<
      A,
      E,
      LanguageModel.LanguageModel | Tool.HandlersFor<typeof kit.tools> | GatewayService.GatewayService
    >,
    upstreams: Readonly<Record<string, Upstream.Upstream>> = {},
    route = both
  ) =>
    effect.pipe(
      Effect.provide(Layer.merge(GatewayLanguageModel.layer(route), KitLive)),
      Effect.provide(Router.layerWith({ execution: "client" }).pipe(Layer.provideMerge(gatewayLayer({ upstreams }))))
    )

  it.live("answers with text, usage and the log id of its own log", () =>
    run(
      Effect.gen(function* () {
        const answer = yield* LanguageModel.generateText({ prompt: "Say hello." })
        assert.strictEqual(answer.text, "openai/gpt-4.1-mini: Say hello.")
        assert.strictEqual(answer.finishReason, "stop")
        assert.strictEqual(answer.usage.outputTokens.total, 3)
        const { attempts, logId, target } = finishOf(answer.content)
        assert.strictEqual(target, "openai/gpt-4.1-mini")
        assert.deepStrictEqual(
          attempts.map((one) => one.outcome),
          ["success"]
        )
        if (canListLogs) {
          const gateway = yield* GatewayService.GatewayService
          const log = yield* gateway.getLog(logId ?? "absent")
          assert.strictEqual(log.model, "gpt-4.1-mini")
        }
      })
    )
  )

  it.live("streams text, and finishes with the same facts", () =>
    run(
      Effect.gen(function* () {
        const parts = yield* Stream.runCollect(LanguageModel.streamText({ prompt: "Say hello." }))
        assert.strictEqual(textOf(parts), "openai/gpt-4.1-mini: Say hello.")
        const types = parts.map(({ type }) => type)
        assert.deepStrictEqual(
          types.filter((type, i) => type !== types[i - 1]),
          ["response-metadata", "text-start", "text-delta", "text-end", "finish"]
        )
        assert.strictEqual(finishOf(parts).attempts.length, 1)
      })
    )
  )

  it.live("calls tools, complete and streamed, and decodes objects", () =>
    run(
      Effect.gen(function* () {
        const answer = yield* LanguageModel.generateText({ prompt: "Add.", toolkit: kit, toolChoice: "required" })
        assert.strictEqual(answer.finishReason, "tool-calls")
        assert.deepStrictEqual(
          answer.toolResults.map(({ name, result }) => [name, result]),
          [["add", 0]]
        )
        const parts = yield* Stream.runCollect(
          LanguageModel.streamText({ prompt: "Add.", toolkit: kit, toolChoice: { tool: "add" } })
        )
        assert.deepStrictEqual(
          parts.flatMap((part) => (part.type === "tool-result" ? [part.result] : [])),
          [0]
        )
        assert.strictEqual(parts.at(-1)?.type, "finish")
        const object = yield* LanguageModel.generateObject({
          prompt: "Weather?",
          schema: Schema.Struct({ city: Schema.String, degrees: Schema.Int, wind: Schema.optional(Schema.Number) })
        })
        assert.strictEqual(typeof object.value.city, "string")
        assert.strictEqual(typeof object.value.degrees, "number")
      })
    )
  )

  it.live("replaces a first target that fails, and one that breaks off before its first word", () =>
    run(
      Effect.gen(function* () {
        const answer = yield* LanguageModel.generateText({ prompt: "hi" })
        const streamed = yield* Stream.runCollect(LanguageModel.streamText({ prompt: "hi" }))
        assert.strictEqual(answer.text, "anthropic/claude-haiku-4-5: hi")
        assert.strictEqual(textOf(streamed), "anthropic/claude-haiku-4-5: hi")
        assert.deepStrictEqual(
          finishOf(answer.content).attempts.map(({ cause, outcome, reason }) => [cause, outcome, reason]),
          [
            ["first", "failure", "ProviderUnavailable"],
            ["fallback", "success", null]
          ]
        )
        assert.strictEqual(finishOf(streamed).attempts.length, 2)
      }),
      { openai: Upstream.script([{ status: 503 }, { stream: { resetAfter: { deltas: 0 } } }]) }
    )
  )

  it.live("fails a stream that breaks after its first words with a retryable error", () =>
    run(
      Effect.gen(function* () {
        const seen: Array<string> = []
        const error = yield* failing(
          LanguageModel.streamText({ prompt: "one two three four" }).pipe(
            Stream.runForEach((part) => Effect.sync(() => seen.push(part.type)))
          )
        )
        assert.strictEqual(error.reason._tag, "InvalidOutputError")
        assert.isTrue(error.isRetryable)
        assert.include(seen, "text-delta")
        assert.notInclude(seen, "finish")
        assert.strictEqual(GatewayModel.failureOf(error)?.reason._tag, "StreamInterrupted")
      }),
      { openai: Upstream.script([{ stream: { resetAfter: { deltas: 2 } } }]) }
    )
  )
})

const Weather = Schema.Struct({ city: Schema.String, degrees: Schema.Int })
const weather = { city: "Graz", degrees: 21 }

const scripted = (
  script: ScriptedPeer.Script,
  route = both,
  router: Router.Options = {},
  execution: Router.Execution = "client"
) => {
  const peer = make(script, execution, { router })
  return { seen: peer.seen, layer: GatewayLanguageModel.layer(route).pipe(Layer.provide(peer.layer)) }
}

describe("objects", () => {
  it.effect("calls the next target when the first one answers with bad JSON", () => {
    const { layer, seen } = scripted({
      openai: [{ answer: '{"city":"Graz","degrees":"warm"}' }],
      anthropic: [{ answer: JSON.stringify(weather) }]
    })
    return Effect.gen(function* () {
      const answer = yield* LanguageModel.generateObject({ prompt: "Weather?", schema: Weather })
      assert.deepStrictEqual(answer.value, weather)
      assert.deepStrictEqual(
        finishOf(answer.content).attempts.map(({ reason }) => reason),
        ["InvalidResponse", null]
      )
      assert.deepInclude(seen[0]?.body, {
        response_format: {
          type: "json_schema",
          json_schema: {
            name: "generateObject",
            strict: true,
            schema: {
              type: "object",
              properties: { city: { type: "string" }, degrees: { type: "integer" } },
              required: ["city", "degrees"],
              additionalProperties: false
            }
          }
        }
      })
    }).pipe(Effect.provide(layer))
  })

  it.effect("calls the next target also when the gateway executes the route", () => {
    const { layer } = scripted(
      { openai: [{ answer: "no JSON" }], anthropic: [{ answer: JSON.stringify(weather) }] },
      both,
      {},
      "auto"
    )
    return Effect.gen(function* () {
      const answer = yield* LanguageModel.generateObject({ prompt: "Weather?", schema: Weather })
      assert.deepStrictEqual(answer.value, weather)
    }).pipe(Effect.provide(layer))
  })

  it.effect("fits the schema to each target, and skips one that cannot take it", () => {
    interface Tree {
      readonly name: string
      readonly children: ReadonlyArray<Tree>
    }
    const Tree = Schema.Struct({
      name: Schema.String.check(Schema.isPattern(/^[a-z]+$/)),
      children: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree))
    })
    const route = Route.fallback(Provider.anthropic.messages("claude"), Provider.groq.chat("m"))
    const { layer, seen } = scripted({ groq: [{ answer: '{"name":"a","children":[]}' }] }, route)
    const City = Schema.Struct({ name: Schema.String.check(Schema.isPattern(/^[A-Z]/)) })
    const anthropic = scripted({ anthropic: [{ answer: '{"name":"Graz"}' }] }, Provider.anthropic.messages("claude"))
    return Effect.gen(function* () {
      const answer = yield* LanguageModel.generateObject({ prompt: "A tree.", schema: Tree })
      assert.deepStrictEqual(
        finishOf(answer.content).skipped.map(({ reason, target }) => [target, reason]),
        [["anthropic/claude", "Unsupported"]]
      )
      assert.notInclude(JSON.stringify(seen), '"strict":true')
      const city = LanguageModel.generateObject({ prompt: "A city.", schema: City })
      assert.deepStrictEqual((yield* Effect.provide(city, anthropic.layer)).value, { name: "Graz" })
      assert.notInclude(JSON.stringify(anthropic.seen), '"pattern"')
    }).pipe(Effect.provide(layer))
  })

  it.effect("fails by the policy of the provider when the model refuses, with the log id and the cost", () => {
    const { layer, seen } = scripted({
      openai: [
        reply({ content: null, refusal: "I will not." }, "stop"),
        reply({ content: '{"city":"Gr' }, "content_filter"),
        reply({ content: null }, "content_filter")
      ]
    })
    return Effect.gen(function* () {
      for (const times of [1, 2, 3]) {
        const error = yield* Effect.flip(LanguageModel.generateObject({ prompt: "Weather?", schema: Weather }))
        const { reason } = error
        assert.strictEqual(reason._tag, "ContentPolicyError")
        assert.isFalse(error.isRetryable)
        assert.notInclude(error.message, "I will not.")
        if (reason._tag !== "ContentPolicyError") return
        const { attempts, logId, reason: tag } = reason.metadata.gateway ?? {}
        assert.strictEqual(tag, "ContentBlocked")
        assert.strictEqual(attempts?.length, 1)
        assert.strictEqual(logId, attempts?.[0]?.logId)
        assert.strictEqual(seen.length, times)
      }
    }).pipe(Effect.provide(layer))
  })

  it.effect("reads JSON in a fence", () => {
    const { layer } = scripted({ openai: [{ answer: `\`\`\`json\n${JSON.stringify(weather)}\n\`\`\`` }] })
    return Effect.gen(function* () {
      const answer = yield* LanguageModel.generateObject({ prompt: "Weather?", schema: Weather })
      assert.deepStrictEqual(answer.value, weather)
      assert.strictEqual(finishOf(answer.content).target, "openai/gpt-4.1-mini")
    }).pipe(Effect.provide(layer))
  })

  it.effect("fails with the last target's reason when none of them answers with the object", () => {
    const { layer, seen } = scripted({ openai: [{ answer: "no" }], anthropic: [{ answer: "{}" }] })
    return Effect.gen(function* () {
      const error = yield* failing(LanguageModel.generateObject({ prompt: "Weather?", schema: Weather }))
      assert.strictEqual(error.reason._tag, "InvalidOutputError")
      assert.strictEqual(seen.length, 2)
    }).pipe(Effect.provide(layer))
  })

  it.effect("rejects a schema without a form for providers, before anything is sent", () => {
    const { layer, seen } = scripted({})
    return Effect.gen(function* () {
      const schema = Schema.Union([Schema.Struct({ a: Schema.String }), Schema.Struct({ b: Schema.String })])
      const error = yield* failing(LanguageModel.generateObject({ prompt: "Either?", schema }))
      assert.strictEqual(error.reason._tag, "UnsupportedSchemaError")
      assert.strictEqual(seen.length, 0)
    }).pipe(Effect.provide(layer))
  })
})

describe("routes", () => {
  it.effect("rejects a route that restarts streams, by name and before anything is sent", () => {
    const route = Route.restart(both, 2)
    const { layer, seen } = scripted({}, route)
    assert.deepStrictEqual(
      GatewayLanguageModel.problems(route).map(({ field }) => field),
      ["route.restart"]
    )
    return Effect.gen(function* () {
      for (const error of [
        yield* failing(LanguageModel.generateText({ prompt: "hi" })),
        yield* failing(Stream.runDrain(LanguageModel.streamText({ prompt: "hi" }))),
        yield* failing(LanguageModel.generateObject({ prompt: "hi", schema: Weather }))
      ]) {
        assert.strictEqual(error.reason._tag, "InvalidRequestError")
        assert.include(error.message, "route.restart")
      }
      assert.strictEqual(seen.length, 0)
    }).pipe(Effect.provide(layer))
  })

  it.effect("names the problem of a route that cannot run", () => {
    const { layer, seen } = scripted({}, Provider.openai.chat(""))
    return Effect.gen(function* () {
      const error = yield* failing(LanguageModel.generateText({ prompt: "hi" }))
      assert.strictEqual(error.reason._tag, "InvalidRequestError")
      assert.include(error.message, "openai.model")
      assert.strictEqual(seen.length, 0)
    }).pipe(Effect.provide(layer))
  })

  it.effect("sends a rejected request once when it continues an answer by its id", () => {
    const bad = { status: 400, body: { error: { message: "bad", type: "invalid_request_error", code: "x" } } }
    const { layer, seen } = scripted({ openai: [{ answer: "one" }, bad, bad, bad] }, Provider.openai.chat("m"))
    return Effect.gen(function* () {
      const chat = yield* Chat.empty
      yield* chat.generateText({ prompt: "first" })
      assert.strictEqual((yield* failing(chat.generateText({ prompt: "second" }))).reason._tag, "InvalidRequestError")
      assert.strictEqual(seen.length, 2)
      const stream = Stream.runDrain(chat.streamText({ prompt: "third" }))
      assert.strictEqual((yield* failing(stream)).reason._tag, "InvalidRequestError")
      assert.strictEqual(seen.length, 3)
    }).pipe(
      Effect.provideServiceEffect(ResponseIdTracker.ResponseIdTracker, ResponseIdTracker.make),
      Effect.provide(layer)
    )
  })

  it.effect("works as a step of an ExecutionPlan, and under its name", () => {
    const peer = make({ openai: [{ status: 503 }, { status: 503 }], groq: [{ answer: "second step" }] })
    const plan = ExecutionPlan.make(
      { provide: GatewayLanguageModel.model("first", Provider.openai.chat("m")), attempts: 2 },
      { provide: GatewayLanguageModel.model("second", Provider.groq.chat("m")) }
    )
    return Effect.gen(function* () {
      const answer = yield* LanguageModel.generateText({ prompt: "hi" })
      assert.deepStrictEqual(
        [answer.text, yield* Model.ModelName, yield* Model.ProviderName],
        ["second step", "second", "cloudflare-ai-gateway"]
      )
    }).pipe(Effect.withExecutionPlan(plan), Effect.provide(peer.layer))
  })

  it.live("interrupts the provider's request when the caller is interrupted", () => {
    const peer = make({
      openai: [
        { never: true },
        { stream: [...ScriptedPeer.events({ choices: [{ index: 0, delta: { content: "a" } }] }), { end: "never" }] }
      ]
    })
    const layer = GatewayLanguageModel.layer(Provider.openai.chat("m")).pipe(Layer.provide(peer.layer))
    const until = (holds: () => boolean): Effect.Effect<void> =>
      Effect.suspend(() => (holds() ? Effect.void : Effect.andThen(Effect.sleep(2), until(holds))))
    return Effect.gen(function* () {
      const whole = yield* Effect.forkChild(LanguageModel.generateText({ prompt: "hi" }))
      yield* until(() => peer.seen.length === 1)
      yield* Fiber.interrupt(whole)
      yield* LanguageModel.streamText({ prompt: "hi" }).pipe(
        Stream.takeUntil((part) => part.type === "text-delta"),
        Stream.runDrain
      )
      assert.strictEqual(peer.interrupted.length, 2)
    }).pipe(Effect.provide(layer))
  })
})

describe("options of a call", () => {
  it.effect("reach the gateway and the provider", () => {
    const { layer, seen } = scripted({}, Provider.openai.chat("m"), {
      pricing: Pricing.make({ "openai/m": { input: 1, output: 2 } })
    })
    return Effect.gen(function* () {
      const options: GatewayModel.Options = {
        cache: { ttl: "1 hour" },
        metadata: { tenant: "acme" },
        eventId: "event-1",
        session: "conversation-42",
        headers: { "x-tenant": "acme" },
        deadline: "20 seconds",
        request: {
          maxTokens: 200,
          temperature: 0.5,
          stop: ["END"],
          seed: 7,
          user: "u1",
          extra: { service_tier: "flex" }
        }
      }
      const answer = yield* Effect.provideService(
        LanguageModel.generateText({ prompt: "hi" }),
        GatewayModel.Config,
        options
      )
      yield* LanguageModel.streamText({ prompt: "hi" }).pipe(
        Stream.provideService(GatewayModel.Config, options),
        Stream.runDrain
      )
      yield* LanguageModel.generateText({ prompt: "hi" })
      for (const request of seen.slice(0, 2)) {
        assert.deepInclude(request.headers, {
          "cf-aig-cache-ttl": "3600",
          "cf-aig-metadata": '{"tenant":"acme"}',
          "cf-aig-event-id": "event-1",
          "x-tenant": "acme"
        })
        assert.isString(request.headers["cf-aig-session-id"])
        assert.deepInclude(request.body, {
          max_completion_tokens: 200,
          temperature: 0.5,
          stop: ["END"],
          seed: 7,
          user: "u1",
          service_tier: "flex"
        })
      }
      assert.notProperty(seen[2]?.headers, "cf-aig-metadata")
      const { cost, eventId } = finishOf(answer.content)
      assert.strictEqual(eventId, "event-1")
      assert.isAbove(cost?.usd ?? 0, 0)
    }).pipe(Effect.provide(layer))
  })

  it.effect("are rejected by field when they are invalid", () => {
    const { layer, seen } = scripted({}, Provider.openai.chat("m"))
    const wrong: ReadonlyArray<readonly [object, string]> = [
      [{ cache: { ttl: "1 second" } }, "cache.ttl"],
      [{ metadata: { a: null } }, "metadata.a"],
      [{ session: "" }, "session"],
      [{ deadline: "soon" }, "deadline"],
      [{ deadline: 0 }, "deadline"],
      [{ ttl: 5 }, "ttl"],
      [{ request: { messages: [] } }, "request.messages"],
      [{ request: { maxTokens: 0 } }, "maxTokens"],
      [{ request: 5 }, "request"],
      [{ priority: "high" }, "priority"]
    ]
    return Effect.gen(function* () {
      for (const [options, field] of wrong) {
        const call = LanguageModel.generateText({ prompt: "hi" })
        const error = yield* failing(Effect.provideService(call, GatewayModel.Config, options))
        assert.strictEqual(error.reason._tag, "InvalidRequestError", field)
        assert.include(error.message, field)
      }
      assert.strictEqual(seen.length, 0)
    }).pipe(Effect.provide(layer))
  })

  it.live("end a call at its deadline", () => {
    const { layer } = scripted({ openai: [{ never: true }] }, Provider.openai.chat("m"))
    return Effect.gen(function* () {
      const call = LanguageModel.generateText({ prompt: "hi" })
      const error = yield* failing(Effect.provideService(call, GatewayModel.Config, { deadline: "30 millis" }))
      assert.strictEqual(error.reason._tag, "InternalProviderError")
      assert.strictEqual(GatewayModel.failureOf(error)?.ended, "deadline")
    }).pipe(Effect.provide(layer))
  })
})

describe("1,000 calls at once", () => {
  it.live("each have their own answer and log id", () => {
    const count = 1_000
    const { layer } = scripted(
      ({ body }) => {
        const text = JSON.stringify(body)
        const n = Number(/call (\d+)/.exec(text)?.[1])
        const isStream = text.includes('"stream":true')
        const headers = { "cf-aig-log-id": `log-${n}` }
        if (n % 5 === 0 && text.includes("gpt")) return { status: 503, headers: { "cf-aig-log-id": `failed-${n}` } }
        return isStream
          ? { answer: `answer ${n}`, headers, delay: n % 7 }
          : { body: completion(`answer ${n}`), headers, delay: n % 7 }
      },
      Route.fallback(Provider.openai.chat("gpt"), Provider.groq.chat("other")),
      { budget: "none" }
    )
    return Effect.gen(function* () {
      const answers = yield* Effect.forEach(
        Array.from({ length: count }, (_, n) => n),
        (n) =>
          n % 2 === 0
            ? Effect.map(
                LanguageModel.generateText({ prompt: `call ${n}` }),
                ({ content, text }) => [text, finishOf(content)] as const
              )
            : Effect.map(
                Stream.runCollect(LanguageModel.streamText({ prompt: `call ${n}` })),
                (parts) => [textOf(parts), finishOf(parts)] as const
              ),
        { concurrency: "unbounded" }
      )
      answers.forEach(([text, { attempts, eventId, logId }], n) => {
        assert.strictEqual(text, `answer ${n}`)
        assert.strictEqual(logId, `log-${n}`)
        assert.deepStrictEqual(
          attempts.map((one) => one.logId),
          n % 5 === 0 ? [`failed-${n}`, `log-${n}`] : [`log-${n}`]
        )
        assert.isString(eventId)
      })
      assert.strictEqual(new Set(answers.map(([, { eventId }]) => eventId)).size, count)
    }).pipe(Effect.provide(layer))
  })
})
