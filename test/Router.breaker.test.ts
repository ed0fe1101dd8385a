/**
 * Breakers: targets that are skipped while they fail.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { tick } from "./batch/support.ts"
import * as scripted from "./support/scripted.ts"
import { groq, openai } from "./support/streamRuns.ts"

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

/** A provider that is down until it is restored. */
const world = (down: Set<string>, line: (provider: string) => scripted.Line | undefined = () => undefined) =>
  scripted.make(({ provider }) => line(provider) ?? (down.has(provider) ? { status: 503 } : undefined))

describe("a run under breakers", () => {
  const both = Route.circuitBreaker(Route.fallback(openai, groq), quick)

  it.effect("skips an open target, probes it once when its time is up, and returns to it", () =>
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

  it.effect("does not retry a target whose breaker its own attempts have opened, and reports their failure", () =>
    Effect.gen(function* () {
      const { layer, seen } = world(new Set(["openai"]))
      const route = openai.pipe(Route.retry({ attempts: 5, delay: 0 }), Route.circuitBreaker(quick))
      const told = yield* tell(route).pipe(Effect.provide(layer))
      assert.deepInclude(told, { answer: "ProviderUnavailable", attempts: 2, skipped: [] })
      assert.strictEqual(seen.length, 2)
    })
  )

  it.effect("waits up to five seconds for the first to return when all are open, and probes it", () =>
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

  it.effect("never calls an exhausted target before its reset, even when all others are down", () =>
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

  it.effect("reports the failure of the target that was called, not that another one was open", () =>
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

  it.effect("shares facts between routes, but not numbers", () =>
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

  it.effect("shares the state of a target with its adapted form, and not with that of another organization", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make(({ headers }) =>
        headers["openai-organization"] === "b" ? undefined : { status: 503 }
      )
      const of = (organization: string) =>
        Provider.openai.chat("m", { headers: { "openai-organization": organization } })
      const adapted = Route.map(of("a"), ({ text }) => ({ text: text.toUpperCase() }))
      yield* Effect.gen(function* () {
        for (let i = 0; i < 2; i++) yield* tell(Route.circuitBreaker(of("a"), quick))
        assert.deepInclude(yield* tell(Route.circuitBreaker(adapted, quick)), { answer: "Rejected", attempts: 0 })
        assert.deepInclude(yield* tell(Route.circuitBreaker(of("b"), quick)), { attempts: 1, ended: undefined })
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("distinguishes two tenants by their credentials", () =>
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

  it.effect.each([
    { name: "failing", line: { status: 503 }, sent: 2 },
    { name: "throttled", line: { status: 429, headers: { "retry-after": "60" } }, sent: 1 },
    {
      name: "exhausted",
      line: {
        status: 429,
        body: { error: { code: "insufficient_quota", message: "quota", type: "insufficient_quota" } }
      },
      sent: 1
    }
  ])("does not call a target that was found $name while it waited for a place there", ({ line, sent }) =>
    Effect.gen(function* () {
      const limited = Route.limits(openai, { concurrency: 1 })
      const route = Route.circuitBreaker(Route.fallback(limited, groq), quick)
      for (const isStream of [false, true]) {
        const { layer, seen } = scripted.make(({ provider }) =>
          provider === "openai" ? { ...line, delay: 100 } : undefined
        )
        const one = isStream
          ? Effect.scoped(
              Effect.flatMap(Router.open(route, "hi"), ({ deltas, summary }) =>
                Effect.andThen(Stream.runDrain(deltas), summary)
              )
            )
          : Router.run(route, "hi")
        const runs = Effect.all(
          Array.from({ length: 6 }, () => one),
          { concurrency: "unbounded" }
        )
        const ended = yield* Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(runs)
          for (let at = 0; at < 700; at += 50) yield* tick(50)
          const ended = yield* Fiber.join(fiber)
          for (const { limits } of yield* Router.snapshot)
            for (const state of limits) assert.deepInclude(state, { inFlight: 0, waiting: 0 })
          return ended
        }).pipe(Effect.provide(layer))
        assert.strictEqual(seen.filter(({ provider }) => provider === "openai").length, sent)
        assert.deepStrictEqual(
          ended.map(({ attempts, skipped, target }) => [target, attempts.length, skipped.map(({ target }) => target)]),
          ended.map((_, i) => (i < sent ? ["groq/m", 2, []] : ["groq/m", 1, ["openai/m"]]))
        )
      }
    })
  )

  it.effect("does not call a lone target that opened while it waited, and reports when it returns", () =>
    Effect.gen(function* () {
      const route = Route.circuitBreaker(Route.limits(openai, { concurrency: 1 }), quick)
      const { layer, seen } = scripted.make(() => ({ status: 503, delay: 100 }))
      const told = yield* Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(
          Effect.all(
            [1, 2, 3, 4].map(() => tell(route)),
            { concurrency: 4 }
          )
        )
        for (let at = 0; at < 500; at += 50) yield* tick(50)
        return yield* Fiber.join(fiber)
      }).pipe(Effect.provide(layer))
      assert.strictEqual(seen.length, 2)
      for (const one of told.slice(2)) {
        assert.deepStrictEqual(one, { answer: "Rejected", skipped: ["openai/m Rejected"], attempts: 0, ended: "open" })
      }
    })
  )

  it.effect("frees the probe of a caller that is interrupted", () =>
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
          // While it is in flight, other runs move on.
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
    const slow = Route.circuitBreaker(openai, { slowCalls: { after: "2 seconds", rate: 0.8 } })
    assert.include(Route.describe(slow), "at 50 % failures or 80 % slower than 2s of at least 10 attempts in 30s")
    for (const one of [slow, Route.circuitBreaker(openai, "off"), Route.circuitBreaker(openai, { slowCalls: "off" })]) {
      const stored = Result.getOrThrow(Route.toJson(one))
      assert.strictEqual(
        Route.describe(Result.getOrThrow(Route.fromJson(JSON.parse(JSON.stringify(stored))))),
        Route.describe(one)
      )
    }
    assert.deepStrictEqual(Route.bounds(route).attempts, Route.bounds(Route.fallback(openai, groq)).attempts)
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
    ["circuitBreaker.window", { window: null }],
    ["circuitBreaker.openFor", { openFor: null }],
    ["circuitBreaker.failureRate", { failureRate: "0.5" }],
    ["circuitBreaker.window", { window: 1_500 }],
    ["circuitBreaker.minimumCalls", { minimumCalls: 0 }],
    ["circuitBreaker.minimumCalls", { minimumCalls: "10" }],
    ["circuitBreaker.failureRate", { failureRate: "0.5" }],
    ["circuitBreaker.failureRate", { failureRate: Number.NaN }],
    ["circuitBreaker.slowCalls", { slowCalls: 500 }],
    ["circuitBreaker.slowCalls.after", { slowCalls: {} }],
    ["circuitBreaker.slowCalls.after", { slowCalls: { after: 0.5 } }],
    ["circuitBreaker.slowCalls.rate", { slowCalls: { after: 500, rate: 0 } }],
    ["circuitBreaker.slowCalls.share", { slowCalls: { after: 500, share: 0.5 } }],
    ["circuitBreaker.openFor", { openFor: 0.5 }],
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
