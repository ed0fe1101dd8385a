import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { call } from "../../../src/internal/transport/binding.ts"
import { webOf } from "../../../src/internal/transport/body.ts"

describe("webOf", () => {
  for (const status of [200, 204, 205, 304]) {
    it(`releases a stream that ${status} cannot have`, async () => {
      let cancelled = false
      const stream = new ReadableStream<Uint8Array>(
        {
          pull: (controller) => {
            controller.enqueue(new TextEncoder().encode("x"))
            controller.close()
          },
          cancel: () => {
            cancelled = true
          }
        },
        { highWaterMark: 0 }
      )
      const response = webOf(stream, { status })
      assert.strictEqual(await response.text(), status === 200 ? "x" : "")
      assert.strictEqual(cancelled, status !== 200)
    })
  }
})

describe("a double of a response, with a text and no body", () => {
  it.effect("is read by its text, up to the limit", () =>
    Effect.gen(function* () {
      const double = { status: 200, headers: new Map(), text: async () => "a text" }
      const { body } = yield* call(
        () => Promise.resolve(double),
        (thrown) => thrown
      )
      assert.strictEqual(yield* body.text(6), "a text")
      assert.strictEqual((yield* Effect.flip(body.text(5)))._tag, "InvalidResponse")
    })
  )
})

describe("the head of an error body", () => {
  it.effect("is bounded by the received bytes, not by the declared length", () =>
    Effect.gen(function* () {
      let pieces = 0
      // Behind a service binding of workerd, and with a content coding everywhere, a body may be larger than its header
      // states.
      const stream = new ReadableStream<Uint8Array>({
        pull: (controller) => {
          pieces++
          controller.enqueue(new TextEncoder().encode("x".repeat(100)))
          if (pieces === 1000) controller.close()
        }
      })
      const answer = new Response(stream, { status: 500, headers: { "content-length": "10" } })
      const { body } = yield* call(
        () => Promise.resolve(answer),
        (thrown) => thrown
      )
      assert.lengthOf(yield* body.head(250), 250)
      assert.isBelow(pieces, 10)
    })
  )
})
