/**
 * Breakers: targets that are left alone while they fail.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import type { Reason } from "effect-ai-gateway/GatewayError"
import * as Errors from "effect-ai-gateway/GatewayError"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { type BreakerSettings, TargetFacts, verdictOf } from "../src/internal/admission/breaker.ts"
import { Outcomes } from "../src/internal/admission/outcomes.ts"
import { tick } from "./batch/support.ts"
import * as scripted from "./support/scripted.ts"
import { groq, openai } from "./support/streamRuns.ts"

const seconds = 1_000

describe("outcomes", () => {
  it("count what is in the window and nothing older", () => {
    const outcomes = new Outcomes()
    outcomes.add(false, 0)
    outcomes.add(false, 1 * seconds)
    outcomes.add(true, 2 * seconds)
    const count = (now: number) => outcomes.count(30 * seconds, Number.NEGATIVE_INFINITY, now)
    assert.deepStrictEqual(count(2 * seconds), { calls: 3, failures: 1 })
    outcomes.add(true, 31 * seconds)
    assert.deepStrictEqual(count(31 * seconds), { calls: 2, failures: 2 })
    assert.deepStrictEqual(outcomes.count(300 * seconds, 2 * seconds, 31 * seconds), { calls: 2, failures: 2 })
    outcomes.add(false, 302 * seconds)
    assert.deepStrictEqual(outcomes.count(300 * seconds, 0, 302 * seconds), { calls: 2, failures: 1 })
  })
})

const settings: BreakerSettings = {
  window: 30 * seconds,
  minimumCalls: 4,
  failureRate: 0.5,
  openFor: 15 * seconds,
  maxOpenFor: 50 * seconds
}

const broken = new Errors.ProviderUnavailable({ origin: "provider", status: 503 })

describe("a breaker", () => {
  it("opens at its rate, once there are enough attempts", () => {
    const facts = new TargetFacts()
    const breaker = facts.breaker(settings)
    facts.record(undefined, 0, 0, 0)
    facts.record(undefined, seconds, seconds, 0)
    facts.record(broken, 2 * seconds, 2 * seconds, 0)
    assert.deepStrictEqual(breaker.look(2 * seconds), { isOpen: false, isProbe: false })
    facts.record(broken, 3 * seconds, 3 * seconds, 0)
    assert.deepInclude(breaker.look(3 * seconds), { isOpen: true, until: 18 * seconds })
    const late = new TargetFacts()
    late.record(undefined, 0, 0, 0)
    late.record(undefined, seconds, seconds, 0)
    late.record(broken, 2 * seconds, 2 * seconds, 0)
    late.record(broken, 32 * seconds, 32 * seconds, 0)
    assert.deepInclude(late.breaker(settings).look(32 * seconds), { isOpen: false })
  })

  it("lets one probe through, doubles its time when that fails, and closes when it succeeds", () => {
    const facts = new TargetFacts()
    const breaker = facts.breaker(settings)
    for (let i = 0; i < 4; i++) facts.record(broken, 0, 0, 0)
    assert.isTrue(breaker.look(0).isOpen)
    // Late results of what was on its way neither close it nor keep it open for longer.
    breaker.end(false, "success", 5 * seconds)
    breaker.end(false, "failure", 5 * seconds)
    assert.deepStrictEqual(breaker.admit(15 * seconds), { isOpen: false, isProbe: true })
    assert.isTrue(breaker.admit(15 * seconds).isOpen)
    breaker.end(true, "failure", 16 * seconds)
    assert.deepInclude(breaker.look(45 * seconds), { isOpen: true, until: 46 * seconds })
    assert.deepInclude(breaker.admit(46 * seconds), { isProbe: true })
    // Interrupted: the slot is free, and nothing is learnt.
    breaker.end(true, "ignored", 47 * seconds)
    assert.deepInclude(breaker.admit(47 * seconds), { isProbe: true })
    breaker.end(true, "failure", 48 * seconds)
    assert.deepInclude(breaker.look(50 * seconds), { until: 98 * seconds })
    assert.deepInclude(breaker.admit(98 * seconds), { isProbe: true })
    breaker.end(true, "success", 99 * seconds)
    assert.deepStrictEqual(breaker.admit(99 * seconds), { isOpen: false, isProbe: false })
  })

  it("heeds a hint of more than five seconds, for an hour at most, and nothing shorter", () => {
    const limited = (retryAfter?: number) =>
      new Errors.RateLimited({
        origin: "provider",
        ...(retryAfter !== undefined && { retryAfter: Duration.millis(retryAfter) })
      })
    const until = (reason: Reason) => {
      const facts = new TargetFacts()
      facts.record(reason, 0, 0, 0)
      const look = facts.breaker(settings).look(0)
      return look.isOpen ? look.until : 0
    }
    assert.strictEqual(until(limited()), 0)
    assert.strictEqual(until(limited(5 * seconds)), 0)
    assert.strictEqual(until(limited(6 * seconds)), 6 * seconds)
    assert.strictEqual(until(limited(10_000 * seconds)), 3_600 * seconds)
    assert.strictEqual(
      until(
        new Errors.ProviderUnavailable({ origin: "provider", status: 529, retryAfter: Duration.millis(9 * seconds) })
      ),
      9 * seconds
    )
  })

  it("waits for credit: its hint, midnight UTC, or a minute that doubles to fifteen", () => {
    const facts = new TargetFacts()
    const spent = new Errors.QuotaExhausted({ kind: "credits", origin: "provider" })
    let now = 0
    for (const minutes of [1, 2, 4, 8, 15, 15]) {
      facts.record(spent, now, now, 0)
      const look = facts.breaker(settings).look(now)
      assert.deepStrictEqual(look, { isOpen: true, until: now + minutes * 60 * seconds, isExhausted: true })
      now += minutes * 60 * seconds
      assert.isFalse(facts.breaker(settings).look(now).isOpen)
    }
    const daily = new TargetFacts()
    const ten = Date.UTC(2026, 10, 30, 22, 0, 0)
    daily.record(new Errors.QuotaExhausted({ kind: "allocation", origin: "provider" }), 0, 0, ten)
    assert.deepInclude(daily.breaker(settings).look(0), { until: 2 * 3_600 * seconds })
  })
})

describe("what a breaker is told late", () => {
  it("keeps the longest hint of an exhausted target, so that no probe goes out before its reset", () => {
    const facts = new TargetFacts()
    const spent = (seconds_: number) =>
      new Errors.QuotaExhausted({ kind: "spend", origin: "provider", retryAfter: Duration.seconds(seconds_) })
    facts.record(spent(60), 0, 0, 0)
    facts.record(spent(600), 0, 1 * seconds, 0)
    facts.record(spent(5), 0, 2 * seconds, 0)
    assert.deepInclude(facts.breaker(settings).look(2 * seconds), { until: 601 * seconds })
  })

  it("does not open again by attempts that had begun before its probe succeeded", () => {
    const facts = new TargetFacts()
    const breaker = facts.breaker(settings)
    for (let i = 0; i < 4; i++) facts.record(broken, 0, 0, 0)
    assert.isTrue(breaker.look(0).isOpen)
    assert.deepInclude(breaker.admit(15 * seconds), { isProbe: true })
    breaker.end(true, "success", 16 * seconds)
    for (let i = 0; i < 9; i++) facts.record(broken, 1 * seconds, 18 * seconds, 0)
    assert.isFalse(breaker.look(18 * seconds).isOpen)
    for (let i = 0; i < 4; i++) facts.record(broken, 17 * seconds, 19 * seconds, 0)
    assert.isTrue(breaker.look(19 * seconds).isOpen)
  })

  it("keeps at most 64 sets of numbers for a target", () => {
    const facts = new TargetFacts()
    const first = facts.breaker({ ...settings, minimumCalls: 1 })
    for (let i = 2; i <= 64; i++) facts.breaker({ ...settings, minimumCalls: i })
    assert.strictEqual(facts.breaker({ ...settings, minimumCalls: 1 }), first)
    for (let i = 65; i <= 200; i++) facts.breaker({ ...settings, minimumCalls: i })
    assert.notStrictEqual(facts.breaker({ ...settings, minimumCalls: 1 }), first)
  })
})

describe("what an outcome says of its target", () => {
  const of = (reason: Reason, verdict: string) => ({ name: `${reason.message}: ${verdict}`, reason, verdict })
  it.each([
    of(new Errors.TransportFailure({ kind: "reset" }), "failure"),
    of(new Errors.Timeout({ phase: "firstByte" }), "failure"),
    of(new Errors.Timeout({ phase: "idle" }), "failure"),
    of(new Errors.Timeout({ phase: "deadline" }), "ignored"),
    of(broken, "failure"),
    of(new Errors.InvalidResponse({}), "failure"),
    of(new Errors.StreamInterrupted({ events: 1 }), "failure"),
    of(new Errors.StreamInterrupted({ events: 1, failure: "ContentBlocked" }), "ignored"),
    of(new Errors.Unknown({}), "failure"),
    of(new Errors.Unknown({ status: 418 }), "ignored"),
    of(new Errors.Unauthorized({ origin: "provider" }), "failure"),
    of(new Errors.Unauthorized({ origin: "gateway" }), "ignored"),
    of(new Errors.RateLimited({ origin: "provider" }), "throttled"),
    of(new Errors.ProviderUnavailable({ origin: "provider", status: 529 }), "throttled"),
    of(new Errors.QuotaExhausted({ kind: "spend", origin: "gateway" }), "exhausted"),
    of(new Errors.InvalidRequest({ origin: "provider" }), "ignored"),
    of(new Errors.ContextLengthExceeded({}), "ignored"),
    of(new Errors.ContentBlocked({ by: "provider", subject: "prompt" }), "ignored"),
    of(new Errors.NotFound({ what: "model" }), "ignored"),
    of(new Errors.Unsupported({ field: "seed", accepted: "nothing" }), "ignored"),
    of(new Errors.Rejected({ by: "limiter" }), "ignored")
  ])("$name", ({ reason, verdict }) => {
    assert.strictEqual(verdictOf(reason), verdict)
  })
})

// ---------------------------------------------------------------------------------------------------------------------

const quick = { minimumCalls: 2, openFor: "20 seconds" } as const

interface Told {
  readonly answer: string
  readonly skipped: ReadonlyArray<string>
  readonly attempts: number
  readonly ended: string | undefined
}

const tell = (
  route: Route.Route<string, { readonly text: string }>,
  options?: Router.RunOptions
): Effect.Effect<Told, never, Router.Router> =>
  Effect.map(Effect.result(Router.run(route, "hi", options)), (result) => {
    const { attempts = [], skipped = [] } = Result.isSuccess(result) ? result.success : result.failure
    return {
      answer: Result.isSuccess(result) ? result.success.target : result.failure.reason._tag,
      skipped: skipped.map(({ reason, target }) => `${target} ${reason._tag}`),
      attempts: attempts.length,
      ended: Result.isSuccess(result) ? undefined : result.failure.ended
    }
  })

/** A provider that is down until told otherwise. */
const world = (down: Set<string>, line: (provider: string) => scripted.Line | undefined = () => undefined) =>
  scripted.make(({ provider }) => line(provider) ?? (down.has(provider) ? { status: 503 } : undefined))

describe("a run under breakers", () => {
  const both = Route.circuitBreaker(Route.fallback(openai, groq), quick)

  it.effect("passes an open target over, tries it once when its time is up, and comes back", () =>
    Effect.gen(function* () {
      const down = new Set(["openai"])
      const { layer, seen } = world(down)
      yield* Effect.gen(function* () {
        for (let i = 0; i < 2; i++) assert.deepInclude(yield* tell(both), { answer: "groq/m", attempts: 2 })
        assert.deepInclude(yield* tell(both), { answer: "groq/m", attempts: 1, skipped: ["openai/m Rejected"] })
        yield* TestClock.adjust("19 seconds")
        assert.deepInclude(yield* tell(both), { attempts: 1 })
        yield* TestClock.adjust("1 second")
        assert.deepInclude(yield* tell(both), { answer: "groq/m", attempts: 2 })
        // The probe failed: twice the time.
        yield* TestClock.adjust("39 seconds")
        assert.deepInclude(yield* tell(both), { attempts: 1 })
        down.clear()
        yield* TestClock.adjust("1 second")
        assert.deepInclude(yield* tell(both), { answer: "openai/m", attempts: 1 })
        assert.deepInclude(yield* tell(both), { answer: "openai/m" })
      }).pipe(Effect.provide(layer))
      assert.strictEqual(seen.filter(({ provider }) => provider === "openai").length, 5)
    })
  )

  it.effect("fails fast for a lone target, with the time at which it returns", () =>
    Effect.gen(function* () {
      const { layer, seen } = world(new Set(["openai"]))
      const route = Route.circuitBreaker(openai, quick)
      yield* Effect.gen(function* () {
        yield* tell(route)
        yield* tell(route)
        yield* TestClock.adjust("5 seconds")
        const error = yield* Effect.flip(Router.run(route, "hi"))
        assert.deepInclude(error.reason, { _tag: "Rejected", by: "breaker" })
        assert.strictEqual(error.ended, "open")
        assert.strictEqual(error.retryAfter && Duration.toSeconds(error.retryAfter), 15)
      }).pipe(Effect.provide(layer))
      assert.strictEqual(seen.length, 2)
    })
  )

  it.effect("does not repeat a target that its own attempts have opened, and says what is wrong", () =>
    Effect.gen(function* () {
      const { layer, seen } = world(new Set(["openai"]))
      const route = openai.pipe(Route.retry({ attempts: 5, delay: 0 }), Route.circuitBreaker(quick))
      const told = yield* tell(route).pipe(Effect.provide(layer))
      assert.deepInclude(told, { answer: "ProviderUnavailable", attempts: 2, skipped: [] })
      assert.strictEqual(seen.length, 2)
    })
  )

  it.effect("waits up to five seconds for the first to return when all are open, and is its probe", () =>
    Effect.gen(function* () {
      const down = new Set(["openai", "groq"])
      const { layer } = world(down)
      yield* Effect.gen(function* () {
        for (let i = 0; i < 2; i++) yield* tell(both)
        yield* TestClock.adjust("16 seconds")
        down.clear()
        const fiber = yield* Effect.forkChild(tell(both))
        yield* tick(3_900)
        assert.isUndefined(fiber.pollUnsafe())
        yield* tick(200)
        assert.deepInclude(yield* Fiber.join(fiber), { answer: "openai/m", attempts: 1 })
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("makes exactly one attempt at once when all are open for longer", () =>
    Effect.gen(function* () {
      const down = new Set(["openai", "groq"])
      const { layer, seen } = world(down)
      const route = Route.retry(both, { attempts: 3, delay: 0 })
      yield* Effect.gen(function* () {
        for (let i = 0; i < 2; i++) yield* tell(route)
        const before = seen.length
        assert.deepInclude(yield* tell(route), { answer: "ProviderUnavailable", attempts: 1, ended: "attempts" })
        assert.strictEqual(seen.length, before + 1)
        down.clear()
        assert.deepInclude(yield* tell(route), { answer: "openai/m", attempts: 1 })
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("never calls an exhausted target before its reset, however much else is down", () =>
    Effect.gen(function* () {
      const spent: scripted.Line = {
        status: 429,
        body: { error: { message: "no credit", code: "insufficient_quota" } }
      }
      const { layer, seen } = world(new Set(), () => spent)
      yield* Effect.gen(function* () {
        assert.deepInclude(yield* tell(both), { answer: "QuotaExhausted", attempts: 2 })
        assert.deepInclude(yield* tell(both), { answer: "Rejected", attempts: 0, ended: "open" })
        yield* TestClock.adjust("59 seconds")
        assert.deepInclude(yield* tell(both), { attempts: 0 })
        yield* TestClock.adjust("1 second")
        assert.deepInclude(yield* tell(both), { attempts: 2 })
      }).pipe(Effect.provide(layer))
      assert.strictEqual(seen.length, 4)
    })
  )

  it.effect("tells the failure of what was called, not that another one was left alone", () =>
    Effect.gen(function* () {
      const down = new Set(["groq"])
      const { layer } = world(down, (provider) =>
        provider === "openai" && down.has("openai") ? { status: 500, delay: 10 } : undefined
      )
      const guarded = Route.circuitBreaker(groq, quick)
      const told = (route: Route.Route<string, { readonly text: string }>) =>
        Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(tell(route))
          yield* tick(10)
          return yield* Fiber.join(fiber)
        })
      yield* Effect.gen(function* () {
        for (let i = 0; i < 2; i++) yield* tell(guarded)
        down.add("openai")
        const wanted = { answer: "ProviderUnavailable", attempts: 1, skipped: ["groq/m Rejected"], ended: "attempts" }
        assert.deepStrictEqual(yield* told(Route.fallback(openai, guarded)), wanted)
        assert.deepStrictEqual(yield* told(Route.fallback(guarded, openai)), wanted)
        assert.deepStrictEqual(yield* told(Route.hedge(Route.fallback(openai, guarded), { after: 500 })), wanted)
        assert.deepStrictEqual(yield* told(Route.race(openai, guarded)), wanted)
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("shares facts between routes, and never numbers", () =>
    Effect.gen(function* () {
      const { layer } = world(new Set(["openai"]))
      const strict = Route.circuitBreaker(Route.fallback(openai, groq), { minimumCalls: 2 })
      const lenient = Route.circuitBreaker(Route.fallback(openai, groq), { minimumCalls: 5 })
      yield* Effect.gen(function* () {
        for (let i = 0; i < 2; i++) yield* tell(lenient)
        assert.deepInclude(yield* tell(strict), { attempts: 1 })
        assert.deepInclude(yield* tell(lenient), { attempts: 2 })
        assert.deepInclude(yield* tell(Route.fallback(openai, groq)), { attempts: 2 })
        const off = Route.circuitBreaker(Route.circuitBreaker(Route.fallback(openai, groq), "off"), { minimumCalls: 2 })
        assert.deepInclude(yield* tell(off), { attempts: 2 })
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("knows two tenants apart by their credentials", () =>
    Effect.gen(function* () {
      const tenant = (key: string) => Provider.openai.chat("m", { apiKey: Redacted.make(key) })
      const { layer } = scripted.make(({ headers }) =>
        headers["authorization"]?.includes("bad") ? { status: 503 } : undefined
      )
      const guarded = (key: string) => Route.circuitBreaker(tenant(key), quick)
      yield* Effect.gen(function* () {
        for (let i = 0; i < 3; i++) yield* tell(guarded("bad"))
        assert.deepInclude(yield* tell(guarded("bad")), { answer: "Rejected" })
        assert.deepInclude(yield* tell(guarded("good")), { attempts: 1, ended: undefined })
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("opens for streams, and no hedge goes to an open target", () =>
    Effect.gen(function* () {
      const { layer, seen } = world(new Set(["groq"]), (provider) =>
        provider === "openai" ? { delay: 100, body: scripted.completion("slow") } : undefined
      )
      const alone = Route.circuitBreaker(groq, quick)
      yield* Effect.gen(function* () {
        for (let i = 0; i < 2; i++) yield* Effect.flip(Stream.runDrain(Router.stream(alone, "hi")))
        const error = yield* Effect.flip(Stream.runDrain(Router.stream(alone, "hi")))
        assert.strictEqual(error.reason._tag, "Rejected")
        const hedged = Route.hedge(both, { after: 20 })
        const fiber = yield* Effect.forkChild(tell(hedged))
        yield* tick(20)
        yield* tick(80)
        assert.deepInclude(yield* Fiber.join(fiber), { answer: "openai/m", attempts: 1 })
      }).pipe(Effect.provide(layer))
      assert.strictEqual(seen.filter(({ provider }) => provider === "groq").length, 2)
    })
  )

  it.effect("frees the probe of a caller who leaves", () =>
    Effect.gen(function* () {
      const down = new Set(["openai"])
      let delay = 0
      const { layer } = world(down, (provider) =>
        provider === "openai" && delay > 0 ? { delay, body: scripted.completion("x") } : undefined
      )
      yield* Effect.gen(function* () {
        for (let i = 0; i < 2; i++) yield* tell(both)
        yield* TestClock.adjust("20 seconds")
        delay = 1_000
        for (let i = 0; i < 3; i++) {
          const probe = yield* Effect.forkChild(tell(both))
          yield* tick(10)
          // While it is on its way, others are passed on.
          assert.deepInclude(yield* tell(both), { answer: "groq/m", skipped: ["openai/m Rejected"] })
          yield* Fiber.interrupt(probe)
        }
        const probe = yield* Effect.forkChild(tell(both))
        yield* tick(1_000)
        assert.deepInclude(yield* Fiber.join(probe), { answer: "openai/m" })
      }).pipe(Effect.provide(layer))
    })
  )
})

describe("as data", () => {
  const route = Route.circuitBreaker(Route.fallback(openai, groq), { openFor: "10 seconds", minimumCalls: 5 })

  it("is printed, drawn, stored, and a loss for the gateway", () => {
    assert.include(
      Route.describe(route),
      "circuit breaker at 50 % failures of at least 5 attempts in 30s, open for 10s up to 5m"
    )
    assert.include(Route.toMermaid(route), "circuit breaker")
    const json = Result.getOrThrow(Route.toJson(Route.hedge(route, { after: 10 })))
    assert.deepInclude(json.route, {
      circuitBreaker: {
        window: "30 seconds",
        minimumCalls: 5,
        failureRate: 0.5,
        openFor: "10 seconds",
        maxOpenFor: "5 minutes"
      }
    })
    const back = Result.getOrThrow(Route.fromJson(JSON.parse(JSON.stringify(json))))
    assert.strictEqual(Route.describe(back), Route.describe(Route.hedge(route, { after: 10 })))
    const lost = Result.getOrThrow(Result.flip(Route.compile(route, "hi")))
    assert.deepStrictEqual([...new Set(lost.map(({ kind }) => kind))], ["breaker"])
    assert.deepStrictEqual(Route.problems(openai.pipe(Route.circuitBreaker())), [])
  })

  it.each([
    ["circuitBreaker.window", { window: 999 }],
    ["circuitBreaker.window", { window: "6 minutes" }],
    ["circuitBreaker.minimumCalls", { minimumCalls: 0 }],
    ["circuitBreaker.minimumCalls", { minimumCalls: 1.5 }],
    ["circuitBreaker.failureRate", { failureRate: 0 }],
    ["circuitBreaker.failureRate", { failureRate: 50 }],
    ["circuitBreaker.openFor", { openFor: 0 }],
    ["circuitBreaker.openFor", { openFor: "soon" }],
    ["circuitBreaker.maxOpenFor", { openFor: 10, maxOpenFor: 5 }],
    ["circuitBreaker.probes", { probes: 2 }],
    ["circuitBreaker", "on"]
  ])("names the problem %s", (field, options) => {
    assert.deepStrictEqual(
      Route.problems(Route.circuitBreaker(openai, options as never)).map((problem) => problem.field),
      [field]
    )
  })
})
