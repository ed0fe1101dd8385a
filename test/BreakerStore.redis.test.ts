/**
 * The example of a store that machines share, over Effect's `CircuitBreakerStore`: in memory on the test clock, and in
 * a real Redis.
 */
import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as TestClock from "effect/testing/TestClock"
import type { BreakerStore } from "effect-ai-gateway/BreakerStore"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as Example from "../docs/examples/breaker-store.ts"
import * as Redis from "./support/redis.ts"
import * as scripted from "./support/scripted.ts"
import { groq, openai } from "./support/streamRuns.ts"

const opened = (millis: number, cause: "failing" | "exhausted" = "failing") =>
  ({ _tag: "Opened", cause, openFor: Duration.millis(millis) }) as const

/** Opens a breaker, probes it twice, and closes it. `other` is the store of another machine. */
const story = (store: BreakerStore, other: BreakerStore, pass: (millis: number) => Effect.Effect<void>) =>
  Effect.gen(function* () {
    const key = "a target and its numbers"
    const first = yield* store.admit(key)
    assert.strictEqual(first._tag, "Closed")
    if (first._tag === "Refused") return
    yield* store.report(key, first.generation, opened(300))
    const refused = yield* other.admit(key)
    assert.strictEqual(refused._tag, "Refused")
    assert.strictEqual((yield* other.state(key))._tag, "Open")
    yield* pass(350)
    assert.strictEqual((yield* other.state(key))._tag, "HalfOpen")
    const probe = yield* other.admit(key)
    assert.deepInclude(probe, { _tag: "Probe", openings: 1 })
    assert.strictEqual((yield* store.admit(key))._tag, "Refused")
    if (probe._tag === "Refused") return
    // The probe says nothing: the next call is the probe, on any machine.
    yield* other.report(key, probe.generation, { _tag: "Released" })
    const again = yield* store.admit(key)
    assert.strictEqual(again._tag, "Probe")
    if (again._tag === "Refused") return
    yield* store.report(key, again.generation, { _tag: "Closed" })
    assert.strictEqual((yield* other.admit(key))._tag, "Closed")
    // A late report of the phase before changes nothing.
    yield* store.report(key, first.generation, opened(300))
    const last = yield* other.admit(key)
    assert.strictEqual(last._tag, "Closed")
    if (last._tag === "Refused") return
    yield* store.report(key, last.generation, opened(60_000, "exhausted"))
    assert.deepInclude(yield* store.admit(key), { _tag: "Refused", cause: "exhausted" })
    assert.strictEqual((yield* other.admit(key))._tag, "Refused")
  })

describe("the example over Effect's store", () => {
  it.effect("shares phases in memory", () =>
    Effect.gen(function* () {
      yield* story(yield* Example.make, yield* Example.make, TestClock.adjust)
    }).pipe(Effect.scoped, Effect.provide(CircuitBreaker.layerStoreMemory()))
  )

  it.effect("gives a probe up that is never reported", () =>
    Effect.gen(function* () {
      const store = yield* Example.make
      const first = yield* store.admit("key")
      if (first._tag === "Refused") return assert.fail("refused")
      yield* store.report("key", first.generation, opened(1_000))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* store.admit("key"))._tag, "Probe")
      yield* TestClock.adjust("4 minutes")
      assert.strictEqual((yield* store.admit("key"))._tag, "Refused")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* store.admit("key"))._tag, "Probe")
    }).pipe(Effect.scoped, Effect.provide(CircuitBreaker.layerStoreMemory()))
  )

  const shared = Layer.unwrap(
    Effect.map(Redis.start, (url) => CircuitBreaker.layerStoreRedis().pipe(Layer.provide(NodeRedis.layer({ url }))))
  )

  const why = Redis.missing === undefined ? "" : ` (${Redis.missing})`
  const live = it.live.skipIf(Redis.missing !== undefined)

  live(`shares phases in Redis${why}`, () =>
    Effect.gen(function* () {
      yield* story(yield* Example.make, yield* Example.make, (millis) => Effect.sleep(millis))
    }).pipe(Effect.scoped, Effect.provide(shared))
  )

  live(`opens the breaker of a router on another machine, through Redis${why}`, () =>
    Effect.gen(function* () {
      const route = Route.circuitBreaker(Route.fallback(openai, groq), { minimumCalls: 2 })
      const machine = (script: scripted.Script) =>
        Effect.map(Example.make, (breakerStore) => scripted.make(script, "client", { router: { breakerStore } }))
      const run = Effect.map(Router.run(route, "hi", { quiet: true }), ({ attempts, skipped }) => ({
        attempts: attempts.length,
        skipped: skipped.map(({ target }) => target)
      }))
      const failing = yield* machine({ openai: [{ status: 503 }, { status: 503 }] })
      const other = yield* machine({})
      yield* Effect.andThen(run, run).pipe(Effect.provide(failing.layer))
      assert.deepStrictEqual(yield* Effect.provide(run, other.layer), { attempts: 1, skipped: ["openai/m"] })
    }).pipe(Effect.scoped, Effect.provide(shared))
  )
})
