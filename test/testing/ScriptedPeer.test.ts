import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Chat from "effect-ai-gateway/Chat"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { ScriptedPeer } from "effect-ai-gateway/testing"

const onClient = Router.layerWith({ execution: "client" })

const over =
  (peer: ScriptedPeer.ScriptedPeer, router = onClient) =>
  <A, E>(self: Effect.Effect<A, E, Router.Router>) =>
    self.pipe(Effect.provide(router), Effect.provide(peer.layer))

const openai = Provider.openai.chat("gpt-4.1-mini")
const groq = Provider.groq.chat("m")

const dialects = {
  openai,
  anthropic: Provider.anthropic.messages("claude-haiku-4-5"),
  google: Provider.googleAiStudio.chat("gemini-2.5-flash"),
  "workers-ai": Provider.workersAi.chat("@cf/meta/llama-3.1-8b-instruct"),
  compat: Provider.compat.chat("groq/llama-3.3-70b-versatile")
}

describe("a scripted peer", () => {
  for (const [name, route] of Object.entries(dialects)) {
    it.effect(`answers in the dialect of ${name}, streamed or not, with the usage of the line`, () =>
      Effect.gen(function* () {
        const usage = { input: 7, output: 3 }
        const peer = ScriptedPeer.make(() => ({ answer: "Saturn has the most.", usage }))
        const { logId, value } = yield* over(peer)(Router.run(route, "Which planet?"))
        assert.strictEqual(value.text, "Saturn has the most.")
        assert.deepInclude(value.usage, { inputTokens: 7, outputTokens: 3 })
        assert.strictEqual(logId, "log-1")
        const deltas = yield* over(peer)(Stream.runCollect(Router.stream(route, "Which planet?")))
        const reply = Result.getOrThrow(Chat.collect(deltas))
        assert.strictEqual(reply.text, "Saturn has the most.")
        assert.deepInclude(reply.usage, { inputTokens: 7, outputTokens: 3 })
        assert.deepStrictEqual(
          peer.seen.map(({ number, state }) => [number, state]),
          [
            [1, "answered"],
            [2, "answered"]
          ]
        )
      })
    )
  }

  it.effect("answers embeddings, one vector for each input", () =>
    Effect.gen(function* () {
      const peer = ScriptedPeer.make()
      const route = Provider.openai.embeddings("text-embedding-3-small")
      const { value } = yield* over(peer)(Router.run(route, ["a", "b"]))
      assert.strictEqual(value.vectors.length, 2)
    })
  )

  it.effect("plays the lines of each provider in order, and answers normally after the last", () =>
    Effect.gen(function* () {
      const peer = ScriptedPeer.make({ openai: [{ status: 503 }, { status: 429, headers: { "retry-after": "1" } }] })
      const route = Route.retry(openai, { attempts: 3, delay: "2 seconds" })
      const fiber = yield* Effect.forkChild(over(peer)(Router.run(route, "hi")))
      yield* TestClock.adjust("1 minute")
      const { attempts, value } = yield* Fiber.join(fiber)
      assert.strictEqual(value.text, "answer of openai")
      assert.deepStrictEqual(
        attempts.map(({ error, outcome }) => error?._tag ?? outcome),
        ["ProviderUnavailable", "RateLimited", "success"]
      )
      const [first] = peer.seen
      assert.deepInclude(first, {
        provider: "openai",
        model: "gpt-4.1-mini",
        path: "/v1/acct/gw/openai/chat/completions"
      })
      assert.deepStrictEqual(
        peer.seen.map(({ at }) => at < 60_000),
        [true, true, true]
      )
    })
  )

  it.effect("records aborted requests: before the headers, and in the middle of a stream", () =>
    Effect.gen(function* () {
      const peer = ScriptedPeer.make({
        openai: [{ never: true }],
        groq: [{ stream: [...ScriptedPeer.events({ choices: [{ delta: { content: "Sat" } }] }), { end: "never" }] }]
      })
      const route = Route.fallback(Route.timeout(openai, "1 second"), groq)
      const fiber = yield* Effect.forkChild(over(peer)(Stream.runDrain(Router.stream(route, "hi"))))
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(
        peer.seen.map(({ state }) => state),
        ["interrupted", "streaming"]
      )
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(
        peer.interrupted.map(({ provider }) => provider),
        ["openai", "groq"]
      )
    })
  )

  it.effect("breaks connections before the headers and inside streams", () =>
    Effect.gen(function* () {
      const piece = ScriptedPeer.events({ choices: [{ delta: { content: "Sat" } }] })
      const peer = ScriptedPeer.make({ openai: [{ reset: true }], groq: [{ stream: [...piece, { end: "reset" }] }] })
      const early = yield* Effect.flip(over(peer)(Router.run(openai, "hi")))
      assert.deepInclude(early.reason, { _tag: "TransportFailure", kind: "reset" })
      const late = yield* Effect.flip(over(peer)(Stream.runDrain(Router.stream(groq, "hi"))))
      assert.strictEqual(late.reason._tag, "StreamInterrupted")
      assert.deepStrictEqual(
        peer.seen.map(({ state }) => state),
        ["failed", "failed"]
      )
    })
  )

  it.effect("paces the events of a streamed answer on the clock of the program", () =>
    Effect.gen(function* () {
      const peer = ScriptedPeer.make({ openai: [{ answer: "one two three", delay: 100, pace: 50 }] })
      const clock = yield* Effect.clockWith(Effect.succeed)
      const at: Array<number> = []
      const texts = Router.stream(openai, "hi").pipe(
        Stream.filter(({ type }) => type === "text"),
        Stream.runForEach(() => Effect.sync(() => at.push(clock.currentTimeMillisUnsafe())))
      )
      const fiber = yield* Effect.forkChild(over(peer)(texts))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(at, [100, 150, 200])
    })
  )

  it.effect("gives the rest to another reader as a web response", () =>
    Effect.gen(function* () {
      const peer = ScriptedPeer.make({ openai: [{ stream: ["a", "b"] }, { stream: ["a", { end: "never" }] }] })
      const gateway = yield* Effect.provide(GatewayService.GatewayService, peer.layer)
      const leg = { provider: "openai", endpoint: "chat/completions", query: {} }
      const web = (yield* gateway.run(leg)).web()
      assert.strictEqual(yield* Effect.promise(() => web.text()), "ab")
      const left = (yield* gateway.run(leg)).web()
      yield* Effect.promise(() => left.body?.cancel() ?? Promise.resolve())
      assert.deepStrictEqual(
        peer.seen.map(({ state }) => state),
        ["answered", "interrupted"]
      )
    })
  )

  it.effect("plays the legs of a universal request until one answers", () =>
    Effect.gen(function* () {
      const peer = ScriptedPeer.make({ openai: [{ status: 503 }], groq: [{ answer: "of groq" }] })
      const route = Route.fallback(openai, groq)
      const { step, target } = yield* over(peer, Router.layerWith({ execution: "gateway" }))(Router.run(route, "hi"))
      assert.deepStrictEqual([step, target], [1, "groq/m"])
      assert.deepStrictEqual(
        peer.seen.map(({ model, provider }) => `${provider}/${model}`),
        ["openai/gpt-4.1-mini", "groq/m"]
      )
    })
  )

  it.effect("offers a universal request to the script as one request first", () =>
    Effect.gen(function* () {
      const peer = ScriptedPeer.make({ "": [{ status: 401 }] })
      const run = Router.run(Route.fallback(openai, groq), "hi", { execution: "gateway" })
      const { reason } = yield* Effect.flip(over(peer)(run))
      assert.strictEqual(reason._tag, "Unauthorized")
      assert.strictEqual(peer.seen.length, 1)
    })
  )

  const wrong: ReadonlyArray<readonly [line: unknown, field: string]> = [
    [{ status: 99 }, "status"],
    [{ status: "200" }, "status"],
    [{ delay: -1 }, "delay"],
    [{ delay: Duration.infinity }, "delay"],
    [{ delay: "soon" }, "delay"],
    [{ after: 5 }, "after"],
    [{ answer: " " }, "answer"],
    [{ body: {}, text: "" }, "text"],
    [{ reset: true, never: true }, "reset"],
    [{ pace: 5 }, "pace"],
    [{ answer: "a", usage: { input: -1, output: 0 } }, "usage"],
    [{ stream: "abc" }, "stream"],
    [{ stream: ["a", { wait: -1 }] }, "stream[1]"],
    [{ stream: [{ end: "soon" }] }, "stream[0]"],
    [{ headers: { "x y": "z" } }, "headers.x y"],
    [{ headers: { a: 5 } }, "headers.a"],
    [{ statuss: 200 }, "statuss"]
  ]
  for (const [line, field] of wrong) {
    it.effect(`rejects ${JSON.stringify(line)}, naming ${field}`, () =>
      Effect.gen(function* () {
        const listed = ScriptedPeer.make({ openai: [{ status: 200 }, line as ScriptedPeer.Line] })
        const error = yield* Effect.flip(over(listed)(Router.run(openai, "hi")))
        assert.deepInclude(error.reason, { _tag: "InvalidRequest", field: `script.openai[1].${field}` })
        assert.strictEqual(listed.seen.length, 0)
        const drawn = ScriptedPeer.make(() => line as ScriptedPeer.Line)
        const later = yield* Effect.flip(over(drawn)(Router.run(openai, "hi")))
        assert.deepInclude(later.reason, { _tag: "InvalidRequest", field: `script(openai).${field}` })
      })
    )
  }

  it.effect("rejects a script that is not a list, and invalid ids", () =>
    Effect.gen(function* () {
      const field = (peer: ScriptedPeer.ScriptedPeer) =>
        Effect.map(Effect.flip(over(peer)(Router.run(openai, "hi"))), ({ reason }) =>
          reason._tag === "InvalidRequest" ? reason.field : reason._tag
        )
      assert.strictEqual(yield* field(ScriptedPeer.make({ openai: {} as never })), "script.openai")
      assert.strictEqual(yield* field(ScriptedPeer.make([] as never)), "script")
      assert.strictEqual(yield* field(ScriptedPeer.make({}, { gateway: "a/b" })), "gateway")
    })
  )
})
