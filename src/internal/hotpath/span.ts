/**
 * Spans that cost nothing without a tracer.
 *
 * `Effect.fn` captures the stack on every call, which is most of its cost. These operations run once per request and
 * attempt, a million times in a batch, so they open a span only where a tracer is installed. They call that tracer
 * directly: `Effect.useSpan` could also fall back to Effect's native tracer, which would then be in every bundle, one
 * kilobyte that no Worker uses.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import type { GatewayError } from "../../GatewayError.ts"
import type { Meta } from "../../GatewayResponse.ts"

/** Attributes for a span; undefined ones are omitted. Providers have the names that AI Gateway uses. */
export type Attributes = Readonly<Record<string, unknown>>

/** An open span. */
export interface OpenSpan {
  /** Adds the attributes known so far. */
  readonly annotate: (attributes: Attributes) => void
  /** Adds attributes when the span ends, however it ends. */
  readonly atEnd: (describe: () => Attributes) => void
  /** Makes it the parent of the spans of an effect. */
  readonly within: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Ends it; only the first call counts. */
  readonly end: (exit: Exit.Exit<unknown, GatewayError>) => void
  /**
   * The headers that link the gateway's spans to this one, if it is sampled and its ids have the form of the protocol.
   */
  readonly link: () => Record<string, string> | undefined
}

/** Providers that the conventions name differently. */
const wellKnown: Readonly<Record<string, string>> = {
  "aws-bedrock": "aws.bedrock",
  "azure-openai": "azure.ai.openai",
  google: "gcp.gen_ai",
  "google-ai-studio": "gcp.gemini",
  "google-vertex-ai": "gcp.vertex_ai",
  grok: "x_ai",
  xai: "x_ai",
  mistral: "mistral_ai",
  "perplexity-ai": "perplexity"
}

/** `gen_ai.provider.name` of a provider. */
export const providerName = (provider: string): string =>
  Object.hasOwn(wellKnown, provider) ? (wellKnown[provider] ?? provider) : provider

/** The nearest span that accepts children. */
const parentOf = (span: Tracer.AnySpan | undefined): Tracer.AnySpan | undefined =>
  span !== undefined && Context.get(span.annotations, Tracer.DisablePropagation)
    ? parentOf(span._tag === "Span" ? Option.getOrUndefined(span.parent) : undefined)
    : span

/** Attributes that answers and failures share. */
export const factAttributes = (
  { eventId, logId, provider, step }: Pick<Meta, "eventId" | "logId" | "provider" | "step">,
  status: number | undefined
): Attributes => ({
  "gen_ai.provider.name": provider,
  "http.response.status_code": status,
  "ai_gateway.event_id": eventId,
  "ai_gateway.log_id": logId,
  "ai_gateway.step": step
})

/** Attributes of a failure. An interruption is not an error. */
const failureAttributes = (cause: Cause.Cause<GatewayError>): Attributes => {
  const error = cause.reasons.find(Cause.isFailReason)?.error
  if (error === undefined) return { "error.type": Cause.hasInterruptsOnly(cause) ? undefined : "_OTHER" }
  const { attempts, ended, model, reason } = error
  return {
    ...factAttributes(error, reason.status),
    "error.type": reason._tag,
    "gen_ai.request.model": model,
    "ai_gateway.attempts": attempts?.length,
    "ai_gateway.ended": ended
  }
}

/** Opens a span if there is a tracer. */
export const openSpan = (
  fiber: Fiber.Fiber<unknown, unknown>,
  name: string,
  kind: Tracer.SpanKind
): OpenSpan | undefined => {
  const { span: outer, tracer, tracerEnabled } = fiber.cache
  if (tracer === undefined || !tracerEnabled) return undefined
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
    kind,
    root: false,
    sampled: parent?.sampled !== false && !isTooFine
  })
  let describe: (() => Attributes) | undefined
  const annotate = (attributes: Attributes): void => {
    for (const key in attributes) {
      const value = attributes[key]
      if (value === undefined) continue
      span.attribute(key, key === "gen_ai.provider.name" ? providerName(String(value)) : value)
    }
  }
  annotate(fiber.getRef(References.TracerSpanAnnotations))
  return {
    annotate,
    atEnd: (f) => {
      describe = f
    },
    within: (self) => Effect.provideService(self, Tracer.ParentSpan, span),
    end: (exit) => {
      if (span.status._tag === "Ended") return
      if (describe !== undefined) annotate(describe())
      if (Exit.isFailure(exit)) annotate(failureAttributes(exit.cause))
      span.end(now(), exit)
    },
    link: () => {
      // Ids of 64 bits are padded, as exporters do.
      const trace = span.traceId.padStart(32, "0")
      return span.sampled && /^[\da-f]{32} [\da-f]{16}$/i.test(`${trace} ${span.spanId}`)
        ? { "cf-aig-otel-trace-id": trace, "cf-aig-otel-parent-span-id": span.spanId }
        : undefined
    }
  }
}

/** Opens a span around an effect, which receives `undefined` without a tracer. */
export const withSpan = <A, E extends GatewayError, R>(
  name: string,
  kind: Tracer.SpanKind,
  body: (span: OpenSpan | undefined) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    const span = openSpan(fiber, name, kind)
    return span === undefined
      ? body(span)
      : Effect.onExit(span.within(body(span)), (exit) => {
          span.end(exit)
          return Effect.void
        })
  })

/** {@link withSpan} around each call of a function that makes a request. */
export const operation =
  <Args extends ReadonlyArray<unknown>, A, E extends GatewayError, R>(
    name: string,
    body: (...args: Args) => Effect.Effect<A, E, R>
  ): ((...args: Args) => Effect.Effect<A, E, R>) =>
  (...args) =>
    withSpan(name, "client", () => body(...args))
