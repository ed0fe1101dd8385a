/**
 * Races and hedges inside other nodes, with functions that throw, budgets and restarts.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Attempt } from "effect-ai-gateway/GatewayError"
import * as Limiter from "effect-ai-gateway/Limiter"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { drive as driven } from "./batch/support.ts"
import * as scripted from "./support/scripted.ts"
import { consume, deepseek, groq, openai, overHttp } from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

type Chat = Route.Route<string, { readonly text: string }>

const drive = <A, E, R>(self: Effect.Effect<A, E, R>, step = 5): Effect.Effect<A, E, R> =>
  Effect.flatMap(driven(self, step), ({ exit }) => exit)

const slow = (delay: number): scripted.Line => ({ delay, body: scripted.completion("late") })
const down = (delay = 0): scripted.Line => ({ delay, status: 503 })

const calls = ({ attempts }: { readonly attempts: ReadonlyArray<Attempt> }) =>
  attempts.map(({ cause, target }) => `${target} ${cause}`)

const run = (route: Chat, script: scripted.Script, options?: Router.RunOptions) =>
  Effect.suspend(() => drive(Router.run(route, "hi", options).pipe(Effect.provide(scripted.make(script).layer))))

describe("a function of the caller that throws", () => {
  const boom = (): never => {
    throw new Error("boom")
  }
  const throwing = Route.mapInput(groq, boom)

  const defectOf = (route: Chat, script: scripted.Script) =>
    Effect.map(
      Effect.exit(Effect.timeout(run(route, script, { budget: "none" }), "20 seconds")),
      (exit) => Exit.isFailure(exit) && Cause.hasDies(exit.cause) && /boom/.test(Cause.pretty(exit.cause))
    )

  it.effect.each([
    {
      name: "fallbackOn of a race",
      route: Route.fallbackOn(Route.race(openai, groq), boom),
      script: { openai: [down()] }
    },
    {
      name: "fallbackOn of a hedge",
      route: Route.hedge(Route.fallbackOn(Route.fallback(openai, groq), boom), { after: 100 }),
      script: { openai: [down()] }
    },
    {
      name: "mapInput of a hedge's next target",
      route: Route.hedge(Route.fallback(openai, throwing), { after: 100 }),
      script: { openai: [down()] }
    },
    { name: "mapInput in a race", route: Route.race(openai, throwing), script: { openai: [slow(50)] } },
    {
      name: "a condition in a hedge",
      route: Route.hedge(Route.fallback(openai, Route.when(boom, groq, deepseek)), { after: 100 }),
      script: { openai: [down()] }
    }
  ])("is a defect of the run: $name", ({ route, script }) =>
    Effect.gen(function* () {
      assert.isTrue(yield* defectOf(route, script))
    })
  )

  it.live("is a defect of the run also when the clock calls it, and never an exception of the process", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make({ openai: [slow(200)] })
      const route = Route.hedge(Route.fallback(openai, throwing), { after: 10 })
      // An uncaught exception fails the complete test run.
      const exit = yield* Effect.exit(Router.run(route, "hi").pipe(Effect.provide(layer)))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
    })
  )
})

describe("a hedge", () => {
  it.effect("calls the next target at once after a failure, also inside a fallback that it has entered", () =>
    Effect.gen(function* () {
      const route = Route.hedge(Route.fallback(openai, Route.fallback(groq, deepseek)), { after: 10 })
      const ran = yield* Effect.timeout(run(route, { openai: [down(30)], groq: [{ never: true }] }), "20 seconds")
      assert.deepStrictEqual(calls(ran), ["openai/m first", "groq/m hedge", "deepseek/m fallback"])
    })
  )

  it.effect("calls no target that no failure leads to", () =>
    Effect.gen(function* () {
      const route = Route.fallback(openai, groq).pipe(Route.fallbackOn([]), Route.hedge({ after: 10 }))
      assert.deepStrictEqual(calls(yield* run(route, { openai: [slow(50)] })), ["openai/m first"])
      assert.strictEqual(Route.bounds(route).attempts, 1)
    })
  )

  it.effect.each([
    { name: "off", inner: Route.hedge(groq, "off") },
    { name: "an own clock", inner: Route.hedge(Route.fallback(groq, Provider.mistral.chat("m")), { after: 1_000 }) }
  ])("has no clock left from a failed target where the next one has: $name", ({ inner }) =>
    Effect.gen(function* () {
      const route = Route.hedge(Route.fallback(openai, inner, deepseek), { after: 20 })
      const ran = yield* run(route, { openai: [down(5)], groq: [slow(100)] })
      assert.deepStrictEqual(calls(ran), ["openai/m first", "groq/m fallback"])
    })
  )

  it.effect("goes to a balance that has a target whose breaker is closed", () =>
    Effect.gen(function* () {
      let isUp = false
      const { layer } = scripted.make(({ provider }) =>
        provider === "openai" ? slow(100) : provider === "groq" && !isUp ? down() : undefined
      )
      const breaker = Route.circuitBreaker({ minimumCalls: 2, openFor: "60 seconds" })
      const balanced = Route.fallback(openai, Route.balance([groq, deepseek], { by: "roundRobin" }))
      const ran = yield* drive(
        Effect.gen(function* () {
          yield* Effect.exit(Router.run(breaker(groq), "hi"))
          yield* Effect.exit(Router.run(breaker(groq), "hi"))
          isUp = true
          return yield* Router.run(balanced.pipe(breaker, Route.hedge({ after: 10 })), "hi")
        }).pipe(Effect.provide(layer))
      )
      assert.strictEqual(ran.target, "deepseek/m")
    })
  )

  it.effect("is paid for once, by the provider that is late", () =>
    Effect.gen(function* () {
      const [a, b, c] = [Provider.openai.chat("a"), Provider.openai.chat("b"), Provider.openai.chat("c")] as const
      const replies = [down(), slow(100)]
      const { layer } = scripted.make(() => replies.shift())
      // Two further attempts: the fallback and the hedge.
      const strict = Router.layerWith({ execution: "client", budget: { ratio: 0.001, perSecond: 0.2 } })
      const route = Route.fallback(a, Route.hedge(Route.fallback(b, c), { after: 10 }))
      const ran = yield* drive(Router.run(route, "hi").pipe(Effect.provide(strict), Effect.provide(layer)))
      assert.deepStrictEqual(calls(ran), ["openai/a first", "openai/b fallback", "openai/c hedge"])
    })
  )
})

describe("the budget", () => {
  it.effect("never returns to a rejected fallback, whatever hint the target before it gave", () =>
    Effect.gen(function* () {
      const [a, b] = [Provider.openai.chat("a"), Provider.openai.chat("b")] as const
      const { layer } = scripted.make(({ body, provider }) => {
        const text = JSON.stringify(body)
        if (provider === "groq") return down(11_000)
        if (text.includes('"x"')) return down()
        return text.includes('"a"') ? { status: 429, headers: { "retry-after": "60" } } : undefined
      })
      const strict = Router.layerWith({ execution: "client", budget: { ratio: 0.01, perSecond: 0.1 } })
      const policy = { attempts: 2, delay: 0, maxDelay: "5 seconds" } as const
      const exit = yield* drive(
        Effect.gen(function* () {
          // It takes all of the budget.
          yield* Effect.exit(Router.run(Route.retry(Provider.openai.chat("x"), { attempts: 2, delay: 0 }), "hi"))
          return yield* Effect.result(Router.run(Route.retry(Route.fallback(a, b, groq), policy), "hi"))
        }).pipe(Effect.provide(strict), Effect.provide(layer)),
        500
      )
      const { attempts = [] } = exit._tag === "Success" ? exit.success : exit.failure
      assert.isAbove(attempts.length, 2)
      assert.isFalse(attempts.some(({ target }) => target === "openai/b"))
    })
  )
})

describe("a restart", () => {
  const broken: S.Reply = { steps: [S.role, S.say("x"), { wait: 10 }, S.reset] }

  it.effect("calls the targets of a race that were never called", () =>
    Effect.gen(function* () {
      const { direct } = S.scripted({ openai: [broken], groq: [{ silent: true }, { status: 503 }] })
      const route = Route.restart(Route.race(openai, Route.fallback(groq, deepseek)), 1)
      assert.strictEqual((yield* drive(consume(route, "hi").pipe(Effect.provide(direct)))).text, "from deepseek")
    })
  )

  it.effect("moves to the next target of a race that is called in order", () =>
    Effect.gen(function* () {
      const { direct } = S.scripted({ openai: [broken] })
      const stored = Provider.openai.chat("m", { body: { store: true } })
      const route = Route.restart(Route.race(stored, groq), 1)
      assert.strictEqual((yield* drive(consume(route, "hi").pipe(Effect.provide(direct)))).text, "from groq")
    })
  )

  it.effect("moves to the next target of a race that the gateway executed", () =>
    Effect.gen(function* () {
      const { upstreams } = S.scripted({ openai: [broken] })
      const streamed = consume(Route.restart(Route.race(openai, groq), 1), "hi", {
        execution: "gateway",
        allow: ["race"]
      })
      assert.strictEqual((yield* drive(streamed.pipe(Effect.provide(overHttp.layer(upstreams))))).text, "from groq")
    })
  )

  it.effect("keeps this run's order of an abandoned balance", () =>
    Effect.gen(function* () {
      const { direct } = S.scripted({ openai: [broken], deepseek: [{ silent: true }, { status: 503 }] })
      const balanced = Route.balance([groq, deepseek], { by: "weight", weights: [0, 1] })
      const { attempts, text } = yield* drive(
        consume(Route.restart(Route.race(openai, balanced), 1), "hi").pipe(Effect.provide(direct))
      )
      assert.strictEqual(text, "from groq")
      assert.deepStrictEqual(
        attempts.map(({ target }) => target),
        ["openai/m", "deepseek/m", "deepseek/m", "groq/m"]
      )
    })
  )
})

describe("the end of a run", () => {
  it.effect("matches the failure that it reports, not that of another branch", () =>
    Effect.gen(function* () {
      const route = Route.race(Route.fallbackOn(Route.fallback(openai, groq), []), deepseek)
      const error = yield* Effect.flip(run(route, { openai: [down(5)], deepseek: [down(20)] }))
      assert.deepInclude({ ...error, attempts: [] }, { ended: "attempts", provider: "deepseek" })
    })
  )
})

describe("a hedge under a shared limiter", () => {
  it.effect("opens no other target when it is rejected, and calls its own when the late one has failed", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ concurrency: 1 })
      const script = { openai: [down(200)], groq: [slow(250), slow(0)] }
      const { layer } = scripted.make(script, "client", { router: { limiter } })
      const busy = Route.limits(groq, { queue: { maxWait: "5 seconds" } })
      const route = Route.hedge(Route.fallback(openai, busy, deepseek), { after: 100 })
      const both = Effect.all([Router.run(busy, "hi"), Router.run(route, "hi")], { concurrency: 2 })
      const [, ran] = yield* drive(Effect.provide(both, layer))
      assert.deepStrictEqual(calls(ran), ["openai/m first", "groq/m fallback"])
      assert.deepStrictEqual(ran.attempts[1]?.waited, Duration.millis(50))
      assert.deepStrictEqual(ran.skipped, [])
    })
  )
})
