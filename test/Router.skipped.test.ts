/**
 * Targets that are skipped, and how a failed run reports its end.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Chat from "effect-ai-gateway/Chat"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { drive as driven } from "./batch/support.ts"
import * as scripted from "./support/scripted.ts"
import { anthropic, executions, groq, openai, play, ways } from "./support/streamRuns.ts"

const drive = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(driven(self, 5), ({ exit }) => exit)

const seeded: Chat.Request = { messages: [{ role: "user", content: "hi" }], seed: 1 }

const told = (
  skipped: ReadonlyArray<{ readonly target: string; readonly reason: { readonly message: string } }> = []
) => skipped.map(({ reason, target }) => `${target}: ${reason.message}`)

const noSeed = "anthropic/claude: unsupported seed: expected nothing: Anthropic has no seed"

describe("a target that cannot express the input", () => {
  it.effect.each(executions.map((execution) => ({ name: execution, execution })))(
    "is skipped, and nothing is sent to it: $name",
    ({ execution }) =>
      Effect.gen(function* () {
        const { layer, seen } = scripted.make({}, execution)
        const answer = yield* drive(
          Router.run(Route.fallback(anthropic, openai), seeded, { execution }).pipe(Effect.provide(layer))
        ).pipe(Effect.option)
        // The scripted gateway has no universal endpoint: only the sent request matters there.
        assert.isTrue(seen.every(({ body }) => !JSON.stringify(body).includes("claude")))
        assert.strictEqual(seen.length, 1)
        if (execution === "gateway" || answer._tag === "None") return
        assert.deepStrictEqual(told(answer.value.skipped), [noSeed])
        assert.strictEqual(answer.value.attempts.length, 1)
      })
  )

  it.effect.each(ways)("is skipped in a stream: $name", (way) =>
    Effect.gen(function* () {
      const { error, provider, summary } = yield* drive(play({}, Route.fallback(anthropic, openai), seeded, way))
      assert.isUndefined(error)
      assert.deepStrictEqual(told(summary?.skipped), [noSeed])
      assert.deepStrictEqual(
        provider.bodies.map(({ provider }) => provider),
        ["openai"]
      )
    })
  )

  it.effect("does not hide the failure of one that was called", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make({ openai: [{ status: 503 }] })
      const error = yield* drive(
        Effect.flip(Router.run(Route.fallback(openai, anthropic), seeded)).pipe(Effect.provide(layer))
      )
      assert.strictEqual(error.reason._tag, "ProviderUnavailable")
      assert.deepStrictEqual(told(error.skipped), [noSeed])
      assert.strictEqual(error.ended, "attempts")
    })
  )

  it.effect("is the failure when there is no other, also in streams", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted.make({})
      const both = Effect.all([
        Effect.flip(Router.run(anthropic, seeded)),
        Effect.flip(Stream.runDrain(Router.stream(anthropic, seeded)))
      ])
      for (const error of yield* drive(both.pipe(Effect.provide(layer)))) {
        assert.deepInclude(error.reason, { _tag: "Unsupported", field: "seed" })
        assert.deepStrictEqual(told(error.skipped), [noSeed])
        assert.deepStrictEqual(error.attempts, [])
      }
      assert.strictEqual(seen.length, 0)
    })
  )

  it.effect("is distinguished from an input that is invalid for all", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted.make({})
      const wrong = { ...seeded, seed: 0.5 }
      const error = yield* drive(
        Effect.flip(Router.run(Route.fallback(anthropic, openai), wrong)).pipe(Effect.provide(layer))
      )
      assert.deepInclude(error.reason, { _tag: "InvalidRequest", field: "seed" })
      assert.strictEqual(error.ended, "stop")
      assert.strictEqual(seen.length, 0)
      const hot = { messages: seeded.messages, temperature: 1.5 }
      const answer = yield* drive(Router.run(Route.fallback(anthropic, openai), hot).pipe(Effect.provide(layer)))
      assert.strictEqual(answer.target, "openai/m")
    })
  )
})

describe("the end of a failed run", () => {
  const ended = (route: Route.Route<string, unknown>, script: scripted.Script) =>
    Effect.suspend(() => {
      const { layer } = scripted.make(script)
      return Effect.map(drive(Effect.flip(Router.run(route, "hi")).pipe(Effect.provide(layer))), ({ ended }) => ended)
    })
  const both = Route.fallback(openai, groq)
  const down: scripted.Script = () => ({ status: 503 })

  it.effect("is reported", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* ended(both, down), "attempts")
      assert.strictEqual(yield* ended(both, () => ({ status: 400 })), "stop")
      assert.strictEqual(yield* ended(Route.fallbackOn(both, ["Timeout"]), down), "stop")
      assert.strictEqual(yield* ended(Route.deadline(both, 50), () => ({ never: true })), "deadline")
      // The wait for the next attempt does not fit.
      const cut = openai.pipe(Route.retry({ attempts: 2, delay: 100 }), Route.deadline(50))
      assert.strictEqual(yield* ended(cut, down), "deadline")
      assert.strictEqual(yield* ended(Route.fallback(cut, groq), down), "attempts")
    })
  )
})

describe("a target that declares its context window", () => {
  const small = Provider.openai.chat("gpt-4.1-mini", { contextWindow: 100 })
  const words = (count: number): Chat.Request => ({ messages: [Chat.user("word ".repeat(count))], maxTokens: 20 })
  const run = (input: Chat.Input) =>
    Effect.gen(function* () {
      const { layer, seen } = scripted.make({})
      const answer = yield* Router.run(Route.fallback(small, groq), input).pipe(Effect.provide(layer))
      return { answer, seen }
    })

  it.effect("is skipped if the conversation and the requested answer surely do not fit", () =>
    Effect.gen(function* () {
      const { answer, seen } = yield* run(words(200))
      assert.strictEqual(answer.provider, "groq")
      assert.strictEqual(seen.length, 1)
      const [skipped] = answer.skipped
      assert.strictEqual(skipped?.reason._tag, "Unsupported")
      assert.match(skipped?.reason.message ?? "", /messages: expected a conversation of at most 100 tokens/)
      assert.strictEqual((yield* run("word ".repeat(200))).answer.provider, "groq")
    })
  )

  it.effect("gets a conversation that may fit, and ignores the size of images", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* run(words(60))).answer.provider, "openai")
      const data = "A".repeat(100_000)
      const messages = [
        Chat.user([
          { type: "image", data, mediaType: "image/png" },
          { type: "image", url: `data:image/png;base64,${data}` }
        ])
      ]
      assert.strictEqual((yield* run({ messages })).answer.provider, "openai")
    })
  )
})

describe("a target that declares its context window, in a conversation that other models began", () => {
  it.effect("ignores the size of thinking, signatures and sources that are not sent", () =>
    Effect.gen(function* () {
      const value = "A".repeat(100_000)
      const opaque = { origin: "anthropic", value }
      const call = { id: "c1", name: "f", arguments: {}, signature: value }
      const messages = [
        Chat.user("a"),
        Chat.assistant(
          [
            { type: "reasoning", text: value, opaque },
            { type: "text", text: "b", opaque, citations: [{ url: "https://example.com", quote: value }] }
          ],
          [call]
        ),
        Chat.tool(call, "c")
      ]
      const { layer } = scripted.make({})
      const small = Provider.openai.chat("gpt-4.1-mini", { contextWindow: 200 })
      const answer = yield* Effect.provide(Router.run(Route.fallback(small, groq), { messages }), layer)
      assert.strictEqual(answer.provider, "openai")
    })
  )
})

describe("hints that a target does not get", () => {
  const request: Chat.Request = { messages: [Chat.user("hi")], seed: 1, topK: 5, losses: "dropHints" }

  it.effect("are in the record of the attempt, and in no other", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make({ anthropic: [{ status: 503 }] })
      const { attempts } = yield* drive(Router.run(Route.fallback(anthropic, openai), request)).pipe(
        Effect.provide(layer)
      )
      assert.deepStrictEqual(
        attempts.map(({ dropped }) => dropped),
        [["seed", "topK"], ["topK"]]
      )
      const { attempts: plain } = yield* drive(Router.run(openai, "hi")).pipe(Effect.provide(layer))
      assert.notProperty(plain[0], "dropped")
    })
  )

  it.effect.each(ways.filter(({ execution }) => execution === "client"))("are in that of a stream: $name", (way) =>
    Effect.gen(function* () {
      const { summary } = yield* drive(play({}, openai, request, way))
      assert.deepStrictEqual(
        summary?.attempts.map(({ dropped }) => dropped),
        [["topK"]]
      )
    })
  )
})
