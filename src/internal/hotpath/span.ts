/**
 * Spans that cost nothing while nobody traces.
 *
 * `Effect.fn` looks at the stack on every call, which is most of what it costs. These operations run once per request and attempt, a
 * million times in a batch; so they open a span only where a tracer is installed. And they ask that tracer themselves: `Effect.useSpan`
 * could also fall back to Effect's native tracer, which would then be in every bundle, one kilobyte that no Worker reaches.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"

/** Adds what is known by now to a span. */
export type Annotate = (attributes: Readonly<Record<string, unknown>>) => void

/** The nearest span that wants to be a parent. */
const parentOf = (span: Tracer.AnySpan | undefined): Tracer.AnySpan | undefined =>
  span !== undefined && Context.get(span.annotations, Tracer.DisablePropagation)
    ? parentOf(span._tag === "Span" ? Option.getOrUndefined(span.parent) : undefined)
    : span

/** Opens a span around an effect, which gets `undefined` where there is none to annotate. */
export const withSpan = <A, E, R>(
  name: string,
  body: (annotate: Annotate | undefined) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    const { span: outer, tracer, tracerEnabled } = fiber.cache
    if (tracer === undefined || !tracerEnabled) return body(undefined)
    // The same as `Effect.useSpan` from here on.
    const clock = fiber.getRef(Clock.Clock)
    const isTimed = fiber.getRef(References.TracerTimingEnabled)
    const now = () => (isTimed ? clock.currentTimeNanosUnsafe() : 0n)
    const parent = parentOf(outer)
    const isTooFine = LogLevel.isGreaterThan(
      fiber.getRef(Tracer.MinimumTraceLevel),
      fiber.getRef(Tracer.CurrentTraceLevel)
    )
    const span = tracer.span({
      name,
      parent: Option.fromUndefinedOr(parent),
      annotations: Context.empty(),
      links: [...fiber.getRef(References.TracerSpanLinks)],
      startTime: now(),
      kind: "internal",
      root: false,
      sampled: parent?.sampled !== false && !isTooFine
    })
    const annotate: Annotate = (attributes) => {
      for (const key in attributes) span.attribute(key, attributes[key])
    }
    annotate(fiber.getRef(References.TracerSpanAnnotations))
    return Effect.onExit(Effect.provideService(body(annotate), Tracer.ParentSpan, span), (exit) =>
      Effect.sync(() => {
        if (span.status._tag !== "Ended") span.end(now(), exit)
      })
    )
  })

/** {@link withSpan} around each call of a function. */
export const operation =
  <Args extends ReadonlyArray<unknown>, A, E, R>(
    name: string,
    body: (...args: Args) => Effect.Effect<A, E, R>
  ): ((...args: Args) => Effect.Effect<A, E, R>) =>
  (...args) =>
    withSpan(name, () => body(...args))
