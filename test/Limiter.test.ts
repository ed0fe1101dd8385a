import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import * as GatewayError from "effect-ai-gateway/GatewayError"
import * as Limiter from "effect-ai-gateway/Limiter"

/** Steps the test clock until the effect is done. */
const drive = <A, E, R>(self: Effect.Effect<A, E, R>, stepMillis = 100, limitMillis = 3_600_000) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(self, { startImmediately: true })
    for (let at = 0; fiber.pollUnsafe() === undefined && at < limitMillis; at += stepMillis) {
      yield* TestClock.adjust(stepMillis)
    }
    return yield* Fiber.join(fiber)
  })

/** Lets everybody who is awake run before time goes on. */
const tick = (millis: number) => Effect.andThen(TestClock.adjust(millis), Effect.repeat(Effect.yieldNow, { times: 8 }))

const reasonOf = <A, R>(self: Effect.Effect<A, GatewayError.GatewayError, R>) =>
  Effect.map(Effect.flip(self), ({ reason }) => reason)

/** The most units in any window of a minute; windows that end with an event suffice. */
const worstWindow = (events: ReadonlyArray<{ readonly at: number; readonly units: number }>): number => {
  const sorted = [...events].sort((a, b) => a.at - b.at)
  let [worst, sum, from] = [0, 0, 0]
  for (const { at, units } of sorted) {
    sum += units
    for (let first = sorted[from]; first !== undefined && first.at <= at - 60_000; first = sorted[++from]) {
      sum -= first.units
    }
    worst = Math.max(worst, sum)
  }
  return worst
}

describe("rates", () => {
  it.effect.prop(
    "no window of the other side's own count exceeds them, and they are used",
    {
      seed: Schema.String,
      rpm: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 400 })),
      tpm: Schema.Int.check(Schema.isBetween({ minimum: 1_000, maximum: 20_000 })),
      burst: Schema.Literals([0.02, 1 / 6, 1])
    },
    ({ burst, rpm, seed, tpm }) =>
      Effect.gen(function* () {
        const limiter = yield* Limiter.make({ requestsPerMinute: rpm, tokensPerMinute: tpm, burst, skew: "2 seconds" })
        const counted: Array<{ readonly at: number; readonly tokens: number }> = []
        const request = Effect.gen(function* () {
          const tokens = yield* Random.nextIntBetween(0, 500)
          const actual = yield* Random.nextIntBetween(0, tokens + 1)
          const arrival = yield* Random.nextIntBetween(0, 2_001)
          const rest = yield* Random.nextIntBetween(0, 20_000)
          const kind = yield* Random.nextIntBetween(0, 4)
          const permit = yield* limiter.acquire("a", { tokens })
          if (kind === 0) return yield* permit.settle({ sent: false })
          yield* Effect.sleep(arrival)
          counted.push({ at: yield* Clock.currentTimeMillis, tokens: actual })
          yield* Effect.sleep(rest)
          yield* permit.settle({ tokens: actual })
        })
        const fibers: Array<Fiber.Fiber<void, unknown>> = []
        for (let i = 0; i < 300; i++) fibers.push(yield* Effect.forkChild(request))
        // Not in step with anything.
        for (let at = 0; at < 180_000; at += 337) yield* TestClock.adjust(337)
        yield* Effect.forEach(fibers, Fiber.interrupt, { discard: true })
        assert.isAtMost(worstWindow(counted.map(({ at }) => ({ at, units: 1 }))), rpm)
        assert.isAtMost(worstWindow(counted.map(({ at, tokens }) => ({ at, units: tokens }))), tpm)
        assert.isAbove(counted.length, 0)
      }).pipe(Random.withSeed(seed)),
    { arbitrary: { runs: 25 } }
  )

  it.effect("are used nearly whole", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ requestsPerMinute: 300 })
      let done = 0
      const request = Effect.gen(function* () {
        const permit = yield* limiter.acquire("a")
        yield* permit.settle()
        done++
      })
      const fiber = yield* Effect.forkChild(Effect.forever(request))
      for (let at = 0; at < 600_000; at += 100) yield* TestClock.adjust(100)
      yield* Fiber.interrupt(fiber)
      assert.isAtMost(done, 300 * 11)
      assert.isAtLeast(done, 300 * 9.8)
    })
  )

  it.effect("let a burst through at once, and then go evenly", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ requestsPerMinute: 60, burst: 0.5 })
      const at: Array<number> = []
      const one = Effect.gen(function* () {
        yield* Effect.flatMap(limiter.acquire("a"), (permit) => permit.settle())
        at.push(yield* Clock.currentTimeMillis)
      })
      yield* Effect.forkChild(Effect.repeat(one, { times: 99 }), { startImmediately: true })
      yield* Effect.repeat(Effect.yieldNow, { times: 200 })
      for (let t = 0; t < 10_000; t += 100) yield* tick(100)
      assert.strictEqual(at.filter((time) => time === 0).length, 30)
      assert.deepStrictEqual(at.slice(30, 33), [1_000, 2_000, 3_000])
    })
  )

  it.effect("count for a whole minute, and not much longer", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ requestsPerMinute: 1, skew: "2 seconds" })
      const admitted: Array<number> = []
      for (let at = 0; at < 200_000; at += 50) {
        const exit = yield* Effect.exit(limiter.acquire("a", { maxWait: 0 }))
        if (Exit.isSuccess(exit)) {
          admitted.push(at)
          // The first is answered at once, the second never.
          if (at === 0) yield* exit.value.settle()
        }
        yield* TestClock.adjust(50)
      }
      assert.deepStrictEqual(admitted, [0, 60_100, 122_200, 184_300])
    })
  )

  it.effect("are per key", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make((key) => ({ requestsPerMinute: key === "small" ? 1 : 100 }))
      yield* limiter.acquire("small")
      const reason = yield* reasonOf(limiter.acquire("small", { maxWait: 0 }))
      assert.isTrue(reason._tag === "Rejected" && reason.by === "limiter")
      yield* limiter.acquire("large", { maxWait: 0 })
    })
  )

  it.effect("count what was used, and nothing of what was not sent", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ requestsPerMinute: 10, tokensPerMinute: 1_000, burst: 1 })
      const permit = yield* limiter.acquire("a", { tokens: 800 })
      assert.strictEqual((yield* limiter.state("a")).tokens, 800)
      yield* permit.settle({ tokens: 90 })
      yield* permit.settle({ tokens: 1 })
      assert.strictEqual((yield* limiter.state("a")).tokens, 90)
      const unsent = yield* limiter.acquire("a", { tokens: 900 })
      yield* unsent.settle({ sent: false })
      assert.deepInclude(yield* limiter.state("a"), { tokens: 90, requests: 1 })
      for (let i = 0; i < 100_000; i++) {
        const one = yield* limiter.acquire("a", { tokens: i % 900, maxWait: 0 })
        yield* one.settle({ sent: false })
      }
      assert.deepInclude(yield* limiter.state("a"), { tokens: 90, requests: 1 })
    })
  )

  it.effect("refuse what can never fit, and say how long when the wait is too long", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ tokensPerMinute: 1_000 })
      const never = yield* reasonOf(limiter.acquire("a", { tokens: 1_001 }))
      assert.isTrue(never._tag === "Rejected" && never.retryAfter === undefined)
      yield* Effect.flatMap(limiter.acquire("a", { tokens: 1_000 }), (permit) => permit.settle())
      const later = yield* reasonOf(limiter.acquire("a", { tokens: 500, maxWait: "1 second" }))
      // Of the level 500 are owed and 166.7 are there at most: (833.3 + 166.7) tokens later, at 1,000 a minute.
      assert.isTrue(later._tag === "Rejected" && later.retryAfter !== undefined)
      assert.strictEqual(Duration.toMillis(GatewayError.retryAfter(later) ?? 0), 60_100)
      // Behind another waiter, the wait itself is limited.
      const first = yield* Effect.forkChild(limiter.acquire("a", { tokens: 500 }), { startImmediately: true })
      const second = yield* Effect.forkChild(Effect.exit(limiter.acquire("a", { tokens: 0, maxWait: "61 seconds" })), {
        startImmediately: true
      })
      const third = yield* Effect.forkChild(Effect.exit(limiter.acquire("a", { tokens: 900, maxWait: "10 minutes" })), {
        startImmediately: true
      })
      yield* TestClock.adjust(60_000)
      assert.isUndefined(first.pollUnsafe())
      yield* TestClock.adjust(1_000)
      yield* Fiber.join(first)
      assert.isTrue(Exit.isSuccess(yield* Fiber.join(second)))
      yield* TestClock.adjust(600_000)
      assert.isTrue(Exit.isSuccess(yield* Fiber.join(third)))
    })
  )
})

describe("places", () => {
  it.effect("are never more than allowed, first come first served, urgent before all", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ concurrency: 3 })
      let [running, most] = [0, 0]
      const order: Array<string> = []
      const job = (name: string, urgent = false) =>
        Effect.gen(function* () {
          running++
          most = Math.max(most, running)
          order.push(name)
          yield* Effect.sleep(1_000)
          running--
        }).pipe(Limiter.limit(limiter, "a", { urgent }))
      const all = Effect.all([...Array.from({ length: 8 }, (_, i) => job(`n${i}`)), job("u0", true), job("u1", true)], {
        concurrency: "unbounded"
      })
      yield* drive(all, 250)
      assert.strictEqual(most, 3)
      assert.deepStrictEqual(order, ["n0", "n1", "n2", "u0", "u1", "n3", "n4", "n5", "n6", "n7"])
      assert.deepInclude(yield* limiter.state("a"), { inFlight: 0, waiting: 0 })
    })
  )

  it.effect("come back from failures, interruptions, and those who stopped waiting", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ concurrency: 1 })
      const limited = Limiter.limit(limiter, "a")
      const holder = yield* Effect.forkChild(limited(Effect.never), { startImmediately: true })
      const waiting = yield* Effect.forEach([1, 2, 3], () =>
        Effect.forkChild(limited(Effect.succeed("in")), { startImmediately: true })
      )
      assert.deepInclude(yield* limiter.state("a"), { inFlight: 1, waiting: 3 })
      const [first, second, third] = waiting
      if (first === undefined || second === undefined || third === undefined) return assert.fail("three fibers")
      yield* Fiber.interrupt(first)
      assert.deepInclude(yield* limiter.state("a"), { inFlight: 1, waiting: 2 })
      yield* Fiber.interrupt(holder)
      assert.strictEqual(yield* Fiber.join(third), "in")
      assert.strictEqual(yield* Fiber.join(second), "in")
      yield* Effect.exit(limited(Effect.die(new Error("x"))))
      assert.deepInclude(yield* limiter.state("a"), { inFlight: 0, waiting: 0 })
      const noPlace = yield* limiter.acquire("a", { place: false })
      assert.strictEqual((yield* limiter.state("a")).inFlight, 0)
      yield* noPlace.settle()
      assert.strictEqual((yield* limiter.state("a")).inFlight, 0)
    })
  )
})

describe("adaptive places", () => {
  interface Upstream {
    /** Milliseconds for an answer, and whether it is a refusal. */
    readonly answer: (inFlight: number, now: number) => { readonly millis: number; readonly throttled: boolean }
  }

  /** Answers per second over the second half, and the limit at the end. */
  const measure = (concurrency: Limiter.Limits["concurrency"], upstream: Upstream, seconds = 120) =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ concurrency })
      let [inFlight, good] = [0, 0]
      const one = Effect.gen(function* () {
        const permit = yield* limiter.acquire("a")
        inFlight++
        const startedAt = yield* Clock.currentTimeMillis
        const { millis, throttled } = upstream.answer(inFlight, startedAt)
        yield* Effect.sleep(millis)
        inFlight--
        const now = yield* Clock.currentTimeMillis
        if (!throttled && now >= seconds * 500) good++
        yield* permit.settle(throttled ? { throttled } : { latency: now - startedAt })
      })
      const fibers = yield* Effect.forEach(Array.from({ length: 300 }), () => Effect.forkChild(Effect.forever(one)))
      for (let at = 0; at < seconds * 1_000; at += 10) yield* tick(10)
      yield* Effect.forEach(fibers, Fiber.interrupt, { discard: true })
      const { concurrency: limit } = yield* limiter.state("a")
      return { rate: good / (seconds / 2), limit: limit ?? 0 }
    })

  /** Refuses beyond a number of requests per second, quickly. */
  const throttling = (perSecond: number): Upstream => {
    let [level, at] = [perSecond / 10, 0]
    return {
      answer: (_inFlight, now) => {
        level = Math.min(perSecond / 10, level + ((now - at) * perSecond) / 1_000)
        at = now
        if (level < 1) return { millis: 20, throttled: true }
        level--
        return { millis: 200, throttled: false }
      }
    }
  }
  /** Serves so many at once, the others queue. */
  const queueing = (capacity: number): Upstream => ({
    answer: (inFlight) => ({ millis: 200 * Math.max(1, inFlight / capacity), throttled: false })
  })

  it.effect("stay within 20 % of what an upstream that throttles gives at best", () =>
    Effect.gen(function* () {
      const { limit, rate } = yield* measure("adaptive", throttling(100))
      assert.isAtLeast(rate, 80)
      assert.isAtMost(limit, 40)
    })
  )

  it.effect("stay within 20 % of the best where slowness is the only sign, without piling up", () =>
    Effect.gen(function* () {
      const { limit, rate } = yield* measure("adaptive", queueing(20))
      assert.isAtLeast(rate, 80)
      assert.isAtMost(limit, 60)
    })
  )

  it.effect("grow as far as they may when nothing holds them back, and never beyond", () =>
    Effect.gen(function* () {
      const { limit } = yield* measure(
        { initial: 2, max: 100 },
        { answer: () => ({ millis: 100, throttled: false }) },
        20
      )
      assert.strictEqual(limit, 100)
    })
  )

  it.effect("do not grow without need", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ concurrency: { initial: 10 } })
      for (let i = 0; i < 100; i++) {
        const permit = yield* limiter.acquire("a")
        yield* permit.settle({ latency: 10 })
      }
      assert.strictEqual((yield* limiter.state("a")).concurrency, 10)
    })
  )

  it.effect("halve once for all answers of one flight", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ concurrency: { initial: 16 } })
      const permits = yield* Effect.forEach(Array.from({ length: 16 }), () => limiter.acquire("a"))
      yield* TestClock.adjust(10)
      yield* Effect.forEach(permits, (permit) => permit.settle({ throttled: true }), { discard: true })
      assert.strictEqual((yield* limiter.state("a")).concurrency, 8)
    })
  )

  it.effect("take slowness that does not depend on them for the way things are", () =>
    Effect.gen(function* () {
      const slower: Upstream = { answer: (_inFlight, now) => ({ millis: now < 20_000 ? 100 : 500, throttled: false }) }
      const { limit } = yield* measure({ initial: 32, max: 64 }, slower, 120)
      assert.strictEqual(limit, 64)
    })
  )
})

describe("limit", () => {
  it.effect("settles with what an answer used, or as its failure says", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ requestsPerMinute: 100, tokensPerMinute: 10_000, burst: 1 })
      const run = (reason: GatewayError.Reason) =>
        Effect.fail(new GatewayError.GatewayError({ method: "x", reason })).pipe(
          Limiter.limit(limiter, reason._tag, { tokens: 100 }),
          Effect.ignore,
          Effect.andThen(limiter.state(reason._tag)),
          Effect.map(({ requests, tokens }) => [requests, tokens])
        )
      yield* Limiter.limit<number>(limiter, "ok", { tokens: 100, used: (n) => n })(Effect.succeed(7))
      assert.strictEqual((yield* limiter.state("ok")).tokens, 7)
      assert.deepStrictEqual(yield* run(new GatewayError.TransportFailure({ kind: "connect" })), [0, 0])
      const unclear = new GatewayError.TransportFailure({ kind: "connect", code: "network_error" })
      const other = yield* Effect.result(
        Limiter.limit(limiter, "unclear", { tokens: 100 })(
          Effect.fail(new GatewayError.GatewayError({ method: "x", reason: unclear }))
        )
      )
      assert.isTrue(Result.isFailure(other))
      assert.deepInclude(yield* limiter.state("unclear"), { requests: 1, tokens: 100 })
      assert.deepStrictEqual(yield* run(new GatewayError.RateLimited({ origin: "provider" })), [1, 0])
      assert.deepStrictEqual(yield* run(new GatewayError.ProviderUnavailable({ origin: "provider" })), [1, 100])
    })
  )
})

describe("bad limits", () => {
  const bad: ReadonlyArray<readonly [string, Limiter.Limits]> = [
    ["requestsPerMinute", { requestsPerMinute: 0 }],
    ["requestsPerMinute", { requestsPerMinute: 1.5 }],
    ["tokensPerMinute", { tokensPerMinute: Number.NaN }],
    ["burst", { burst: 0 }],
    ["burst", { burst: 1.1 }],
    ["skew", { skew: "31 seconds" }],
    ["concurrency", { concurrency: 0 }],
    ["concurrency.max", { concurrency: { max: 0 } }],
    ["concurrency.min", { concurrency: { min: 9, max: 8 } }],
    ["concurrency.initial", { concurrency: { initial: 9, max: 8 } }],
    ["concurrency.tolerance", { concurrency: { tolerance: 1 } }]
  ]
  for (const [field, limits] of bad) {
    it.effect(`are refused: ${field} of ${JSON.stringify(limits)}`, () =>
      Effect.gen(function* () {
        const reason = yield* reasonOf(Limiter.make(limits))
        assert.isTrue(reason._tag === "InvalidRequest" && reason.field === field)
      })
    )
  }
  it.effect("are refused by key too, and so are bad reservations", () =>
    Effect.gen(function* () {
      const byKey = yield* Limiter.make(() => ({ burst: 2 }))
      assert.strictEqual((yield* reasonOf(byKey.acquire("a")))._tag, "InvalidRequest")
      const limiter = yield* Limiter.make({ concurrency: 1 })
      for (const reservation of [{ requests: -1 }, { tokens: Number.NaN }, { maxWait: -1 }]) {
        assert.strictEqual((yield* reasonOf(limiter.acquire("a", reservation)))._tag, "InvalidRequest")
      }
    })
  )
})
