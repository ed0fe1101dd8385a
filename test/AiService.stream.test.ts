import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as AiService from "effect-ai-gateway/AiService"
import * as Chat from "effect-ai-gateway/Chat"
import type { GatewayError } from "effect-ai-gateway/GatewayError"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import type * as LocalGateway from "effect-ai-gateway/local"
import type * as Upstream from "effect-ai-gateway/local/Upstream"
import { Local, transports } from "./suites/transports.ts"
import { assertSilent, traced } from "./support/leaks.ts"
import { until } from "./support/streamResponses.ts"

const openai = "openai/gpt-4.1-mini"
const llama = "@cf/meta/llama-3.1-8b-instruct"
const gw = { gateway: "gw" }
const chat = (content: string) => ({ max_tokens: 100, messages: [{ role: "user", content }] })

/** Models of every kind, and the provider that serves them. */
const models = [
  [openai, "openai"],
  ["anthropic/claude-haiku-4.5", "anthropic"],
  ["google/gemini-3-flash", "google-ai-studio"],
  ["xai/grok-4.3", "grok"],
  [llama, "workers-ai"],
  ["dynamic/support", "openai"]
] as const

const dialects: Readonly<Record<string, Chat.Dialect<Chat.Input, Chat.Reply>>> = {
  "anthropic/claude-haiku-4.5": Chat.anthropic,
  [llama]: Chat.workersAi
}

/** The observations of a consumer. */
interface Seen {
  readonly deltas: ReadonlyArray<Chat.Delta>
  readonly text: string
  readonly error: GatewayError | undefined
  readonly trail: ReadonlyArray<LogTrail.Attempt>
}

const consume = <R>(stream: Stream.Stream<Chat.Delta, GatewayError, R>): Effect.Effect<Seen, never, R> =>
  Effect.gen(function* () {
    const deltas: Array<Chat.Delta> = []
    const { attempts: trail, value: exit } = yield* LogTrail.collect(
      Effect.exit(Stream.runForEach(stream, (delta) => Effect.sync(() => void deltas.push(delta))))
    )
    if (Exit.isFailure(exit) && Option.isNone(Exit.findErrorOption(exit))) throw new Error(`${exit.cause}`)
    return {
      deltas,
      text: deltas.map((delta) => (delta.type === "text" ? delta.text : "")).join(""),
      error: Option.getOrUndefined(Exit.findErrorOption(exit)),
      trail
    }
  })

const ask = (model: string, input: object = chat("a b c"), options: AiService.StreamOptions = gw) =>
  consume(AiService.stream(model, input, options))

const script = (provider: string, faults: ReadonlyArray<Upstream.Fault>) =>
  Effect.flatMap(Local, (local) => local.script(provider, faults))
const calls = Effect.flatMap(Local, (local) => local.calls)
const openBodies = Effect.flatMap(Local, (local) => local.openBodies)

for (const transport of transports) {
  const test = (
    name: string,
    self: Effect.Effect<void, GatewayError, Local | AiService.AiService>,
    options: LocalGateway.Options = {}
  ) =>
    it.live(name, () =>
      Effect.provide(self, transport.layer({ routes: { support: ["openai/gpt-4.1-mini"] }, ...options }))
    )

  describe(`over ${transport.name}`, () => {
    for (const [model, provider] of models) {
      test(
        `${model}: the deltas are those of the whole reply`,
        Effect.gen(function* () {
          const ai = yield* AiService.AiService
          const whole = yield* (yield* ai.run(model, chat("a b c"), gw)).result
          const { deltas, error, text, trail } = yield* ask(model)
          assert.isUndefined(error)
          const streamed = Result.getOrThrow(Chat.collect(deltas))
          const reply = Result.getOrThrow((dialects[model] ?? Chat.openaiCompatible).decode(whole))
          assert.deepInclude(
            { ...streamed, usage: {}, id: "" },
            { ...reply, usage: {}, id: "", raw: null },
            "the same answer"
          )
          assert.isAbove(deltas.filter(({ type }) => type === "text").length, 2)
          assert.include(text, "a b c")
          const [attempt] = trail
          assert.strictEqual(trail.length, 1)
          assert.strictEqual(attempt?.outcome, "success")
          assert.strictEqual(attempt?.endpoint, "run")
          assert.isString(attempt?.logId)
          const sent = (yield* calls).filter((call) => call.provider === provider).at(-1)
          const asksForUsage = model === openai || model.startsWith("dynamic/")
          assert.deepInclude(sent?.body, {
            stream: true,
            ...(asksForUsage && { stream_options: { include_usage: true } })
          })
          if (!asksForUsage) assert.notProperty(sent?.body, "stream_options")
          if (asksForUsage || model === llama) assert.strictEqual(streamed.usage.inputTokens, 3)
        })
      )

      test(
        `${model}: an answer in one piece becomes deltas too`,
        Effect.gen(function* () {
          const { deltas, error, text } = yield* ask(model, chat("a b c"), {
            ...gw,
            headers: { "cf-aig-local-buffer": "true" }
          })
          assert.isUndefined(error)
          assert.include(text, "a b c")
          assert.strictEqual(deltas.filter(({ type }) => type === "text").length, 1)
          assert.isTrue(Result.isSuccess(Chat.collect(deltas)))
        })
      )

      test(
        `${model}: breaks, before and after the first delta`,
        Effect.gen(function* () {
          yield* script(provider, [
            { status: 429, retryAfter: 2 },
            { stream: { errorAfter: { deltas: 0 } } },
            { stream: { endAfter: { deltas: 0 } } },
            { stream: { resetAfter: { deltas: 2 } } },
            { stream: { errorAfter: { deltas: 2 } } },
            { stream: { endAfter: { deltas: 2 } } },
            { stream: { noFinish: true } }
          ])
          const all = yield* Effect.forEach([0, 1, 2, 3, 4, 5, 6], () => ask(model))
          assert.deepStrictEqual(
            all.map(({ error }) => error?.reason._tag),
            [
              "RateLimited",
              all[1]?.error?.reason._tag,
              "InvalidResponse",
              ...Array.from({ length: 4 }, () => "StreamInterrupted")
            ]
          )
          assert.notInclude(["StreamInterrupted", undefined], all[1]?.error?.reason._tag)
          for (const { deltas, error, text, trail } of all) {
            assert.strictEqual(error?.method, "AiService.stream")
            assert.strictEqual(trail.length, 1)
            assert.strictEqual(trail[0]?.outcome, "failure")
            if (error === undefined) continue
            const { reason } = error
            if (reason._tag !== "StreamInterrupted") {
              assert.strictEqual(text, "")
              assert.strictEqual(trail[0]?.error?._tag, reason._tag)
              assert.strictEqual(trail[0]?.logId, error.logId)
              assert.isString(error.logId)
              continue
            }
            assert.strictEqual(reason.events, deltas.length)
            assert.strictEqual(reason.partial, text)
            assert.isAbove(text.length, 0)
            assert.isString(error.logId)
          }
          const failures = all.slice(3).map(({ error }) => Reflect.get(Object(error?.reason), "failure"))
          assert.deepStrictEqual(
            [failures[0], failures[2], failures[3]],
            ["TransportFailure", "InvalidResponse", "InvalidResponse"]
          )
          assert.strictEqual(yield* openBodies, 0)
        })
      )
    }

    test(
      "ending early, and interruption, let go of the request",
      Effect.gen(function* () {
        yield* script("openai", [
          { stream: { stallAfter: { deltas: 3 } } },
          { stream: { stallAfter: { deltas: 1 } } },
          { stall: true }
        ])
        const local = yield* Local
        const stream = AiService.stream(openai, chat("a b c d"), gw)
        const early = yield* LogTrail.collect(Stream.runDrain(Stream.take(stream, 1)))
        const interrupted = yield* Effect.forEach([1, 0], (last, i) =>
          LogTrail.collect(
            Effect.gen(function* () {
              let texts = 0
              const fiber = yield* Effect.forkChild(
                Stream.runForEach(stream, ({ type }) => Effect.sync(() => (texts += type === "text" ? 1 : 0)))
              )
              yield* until(() => texts === last && Effect.runSync(local.calls).length === i + 2)
              yield* Fiber.interrupt(fiber)
            })
          )
        )
        for (const { attempts } of [early, ...interrupted]) {
          assert.deepStrictEqual(
            attempts.map(({ outcome }) => outcome),
            ["interrupted"]
          )
        }
        yield* until(() => Effect.runSync(local.openBodies) === 0)
        yield* until(() => Effect.runSync(local.calls).every(({ outcome }) => outcome === "interrupted"))
      }),
      // Runs that can be taken up go on when the client leaves.
      { resumableRuns: false }
    )

    test(
      "what cannot be sent is refused before it is sent",
      Effect.gen(function* () {
        const cases: ReadonlyArray<readonly [field: string, seen: Effect.Effect<Seen, never, AiService.AiService>]> = [
          ["input.stream", ask(openai, { ...chat("a"), stream: false })],
          ["input.stream", ask(openai, { ...chat("a"), stream: "yes" })],
          ["input", ask(openai, [])],
          ["input", ask(openai, new Date())],
          ["model", ask("gpt-4.1")],
          ["gateway", ask("dynamic/support", chat("a"), {})],
          ["cache.ttl", ask(openai, chat("a"), { ...gw, cache: { ttl: 1 } })]
        ]
        for (const [field, seen] of cases) {
          const { error, trail } = yield* seen
          assert.deepInclude(error?.reason, { _tag: "InvalidRequest", field })
          assert.strictEqual(error?.method, "AiService.stream", field)
          assert.deepStrictEqual(trail, [])
        }
        assert.deepStrictEqual(yield* calls, [])
      })
    )

    test(
      "own stream_options and an own decoder are kept",
      Effect.gen(function* () {
        const own = { include_usage: false }
        const names: Array<unknown> = []
        const decoder = (query?: Record<string, unknown>): Chat.DeltaDecoder => {
          names.push(query?.["stream"])
          let events = 0
          return {
            event: ({ data }) => {
              events++
              return data === "[DONE]"
                ? { deltas: [{ type: "finish", reason: "stop" }], done: true }
                : { deltas: [{ type: "text", text: `${events};` }] }
            },
            end: () => ({ deltas: [{ type: "finish", reason: "other" }] })
          }
        }
        const { error, text } = yield* ask(
          openai,
          { ...chat("a b"), stream: true, stream_options: own },
          { ...gw, decoder }
        )
        assert.isUndefined(error)
        assert.match(text, /^1;2;3;/)
        assert.deepInclude((yield* calls).at(-1)?.body, { stream: true, stream_options: own })
        const buffered = yield* ask(openai, chat("a b"), { ...gw, decoder, headers: { "cf-aig-local-buffer": "true" } })
        assert.deepStrictEqual(buffered.deltas, [
          { type: "text", text: "1;" },
          { type: "finish", reason: "other" }
        ])
        assert.deepStrictEqual(names, [true, true])
      })
    )

    test(
      "nothing is recorded when another layer records it",
      Effect.gen(function* () {
        const { error, trail } = yield* ask(openai, chat("a"), { ...gw, record: false })
        assert.isUndefined(error)
        assert.deepStrictEqual(trail, [])
      })
    )

    test(
      "no secret and no prompt is in a failure",
      Effect.gen(function* () {
        const key = "sk-live-0123456789"
        const prompt = "the prompt that nobody may see"
        const echoing = { error: { message: `no: ${key}` } }
        yield* script("openai", [
          { status: 400, body: echoing },
          { stream: { errorAfter: { deltas: 0, body: echoing } } },
          { stream: { errorAfter: { deltas: 1, body: echoing } } }
        ])
        const options = { ...gw, headers: { "x-key": Redacted.make(key) } }
        for (let i = 0; i < 3; i++) {
          const traces = yield* traced(Stream.runDrain(AiService.stream(openai, chat(prompt), options)))
          assert.isTrue(Exit.isFailure(traces.exit))
          assertSilent(traces, i === 2 ? [key] : [key, prompt])
        }
      })
    )
  })
}

describe("an answer that an overlapping call has parsed", () => {
  it.effect("becomes deltas too, without a log id", () =>
    Effect.gen(function* () {
      const body = { id: "c", model: "m", choices: [{ message: { content: "Hello" }, finish_reason: "stop" }] }
      // What the binding gives to one who lost `returnRawResponse`.
      const ai = { run: async () => body, models: async () => [], gateway: () => Reflect.get({}, "none") }
      const { deltas, error, trail } = yield* Effect.provide(ask(openai), AiService.layerBinding(ai))
      assert.isUndefined(error)
      assert.deepStrictEqual(Result.getOrThrow(Chat.collect(deltas)).text, "Hello")
      assert.isUndefined(trail[0]?.logId)
    })
  )
})
