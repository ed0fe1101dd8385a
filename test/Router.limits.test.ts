/**
 * Limits of targets: which attempts wait, for how long, and what happens to those that would wait too long.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Batch from "effect-ai-gateway/Batch"
import type { Attempt, GatewayError } from "effect-ai-gateway/GatewayError"
import * as Limiter from "effect-ai-gateway/Limiter"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { tick } from "./batch/support.ts"
import * as scripted from "./support/scripted.ts"
import { groq, openai } from "./support/streamRuns.ts"

type Ask = Route.Route<string, { readonly text: string }>

/** Runs a test in one router. */
const within = <A, E>(
  script: scripted.Script,
  self: (seen: ReadonlyArray<scripted.Seen>) => Effect.Effect<A, E, Router.Router>,
  limiter?: Limiter.Limiter
) =>
  Effect.suspend(() => {
    const { layer, seen } = scripted.make(script, "client", { router: { limiter } })
    return Effect.provide(self(seen), layer)
  })

/** Starts a run, and returns when and how it ended. */
const start = (route: Ask, input = "hi", options: Router.RunOptions = {}) =>
  Effect.forkChild(
    Effect.gen(function* () {
      const result = yield* Effect.result(Router.run(route, input, options))
      const at = yield* Clock.currentTimeMillis
      return { at, result }
    }),
    { startImmediately: true }
  )

const steps = (millis: number, step = 100) =>
  Effect.gen(function* () {
    for (let at = 0; at < millis; at += step) yield* tick(step)
  })

const told = (attempts: ReadonlyArray<Attempt> = []): ReadonlyArray<string> =>
  attempts.map(({ cause, duration, outcome, target, waited }) =>
    [
      `${target} ${cause} ${outcome} ${Duration.toMillis(duration)} ms`,
      ...(waited === undefined ? [] : [`waited ${Duration.toMillis(waited)} ms`])
    ].join(", ")
  )

const attemptsIn = (result: Result.Result<Router.Routed<unknown>, GatewayError>): ReadonlyArray<string> =>
  told(Result.isSuccess(result) ? result.success.attempts : result.failure.attempts)

const reasonIn = (result: Result.Result<unknown, GatewayError>) =>
  Result.isFailure(result) ? result.failure.reason : assert.fail("it succeeded")

const promptsOf = (seen: ReadonlyArray<scripted.Seen>) =>
  seen.map(({ body }) => (body as { messages: ReadonlyArray<{ content: string }> }).messages[0]?.content)

const slow =
  (delay: number): scripted.Script =>
  () => ({ delay, body: scripted.completion("yes") })
const one = openai.pipe(Route.limits({ concurrency: 1, queue: { maxWait: "1 minute" } }))

describe("a target under limits", () => {
  it.effect("is called by a limited number at once, and the others wait in order, before their attempt", () =>
    within(slow(1_000), (seen) =>
      Effect.gen(function* () {
        const fibers = [yield* start(one, "a"), yield* start(one, "b"), yield* start(one, "c")]
        assert.strictEqual(seen.length, 1)
        yield* steps(3_000)
        const ended = yield* Effect.forEach(fibers, Fiber.join)
        assert.deepStrictEqual(
          ended.map(({ at }) => at),
          [1_000, 2_000, 3_000]
        )
        assert.deepStrictEqual(
          ended.map(({ result }) => attemptsIn(result)),
          [
            ["openai/m first success 1000 ms"],
            ["openai/m first success 1000 ms, waited 1000 ms"],
            ["openai/m first success 1000 ms, waited 2000 ms"]
          ]
        )
      })
    )
  )

  it.effect("takes interactive runs before those in the background", () =>
    within(slow(1_000), (seen) =>
      Effect.gen(function* () {
        yield* start(one, "first")
        yield* start(one, "background", { priority: "background" })
        yield* start(one, "interactive")
        yield* steps(3_000)
        assert.deepStrictEqual(promptsOf(seen), ["first", "interactive", "background"])
      })
    )
  )

  it.effect("starts timeouts when an attempt is admitted", () =>
    within(slow(1_000), () =>
      Effect.gen(function* () {
        const route = one.pipe(Route.timeout("1500 millis"))
        yield* start(route)
        const second = yield* start(route)
        yield* steps(2_500)
        assert.isTrue(Result.isSuccess((yield* Fiber.join(second)).result))
      })
    )
  )

  it.effect("keeps a deadline running in the queue", () =>
    within(slow(5_000), (seen) =>
      Effect.gen(function* () {
        yield* start(one)
        const second = yield* start(one.pipe(Route.deadline("2 seconds")))
        yield* steps(2_000)
        const { at, result } = yield* Fiber.join(second)
        assert.strictEqual(at, 2_000)
        assert.deepInclude(reasonIn(result), { _tag: "Timeout", phase: "deadline" })
        assert.deepStrictEqual(attemptsIn(result), [])
        assert.strictEqual(seen.length, 1)
      })
    )
  )

  it.effect("rejects an attempt at once that would wait too long, or beyond its deadline", () =>
    within(slow(0), () =>
      Effect.gen(function* () {
        const limited = openai.pipe(Route.limits({ requestsPerMinute: 60, burst: 1 / 60, skew: 0 }))
        yield* start(limited)
        for (let i = 0; i < 10; i++) yield* start(limited)
        const late = yield* Fiber.join(yield* start(limited))
        const reason = reasonIn(late.result)
        assert.deepInclude(reason, { _tag: "Rejected", by: "limiter" })
        assert.strictEqual(late.at, 0)
        assert.strictEqual("retryAfter" in reason && reason.retryAfter && Duration.toMillis(reason.retryAfter), 11_000)
        assert.isTrue(Result.isFailure(late.result) && late.result.failure.skipped?.[0]?.target === "openai/m")
        const hurried = yield* Fiber.join(yield* start(limited.pipe(Route.deadline("5 seconds"))))
        assert.deepInclude(reasonIn(hurried.result), { _tag: "Rejected", by: "limiter" })
        assert.strictEqual(hurried.at, 0)
      })
    )
  )

  it.effect("counts requests of other routes, whatever their numbers, and of routes without limits", () =>
    within(slow(0), (seen) =>
      Effect.gen(function* () {
        const small = openai.pipe(Route.limits({ requestsPerMinute: 3, burst: 1 }))
        const large = openai.pipe(Route.limits({ requestsPerMinute: 1_000, burst: 1 }))
        yield* start(large)
        yield* tick(1_000)
        // Also requests that were sent before the smaller limit was known.
        yield* start(small)
        yield* start(openai)
        yield* tick(0)
        assert.strictEqual(seen.length, 3)
        const fourth = yield* Fiber.join(yield* start(small))
        assert.strictEqual(reasonIn(fourth.result)._tag, "Rejected")
        assert.isTrue(Result.isSuccess((yield* Fiber.join(yield* start(large))).result))
        // A mapped target is the same target.
        const adapted = yield* Fiber.join(yield* start(small.pipe(Route.map((answer) => answer))))
        assert.strictEqual(reasonIn(adapted.result)._tag, "Rejected")
      })
    )
  )

  it.effect("is freed by the innermost off", () =>
    within(slow(1_000), (seen) =>
      Effect.gen(function* () {
        const free = openai.pipe(Route.limits("off"), Route.limits({ concurrency: 1 }))
        yield* start(free)
        yield* start(free)
        assert.strictEqual(seen.length, 2)
      })
    )
  )

  it.effect("settles by the tokens that an answer used", () =>
    within(slow(0), (seen) =>
      Effect.gen(function* () {
        const limited = openai.pipe(Route.limits({ tokensPerMinute: 1_500, burst: 1, queue: { maxWait: 0 } }))
        for (let i = 0; i < 20; i++) {
          const { result } = yield* Fiber.join(yield* start(limited))
          assert.isTrue(Result.isSuccess(result))
        }
        assert.strictEqual(seen.length, 20)
      })
    )
  )
})

describe("a fallback", () => {
  it.effect("moves on from a target whose limits reject it, and returns when the others have failed", () =>
    within(
      ({ provider }) => (provider === "groq" ? { status: 503, delay: 1_000 } : { body: scripted.completion("yes") }),
      (seen) =>
        Effect.gen(function* () {
          const limited = openai.pipe(Route.limits({ requestsPerMinute: 1, burst: 1, skew: 0 }))
          yield* Fiber.join(yield* start(limited))
          const moved = yield* start(Route.fallback(limited, groq))
          yield* steps(62_000)
          const { at, result } = yield* Fiber.join(moved)
          assert.deepStrictEqual(
            seen.map(({ provider }) => provider),
            ["openai", "groq", "openai"]
          )
          assert.deepStrictEqual(attemptsIn(result), [
            "groq/m fallback failure 1000 ms",
            "openai/m fallback success 0 ms"
          ])
          assert.isTrue(at >= 60_000 && at <= 61_000, String(at))
          // It was called in the end.
          assert.deepStrictEqual(Result.isSuccess(result) && result.success.skipped, [])
        })
    )
  )

  it.effect("does not return after its deadline, or to a target that never fits", () =>
    within(
      ({ provider }) => (provider === "groq" ? { status: 503 } : { body: scripted.completion("yes") }),
      (seen) =>
        Effect.gen(function* () {
          const limited = openai.pipe(Route.limits({ requestsPerMinute: 1, burst: 1 }))
          yield* Fiber.join(yield* start(limited))
          const hurried = yield* Fiber.join(
            yield* start(Route.fallback(limited, groq).pipe(Route.deadline("20 seconds")))
          )
          assert.strictEqual(reasonIn(hurried.result)._tag, "ProviderUnavailable")
          const tiny = openai.pipe(Route.limits({ tokensPerMinute: 10 }))
          const never = yield* Fiber.join(yield* start(Route.fallback(tiny, groq)))
          assert.strictEqual(reasonIn(never.result)._tag, "ProviderUnavailable")
          assert.strictEqual(never.at, 0)
          assert.deepStrictEqual(
            seen.map(({ provider }) => provider),
            ["openai", "groq", "groq"]
          )
        })
    )
  )

  it.effect("continues after a repeat that limits hold back, by the failure before it", () =>
    within(
      ({ provider }) => (provider === "openai" ? { status: 503 } : { body: scripted.completion("yes") }),
      () =>
        Effect.gen(function* () {
          const limited = openai.pipe(
            Route.limits({ requestsPerMinute: 1, burst: 1 }),
            Route.retry({ attempts: 3, delay: 0 })
          )
          const route = Route.fallback(limited, groq).pipe(Route.fallbackOn(["ProviderUnavailable"]))
          const { at, result } = yield* Fiber.join(yield* start(route))
          assert.strictEqual(at, 0)
          assert.deepStrictEqual(attemptsIn(result), ["openai/m first failure 0 ms", "groq/m fallback success 0 ms"])
          // It was called, so it was not skipped.
          assert.deepStrictEqual(Result.isSuccess(result) && result.success.skipped, [])
        })
    )
  )
})

describe("the failure of a run", () => {
  it.effect("is that of a target that was called, and not the rejection of a skipped one", () =>
    within(
      () => ({ status: 503 }),
      () =>
        Effect.gen(function* () {
          const tiny = openai.pipe(Route.limits({ tokensPerMinute: 10 }))
          const { result } = yield* Fiber.join(yield* start(Route.fallback(groq, tiny)))
          assert.strictEqual(reasonIn(result)._tag, "ProviderUnavailable")
          assert.deepStrictEqual(
            Result.isFailure(result) && result.failure.skipped?.map(({ reason, target }) => [target, reason._tag]),
            [["openai/m", "Rejected"]]
          )
        })
    )
  )
})

describe("a hedge", () => {
  it.effect("never waits in a queue: if the next target is full, there is no hedge", () =>
    within(slow(5_000), (seen) =>
      Effect.gen(function* () {
        const busy = groq.pipe(Route.limits({ concurrency: 1 }))
        const hedged = Route.fallback(openai, busy).pipe(Route.hedge({ after: "1 second" }))
        yield* start(busy)
        yield* tick(500)
        const fiber = yield* start(hedged)
        yield* steps(6_000)
        assert.deepStrictEqual(
          seen.map(({ provider }) => provider),
          ["groq", "openai"]
        )
        const { result } = yield* Fiber.join(fiber)
        // It was not even tried.
        assert.deepStrictEqual(Result.isSuccess(result) && result.success.skipped, [])
        yield* start(hedged)
        yield* steps(1_500)
        assert.strictEqual(seen.at(-1)?.provider, "groq")
      })
    )
  )

  it.effect("starts its clock when the attempt is admitted", () =>
    within(slow(1_500), (seen) =>
      Effect.gen(function* () {
        const hedged = Route.fallback(one, groq).pipe(Route.hedge({ after: "2 seconds" }))
        yield* start(one)
        yield* start(hedged)
        yield* steps(4_000)
        assert.deepStrictEqual(
          seen.map(({ provider }) => provider),
          ["openai", "openai"]
        )
      })
    )
  )
})

describe("a stream", () => {
  it.effect("holds its place until its end, and settles its usage", () => {
    const choice = (rest: string) => `data: {"choices":[{"index":0,${rest}}]}\n\n`
    const usage = `data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n`
    const text = `${choice(`"delta":{"content":"a"}`)}${choice(`"delta":{},"finish_reason":"stop"`)}${usage}data: [DONE]\n\n`
    const script: scripted.Script = () => ({ text, headers: { "content-type": "text/event-stream" } })
    return within(script, (seen) =>
      Effect.gen(function* () {
        const limiter = openai.pipe(
          Route.limits({ concurrency: 1, tokensPerMinute: 1_500, burst: 1, queue: { maxWait: "2 minutes" } })
        )
        yield* Effect.scoped(
          Effect.gen(function* () {
            const opened = yield* Router.open(limiter, "hi")
            const other = yield* Effect.forkChild(Stream.runDrain(Router.stream(limiter, "hi")), {
              startImmediately: true
            })
            yield* steps(1_000)
            assert.strictEqual(seen.length, 1)
            yield* Stream.runDrain(opened.deltas)
            yield* tick(0)
            assert.strictEqual(seen.length, 2)
            yield* Fiber.join(other)
          })
        )
        // An abandoned stream returns its place, and keeps the tokens that it reserved.
        yield* Effect.scoped(Router.open(limiter, "hi"))
        yield* tick(0)
        const next = yield* start(limiter)
        yield* steps(1_000)
        assert.strictEqual(seen.length, 3)
        yield* steps(63_000, 1_000)
        assert.strictEqual(seen.length, 4)
        yield* Fiber.interrupt(next)
      })
    )
  })
})

describe("a permit", () => {
  it.effect("keeps the reservation of a loser, and returns its place", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ tokensPerMinute: 100_000, burst: 1, concurrency: 5 })
      yield* within(
        ({ provider }) => (provider === "openai" ? { never: true } : { body: scripted.completion("yes") }),
        () =>
          Effect.gen(function* () {
            const raced = Route.race(openai, groq).pipe(Route.limits({}))
            const { result } = yield* Fiber.join(yield* start(raced))
            assert.isTrue(Result.isSuccess(result))
            yield* tick(0)
            assert.deepInclude(yield* limiter.state("openai/m"), { inFlight: 0, tokens: 1_026 })
            assert.deepInclude(yield* limiter.state("groq/m"), { inFlight: 0, tokens: 3 })
          }),
        limiter
      )
    })
  )

  it.effect("is needed from the batch and from the target", () =>
    within(slow(1_000), (seen) =>
      Effect.gen(function* () {
        const limiter = yield* Limiter.make({ requestsPerMinute: 100 })
        yield* start(one, "run")
        const job = yield* Effect.forkChild(
          Batch.runWithSummary(
            ["a", "b"],
            { route: one, id: (item) => item, input: (item) => item, limits: { limiter } },
            () => Effect.void
          ),
          { startImmediately: true }
        )
        yield* steps(500)
        assert.strictEqual(seen.length, 1)
        yield* steps(3_000)
        assert.deepInclude(yield* Fiber.join(job), { succeeded: 2, requests: 2 })
        assert.deepInclude(yield* limiter.state("batch"), { requests: 2, inFlight: 0 })
      })
    )
  )
})

describe("interruption", () => {
  it.effect("returns what a thousand runs held or waited for", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ concurrency: 7, queue: {} })
      yield* within(
        slow(200),
        (seen) =>
          Effect.gen(function* () {
            const limited = openai.pipe(Route.limits({ concurrency: 5, queue: { size: 50, maxWait: "3 seconds" } }))
            const route = Route.fallback(limited, groq).pipe(
              Route.hedge({ after: "50 millis" }),
              Route.deadline("2 seconds")
            )
            const running = new Set<Fiber.Fiber<unknown, unknown>>()
            for (let i = 0; i < 1_000; i++) {
              const draw = yield* Random.nextIntBetween(0, 4)
              running.add(
                yield* start(draw === 0 ? route : limited, "hi", draw === 1 ? { priority: "background" } : {})
              )
              if (draw === 2) yield* tick(37)
              for (const fiber of running) {
                if ((yield* Random.nextIntBetween(0, 12)) === 0) {
                  running.delete(fiber)
                  yield* Fiber.interrupt(fiber)
                }
              }
            }
            yield* Effect.forEach(running, Fiber.interrupt, { discard: true })
            yield* tick(0)
            assert.deepInclude(yield* limiter.state("openai/m"), { inFlight: 0, waiting: 0 })
            yield* steps(60_000, 5_000)
            const before = seen.length
            const after = yield* Effect.forEach(Array.from({ length: 6 }), () => start(limited))
            assert.strictEqual(seen.length - before, 5)
            yield* steps(1_000)
            yield* Effect.forEach(after, Fiber.join)
          }),
        limiter
      )
    }).pipe(Random.withSeed("interruption"))
  )
})

describe("batches", () => {
  it.effect("share the limits of a target with runs, which go first", () =>
    within(slow(1_000), (seen) =>
      Effect.gen(function* () {
        const job = yield* Effect.forkChild(
          Batch.runWithSummary(
            ["b1", "b2", "b3"],
            { route: one, id: (item) => item, input: (item) => item, concurrency: 3 },
            () => Effect.void
          ),
          { startImmediately: true }
        )
        yield* tick(100)
        yield* start(one, "run")
        yield* steps(5_000)
        const summary = yield* Fiber.join(job)
        assert.strictEqual(summary.succeeded, 3)
        assert.strictEqual(promptsOf(seen)[1], "run")
      })
    )
  )

  it.effect("return to items that the limits of a target reject", () =>
    within(slow(0), () =>
      Effect.gen(function* () {
        const route = openai.pipe(Route.limits({ requestsPerMinute: 6, burst: 1 / 6, queue: { maxWait: 0 } }))
        const job = yield* Effect.forkChild(
          Batch.runWithSummary(
            ["a", "b", "c", "d"],
            { route, id: (item) => item, input: (item) => item },
            () => Effect.void
          ),
          { startImmediately: true }
        )
        yield* steps(120_000, 1_000)
        assert.deepInclude(yield* Fiber.join(job), { succeeded: 4, deadLetters: 0, requests: 4 })
      })
    )
  )
})

describe("the limits that an answer reports", () => {
  it.effect("tighten those of its target, and of no other", () =>
    within(
      ({ body }) => ({
        delay: 1_000,
        body: scripted.completion("yes"),
        headers: JSON.stringify(body).includes("tell")
          ? { "x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "5s" }
          : {}
      }),
      (seen) =>
        Effect.gen(function* () {
          const limited = openai.pipe(Route.limits({}))
          const first = yield* start(limited, "tell")
          yield* tick(1_000)
          yield* Fiber.join(first)
          const three = yield* Effect.forEach([1, 2, 3], () => start(limited))
          assert.strictEqual(seen.length, 2)
          yield* steps(7_000)
          const ended = yield* Effect.forEach(three, Fiber.join)
          assert.deepStrictEqual(
            ended.map(({ at }) => at),
            [2_000, 7_000, 7_000]
          )
          yield* start(groq.pipe(Route.limits({})))
          assert.strictEqual(seen.at(-1)?.provider, "groq")
        })
    )
  )

  it.effect("are ignored if it comes from the gateway's cache", () =>
    within(
      () => ({
        body: scripted.completion("yes"),
        headers: {
          "x-ratelimit-remaining-requests": "0",
          "x-ratelimit-reset-requests": "5s",
          "cf-aig-cache-status": "HIT"
        }
      }),
      () =>
        Effect.gen(function* () {
          const limited = openai.pipe(Route.limits({}))
          for (let i = 0; i < 3; i++) assert.strictEqual((yield* Fiber.join(yield* start(limited))).at, 0)
        })
    )
  )

  it.effect("hold others back until its hint for lack of capacity (3040), and leave a quota (3036) to breakers", () =>
    Effect.gen(function* () {
      const nextAt = (code: number) =>
        within(
          ({ body }) =>
            JSON.stringify(body).includes("refuse")
              ? {
                  status: 429,
                  headers: { "retry-after": "4" },
                  body: { errors: [{ code, message: "no" }], success: false, result: null }
                }
              : { body: scripted.completion("yes") },
          () =>
            Effect.gen(function* () {
              const limited = openai.pipe(Route.limits({}))
              const from = yield* Clock.currentTimeMillis
              yield* Fiber.join(yield* start(limited, "refuse"))
              const next = yield* start(limited)
              yield* steps(5_000)
              const { at, result } = yield* Fiber.join(next)
              assert.isTrue(Result.isSuccess(result))
              return at - from
            })
        )
      assert.deepStrictEqual([yield* nextAt(3040), yield* nextAt(3036)], [4_000, 0])
    })
  )

  it.effect("lower adaptive concurrency for lack of capacity (3040), and not for a quota (3036)", () =>
    Effect.gen(function* () {
      const placesAfter = (code: number) =>
        within(
          ({ body }) =>
            JSON.stringify(body).includes("refuse")
              ? { status: 429, body: { errors: [{ code, message: "no" }], success: false, result: null } }
              : { delay: 1_000, body: scripted.completion("yes") },
          (seen) =>
            Effect.gen(function* () {
              const limited = openai.pipe(Route.limits({ concurrency: { initial: 8 }, queue: { maxWait: 0 } }))
              yield* tick(1)
              yield* Effect.forEach(Array.from({ length: 8 }), () => start(limited, "refuse"))
              yield* tick(1)
              const before = seen.length
              yield* Effect.forEach(Array.from({ length: 8 }), () => start(limited))
              return seen.length - before
            })
        )
      assert.deepStrictEqual([yield* placesAfter(3040), yield* placesAfter(3036)], [4, 8])
    })
  )
})

describe("a limiter of the router", () => {
  it.effect("applies in addition to the limits of routes, by the key of the target", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.make({ concurrency: 1 })
      yield* within(
        slow(1_000),
        (seen) =>
          Effect.gen(function* () {
            const limited = openai.pipe(Route.limits({ concurrency: 2 }))
            const permit = yield* limiter.acquire("openai/m")
            const fiber = yield* start(limited)
            yield* steps(500)
            assert.strictEqual(seen.length, 0)
            yield* start(openai)
            assert.strictEqual(seen.length, 1)
            yield* permit.settle()
            yield* steps(1_000)
            assert.deepStrictEqual(attemptsIn((yield* Fiber.join(fiber)).result), [
              "openai/m first success 1000 ms, waited 500 ms"
            ])
            assert.deepInclude(yield* limiter.state("openai/m"), { inFlight: 0, waiting: 0 })
          }),
        limiter
      )
    })
  )

  it.effect("is rejected when it is not a limiter", () =>
    within(
      slow(0),
      () =>
        Effect.gen(function* () {
          const { result } = yield* Fiber.join(yield* start(openai))
          assert.deepInclude(reasonIn(result), { _tag: "InvalidRequest", field: "limiter" })
        }),
      {} as never
    )
  )
})

describe("a priority", () => {
  it.effect("is rejected when it does not exist", () =>
    within(slow(0), () =>
      Effect.gen(function* () {
        const { result } = yield* Fiber.join(yield* start(openai, "hi", { priority: "high" as never }))
        assert.deepInclude(reasonIn(result), { _tag: "InvalidRequest", field: "priority" })
      })
    )
  )
})
