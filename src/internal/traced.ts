/**
 * Spans that cost nothing while nobody traces.
 *
 * `Effect.fn` looks at the stack on every call, which is most of what it costs. These operations run once per request and attempt, a
 * million times in a batch; so they open a span only where a tracer is installed.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Tracer from "effect/Tracer"

// Without a tracer of its own a fiber has the native one, whose spans go nowhere.
const isTraced = ({ cache }: Fiber.Fiber<unknown, unknown>): boolean => cache.tracer !== undefined

/** Opens a span around an effect. */
export const traced = <A, E, R>(name: string, self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) =>
    isTraced(fiber) ? Effect.useSpan(name, (span) => Effect.provideService(self, Tracer.ParentSpan, span)) : self
  )

/** {@link traced} around each call of a function. */
export const operation =
  <Args extends ReadonlyArray<unknown>, A, E, R>(
    name: string,
    body: (...args: Args) => Effect.Effect<A, E, R>
  ): ((...args: Args) => Effect.Effect<A, E, R>) =>
  (...args) =>
    traced(name, body(...args))

/** Adds what is known by now to the span of {@link traced}. */
export const annotate = (attributes: () => Record<string, unknown>): Effect.Effect<void> =>
  Effect.withFiber((fiber) => (isTraced(fiber) ? Effect.annotateCurrentSpan(attributes()) : Effect.void))
