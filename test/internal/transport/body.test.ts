import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { call } from "../../../src/internal/transport/binding.ts"
import { webOf } from "../../../src/internal/transport/body.ts"

describe("webOf", () => {
  for (const status of [200, 204, 205, 304]) {
    it(`lets go of a stream that ${status} has no place for`, async () => {
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
