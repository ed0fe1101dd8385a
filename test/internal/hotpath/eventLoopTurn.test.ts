import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { arrival } from "../../../src/internal/hotpath/eventLoopTurn.ts"
import { tryRequest } from "../../../src/internal/hotpath/promise.ts"

const turn = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))

describe("an event from outside", () => {
  it.effect("resumes at once when it is alone, and at the end of the turn beside others", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      arrival()(() => seen.push("alone"))
      assert.deepStrictEqual(seen, ["alone"])
      const [first, second, third] = [arrival(), arrival(), arrival()]
      first(() => seen.push("first"))
      second(() => seen.push("second"))
      // The last one, which overtakes none.
      third(() => seen.push("third"))
      assert.deepStrictEqual(seen, ["alone"])
      yield* turn
      assert.deepStrictEqual(seen, ["alone", "first", "second", "third"])
      arrival()(() => seen.push("alone again"))
      assert.strictEqual(seen.at(-1), "alone again")
    })
  )

  it.effect("is aborted when its caller is interrupted before the turn is over", () =>
    Effect.gen(function* () {
      const other = arrival()
      let answer = (_: string): void => undefined
      const answered = new Promise<string>((resolve) => {
        answer = resolve
      })
      let signal: AbortSignal | undefined
      let taken = false
      const fiber = yield* Effect.forkChild(
        tryRequest(
          (given) => {
            signal = given
            return answered
          },
          () =>
            Effect.sync(() => {
              taken = true
            }),
          () => new Error("not this")
        ),
        { startImmediately: true }
      )
      answer("answer")
      // The answer has arrived, and the turn is not over.
      yield* Effect.promise(() => Promise.resolve())
      yield* Fiber.interrupt(fiber)
      yield* turn
      assert.isTrue(signal?.aborted)
      assert.isFalse(taken)
      other(() => undefined)
    })
  )
})
