/**
 * The ways to a gateway that every conformance suite runs over. Behind each is an embedded local gateway.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import type { HttpClient } from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as AiService from "../../src/AiService.ts"
import type { GatewayError } from "../../src/GatewayError.ts"
import * as GatewayService from "../../src/GatewayService.ts"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import * as Node from "../../src/local/node.ts"
import * as ShortFetch from "../../src/Transport.ts"
import * as Undici from "../../src/undici/Undici.ts"
import { makeBinding } from "../support/bindingDouble.ts"

/** The gateway behind the services, to script it and to see what reached it. */
export class Local extends Context.Service<Local, LocalGateway.LocalGateway>()("test/Local") {}

/** The services of a suite. */
export type Services = Local | GatewayService.GatewayService | AiService.AiService

/** Makes a gateway with the given options and the services over it. */
export type MakeLayer = (options?: LocalGateway.Options) => Layer.Layer<Services, GatewayError>

/** One transport and what it cannot do. */
export interface Transport {
  readonly name: string
  readonly layer: MakeLayer
  readonly canListLogs: boolean
  readonly canTag: boolean
  /** Real sockets, which do not keep the time of the test. */
  readonly hasSockets: boolean
}

export const account = "acc"
export const gateway = "gw"
export const token = Redacted.make("local-gateway-token")

const withDefaults = (options: LocalGateway.Options): LocalGateway.Options => ({ account, gateway, token, ...options })

const overHttp = (baseUrl: string) =>
  Layer.merge(
    GatewayService.layerHttp({
      accountId: account,
      gateway,
      token,
      apiToken: token,
      baseUrl,
      apiBaseUrl: `${baseUrl}/client/v4`
    }),
    AiService.layerHttp({ accountId: account, apiToken: token, token, baseUrl, apiBaseUrl: `${baseUrl}/client/v4` })
  )

const closed = (): TypeError =>
  new TypeError("fetch failed", { cause: { code: "UND_ERR_SOCKET", socket: { bytesRead: 0 } } })

/**
 * Calls a gateway without a socket, in the clock of the test. The signal is the caller's own: that of a request is deaf
 * once the request has been collected.
 */
const fetcher = (local: LocalGateway.LocalGateway, onDisconnect: () => Error) =>
  Effect.map(
    Effect.context(),
    (context) =>
      (request: Request, signal: AbortSignal | undefined): Promise<Response> =>
        Effect.runPromiseWith(context)(Effect.mapError(local.handle(request), onDisconnect), { signal })
  )

const clientOf = Effect.fnUntraced(function* (local: LocalGateway.LocalGateway) {
  const handle = yield* fetcher(local, closed)
  const fetch: typeof globalThis.fetch = (input, init) => handle(new Request(input, init), init?.signal ?? undefined)
  return FetchHttpClient.layer.pipe(Layer.provideMerge(Layer.succeed(FetchHttpClient.Fetch, fetch)))
})

const socket =
  (client: Layer.Layer<HttpClient, GatewayError>): MakeLayer =>
  (options = {}) =>
    Layer.unwrap(
      Effect.map(Node.serve({ ...withDefaults(options), port: 0 }), ({ gateway, url }) =>
        Layer.merge(Layer.succeed(Local, gateway), Layer.provide(overHttp(url), client))
      )
    )

const inProcess: MakeLayer = (options = {}) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const local = yield* LocalGateway.make(withDefaults(options))
      const client: Layer.Layer<HttpClient> = yield* clientOf(local)
      return Layer.merge(Layer.succeed(Local, local), Layer.provide(overHttp("http://local.gateway"), client))
    })
  )

const binding: MakeLayer = (options = {}) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const local = yield* LocalGateway.make(withDefaults(options))
      const ai = makeBinding(yield* fetcher(local, () => new Error("Network connection lost.")))
      return Layer.mergeAll(
        Layer.succeed(Local, local),
        GatewayService.layerBinding(ai, { gateway }),
        AiService.layerBinding(ai)
      )
    })
  )

export const transports: ReadonlyArray<Transport> = [
  {
    name: "HTTP over a socket",
    layer: socket(FetchHttpClient.layer),
    canListLogs: true,
    canTag: false,
    hasSockets: true
  },
  {
    name: "fetch, the short way",
    layer: socket(ShortFetch.layerFetch),
    canListLogs: true,
    canTag: false,
    hasSockets: true
  },
  { name: "undici, the short way", layer: socket(Undici.layer), canListLogs: true, canTag: false, hasSockets: true },
  { name: "HTTP in process", layer: inProcess, canListLogs: true, canTag: false, hasSockets: false },
  { name: "the binding", layer: binding, canListLogs: false, canTag: true, hasSockets: false }
]
