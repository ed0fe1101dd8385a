import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import { type Reason, Unknown } from "../src/GatewayError.ts"
import * as LogTrail from "../src/LogTrail.ts"

/** One attempt; its name is its target and, unless told otherwise, its log id. */
const attempt = <A, E extends Reason>(name: string, self: Effect.Effect<A, E>, logId: string | null = name) =>
  LogTrail.record(self, { target: name, provider: "openai", endpoint: "chat/completions" }, (exit) => {
    const error = Option.getOrUndefined(Exit.findErrorOption(exit))
    return { ...(error === undefined ? undefined : { error }), ...(logId === null ? undefined : { logId }) }
  })
const ok = (name: string) => attempt(name, Effect.succeed(name))
const targets = (attempts: ReadonlyArray<LogTrail.Attempt>) => attempts.map(({ target }) => target)
const collected = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.map(LogTrail.collect(self), ({ attempts }) => targets(attempts))

describe("collect", () => {
  it.effect("returns the value and the attempts", () =>
    Effect.gen(function* () {
      const { attempts, value } = yield* LogTrail.collect(Effect.andThen(ok("a"), ok("b")))
      assert.strictEqual(value, "b")
      assert.deepStrictEqual(attempts[0], {
        target: "a",
        provider: "openai",
        endpoint: "chat/completions",
        logId: "a",
        outcome: "success",
        startedAt: 0,
        duration: Duration.zero
      })
      assert.deepStrictEqual(targets(attempts), ["a", "b"])
    })
  )

  it.effect("nested: the outer one sees all, the inner one its own", () =>
    Effect.gen(function* () {
      const inner: Array<ReadonlyArray<string>> = []
      const outer = yield* collected(
        Effect.gen(function* () {
          yield* ok("a")
          inner.push(yield* collected(ok("b")))
          inner.push(yield* collected(Effect.andThen(ok("c"), collected(ok("d")))))
          yield* ok("e")
        })
      )
      assert.deepStrictEqual(inner, [["b"], ["c", "d"]])
      assert.deepStrictEqual(outer, ["a", "b", "c", "d", "e"])
    })
  )

  it.effect("concurrent siblings never see each other", () =>
    Effect.gen(function* () {
      const names = Array.from({ length: 200 }, (_, index) => `n${index}`)
      const request = (name: string) =>
        collected(
          Effect.gen(function* () {
            yield* ok(`${name}.1`)
            yield* Effect.yieldNow
            yield* Effect.all([ok(`${name}.2`), ok(`${name}.3`)], { concurrency: 2 })
            assert.strictEqual(yield* LogTrail.lastLogId, `${name}.3`)
          })
        )
      const all = yield* Effect.forEach(names, request, { concurrency: "unbounded" })
      assert.deepStrictEqual(
        all,
        names.map((name) => [`${name}.1`, `${name}.2`, `${name}.3`])
      )
    })
  )

  it.effect("sees forked children", () =>
    Effect.gen(function* () {
      const names = yield* collected(
        Effect.gen(function* () {
          const grandchild = Effect.flatMap(Effect.forkChild(ok("b")), Fiber.join)
          yield* Fiber.join(yield* Effect.forkChild(Effect.andThen(ok("a"), grandchild)))
          yield* ok("c")
        })
      )
      assert.deepStrictEqual(names, ["a", "b", "c"])
    })
  )

  it.effect("has no attempt that is still running, nor one that starts later", () =>
    Effect.gen(function* () {
      const latch = yield* Deferred.make<void>()
      const { attempts, value } = yield* LogTrail.collect(
        Effect.gen(function* () {
          yield* ok("a")
          const slow = attempt("slow", Deferred.await(latch))
          return yield* Effect.forkScoped(Effect.andThen(slow, ok("late")), { startImmediately: true })
        })
      )
      assert.deepStrictEqual(targets(attempts), ["a"])
      yield* Deferred.succeed(latch, undefined)
      yield* Fiber.join(value)
      assert.deepStrictEqual(targets(attempts), ["a"])
    })
  )

  it.effect("records failures, also when the whole effect fails", () =>
    Effect.gen(function* () {
      const reason = new Unknown({ status: 500 })
      const { attempts, value } = yield* LogTrail.collect(
        Effect.exit(Effect.andThen(ok("a"), attempt("b", Effect.fail(reason), null)))
      )
      assert.isTrue(Exit.isFailure(value))
      assert.deepStrictEqual(targets(attempts), ["a", "b"])
      assert.strictEqual(attempts[1]?.outcome, "failure")
      assert.strictEqual(attempts[1]?.error, reason)
    })
  )

  it.effect("passes a failure on", () =>
    Effect.gen(function* () {
      const reason = new Unknown({})
      assert.strictEqual(yield* Effect.flip(LogTrail.collect(attempt("a", Effect.fail(reason)))), reason)
    })
  )

  it.effect("a defect is a failure without a reason", () =>
    Effect.gen(function* () {
      const { attempts } = yield* LogTrail.collect(Effect.exit(attempt("a", Effect.die("broken"))))
      assert.strictEqual(attempts[0]?.outcome, "failure")
      assert.isUndefined(attempts[0]?.error)
    })
  )

  it.effect("records interrupted attempts with the time they took", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        LogTrail.collect(
          Effect.andThen(Effect.timeoutOption(attempt("slow", Effect.never), "3 seconds"), attempt("b", Effect.void))
        )
      )
      yield* TestClock.adjust("3 seconds")
      const { attempts } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(targets(attempts), ["slow", "b"])
      assert.strictEqual(attempts[0]?.outcome, "interrupted")
      assert.deepStrictEqual(attempts[0]?.duration, Duration.seconds(3))
      assert.strictEqual(attempts[1]?.outcome, "success")
    })
  )

  it.effect("keeps the order of start, whatever the order of end, with durations", () =>
    Effect.gen(function* () {
      const later = (name: string, wait: Duration.Input, take: Duration.Input) =>
        Effect.delay(attempt(name, Effect.sleep(take)), wait)
      const fiber = yield* Effect.forkChild(
        LogTrail.collect(
          Effect.all([later("second", 1000, 500), later("first", 0, 5000), later("third", 2000, 1000)], {
            concurrency: "unbounded"
          })
        )
      )
      yield* TestClock.adjust("10 seconds")
      const { attempts } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(
        attempts.map(({ duration, startedAt, target }) => [target, startedAt, Duration.toMillis(duration)]),
        [
          ["first", 0, 5000],
          ["second", 1000, 500],
          ["third", 2000, 1000]
        ]
      )
    })
  )
})

describe("current and lastLogId", () => {
  it.effect("follow the collection", () =>
    Effect.gen(function* () {
      yield* LogTrail.collect(
        Effect.gen(function* () {
          assert.deepStrictEqual(yield* LogTrail.current, [])
          assert.isUndefined(yield* LogTrail.lastLogId)
          yield* ok("a")
          yield* attempt("b", Effect.void, null)
          assert.deepStrictEqual(targets(yield* LogTrail.current), ["a", "b"])
          assert.strictEqual(yield* LogTrail.lastLogId, "a")
          yield* LogTrail.collect(
            Effect.gen(function* () {
              assert.deepStrictEqual(yield* LogTrail.current, [])
              assert.isUndefined(yield* LogTrail.lastLogId)
              yield* ok("c")
            })
          )
          assert.strictEqual(yield* LogTrail.lastLogId, "c")
        })
      )
    })
  )

  it.effect("the last one is the last by start", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        LogTrail.collect(
          Effect.gen(function* () {
            const slow = attempt("slow", Effect.sleep("2 seconds"))
            const quick = attempt("quick", Effect.sleep("1 second"))
            yield* Effect.all([slow, quick], { concurrency: 2 })
            return yield* LogTrail.lastLogId
          })
        )
      )
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).value, "quick")
    })
  )

  it.effect("outside of a collection nothing is kept, in this run or between runs", () =>
    Effect.gen(function* () {
      yield* ok("a")
      assert.deepStrictEqual(yield* LogTrail.current, [])
      assert.isUndefined(yield* LogTrail.lastLogId)
      yield* Effect.promise(() => Effect.runPromise(ok("other run")))
      assert.deepStrictEqual(yield* collected(ok("b")), ["b"])
      assert.deepStrictEqual(yield* LogTrail.current, [])
    })
  )
})

describe("record", () => {
  it.effect("shows no key that stands in a path", () =>
    Effect.gen(function* () {
      const started = { target: "a", provider: "google", endpoint: "v1/m:generateContent?key=sk-1&alt=json" }
      const attempts = yield* Effect.map(
        LogTrail.collect(
          Effect.andThen(
            LogTrail.record(Effect.void, started, () => ({})),
            LogTrail.record(Effect.void, { ...started, endpoint: "chat" }, () => ({ endpoint: "a?token=sk-1" }))
          )
        ),
        (collected) => collected.attempts
      )
      assert.deepStrictEqual(
        attempts.map(({ endpoint }) => endpoint),
        ["v1/m:generateContent?key=<redacted>&alt=json", "a?token=<redacted>"]
      )
    })
  )

  it.effect("tells a listener about every attempt, with or without a collection", () =>
    Effect.gen(function* () {
      const seen: Array<LogTrail.Attempt> = []
      const started = { target: "a", provider: "openai", endpoint: "chat/completions" }
      const once = LogTrail.record(
        Effect.succeed(1),
        started,
        () => ({ status: 200, target: "renamed" }),
        (one) => seen.push(one)
      )
      assert.strictEqual(yield* once, 1)
      const { attempts } = yield* LogTrail.collect(once)
      assert.strictEqual(seen.length, 2)
      assert.strictEqual(attempts[0], seen[1])
      assert.deepInclude({ ...attempts[0] }, { status: 200, target: "renamed", outcome: "success" })
    })
  )
})
