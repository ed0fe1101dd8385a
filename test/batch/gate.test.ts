/** Times of the gate that are no whole milliseconds. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as GatewayError from "effect-ai-gateway/GatewayError"
import { Gate } from "../../src/internal/batch/gate.ts"

const unreachable = new GatewayError.GatewayError({
  method: "Router.run",
  reason: new GatewayError.TransportFailure({ kind: "connect" })
})

describe("the gate of a batch", () => {
  // (125,788 ns + 1 s) - 1 s - 125,788 ns is 1.1e-13 ms in doubles: a sleep of that does not move a test clock.
  it.effect.each([125_788n, 141_413n, 157_038n, 1n])(
    "lets a probe pass when it is due, on a clock that began %d ns later",
    (offset) =>
      Effect.gen(function* () {
        yield* TestClock.adjust(Duration.nanos(offset))
        const patience = { quota: 1e9, outage: 1e9 }
        const gate = new Gate(yield* Clock.Clock, { inFlight: 0, entering: 0 }, patience)
        assert.strictEqual(yield* gate.failed(unreachable, "unreachable", 0, 0), "again")
        const passed = yield* Effect.forkChild(gate.pass(false))
        yield* TestClock.adjust("1 second")
        assert.isTrue(yield* Fiber.join(passed))
        // The probe fails: it counts as one, and the next is due two seconds later.
        const startedAt = Number((yield* Clock.Clock).monotonicTimeNanosUnsafe()) / 1e6
        assert.strictEqual(yield* gate.failed(unreachable, "unreachable", startedAt, 1), "again")
        const again = yield* Effect.forkChild(gate.pass(false))
        yield* TestClock.adjust("2 seconds")
        assert.isTrue(yield* Fiber.join(again))
      }),
    5000
  )
})
