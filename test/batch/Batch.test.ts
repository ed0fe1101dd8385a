import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as Batch from "effect-ai-gateway/Batch"
import * as Limiter from "effect-ai-gateway/Limiter"
import * as Route from "effect-ai-gateway/Route"
import { brief, collect, drive, failureOf, leaf, names, plain, reasonIn, runAll, tick, world } from "./support.ts"

describe("results", () => {
  it.effect("arrive once for each item, as items end, with their facts", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt) => ({ delay: prompt === "i0" ? 500 : 100 }))
      const { exit, results, summary } = yield* runAll(names(5), plain, w)
      assert.isTrue(Exit.isSuccess(exit))
      assert.deepStrictEqual(results.map(brief), ["i1 Success", "i2 Success", "i3 Success", "i4 Success", "i0 Success"])
      const [first] = results
      if (first?._tag !== "Success") return assert.fail("a success")
      assert.strictEqual(first.value, "answer to i1")
      assert.strictEqual(first.index, 1)
      assert.strictEqual(first.target, "openai/m")
      assert.strictEqual(first.logId, "log-2")
      assert.deepStrictEqual(first.usage, { inputTokens: 1, outputTokens: 2, totalTokens: 3 })
      assert.strictEqual(first.attempts.length, 1)
      assert.strictEqual(first.eventId, w.of("i1")[0]?.eventId)
      assert.strictEqual(Duration.toMillis(first.latency), 100)
      assert.strictEqual(new Set(w.requests.map(({ eventId }) => eventId)).size, 5)
      assert.deepInclude(summary, {
        state: "complete",
        items: 5,
        succeeded: 5,
        deadLetters: 0,
        tokensIn: 5,
        tokensOut: 10
      })
      assert.strictEqual(summary.latency?.max, 500)
      assert.approximately(summary.latency?.p50 ?? 0, 100, 1)
      assert.strictEqual(Duration.toMillis(summary.duration), 500)
    })
  )

  it.effect("arrive in the order of the input on request, failures included", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt) => ({
        delay: 1_000 - 90 * Number(prompt.slice(1)),
        status: prompt === "i3" ? 400 : 200
      }))
      const { results } = yield* runAll(names(10), { ...plain, ordered: true, concurrency: 4, buffer: 6 }, w)
      assert.deepStrictEqual(
        results.map(({ id }) => id),
        names(10)
      )
      assert.strictEqual(results[3]?._tag, "DeadLetter")
    })
  )

  it.effect("come from any stream, which is read no further than needed", () =>
    Effect.gen(function* () {
      const w = yield* world(() => ({ delay: 10 }))
      let read = 0
      const items = Stream.fromIterable(names(1_000)).pipe(
        Stream.rechunk(1),
        Stream.tap(() => Effect.sync(() => read++))
      )
      yield* Effect.gen(function* () {
        const job = yield* Batch.start(items, { ...plain, concurrency: 2, buffer: 5 })
        for (let i = 0; i < 20; i++) yield* tick(10)
        assert.isAtMost(w.requests.length, 5)
        assert.isAtMost(read, 6)
        const fiber = yield* Effect.forkChild(Stream.runCollect(Stream.take(job.results, 3)))
        for (let i = 0; i < 20; i++) yield* tick(10)
        assert.strictEqual((yield* Fiber.join(fiber)).length, 3)
        assert.isAtMost(read, 20)
      }).pipe(Effect.scoped, Effect.provide(w.layer))
    })
  )

  it.effect("use each item's own route and options", () =>
    Effect.gen(function* () {
      const w = yield* world()
      const { results } = yield* runAll(
        names(4),
        {
          ...plain,
          route: (item) => leaf(item === "i1" ? "groq" : "openai"),
          options: (item) => ({ metadata: { item } })
        },
        w
      )
      assert.deepStrictEqual(
        results.map((result) => (result._tag === "Success" ? result.provider : "")),
        ["openai", "groq", "openai", "openai"]
      )
      assert.strictEqual(w.of("i2")[0]?.headers["cf-aig-metadata"], `{"item":"i2"}`)
    })
  )

  it.effect("are empty for an empty input", () =>
    Effect.gen(function* () {
      const { exit, results, summary } = yield* runAll([], plain, yield* world())
      assert.isTrue(Exit.isSuccess(exit))
      assert.deepStrictEqual(results, [])
      assert.strictEqual(summary.state, "complete")
      assert.isUndefined(summary.latency)
    })
  )

  it.effect("include dead letters with the complete error and all attempts", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt, nth) =>
        prompt === "i1" ? { status: 503 } : prompt === "i2" && nth === 0 ? { status: 500 } : undefined
      )
      const route = Route.fallback(leaf("openai"), leaf("groq")).pipe(Route.retry({ attempts: 2, delay: 10 }))
      const { results, summary } = yield* runAll(names(3), { ...plain, route }, w)
      const dead = results.find(({ id }) => id === "i1")
      if (dead?._tag !== "DeadLetter") return assert.fail("a dead letter")
      assert.deepStrictEqual(
        dead.attempts.map(({ status, target }) => [target, status]),
        [
          ["openai/m", 503],
          ["openai/m", 503],
          ["groq/m", 503],
          ["groq/m", 503]
        ]
      )
      assert.deepStrictEqual(dead.error.attempts, dead.attempts)
      assert.deepInclude(summary, { succeeded: 2, deadLetters: 1, requests: 7, retries: 3, fallbacks: 0 })
      assert.deepStrictEqual(summary.reasons, { ProviderUnavailable: 1 })
      assert.deepInclude(summary.targets["groq/m"], { requests: 2, answered: 0, failures: { ProviderUnavailable: 2 } })
      assert.deepInclude(summary.targets["openai/m"], { requests: 5, answered: 2, tokensIn: 2, tokensOut: 4 })
    })
  )

  it.effect("count fallbacks, cache hits and cost", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt, _nth, { provider }) =>
        provider === "openai" && prompt === "i0" ? { status: 500 } : { headers: { "cf-aig-cache-status": "HIT" } }
      )
      const { summary } = yield* runAll(
        names(4),
        {
          ...plain,
          route: Route.fallback(leaf("openai"), leaf("groq")),
          cost: ({ provider, usage }) => (provider === "groq" ? undefined : (usage?.outputTokens ?? 0) * 0.5)
        },
        w
      )
      assert.deepInclude(summary, { fallbacks: 1, cacheHits: 4, cost: 3, costKnown: 3 })
    })
  )
})

describe("concurrency", () => {
  it.effect("is never exceeded, and fully used", () =>
    Effect.gen(function* () {
      const w = yield* world(() => ({ delay: 100 }))
      const { millis, results } = yield* runAll(names(50), { ...plain, concurrency: 7 }, w)
      assert.strictEqual(results.length, 50)
      const atOnce = w.requests.map(({ at }) => w.requests.filter((one) => one.at <= at && one.at > at - 100).length)
      assert.strictEqual(Math.max(...atOnce), 7)
      assert.strictEqual(millis, 800)
    })
  )

  it.effect("adapts to a throttling upstream without losing an item", () =>
    Effect.gen(function* () {
      // 50 a second.
      let [level, at] = [5, 0]
      const w = yield* world((_prompt, _nth, request) => {
        level = Math.min(5, level + (request.at - at) / 20)
        at = request.at
        if (level < 1) return { status: 429, delay: 20 }
        level--
        return { delay: 200 }
      })
      const { millis, results, summary } = yield* runAll(names(1_500), { ...plain, concurrency: "adaptive" }, w, 10)
      assert.isTrue(results.every(({ _tag }) => _tag === "Success"))
      assert.strictEqual(results.length, 1_500)
      assert.isAbove(summary.requeued, 0)
      // The best is 30 seconds.
      assert.isAtMost(millis, 40_000)
    })
  )
})

describe("input", () => {
  it.effect("with a duplicate id fails the job and names both places", () =>
    Effect.gen(function* () {
      const w = yield* world(() => ({ delay: 100 }))
      const { exit, results, summary } = yield* runAll(["a", "b", "c", "b", "d"], plain, w)
      const reason = reasonIn(exit)
      assert.isTrue(reason?._tag === "InvalidRequest" && reason.field === "id of item 3")
      assert.include(reason?.message ?? "", "item 1 has the same")
      // Items in flight end, and are reported first.
      assert.deepStrictEqual(results.map(brief), ["a Success", "b Success", "c Success"])
      assert.strictEqual(summary.state, "failed")
    })
  )

  it.effect("with a duplicate id skips the second item on request", () =>
    Effect.gen(function* () {
      const w = yield* world()
      const { results, summary } = yield* runAll(["a", "b", "a", "a"], { ...plain, duplicates: "skip" }, w)
      assert.deepStrictEqual(results.map(brief), ["a Success", "b Success"])
      assert.deepInclude(summary, { items: 4, duplicates: 2, succeeded: 2 })
    })
  )

  it.effect("with a duplicate id runs both items when ids are unchecked", () =>
    Effect.gen(function* () {
      const w = yield* world()
      const { results, summary } = yield* runAll(["a", "b", "a"], { ...plain, duplicates: "unchecked" }, w)
      assert.deepStrictEqual(results.map(brief), ["a Success", "b Success", "a Success"])
      assert.deepInclude(summary, { items: 3, duplicates: 0, succeeded: 3 })
    })
  )

  it.effect("with an invalid id fails the job", () =>
    Effect.gen(function* () {
      for (const bad of ["", "x".repeat(513)]) {
        const { exit } = yield* runAll(["a", bad], plain, yield* world())
        const reason = reasonIn(exit)
        assert.isTrue(reason?._tag === "InvalidRequest" && reason.field === "id of item 1")
      }
      const longest = yield* runAll(["x".repeat(512), "é", "漢字", "😀"], plain, yield* world())
      assert.strictEqual(longest.results.length, 4)
    })
  )

  it.effect("that fails ends the job with its error, after items in flight", () =>
    Effect.gen(function* () {
      const w = yield* world(() => ({ delay: 100 }))
      const items = Stream.concat(Stream.fromIterable(names(3)), Stream.fail("unreadable" as const))
      const { exit } = yield* drive(Effect.provide(collect(Batch.run(items, plain)), w.layer))
      const { exit: end, results } = yield* exit
      assert.strictEqual(results.length, 3)
      assert.strictEqual(failureOf(end), "unreadable")
    })
  )

  it.effect("or an option's function that dies ends the job", () =>
    Effect.gen(function* () {
      const w = yield* world()
      const id = (item: string): string => {
        if (item === "i2") throw new Error("no id")
        return item
      }
      const { exit } = yield* runAll(names(5), { ...plain, id }, w)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      const input = (item: string): string => {
        if (item === "i2") throw new Error("no input")
        return item
      }
      const second = yield* runAll(names(5), { ...plain, input }, yield* world())
      assert.isTrue(Exit.isFailure(second.exit) && Cause.hasDies(second.exit.cause))
      const cost = (): number => {
        throw new Error("no cost")
      }
      const third = yield* runAll(names(5), { ...plain, cost }, yield* world())
      assert.isTrue(Exit.isFailure(third.exit) && Cause.hasDies(third.exit.cause))
    })
  )
})

describe("options", () => {
  const bad: ReadonlyArray<readonly [string, Partial<Batch.Options<string, string, string>>]> = [
    ["itemDeadline", { itemDeadline: 0 }],
    ["itemDeadline", { itemDeadline: 1.5 }],
    ["jobDeadline", { jobDeadline: -1 }],
    ["quotaPatience", { quotaPatience: -1 }],
    ["throttlePatience", { throttlePatience: Number.NaN }],
    ["buffer", { buffer: 16 }],
    ["buffer", { concurrency: 100, buffer: 100 }],
    ["concurrency", { concurrency: 0 }],
    ["concurrency.max", { concurrency: { max: 0 } }],
    ["requestsPerMinute", { limits: { requestsPerMinute: 0 } }],
    ["execution", { limits: { requestsPerMinute: 1 }, execution: "gateway" }],
    ["route: cache.ttl", { route: leaf().pipe(Route.cache({ ttl: "1 second" })) }]
  ]
  for (const [field, options] of bad) {
    it.effect(`are rejected when invalid, before anything is sent: ${field}`, () =>
      Effect.gen(function* () {
        const w = yield* world()
        const exit = yield* Effect.exit(Effect.scoped(Batch.start(names(3), { ...plain, ...options }))).pipe(
          Effect.provide(w.layer)
        )
        const reason = reasonIn(exit)
        assert.strictEqual(
          reason?._tag === "InvalidRequest" ? reason.field?.replace("openai/m: ", "") : reason?._tag,
          field
        )
        assert.strictEqual(w.requests.length, 0)
      })
    )
  }

  it.effect("reject a limiter next to limits", () =>
    Effect.gen(function* () {
      const w = yield* world()
      const limiter = yield* Limiter.make({ requestsPerMinute: 5 })
      const exit = yield* Batch.start([], { ...plain, limits: { limiter, requestsPerMinute: 4 } }).pipe(
        Effect.scoped,
        Effect.exit,
        Effect.provide(w.layer)
      )
      assert.strictEqual(reasonIn(exit)?._tag, "InvalidRequest")
    })
  )
})
