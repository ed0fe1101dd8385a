import { assert, describe, it } from "@effect/vitest"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import { logWithLevel } from "../../../src/internal/hotpath/logWithLevel.ts"

type Log = (level: "Error" | "Warn" | "Debug", text: string) => Effect.Effect<void>

const effects: Log = (level, text) => Effect.logWithLevel(level)(text)

/** Every call of the console and every event of a span while `use` logs, without the number of the fiber. */
const observed = (use: (log: Log) => Effect.Effect<void>, log: Log) =>
  Effect.gen(function* () {
    const seen: Array<unknown> = []
    const note =
      (name: string) =>
      (...args: ReadonlyArray<unknown>) =>
        void seen.push([name, ...args.map((arg) => (typeof arg === "string" ? arg.replace(/\(#\d+\)/, "(#1)") : arg))])
    const console = { ...globalThis.console, log: note("log"), error: note("error"), warn: note("warn") }
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        span.event = (name, time, attributes) => {
          seen.push([
            "event",
            name,
            typeof time,
            { ...attributes, "effect.fiberId": typeof attributes?.["effect.fiberId"] }
          ])
        }
        return span
      }
    })
    yield* use(log).pipe(Effect.provideService(Console.Console, console), Effect.withTracer(tracer))
    return seen
  })

const logger = (into: Array<unknown>) =>
  Logger.make(({ cause, date, logLevel, message }) => {
    into.push([logLevel, message, cause.reasons, date.getTime()])
  })

const cases: Readonly<Record<string, (log: Log) => Effect.Effect<void>>> = {
  "a warning": (log) => log("Warn", "one failed"),
  "an error with annotations": (log) => Effect.annotateLogs(log("Error", "one failed"), { item: 1, who: "x" }),
  "a line inside log spans": (log) =>
    log("Warn", "x").pipe(Effect.withLogSpan("an inner=span"), Effect.withLogSpan("outer")),
  "a line below the minimum": (log) => log("Debug", "x"),
  "a debug line that is wanted": (log) => Effect.provideService(log("Debug", "x"), References.MinimumLogLevel, "All"),
  "nothing where logging is off": (log) => Effect.provideService(log("Error", "x"), References.MinimumLogLevel, "None"),
  "a line for stderr": (log) => Effect.provideService(log("Warn", "x"), Logger.LogToStderr, true),
  "a line inside a span": (log) => Effect.withSpan(Effect.annotateLogs(log("Warn", "x"), { item: 1 }), "outer"),
  "a line inside an external span": (log) =>
    Effect.withParentSpan(log("Warn", "x"), Tracer.externalSpan({ spanId: "1", traceId: "2" })),
  "no line without loggers": (log) => Effect.provideService(log("Warn", "x"), Logger.CurrentLoggers, new Set())
}

describe("logWithLevel", () => {
  for (const [name, use] of Object.entries(cases)) {
    it.effect(`writes ${name} as Effect does`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* observed(use, logWithLevel), yield* observed(use, effects))
      })
    )
  }

  it.effect("gives the application's loggers what Effect gives them", () =>
    Effect.gen(function* () {
      const run = (log: Log, into: Array<unknown>) =>
        log("Warn", "one failed").pipe(Effect.provide(Logger.layer([logger(into), logger(into)])))
      const ours: Array<unknown> = []
      const theirs: Array<unknown> = []
      yield* run(logWithLevel, ours)
      yield* run(effects, theirs)
      assert.deepStrictEqual(ours, theirs)
      assert.lengthOf(ours, 2)
    })
  )
})
