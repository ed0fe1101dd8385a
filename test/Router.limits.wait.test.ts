/**
 * Waits for limits as attempts record them, on the real clock.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as scripted from "./support/scripted.ts"
import { openai } from "./support/streamRuns.ts"

it.live("reports no wait for an attempt that is admitted at once, also on a clock that counts microseconds", () =>
  Effect.gen(function* () {
    const { layer } = scripted.make({})
    const route = Route.limits(openai, { concurrency: 2, requestsPerMinute: 1_000 })
    const { attempts } = yield* Effect.provide(Router.run(route, "hi"), layer)
    assert.notProperty(attempts[0], "waited")
  })
)
