/**
 * The events of a router while it runs, and its knowledge of its targets.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as RouterEvent from "effect-ai-gateway/RouterEvent"
import { drive as driven } from "./batch/support.ts"
import * as scripted from "./support/scripted.ts"
import { anthropic, client, groq, openai } from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

const drive = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(driven(self, 5), ({ exit }) => exit)

/** Runs a program and returns the lines of its events. */
const lines = <A, E>(
  program: Effect.Effect<A, E, Router.Router>,
  script: scripted.Script = {},
  options: Router.Options = {}
): Effect.Effect<ReadonlyArray<string>, unknown> =>
  Effect.gen(function* () {
    const told: Array<string> = []
    yield* Effect.scoped(
      Effect.gen(function* () {
        yield* Router.listen((event) => told.push(RouterEvent.format(event)))
        yield* program
      })
    )
    return told
  }).pipe(Effect.provide(scripted.make(script, "client", { router: options }).layer), drive)

const down: scripted.Line = { status: 503 }
const run = (route: Route.Route<string, unknown>, options?: Router.RunOptions) =>
  Effect.exit(Router.run(route, "hi", { quiet: true, ...options }))

describe("Router.listen", () => {
  it.effect("reports the attempts of a run in order, with their times", () =>
    Effect.gen(function* () {
      const route = Route.fallback(Route.retry(openai, { attempts: 2, delay: 100, jitter: 0 }), groq)
      assert.deepStrictEqual(yield* lines(run(route), { openai: [down, down] }), [
        "RunStarted: run, executed by the client",
        "AttemptStarted openai/m: number 1, first",
        "AttemptEnded openai/m: failure after 0 ms: provider unavailable",
        "Waiting openai/m: for 100 ms",
        "AttemptStarted openai/m: number 2, retry",
        "AttemptEnded openai/m: failure after 0 ms: provider unavailable",
        "AttemptStarted groq/m: number 3, fallback",
        "AttemptEnded groq/m: success after 0 ms",
        "RunEnded groq/m: success after 100 ms"
      ])
    })
  )

  it.effect("reports how a run failed, and that one was interrupted", () =>
    Effect.gen(function* () {
      const failing = yield* lines(run(openai), { openai: [{ status: 400 }] })
      assert.match(failing.at(-1) ?? "", /^RunEnded: failure after 0 ms: .* \(stop\)$/)
      const left = yield* lines(Effect.timeoutOption(run(openai), 50), { openai: [{ never: true }] })
      assert.deepStrictEqual(left.slice(-2), [
        "AttemptEnded openai/m: interrupted after 50 ms",
        "RunEnded: interrupted after 50 ms"
      ])
    })
  )

  it.effect("reports hedges, and the attempt that another one superseded", () =>
    Effect.gen(function* () {
      const route = Route.hedge(Route.fallback(openai, groq), { after: 50 })
      assert.deepStrictEqual(yield* lines(run(route), { openai: [{ never: true }] }), [
        "RunStarted: run, executed by the client",
        "AttemptStarted openai/m: number 1, first",
        "Hedged groq/m: after 50 ms",
        "AttemptStarted groq/m: number 2, hedge",
        "AttemptEnded groq/m: success after 0 ms",
        "Superseded openai/m",
        "AttemptEnded openai/m: superseded after 50 ms",
        "RunEnded groq/m: success after 50 ms"
      ])
    })
  )

  it.effect("reports what the budget withheld: retries, hedges and fallbacks", () =>
    Effect.gen(function* () {
      const budget = { ratio: 0.1, perSecond: 0 }
      const retried = Route.retry(openai, { attempts: 2, delay: 1 })
      assert.include(yield* lines(run(retried), { openai: [down] }, { budget }), "Withheld openai/m: retry, by budget")
      const again = Route.fallback(openai, Provider.openai.chat("n"))
      assert.include(yield* lines(run(again), { openai: [down] }, { budget }), "Withheld openai/n: fallback, by budget")
      const hedged = Route.hedge(Route.fallback(openai, groq), { after: 50 })
      const slow = { openai: [{ ...down, delay: 100 }] }
      assert.include(yield* lines(run(hedged), slow, { budget }), "Withheld groq/m: hedge, by budget")
    })
  )

  it.effect("reports why a hedge was not made: side effects, an open breaker, a full queue", () =>
    Effect.gen(function* () {
      const hedge = Route.hedge({ after: 50 })
      const slow = { openai: [{ delay: 100, body: scripted.completion("late") }] }
      const stored = hedge(Route.fallback(openai, Provider.openai.chat("m", { body: { store: true } })))
      assert.include(yield* lines(run(stored), slow), "Withheld openai/m#2: hedge, by sideEffects")
      const guarded = Route.circuitBreaker(groq, { minimumCalls: 1 })
      const opened = Effect.andThen(run(guarded), run(hedge(Route.fallback(openai, guarded))))
      assert.include(yield* lines(opened, { ...slow, groq: [down] }), "Withheld groq/m: hedge, by breaker")
      const narrow = Route.limits(groq, { concurrency: 1 })
      const busy = Effect.gen(function* () {
        const first = yield* Effect.forkChild(run(narrow))
        yield* Effect.yieldNow
        yield* run(hedge(Route.fallback(openai, narrow)))
        yield* Fiber.join(first)
      })
      const both = { ...slow, groq: [{ delay: 500, body: scripted.completion("g") }] }
      assert.include(yield* lines(busy, both), "Withheld groq/m: hedge, by queue")
    })
  )

  it.effect("reports every phase of a breaker, and that a target was skipped", () =>
    Effect.gen(function* () {
      const route = Route.circuitBreaker(openai, { minimumCalls: 2, openFor: "20 seconds" })
      const program = Effect.gen(function* () {
        for (let i = 0; i < 3; i++) yield* run(route)
        yield* Effect.sleep("20 seconds")
        yield* run(route)
        yield* run(route)
      })
      const told = yield* lines(program, { openai: [down, down] })
      assert.deepStrictEqual(
        told.filter((line) => /^(BreakerChanged|Skipped)/.test(line)),
        [
          "BreakerChanged openai/m: from closed to open",
          "Skipped openai/m: rejected by the breaker, retry after 20s",
          "BreakerChanged openai/m: from open to halfOpen",
          "BreakerChanged openai/m: from halfOpen to closed"
        ]
      )
    })
  )

  it.effect("reports exhausted credit, and the one attempt when all are open", () =>
    Effect.gen(function* () {
      const route = Route.circuitBreaker(Route.fallback(openai, groq), { minimumCalls: 1 })
      const quota = { status: 429, body: { error: { code: "insufficient_quota", message: "no" } } }
      const told = yield* lines(Effect.andThen(run(route), run(route)), { openai: [quota], groq: [down] })
      assert.include(told, "BreakerChanged openai/m: from closed to exhausted")
      assert.include(told, "Panic groq/m")
    })
  )

  it.effect("reports that an attempt waits in a queue, but not one that is rejected", () =>
    Effect.gen(function* () {
      const slow = { openai: [{ delay: 100, body: scripted.completion("a") }] }
      const narrow = Route.limits({ concurrency: 1, queue: { size: 1 } })(openai)
      const three = Effect.all([run(narrow), run(narrow), run(narrow)], { concurrency: 3 })
      const told = yield* lines(three, slow)
      assert.strictEqual(told.filter((line) => line === "Queued openai/m").length, 1)
      assert.strictEqual(told.filter((line) => line.startsWith("Skipped openai/m")).length, 1)
    })
  )

  it.effect("reports the order of a balance, and the skipped target of a fallback", () =>
    Effect.gen(function* () {
      const balanced = Route.balance([openai, groq], { by: "roundRobin" })
      const told = yield* lines(Effect.andThen(run(balanced), run(balanced)))
      assert.deepStrictEqual(
        told.filter((line) => line.startsWith("Chosen")),
        ["Chosen openai/m: by roundRobin: openai/m, groq/m", "Chosen groq/m: by roundRobin: groq/m, openai/m"]
      )
    })
  )

  it.effect("reports streams until their end, and what a restart does", () =>
    Effect.gen(function* () {
      const route = Route.restart(Route.fallback(openai, groq), 1)
      const script = {
        openai: [{ steps: [S.role, S.say("half"), S.reset] }],
        groq: [{ steps: S.words("all ", "of it") }]
      }
      const told: Array<string> = []
      const provider = S.scripted(script)
      yield* Effect.gen(function* () {
        yield* Router.listen((event) => told.push(RouterEvent.format(event)))
        yield* Stream.runDrain(Router.stream(route, "hi", { execution: "client", quiet: true }))
        yield* Effect.scoped(Router.open(groq, "hi", { execution: "client" }))
      }).pipe(Effect.scoped, Effect.provide(client.backend.layer(provider.upstreams)))
      assert.deepStrictEqual(told.slice(0, 7), [
        "RunStarted: stream, executed by the client",
        "AttemptStarted openai/m: number 1, first",
        told[2],
        "AttemptStarted groq/m: number 2, restart",
        "Restarted groq/m",
        "AttemptEnded groq/m: success after 0 ms",
        "RunEnded groq/m: success after 0 ms"
      ])
      assert.match(told[2] ?? "", /^AttemptEnded openai\/m: failure after 0 ms/)
      // A consumer that stops before the end.
      assert.strictEqual(told.at(-1), "RunEnded: interrupted after 0 ms")
      assert.strictEqual(told.filter((line) => line.startsWith("RunEnded")).length, 2)
    })
  )

  it.effect("is not disturbed by a listener that throws, and stops with its scope", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make({})
      let calls = 0
      yield* Effect.gen(function* () {
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* Router.listen(() => {
              throw new Error("a bug of the listener")
            })
            yield* Router.listen(() => void calls++)
            assert.strictEqual((yield* Router.run(openai, "hi")).target, "openai/m")
          })
        )
        const before = calls
        assert.isAbove(before, 3)
        yield* Router.run(openai, "hi")
        assert.strictEqual(calls, before)
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("holds no prompt, answer, secret or session", () =>
    Effect.gen(function* () {
      const told: Array<RouterEvent.RouterEvent> = []
      const { layer } = scripted.make({
        openai: [{ status: 401, body: { error: { message: "Incorrect key sk-proj-abcdefghijklmnopqrstuvwx" } } }]
      })
      yield* Effect.gen(function* () {
        yield* Router.listen((event) => told.push(event))
        yield* Effect.exit(
          Router.run(Route.fallback(openai, anthropic), "my prompt", { session: "my session", quiet: true })
        )
      }).pipe(Effect.scoped, Effect.provide(layer))
      assert.isAbove(told.length, 4)
      assert.notMatch(told.map(RouterEvent.format).join("\n"), /prompt|session|sk-proj|answer of/)
      assert.notMatch(JSON.stringify(told), /my prompt|my session|sk-proj-abc|answer of/)
    })
  )
})

describe("Router.events", () => {
  it.effect("gives each reader its own copy, from its start on", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make({})
      yield* Effect.gen(function* () {
        const read = Effect.map(Stream.runCollect(Stream.take(Router.events, 4)), (events) =>
          Array.from(events, ({ _tag }) => _tag)
        )
        const readers = yield* Effect.all([Effect.forkChild(read), Effect.forkChild(read)])
        yield* Effect.repeat(Effect.yieldNow, { times: 10 })
        yield* Router.run(openai, "hi")
        const expected = ["RunStarted", "AttemptStarted", "AttemptEnded", "RunEnded"]
        for (const reader of readers) assert.deepStrictEqual(yield* Fiber.join(reader), expected)
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("reports to a slow reader how many it lost, and keeps the newest 1,024", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make({})
      yield* Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        let count = 0
        let lost = 0
        const reader = yield* Effect.forkChild(
          Stream.runForEach(Router.events, (event) => {
            if (event._tag === "EventsLost") lost = event.count
            else count++
            return Deferred.await(gate)
          })
        )
        yield* Effect.repeat(Effect.yieldNow, { times: 10 })
        for (let i = 0; i < 300; i++) yield* Router.run(openai, "hi")
        yield* Deferred.succeed(gate, undefined)
        for (let i = 0; i < 5_000 && count + lost < 1_200; i++) yield* Effect.yieldNow
        yield* Fiber.interrupt(reader)
        assert.isAbove(lost, 0)
        assert.strictEqual(count + lost, 1_200)
        assert.isAtLeast(count, 1_024)
      }).pipe(Effect.provide(layer))
    })
  )
})

describe("Router.snapshot", () => {
  it.effect("describes each target: what is in flight, waits and was learned", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make({ openai: [{ delay: 100, body: scripted.completion("a") }] })
      const route = openai.pipe(
        Route.limits({ concurrency: 1, requestsPerMinute: 1_000 }),
        Route.circuitBreaker(),
        Route.hedge({ after: { percentile: 0.95 } })
      )
      yield* Effect.gen(function* () {
        assert.deepStrictEqual(yield* Router.snapshot, [])
        const fibers = yield* Effect.all([Effect.forkChild(run(route)), Effect.forkChild(run(route))])
        yield* Effect.repeat(Effect.yieldNow, { times: 20 })
        const [busy] = yield* Router.snapshot
        assert.deepInclude(busy, { target: "openai/m", provider: "openai", model: "m", inFlight: 1, waiting: 1 })
        assert.deepInclude(busy?.limits[0], { concurrency: 1, inFlight: 1, waiting: 1, requests: 1 })
        assert.deepStrictEqual(busy?.breaker, { phase: "closed" })
        yield* TestClock.adjust(100)
        for (const fiber of fibers) yield* Fiber.join(fiber)
        for (let i = 0; i < 40; i++) yield* run(route)
        const [idle] = yield* Router.snapshot
        assert.deepInclude(idle, { inFlight: 0, waiting: 0 })
        assert.strictEqual(idle?.latency?.run.n, 42)
        assert.isDefined(idle?.latency?.run.p95)
        assert.deepStrictEqual(idle?.latency?.stream, { n: 0 })
        assert.isAbove(idle?.purse ?? 0, 30)
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("reports the phase of a breaker and the time until its probe", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make({ openai: [down, down] })
      const route = Route.circuitBreaker(openai, { minimumCalls: 2, openFor: "20 seconds" })
      yield* Effect.gen(function* () {
        yield* run(route)
        yield* run(route)
        const [open] = yield* Router.snapshot
        assert.strictEqual(open?.breaker?.phase, "open")
        assert.strictEqual(open?.breaker?.retryAfter && Duration.toSeconds(open.breaker.retryAfter), 20)
        yield* TestClock.adjust("20 seconds")
        yield* run(route)
        assert.deepStrictEqual((yield* Router.snapshot)[0]?.breaker, { phase: "closed" })
      }).pipe(Effect.provide(layer))
    })
  )
})
