import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Route from "effect-ai-gateway/Route"
import type { Admission } from "effect-ai-gateway/Router"
import * as Router from "effect-ai-gateway/Router"
import * as StreamResponse from "effect-ai-gateway/StreamResponse"
import { drive } from "./batch/support.ts"
import * as scripted from "./support/scripted.ts"
import { client, deepseek, gateway, groq, json, openai, play } from "./support/streamRuns.ts"

const both = Route.fallback(openai, groq)

/** A layer around the scripted one that records the operations of the router. */
const decorated = (script: scripted.Script = {}) => {
  const calls: Array<string> = []
  const { layer, seen } = scripted.make(script)
  const outer = Layer.effect(
    Router.Router,
    Effect.map(Router.Router, (router) =>
      Router.Router.of({
        ...router,
        run: (route, input, options) => {
          calls.push(`run ${JSON.stringify(input)}`)
          return router.run(route, input, options)
        },
        open: (route, input, options) => {
          calls.push(`open ${JSON.stringify(input)}`)
          return router.open(route, input, options)
        }
      })
    )
  )
  return { calls, seen, layer: Layer.provide(outer, layer) }
}

describe("a decorated router", () => {
  it.effect("sees every run and stream, however it is started", () =>
    Effect.gen(function* () {
      const { calls, layer, seen } = decorated()
      yield* Effect.gen(function* () {
        yield* Router.run(both, "a")
        yield* Effect.scoped(Effect.flatMap(Router.open(both, "b"), ({ deltas }) => Stream.runDrain(deltas)))
        yield* Stream.runDrain(Router.stream(both, "c"))
        const router = yield* Router.Router
        yield* Effect.scoped(Effect.flatMap(router.open(both, "d"), ({ deltas }) => Stream.runDrain(deltas)))
        const response = yield* StreamResponse.fromRoute(both, "e")
        yield* Effect.promise(() => response.text())
      }).pipe(Effect.provide(layer))
      assert.deepStrictEqual(calls, ['run "a"', 'open "b"', 'open "c"', 'open "d"', 'open "e"'])
      assert.strictEqual(seen.length, 5)
    })
  )

  it.effect("can fail a stream like any other operation", () =>
    Effect.gen(function* () {
      const refusing = Layer.effect(
        Router.Router,
        Effect.map(Router.Router, (router) =>
          Router.Router.of({ ...router, open: (route, input) => router.open(route, input, { execution: "gateway" }) })
        )
      )
      const { layer, seen } = scripted.make({})
      const slow = Route.deadline(Route.retry(openai, { attempts: 9 }), "1 second")
      const error = yield* Effect.flip(Stream.runDrain(Router.stream(slow, "x"))).pipe(
        Effect.provide(Layer.provide(refusing, layer))
      )
      assert.deepInclude(error.reason, { _tag: "InvalidRequest", field: "execution" })
      assert.strictEqual(seen.length, 0)
    })
  )
})

describe("an attempt reports its number and its cause", () => {
  const told = (
    attempts: ReadonlyArray<{ readonly target: string; readonly number?: number; readonly cause?: string }>
  ) => attempts.map(({ cause, number, target }) => `${number} ${target} ${cause}`)

  it.effect("on the client, also when it returns to a target that asked for a long wait", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make({
        openai: [{ status: 429, headers: { "retry-after": "30" } }],
        groq: [{ status: 503 }, { status: 503 }]
      })
      const route = Route.retry(both, { attempts: 2, delay: 10 })
      const { exit } = yield* drive(Effect.provide(Router.run(route, "x"), layer))
      assert.deepStrictEqual(exit._tag === "Success" && told(exit.value.attempts), [
        "1 openai/m first",
        "2 groq/m fallback",
        "3 groq/m retry",
        "4 openai/m retry"
      ])
    })
  )

  it.effect("in an error", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make(() => ({ status: 500 }))
      const error = yield* Effect.flip(Effect.provide(Router.run(both, "x"), layer))
      assert.deepStrictEqual(told(error.attempts ?? []), ["1 openai/m first", "2 groq/m fallback"])
    })
  )

  it.effect("when the gateway executes: a request for the rest of the legs is a fallback", () =>
    Effect.gen(function* () {
      const { attempts } = yield* play(
        { openai: [json({ choices: [] })] },
        Route.fallback(openai, groq, deepseek),
        "x",
        gateway
      )
      assert.deepStrictEqual(told(attempts), ["1 openai/m first", "2 groq/m fallback"])
    })
  )
})

describe("admission", () => {
  const counting = () => {
    const asked: Array<string> = []
    const admission: Admission = ({ make, remaining }) => {
      asked.push(remaining === undefined ? "admitted" : `admitted with ${remaining}`)
      return make(remaining, Effect.void)
    }
    return { admission, asked }
  }

  it.effect("is asked for every attempt, and keeps the run on the client", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted.make({ openai: [{ status: 500 }] }, "auto")
      const { admission, asked } = counting()
      const { execution } = yield* Effect.provide(Router.run(both, "x", { admission }), layer)
      assert.strictEqual(execution, "client")
      assert.deepStrictEqual(asked, ["admitted", "admitted"])
      assert.strictEqual(seen.length, 2)
    })
  )

  it.effect("is asked for streams too", () =>
    Effect.gen(function* () {
      const { admission, asked } = counting()
      const route = Route.deadline(both, "9 seconds")
      const { attempts } = yield* play({ openai: [{ status: 500 }] }, route, "x", client, { admission })
      assert.strictEqual(attempts.length, 2)
      assert.deepStrictEqual(asked, ["admitted with 9000", "admitted with 9000"])
    })
  )

  it.effect("is rejected if the gateway should execute", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted.make({})
      const { admission } = counting()
      const options = { admission, execution: "gateway" } as const
      const whole = yield* Effect.flip(Effect.provide(Router.run(both, "x", options), layer))
      const streamed = yield* Effect.flip(Effect.provide(Stream.runDrain(Router.stream(both, "x", options)), layer))
      for (const { reason } of [whole, streamed])
        assert.deepInclude(reason, { _tag: "InvalidRequest", field: "execution" })
      assert.strictEqual(seen.length, 0)
    })
  )
})
