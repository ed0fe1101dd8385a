/**
 * HTTP clients with a shorter way to the gateway.
 *
 * `GatewayService.layerHttp` works over any `HttpClient`. One from here is a whole client too, for other requests and
 * for middleware; the requests of this library go straight to what is below it, which spares about half of what a
 * client costs per request. A client that is derived from one (`HttpClient.mapRequest`, `HttpClient.retry`, …) loses
 * the short way, so that what was put between sees every request. For Node there is `effect-ai-gateway/undici`, which
 * is faster than any `fetch`.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import { makeFetchSend } from "./internal/transport/fetch.ts"
import { withDirectSend } from "./internal/transport/httpClient.ts"

/**
 * `FetchHttpClient.layer`, with the short way. `FetchHttpClient.Fetch` and `FetchHttpClient.RequestInit` are those of
 * the environment in which the layer is built.
 *
 * Without middleware, the requests of this library follow no redirects, whatever `RequestInit` says: `fetch` would send
 * credentials to wherever a 307 leads. A redirect is an `InvalidResponse`; Node's own `fetch` does not report its
 * status.
 *
 * Over Node's own `fetch` a body is a stream with a `content-length`, unless `RequestInit` has `keepalive`: of itself,
 * `fetch` would send a text a second time after a 421.
 *
 * A `Fetch` of your own that makes a `Request` of its arguments has to give `init.signal` to `fetch` as well
 * (`fetch(request, { signal })`): on Node the signal of a `Request` no longer hears of anything once that has been
 * collected (nodejs/undici#4068), and a request that was left would go on.
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
