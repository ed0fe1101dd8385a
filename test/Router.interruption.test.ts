/**
 * Runs that are interrupted between any two of their steps leave nothing behind in the state of the router.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as scripted from "./support/scripted.ts"
import { groq, openai } from "./support/streamRuns.ts"

const idle = Route.balance([openai, groq], { by: "leastInFlight" })

/**
 * Yields after every few operations of the fiber, so that it can be interrupted there. With fewer than three it never
 * progresses.
 */
const inSteps = <A, E, R>(self: Effect.Effect<A, E, R>, operations: number): Effect.Effect<A, E, R> =>
  Effect.provideService(self, References.MaxOpsBeforeYield, operations)

const kinds = [
  { name: "a run", start: Effect.asVoid(Router.run(openai, "hi")) },
  { name: "a stream", start: Stream.runDrain(Router.stream(openai, "hi")) },
  { name: "a hedge", start: Effect.asVoid(Router.run(Route.hedge(openai, { after: 10 }), "hi")) },
  { name: "a run in the gateway", start: Effect.asVoid(Router.run(openai, "hi", { execution: "gateway" })) }
]

describe.each(kinds)("$name", ({ start }) => {
  it.effect("leaves nothing in flight, wherever it is interrupted, and each attempt that began has ended", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted.make(() => ({
        body: scripted.completion("x"),
        after: Effect.repeat(Effect.yieldNow, { times: 3 })
      }))
      yield* Effect.gen(function* () {
        let began = 0
        for (let steps = 0; steps < 600; steps++) {
          const before = seen.length
          const { attempts } = yield* LogTrail.collect(
            Effect.gen(function* () {
              const fiber = yield* Effect.forkChild(inSteps(Effect.exit(start), 3 + (steps % 3)))
              for (let step = 0; step < steps / 3; step++) yield* Effect.yieldNow
              yield* Fiber.interrupt(fiber)
            })
          )
          // Every sent request is reported.
          if (seen.length > before) {
            began++
            assert.strictEqual(attempts.length, seen.length - before, `after ${steps} steps`)
          }
          const { attempts: next } = yield* Router.run(idle, "hi")
          assert.strictEqual(next[0]?.target, "openai/m", `after ${steps} steps`)
        }
        assert.isAbove(began, 20)
      }).pipe(Effect.provide(layer))
    })
  )
})
