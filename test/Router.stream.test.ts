import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import * as Chat from "effect-ai-gateway/Chat"
import type { Reason, ReasonTag } from "effect-ai-gateway/GatewayError"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { data, doneMark } from "./fixtures/streams/drive.ts"
import { completion } from "./support/scripted.ts"
import {
  anthropic,
  client,
  consume,
  deepseek,
  gateway,
  groq,
  interruption,
  json,
  lines,
  openai,
  overHttp,
  play,
  ways
} from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

const both = Route.fallback(openai, groq)

describe("an answer", () => {
  it.effect.each(ways)("$name: arrives as deltas, with its target", (way) =>
    Effect.gen(function* () {
      const script = { openai: [{ steps: S.words("Hel", "lo") }] }
      const { attempts, deltas, error, provider, summary, trail } = yield* play(script, both, "hi", way)
      assert.isUndefined(error)
      assert.deepStrictEqual(deltas, [
        { type: "meta", model: "m-1", id: "c1" },
        { type: "text", text: "Hel" },
        { type: "text", text: "lo" },
        { type: "finish", reason: "stop" },
        { type: "usage", usage: { inputTokens: 3, outputTokens: 4, totalTokens: 7 } }
      ])
      const [attempt, ...more] = attempts
      assert.deepStrictEqual(more, [])
      assert.deepInclude(attempt, {
        target: "openai/m",
        provider: "openai",
        model: "m-1",
        endpoint: "chat/completions",
        outcome: "success",
        status: 200
      })
      assert.isString(attempt?.logId)
      assert.deepStrictEqual(trail, attempts)
      assert.deepStrictEqual(summary, {
        target: "openai/m",
        provider: "openai",
        model: "m-1",
        logId: attempt?.logId ?? "",
        eventId: attempt?.eventId ?? "",
        usage: { inputTokens: 3, outputTokens: 4, totalTokens: 7 },
        deltas: 5,
        text: "Hello",
        restarts: 0,
        attempts,
        skipped: []
      })
      const [{ json } = { json: undefined }] = provider.bodies
      assert.deepInclude(json, { model: "m", stream: true, stream_options: { include_usage: true } })
      assert.deepStrictEqual(provider.states(), ["openai ended"])
    })
  )

  it.effect.each(ways)("$name: arrives in one piece from guardrails", (way) =>
    Effect.gen(function* () {
      const seen = yield* play({ openai: [json(completion("Hello"))] }, both, "hi", way)
      assert.isUndefined(seen.error)
      assert.deepStrictEqual(
        seen.deltas.map(({ type }) => type),
        ["meta", "text", "usage", "finish"]
      )
      assert.strictEqual(seen.text, "Hello")
      assert.deepStrictEqual(lines(seen.attempts), ["openai/m success"])
      assert.deepStrictEqual(seen.trail, seen.attempts)
      assert.deepInclude(seen.summary, { text: "Hello", usage: { inputTokens: 1, outputTokens: 2, totalTokens: 3 } })
    })
  )

  it.effect("arrives in one piece from a gateway that buffers streams", () =>
    Effect.gen(function* () {
      const provider = S.scripted({})
      const layer = overHttp.layer(undefined, { gateways: { gw: { bufferStreams: true } } })
      const streamed = yield* Effect.provide(consume(anthropic, "hi there"), layer)
      const whole = yield* Effect.provide(Router.run(anthropic, "hi there"), layer)
      const { raw: _, ...reply } = Result.getOrThrow(Chat.collect(streamed.deltas))
      const { raw: __, ...expected } = whole.value
      assert.deepStrictEqual(reply, expected)
      assert.deepStrictEqual(provider.bodies, [])
    })
  )

  it.effect("ignores events after the finish of a complete answer", () =>
    Effect.gen(function* () {
      const complete = [S.role, S.say("all"), S.finish]
      const endings: ReadonlyArray<ReadonlyArray<S.Step>> = [
        [],
        [S.reset],
        [S.usage, S.reset],
        [data({ usage: { prompt_tokens: 1 } }).slice(0, 20)],
        [S.doneMark, S.reset],
        [S.doneMark, S.say("too late"), S.finish]
      ]
      for (const ending of endings) {
        const seen = yield* play({ openai: [{ steps: [...complete, ...ending] }] }, both, "hi", client)
        assert.isUndefined(seen.error)
        assert.strictEqual(seen.text, "all")
        assert.strictEqual(seen.deltas.filter(({ type }) => type === "finish").length, 1)
        assert.deepStrictEqual(lines(seen.attempts), ["openai/m success"])
      }
    })
  )
})

interface Failing {
  readonly name: string
  /** The fault instead of an answer, or after its first words. */
  readonly reply: (before: ReadonlyArray<S.Step>) => S.Reply
  readonly tag: Exclude<ReasonTag, "StreamInterrupted">
  /** A part of the message. */
  readonly issue?: string
  /** It can also happen after the first words. */
  readonly later: boolean
}

const failing: ReadonlyArray<Failing> = [
  {
    name: "an error event",
    reply: (before) => ({ steps: [...before, S.error()] }),
    tag: "ProviderUnavailable",
    later: true
  },
  {
    name: "an error event of a full provider",
    reply: (before) => ({ steps: [...before, S.error("rate_limit_exceeded"), S.stall] }),
    tag: "RateLimited",
    later: true
  },
  {
    name: "an end without a finish",
    reply: (before) => ({ steps: [...before] }),
    tag: "InvalidResponse",
    issue: "choices[0].finish_reason: expected one before the stream ends",
    later: true
  },
  {
    name: "the mark of the end without a finish",
    reply: (before) => ({ steps: [...before, S.doneMark] }),
    tag: "InvalidResponse",
    issue: "choices[0].finish_reason: expected one before the stream ends",
    later: true
  },
  {
    name: "a broken connection",
    reply: (before) => ({ steps: [...before, S.reset] }),
    tag: "TransportFailure",
    later: true
  },
  {
    name: "an event that is not JSON",
    reply: (before) => ({ steps: [...before, 'data: {"choices":[{"delta":{"content":"cut\n\n', ...S.words("x")] }),
    tag: "InvalidResponse",
    issue: "event: expected a JSON object",
    later: true
  },
  {
    name: "an end inside of an event",
    reply: (before) => ({ steps: [...before, S.say("a long text").slice(0, -9)] }),
    tag: "InvalidResponse",
    later: true
  },
  {
    name: "nothing at all",
    reply: () => ({ steps: [] }),
    tag: "InvalidResponse",
    issue: "choices[0].finish_reason: expected one before the stream ends",
    later: false
  },
  {
    name: "a page",
    reply: () => ({ headers: { "content-type": "text/html; charset=utf-8" }, steps: ["<html>Sign in</html>"] }),
    tag: "InvalidResponse",
    issue: "content-type: expected text/event-stream or JSON",
    later: false
  },
  {
    name: "a failure as JSON",
    reply: () => json({ error: { message: "Overloaded", type: "overloaded_error" } }),
    tag: "ProviderUnavailable",
    later: false
  },
  {
    name: "JSON that is no answer",
    reply: () => json({ choices: [] }),
    tag: "InvalidResponse",
    issue: "choices: expected at least one choice",
    later: false
  },
  {
    name: "JSON that is none",
    reply: () => ({ headers: { "content-type": "application/json" }, steps: ["{"] }),
    tag: "InvalidResponse",
    issue: "not JSON",
    later: false
  }
]

/** The reason why an attempt failed. */
const check = (reason: Reason | undefined, { issue, name, tag }: Failing): void => {
  assert.strictEqual(reason?._tag, tag, name)
  if (issue !== undefined) assert.include(reason?.message, issue, name)
  assert.strictEqual(reason?.status, tag === "TransportFailure" ? undefined : 200, name)
}

describe("a failure before the first delta", () => {
  it.effect.each(ways)("$name: the next target answers, unnoticed", (way) =>
    Effect.gen(function* () {
      for (const one of failing) {
        const script = { openai: [one.reply([S.ping, S.role])] }
        const seen = yield* play(script, both, "hi", way)
        assert.isUndefined(seen.error, one.name)
        assert.strictEqual(seen.text, "from groq", one.name)
        assert.strictEqual(seen.deltas.length, 5, one.name)
        assert.deepStrictEqual(lines(seen.attempts), [`openai/m failure ${one.tag}`, "groq/m success"], one.name)
        check(seen.attempts[0]?.error, one)
        // The answer had headers, and its log id belongs to the attempt.
        assert.strictEqual(seen.attempts[0]?.status, 200, one.name)
        assert.isString(seen.attempts[0]?.logId)
        assert.notStrictEqual(seen.attempts[0]?.logId, seen.attempts[1]?.logId)
        assert.deepStrictEqual(seen.trail, seen.attempts)
        assert.strictEqual(seen.provider.open(), 0, one.name)
      }
    })
  )

  it.effect.each(ways)("$name: of the last target it is the failure", (way) =>
    Effect.gen(function* () {
      for (const one of failing) {
        const script = { openai: [{ status: 503 }], groq: [one.reply([S.role])] }
        const seen = yield* play(script, both, "hi", way)
        assert.deepStrictEqual(seen.deltas, [], one.name)
        assert.strictEqual(seen.error?.method, "Router.stream")
        assert.strictEqual(seen.error?.provider, "groq")
        check(seen.error?.reason, one)
        assert.deepStrictEqual(seen.trail, seen.attempts)
        assert.strictEqual(seen.provider.open(), 0, one.name)
      }
    })
  )

  it.effect.each(ways)("$name: a target cannot be reached, or rejects the request", (way) =>
    Effect.gen(function* () {
      const replies: ReadonlyArray<S.Reply> = [
        { refused: true },
        { status: 503 },
        { status: 429 },
        { steps: [S.reset] }
      ]
      for (const reply of replies) {
        const seen = yield* play({ openai: [reply] }, both, "hi", way)
        assert.strictEqual(seen.text, "from groq")
        assert.isUndefined(seen.error)
        assert.strictEqual(seen.provider.bodies.length, 2)
        assert.strictEqual(seen.provider.open(), 0)
      }
    })
  )

  it.effect("a failure that stops the run is not tried elsewhere", () =>
    Effect.gen(function* () {
      const blocked = data({ name: "AiGatewayError", internalCode: 2017, error: [{ code: 2017, message: "no" }] })
      for (const way of [client, gateway]) {
        const seen = yield* play({ openai: [{ steps: [S.role, blocked] }] }, both, "hi", way)
        assert.strictEqual(seen.error?.reason._tag, "ContentBlocked")
        assert.strictEqual(seen.provider.bodies.length, 1)
      }
    })
  )

  it.effect("retries follow the policy of the target: not inside a 200, but after a broken connection", () =>
    Effect.gen(function* () {
      const route = Route.retry(both, { attempts: 2, delay: 0, jitter: 0 })
      const failed = yield* play({ openai: [{ steps: [S.role, S.error()] }] }, route, "hi", client)
      assert.deepStrictEqual(lines(failed.attempts), ["openai/m failure ProviderUnavailable", "groq/m success"])
      const broken = yield* play({ openai: [{ steps: [S.role, S.reset] }] }, route, "hi", client)
      assert.deepStrictEqual(lines(broken.attempts), ["openai/m failure TransportFailure", "openai/m success"])
    })
  )
})

describe("a failure after the first delta", () => {
  it.effect.each(ways)("$name: what arrived, and why it broke", (way) =>
    Effect.gen(function* () {
      for (const one of failing.filter(({ later }) => later)) {
        const script = { openai: [one.reply([S.role, S.say("Hel"), S.say("lo")])] }
        const seen = yield* play(script, both, "hi", way)
        const reason = interruption(seen)
        assert.deepInclude({ ...reason }, { events: 3, partial: "Hello", failure: one.tag }, one.name)
        assert.strictEqual(seen.text, "Hello", one.name)
        assert.deepInclude(
          { ...seen.error },
          { method: "Router.stream", provider: "openai", model: "m-1", eventId: seen.summary?.eventId ?? "" },
          one.name
        )
        assert.isString(seen.error?.logId)
        assert.strictEqual(seen.error?.logId, seen.attempts[0]?.logId)
        assert.deepStrictEqual(lines(seen.attempts), [`openai/m failure ${one.tag}`], one.name)
        check(seen.attempts[0]?.error, one)
        assert.deepStrictEqual(seen.error?.attempts, seen.attempts)
        assert.deepStrictEqual(seen.trail, seen.attempts)
        assert.deepInclude(seen.summary, { deltas: 3, text: "Hello", attempts: seen.attempts })
        // No other target was called.
        assert.strictEqual(seen.provider.bodies.length, 1, one.name)
        assert.strictEqual(seen.provider.open(), 0, one.name)
      }
    })
  )

  it.effect("reasoning and tool calls commit a stream too", () =>
    Effect.gen(function* () {
      const thought = data({ choices: [{ index: 0, delta: { reasoning_content: "hm" } }] })
      const call = data({
        choices: [{ index: 0, delta: { tool_calls: [{ index: 0, id: "c", function: { name: "f", arguments: "" } }] } }]
      })
      for (const first of [thought, call]) {
        const seen = yield* play({ openai: [{ steps: [S.role, first, S.error()] }] }, both, "hi", client)
        assert.deepInclude({ ...interruption(seen) }, { partial: "", failure: "ProviderUnavailable" })
      }
    })
  )

  it.effect("the leg that broke is named, whichever request it was in", () =>
    Effect.gen(function* () {
      const script = { openai: [{ steps: [S.error()] }], groq: [{ status: 500 }], deepseek: [{ steps: [S.say("a")] }] }
      const seen = yield* play(script, Route.fallback(openai, groq, deepseek), "hi", gateway)
      assert.deepInclude({ ...seen.error }, { provider: "deepseek", step: 2 })
      assert.deepStrictEqual(
        seen.attempts.map(({ step, target }) => [target, step]),
        [
          ["openai/m", 0],
          ["deepseek/m", 2]
        ]
      )
    })
  )
})

describe("what follows the finish reason", () => {
  const chunk = (delta: object, finish: string | null = null): string =>
    data({ id: "c1", model: "m-1", choices: [{ index: 0, delta, finish_reason: finish }] })
  const call = { tool_calls: [{ index: 0, id: "t1", type: "function", function: { name: "f", arguments: "{}" } }] }
  const told = (deltas: ReadonlyArray<Chat.Delta>) =>
    deltas.map((delta) => (delta.type === "text" ? delta.text : delta.type === "finish" ? delta.reason : delta.type))

  it.effect.each(ways)("$name: content is delivered before the finish", (way) =>
    Effect.gen(function* () {
      const steps = [
        chunk({ content: "a" }),
        chunk({}, "stop"),
        chunk({ content: "b" }),
        S.usage,
        chunk({ content: "c" })
      ]
      const seen = yield* play({ openai: [{ steps: [...steps, doneMark] }] }, both, "hi", way)
      assert.isUndefined(seen.error)
      assert.deepStrictEqual(told(seen.deltas), ["meta", "a", "b", "c", "stop", "usage"])
      assert.deepStrictEqual(lines(seen.attempts), ["openai/m success"])
    })
  )

  it.effect("a tool call changes the finish reason to tool calls", () =>
    Effect.gen(function* () {
      const steps = [chunk({ content: "a" }), chunk({}, "stop"), chunk(call), doneMark]
      const seen = yield* play({ openai: [{ steps }] }, both, "hi", client)
      assert.deepStrictEqual(told(seen.deltas), ["meta", "a", "toolCall", "toolCalls"])
    })
  )

  it.effect("silence ends the stream after two seconds, and the connection is released", () =>
    Effect.gen(function* () {
      const reply: S.Reply = { steps: [chunk({ content: "a" }), chunk({}, "stop"), S.stall] }
      const fiber = yield* Effect.forkChild(play({ openai: [reply] }, both, "hi", client))
      for (let millis = 0; millis < 2100; millis += 100) {
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
        yield* TestClock.adjust("100 millis")
      }
      const seen = yield* Fiber.join(fiber)
      assert.deepStrictEqual(told(seen.deltas), ["meta", "a", "stop"])
      assert.strictEqual(seen.provider.open(), 0)
      assert.deepStrictEqual(lines(seen.attempts), ["openai/m success"])
    })
  )

  it.effect("endless comments do not keep it open", () =>
    Effect.gen(function* () {
      const pings = Array.from({ length: 100 }, () => [{ wait: 500 }, S.ping]).flat()
      const reply: S.Reply = { steps: [chunk({ content: "a" }), chunk({}, "stop"), ...pings, S.stall] }
      const fiber = yield* Effect.forkChild(play({ openai: [reply] }, both, "hi", client))
      for (let millis = 0; millis < 4000; millis += 100) {
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
        yield* TestClock.adjust("100 millis")
      }
      assert.isDefined(fiber.pollUnsafe())
      const seen = yield* Fiber.join(fiber)
      assert.deepStrictEqual(told(seen.deltas), ["meta", "a", "stop"])
      assert.strictEqual(seen.provider.open(), 0)
    })
  )

  it.effect("repeated usage is delivered once, with its last counts", () =>
    Effect.gen(function* () {
      const counts = (n: number): string =>
        data({
          id: "c1",
          model: "m-1",
          choices: [],
          usage: { prompt_tokens: 1, completion_tokens: n, total_tokens: n + 1 }
        })
      const steps = [chunk({ content: "a" }), chunk({}, "stop"), counts(1), counts(2), counts(3), doneMark]
      const seen = yield* play({ openai: [{ steps }] }, both, "hi", client)
      assert.deepStrictEqual(told(seen.deltas), ["meta", "a", "stop", "usage"])
      assert.deepInclude(seen.deltas.at(-1), { usage: { inputTokens: 1, outputTokens: 3, totalTokens: 4 } })
    })
  )

  it.effect("a connection that breaks then does not invalidate the answer", () =>
    Effect.gen(function* () {
      const steps = [chunk({ content: "a" }), chunk({}, "stop"), chunk({ content: "b" }), S.reset]
      const seen = yield* play({ openai: [{ steps }] }, both, "hi", client)
      assert.isUndefined(seen.error)
      assert.deepStrictEqual(told(seen.deltas), ["meta", "a", "b", "stop"])
    })
  )
})

describe("restart", () => {
  const half: S.Reply = { steps: [S.role, S.say("half"), S.error(), S.stall] }
  const route = Route.restart(Route.fallback(openai, groq, deepseek), 2)

  it.effect.each(ways)("$name: the consumer gets a restart, and then one answer", (way) =>
    Effect.gen(function* () {
      const seen = yield* play({ openai: [half], groq: [{ status: 500 }] }, route, "hi", way)
      assert.isUndefined(seen.error)
      assert.deepStrictEqual(
        seen.deltas.map((delta) => (delta.type === "text" ? delta.text : delta.type)),
        ["meta", "half", "restart", "meta", "from ", "deepseek", "finish", "usage"]
      )
      assert.deepStrictEqual(lines(seen.attempts), [
        "openai/m failure ProviderUnavailable",
        "groq/m failure ProviderUnavailable",
        "deepseek/m success"
      ])
      assert.deepStrictEqual(seen.trail, seen.attempts)
      assert.deepStrictEqual(
        seen.attempts.map(({ cause, number }) => [number, cause]),
        [
          [1, "first"],
          [2, "restart"],
          [3, "fallback"]
        ]
      )
      assert.deepInclude(seen.summary, { text: "from deepseek", deltas: 5, restarts: 1, target: "deepseek/m" })
      assert.strictEqual(seen.summary?.logId, seen.attempts[2]?.logId)
      assert.strictEqual(new Set(seen.attempts.map(({ eventId }) => eventId)).size, 1)
      assert.strictEqual(seen.provider.open(), 0)
    })
  )

  it.effect("the last target restarts itself, as often as is allowed", () =>
    Effect.gen(function* () {
      const alone = Route.restart(openai, 2)
      const twice = yield* play({ openai: [half, half] }, alone, "hi", client)
      assert.isUndefined(twice.error)
      assert.strictEqual(twice.text, "from openai")
      assert.strictEqual(twice.summary?.restarts, 2)
      const thrice = yield* play({ openai: [half, half, half] }, alone, "hi", client)
      assert.deepInclude({ ...interruption(thrice) }, { partial: "half", events: 2 })
      assert.strictEqual(thrice.attempts.length, 3)
      assert.deepStrictEqual(thrice.trail, thrice.attempts)
      assert.strictEqual(thrice.summary?.restarts, 2)
    })
  )

  it.effect("if no other target answers, the failure is about the part that was delivered", () =>
    Effect.gen(function* () {
      const seen = yield* play(
        { openai: [half], groq: [{ status: 503 }], deepseek: [{ status: 401 }] },
        route,
        "hi",
        client
      )
      assert.deepInclude({ ...interruption(seen) }, { partial: "half", events: 2, failure: "ProviderUnavailable" })
      assert.strictEqual(seen.error?.provider, "openai")
      assert.deepStrictEqual(lines(seen.attempts), [
        "openai/m failure ProviderUnavailable",
        "groq/m failure ProviderUnavailable",
        "deepseek/m failure Unauthorized"
      ])
      assert.deepStrictEqual(seen.trail, seen.attempts)
      assert.isFalse(seen.deltas.some(({ type }) => type === "restart"))
    })
  )

  it.effect("restarts the same target if the route's fallback may not move on", () =>
    Effect.gen(function* () {
      const both = Route.fallback(openai, groq)
      for (const stays of [Route.fallbackOn(both, () => false), Route.fallbackOn(both, ["Timeout"])]) {
        const seen = yield* play({ openai: [half] }, Route.restart(stays, 1), "hi", client)
        assert.deepStrictEqual(lines(seen.attempts), ["openai/m failure ProviderUnavailable", "openai/m success"])
        assert.strictEqual(seen.text, "from openai")
      }
      // An outer fallback has its own rule.
      const outer = Route.restart(
        Route.fallback(
          Route.fallbackOn(both, () => false),
          deepseek
        ),
        1
      )
      const seen = yield* play({ openai: [half] }, outer, "hi", client)
      assert.deepStrictEqual(lines(seen.attempts), ["openai/m failure ProviderUnavailable", "deepseek/m success"])
    })
  )

  it.effect("applies the rule to the failure that broke the stream", () =>
    Effect.gen(function* () {
      const asked: Array<string> = []
      const both = Route.fallbackOn(Route.fallback(openai, groq), ({ reason }) => asked.push(reason._tag) > 0)
      const seen = yield* play({ openai: [half] }, Route.restart(both, 1), "hi", client)
      assert.strictEqual(seen.text, "from groq")
      assert.deepStrictEqual(asked, ["ProviderUnavailable"])
    })
  )

  it.effect("stays on the branch that a choice took, whatever its predicate returns the next time", () =>
    Effect.gen(function* () {
      let asked = 0
      // Called once before the run, and once in it.
      const turning = Route.when(() => asked++ < 2, Route.fallback(openai, groq), deepseek)
      const route = Route.restart(Route.fallback(anthropic, turning), 1)
      const seen = yield* play({ anthropic: [{ status: 503 }], openai: [half] }, route, "hi", client)
      assert.deepStrictEqual(lines(seen.attempts), [
        "anthropic/claude failure ProviderUnavailable",
        "openai/m failure ProviderUnavailable",
        "groq/m success"
      ])
    })
  )

  it.effect("repeats the choice by input, and calls no target of the other branch", () =>
    Effect.gen(function* () {
      const chosen = Route.when((input: Chat.Input) => input === "hi", Route.fallback(openai, groq), deepseek)
      const seen = yield* play({ openai: [half] }, Route.restart(chosen, 1), "hi", client)
      assert.deepStrictEqual(lines(seen.attempts), ["openai/m failure ProviderUnavailable", "groq/m success"])
    })
  )

  it.effect("a failure that stops the run stops the stream", () =>
    Effect.gen(function* () {
      const blocked = data({ name: "AiGatewayError", internalCode: 2017, error: [{ code: 2017, message: "no" }] })
      const seen = yield* play({ openai: [{ steps: [S.say("half"), blocked] }] }, route, "hi", client)
      assert.deepInclude({ ...interruption(seen) }, { partial: "half", failure: "ContentBlocked" })
      assert.strictEqual(seen.provider.bodies.length, 1)
    })
  )

  it.effect("logs one warning that names every target that failed", () =>
    Effect.gen(function* () {
      const said: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => {
        said.push(`${logLevel} ${JSON.stringify(message)}`)
      })
      yield* play({ openai: [half], groq: [{ status: 500 }] }, route, "hi", client).pipe(
        Effect.provide(Logger.layer([logger]))
      )
      assert.deepStrictEqual(said, [
        `Warn ["answered by deepseek/m after 2 failed attempts: openai/m: provider unavailable; groq/m: provider unavailable"]`
      ])
    })
  )
})
