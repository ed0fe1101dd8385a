/**
 * Renders everything that an application could print about a program, to look for secrets in it.
 */
import { inspect } from "node:util"
import { assert } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"

/** Resources that a program did not release. */
export interface Traces<A, E> {
  readonly exit: Exit.Exit<A, E>
  readonly spans: ReadonlyArray<Tracer.Span>
  readonly logs: ReadonlyArray<string>
  /** Failures, spans and logs as text, in every usual way. What succeeded belongs to the caller. */
  readonly text: string
}

const circular = (value: unknown): string => {
  const seen = new Set<unknown>()
  return (
    JSON.stringify(value, (_key, item: unknown) => {
      if (typeof item === "bigint") return item.toString()
      if (typeof item !== "object" || item === null) return item
      if (seen.has(item)) return "[seen]"
      seen.add(item)
      return item instanceof Map ? Object.fromEntries(item) : item
    }) ?? ""
  )
}

const render = (value: unknown): ReadonlyArray<string> => [
  String(value),
  circular(value),
  inspect(value, { depth: 10, showHidden: true, maxStringLength: null, maxArrayLength: null })
]

/** Runs a program with a tracer and a logger that keep everything, and logs its failure as an application would. */
export const traced = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<Traces<A, E>, never, R> =>
  Effect.suspend(() => {
    const spans: Array<Tracer.Span> = []
    const logs: Array<string> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        spans.push(span)
        return span
      }
    })
    const logger = Logger.make((options) => {
      logs.push(Logger.formatLogFmt.log(options), Logger.formatJson.log(options))
    })
    return self.pipe(
      Effect.tapCause((cause) => Effect.logError("it failed", cause)),
      Effect.exit,
      Effect.withTracer(tracer),
      Effect.provide(Logger.layer([logger]).pipe(Layer.merge(Layer.succeed(References.MinimumLogLevel, "All")))),
      Effect.map((exit) => {
        const text = [
          ...failuresOf(exit).flatMap(render),
          ...(Exit.isFailure(exit) ? [Cause.pretty(exit.cause)] : []),
          ...spans.flatMap((span) => render([span.name, [...span.attributes], statusOf(span)])),
          ...logs
        ].join("\n")
        return { exit, spans, logs, text }
      })
    )
  })

const failuresOf = (exit: Exit.Exit<unknown, unknown>): ReadonlyArray<unknown> =>
  Exit.isFailure(exit) ? [exit, exit.cause, ...exit.cause.reasons.map(errorOf)] : []

const statusOf = ({ status }: Tracer.Span): unknown => (status._tag === "Ended" ? failuresOf(status.exit) : status._tag)

const errorOf = (reason: Cause.Reason<unknown>): unknown =>
  reason._tag === "Fail" ? reason.error : reason._tag === "Die" ? reason.defect : undefined

/** Fails when one of the secrets is anywhere in what a program left behind. */
export const assertSilent = (traces: Traces<unknown, unknown>, secrets: ReadonlyArray<string>): void => {
  for (const secret of secrets) {
    const at = traces.text.indexOf(secret)
    assert.isBelow(at, 0, `leaked: …${traces.text.slice(Math.max(0, at - 120), at + secret.length + 40)}…`)
  }
}
