import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { assertSilent, traced } from "./leaks.ts"

const levels = {
  Trace: Effect.logTrace,
  Debug: Effect.logDebug,
  Info: Effect.logInfo,
  Warn: Effect.logWarning,
  Error: Effect.logError,
  Fatal: Effect.logFatal
}

describe("the search for secrets", () => {
  for (const [level, log] of Object.entries(levels)) {
    it.effect(`finds one in a log line: ${level}`, () =>
      Effect.gen(function* () {
        const logged = [
          log("said sk-secret"),
          log("said", { deep: { inside: "sk-secret" } }),
          Effect.annotateLogs(log("said"), "key", "sk-secret"),
          log("said", new Error("sk-secret"))
        ]
        for (const program of logged) {
          const traces = yield* traced(program)
          assert.throws(() => assertSilent(traces, ["sk-secret"]), /leaked/)
        }
      })
    )
  }

  it.effect("finds one in a line of a fiber that runs beside", () =>
    Effect.gen(function* () {
      const traces = yield* traced(
        Effect.scoped(Effect.andThen(Effect.forkScoped(Effect.logDebug("said sk-secret")), Effect.yieldNow))
      )
      assert.throws(() => assertSilent(traces, ["sk-secret"]), /leaked/)
    })
  )
})
