import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { GatewayError, InvalidResponse } from "../../../src/GatewayError.ts"
import type { Delta } from "../../../src/internal/dialect/delta.ts"
import { makePump, unlimited } from "../../../src/internal/dialect/deltaPump.ts"
import { openai } from "../../../src/internal/dialect/openaiStream.ts"
import { data } from "../../fixtures/streams/drive.ts"

const maxBytes = 2_000
const chunk = (delta: object, finish: string | null = null): string =>
  data({ id: "c", model: "m", choices: [{ index: 0, delta, finish_reason: finish }] })

/** All deltas of a body that arrives in these pieces, and how often it was released. */
const pumped = (...pieces: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    let at = 0
    let cancelled = 0
    const failure = (issue: string) => new GatewayError({ method: "test", reason: new InvalidResponse({ issue }) })
    const read = Effect.sync(() => (at < pieces.length ? new TextEncoder().encode(pieces[at++]) : undefined))
    const cancel = Effect.sync(() => void cancelled++)
    const response = { reader: () => ({ read, cancel }), maxBytes, invalid: failure, fault: failure }
    const pump = makePump(response, openai.decoder(undefined, {}))
    const deltas: Array<Delta> = []
    while (true) {
      const batch = yield* pump.next(unlimited)
      if (batch === undefined) return { types: deltas.map(({ type }) => type), cancelled, read: at }
      deltas.push(...batch)
    }
  })

describe("data after a complete answer", () => {
  const whole = chunk({ content: "a" }) + chunk({}, "stop")
  const more = [
    ["one event that is too large", data({ padding: "x".repeat(3 * maxBytes) })],
    ["many events that say nothing", data({ padding: "x".repeat(100) }).repeat(100)]
  ] as const
  for (const [name, text] of more) {
    it.effect(`does not invalidate it: ${name}`, () =>
      Effect.gen(function* () {
        const { cancelled, types } = yield* pumped(whole, text, "never read", "nor this")
        assert.deepStrictEqual(types, ["meta", "text", "finish"])
        assert.isAtLeast(cancelled, 1)
      })
    )
  }

  it.effect("fails an answer that has no finish yet", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(pumped(chunk({ content: "a" }), more[0][1]))
      assert.strictEqual(error.reason._tag, "InvalidResponse")
    })
  )
})
