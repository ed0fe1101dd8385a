/**
 * Waits for limits as attempts record them, on the clock of this machine.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as scripted from "./support/scripted.ts"
import { openai } from "./support/streamRuns.ts"

it.live("an attempt that is let in at once has not waited, on a clock that counts microseconds too", () =>
  Effect.gen(function* () {
    const { layer } = scripted.make({})
    const route = Route.limits(openai, { concurrency: 2, requestsPerMinute: 1_000 })
    const { attempts } = yield* Effect.provide(Router.run(route, "hi"), layer)
    assert.notProperty(attempts[0], "waited")
  })
)
