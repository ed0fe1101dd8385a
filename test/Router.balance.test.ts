/**
 * Balances: the target that a run calls first, and the order of its fallbacks.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { drive as driven } from "./batch/support.ts"
import * as scripted from "./support/scripted.ts"
import { client, deepseek, groq, openai, play } from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

const drive = <A, E, R>(self: Effect.Effect<A, E, R>, step = 5): Effect.Effect<A, E, R> =>
  Effect.flatMap(driven(self, step), ({ exit }) => exit)

const three = [openai, groq, deepseek] as const

/** The targets that many runs called, in order, by run. */
const called = (
  route: Route.Route<string, unknown>,
  runs: ReadonlyArray<Router.RunOptions>,
  script: scripted.Script = {},
  concurrency: number | "unbounded" = 1
) => {
  const { layer } = scripted.make(script)
  return drive(
    Effect.forEach(
      runs,
      (options) => Effect.map(Router.run(route, "hi", options), ({ attempts }) => attempts.map(({ target }) => target)),
      { concurrency }
    ).pipe(Effect.provide(layer))
  )
}

const times = (count: number, options: Router.RunOptions = {}): ReadonlyArray<Router.RunOptions> =>
  Array.from({ length: count }, () => options)

const share = (orders: ReadonlyArray<ReadonlyArray<string>>, target: string): number =>
  orders.filter(([first]) => first === target).length / orders.length

describe("by weight", () => {
  it.effect(
    "calls a target first in proportion to its weight, and never with a weight of 0 while another is well",
    () =>
      Effect.gen(function* () {
        const route = Route.balance(three, { by: "weight", weights: [3, 1, 0] })
        const orders = yield* called(route, times(2_000))
        assert.closeTo(share(orders, "openai/m"), 0.75, 0.04)
        assert.closeTo(share(orders, "groq/m"), 0.25, 0.04)
        assert.strictEqual(share(orders, "deepseek/m"), 0)
        const down = yield* called(route, times(20), ({ provider }) =>
          provider === "deepseek" ? undefined : { status: 503 }
        )
        for (const order of down) {
          assert.strictEqual(order.length, 3)
          assert.strictEqual(order[2], "deepseek/m")
        }
      })
  )
})

describe("in turn", () => {
  it.effect("is smooth, and equal balances of a router share one counter", () =>
    Effect.gen(function* () {
      const make = () => Route.balance([openai, groq, deepseek], { by: "roundRobin", weights: [5, 1, 1] })
      const { layer } = scripted.make({})
      const first = yield* drive(
        Effect.forEach(Array.from({ length: 14 }), () => Router.run(make(), "hi")).pipe(Effect.provide(layer))
      )
      const letters: Readonly<Record<string, string>> = { "openai/m": "a", "groq/m": "b", "deepseek/m": "c" }
      assert.strictEqual(first.map(({ target }) => letters[target]).join(""), "aabacaaaabacaa")
    })
  )
})

describe("by what is in flight", () => {
  it.effect("fills targets evenly, by weight", () =>
    Effect.gen(function* () {
      const slow: scripted.Script = () => ({ delay: 100, body: scripted.completion("x") })
      const even = yield* called(Route.balance(three, { by: "leastInFlight" }), times(30), slow, "unbounded")
      for (const target of ["openai/m", "groq/m", "deepseek/m"]) assert.closeTo(share(even, target), 1 / 3, 0.01)
      const weighed = Route.balance([openai, groq], { by: "leastInFlight", weights: [3, 1] })
      assert.closeTo(share(yield* called(weighed, times(40), slow, "unbounded"), "openai/m"), 0.75, 0.03)
    })
  )
})

describe("by latency", () => {
  it.effect("prefers the faster target, and a target that fails at once never looks fast", () =>
    Effect.gen(function* () {
      const route = Route.balance([openai, groq], { by: "latency" })
      const script: scripted.Script = ({ provider }) => ({
        delay: provider === "openai" ? 400 : 20,
        body: scripted.completion("x")
      })
      const orders = yield* called(route, times(200), script)
      assert.isAbove(share(orders, "groq/m"), 0.9)
      const failing = yield* called(Route.balance([openai, groq], { by: "latency" }), times(60), ({ provider }) =>
        provider === "openai" ? { status: 503 } : { delay: 200, body: scripted.completion("x") }
      )
      // Without observations it is neither preferred as fast nor avoided. Breakers handle that.
      assert.isTrue(failing.every((order) => order.at(-1) === "groq/m"))
    })
  )
})

describe("by session", () => {
  const route = Route.balance(three, { by: "session" })
  const sessions = Array.from({ length: 60 }, (_, i) => ({ session: `session-${i}` }))

  it.effect("sends a session to the same target each time, and its fallbacks are the same too", () =>
    Effect.gen(function* () {
      const once = yield* called(route, sessions)
      const again = yield* called(route, sessions)
      assert.deepStrictEqual(again, once)
      assert.strictEqual(new Set(once.flat()).size, 3)
      const down: scripted.Script = ({ provider }) => (provider === "openai" ? { status: 503 } : undefined)
      const without = yield* called(route, sessions, down)
      const without2 = yield* called(route, sessions, down)
      assert.deepStrictEqual(without2, without)
      for (const [i, order] of once.entries()) {
        // Only the sessions of the missing target have moved.
        if (order[0] !== "openai/m") assert.deepStrictEqual(without[i], order)
        else assert.strictEqual(without[i]?.[0], "openai/m")
      }
    })
  )

  it.effect("moves a session while its target has far more than its share", () =>
    Effect.gen(function* () {
      const slow: scripted.Script = () => ({ delay: 100, body: scripted.completion("x") })
      const orders = yield* called(route, times(40, { session: "hot" }), slow, "unbounded")
      for (const target of ["openai/m", "groq/m", "deepseek/m"]) {
        assert.isAtMost(share(orders, target) * 40, Math.ceil((1.25 * 41) / 3))
      }
    })
  )

  it.effect("balances by weight without a session, and rejects an invalid one", () =>
    Effect.gen(function* () {
      const orders = yield* called(route, times(300))
      assert.closeTo(share(orders, "openai/m"), 1 / 3, 0.1)
      const { layer, seen } = scripted.make({})
      for (const session of ["", "x".repeat(1_025), 7 as never]) {
        const error = yield* Effect.flip(Router.run(route, "hi", { session })).pipe(Effect.provide(layer))
        assert.deepInclude(error.reason, { _tag: "InvalidRequest", field: "session" })
      }
      assert.strictEqual(seen.length, 0)
    })
  )
})

describe("a balance among others", () => {
  it.effect("repeats the same target by its policy, and continues in its own order", () =>
    Effect.gen(function* () {
      const route = Route.retry(Route.balance(three, { by: "session" }), { attempts: 2, delay: 0 })
      const [order = []] = yield* called(route, [{ session: "s" }], ({ provider }) =>
        provider === "groq" ? undefined : { status: 503 }
      )
      const firsts = order.filter((target, i) => target !== order[i - 1])
      assert.strictEqual(firsts.at(-1), "groq/m")
      for (const target of firsts.slice(0, -1)) assert.strictEqual(order.filter((one) => one === target).length, 2)
    })
  )

  it.effect("is hedged in its own order, and can be inside a race", () =>
    Effect.gen(function* () {
      const balanced = Route.balance([openai, groq], { by: "session" })
      const [[first = ""] = []] = yield* called(balanced, [{ session: "s" }])
      const slow = first.split("/")[0]
      const late: scripted.Script = ({ provider }) =>
        provider === slow ? { delay: 500, body: scripted.completion("late") } : undefined
      const [hedged = []] = yield* called(Route.hedge(balanced, { after: 50 }), [{ session: "s" }], late)
      assert.strictEqual(hedged.length, 2)
      assert.strictEqual(hedged[0], first)
      const raced = Route.balance([Route.race(openai, groq), deepseek], { by: "weight", weights: [1, 0] })
      assert.deepStrictEqual(yield* called(raced, times(1)), [["openai/m", "groq/m"]])
    })
  )

  it.effect("restarts a broken stream with the next target of this run's order", () =>
    Effect.gen(function* () {
      const route = Route.restart(Route.balance([openai, groq], { by: "weight", weights: [0, 1] }), 1)
      const { attempts, text } = yield* drive(
        play(
          { groq: [{ steps: [...S.words("x").slice(0, 2), S.reset] }], openai: [{ steps: S.words("again") }] },
          route,
          "hi",
          client
        )
      )
      assert.strictEqual(text, "again")
      assert.deepStrictEqual(
        attempts.map(({ target }) => target),
        ["groq/m", "openai/m"]
      )
    })
  )

  it.effect("keeps a session's stream at its target", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make({})
      const route = Route.balance([openai, groq], { by: "session" })
      const open = Effect.scoped(
        Effect.flatMap(Router.open(route, "hi", { session: "s" }), ({ deltas, target }) =>
          Effect.map(Stream.runDrain(deltas), target)
        )
      )
      const targets = yield* drive(Effect.all([open, open, open]).pipe(Effect.provide(layer)))
      assert.strictEqual(new Set(targets).size, 1)
    })
  )
})

describe("as data", () => {
  const weighed = Route.balance([openai, groq], { by: "weight", weights: [3, 1] })

  it("is printed, drawn, stored and bounded", () => {
    assert.include(Route.describe(weighed), "balance by weight, weights 3, 1\n  openai m")
    assert.include(Route.toMermaid(weighed), 'n1{{"by weight, weights 3, 1"}}')
    const json = Result.getOrThrow(Route.toJson(weighed))
    assert.deepStrictEqual(json.route, {
      balance: [
        { provider: "openai", model: "m" },
        { provider: "groq", model: "m" }
      ],
      by: "weight",
      weights: [3, 1]
    })
    const back = Result.getOrThrow(Route.fromJson(JSON.parse(JSON.stringify(json))))
    assert.strictEqual(Route.describe(back), Route.describe(weighed))
    assert.deepInclude(Route.bounds(Route.retry(weighed, { attempts: 2 })), { attempts: 4, concurrent: 1 })
  })

  it("is a loss for the gateway, which keeps the declared order if that is allowed", () => {
    const lost = Result.getOrThrow(Result.flip(Route.compile(weighed, "hi")))
    assert.deepStrictEqual(
      lost.map(({ kind }) => kind),
      ["balance"]
    )
    const compiled = Result.getOrThrow(Route.compile(weighed, "hi", "universal", { allow: ["balance"] }))
    assert.deepStrictEqual(compiled.keys, ["openai/m", "groq/m"])
  })

  it.each([
    ["balance.by", { by: "luck" }],
    ["balance.by", {}],
    ["balance.weights", { by: "weight", weights: [1] }],
    ["balance.weights", { by: "weight", weights: [0, 0] }],
    ["balance.weights[1]", { by: "weight", weights: [1, -1] }],
    ["balance.weights[0]", { by: "weight", weights: [Number.NaN, 1] }],
    ["balance.weights", { by: "weight", weights: 3 }],
    ["balance.weights[1]", { by: "weight", weights: Array.of<number | undefined>(1, undefined) }],
    ["balance.weights[0]", { by: "weight", weights: Object.assign(new Array<number>(2), { 1: 1 }) }],
    ["balance", "weight"],
    ["balance", undefined],
    ["balance.seed", { by: "weight", seed: 1 }]
  ])("names the problem %s", (field, options) => {
    const fields = Route.problems(Route.balance([openai, groq], options as never)).map((problem) => problem.field)
    assert.include(fields, field)
  })

  it("names an empty list", () => {
    const empty = Route.balance([] as never, { by: "weight" })
    assert.include(
      Route.problems(empty).map(({ field }) => field),
      "balance"
    )
  })
})
