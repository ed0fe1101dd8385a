import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { tryRequest } from "../../../src/internal/hotpath/promise.ts"
import { withoutStack } from "../../../src/internal/hotpath/stackless.ts"
import { webBody } from "../../../src/internal/transport/body.ts"

const never = () => new Promise<never>(() => {})

describe("requested", () => {
  it.effect("aborts interrupted requests, each with its own reason without a stack", () =>
    Effect.gen(function* () {
      const signals: Array<AbortSignal> = []
      const request = tryRequest(
        (signal) => {
          signals.push(signal)
          return never()
        },
        Effect.succeed,
        String
      )
      for (let n = 0; n < 2; n++) yield* Fiber.interrupt(yield* Effect.forkChild(request, { startImmediately: true }))
      const [one, other] = signals.map(({ reason }) => reason)
      assert.strictEqual(one?.name, "AbortError")
      assert.notInclude(one?.stack, "\n")
      assert.notStrictEqual(one, other)
    })
  )

  it.effect("aborts requests that are rejected or cannot be made, and fails; later errors are defects", () =>
    Effect.gen(function* () {
      for (const fails of [() => Promise.reject(new Error("no")), () => assert.fail("no")]) {
        let aborted: AbortSignal | undefined
        const failed = tryRequest(
          (signal) => {
            aborted = signal
            return fails()
          },
          Effect.succeed,
          () => "failed"
        )
        assert.strictEqual(yield* Effect.flip(failed), "failed")
        assert.isTrue(aborted?.aborted)
      }
      const broken = tryRequest(
        () => Promise.resolve(1),
        () => assert.fail("bug"),
        () => "failed"
      )
      const exit = yield* Effect.exit(broken)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
    })
  )
})

describe("the head of a body", () => {
  it.effect("is aborted when it is cut, and not when it is complete", () =>
    Effect.gen(function* () {
      for (const [max, aborts] of [
        [3, 1],
        [100, 0]
      ] as const) {
        let aborted = 0
        const body = webBody(
          new Response("0123456789"),
          Effect.sync(() => void aborted++)
        )
        assert.strictEqual(yield* body.head(max), "0123456789".slice(0, max))
        assert.strictEqual(aborted, aborts)
      }
    })
  )
})

describe("stackless", () => {
  it("makes errors without a stack, and keeps those of others, also when making fails", () => {
    assert.notInclude(withoutStack(() => new Error("a")).stack, "\n")
    assert.throws(() => withoutStack(() => assert.fail("b")))
    assert.include(new Error("c").stack, "\n")
  })
})
