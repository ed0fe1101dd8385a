/**
 * Responses whose signal is aborted: the half that was sent must not look like the complete answer.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { isGatewayError } from "effect-ai-gateway/GatewayError"
import * as StreamResponse from "effect-ai-gateway/StreamResponse"
import { readerOf, recorder, say, settle } from "./support/streamResponses.ts"

const meta = { type: "meta", model: "m-1", id: "chatcmpl-7" } as const

/** The reason with which a promise is rejected. */
const rejection = (promise: Promise<unknown>): Effect.Effect<unknown> =>
  Effect.promise(() =>
    promise.then(
      () => "fulfilled",
      (error: unknown) => error
    )
  )

/** A stream that says one thing, then nothing, and tells when it is let go of. */
const open = () => {
  const seen = { released: 0 }
  const deltas = Stream.ensuring(
    Stream.concat(Stream.make(meta, say("Hel")), Stream.never),
    Effect.sync(() => seen.released++)
  )
  return { seen, deltas }
}

describe("an aborted response", () => {
  it.effect("ends everything once, and breaks the body with the reason of the signal", () =>
    Effect.gen(function* () {
      const { deltas, seen } = open()
      const { onEnd, summaries } = recorder()
      const controller = new AbortController()
      const { signal } = controller
      const reader = readerOf(yield* StreamResponse.fromDeltas(deltas, { onEnd, signal }))
      yield* Effect.promise(() => reader.read())
      const waiting = yield* Effect.forkChild(rejection(reader.read()))
      yield* settle
      controller.abort("time is up")
      assert.strictEqual(yield* Fiber.join(waiting), "time is up")
      assert.deepStrictEqual([seen.released, summaries.length, summaries[0]?.outcome], [1, 1, "left"])
      controller.abort()
      yield* settle
      assert.strictEqual(summaries.length, 1)
    })
  )

  for (const format of ["deltas", "openai"] as const) {
    it.effect(`${format}: copies and branches of an aborted body reject, as those of fetch do`, () =>
      Effect.gen(function* () {
        const { deltas } = open()
        const controller = new AbortController()
        const { signal } = controller
        const response = yield* StreamResponse.fromDeltas(deltas, { format, signal })
        const copy = response.clone()
        const [one, other] = response.body?.tee() ?? []
        if (one === undefined || other === undefined) throw new Error("the response has no body")
        const texts = [copy.text(), new Response(one).text(), new Response(other).text()]
        const errors = yield* Effect.forkChild(Effect.forEach(texts, rejection, { concurrency: "unbounded" }))
        yield* settle
        controller.abort()
        assert.deepStrictEqual(yield* Fiber.join(errors), [signal.reason, signal.reason, signal.reason])
      })
    )
  }

  it.effect("breaks a body without a reader when the signal is aborted", () =>
    Effect.gen(function* () {
      const { deltas } = open()
      const controller = new AbortController()
      const { signal } = controller
      const response = yield* StreamResponse.fromDeltas(deltas, { signal })
      controller.abort()
      yield* settle
      assert.strictEqual(yield* rejection(response.text()), signal.reason)
    })
  )

  it.effect("breaks the body when its fiber is interrupted, and says with what", () =>
    Effect.gen(function* () {
      const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
      const deltas = Stream.concat(
        Stream.make(say("Hel")),
        Stream.fromEffect(
          Effect.withFiber((fiber) => {
            fibers.push(fiber)
            return Effect.never
          })
        )
      )
      const response = yield* StreamResponse.fromDeltas(deltas)
      const waiting = yield* Effect.forkChild(rejection(response.text()))
      yield* settle
      for (const fiber of fibers) fiber.interruptUnsafe()
      const error = yield* Fiber.join(waiting)
      assert.isTrue(isGatewayError(error) && error.reason._tag === "StreamInterrupted")
    })
  )

  it.effect("a signal that was aborted before: nothing is begun", () =>
    Effect.gen(function* () {
      let pulled = 0
      const { onEnd, summaries } = recorder()
      const deltas = Stream.fromEffectRepeat(Effect.sync(() => say(`${pulled++}`)))
      const response = yield* StreamResponse.fromDeltas(deltas, { onEnd, signal: AbortSignal.abort() })
      assert.strictEqual(response.status, 499)
      assert.deepStrictEqual([pulled, summaries.length, summaries[0]?.outcome], [0, 1, "left"])
    })
  )
})
