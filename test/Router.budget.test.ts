/**
 * The budget of further attempts, and hedges that learn their delay.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { GatewayError } from "effect-ai-gateway/GatewayError"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { drive as driven } from "./batch/support.ts"
import * as scripted from "./support/scripted.ts"
import { groq, openai } from "./support/streamRuns.ts"

const drive = <A, E, R>(self: Effect.Effect<A, E, R>, step = 5): Effect.Effect<A, E, R> =>
  Effect.flatMap(driven(self, step), ({ exit }) => exit)

const down: scripted.Script = () => ({ status: 503 })

const countOf = (seen: ReadonlyArray<scripted.Seen>, provider: string): number =>
  seen.filter((one) => one.provider === provider).length

const fail = (
  route: Route.Route<string, unknown>,
  options?: Router.RunOptions
): Effect.Effect<GatewayError, unknown, Router.Router> => Effect.flip(Router.run(route, "hi", options))

const threeTimes = { attempts: 3, delay: 0 } as const

describe("the budget", () => {
  it.effect("exists by default: a total failure is not retried forever", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted.make(down)
      const errors = yield* drive(
        Effect.forEach(Array.from({ length: 200 }), () => fail(Route.retry(openai, threeTimes))).pipe(
          Effect.provide(layer)
        )
      )
      // 200 first attempts, a fifth of them again, and 3 per second for ten seconds.
      assert.strictEqual(seen.length, 200 + 40 + 30)
      assert.deepInclude(errors[0], { ended: "attempts" })
      assert.deepInclude(errors.at(-1), { ended: "budget" })
      assert.strictEqual(errors.at(-1)?.reason._tag, "ProviderUnavailable")
      assert.include(errors.at(-1)?.message, "ended by the budget")
    })
  )

  it.effect(
    "has one purse per provider, also for fallbacks to the same one; a fallback to another provider is free",
    () =>
      Effect.gen(function* () {
        const route = Route.fallback(Provider.openai.chat("a"), Provider.openai.chat("b"), groq)
        const { layer, seen } = scripted.make(({ provider }) => (provider === "openai" ? { status: 503 } : undefined))
        const strict = Router.layerWith({ execution: "client", budget: { ratio: 0.1, perSecond: 0 } })
        yield* drive(
          Effect.forEach(Array.from({ length: 100 }), () => Router.run(route, "hi")).pipe(
            Effect.provide(strict),
            Effect.provide(layer)
          )
        )
        assert.strictEqual(countOf(seen, "openai"), 110)
        assert.strictEqual(countOf(seen, "groq"), 100)
      })
  )

  it.effect("does not count runs that are excluded, and none at all with none", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted.make(down)
      const route = Route.retry(openai, threeTimes)
      yield* drive(
        Effect.forEach(Array.from({ length: 50 }), () => fail(route, { budget: "none" })).pipe(Effect.provide(layer))
      )
      assert.strictEqual(seen.length, 150)
      const none = Router.layerWith({ execution: "client", budget: "none" })
      yield* drive(
        Effect.forEach(Array.from({ length: 50 }), () => fail(route)).pipe(Effect.provide(none), Effect.provide(layer))
      )
      assert.strictEqual(seen.length, 300)
    })
  )

  it.effect("rejects a hedge that it cannot pay for, and the attempt continues", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted.make(() => ({ delay: 100, body: scripted.completion("late") }))
      const strict = Router.layerWith({ execution: "client", budget: { ratio: 0.1, perSecond: 0 } })
      const route = Route.hedge(Route.fallback(openai, groq), { after: 50 })
      const values = yield* drive(
        Effect.forEach(Array.from({ length: 50 }), () => Router.run(route, "hi")).pipe(
          Effect.provide(strict),
          Effect.provide(layer)
        )
      )
      assert.strictEqual(values.length, 50)
      assert.strictEqual(countOf(seen, "groq"), 5)
    })
  )

  it.effect("fails a run with its problem when it is invalid, before anything is sent", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted.make({})
      const wrong = Router.layerWith({ budget: { ratio: 2 } })
      const error = yield* drive(fail(openai).pipe(Effect.provide(wrong), Effect.provide(layer)))
      assert.deepInclude(error.reason, { _tag: "InvalidRequest", field: "budget.ratio" })
      assert.include(error.message, "Router.layerWith: invalid budget.ratio")
      const misspelt = Router.layerWith({ budgets: {} } as never)
      const stray = yield* drive(fail(openai).pipe(Effect.provide(misspelt), Effect.provide(layer)))
      assert.deepInclude(stray.reason, { _tag: "InvalidRequest", field: "budgets" })
      assert.strictEqual(seen.length, 0)
    })
  )
})

describe("a hedge with a learned delay", () => {
  const learning = (percentile: number, atMost?: number) =>
    Route.hedge(Route.fallback(openai, groq), { after: { percentile, ...(atMost !== undefined && { atMost }) } })

  it.effect("is rejected when its percentile allows more than the budget pays for", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted.make({})
      const error = yield* drive(fail(learning(0.7)).pipe(Effect.provide(layer)))
      assert.deepInclude(error.reason, { _tag: "InvalidRequest", field: "hedge.after.percentile" })
      assert.strictEqual(seen.length, 0)
      yield* drive(Router.run(learning(0.8), "hi").pipe(Effect.provide(layer)))
      yield* drive(Router.run(learning(0.7), "hi", { budget: "none" }).pipe(Effect.provide(layer)))
    })
  )

  it.effect("waits for atMost while it has too few samples, and without it hedges nothing", () =>
    Effect.gen(function* () {
      const slow = () =>
        scripted.make(({ provider }) =>
          provider === "openai" ? { delay: 300, body: scripted.completion("o") } : undefined
        )
      const none = slow()
      yield* drive(Router.run(learning(0.9), "hi").pipe(Effect.provide(none.layer)))
      assert.deepStrictEqual(
        none.seen.map(({ provider }) => provider),
        ["openai"]
      )
      const some = slow()
      const { attempts } = yield* drive(Router.run(learning(0.9, 100), "hi").pipe(Effect.provide(some.layer)))
      assert.deepStrictEqual(
        attempts.map(({ cause, target }) => `${target} ${cause}`),
        ["openai/m first", "groq/m hedge"]
      )
    })
  )

  it.effect("halves the tail for less than its budget, whatever the seed", () =>
    Effect.gen(function* () {
      for (const seed of [1, 2, 3]) {
        let state = seed
        const random = () => {
          state = (Math.imul(state, 1664525) + 1013904223) >>> 0
          return state / 2 ** 32
        }
        // One in 25 is ten times slower.
        const { layer, seen } = scripted.make(() => ({
          delay: random() < 0.04 ? 2_000 : 180 + Math.floor(random() * 40),
          body: scripted.completion("x")
        }))
        const router = Router.layerWith({ execution: "client", budget: { ratio: 0.06, perSecond: 0 } })
        const times = yield* drive(
          Effect.forEach(
            Array.from({ length: 3_000 }),
            () =>
              Effect.gen(function* () {
                const clock = yield* Effect.clockWith(Effect.succeed)
                const before = clock.currentTimeMillisUnsafe()
                yield* Router.run(learning(0.95), "hi")
                return clock.currentTimeMillisUnsafe() - before
              }),
            { concurrency: 60 }
          ).pipe(Effect.provide(router), Effect.provide(layer)),
          20
        )
        // Requests before the delay is learned are as slow as ever.
        const late = times.slice(300).toSorted((a, b) => a - b)
        assert.isBelow(late[Math.floor(late.length * 0.99)] ?? 0, 1_000, `seed ${seed}`)
        assert.isAtMost(seen.length / 3_000, 1.06, `seed ${seed}`)
        assert.isAbove(countOf(seen, "groq"), 20)
      }
    })
  )
})
