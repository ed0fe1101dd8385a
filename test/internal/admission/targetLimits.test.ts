import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as TestClock from "effect/testing/TestClock"
import type { HeldPermit } from "../../../src/internal/admission/heldPermit.ts"
import { type Limits, settingsOf } from "../../../src/internal/admission/limits.ts"
import { TargetLimits } from "../../../src/internal/admission/targetLimits.ts"

const needs = { requests: 1, tokens: 100, place: true }
const entry = { class: "interactive", needs, maxWait: 0 } as const

const now = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)

const acquire = (limits: TargetLimits, given: Limits): Effect.Effect<HeldPermit | undefined> =>
  Effect.uninterruptible(
    Effect.flatMap(Effect.all([Clock.Clock, now]), ([clock, at]) =>
      Effect.map(Effect.exit(limits.acquire(clock, settingsOf(given), entry, at)), (exit) =>
        Exit.isSuccess(exit) ? exit.value : undefined
      )
    )
  )

const look = (limits: TargetLimits, given: Limits) =>
  Effect.map(now, (at) => {
    const { inFlight, requests, tokens } = limits.look(settingsOf(given), at)
    return [inFlight, requests, tokens]
  })

const wide: Limits = { requestsPerMinute: 1_000, tokensPerMinute: 100_000, concurrency: 100 }
const narrow: Limits = { requestsPerMinute: 2, tokensPerMinute: 1_000, concurrency: 5, burst: 1 }

describe("a target under several limits", () => {
  it.effect("counts each request under all of them, also under those that are set later", () =>
    Effect.gen(function* () {
      const limits = new TargetLimits()
      const first = yield* acquire(limits, wide)
      const second = yield* acquire(limits, wide)
      yield* TestClock.adjust(1_000)
      first?.settle(yield* now, { tokens: 30 })
      assert.deepStrictEqual(yield* look(limits, narrow), [1, 2, 130])
      assert.isUndefined(yield* acquire(limits, narrow))
      second?.settle(yield* now, { sent: false })
      assert.deepStrictEqual(yield* look(limits, narrow), [0, 1, 30])
      assert.isDefined(yield* acquire(limits, narrow))
      assert.deepStrictEqual(yield* look(limits, wide), [1, 2, 130])
      yield* TestClock.adjust(70_000)
      assert.deepStrictEqual(yield* look(limits, wide), [1, 0, 0])
    })
  )

  it.effect("shares reported limits, and counts one request once against them", () =>
    Effect.gen(function* () {
      const limits = new TargetLimits()
      const other: Limits = { ...wide, requestsPerMinute: 999 }
      yield* look(limits, other)
      const first = yield* acquire(limits, wide)
      first?.learn(yield* now, { requests: { remaining: 2, resetAfter: Duration.seconds(20) } })
      assert.isDefined(yield* acquire(limits, other))
      assert.isDefined(yield* acquire(limits, wide))
      assert.isUndefined(yield* acquire(limits, other))
      yield* TestClock.adjust(20_000)
      assert.isDefined(yield* acquire(limits, other))
    })
  )

  it.effect("treats limits of equal numbers as the same, however they are written", () =>
    Effect.gen(function* () {
      const keys = [
        settingsOf({ requestsPerMinute: 1, concurrency: "adaptive" }),
        settingsOf({ requestsPerMinute: 1, concurrency: { max: 512 }, skew: 2_000, queue: { maxWait: "10000 millis" } })
      ].map(({ key }) => key)
      assert.strictEqual(keys[0], keys[1])
      assert.notStrictEqual(settingsOf({ requestsPerMinute: 1 }).key, settingsOf({ tokensPerMinute: 1 }).key)
    })
  )

  it.effect("remembers a bounded number of sets of numbers, and is idle when nothing is in flight", () =>
    Effect.gen(function* () {
      const limits = new TargetLimits()
      const held = yield* acquire(limits, wide)
      for (let size = 0; size < 100; size++) yield* look(limits, { queue: { size } })
      assert.isFalse(limits.isIdle)
      held?.settle(yield* now, {})
      held?.settle(yield* now, {})
      assert.isTrue(limits.isIdle)
      // Forgotten numbers start again with the past requests.
      assert.deepStrictEqual(yield* look(limits, wide), [0, 1, 100])
    })
  )
})
