/**
 * Spans that cost nothing while nobody traces.
 *
 * `Effect.fn` looks at the stack on every call, which is most of what it costs. These operations run once per request and attempt, a
 * million times in a batch; so they open a span only where a tracer is installed.
 */
import * as Effect from "effect/Effect"
import * as Tracer from "effect/Tracer"
import type { GatewayResponse } from "../GatewayResponse.ts"

/** Adds what is known by now to a span. */
export type Annotate = (attributes: Readonly<Record<string, unknown>>) => void

/** Opens a span around an effect, which gets `undefined` where there is none to annotate. */
export const traced = <A, E, R>(
  name: string,
  body: (annotate: Annotate | undefined) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  // Without a tracer of its own a fiber has the native one, whose spans go nowhere.
  Effect.withFiber(({ cache }) =>
    cache.tracer
      ? Effect.useSpan(name, (span) =>
          Effect.provideService(
            body((attributes) => {
              for (const key in attributes) span.attribute(key, attributes[key])
            }),
            Tracer.ParentSpan,
            span
          )
        )
      : body(undefined)
  )

/** {@link traced} around each call of a function. */
export const operation =
  <Args extends ReadonlyArray<unknown>, A, E, R>(
    name: string,
    body: (...args: Args) => Effect.Effect<A, E, R>
  ): ((...args: Args) => Effect.Effect<A, E, R>) =>
  (...args) =>
    traced(name, () => body(...args))

/** What an answer adds to a span. */
export const answerAttributes = ({ meta, status }: GatewayResponse) => ({
  "http.response.status_code": status,
  "ai_gateway.log_id": meta.logId,
  "ai_gateway.step": meta.step
})
