/**
 * Spans of streams: they are open as long as the stream is, and end as it does.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import * as AiService from "effect-ai-gateway/AiService"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { Local, transports } from "./suites/transports.ts"
import { traced } from "./support/leaks.ts"
import { client, gateway, groq, openai, overHttp, play, type Way } from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

const both = Route.fallback(openai, groq)

/** How a span ended. */
const endOf = ({ status }: Tracer.Span): string =>
  status._tag === "Started"
    ? "open"
    : status.exit._tag === "Success"
      ? "success"
      : status.exit.cause.reasons.map(({ _tag }) => _tag.toLowerCase()).join()

const parentOf = ({ parent }: Tracer.Span): string | undefined =>
  parent._tag === "Some" && parent.value._tag === "Span" ? parent.value.name : undefined

/** The local gateway has spans of its own. */
const ours = (spans: ReadonlyArray<Tracer.Span>) => spans.filter(({ name }) => !name.startsWith("LocalGateway."))

const shown = (spans: ReadonlyArray<Tracer.Span>) => spans.map((span) => [span.name, parentOf(span), endOf(span)])

const attributesOf = (span: Tracer.Span | undefined): Record<string, unknown> => {
  const {
    "ai_gateway.event_id": eventId,
    "ai_gateway.log_id": logId,
    ...rest
  } = Object.fromEntries(span?.attributes ?? [])
  assert.isString(eventId)
  assert.isString(logId)
  return rest
}

const ran = <Out>(script: S.Script, route: Route.Route<string, Out>, way: Pick<Way, "backend" | "execution">) =>
  Effect.map(traced(play(script, route, "hi", way)), ({ spans }) => ours(spans))

describe("the span of Router.open", () => {
  for (const way of [client, gateway]) {
    it.effect(`ends with the stream and says what came out, executed by the ${way.execution}`, () =>
      Effect.gen(function* () {
        const spans = yield* ran({ openai: [{ steps: S.words("Hel") }] }, openai, way)
        assert.deepStrictEqual(shown(spans), [
          ["Router.open", undefined, "success"],
          ["GatewayService.run", "Router.open", "success"]
        ])
        const [open] = spans
        assert.deepStrictEqual(
          { ...attributesOf(open) },
          {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.stream": true,
            "gen_ai.response.model": "m-1",
            "gen_ai.response.time_to_first_chunk": 0,
            "gen_ai.usage.input_tokens": 3,
            "gen_ai.usage.output_tokens": 4,
            "ai_gateway.attempts": 1,
            "ai_gateway.deltas": 4,
            "ai_gateway.execution": way.execution,
            "ai_gateway.restarts": 0
          }
        )
      })
    )
  }

  it.effect("fails when the stream breaks, although every request below it succeeded", () =>
    Effect.gen(function* () {
      const spans = yield* ran({ openai: [{ steps: [...S.words("Hel").slice(0, 2), S.reset] }] }, openai, client)
      assert.deepStrictEqual(shown(spans), [
        ["Router.open", undefined, "fail"],
        ["GatewayService.run", "Router.open", "success"]
      ])
      const open = attributesOf(spans[0])
      assert.strictEqual(open["error.type"], "StreamInterrupted")
      assert.strictEqual(open["ai_gateway.attempts"], 1)
      assert.strictEqual(open["gen_ai.provider.name"], "openai")
    })
  )

  it.effect("has the requests of a restart below it, and counts restarts", () =>
    Effect.gen(function* () {
      const script = {
        openai: [{ steps: [...S.words("Hel").slice(0, 2), S.reset] }],
        groq: [{ steps: S.words("Hello") }]
      }
      const spans = yield* ran(script, Route.restart(both, 1), client)
      assert.deepStrictEqual(shown(spans), [
        ["Router.open", undefined, "success"],
        ["GatewayService.run", "Router.open", "success"],
        ["GatewayService.run", "Router.open", "success"]
      ])
      const open = attributesOf(spans[0])
      assert.strictEqual(open["ai_gateway.restarts"], 1)
      assert.strictEqual(open["ai_gateway.attempts"], 2)
      assert.strictEqual(open["gen_ai.provider.name"], "groq")
    })
  )

  it.effect("fails when no target begins to answer", () =>
    Effect.gen(function* () {
      const spans = yield* ran({ openai: [{ status: 503 }], groq: [{ status: 503 }] }, both, client)
      assert.deepStrictEqual(shown(spans), [
        ["Router.open", undefined, "fail"],
        ["GatewayService.run", "Router.open", "fail"],
        ["GatewayService.run", "Router.open", "fail"]
      ])
      const open = attributesOf(spans[0])
      assert.strictEqual(open["error.type"], "ProviderUnavailable")
      assert.strictEqual(open["ai_gateway.attempts"], 2)
    })
  )

  it.effect("is open while the stream is, and ends as interrupted when the consumer leaves early", () =>
    Effect.gen(function* () {
      const { upstreams } = S.scripted({ openai: [{ steps: S.words("a", "b", "c") }] })
      const meanwhile: Array<string> = []
      const { spans: all } = yield* traced(
        Effect.gen(function* () {
          const span = yield* Effect.currentParentSpan
          yield* Effect.scoped(
            Effect.gen(function* () {
              const { deltas } = yield* Router.open(openai, "hi", { execution: "client" })
              yield* Stream.runDrain(Stream.take(deltas, 1))
            })
          )
          if (span._tag === "Span") meanwhile.push(endOf(span))
        }).pipe(Effect.withSpan("mine"), Effect.provide(overHttp.layer(upstreams)))
      )
      const spans = ours(all)
      assert.deepStrictEqual(meanwhile, ["open"])
      assert.deepStrictEqual(shown(spans), [
        ["mine", undefined, "success"],
        ["Router.open", "mine", "interrupt"],
        ["GatewayService.run", "Router.open", "success"]
      ])
      assert.isFalse(spans[1]?.attributes.has("error.type"))
    })
  )

  it.effect("succeeds when the consumer leaves after the finish, and a second consumer changes nothing", () =>
    Effect.gen(function* () {
      const { upstreams } = S.scripted({ openai: [{ steps: S.words("a") }] })
      const { spans: all } = yield* traced(
        Effect.gen(function* () {
          const { deltas } = yield* Router.open(openai, "hi", { execution: "client" })
          const second = Effect.exit(Stream.runDrain(deltas))
          yield* deltas.pipe(
            Stream.tap(() => second),
            Stream.takeUntil(({ type }) => type === "finish"),
            Stream.runDrain
          )
        }).pipe(Effect.scoped, Effect.provide(overHttp.layer(upstreams)))
      )
      assert.deepStrictEqual(shown(ours(all))[0], ["Router.open", undefined, "success"])
    })
  )

  it.effect("ends once, when a stream is opened and never read", () =>
    Effect.gen(function* () {
      const { upstreams } = S.scripted({ openai: [{ steps: S.words("a", "b") }] })
      const { spans: all } = yield* traced(
        Router.open(openai, "hi", { execution: "client" }).pipe(
          Effect.scoped,
          Effect.provide(overHttp.layer(upstreams))
        )
      )
      assert.deepStrictEqual(shown(ours(all))[0], ["Router.open", undefined, "interrupt"])
    })
  )
})

describe("the span of AiService.stream", () => {
  const [inProcess] = transports.filter(({ hasSockets }) => !hasSockets)
  const ask = AiService.stream("openai/m", { messages: [{ role: "user", content: "a b c" }] }, { gateway: "gw" })
  const traces = (faults: Parameters<Local["Service"]["script"]>[1]) =>
    Effect.map(
      traced(
        Effect.gen(function* () {
          yield* (yield* Local).script("openai", faults)
          yield* Effect.exit(Stream.runDrain(ask))
        }).pipe(Effect.provide(inProcess?.layer({}) ?? assert.fail("no transport")))
      ),
      ({ spans }) => ours(spans)
    )

  it.live("ends with the stream and says what came out", () =>
    Effect.gen(function* () {
      const spans = yield* traces([])
      assert.deepStrictEqual(shown(spans), [
        ["AiService.stream", undefined, "success"],
        ["AiService.run", "AiService.stream", "success"]
      ])
      assert.deepStrictEqual(
        spans.map(({ kind }) => kind),
        ["internal", "client"]
      )
      const [stream] = spans
      assert.strictEqual(stream?.attributes.get("gen_ai.operation.name"), "chat")
      assert.strictEqual(stream?.attributes.get("gen_ai.request.stream"), true)
      assert.strictEqual(stream?.attributes.get("gen_ai.usage.input_tokens"), 3)
      assert.isNumber(stream?.attributes.get("gen_ai.response.time_to_first_chunk"))
    })
  )

  it.live("fails when the stream breaks", () =>
    Effect.gen(function* () {
      const spans = yield* traces([{ stream: { resetAfter: { deltas: 2 } } }])
      assert.deepStrictEqual(shown(spans), [
        ["AiService.stream", undefined, "fail"],
        ["AiService.run", "AiService.stream", "success"]
      ])
      assert.strictEqual(spans[0]?.attributes.get("error.type"), "StreamInterrupted")
      assert.isString(spans[0]?.attributes.get("ai_gateway.log_id"))
    })
  )

  it.live("fails when the request does", () =>
    Effect.gen(function* () {
      const spans = yield* traces([{ status: 429 }])
      assert.deepStrictEqual(shown(spans), [
        ["AiService.stream", undefined, "fail"],
        ["AiService.run", "AiService.stream", "fail"]
      ])
      for (const { attributes } of spans) {
        assert.strictEqual(attributes.get("error.type"), "RateLimited")
        assert.strictEqual(attributes.get("http.response.status_code"), 429)
      }
    })
  )
})
