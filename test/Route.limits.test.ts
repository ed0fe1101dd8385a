/**
 * Limits as part of a route: pictures, JSON, compiling, bounds, and problems.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Result from "effect/Result"
import * as Route from "effect-ai-gateway/Route"
import { groq, openai } from "./support/streamRuns.ts"

describe("a node of limits", () => {
  const full = Route.limits({
    requestsPerMinute: 60,
    tokensPerMinute: 1_000,
    concurrency: { min: 2 },
    burst: 0.5,
    skew: "1 second",
    queue: { size: 5, maxWait: "3 seconds" }
  })

  it("is described, drawn, stored and read", () => {
    const route = openai.pipe(full)
    const text =
      "60 requests a minute, 1000 tokens a minute, bursts of 50 %, counted within 1s, 2 to 512 at once by the answers, a queue of 5 up to 3s"
    assert.include(Route.describe(route), `limits ${text}`)
    assert.include(Route.describe(openai.pipe(Route.limits("off"))), "no limits")
    assert.include(Route.toMermaid(route), `limits ${text.replaceAll("%", "#37;")}`)
    for (const stored of [route, openai.pipe(Route.limits({ concurrency: 3 })), openai.pipe(Route.limits("off"))]) {
      const json = Result.getOrThrow(Route.toJson(stored))
      const read = Result.getOrThrow(Route.fromJson(JSON.parse(JSON.stringify(json))))
      assert.deepStrictEqual(Result.getOrThrow(Route.toJson(read)), json)
      assert.strictEqual(Route.describe(read), Route.describe(stored))
    }
    assert.deepInclude(
      Result.getOrThrow(Route.toJson(openai.pipe(Route.timeout("1 second"), full, Route.circuitBreaker()))).route,
      {
        timeout: "1 second"
      }
    )
  })

  it("is a loss when compiled", () => {
    const compiled = Route.compile(openai.pipe(full), "hi")
    assert.deepStrictEqual(Result.isFailure(compiled) && compiled.failure.map(({ kind, target }) => [kind, target]), [
      ["limits", "openai/m"]
    ])
    assert.isTrue(Result.isSuccess(Route.compile(openai.pipe(full), "hi", "universal", { allow: ["limits"] })))
  })

  it("adds its longest wait for each attempt to the bounds", () => {
    const route = openai.pipe(full, Route.retry({ attempts: 3 }))
    assert.strictEqual(Duration.toMillis(Route.bounds(route).admission), 9_000)
    assert.strictEqual(Duration.toMillis(Route.bounds(Route.fallback(route, groq)).admission), 9_000)
    assert.strictEqual(
      Duration.toMillis(Route.bounds(Route.fallback(route, groq).pipe(Route.deadline("4 seconds"))).admission),
      4_000
    )
    assert.strictEqual(Duration.toMillis(Route.bounds(groq).admission), 0)
    assert.isFalse(Duration.isFinite(Route.bounds(Route.fallback(route, groq)).waitingWithHints))
  })

  const bad: ReadonlyArray<readonly [field: string, options: unknown]> = [
    ["limits", undefined],
    ["limits", 3],
    ["limits", "on"],
    ["limits.rpm", { rpm: 3 }],
    ["limits.requestsPerMinute", { requestsPerMinute: 0 }],
    ["limits.requestsPerMinute", { requestsPerMinute: -5 }],
    ["limits.tokensPerMinute", { tokensPerMinute: 1.5 }],
    ["limits.concurrency", { concurrency: 0 }],
    ["limits.concurrency", { concurrency: "many" }],
    ["limits.concurrency", { concurrency: null }],
    ["limits.concurrency", { concurrency: true }],
    ["limits.concurrency.min", { concurrency: { min: 9, max: 8 } }],
    ["limits.concurrency.most", { concurrency: { most: 8 } }],
    ["limits.burst", { burst: 2 }],
    ["limits.burst", { burst: null }],
    ["limits.skew", { skew: "1 minute" }],
    ["limits.queue", { queue: 3 }],
    ["limits.queue", { queue: null }],
    ["limits.queue.size", { queue: { size: -1 } }],
    ["limits.queue.maxWait", { queue: { maxWait: "soon" } }],
    ["limits.queue.max", { queue: { max: 3 } }]
  ]
  for (const [field, options] of bad) {
    it(`names ${field} when it is wrong: ${JSON.stringify(options)}`, () => {
      const route = openai.pipe(Route.limits(options as never))
      assert.deepStrictEqual(
        Route.problems(route).map((problem) => problem.field),
        [field]
      )
    })
  }
})
