import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import { Simulation } from "effect-ai-gateway/testing"

const openai = Provider.openai.chat("m")
const groq = Provider.groq.chat("m")
const plain = Route.fallback(openai, groq)

const traffic = {
  seed: 1,
  duration: "30 seconds",
  arrivals: { perSecond: 40 },
  input: "hi",
  targets: { openai: { latency: 200 }, groq: { latency: 100 } }
} as const satisfies Simulation.Traffic<string>

describe("a simulation", () => {
  it.effect("measures only the values of a model", () =>
    Effect.gen(function* () {
      const result = yield* Simulation.run({ ...traffic, route: plain, arrivals: { perSecond: 40, by: "constant" } })
      assert.strictEqual(result.runs, 1_200)
      assert.deepInclude(result, { successRate: 1, p50: 200, p95: 200, p99: 200, requests: 1_200, requestsPerRun: 1 })
      assert.deepInclude(result, { failures: {}, unfinished: 0 })
      assert.deepStrictEqual(result.targets["openai"], { requests: 1_200, answered: 1_200, failed: 0, interrupted: 0 })
      assert.strictEqual(result.series.length, 60)
      assert.deepStrictEqual(result.series[1], {
        at: 500,
        runs: 20,
        successRate: 1,
        p50: 200,
        p95: 200,
        p99: 200,
        load: { openai: 20, groq: 0 },
        breakers: { openai: "closed", groq: "closed" }
      })
    })
  )

  it.effect("is the same for the same seed, and differs for another", () =>
    Effect.gen(function* () {
      const route = Route.hedge(Route.balance([openai, groq], { by: "latency" }), { after: { percentile: 0.9 } })
      const options = {
        ...traffic,
        route: Route.circuitBreaker(Route.retry(route, { attempts: 2 }), {}),
        targets: {
          openai: { latency: { p50: 200, p99: 2_000 }, errors: { rate: 0.1 } },
          groq: { latency: { p50: 150, p99: 900, slower: { share: 0.02, times: 5 } }, concurrency: 10 }
        },
        outages: [{ target: "openai", from: "10 seconds", until: "15 seconds" }]
      } as const
      const first = yield* Simulation.run(options)
      assert.deepStrictEqual(yield* Simulation.run(options), first)
      assert.notDeepEqual(yield* Simulation.run({ ...options, seed: 2 }), first)
    })
  )

  it.effect("draws latencies through the percentiles of the model", () =>
    Effect.gen(function* () {
      const { p50 = 0, p99 = 0 } = yield* Simulation.run({
        ...traffic,
        duration: "50 seconds",
        arrivals: { perSecond: 100 },
        route: openai,
        targets: { openai: { latency: { p50: "300 millis", p99: "3 seconds" } } }
      })
      assert.closeTo(p50, 300, 25)
      assert.closeTo(p99, 3_000, 600)
    })
  )

  it.effect("fails by outages and throttles only in their time, each in its own way", () =>
    Effect.gen(function* () {
      const during = (from: number) => ({ target: "openai", from, until: from + 5_000 })
      const { failures, series } = yield* Simulation.run({
        ...traffic,
        arrivals: { perSecond: 20, by: "constant" },
        route: Route.timeout(openai, "1 second"),
        targets: { openai: { latency: 100 } },
        outages: [during(0), { ...during(5_000), fails: "stall" }, { ...during(10_000), fails: "reset" }],
        throttles: [
          { ...during(15_000), retryAfter: "30 seconds" },
          { ...during(20_000), perSecond: 5, status: 529 }
        ],
        bucket: "5 seconds"
      })
      assert.deepStrictEqual(failures, {
        ProviderUnavailable: 100 + 71,
        Timeout: 100,
        TransportFailure: 100,
        RateLimited: 100
      })
      assert.deepStrictEqual(
        series.map(({ successRate }) => successRate),
        [0, 0, 0, 0, 0.29, 1]
      )
    })
  )

  it.effect("makes calls wait for a place at a target with limited concurrency", () =>
    Effect.gen(function* () {
      const { p50, p99 } = yield* Simulation.run({
        ...traffic,
        duration: "1 second",
        arrivals: { burst: 10, every: "1 second" },
        route: openai,
        targets: { openai: { latency: 100, concurrency: 2 } }
      })
      assert.deepStrictEqual([p50, p99], [300, 500])
    })
  )

  it.effect("repeats recorded outcomes at recorded times", () =>
    Effect.gen(function* () {
      const { failures, p99, runs } = yield* Simulation.run({
        ...traffic,
        arrivals: { times: ["5 seconds", "1 second", "2 seconds", "2 seconds"] },
        route: openai,
        targets: {
          openai: { recorded: [{ latency: 50 }, { latency: 70, status: 429, retryAfter: 2 }, { latency: 90 }] }
        }
      })
      assert.strictEqual(runs, 4)
      assert.deepStrictEqual(failures, { RateLimited: 1 })
      assert.strictEqual(p99, 90)
    })
  )

  it.effect("counts load, interrupted losers and cost per target", () =>
    Effect.gen(function* () {
      const price = { input: 1, output: 10 }
      const { cost, requestsPerRun, targets } = yield* Simulation.run({
        ...traffic,
        duration: "10 seconds",
        arrivals: { perSecond: 10, by: "constant" },
        route: Route.race(openai, groq),
        targets: {
          openai: { latency: 200, price, usage: { input: 1_000, output: 100 } },
          groq: { latency: 100, price, usage: { input: 1_000, output: 100 } }
        }
      })
      assert.strictEqual(requestsPerRun, 2)
      assert.deepInclude(targets["openai"], { requests: 100, answered: 0, interrupted: 100 })
      assert.deepInclude(targets["groq"], { requests: 100, answered: 100, interrupted: 0 })
      assert.closeTo(targets["openai"]?.cost ?? 0, 0.1, 1e-9)
      assert.closeTo(targets["groq"]?.cost ?? 0, 0.2, 1e-9)
      assert.closeTo(cost ?? 0, 0.3, 1e-9)
    })
  )

  it.effect("shows when a breaker was open", () =>
    Effect.gen(function* () {
      const { series, targets } = yield* Simulation.run({
        ...traffic,
        duration: "60 seconds",
        route: Route.circuitBreaker(plain, { window: "5 seconds", openFor: "5 seconds" }),
        outages: [{ target: "openai", from: "20 seconds", until: "30 seconds" }],
        bucket: "10 seconds"
      })
      assert.deepStrictEqual(
        series.map(({ breakers }) => `${breakers["openai"]} ${breakers["groq"]}`),
        ["closed closed", "closed closed", "open closed", "open closed", "closed closed", "closed closed"]
      )
      assert.isBelow(targets["openai"]?.failed ?? 0, 130)
    })
  )

  it.effect("separates runs that had not ended", () =>
    Effect.gen(function* () {
      const { runs, successRate, unfinished } = yield* Simulation.run({
        ...traffic,
        duration: "2 seconds",
        arrivals: { perSecond: 10, by: "constant" },
        route: openai,
        targets: { openai: { latency: 100 } },
        outages: [{ target: "openai", from: "1 second", until: "2 seconds", fails: "stall" }],
        patience: "1 minute"
      })
      assert.deepStrictEqual([runs, successRate, unfinished], [20, 0.5, 10])
    })
  )

  it.effect("gives each run its own input and options", () =>
    Effect.gen(function* () {
      const { targets } = yield* Simulation.run({
        ...traffic,
        // One at a time, because a busy target would send the session elsewhere.
        arrivals: { perSecond: 2, by: "constant" },
        route: Route.balance([openai, groq], { by: "session" }),
        input: (index: number) => `question ${index}`,
        runOptions: (index) => ({ session: `session ${index * 0}` })
      })
      assert.sameMembers(
        Object.values(targets).map(({ requests }) => requests > 0),
        [true, false]
      )
    })
  )

  it.effect("compares routes under the same arrivals, and prints them", () =>
    Effect.gen(function* () {
      const results = yield* Simulation.compare({
        ...traffic,
        routes: { plain, hedged: Route.hedge(plain, { after: 150 }) },
        router: { budget: "none" }
      })
      assert.deepStrictEqual(Object.keys(results), ["plain", "hedged"])
      assert.strictEqual(results["plain"]?.runs, results["hedged"]?.runs)
      assert.strictEqual(results["hedged"]?.requestsPerRun, 2)
      const [head = "", ...rows] = Simulation.table(results).split("\n")
      assert.include(head, "requests/run")
      assert.deepStrictEqual(rows[0]?.split(/ {2,}/).slice(2), ["100.00 %", "200 ms", "200 ms", "200 ms", "1.000", "-"])
      assert.lengthOf(rows, 2)
    })
  )

  it.effect("has 60 points by default, whatever the duration, and loses no run to fractions", () =>
    Effect.gen(function* () {
      for (const duration of [11, 42, 1_000]) {
        const arrivals = { perSecond: 1_000, by: "constant" } as const
        const route = openai
        const { runs, series, successRate } = yield* Simulation.run({
          ...traffic,
          duration,
          arrivals,
          route,
          targets: { openai: { latency: 1 } }
        })
        assert.deepStrictEqual([series.length, successRate], [60, 1])
        assert.strictEqual(
          series.reduce((sum, point) => sum + point.runs, 0),
          runs
        )
      }
    })
  )

  it.effect("dies with the defect of a route", () =>
    Effect.gen(function* () {
      const route = Route.when({
        label: "broken",
        predicate: () => {
          throw new Error("of the predicate")
        },
        onTrue: openai,
        onFalse: groq
      })
      const exit = yield* Effect.exit(Simulation.run({ ...traffic, route }))
      assert.isTrue(exit._tag === "Failure" && Cause.hasDies(exit.cause))
    })
  )

  const wrong: ReadonlyArray<readonly [change: object, field: string]> = [
    [{ seed: -1 }, "seed"],
    [{ seed: 0.5 }, "seed"],
    [{ duration: 0 }, "duration"],
    [{ duration: "25 hours" }, "duration"],
    [{ arrivals: { perSecond: 0 } }, "arrivals.perSecond"],
    [{ arrivals: { perSecond: Number.NaN } }, "arrivals.perSecond"],
    [{ arrivals: { perSecond: 10, by: "chance" } }, "arrivals.by"],
    [{ arrivals: { perSecond: 10_000 }, duration: "1 hour" }, "arrivals"],
    [{ arrivals: { burst: 0, every: 10 } }, "arrivals.burst"],
    [{ arrivals: { burst: 1, every: 0 } }, "arrivals.every"],
    [{ arrivals: { times: [] } }, "arrivals.times"],
    [{ arrivals: { times: ["31 seconds"] } }, "arrivals.times[0]"],
    [{ arrivals: 40 }, "arrivals"],
    [{ targets: {} }, "targets"],
    [{ targets: { openai: { latency: 1 } } }, "targets"],
    [{ targets: { ...traffic.targets, grok: { latency: 1 } } }, `targets["grok"]`],
    [{ targets: { ...traffic.targets, openai: { latency: -1 } } }, `targets["openai"].latency`],
    [{ targets: { ...traffic.targets, openai: { latency: { p50: 5, p99: 4 } } } }, `targets["openai"].latency.p99`],
    [
      { targets: { ...traffic.targets, openai: { latency: { p50: 5, slower: { share: 2, times: 2 } } } } },
      `targets["openai"].latency.slower.share`
    ],
    [
      { targets: { ...traffic.targets, openai: { latency: 1, errors: { rate: 1.5 } } } },
      `targets["openai"].errors.rate`
    ],
    [{ targets: { ...traffic.targets, openai: { latency: 1, concurrency: 0 } } }, `targets["openai"].concurrency`],
    [
      { targets: { ...traffic.targets, openai: { latency: 1, price: { input: -1, output: 1 } } } },
      `targets["openai"].price.input`
    ],
    [{ targets: { ...traffic.targets, openai: { recorded: [] } } }, `targets["openai"].recorded`],
    [{ targets: { ...traffic.targets, openai: { latencies: 1 } } }, `targets["openai"].latencies`],
    [{ outages: [{ target: "azure", from: 0, until: 1 }] }, "outages[0].target"],
    [{ outages: [{ target: "groq", from: 2, until: 1 }] }, "outages[0].until"],
    [{ outages: [{ target: "groq", from: 0, until: 1, fails: 429 }] }, "outages[0].fails"],
    [{ outages: [{ target: "groq", from: 0, until: 1, share: 0 }] }, "outages[0].share"],
    [{ outages: [null] }, "outages"],
    [{ throttles: [{ target: "groq", from: 0, until: 1, status: 503 }] }, "throttles[0].status"],
    [{ throttles: [{ target: "groq", from: 0, until: 1, per: 5 }] }, "throttles[0].per"],
    [{ bucket: "1 micros" }, "bucket"],
    [{ patience: "-1 seconds" }, "patience"],
    [{ sead: 1 }, "sead"],
    [{ router: { execution: "gateway" } }, "router.execution"],
    [{ runOptions: { execution: "gateway" } }, "runOptions.execution"],
    [{ router: { budget: { ratio: 2 } } }, "budget.ratio"],
    [{ route: Route.retry(plain, { attempts: 0 }) }, "route: retry.attempts"],
    [{ route: "plain" }, "route"],
    [{ input: { messages: "no" } }, "messages"]
  ]
  for (const [change, field] of wrong) {
    it.effect(`rejects ${JSON.stringify(change)}, naming ${field}`, () =>
      Effect.gen(function* () {
        const options = { ...traffic, route: plain, ...change } as Simulation.Options<string, unknown>
        const { method, reason } = yield* Effect.flip(Simulation.run(options))
        assert.deepInclude(reason, { _tag: "InvalidRequest", field })
        assert.strictEqual(method, "Simulation.run")
      })
    )
  }
})
