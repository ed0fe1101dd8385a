import { assert, describe, it } from "@effect/vitest"
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
