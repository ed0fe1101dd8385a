/**
 * Breakers over the facts of one target, on the test clock.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as Errors from "effect-ai-gateway/GatewayError"
import { type Admitted, type BreakerSettings, makeFacts, type Pass } from "../../../src/internal/admission/breaker.ts"
import type { Verdict } from "../../../src/internal/admission/verdict.ts"

const seconds = 1_000
const minutes = 60 * seconds

const settings: BreakerSettings = {
  window: 30 * seconds,
  minimumCalls: 4,
  failureRate: 0.5,
  slowCalls: undefined,
  openFor: 15 * seconds,
  maxOpenFor: 50 * seconds
}

const broken = new Errors.ProviderUnavailable({ origin: "provider", status: 503 })
const limited = (hint?: number) =>
  new Errors.RateLimited({ origin: "provider", ...(hint !== undefined && { retryAfter: Duration.millis(hint) }) })
const spent = (kind: Errors.QuotaExhausted["kind"] = "credits", hint?: number) =>
  new Errors.QuotaExhausted({
    kind,
    origin: "provider",
    ...(hint !== undefined && { retryAfter: Duration.millis(hint) })
  })

const target = (own: Partial<BreakerSettings> = {}) =>
  Effect.map(Effect.context<never>(), (context) => {
    const clock = Context.get(context, Clock.Clock)
    const facts = makeFacts(undefined)("a target")
    const used = { ...settings, ...own }
    const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
    const record = (reason?: Errors.Reason, millis = 0, startedAt = now()): Verdict =>
      facts.record(
        reason === undefined ? { outcome: "success" } : { outcome: "failure", error: reason },
        startedAt,
        millis,
        now(),
        clock.currentTimeMillisUnsafe()
      )
    const admit = (numbers: BreakerSettings = used): Effect.Effect<Admitted> =>
      facts.breaker(numbers).admit(clock, context)
    const passed = Effect.map(admit(), (admitted): Pass => {
      if (admitted.isOpen) throw new Error(`open until ${admitted.until}`)
      return admitted.pass
    })
    /** Makes a call that ends at once. */
    const call = (reason?: Errors.Reason, millis = 0) =>
      Effect.map(passed, (pass) => pass.end(record(reason, millis), millis, now()))
    const openFor = Effect.map(admit(), (admitted) => (admitted.isOpen ? admitted.until - now() : 0))
    return { facts, record, admit, passed, call, openFor, now }
  })

const later = (millis: number) => TestClock.adjust(millis)

describe("a breaker", () => {
  it.effect("opens at its rate once there are enough calls, and never by calls outside the window", () =>
    Effect.gen(function* () {
      const one = yield* target()
      yield* one.call()
      yield* later(seconds)
      yield* one.call()
      yield* later(seconds)
      yield* one.call(broken)
      assert.strictEqual(yield* one.openFor, 0)
      yield* later(seconds)
      yield* one.call(broken)
      assert.strictEqual(yield* one.openFor, 15 * seconds)

      const other = yield* target()
      yield* other.call()
      yield* later(seconds)
      yield* other.call()
      yield* later(seconds)
      yield* other.call(broken)
      yield* later(29 * seconds)
      yield* other.call(broken)
      assert.strictEqual(yield* other.openFor, 0)
    })
  )

  it.effect(
    "admits one probe, doubles its time with each failed one, up to the longest, and closes with a successful one",
    () =>
      Effect.gen(function* () {
        const one = yield* target()
        for (let i = 0; i < 4; i++) yield* one.call(broken)
        for (const time of [15, 30, 50, 50]) {
          assert.strictEqual(yield* one.openFor, time * seconds)
          yield* later(time * seconds - 1)
          assert.strictEqual(yield* one.openFor, 1)
          yield* later(1)
          const probe = yield* one.passed
          assert.isAbove(yield* one.openFor, 0)
          // It had no outcome, and the next one is the probe.
          probe.end("ignored", 0, one.now())
          yield* one.call(broken)
        }
        yield* later(50 * seconds)
        yield* one.call()
        // Earlier failures no longer count.
        for (let i = 0; i < 3; i++) yield* one.call(broken)
        assert.strictEqual(yield* one.openFor, 0)
        yield* one.call(broken)
        assert.strictEqual(yield* one.openFor, 15 * seconds)
      })
  )

  it.effect("ignores late results while it is open", () =>
    Effect.gen(function* () {
      const one = yield* target()
      const late = yield* Effect.forEach([1, 2, 3], () => one.passed)
      for (let i = 0; i < 4; i++) yield* one.call(broken)
      yield* later(5 * seconds)
      late[0]?.end(one.record(broken), 0, one.now())
      assert.strictEqual(yield* one.openFor, 10 * seconds)
      late[1]?.end(one.record(), 0, one.now())
      assert.strictEqual(yield* one.openFor, 10 * seconds)
      yield* later(10 * seconds)
      const probe = yield* one.passed
      late[2]?.end(one.record(), 0, one.now())
      assert.isAbove(yield* one.openFor, 0)
      probe.end(one.record(), 0, one.now())
      assert.strictEqual(yield* one.openFor, 0)
    })
  )

  it.effect("does not reopen by attempts that had begun before its probe succeeded", () =>
    Effect.gen(function* () {
      const one = yield* target()
      for (let i = 0; i < 4; i++) yield* one.call(broken)
      yield* later(15 * seconds)
      yield* one.call()
      assert.strictEqual(yield* one.openFor, 0)
      yield* later(2 * seconds)
      for (let i = 0; i < 9; i++) one.record(broken, 0, seconds)
      assert.strictEqual(yield* one.openFor, 0)
      for (let i = 0; i < 4; i++) one.record(broken)
      assert.strictEqual(yield* one.openFor, 15 * seconds)
    })
  )

  it.effect("keeps at most 64 sets of numbers for a target", () =>
    Effect.gen(function* () {
      const { facts } = yield* target()
      const first = facts.breaker({ ...settings, minimumCalls: 1 })
      for (let i = 2; i <= 64; i++) facts.breaker({ ...settings, minimumCalls: i })
      assert.strictEqual(facts.breaker({ ...settings, minimumCalls: 1 }), first)
      facts.breaker({ ...settings, minimumCalls: 65 })
      assert.strictEqual(facts.breaker({ ...settings, minimumCalls: 1 }), first)
      for (let i = 66; i <= 200; i++) facts.breaker({ ...settings, minimumCalls: i })
      assert.notStrictEqual(facts.breaker({ ...settings, minimumCalls: 1 }), first)
    })
  )

  it.effect("opens by slow calls if configured, timeouts included, and a slow probe fails", () =>
    Effect.gen(function* () {
      const slowCalls = { after: 500, rate: 0.5 }
      const one = yield* target({ slowCalls })
      yield* one.passed
      yield* one.call(undefined, 501)
      yield* one.call(undefined, 500)
      yield* one.call(undefined, 10)
      assert.strictEqual(yield* one.openFor, 0)
      yield* one.call(new Errors.Timeout({ phase: "firstByte" }), 2_000)
      assert.strictEqual(yield* one.openFor, 15 * seconds)
      yield* later(15 * seconds)
      yield* one.call(undefined, 501)
      assert.strictEqual(yield* one.openFor, 30 * seconds)
      const without = yield* target()
      for (let i = 0; i < 10; i++) yield* without.call(undefined, 60_000)
      assert.strictEqual(yield* without.openFor, 0)
    })
  )

  it.effect("opens by facts that came before it, and by the failures of calls under other numbers", () =>
    Effect.gen(function* () {
      const one = yield* target()
      for (let i = 0; i < 4; i++) one.record(broken)
      assert.strictEqual(yield* one.openFor, 15 * seconds)
      const lenient = yield* one.admit({ ...settings, minimumCalls: 5 })
      assert.isFalse(lenient.isOpen)
    })
  )
})

describe("a hint", () => {
  it.effect("of more than five seconds opens until then, for an hour at most; then one probe decides", () =>
    Effect.gen(function* () {
      const overloaded = new Errors.ProviderUnavailable({
        origin: "provider",
        status: 529,
        retryAfter: Duration.seconds(9)
      })
      const unavailable = new Errors.ProviderUnavailable({
        origin: "provider",
        status: 503,
        retryAfter: Duration.seconds(9)
      })
      for (const [reason, time] of [
        [limited(), 0],
        [limited(5 * seconds), 0],
        [limited(5_001), 5_001],
        [limited(7_200 * seconds), 3_600 * seconds],
        [overloaded, 9 * seconds],
        [unavailable, 0]
      ] as const) {
        const one = yield* target()
        yield* one.call(reason)
        assert.strictEqual(yield* one.openFor, time)
        if (time === 0) continue
        yield* later(time)
        const probe = yield* one.passed
        assert.isAbove(yield* one.openFor, 0)
        probe.end(one.record(), 0, one.now())
        assert.strictEqual(yield* one.openFor, 0)
      }
    })
  )

  it.effect("that is longer wins, also when it arrives late", () =>
    Effect.gen(function* () {
      const one = yield* target()
      const late = yield* one.passed
      yield* one.call(limited(10 * seconds))
      yield* later(4 * seconds)
      late.end(one.record(limited(10 * seconds)), 0, one.now())
      assert.strictEqual(yield* one.openFor, 10 * seconds)
      one.record(limited(6 * seconds))
      assert.strictEqual(yield* one.openFor, 10 * seconds)
    })
  )
})

describe("exhausted credit", () => {
  it.effect("opens for a minute that doubles to fifteen, and from a minute again after a success", () =>
    Effect.gen(function* () {
      const one = yield* target()
      for (const time of [1, 2, 4, 8, 15, 15]) {
        yield* one.call(spent())
        assert.deepInclude(yield* one.admit(), { isOpen: true, isExhausted: true })
        assert.strictEqual(yield* one.openFor, time * minutes)
        yield* later(time * minutes - 1)
        assert.strictEqual(yield* one.openFor, 1)
        yield* later(1)
      }
      yield* one.call()
      yield* one.call(spent())
      assert.strictEqual(yield* one.openFor, minutes)
    })
  )

  it.effect("opens until its hint, however long, or until midnight UTC for a daily allocation", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(Date.UTC(2026, 10, 30, 22, 0, 0))
      const daily = yield* target()
      yield* daily.call(spent("allocation"))
      assert.strictEqual(yield* daily.openFor, 120 * minutes)
      const hinted = yield* target()
      yield* hinted.call(spent("allocation", 3 * 1_440 * minutes))
      assert.strictEqual(yield* hinted.openFor, 3 * 1_440 * minutes)
    })
  )

  it.effect("lasts as long as its longest hint, so that no probe goes out before the reset", () =>
    Effect.gen(function* () {
      const one = yield* target()
      const late = yield* Effect.forEach([1, 2, 3], () => one.passed)
      yield* one.call(spent("spend", minutes))
      yield* later(seconds)
      for (const [i, hint] of [10 * minutes, 5 * seconds, undefined].entries()) {
        late[i]?.end(one.record(spent("spend", hint)), 0, one.now())
      }
      assert.strictEqual(yield* one.openFor, 10 * minutes)
    })
  )

  it.effect("takes precedence over failures, also for a call in flight, and for every breaker of the target", () =>
    Effect.gen(function* () {
      const one = yield* target()
      const late = yield* one.passed
      for (let i = 0; i < 4; i++) yield* one.call(broken)
      late.end(one.record(spent()), 0, one.now())
      assert.deepInclude(yield* one.admit(), { isOpen: true, isExhausted: true })
      assert.deepInclude(yield* one.admit({ ...settings, minimumCalls: 100 }), { isExhausted: true })
      yield* later(59 * seconds)
      assert.strictEqual(yield* one.openFor, seconds)
      yield* later(seconds)
      const probe = yield* one.passed
      assert.isAbove(yield* one.openFor, 0)
      probe.end(one.record(), 0, one.now())
      assert.strictEqual(yield* one.openFor, 0)
    })
  )
})
