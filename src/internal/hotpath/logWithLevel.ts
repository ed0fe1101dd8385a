/**
 * Log lines without Effect's default loggers in the bundle.
 *
 * `Effect.logWarning` references the default loggers, which reference the printer of causes: 1.9 kB of each Worker
 * after gzip, for one line that few requests write. So this module uses the loggers that the application has set;
 * without any, it writes what the default loggers would write for a text.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as References from "effect/References"

/** `Logger.CurrentLoggers` by its key, to avoid a reference to its default value. */
const CurrentLoggers = Context.Reference<ReadonlySet<Logger.Logger<unknown, unknown>> | undefined>(
  "effect/Logger/CurrentLoggers",
  { defaultValue: () => undefined }
)

/** `Logger.LogToStderr` by its key, because nothing else of that module is needed. */
const LogToStderr = Context.Reference<boolean>("effect/Logger/LogToStderr", { defaultValue: () => false })

/** Writes a text as `Logger.defaultLogger` and `Logger.tracerLogger` do. */
const writeByDefault = (fiber: Fiber.Fiber<unknown, unknown>, level: string, text: string, date: Date): void => {
  const annotations = fiber.getRef(References.CurrentLogAnnotations)
  const spans = fiber
    .getRef(References.CurrentLogSpans)
    .map(([label, since]) => ` ${label.replace(/[\s="]/g, "_")}=${date.getTime() - since}ms`)
  const console = fiber.getRef(Console.Console)
  const write = fiber.getRef(LogToStderr) ? console.error : console.log
  const time = `${date.toTimeString().slice(0, 8)}.${String(date.getMilliseconds()).padStart(3, "0")}`
  const rest = Object.keys(annotations).length > 0 ? [annotations] : []
  write(`[${time}] ${level} (#${fiber.id})${spans.join("")}:`, text, ...rest)
  const { span } = fiber.cache
  if (span?._tag === "Span" && span.status._tag !== "Ended") {
    const attributes = { ...annotations, "effect.fiberId": fiber.id, "effect.logLevel": level }
    span.event(text, fiber.getRef(Clock.Clock).currentTimeNanosUnsafe(), attributes)
  }
}

/** Logs a text, like the function of the same name in Effect. */
export const logWithLevel = (level: "Error" | "Warn" | "Debug", text: string): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    if (LogLevel.isGreaterThan(fiber.cache.minimumLogLevel, level)) return Effect.void
    const loggers = fiber.getRef(CurrentLoggers)
    const date = new Date(fiber.getRef(Clock.Clock).currentTimeMillisUnsafe())
    if (loggers === undefined) writeByDefault(fiber, level.toUpperCase(), text, date)
    else for (const logger of loggers) logger.log({ cause: Cause.empty, date, fiber, logLevel: level, message: [text] })
    return Effect.void
  })
