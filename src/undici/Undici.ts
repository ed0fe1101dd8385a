/** The fast transport for Node: undici, without the layers of a general client. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import { type GatewayError, invalid } from "../GatewayError.ts"
import { withDirectSend } from "../internal/transport/httpClient.ts"
import { makeSend } from "./dispatch.ts"

/** Checks that a dispatcher can dispatch: Bun has its own `undici`, whose dispatchers cannot. */
const checkDispatcher = (method: string, dispatcher: object): Effect.Effect<void, GatewayError> =>
  "dispatch" in dispatcher && typeof dispatcher.dispatch === "function"
    ? Effect.void
    : Effect.fail(
        invalid(
          method,
          "dispatcher",
          "a dispatcher of undici with a method `dispatch`; the `undici` of Bun has none, so use `Transport.layerFetch` there"
        )
      )

/**
 * An `HttpClient` over the dispatcher of the environment: a pool of your own, a proxy, a mock.
 *
 * It uses `NodeHttpClient.UndiciOptions` of the environment in which the layer is built. The short path works as in
 * `effect-ai-gateway/Transport`. Requests compressed answers (gzip, deflate, br), and decompresses them. Fails with
 * `InvalidRequest` (field `dispatcher`) when the dispatcher has no `dispatch`, as in Bun.
 *
 * @example
 * ```ts
 * import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
 * import * as Layer from "effect/Layer"
 * import * as GatewayService from "effect-ai-gateway/GatewayService"
 * import * as Undici from "effect-ai-gateway/undici"
 *
 * export const Live = GatewayService.layerConfig.pipe(
 *   Layer.provide(Undici.layerWithDispatcher),
 *   Layer.provide(NodeHttpClient.layerDispatcherOptions({ connections: 256 }))
 * )
 * ```
 *
 * @category layers
 */
export const layerWithDispatcher: Layer.Layer<HttpClient.HttpClient, GatewayError, NodeHttpClient.Dispatcher> =
  Layer.effect(
    HttpClient.HttpClient,
    Effect.gen(function* () {
      const client = yield* HttpClient.HttpClient
      const dispatcher = yield* NodeHttpClient.Dispatcher
      yield* checkDispatcher("Undici.layerWithDispatcher", dispatcher)
      const options = yield* NodeHttpClient.UndiciOptions
      return withDirectSend(client, makeSend(dispatcher, options))
    })
  ).pipe(Layer.provide(NodeHttpClient.layerUndiciNoDispatcher))

/**
 * {@link layerWithDispatcher} over its own agent, which ends with the layer. Connections are kept alive, without a
 * limit on their number. In Bun the layer fails like `layerWithDispatcher`; use `Transport.layerFetch` there.
 *
 * @example
 * ```ts
 * import * as Layer from "effect/Layer"
 * import * as GatewayService from "effect-ai-gateway/GatewayService"
 * import * as Router from "effect-ai-gateway/Router"
 * import * as Undici from "effect-ai-gateway/undici"
 *
 * export const Live = Router.layer.pipe(
 *   Layer.provide(GatewayService.layerConfig),
 *   Layer.provide(Undici.layer)
 * )
 * ```
 *
 * @category layers
 */
export const layer: Layer.Layer<HttpClient.HttpClient, GatewayError> = Layer.unwrap(
  Effect.gen(function* () {
    const { Agent } = yield* Effect.promise(() => import("@effect/platform-node/Undici"))
    // Checked before an agent is made, because in Bun the layer could not close it either.
    yield* checkDispatcher("Undici.layer", Agent.prototype)
    return Layer.provide(layerWithDispatcher, NodeHttpClient.layerDispatcher)
  })
)
