/**
 * `Route.validate`: a rejected answer is a failure of its target, complete or streamed, on the client and in the
 * gateway.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Chat from "effect-ai-gateway/Chat"
import * as ErrorSchema from "effect-ai-gateway/ErrorSchema"
import type { Attempt, GatewayError } from "effect-ai-gateway/GatewayError"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as scripted from "./support/scripted.ts"
import {
  anthropic,
  client,
  gateway,
  groq,
  interruption,
  json,
  lines,
  openai,
  play,
  type Way,
  ways
} from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

const isGood = (reply: Chat.Reply): boolean | string => !reply.text.includes("bad") || "it says bad"
const both = Route.fallback(openai, groq)
const validated = Route.validate(both, isGood)
const bad = json(scripted.completion("bad"))
const good = json(scripted.completion("good"))

/** Runs a route against providers that answer in one piece. */
const ask = <In, Out>(script: S.Script, route: Route.Route<In, Out>, input: In, { backend, execution }: Way) => {
  const provider = S.scripted(script)
  return Effect.map(
    Effect.provide(
      Effect.result(Router.run(route, input, { execution, quiet: true })),
      backend.layer(provider.upstreams)
    ),
    (result) => ({ result, provider })
  )
}

const issues = (attempts: ReadonlyArray<Attempt> = []): ReadonlyArray<string | undefined> =>
  attempts.map(({ error, target }) =>
    error?._tag === "InvalidResponse" ? `${target}: ${error.issue} (${error.by})` : `${target}: ${error?._tag}`
  )

const failureOf = <A>(result: Result.Result<A, GatewayError>): GatewayError => {
  if (Result.isFailure(result)) return result.failure
  throw new Error("it did not fail")
}

describe("a run", () => {
  it.effect.each(ways)("calls the next target after a rejected answer: $name", (way) =>
    Effect.gen(function* () {
      const { provider, result } = yield* ask({ openai: [bad], groq: [good] }, validated, "hi", way)
      const { attempts, execution, target, value } = Result.getOrThrow(result)
      assert.deepStrictEqual([execution, target, value.text], [way.execution, "groq/m", "good"])
      assert.deepStrictEqual(issues(attempts), ["openai/m: validate: it says bad (validate)", "groq/m: undefined"])
      assert.deepStrictEqual(
        provider.bodies.map(({ provider }) => provider),
        ["openai", "groq"]
      )
    })
  )

  it.effect.each(ways)("records the tokens of a rejected answer, which was paid for: $name", (way) =>
    Effect.gen(function* () {
      const usage = { inputTokens: 1, outputTokens: 2, totalTokens: 3 }
      const { result } = yield* ask({ openai: [bad], groq: [good] }, validated, "hi", way)
      const whole = Result.getOrThrow(result).attempts
      const { attempts: inOnePiece } = yield* play({ openai: [bad] }, validated, "hi", way)
      const { attempts: streamed } = yield* play({ openai: [{ steps: S.words("bad") }] }, validated, "hi", way)
      assert.deepStrictEqual(whole[0]?.usage, usage)
      assert.deepStrictEqual(inOnePiece[0]?.usage, usage)
      assert.deepStrictEqual(streamed[0]?.usage, { inputTokens: 3, outputTokens: 4, totalTokens: 7 })
    })
  )

  it.effect.each(ways)("fails with the rejection of its last target: $name", (way) =>
    Effect.gen(function* () {
      const error = failureOf((yield* ask({ openai: [bad], groq: [bad] }, validated, "hi", way)).result)
      assert.deepInclude(error.reason, {
        _tag: "InvalidResponse",
        by: "validate",
        issue: "validate: it says bad",
        status: 200
      })
      assert.deepInclude(error, { ended: "attempts", provider: "groq" })
      assert.include(error.reason.detail ?? "", "bad")
      assert.isString(error.logId)
    })
  )

  it.effect("returns the answer unchanged, whatever the check decodes", () =>
    Effect.gen(function* () {
      const schema = Schema.Struct({ text: Schema.fromJsonString(Schema.Struct({ score: Schema.Number })) })
      const script = {
        openai: [json(scripted.completion("no JSON"))],
        groq: [json(scripted.completion(`{"score":1}`))]
      }
      const { result } = yield* ask(script, Route.validate(both, schema), "hi", client as Way)
      const { attempts, value } = Result.getOrThrow(result)
      assert.deepInclude(value, { text: `{"score":1}`, finishReason: "stop" })
      assert.deepStrictEqual(issues(attempts), [
        `openai/m: validate: expected a valid JSON string at ["text"] (validate)`,
        "groq/m: undefined"
      ])
    })
  )

  it.effect("runs all nested checks, the inner one first, with maps in between", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const route = both.pipe(
        Route.validate(({ text }) => seen.push(`inner ${text}`) > 0 && text !== "one"),
        Route.map(({ text }) => text.length),
        Route.validate((length) => seen.push(length) > 0 && length > 3)
      )
      const script = { openai: [json(scripted.completion("one"))], groq: [json(scripted.completion("two"))] }
      const { result } = yield* ask(script, route, "hi", client as Way)
      assert.deepStrictEqual(issues(failureOf(result).attempts), [
        "openai/m: validate: the predicate does not accept the answer (validate)",
        "groq/m: validate: the predicate does not accept the answer (validate)"
      ])
      assert.deepStrictEqual(seen, ["inner one", "inner two", 3])
    })
  )

  it.effect("repeats a rejected answer only if the policy says so, and then past the cache", () =>
    Effect.gen(function* () {
      const retried = Route.retry(validated, { attempts: 2, on: ["InvalidResponse"], delay: 0 })
      const { layer, seen } = scripted.make({ openai: [{ body: scripted.completion("bad") }, {}] })
      const once = yield* Effect.provide(Router.run(validated, "hi", { quiet: true }), layer)
      assert.strictEqual(once.target, "groq/m")
      assert.isUndefined(seen.find(({ headers }) => headers["cf-aig-skip-cache"] !== undefined))
      const again = scripted.make({
        openai: [{ body: scripted.completion("bad") }, { body: scripted.completion("good") }]
      })
      const { attempts, target } = yield* Effect.provide(Router.run(retried, "hi", { quiet: true }), again.layer)
      assert.deepStrictEqual([target, attempts.length], ["openai/m", 2])
      assert.deepStrictEqual(
        again.seen.map(({ headers }) => headers["cf-aig-skip-cache"]),
        [undefined, "true"]
      )
    })
  )

  it.effect("keeps an error in the body of a rejected answer out of the reason", () =>
    Effect.gen(function* () {
      const route = Route.make({
        provider: "openai",
        endpoint: "e",
        accept: "text",
        query: (q: string) => ({ q }),
        success: Schema.String
      }).pipe(Route.validate(() => false))
      const { layer } = scripted.make({ openai: [{ body: { error: { message: "Overloaded" } } }] })
      const error = yield* Effect.flip(Effect.provide(Router.run(route, "hi"), layer))
      assert.deepInclude(error.reason, { _tag: "InvalidResponse", by: "validate" })
    })
  )

  it.effect("does not open a breaker", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted.make(() => ({ body: scripted.completion("bad") }))
      const route = Route.circuitBreaker(validated, { minimumCalls: 2 })
      yield* Effect.gen(function* () {
        for (let i = 0; i < 5; i++) yield* Effect.flip(Router.run(route, "hi"))
      }).pipe(Effect.provide(layer))
      assert.strictEqual(seen.length, 10)
    })
  )

  it.effect("is won by the first accepted answer of a hedge or a race", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make(({ provider }) => ({
        body: scripted.completion(provider === "openai" ? "bad" : "good")
      }))
      for (const route of [Route.race(openai, groq), Route.hedge(both, { after: "1 second" })]) {
        const { target } = yield* Effect.provide(
          Router.run(Route.validate(route, isGood), "hi", { quiet: true }),
          layer
        )
        assert.strictEqual(target, "groq/m")
      }
    })
  )

  it.effect("dies with a predicate that throws or returns something else", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make({})
      const thrown = Route.validate(openai, ({ text }) => JSON.parse(text) === 1)
      const promised = Route.validate(openai, (() => Promise.resolve(false)) as unknown as () => boolean)
      for (const [route, says] of [
        [thrown, "JSON"],
        [promised, "true, false or a reason"]
      ] as const) {
        const exit = yield* Effect.exit(Effect.provide(Router.run(route, "hi"), layer))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
        assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", says)
      }
    })
  )

  it.effect("shows a reason on one line of at most 500 characters, and an empty one as none", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make({})
      const issueOf = (reason: string) =>
        Effect.map(
          Effect.flip(
            Effect.provide(
              Router.run(
                Route.validate(openai, () => reason),
                "hi"
              ),
              layer
            )
          ),
          (error) => (error.reason._tag === "InvalidResponse" ? error.reason.issue : undefined)
        )
      assert.strictEqual(yield* issueOf("a\n b"), "validate: a b")
      assert.strictEqual((yield* issueOf("x".repeat(600)))?.length, "validate: ".length + 500)
      assert.strictEqual(yield* issueOf(""), "validate: the predicate does not accept the answer")
    })
  )
})

describe("a stream", () => {
  const badWords = { steps: S.words("ba", "d", "bad") }
  const restarting = Route.restart(validated, 1)

  it.effect.each(ways)("delivers the deltas of a rejected answer without its finish, and breaks: $name", (way) =>
    Effect.gen(function* () {
      const seen = yield* play({ openai: [badWords] }, validated, "hi", way)
      assert.deepStrictEqual(
        seen.deltas.map(({ type }) => type),
        ["meta", "text", "text", "text", "usage"]
      )
      assert.deepInclude({ ...interruption(seen) }, { partial: "badbad", failure: "InvalidResponse", status: 200 })
      assert.deepStrictEqual(issues(seen.attempts), ["openai/m: validate: it says bad (validate)"])
      assert.deepStrictEqual(seen.summary?.usage, { inputTokens: 3, outputTokens: 4, totalTokens: 7 })
      assert.deepStrictEqual(
        seen.provider.bodies.map(({ state }) => state),
        ["ended"]
      )
    })
  )

  it.effect.each(ways)("restarts with the next target if the route allows it: $name", (way) =>
    Effect.gen(function* () {
      const { attempts, deltas, error, text } = yield* play({ openai: [badWords] }, restarting, "hi", way)
      assert.isUndefined(error)
      assert.strictEqual(text, "from groq")
      assert.strictEqual(deltas.filter(({ type }) => type === "restart").length, 1)
      assert.strictEqual(deltas.filter(({ type }) => type === "finish").length, 1)
      assert.deepStrictEqual(lines(attempts), ["openai/m failure InvalidResponse", "groq/m success"])
    })
  )

  it.effect.each(ways)("breaks when it was cut off inside a call, however lenient the check: $name", (way) =>
    Effect.gen(function* () {
      const call = { id: "c", type: "function", function: { name: "f", arguments: '{"a":' } }
      const choice = { index: 0, delta: { tool_calls: [{ index: 0, ...call }] }, finish_reason: "length" }
      const cut = { steps: [`data: ${JSON.stringify({ choices: [choice] })}\n\n`, S.usage, S.doneMark] }
      const seen = yield* play(
        { openai: [cut] },
        Route.validate(both, () => true),
        "hi",
        way
      )
      assert.deepInclude({ ...interruption(seen) }, { failure: "InvalidResponse" })
      assert.deepStrictEqual(issues(seen.attempts), ["openai/m: toolCalls[0].arguments: expected JSON (validate)"])
      const restarted = yield* play(
        { openai: [cut] },
        Route.restart(
          Route.validate(both, () => true),
          1
        ),
        "hi",
        way
      )
      assert.isUndefined(restarted.error)
      assert.strictEqual(restarted.text, "from groq")
    })
  )

  it.effect("restarts with the same target past the cache when it is the only one", () =>
    Effect.gen(function* () {
      const route = openai.pipe(Route.validate(isGood), Route.restart(1))
      const { error, provider, text } = yield* play({ openai: [badWords] }, route, "hi", client)
      assert.isUndefined(error)
      assert.strictEqual(text, "from openai")
      assert.strictEqual(provider.bodies.length, 2)
    })
  )

  it.effect.each(ways)("swaps out a rejected answer unnoticed when it arrived in one piece: $name", (way) =>
    Effect.gen(function* () {
      const { attempts, deltas, error, text } = yield* play({ openai: [bad] }, validated, "hi", way)
      assert.isUndefined(error)
      assert.strictEqual(text, "from groq")
      assert.isUndefined(deltas.find(({ type }) => type === "restart"))
      assert.deepStrictEqual(lines(attempts), ["openai/m failure InvalidResponse", "groq/m success"])
    })
  )

  it.effect.each(ways)("swaps out a rejected answer unnoticed when it is empty: $name", (way) =>
    Effect.gen(function* () {
      const route = Route.validate(
        Route.fallback(Provider.openai.chat("m", { allowEmpty: true }), groq),
        ({ text }) => text !== ""
      )
      const empty = { steps: [S.role, S.finish, S.usage, S.doneMark] }
      const { error, text } = yield* play({ openai: [empty] }, route, "hi", way)
      assert.isUndefined(error)
      assert.strictEqual(text, "from groq")
    })
  )

  it.effect("gives the check the answer that a run decodes, however its bytes are cut", () =>
    Effect.gen(function* () {
      const answers: Array<Chat.Reply> = []
      const route = Route.validate(Route.fallback(openai, anthropic), (reply) => answers.push(reply) > 0)
      const steps = S.words("Hel", "lo")
      for (const cut of [steps, [steps.join("")], [...steps.join("")]]) {
        const { deltas, error } = yield* play({ openai: [{ steps: cut }] }, route, "hi", client)
        assert.isUndefined(error)
        assert.deepStrictEqual(answers.pop(), Result.getOrThrow(Chat.collect(deltas)))
      }
      assert.strictEqual(answers.length, 0)
    })
  )

  it.effect("checks the mapped answer, and only once", () =>
    Effect.gen(function* () {
      const lengths: Array<number> = []
      const route = both.pipe(
        Route.map(({ text }) => text.length),
        Route.validate((length) => lengths.push(length) > 0 && length < 3)
      )
      const seen = yield* play({ openai: [{ steps: S.words("Hel", "lo") }] }, route, "hi", client)
      assert.strictEqual(interruption(seen).failure, "InvalidResponse")
      assert.deepStrictEqual(lengths, [5])
    })
  )

  it.effect("delivers deltas as they arrive, before the check", () =>
    Effect.gen(function* () {
      let judged = 0
      const route = Route.validate(openai, () => ++judged > 0)
      const provider = S.scripted({ openai: [{ steps: [S.role, S.say("a"), S.stall] }] })
      const first = yield* Router.stream(route, "hi").pipe(
        Stream.filter(({ type }) => type === "text"),
        Stream.take(1),
        Stream.runCollect,
        Effect.provide(client.backend.layer(provider.upstreams))
      )
      assert.strictEqual(first.length, 1)
      assert.strictEqual(judged, 0)
    })
  )

  it.effect.each([client, gateway])(
    "cannot check a target whose answer is not known, and sends nothing ($execution)",
    (way) =>
      Effect.gen(function* () {
        const own = Route.make({
          provider: "openai",
          endpoint: "chat/completions",
          query: (q: string) => ({ q }),
          success: Schema.Struct({}),
          stream: { decoder: () => Chat.openai.streaming?.decoder() ?? assert.fail(), reply: () => assert.fail() }
        }).pipe(Route.validate(() => true))
        const { error, provider } = yield* play({}, Route.fallback(own, own), "hi", way)
        assert.deepInclude(error?.reason, { _tag: "InvalidRequest", field: "openai/chat/completions: validate" })
        assert.strictEqual(provider.bodies.length, 0)
      })
  )

  it.effect("is checked in a custom dialect too", () =>
    Effect.gen(function* () {
      const { ofReply: _, ...dialect } = Chat.openai
      const route = Provider.openai.chat("m", { dialect }).pipe(Route.validate(isGood))
      const seen = yield* play({ openai: [badWords] }, route, "hi", client)
      assert.strictEqual(interruption(seen).failure, "InvalidResponse")
    })
  )

  it.effect("is not a success when its consumer stops before the check", () =>
    Effect.gen(function* () {
      const provider = S.scripted({ openai: [{ steps: [S.role + S.say("bad") + S.finish, S.stall] }] })
      const { attempts } = yield* Effect.scoped(
        Effect.gen(function* () {
          const opened = yield* Router.open(Route.validate(openai, isGood), "hi")
          yield* opened.deltas.pipe(
            Stream.takeUntil(({ type }) => type === "text"),
            Stream.runDrain
          )
          return yield* opened.summary
        })
      ).pipe(Effect.provide(client.backend.layer(provider.upstreams)))
      assert.deepStrictEqual(lines(attempts), ["openai/m interrupted"])
    })
  )
})

describe("a route with a check", () => {
  it("keeps the keys of its targets, beside the same ones without a check", () => {
    const route = Route.fallback(Route.validate(openai, isGood), openai, groq.pipe(Route.validate(isGood)))
    assert.deepStrictEqual(Route.targets(route), ["openai/m", "openai/m", "groq/m"])
    assert.deepStrictEqual(Route.targets(Route.map(route, ({ text }) => text)), ["openai/m", "openai/m", "groq/m"])
  })

  it("rejects a check that is neither a function nor a Schema", () => {
    const wrong = Route.validate(both, { type: "object" } as unknown as () => boolean)
    assert.deepStrictEqual(Route.problems(wrong), [
      { field: "validate", accepted: "a function of the answer, or a Schema" }
    ])
  })

  it("is shown, with its bounds unchanged", () => {
    const route = both.pipe(Route.validate(isGood), Route.validate(Schema.Struct({ text: Schema.NonEmptyString })))
    assert.strictEqual(
      Route.describe(route),
      [
        "validate by a schema",
        "  validate by a function",
        "    fallback",
        "      openai m (chat/completions)",
        "      groq m (chat/completions)"
      ].join("\n")
    )
    assert.include(Route.toMermaid(route), "openai/m<br/>validated")
    assert.deepStrictEqual(Route.bounds(route), Route.bounds(both))
  })

  it("compiles to a universal request without loss, and to a dynamic route with the loss `validate`", () => {
    assert.deepStrictEqual(Result.getOrThrow(Route.compile(validated, "hi")).losses, [])
    const kinds = Result.match(Route.compile(validated, "hi", "dynamic"), {
      onSuccess: () => [],
      onFailure: (losses) => losses.map(({ kind, target }) => `${kind} ${target}`)
    })
    assert.includeMembers([...kinds], ["validate openai/m", "validate groq/m"])
  })

  it("has a failure that can be stored", () => {
    const reason = { _tag: "InvalidResponse", by: "validate", issue: "validate: no" } as const
    const decoded = Schema.decodeUnknownSync(ErrorSchema.Reason)(reason)
    assert.deepInclude(decoded, reason)
    assert.deepStrictEqual(Schema.encodeSync(ErrorSchema.Reason)(decoded), reason)
  })
})
