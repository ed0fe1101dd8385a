import { assert, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as BreakerStore from "effect-ai-gateway/BreakerStore"

it.effect("remembers a bounded number of breakers, and forgets closed ones first", () =>
  Effect.gen(function* () {
    const store = BreakerStore.memory()
    const opened = { _tag: "Opened", cause: "failing", openFor: Duration.seconds(1) } as const
    yield* store.report("closed", 0, opened)
    yield* store.report("open", 0, { ...opened, openFor: Duration.hours(1) })
    yield* TestClock.adjust("1 second")
    const probe = yield* store.admit("closed")
    if (probe._tag === "Probe") yield* store.report("closed", probe.generation, { _tag: "Closed" })
    assert.notDeepEqual(yield* store.admit("closed"), { _tag: "Closed", generation: 0 })
    for (let i = 0; i < 16_383; i++) yield* store.report(`key ${i}`, 0, opened)
    assert.deepInclude(yield* store.admit("closed"), { _tag: "Closed", generation: 0 })
    assert.strictEqual((yield* store.admit("open"))._tag, "Refused")
  })
)
