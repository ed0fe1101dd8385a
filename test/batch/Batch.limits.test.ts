import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Batch from "effect-ai-gateway/Batch"
import * as BatchJournal from "effect-ai-gateway/BatchJournal"
import * as Chat from "effect-ai-gateway/Chat"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Limiter from "effect-ai-gateway/Limiter"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as Undici from "effect-ai-gateway/undici"
import { json, makePeer } from "../support/httpPeer.ts"
import { completion } from "../support/scripted.ts"
import { brief, collect, drive, leaf, names, plain, reasonIn, runAll, tick, world } from "./support.ts"

/** Gives a client time to return its connection. */
const turns = Effect.promise(async () => {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
})

describe("deadlines", () => {
  it.effect("end an item as a dead letter with its attempts", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt) => (prompt === "i1" ? { delay: 300, status: 503 } : { delay: 300 }))
      const route = leaf().pipe(Route.retry({ attempts: 5, delay: 100 }))
      const { results } = yield* runAll(names(3), { ...plain, route, itemDeadline: "1 second" }, w)
      const dead = results.find(({ id }) => id === "i1")
      assert.strictEqual(dead?._tag, "DeadLetter")
      assert.strictEqual(Duration.toMillis(dead?.latency ?? 0), 1_000)
      assert.isTrue(dead?._tag === "DeadLetter" && dead.attempts.length === 3)
    })
  )

  it.effect("span all runs of an item together", () =>
    Effect.gen(function* () {
      const w = yield* world((_prompt, nth) => (nth < 2 ? { status: 429, delay: 100 } : { never: true }))
      const { results } = yield* runAll(names(1), { ...plain, itemDeadline: "5 seconds" }, w)
      assert.strictEqual(results[0]?._tag, "DeadLetter")
      assert.isAtMost(Duration.toMillis(results[0]?.latency ?? 0), 5_050)
      assert.strictEqual(w.requests.length, 3)
    })
  )

  it.effect("interrupt items in flight and fail the job after finished items were reported", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt) => (prompt === "i1" ? { never: true } : { delay: 400 }))
      const { exit, millis, results } = yield* runAll(
        names(100),
        { ...plain, concurrency: 2, jobDeadline: "1 second" },
        w
      )
      const reason = reasonIn(exit)
      assert.isTrue(reason?._tag === "Timeout" && reason.phase === "deadline")
      assert.deepStrictEqual(results.map(brief), ["i0 Success", "i2 Success"])
      assert.strictEqual(millis, 1_000)
      assert.isAtLeast(w.interrupted.length, 1)
    })
  )
})

describe("limits", () => {
  const worst = (events: ReadonlyArray<{ readonly at: number; readonly units: number }>): number =>
    Math.max(
      ...events.map(({ at }) =>
        events.reduce((sum, one) => sum + (one.at <= at && one.at > at - 60_000 ? one.units : 0), 0)
      )
    )

  it.effect("of requests hold in every minute of the upstream's own count, including retries and fallbacks", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt, nth) => ({
        delay: 700,
        ...(Number(prompt.slice(1)) % 4 === 0 && nth < 2 && { status: 503 })
      }))
      const route = Route.fallback(leaf("openai").pipe(Route.retry({ attempts: 2, delay: 10 })), leaf("groq"))
      const { millis, results } = yield* runAll(
        names(180),
        { ...plain, route, limits: { requestsPerMinute: 60 }, concurrency: 40 },
        w,
        250
      )
      assert.strictEqual(results.filter(({ _tag }) => _tag === "Success").length, 180)
      assert.strictEqual(w.requests.length, 180 + 45 * 2)
      assert.isAtMost(worst(w.requests.map(({ at }) => ({ at, units: 1 }))), 60)
      // 270 requests at 60 a minute, of which 10 at once: 4.3 minutes.
      assert.isAtMost(millis, 300_000)
      assert.isAtLeast(millis, 240_000)
    })
  )

  it.effect("of tokens hold in every minute, corrected by actual usage", () =>
    Effect.gen(function* () {
      const w = yield* world(() => ({ delay: 200 }))
      const limits = { tokensPerMinute: 300, tokens: () => 50 }
      const { millis, results } = yield* runAll(names(100), { ...plain, limits, concurrency: 40 }, w, 250)
      assert.strictEqual(results.length, 100)
      // Three tokens are used of fifty: 100 items are 300 tokens, a minute's allowance.
      assert.isAtMost(worst(w.requests.map(({ at }) => ({ at, units: 3 }))), 300)
      assert.isAtMost(millis, 90_000)
    })
  )

  it.effect("estimate tokens from the input by default", () =>
    Effect.gen(function* () {
      const w = yield* world(() => ({ delay: 200 }))
      const { results } = yield* runAll(
        ["x".repeat(30_000), "y"],
        { ...plain, id: (_, index) => `${index}`, limits: { tokensPerMinute: 5_000 } },
        w
      )
      // Ten thousand tokens never fit; nothing is sent for them.
      assert.deepStrictEqual(results.map(brief), ["0 Rejected", "1 Success"])
      assert.strictEqual(w.requests.length, 1)
    })
  )

  it.effect("do not start an item's timeouts while its first request waits", () =>
    Effect.gen(function* () {
      const w = yield* world(() => ({ delay: 100 }))
      const route = leaf().pipe(Route.timeout("1 second"), Route.deadline("2 seconds"))
      const limits = { requestsPerMinute: 10, burst: 0.1 }
      const { millis, results } = yield* runAll(names(5), { ...plain, route, limits }, w, 250)
      assert.isTrue(results.every(({ _tag }) => _tag === "Success"))
      assert.isAtLeast(millis, 24_000)
    })
  )

  it.effect("count the requests of the previous run: nothing is sent until they have expired", () =>
    Effect.gen(function* () {
      yield* tick(1_000_000)
      const memory = yield* BatchJournal.memory
      const lastWritten = yield* Clock.currentTimeMillis
      const store: BatchJournal.Journal = {
        open: (options) => Effect.map(memory.open(options), (open) => ({ ...open, lastWritten }))
      }
      const options = {
        ...plain,
        limits: { requestsPerMinute: 600 },
        journal: { store, value: Schema.String }
      }
      yield* tick(20_000)
      const w = yield* world()
      const first = yield* runAll(names(2), options, w)
      assert.strictEqual(first.results.length, 2)
      assert.deepStrictEqual(
        w.requests.map(({ at }) => at - lastWritten),
        [62_000, 62_000]
      )
      // Finished items are reported at once.
      yield* tick(1)
      const again = yield* runAll(names(2), options, w)
      assert.isTrue(again.results.every(({ replayed }) => replayed))
      assert.strictEqual(again.millis, 0)
    })
  )

  it.effect("keep the journal's time current, at most once a second, while retries write nothing", () =>
    Effect.gen(function* () {
      const memory = yield* BatchJournal.memory
      const touched: Array<number> = []
      const touch = (now: number): void => void touched.push(now)
      const store: BatchJournal.Journal = {
        open: (options) => Effect.map(memory.open(options), (open) => ({ ...open, touch }))
      }
      const w = yield* world((_prompt, nth) => (nth < 4 ? { status: 503, delay: 700 } : { delay: 700 }))
      const begun = yield* Clock.currentTimeMillis
      const route = leaf().pipe(Route.retry({ attempts: 5, delay: 0 }))
      const options = {
        ...plain,
        route,
        limits: { requestsPerMinute: 600 },
        journal: { store, value: Schema.String }
      }
      yield* runAll(names(1), options, w, 100)
      assert.deepStrictEqual(
        w.requests.map(({ at }) => at - begun),
        [0, 700, 1_400, 2_100, 2_800]
      )
      assert.deepStrictEqual(
        touched.map((at) => at - begun),
        [0, 1_400, 2_800]
      )
    })
  )

  it.effect("hold with the application's own router, which sees every item", () =>
    Effect.gen(function* () {
      const w = yield* world((_prompt, nth) => (nth === 0 ? { status: 503 } : undefined))
      const seen: Array<unknown> = []
      const layer = Layer.effect(
        Router.Router,
        Effect.map(Router.Router, (router) =>
          Router.Router.of({
            ...router,
            run: (route, input, options) => {
              seen.push(input)
              return router.run(route, input, options)
            }
          })
        )
      ).pipe(Layer.provideMerge(w.layer))
      const route = leaf().pipe(Route.retry({ attempts: 2, delay: 10 }))
      const limiter = yield* Limiter.make({ requestsPerMinute: 600 })
      const options = { ...plain, route, limits: { limiter, key: "shared" } }
      const { results } = yield* runAll(names(3), options, { ...w, layer })
      assert.deepStrictEqual(results.map(brief).sort(), ["i0 Success", "i1 Success", "i2 Success"])
      assert.deepStrictEqual(seen, ["i0", "i1", "i2"])
      assert.strictEqual(w.requests.length, 6)
      assert.strictEqual((yield* limiter.state("shared")).requests, 6)
    })
  )

  it.effect("let a retry wait longer than its attempt's timeout, but not longer than the deadline", () =>
    Effect.gen(function* () {
      const w = yield* world((_prompt, nth) => (nth === 0 ? { status: 503 } : undefined))
      const again = leaf().pipe(Route.timeout("2 seconds"), Route.retry({ attempts: 2, delay: 10 }))
      const limits = { requestsPerMinute: 1 }
      const waited = yield* runAll(names(1), { ...plain, route: again, limits }, w)
      assert.deepStrictEqual(waited.results.map(brief), ["i0 Success"])
      assert.isAtLeast(waited.millis, 60_000)
      const [, second] = waited.results[0]?.attempts ?? []
      assert.deepInclude(second, { number: 2, cause: "retry", outcome: "success" })
      // Its clock begins when it is admitted.
      assert.isBelow(Duration.toMillis(second?.duration ?? Duration.infinity), 2_000)

      const other = yield* world((_prompt, nth) => (nth === 0 ? { status: 503 } : undefined))
      const short = Route.deadline(again, "30 seconds")
      const cut = yield* runAll(names(1), { ...plain, route: short, limits }, other)
      assert.deepStrictEqual(cut.results.map(brief), ["i0 Timeout"])
      // An attempt that was not sent is not listed.
      assert.strictEqual(cut.results[0]?.attempts.length, 1)
      assert.strictEqual(other.requests.length, 1)
    })
  )

  it.effect("count a request that the transport resends on a fresh connection", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer((seen, response, socket) => {
        // The first connection serves once, and is closed when the next request is on it.
        if (seen.connection === 0 && peer.requests.length > 1) socket.destroy()
        else json(response, 200, completion("an answer"))
      })
      const limiter = yield* Limiter.make({ requestsPerMinute: 600 })
      let [given, settled] = [0, 0]
      const counting: Limiter.Limiter = {
        ...limiter,
        acquire: (key, reservation) =>
          Effect.map(limiter.acquire(key, reservation), (permit) => {
            given++
            return {
              ...permit,
              settle: (outcome) => Effect.tap(permit.settle(outcome), () => Effect.sync(() => settled++))
            }
          })
      }
      const layer = Router.layer.pipe(
        Layer.provide(GatewayService.layerHttp({ accountId: "acc", gateway: "gw", baseUrl: peer.url })),
        Layer.provide(Undici.layer)
      )
      const answered = yield* Deferred.make<void>()
      // The second item arrives when the first one's connection has been returned.
      const items = Stream.tap(Stream.fromIterable(names(2)), (item) =>
        item === "i0" ? Effect.void : Effect.andThen(Deferred.await(answered), turns)
      )
      const results = yield* Batch.run(items, { ...plain, limits: { limiter: counting, key: "one" } }).pipe(
        Stream.tap(() => Deferred.succeed(answered, undefined)),
        Stream.runCollect,
        Effect.provide(layer)
      )
      assert.isTrue(results.every(({ _tag }) => _tag === "Success"))
      assert.strictEqual(peer.requests.length, 3)
      assert.strictEqual((yield* limiter.state("one")).requests, 3)
      assert.deepStrictEqual([given, settled], [3, 3])
    })
  )

  it.effect("count nothing for an item that cannot be sent", () =>
    Effect.gen(function* () {
      const w = yield* world()
      const limiter = yield* Limiter.make({ requestsPerMinute: 100, tokensPerMinute: 100_000 })
      const { results } = yield* runAll(
        ["unsendable", "fine"],
        {
          id: (item) => item,
          input: (item) => item,
          route: (item) =>
            Route.mapInput(Provider.anthropic.messages("m"), (prompt: string) => ({
              messages: [Chat.user(prompt)],
              ...(item === "unsendable" && { seed: 1 })
            })).pipe(Route.map(({ text }) => text)),
          limits: { limiter, key: "shared" }
        },
        w
      )
      assert.deepStrictEqual(results.map(brief), ["unsendable Unsupported", "fine InvalidResponse"])
      assert.strictEqual(w.requests.length, 1)
      assert.strictEqual((yield* limiter.state("shared")).requests, 1)
    })
  )

  it.effect("can be shared, and are returned when a job ends early", () =>
    Effect.gen(function* () {
      const w = yield* world(() => ({ never: true }))
      const limiter = yield* Limiter.make({ requestsPerMinute: 100, concurrency: 3 })
      const options = { ...plain, limits: { limiter, key: "shared" }, concurrency: 5 }
      const fiber = yield* Effect.forkChild(Effect.provide(Stream.runDrain(Batch.run(names(10), options)), w.layer))
      yield* tick(100)
      assert.strictEqual(w.requests.length, 5)
      assert.deepInclude(yield* limiter.state("shared"), { requests: 5, waiting: 0, inFlight: 0 })
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(w.interrupted.length, 5)
      yield* tick(61_000)
      assert.deepInclude(yield* limiter.state("shared"), { requests: 0, waiting: 0 })
    })
  )
})

describe("an exhausted quota", () => {
  const quota = {
    status: 429,
    body: { error: { code: "insufficient_quota", type: "insufficient_quota", message: "x" } }
  }

  it.effect("pauses the job, probes with one item, and loses none", () =>
    Effect.gen(function* () {
      const w = yield* world((_prompt, _nth, { at }) =>
        at >= 1_000 && at < 200_000 ? { ...quota, delay: 100 } : { delay: 100 }
      )
      const { millis, results, summary } = yield* runAll(names(100), { ...plain, concurrency: 4 }, w, 100)
      assert.strictEqual(results.length, 100)
      assert.isTrue(results.every(({ _tag }) => _tag === "Success"))
      const refused = w.requests.filter(({ at }) => at >= 1_000 && at < 200_000)
      // Four in flight, and probes after 1 and 3 minutes.
      assert.deepStrictEqual(
        refused.map(({ at }) => Math.floor(at / 60_000)),
        [0, 0, 0, 0, 1, 3]
      )
      assert.strictEqual(summary.pauses, 1)
      assert.isAtMost(millis, 430_000)
      const [first] = results.filter(({ attempts }) => attempts.length > 1)
      assert.isTrue(first?._tag === "Success" && first.attempts[0]?.error?._tag === "QuotaExhausted")
    })
  )

  it.effect("pauses for as long as the answer says", () =>
    Effect.gen(function* () {
      const w = yield* world((_prompt, _nth, { at }) =>
        at < 600_000 ? { ...quota, headers: { "retry-after": "600" } } : { delay: 100 }
      )
      const { millis, results } = yield* runAll(names(10), plain, w, 1_000)
      assert.strictEqual(results.length, 10)
      assert.isAtMost(millis, 602_000)
      assert.strictEqual(w.requests.filter(({ at }) => at < 600_000).length, 10)
    })
  )

  it.effect("fails the job when patience ends, without ending an item", () =>
    Effect.gen(function* () {
      const w = yield* world(() => quota)
      const { exit, millis, results, summary } = yield* runAll(
        names(50),
        { ...plain, concurrency: 3, quotaPatience: "10 minutes" },
        w,
        1_000
      )
      assert.strictEqual(reasonIn(exit)?._tag, "QuotaExhausted")
      assert.deepStrictEqual(results, [])
      assert.deepInclude(summary, { state: "failed", deadLetters: 0 })
      // After 1 and 3 minutes; the next probe would come after seven, the one after that too late.
      assert.isAtMost(millis, 600_000)
      assert.isAtMost(w.requests.length, 6)
    })
  )

  it.effect("fails the job at once when the wait is known to exceed the patience", () =>
    Effect.gen(function* () {
      const w = yield* world(() => ({ ...quota, headers: { "retry-after": "7200" } }))
      const { exit, millis } = yield* runAll(names(3), plain, w)
      assert.strictEqual(reasonIn(exit)?._tag, "QuotaExhausted")
      assert.isAtMost(millis, 100)
    })
  )

  it.effect("logs the pause", () =>
    Effect.gen(function* () {
      const w = yield* world((_prompt, _nth, { at }) => (at < 50_000 ? quota : undefined))
      const seen: Array<Batch.Progress> = []
      const { exit } = yield* drive(
        Effect.gen(function* () {
          const job = yield* Batch.start(names(3), plain)
          const watching = yield* Effect.forkChild(
            Stream.runForEach(job.progress("10 seconds"), (event) => Effect.sync(() => seen.push(event)))
          )
          yield* Stream.runDrain(job.results)
          yield* Fiber.join(watching)
        }).pipe(Effect.scoped, Effect.provide(w.layer)),
        1_000
      )
      yield* exit
      assert.deepInclude(seen[0], { state: "paused", inFlight: 0, pausedUntil: 60_000 })
      assert.deepInclude(seen.at(-1), { state: "complete", succeeded: 3 })
      assert.isAtLeast(seen.length, 6)
    })
  )
})

describe("throttling", () => {
  it.effect("puts an item back until patience ends, and then makes it a dead letter with every attempt", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt, nth) =>
        prompt === "i0" || (prompt === "i1" && nth < 3) ? { status: 429 } : undefined
      )
      const { results, summary } = yield* runAll(names(3), { ...plain, throttlePatience: "20 seconds" }, w)
      assert.deepStrictEqual(results.map(brief).sort(), ["i0 RateLimited", "i1 Success", "i2 Success"])
      const dead = results.find(({ id }) => id === "i0")
      assert.isAtLeast(dead?.attempts.length ?? 0, 4)
      assert.isAtMost(Duration.toMillis(dead?.latency ?? 0), 20_000)
      assert.strictEqual(results.find(({ id }) => id === "i1")?.attempts.length, 4)
      assert.strictEqual(summary.requeued, 3 + (dead?.attempts.length ?? 0) - 1)
    })
  )

  it.effect("waits at least as long as the answer asks, while other items use the place", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt, nth) =>
        prompt === "i0" && nth === 0 ? { status: 429, headers: { "retry-after": "30" } } : { delay: 100 }
      )
      const { results } = yield* runAll(names(20), { ...plain, concurrency: 1 }, w)
      assert.strictEqual(results.at(-1)?.id, "i0")
      assert.isAtLeast(w.of("i0")[1]?.at ?? 0, 30_000)
    })
  )

  it.effect("makes an item a dead letter at once when patience is 0", () =>
    Effect.gen(function* () {
      const w = yield* world(() => ({ status: 429 }))
      const { millis, results } = yield* runAll(names(2), { ...plain, throttlePatience: 0 }, w)
      assert.deepStrictEqual(results.map(brief), ["i0 RateLimited", "i1 RateLimited"])
      assert.isAtMost(millis, 100)
    })
  )
})

describe("failures that are not an item's", () => {
  it.effect("fail the job instead of every item", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt) =>
        prompt === "i5"
          ? { status: 401, body: { success: false, errors: [{ code: 2009, message: "Unauthorized" }] } }
          : { delay: 10 }
      )
      const { exit, results } = yield* runAll(names(50), { ...plain, concurrency: 1 }, w)
      assert.strictEqual(reasonIn(exit)?._tag, "Unauthorized")
      assert.strictEqual(results.length, 5)
    })
  )

  it.effect("interrupt items in flight when the results end, not when the scope closes", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt) => (prompt === "i2" ? { status: 400, delay: 10 } : { never: true }))
      const { exit } = yield* drive(
        Effect.gen(function* () {
          const job = yield* Batch.start(names(3), { ...plain, isFatal: () => true })
          const { exit } = yield* collect(job.results)
          return { failed: Exit.isFailure(exit), interrupted: w.interrupted.length }
        }).pipe(Effect.scoped, Effect.provide(w.layer))
      )
      assert.deepStrictEqual(yield* exit, { failed: true, interrupted: 2 })
    })
  )

  it.effect("are chosen by the caller with isFatal", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt) => (prompt === "i1" ? { status: 400 } : undefined))
      const { exit } = yield* runAll(
        names(3),
        { ...plain, isFatal: ({ reason }) => reason._tag === "InvalidRequest" },
        w
      )
      assert.strictEqual(reasonIn(exit)?._tag, "InvalidRequest")
    })
  )
})

describe("the end of a job", () => {
  it.effect("drains: begins no more items and lets the others end", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt) => (prompt === "i0" ? { status: 429, delay: 100 } : { delay: 1_000 }))
      const { exit } = yield* drive(
        Effect.gen(function* () {
          const job = yield* Batch.start(names(100), { ...plain, concurrency: 4 })
          const collecting = yield* Effect.forkChild(collect(job.results))
          yield* Effect.sleep(1_500)
          assert.strictEqual((yield* job.summary).state, "running")
          yield* job.drain
          assert.strictEqual((yield* job.summary).state, "draining")
          const { exit, results } = yield* Fiber.join(collecting)
          assert.isTrue(Exit.isSuccess(exit))
          return { results, summary: yield* job.summary, at: yield* Clock.currentTimeMillis }
        }).pipe(Effect.scoped, Effect.provide(w.layer))
      )
      const { at, results, summary } = yield* exit
      assert.strictEqual(summary.state, "drained")
      assert.isTrue(results.every(({ _tag }) => _tag === "Success"))
      assert.strictEqual(summary.succeeded, results.length)
      // Every item that was sent is reported, except the throttled one, which was postponed.
      assert.strictEqual(new Set(w.requests.map(({ prompt }) => prompt)).size, results.length + 1)
      assert.isAtMost(at, 2_500)
    })
  )

  it.effect("drains in order, including results behind a postponed item", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt) => (prompt === "i1" ? { status: 429 } : { delay: 100 }))
      const { exit } = yield* drive(
        Effect.gen(function* () {
          const job = yield* Batch.start(names(4), { ...plain, ordered: true })
          const collecting = yield* Effect.forkChild(collect(job.results))
          yield* Effect.sleep(300)
          yield* job.drain
          return yield* Fiber.join(collecting)
        }).pipe(Effect.scoped, Effect.provide(w.layer))
      )
      const { exit: end, results } = yield* exit
      assert.isTrue(Exit.isSuccess(end))
      assert.deepStrictEqual(results.map(brief), ["i0 Success", "i2 Success", "i3 Success"])
    })
  )

  it.effect("interrupts items in flight when the consumer stops early", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt) => (prompt === "i0" ? { delay: 10 } : { never: true }))
      const { exit } = yield* drive(
        Effect.provide(Stream.runCollect(Stream.take(Batch.run(names(9), { ...plain, concurrency: 3 }), 1)), w.layer)
      )
      assert.strictEqual((yield* exit).length, 1)
      assert.strictEqual(w.interrupted.length, w.requests.length - 1)
    })
  )

  it.effect("returns a summary", () =>
    Effect.gen(function* () {
      const w = yield* world()
      const seen: Array<string> = []
      const { exit } = yield* drive(
        Batch.runWithSummary(names(3), plain, (result) => Effect.sync(() => seen.push(result.id))).pipe(
          Effect.provide(w.layer)
        )
      )
      assert.deepInclude(yield* exit, { state: "complete", succeeded: 3 })
      assert.deepStrictEqual(seen, names(3))
    })
  )

  it.effect("ends progress, which reports rate and places", () =>
    Effect.gen(function* () {
      const w = yield* world(() => ({ delay: 500 }))
      const { exit } = yield* drive(
        Effect.gen(function* () {
          const job = yield* Batch.start(names(36), { ...plain, concurrency: 4 })
          const watching = yield* Effect.forkChild(Stream.runCollect(job.progress()))
          yield* Stream.runDrain(job.results)
          return yield* Fiber.join(watching)
        }).pipe(Effect.scoped, Effect.provide(w.layer))
      )
      const events = yield* exit
      assert.strictEqual(events.length, 5)
      assert.deepInclude(events[1], { perSecond: 8, inFlight: 4, concurrency: 4 })
      assert.deepInclude(events.at(-1), { state: "complete", inFlight: 0, succeeded: 36 })
    })
  )
})
