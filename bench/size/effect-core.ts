// The floor without Schema: a service, a layer, retries and a time limit of Effect around a call.
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"

class Place extends Context.Service<Place, { readonly url: string }>()("Place") {}

export default {
  fetch: (request: Request): Promise<Response> =>
    Effect.flatMap(Place, ({ url }) => Effect.tryPromise((signal) => fetch(url, { ...request, signal }))).pipe(
      Effect.retry(Schedule.recurs(2)),
      Effect.timeout("5 seconds"),
      Effect.provide(Layer.succeed(Place, { url: "https://example.com" })),
      Effect.runPromise
    )
}
