/**
 * HTTP clients with a shorter path to the gateway.
 *
 * `GatewayService.layerHttp` works over any `HttpClient`. A client from here is a full client too, for other requests
 * and for middleware. The requests of this library bypass it and use its transport directly, which saves about half of
 * a client's cost per request. A client derived from it (`HttpClient.mapRequest`, `HttpClient.retry`, …) loses the
 * short path, so that your middleware sees every request. For Node there is `effect-ai-gateway/undici`, which is faster
 * than any `fetch`.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import { makeFetchSend } from "./internal/transport/fetch.ts"
import { withDirectSend } from "./internal/transport/httpClient.ts"

/**
 * `FetchHttpClient.layer` with the short path. It uses `FetchHttpClient.Fetch` and `FetchHttpClient.RequestInit` of the
 * environment in which the layer is built.
 *
 * Without middleware, the requests of this library follow no redirects, whatever `RequestInit` says: `fetch` would send
 * credentials to the target of a 307. A redirect is an `InvalidResponse`; Node's own `fetch` does not report its
 * status.
 *
 * Over Node's own `fetch` a body is a stream with a `content-length`, unless `RequestInit` has `keepalive`: otherwise
 * `fetch` itself would resend a text body after a 421.
 *
 * **Gotchas**
 *
 * A `Fetch` of your own that makes a `Request` of its arguments must also pass `init.signal` to `fetch`
 * (`fetch(request, { signal })`). On Node the signal of a `Request` stops working once the `Request` has been collected
 * (nodejs/undici#4068), and an abandoned request would continue.
 *
 * @example
 * ```ts
 * import * as Layer from "effect/Layer"
 * import * as GatewayService from "effect-ai-gateway/GatewayService"
 * import * as Router from "effect-ai-gateway/Router"
 * import * as Transport from "effect-ai-gateway/Transport"
 *
 * export const Live = Router.layer.pipe(
 *   Layer.provide(GatewayService.layerConfig),
 *   Layer.provide(Transport.layerFetch)
 * )
 * ```
 *
 * @category layers
 */
export const layerFetch: Layer.Layer<HttpClient.HttpClient> = Layer.effect(
  HttpClient.HttpClient,
  Effect.gen(function* () {
    const client = yield* HttpClient.HttpClient
    const fetch = yield* FetchHttpClient.Fetch
    const context = yield* Effect.context<never>()
    return withDirectSend(
      client,
      makeFetchSend(fetch, Context.getOrUndefined(context, FetchHttpClient.RequestInit) ?? {})
    )
  })
).pipe(Layer.provide(FetchHttpClient.layer))
