/**
 * The fast transport for Node: undici, without what a general client puts between.
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import { withDirectSend } from "../internal/http.ts"
import { makeSend } from "./dispatch.ts"

/**
 * An `HttpClient` over the dispatcher of the environment: a pool of your own, a proxy, a mock. `NodeHttpClient.UndiciOptions` are those of the environment in which the layer is
 * built. What `effect-ai-gateway/Transport` says of the short way holds here too.
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
 */
export const layerWithDispatcher: Layer.Layer<HttpClient.HttpClient, never, NodeHttpClient.Dispatcher> = Layer.effect(
  HttpClient.HttpClient,
  Effect.gen(function* () {
    const client = yield* HttpClient.HttpClient
    const dispatcher = yield* NodeHttpClient.Dispatcher
    const options = yield* NodeHttpClient.UndiciOptions
    return withDirectSend(client, makeSend(dispatcher, options))
  })
).pipe(Layer.provide(NodeHttpClient.layerUndiciNoDispatcher))

/**
 * {@link layerWithDispatcher} over an agent of its own, which ends with the layer. Connections are kept alive and their number is not limited.
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
 */
export const layer: Layer.Layer<HttpClient.HttpClient> = Layer.provide(
  layerWithDispatcher,
  NodeHttpClient.layerDispatcher
)
