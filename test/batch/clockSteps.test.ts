import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Route from "effect-ai-gateway/Route"
import { leaf, names, plain, runAll, world } from "./support.ts"

describe("a wall clock that is set while a batch runs", () => {
  for (const hours of [-1, 1]) {
    it.effect(`changes no duration and ends no deadline, ${hours < 0 ? "backwards" : "forwards"}`, () =>
      Effect.gen(function* () {
        const clock = yield* Clock.Clock
        const startedAt = clock.currentTimeMillisUnsafe()
        const now = () => {
          const millis = clock.currentTimeMillisUnsafe()
          return millis - startedAt < 550 ? millis : millis + hours * 3_600_000
        }
        const stepping: Clock.Clock = Object.assign(Object.create(clock), {
          currentTimeMillisUnsafe: now,
          currentTimeMillis: Effect.sync(now),
          currentTimeNanosUnsafe: () => BigInt(now()) * 1_000_000n,
          currentTimeNanos: Effect.sync(() => BigInt(now()) * 1_000_000n)
        })
        const w = yield* world((_prompt, nth) => (nth === 0 ? { status: 503, delay: 300 } : { delay: 300 }))
        const route = leaf().pipe(Route.retry({ attempts: 2, delay: 100, jitter: 0 }), Route.deadline("5 seconds"))
        const options = { ...plain, route, itemDeadline: "6 seconds", limits: { requestsPerMinute: 600 } } as const
        const { results, summary } = yield* runAll(names(3), options, w).pipe(
          Effect.provideService(Clock.Clock, stepping)
        )
        assert.isTrue(results.every(({ _tag }) => _tag === "Success"))
        const spans = results.flatMap(({ attempts, latency }) => [latency, ...attempts.map(({ duration }) => duration)])
        for (const span of [...spans, summary.duration]) {
          assert.isAtLeast(Duration.toMillis(span), 300)
          assert.isAtMost(Duration.toMillis(span), 1_500)
        }
      })
    )
  }
})
