import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import type * as GatewayError from "effect-ai-gateway/GatewayError"
import * as Limiter from "effect-ai-gateway/Limiter"

const reasonOf = <A, R>(self: Effect.Effect<A, GatewayError.GatewayError, R>) =>
  Effect.map(Effect.flip(self), ({ reason }) => reason)

/** Milliseconds after which a rejection says to come again. */
const waitOf = (reason: GatewayError.Reason): number | undefined =>
  reason._tag === "Rejected" && reason.by === "limiter" && reason.retryAfter !== undefined
    ? Duration.toMillis(reason.retryAfter)
    : undefined

const tick = (millis: number) => Effect.andThen(TestClock.adjust(millis), Effect.repeat(Effect.yieldNow, { times: 8 }))

/** Waits for a place, notes its name, and holds the place for a second. */
const jobs = (limiter: Limiter.Limiter) => {
  const order: Array<string> = []
  const job = (name: string, reservation: Limiter.Reservation = {}) =>
    Effect.forkChild(
      Effect.exit(
        Limiter.limit(
          limiter,
          "a",
          reservation
        )(
          Effect.andThen(
            Effect.sync(() => order.push(name)),
            Effect.sleep(1_000)
          )
        )
      ),
      { startImmediately: true }
    )
  return { job, order }
}

describe("a queue", () => {
  it.effect("lets interactive requests go before the background, and repeats before both", () =>
    Effect.gen(function* () {
      const { job, order } = jobs(yield* Limiter.make({ concurrency: 1, queue: { maxWait: "1 minute" } }))
      yield* job("first")
      yield* job("b1", { priority: "background" })
      yield* job("i1")
      yield* job("b2", { priority: "background" })
      yield* job("i2", { priority: "interactive" })
      yield* job("u", { urgent: true })
      for (let i = 0; i < 12; i++) yield* tick(500)
      assert.deepStrictEqual(order, ["first", "u", "i1", "i2", "b1", "b2"])
    })
  )

  it.effect("passes no waiter over for more than 30 seconds", () =>
    Effect.gen(function* () {
      const { job, order } = jobs(yield* Limiter.make({ concurrency: 1 }))
      yield* job("first")
      yield* job("background", { priority: "background" })
      for (let i = 0; i < 120; i++) {
        if (i % 2 === 0) yield* job(`i${i}`)
        yield* tick(500)
      }
      const at = order.indexOf("background")
      assert.isTrue(at >= 28 && at <= 32, String(at))
    })
  )

  it.effect("wakes the background that has come before who was next, also where a rate is waited for", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ requestsPerMinute: 1, burst: 1, skew: 0 })
      yield* Effect.flatMap(limiter.acquire("a"), (permit) => permit.settle())
      const order: Array<string> = []
      const enter = (priority: "interactive" | "background") =>
        Effect.forkChild(
          Effect.flatMap(limiter.acquire("a", { priority }), (permit) => {
            order.push(priority)
            return permit.settle()
          }),
          { startImmediately: true }
        )
      yield* enter("background")
      yield* TestClock.adjust(1_000)
      yield* enter("interactive")
      for (let i = 0; i < 140; i++) yield* tick(1_000)
      assert.deepStrictEqual(order, ["background", "interactive"])
    })
  )

  it.effect("rejects the newest of the lowest priority when it is full, and says when to come again", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ concurrency: 1, queue: { size: 2, maxWait: "1 hour" } })
      const { job, order } = jobs(limiter)
      yield* job("first")
      yield* job("b1", { priority: "background" })
      const b2 = yield* job("b2", { priority: "background" })
      const b3 = yield* reasonOf(limiter.acquire("a", { priority: "background" }))
      assert.isAtLeast(waitOf(b3) ?? 0, 1_000)
      yield* job("i1")
      yield* tick(0)
      const left = b2.pollUnsafe()
      assert.isTrue(left !== undefined && Exit.isSuccess(left) && Exit.isFailure(left.value))
      assert.strictEqual((yield* limiter.state("a")).waiting, 2)
      yield* job("u", { urgent: true })
      yield* tick(0)
      // Now an interactive one and a repeat wait, and none of a lower priority.
      assert.isDefined(waitOf(yield* reasonOf(limiter.acquire("a"))))
      for (let i = 0; i < 8; i++) yield* tick(500)
      assert.deepStrictEqual(order, ["first", "u", "i1"])
      assert.deepInclude(yield* limiter.state("a"), { inFlight: 0, waiting: 0 })
    })
  )

  it.effect("rejects on entry who would wait too long, by rates", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ requestsPerMinute: 60, burst: 1 / 60, queue: {} })
      yield* limiter.acquire("a")
      const waiting = yield* Effect.forEach(Array.from({ length: 10 }), () =>
        Effect.forkChild(limiter.acquire("a"), { startImmediately: true })
      )
      const reason = yield* reasonOf(limiter.acquire("a"))
      assert.strictEqual(waitOf(reason), 11_000)
      assert.isDefined(waitOf(yield* reasonOf(limiter.acquire("a", { maxWait: "5 seconds" }))))
      yield* Effect.forkChild(limiter.acquire("a", { urgent: true }), { startImmediately: true })
      assert.strictEqual((yield* limiter.state("a")).waiting, 11)
      yield* Effect.forEach(waiting, Fiber.interrupt, { discard: true })
      assert.strictEqual((yield* limiter.state("a")).waiting, 1)
    })
  )

  it.effect("rejects on entry who would wait too long, by the time that places are held", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ concurrency: 2, queue: { maxWait: "4 seconds" } })
      for (let i = 0; i < 4; i++) {
        const permit = yield* limiter.acquire("a")
        yield* TestClock.adjust(2_000)
        yield* permit.settle()
      }
      yield* limiter.acquire("a")
      yield* limiter.acquire("a")
      for (let i = 0; i < 4; i++) yield* Effect.forkChild(limiter.acquire("a"), { startImmediately: true })
      assert.strictEqual((yield* limiter.state("a")).waiting, 4)
      assert.strictEqual(waitOf(yield* reasonOf(limiter.acquire("a"))), 5_000)
    })
  )

  it.effect("does not take a reservation of more than a burst for a longer wait than it is", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ tokensPerMinute: 60_000, burst: 1 / 6, queue: {} })
      yield* limiter.acquire("a", { tokens: 5_000 })
      // It needs a full level of 10,000, of which half is there, and owes the rest.
      const fiber = yield* Effect.forkChild(limiter.acquire("a", { tokens: 20_000 }), { startImmediately: true })
      yield* tick(5_000)
      yield* Fiber.join(fiber)
    })
  )

  it.effect("bounds the wait of who is not rejected on entry", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ concurrency: 1, queue: {} })
      yield* limiter.acquire("a")
      const fiber = yield* Effect.forkChild(Effect.exit(limiter.acquire("a")), { startImmediately: true })
      yield* TestClock.adjust(9_999)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.isTrue(Exit.isFailure(yield* Fiber.join(fiber)))
      assert.strictEqual((yield* limiter.state("a")).waiting, 0)
    })
  )

  it.effect("has no bounds where none are given", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ concurrency: 1 })
      yield* limiter.acquire("a")
      for (let i = 0; i < 2_000; i++) {
        yield* Effect.forkChild(limiter.acquire("a", { priority: "background" }), { startImmediately: true })
      }
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* limiter.state("a")).waiting, 2_000)
    })
  )
})

describe("a reservation", () => {
  it.effect("changes nothing in any dimension when it is refused", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ tokensPerMinute: 1_000, requestsPerMinute: 10, concurrency: 5, burst: 1 })
      const first = yield* limiter.acquire("a", { tokens: 600 })
      const state = yield* limiter.state("a")
      assert.isDefined(waitOf(yield* reasonOf(limiter.acquire("a", { tokens: 500, maxWait: 0 }))))
      assert.deepStrictEqual(yield* limiter.state("a"), state)
      const second = yield* limiter.acquire("a", { tokens: 400, maxWait: 0 })
      yield* first.settle({ tokens: 150 })
      assert.strictEqual((yield* limiter.state("a")).tokens, 550)
      assert.isDefined(waitOf(yield* reasonOf(limiter.acquire("a", { tokens: 500, maxWait: 0 }))))
      yield* limiter.acquire("a", { tokens: 450, maxWait: 0 })
      yield* second.settle()
      assert.deepInclude(yield* limiter.state("a"), { inFlight: 1, requests: 3, tokens: 1_000 })
    })
  )

  it.effect("is refused with a priority that does not exist", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ concurrency: 1 })
      const reason = yield* reasonOf(limiter.acquire("a", { priority: "high" as never }))
      assert.isTrue(reason._tag === "InvalidRequest" && reason.field === "priority")
    })
  )

  for (const [field, queue] of [
    ["queue", 3],
    ["queue.length", { length: 3 }],
    ["queue.size", { size: -1 }],
    ["queue.size", { size: 1.5 }],
    ["queue.size", { size: "3" }],
    ["queue.maxWait", { maxWait: "soon" }],
    ["queue.maxWait", { maxWait: -1 }]
  ] as const) {
    it(`names what is wrong with a queue: ${JSON.stringify(queue)}`, () =>
      assert.deepStrictEqual(
        Limiter.problems({ queue: queue as never }).map((problem) => problem.field),
        [field]
      ))
  }
})

describe("what an answer says about the limits of the other side", () => {
  it.effect("tightens the limits of its key until the reset, and no other", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ requestsPerMinute: 1_000 })
      const permit = yield* limiter.acquire("a")
      yield* permit.learn?.({ requests: { remaining: 2, resetAfter: Duration.seconds(20) } }) ?? Effect.void
      yield* permit.settle()
      yield* limiter.acquire("a", { maxWait: 0 })
      yield* limiter.acquire("a", { maxWait: 0 })
      assert.strictEqual(waitOf(yield* reasonOf(limiter.acquire("a", { maxWait: 0 }))), 20_000)
      yield* limiter.acquire("b", { maxWait: 0 })
      yield* TestClock.adjust(20_000)
      yield* limiter.acquire("a", { maxWait: 0 })
    })
  )

  it.effect("never lets more in than the limits that were set", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ requestsPerMinute: 2, burst: 1 })
      const permit = yield* limiter.acquire("a")
      yield* permit.learn?.({ requests: { remaining: 1_000, limit: 2_000, resetAfter: Duration.seconds(1) } }) ??
        Effect.void
      yield* limiter.acquire("a", { maxWait: 0 })
      assert.strictEqual((yield* reasonOf(limiter.acquire("a", { maxWait: 0 })))._tag, "Rejected")
    })
  )

  it.effect("holds what waits already, and lets it in at the reset", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ concurrency: 1 })
      const permit = yield* limiter.acquire("a")
      const fiber = yield* Effect.forkChild(limiter.acquire("a"), { startImmediately: true })
      yield* permit.learn?.({ retryAfter: Duration.seconds(3) }) ?? Effect.void
      yield* permit.settle({ throttled: true })
      yield* tick(2_999)
      assert.isUndefined(fiber.pollUnsafe())
      yield* tick(1)
      yield* Fiber.join(fiber)
    })
  )

  it.effect("rejects at once those next in line that may not wait so long", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ concurrency: 1, queue: {} })
      const permit = yield* limiter.acquire("a")
      const acquire = (maxWait: Duration.Input) =>
        Effect.forkChild(limiter.acquire("a", { maxWait }), { startImmediately: true })
      const [one, two] = [yield* acquire("10 seconds"), yield* acquire("59 seconds")]
      const patient = yield* acquire("2 minutes")
      yield* tick(1_000)
      yield* permit.learn?.({ retryAfter: Duration.minutes(1) }) ?? Effect.void
      yield* permit.settle({ throttled: true })
      yield* tick(0)
      for (const fiber of [two, one]) {
        assert.isAtLeast(waitOf(yield* reasonOf(Fiber.join(fiber))) ?? 0, 60_000)
      }
      assert.isUndefined(patient.pollUnsafe())
      yield* tick(60_000)
      yield* Effect.flatMap(Fiber.join(patient), ({ settle }) => settle())
    })
  )
})
