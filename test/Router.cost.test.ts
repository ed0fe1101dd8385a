/**
 * The cost of runs: every attempt by its usage or by an estimate, and limits that are checked before anything is sent.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import type * as Chat from "effect-ai-gateway/Chat"
import type { GatewayError } from "effect-ai-gateway/GatewayError"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import * as Pricing from "effect-ai-gateway/Pricing"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { drive as driven } from "./batch/support.ts"
import { data } from "./fixtures/streams/drive.ts"
import * as scripted from "./support/scripted.ts"
import { consume, executions, groq, json, openai, overHttp } from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

const prices: Pricing.Prices = { "openai/m": { input: 100, output: 1000 }, "groq/m": { input: 10, output: 200 } }
const pricing = Pricing.make(prices)

/** Estimated tokens of a JSON text. */
const tokens = (json: unknown): number => Math.ceil(JSON.stringify(json).length / 3)
const bodyOf = (more: object = {}) => ({ model: "m", messages: [{ role: "user", content: "hi" }], ...more })
/** Tokens of the request that the targets send for "hi". */
const asked = tokens(bodyOf())
const usd = (input: number, output = 0, price = prices["openai/m"]): number =>
  (input * (price?.input ?? 0) + output * (price?.output ?? 0)) / 1_000_000

const isCost = (cost: Pricing.Cost | undefined, usd: number, estimatedUsd = 0, unpriced = 0): void => {
  assert.isDefined(cost)
  assert.closeTo(cost?.usd ?? Number.NaN, usd, 1e-12)
  assert.closeTo(cost?.estimatedUsd ?? Number.NaN, estimatedUsd, 1e-12)
  assert.strictEqual(cost?.unpriced, unpriced)
}

const answered = (prompt: number, completion: number, model = "m"): scripted.Line => ({
  body: {
    ...scripted.completion("yes", model),
    usage: { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion }
  }
})
const down: scripted.Line = { status: 503 }

const under = (script: scripted.Script, router: Router.Options = { pricing }, execution: Router.Execution = "client") =>
  scripted.make(script, execution, { router })

const run = <Out>(
  route: Route.Route<string, Out>,
  script: scripted.Script,
  options?: Router.RunOptions,
  router?: Router.Options
) => Effect.provide(Router.run(route, "hi", { budget: "none", ...options }), under(script, router).layer)

describe("the cost of a run", () => {
  it.effect("follows its usage, in the result, in the attempt and in the trail", () =>
    Effect.gen(function* () {
      const { attempts, value } = yield* LogTrail.collect(run(openai, { openai: [answered(10, 20)] }))
      isCost(value.cost, usd(10, 20))
      for (const [attempt] of [value.attempts, attempts]) {
        isCost(attempt?.cost, usd(10, 20))
        assert.deepStrictEqual(attempt?.usage, { inputTokens: 10, outputTokens: 20, totalTokens: 30 })
      }
    })
  )

  it.effect("is absent without prices, although the usage of attempts is reported", () =>
    Effect.gen(function* () {
      const ran = yield* run(openai, { openai: [answered(10, 20)] }, {}, {})
      assert.notProperty(ran, "cost")
      assert.notProperty(ran.attempts[0], "cost")
      assert.deepStrictEqual(ran.attempts[0]?.usage, ran.usage)
    })
  )

  it.effect("counts failed attempts by an estimate of their input", () =>
    Effect.gen(function* () {
      const route = Route.fallback(Route.retry(openai, { attempts: 2 }), groq)
      const ran = run(route, { openai: [down, down], groq: [answered(5, 6)] })
      const { attempts, cost } = yield* Effect.flatMap(driven(ran, 5), ({ exit }) => exit)
      isCost(cost, usd(5, 6, prices["groq/m"]), 2 * usd(asked))
      isCost(attempts[0]?.cost, 0, usd(asked))
      isCost(attempts[2]?.cost, usd(5, 6, prices["groq/m"]))
    })
  )

  it.effect("is in the error of a run that failed", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(run(Route.fallback(openai, groq), { openai: [down], groq: [down] }))
      isCost(error.cost, 0, usd(asked) + usd(asked, 0, prices["groq/m"]))
    })
  )

  it.effect("counts the losers of a race or a hedge", () =>
    Effect.gen(function* () {
      const slow: scripted.Line = { ...answered(7, 7), delay: 100 }
      for (const route of [Route.race(openai, groq), Route.fallback(openai, groq).pipe(Route.hedge({ after: 10 }))]) {
        const ran = run(route, { openai: [slow], groq: [answered(5, 6)] })
        const { attempts, cost } = yield* Effect.flatMap(driven(ran, 5), ({ exit }) => exit)
        assert.isTrue(attempts[0]?.superseded)
        isCost(cost, usd(5, 6, prices["groq/m"]), usd(asked))
      }
    })
  )

  it.effect("is zero for an answer from the cache, whatever its usage", () =>
    Effect.gen(function* () {
      const hit = { ...answered(10, 20), headers: { "cf-aig-cache-status": "HIT" } }
      isCost((yield* run(openai, { openai: [hit] })).cost, 0)
    })
  )

  it.effect("is estimated for an answer without usage, from its text and not from its body", () =>
    Effect.gen(function* () {
      const { usage: _, ...body } = scripted.completion("yes")
      const { cost, value } = yield* run(openai, { openai: [{ body }] })
      assert.strictEqual(value.text, "yes")
      isCost(cost, 0, usd(asked, tokens("yes")))
    })
  )

  it.effect("counts attempts without a price, and finds prices by target, then by answered and requested model", () =>
    Effect.gen(function* () {
      isCost((yield* run(openai, {}, {}, { pricing: Pricing.make({}) })).cost, 0, 0, 1)
      const all = { "openai/m": { input: 3, output: 0 }, "openai/m-1": { input: 2, output: 0 } }
      const cases: ReadonlyArray<readonly [Pricing.Prices, number]> = [
        [{ ...all, mine: { input: 1, output: 0 } }, 1],
        [all, 2],
        [{ "openai/m": all["openai/m"] }, 3]
      ]
      for (const [table, price] of cases) {
        const target = Provider.openai.chat("m", { key: "mine" })
        const script = { openai: [answered(10, 20, "m-1")] }
        const { cost } = yield* run(target, script, {}, { pricing: Pricing.make(table) })
        isCost(cost, (10 * price) / 1_000_000)
      }
    })
  )

  it.effect("uses the provider in the model's name behind compat", () =>
    Effect.gen(function* () {
      for (const name of ["openai/m", "openai/m-1", "compat/openai/m"]) {
        const table = Pricing.make({ [name]: { input: 100, output: 1000 } })
        const script = { compat: [answered(10, 20, "m-1")] }
        const { cost } = yield* run(Provider.compat.chat("openai/m"), script, {}, { pricing: table })
        isCost(cost, usd(10, 20))
      }
    })
  )

  it.effect("belongs to the leg that answered, when the gateway executes the route", () =>
    Effect.gen(function* () {
      const line = { ...answered(5, 6), headers: { "cf-aig-step": "1" } }
      const { layer } = under(() => line, { pricing })
      const route = Route.fallback(openai, groq)
      const { cost, target } = yield* Effect.provide(Router.run(route, "hi", { execution: "gateway" }), layer)
      assert.strictEqual(target, "groq/m")
      isCost(cost, usd(5, 6, prices["groq/m"]))
    })
  )

  it.effect("rejects invalid prices: no run begins", () =>
    Effect.gen(function* () {
      const bad = Pricing.make({ "openai/m": { input: -1, output: 1 } })
      for (const [given, field] of [
        [bad, 'pricing["openai/m"].input'],
        [prices as unknown as Pricing.Pricing, "pricing"],
        [null as unknown as Pricing.Pricing, "pricing"]
      ] as const) {
        const { layer, seen } = under({}, { pricing: given })
        const error = yield* Effect.flip(Effect.provide(Router.run(openai, "hi"), layer))
        assert.deepInclude(error.reason, { _tag: "InvalidRequest", field })
        assert.deepStrictEqual(seen, [])
      }
    })
  )
})

const streamed = <Out>(
  route: Route.Route<string, Out>,
  script: S.Script,
  options?: Router.RunOptions,
  each?: (delta: Chat.Delta) => Effect.Effect<void>
) =>
  Effect.suspend(() => {
    const { upstreams } = S.scripted(script)
    const layer = Router.layerWith({ pricing }).pipe(Layer.provideMerge(overHttp.layer(upstreams)))
    return Effect.provide(consume(route, "hi", { budget: "none", ...options }, each), layer)
  })

const streamBody = bodyOf({ stream: true, stream_options: { include_usage: true } })

describe("the cost of a stream", () => {
  for (const execution of executions) {
    it.effect(`is that of its usage, which comes last, executed by ${execution}`, () =>
      Effect.gen(function* () {
        const { attempts, summary } = yield* streamed(openai, { openai: [{ steps: S.words("a", "b") }] }, { execution })
        isCost(summary?.cost, usd(3, 4))
        isCost(attempts[0]?.cost, usd(3, 4))
        assert.deepStrictEqual(attempts[0]?.usage, { inputTokens: 3, outputTokens: 4, totalTokens: 7 })
      })
    )
  }

  it.effect("is the input and the delivered output when it broke", () =>
    Effect.gen(function* () {
      const { error } = yield* streamed(openai, { openai: [{ steps: [S.role, S.say("some words"), S.reset] }] })
      assert.strictEqual(error?.reason._tag, "StreamInterrupted")
      isCost(error?.cost, 0, usd(tokens(streamBody), tokens("some words")))
    })
  )

  it.effect("is the same when its consumer stops, and a restart adds to it", () =>
    Effect.gen(function* () {
      const steps = [S.role, S.say("some words"), S.reset]
      const route = Route.fallback(openai, groq).pipe(Route.restart(1))
      const { summary } = yield* streamed(route, { openai: [{ steps }], groq: [{ steps: S.words("x") }] })
      isCost(summary?.cost, usd(3, 4, prices["groq/m"]), usd(tokens(streamBody), tokens("some words")))

      const { upstreams } = S.scripted({ openai: [{ steps: [S.role, S.say("some words"), S.stall] }] })
      const layer = Router.layerWith({ pricing }).pipe(Layer.provideMerge(overHttp.layer(upstreams)))
      const left = yield* Effect.provide(
        Effect.scoped(
          Effect.gen(function* () {
            const opened = yield* Router.open(openai, "hi")
            yield* Stream.runDrain(Stream.take(opened.deltas, 2))
            return yield* opened.summary
          })
        ),
        layer
      )
      isCost(left.cost, 0, usd(tokens(streamBody), tokens("some words")))
    })
  )

  it.effect("does not use the first count of a stream that counts on the way, when it breaks", () =>
    Effect.gen(function* () {
      const early = data({ id: "c1", model: "m-1", choices: [], usage: { prompt_tokens: 50, completion_tokens: 1 } })
      const long = "word ".repeat(60)
      const { error } = yield* streamed(openai, { openai: [{ steps: [S.role, early, S.say(long), S.reset] }] })
      isCost(error?.cost, usd(50), usd(0, tokens(long)))
    })
  )
})

const refusal = (error: GatewayError) => ({
  tag: error.reason._tag,
  by: error.reason._tag === "Rejected" ? error.reason.by : undefined,
  field: error.reason._tag === "InvalidRequest" ? error.reason.field : undefined
})

describe("maxCost", () => {
  const short = Provider.openai.chat("m", { body: { max_tokens: 10 } })
  const cheap = Provider.groq.chat("m", { body: { max_tokens: 10 } })
  const shortBody = tokens(bodyOf({ max_tokens: 10 }))
  /** Maximum cost of the request. */
  const most = usd(shortBody, 10)

  it.effect("allows a request that fits exactly, and none that does not", () =>
    Effect.gen(function* () {
      isCost((yield* run(short, { openai: [answered(1, 1)] }, { maxCost: most })).cost, usd(1, 1))
      const { layer, seen } = under({})
      const error = yield* Effect.flip(Effect.provide(Router.run(short, "hi", { maxCost: most * 0.999 }), layer))
      assert.deepStrictEqual(refusal(error), { tag: "Rejected", by: "cost", field: undefined })
      assert.deepStrictEqual(error.attempts, [])
      assert.deepStrictEqual(
        error.skipped?.map(({ target }) => target),
        ["openai/m"]
      )
      isCost(error.cost, 0)
      assert.deepStrictEqual(seen, [])
    })
  )

  it.effect("skips targets that are too expensive, for complete answers and streams", () =>
    Effect.gen(function* () {
      const route = Route.fallback(short, cheap)
      const whole = yield* run(route, {}, { maxCost: most / 2 })
      assert.strictEqual(whole.target, "groq/m")
      assert.deepStrictEqual(
        whole.skipped.map(({ target }) => target),
        ["openai/m"]
      )
      const { summary } = yield* streamed(route, {}, { maxCost: most / 2 })
      assert.strictEqual(summary?.target, "groq/m")
      assert.deepStrictEqual(
        summary?.skipped.map(({ target }) => target),
        ["openai/m"]
      )
    })
  )

  it.effect("counts earlier spending, so a retry can be too expensive", () =>
    Effect.gen(function* () {
      const route = Route.retry(short, { attempts: 3, delay: 1 })
      const script = { openai: [down, down, answered(1, 1)] }
      const spent = usd(shortBody)
      const ran = (maxCost: number) => Effect.flatMap(driven(run(route, script, { maxCost }), 5), ({ exit }) => exit)
      assert.strictEqual((yield* ran(most + 2 * spent)).attempts.length, 3)
      const error = yield* Effect.flip(ran(most + 1.5 * spent))
      assert.strictEqual(error.reason.status, 503)
      assert.strictEqual(error.ended, "cost")
      assert.strictEqual(error.attempts?.length, 2)
      assert.deepStrictEqual(
        error.skipped?.map(({ reason }) => reason._tag === "Rejected" && reason.by),
        ["cost"]
      )
    })
  )

  it.effect("counts open attempts, so a race cannot spend the limit several times", () =>
    Effect.gen(function* () {
      const slow = { ...answered(1, 1), delay: 10 }
      const route = Route.race(short, Provider.openai.chat("m", { key: "b", body: { max_tokens: 10 } }))
      const table = Pricing.make({ ...prices, b: { input: 100, output: 1000 } })
      const ran = run(route, { openai: [slow, slow] }, { maxCost: most * 1.5 }, { pricing: table })
      const { attempts, skipped } = yield* Effect.flatMap(driven(ran, 5), ({ exit }) => exit)
      assert.strictEqual(attempts.length, 1)
      assert.deepStrictEqual(
        skipped.map(({ target }) => target),
        ["b"]
      )
    })
  )

  it.effect(
    "makes no hedge that is too expensive beside the late attempt, and calls its target when that one has failed",
    () =>
      Effect.gen(function* () {
        const script = { openai: [{ ...down, delay: 100 }] }
        const third = Provider.deepseek.chat("m", { body: { max_tokens: 10 } })
        const table = Pricing.make({ ...prices, "deepseek/m": { input: 1, output: 1 } })
        const route = Route.fallback(short, cheap, third).pipe(Route.hedge({ after: 10, max: 4 }))
        // Enough for the first failure and the second target, and for the first and the third side by side.
        const maxCost = most + usd(shortBody, 1, prices["groq/m"])
        const { layer } = under(script, { pricing: table })
        const told: Array<string> = []
        const ran = Effect.scoped(
          Effect.gen(function* () {
            yield* Router.listen((event) => {
              if ("target" in event && event._tag !== "RunEnded") {
                told.push([event._tag, event.target, ...("by" in event ? [event.by] : [])].join(" "))
              }
            })
            const whole = yield* Router.run(route, "hi", { maxCost })
            const purse = (yield* Router.snapshot)[0]?.purse
            return { whole, purse }
          })
        )
        const { purse, whole } = yield* Effect.flatMap(driven(Effect.provide(ran, layer), 5), ({ exit }) => exit)
        assert.deepStrictEqual(
          whole.attempts.map(({ cause, target }) => `${target} ${cause}`),
          ["openai/m first", "groq/m fallback"]
        )
        assert.deepStrictEqual(whole.skipped, [])
        assert.deepStrictEqual(
          told.filter((line) => !/^Attempt/.test(line)),
          ["Withheld groq/m cost"]
        )
        assert.strictEqual(purse, 30)
        const streamedBody = tokens(bodyOf({ max_tokens: 10, stream: true, stream_options: { include_usage: true } }))
        const all = { maxCost: usd(streamedBody, 10) + usd(streamedBody, 1, prices["groq/m"]) }
        const opened = Effect.scoped(Effect.flatMap(Router.open(route, "hi", all), ({ summary }) => summary))
        const again = Effect.provide(opened, under(script, { pricing: table }).layer)
        const { attempts } = yield* Effect.flatMap(driven(again, 5), ({ exit }) => exit)
        assert.deepStrictEqual(
          attempts.map(({ outcome, target }) => `${target} ${outcome}`),
          ["openai/m failure"]
        )
      })
  )

  it.effect("delays a target that is too expensive beside an open hedge until that one has failed", () =>
    Effect.gen(function* () {
      const script = { openai: [{ ...down, delay: 50 }], groq: [{ ...down, delay: 100 }] }
      const third = Provider.openai.chat("m", { key: "b", body: { max_tokens: 10 } })
      const table = Pricing.make({ ...prices, b: { input: 100, output: 1000 } })
      const route = Route.fallback(short, cheap, third).pipe(Route.hedge({ after: 10 }))
      const spent = usd(shortBody) + usd(shortBody, 0, prices["groq/m"])
      const ran = run(route, script, { maxCost: most + spent * 1.01 }, { pricing: table })
      const { attempts, skipped } = yield* Effect.flatMap(driven(ran, 5), ({ exit }) => exit)
      assert.deepStrictEqual(
        attempts.map(({ cause, target }) => `${target} ${cause}`),
        ["openai/m first", "groq/m hedge", "b fallback"]
      )
      assert.deepStrictEqual(skipped, [])
    })
  )

  it.effect("reads the output that a request allows in every dialect, and assumes 1,024 tokens otherwise", () =>
    Effect.gen(function* () {
      const input = { messages: [{ role: "user" as const, content: "hi" }], maxTokens: 500 }
      const one = { "google-ai-studio/g": { input: 0, output: 1000 }, "anthropic/c": { input: 0, output: 1000 } }
      const table = Pricing.make({ ...one, "openai/m": { input: 0, output: 1000 } })
      const chats = [Provider.openai.chat("m"), Provider.anthropic.messages("c"), Provider.googleAiStudio.chat("g")]
      for (const chat of chats) {
        const { layer, seen } = under({}, { pricing: table })
        const limited = (given: Chat.Input, maxCost: number) =>
          Effect.provide(Effect.flip(Router.run(chat, given, { maxCost })), layer)
        assert.strictEqual(refusal(yield* limited(input, 0.499)).by, "cost")
        assert.strictEqual(seen.length, 0)
        yield* Effect.exit(limited(input, 0.5))
        assert.strictEqual(seen.length, 1)
      }
      const error = yield* Effect.flip(run(openai, {}, { maxCost: 1.023 }, { pricing: table }))
      assert.strictEqual(refusal(error).by, "cost")
      assert.strictEqual((yield* run(openai, {}, { maxCost: 1.024 }, { pricing: table })).target, "openai/m")
    })
  )

  it.effect("is rejected out of range, without prices, without a price for a target, and in the gateway", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [Router.RunOptions, Router.Options, string]> = [
        [{ maxCost: -1 }, { pricing }, "maxCost"],
        [{ maxCost: Number.NaN }, { pricing }, "maxCost"],
        [{ maxCost: Number.POSITIVE_INFINITY }, { pricing }, "maxCost"],
        [{ maxCost: 1 }, {}, "maxCost"],
        [{ maxCost: 1 }, { pricing: Pricing.make({ "openai/m": { input: 1, output: 1 } }) }, "maxCost"],
        [{ maxCost: 1, execution: "gateway" }, { pricing }, "execution"]
      ]
      for (const [options, router, field] of cases) {
        const { layer, seen } = under({}, router)
        const route = Route.fallback(openai, groq)
        const whole = yield* Effect.flip(Effect.provide(Router.run(route, "hi", options), layer))
        assert.deepStrictEqual(refusal(whole), { tag: "InvalidRequest", by: undefined, field })
        const opened = Effect.scoped(Effect.flip(Router.open(route, "hi", options)))
        assert.strictEqual(refusal(yield* Effect.provide(opened, layer)).field, field)
        assert.deepStrictEqual(seen, [])
      }
    })
  )

  it.effect("makes auto run on the client", () =>
    Effect.gen(function* () {
      const { layer, seen } = under({}, { pricing }, "auto")
      const { execution } = yield* Effect.provide(Router.run(Route.fallback(openai, groq), "hi", { maxCost: 2 }), layer)
      assert.strictEqual(execution, "client")
      assert.deepStrictEqual(
        seen.map(({ provider }) => provider),
        ["openai"]
      )
    })
  )

  it.effect("returns the reservation of an interrupted attempt", () =>
    Effect.gen(function* () {
      const meter = pricing.meter(most * 1.5)
      const { layer } = under({ openai: [{ never: true }] }, { pricing: { ...pricing, meter: () => meter } })
      const fiber = yield* Effect.forkChild(Effect.provide(Router.run(short, "hi", { maxCost: most * 1.5 }), layer))
      yield* TestClock.adjust(1)
      yield* Fiber.interrupt(fiber)
      isCost(meter.total(), 0, usd(shortBody))
      const again = meter.begin([{ target: "openai/m", provider: "openai" }], bodyOf({ max_tokens: 10 }))
      assert.property(again, "end")
    })
  )
})

describe("Router.loggedCost", () => {
  const custom = (usd: number) => Route.options({ customCost: { totalCost: usd } })
  const upstreams: S.Script = (name) => (name === "openai" ? { status: 503 } : json(scripted.completion("hi")))
  const layer = Router.layer.pipe(Layer.provideMerge(overHttp.layer(S.scripted(upstreams).upstreams)))

  it.live("sums the costs in the logs of attempts, and counts those without one", () =>
    Effect.gen(function* () {
      const route = Route.fallback(openai, custom(0.25)(groq))
      const { attempts } = yield* Router.run(route, "hi", { execution: "client", quiet: true })
      const logged = yield* Router.loggedCost(attempts, { awaitLog: true })
      assert.deepStrictEqual(
        logged.attempts.map(({ target, usd = 0 }) => [target, usd]),
        [
          ["openai/m", 0],
          ["groq/m", 0.25]
        ]
      )
      assert.strictEqual(logged.usd, 0.25)
      const unknown = { ...attempts[1], logId: "01JADMCQQQBWH3NXZ5GCRN98DP" } as (typeof attempts)[number]
      const { logId: _, ...without } = unknown
      assert.deepInclude(yield* Router.loggedCost([unknown, without]), { usd: 0, missing: 2 })
    }).pipe(Effect.provide(layer))
  )
})
