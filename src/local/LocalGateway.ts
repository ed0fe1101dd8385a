/**
 * An AI Gateway in process: one pure web handler with the data plane, Cloudflare's API, the calls of the Workers
 * binding, and the logs.
 *
 * It falls back, retries, times out, caches, limits and logs like the service, against upstreams that echo, follow a
 * script of faults, or are real servers. It needs no account, no network and no server; `local/node` turns it into one.
 * All waiting uses the Effect clock, so that tests run in virtual time. `docs/local-gateway-reference.md`
 * documents the behaviour that the service does not specify.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as AiService from "../AiService.ts"
import { type GatewayError, invalid } from "../GatewayError.ts"
import * as GatewayService from "../GatewayService.ts"
import type { UpstreamCall } from "./gateway/calls.ts"
import type { Options } from "./gateway/options.ts"
import { resolve } from "./gateway/settings.ts"
import * as Core from "./gateway/state.ts"
import { keyProblem } from "./surface/admin.ts"
import { type Exposure, handle } from "./surface/dispatch.ts"
import { gatewayUrl } from "./surface/urls.ts"
import type * as Upstream from "./Upstream.ts"
import * as Faults from "./upstream/faults.ts"
import { isEventType } from "./wire/body.ts"
import { CurrentShare } from "./wire/collect.ts"
import { toResponse } from "./wire/message.ts"
import { abortable } from "./wire/outgoingBody.ts"
import type { Disconnect } from "./wire/protocol.ts"

export type { UpstreamCall } from "./gateway/calls.ts"
export { Disconnect } from "./wire/protocol.ts"

/**
 * A local gateway.
 *
 * @category models
 */
export interface LocalGateway {
  /**
   * Answers a request on any surface. Runs in the caller's fiber: its interruption reaches the upstream. Fails with
   * `Disconnect` when a fault breaks the client's connection.
   */
  readonly handle: (request: Request) => Effect.Effect<Response, Disconnect>
  /** Every attempt at an upstream in order of start, credentials replaced by `<redacted>`. */
  readonly calls: Effect.Effect<ReadonlyArray<UpstreamCall>>
  /** Number of open streamed bodies of upstreams: neither read to their end, nor cancelled. */
  readonly openBodies: Effect.Effect<number>
  /**
   * Replaces the script in front of a provider, or of one of its models (`slug/model`, which then ignores the
   * provider's), or of the logs API (`logs`). After the script, the configured upstream answers. Dies with a
   * `GatewayError` naming the field when the slug is unknown or a fault is malformed.
   */
  readonly script: (provider: string, faults: ReadonlyArray<Upstream.Fault>) => Effect.Effect<void>
  /** Clears scripts, calls, logs, cache and limits, and starts the upstreams again. */
  readonly reset: Effect.Effect<void>
  /** The URL of a gateway (default: the default one) and provider, without a request to the handler. */
  readonly url: (gateway?: string, provider?: string) => string
}

/**
 * {@link make} for a server, which learns its address late and states who can reach it.
 *
 * @category constructors
 */
export const makeExposed = Effect.fnUntraced(function* (
  options: Options,
  address: () => string,
  exposure: Exposure
): Effect.fn.Return<LocalGateway, GatewayError> {
  const settings = yield* resolve(options)
  const baseUrl = (): string => options.baseUrl ?? address()
  const core = yield* Core.make(settings, baseUrl)
  return {
    handle: Effect.fn("LocalGateway.handle")((request: Request) =>
      Effect.suspend(() => {
        const share = core.newShare()
        return handle(core, exposure, request, share).pipe(
          Effect.provideService(CurrentShare, share),
          Effect.map((answer) => {
            // Only a request from a network names a host. A caller in this process has the answer now, read or not.
            if (!request.headers.has("host")) share.release()
            return toResponse(answer, share)
          }),
          // After a success the body holds the share.
          Effect.onError(() => Effect.sync(share.release))
        )
      })
    ),
    calls: Effect.sync(core.calls.all),
    openBodies: Effect.sync(() => core.bodies.count),
    script: Effect.fn("LocalGateway.script")((provider: string, faults: ReadonlyArray<Upstream.Fault>) => {
      const problem = keyProblem(core, provider) ?? Faults.problem(faults)
      if (problem !== undefined) return Effect.die(invalid("LocalGateway.script", problem.field, problem.accepted))
      return Effect.sync(() => core.script(provider, faults))
    }),
    reset: core.reset,
    url: (gateway = settings.defaultGateway, provider) => gatewayUrl(baseUrl(), settings.account, gateway, provider)
  }
})

/**
 * Makes a gateway. All state is in memory; nothing has to be closed. Fails with `InvalidRequest` naming the first
 * invalid option.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as LocalGateway from "effect-ai-gateway/local"
 *
 * const program = Effect.gen(function* () {
 *   const gateway = yield* LocalGateway.make()
 *   yield* gateway.script("openai", [{ status: 503 }])
 *   const leg = (provider: string, endpoint: string, model: string) => ({
 *     provider,
 *     endpoint,
 *     headers: {},
 *     query: { model, max_tokens: 100, messages: [{ role: "user", content: "Hello" }] }
 *   })
 *   const response = yield* gateway.handle(
 *     new Request(gateway.url(), {
 *       method: "POST",
 *       body: JSON.stringify([
 *         leg("openai", "chat/completions", "gpt-4.1-mini"),
 *         leg("anthropic", "v1/messages", "claude-haiku-4-5")
 *       ])
 *     })
 *   )
 *   return `${response.status} from leg ${response.headers.get("cf-aig-step")}`
 * })
 *
 * console.log(await Effect.runPromise(program)) // 200 from leg 1
 * ```
 *
 * @category constructors
 */
export const make = Effect.fn("LocalGateway.make")(
  (options: Options = {}): Effect.Effect<LocalGateway, GatewayError> =>
    makeExposed(options, () => "http://local.gateway", "trusted")
)

/**
 * The local gateway behind {@link layer}, for setting scripts and inspecting calls.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as LocalGateway from "effect-ai-gateway/local"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Router from "effect-ai-gateway/Router"
 *
 * export const calls = Effect.gen(function* () {
 *   const gateway = yield* LocalGateway.Current
 *   yield* gateway.script("openai", [{ status: 503 }])
 *   yield* Effect.exit(Router.run(Provider.openai.chat("gpt-4.1-mini"), "Hello"))
 *   return (yield* gateway.calls).length
 * })
 * ```
 *
 * @category services
 */
export class Current extends Context.Service<Current, LocalGateway>()("effect-ai-gateway/local/LocalGateway") {}

const toWeb = (request: HttpClientRequest.HttpClientRequest, url: URL, context: Context.Context<never>): Request => {
  const { body, headers, method } = request
  // Services of this library send JSON text or nothing; other clients also send forms and streams.
  if (body._tag === "Uint8Array") return new Request(url, { method, headers, body: new Uint8Array(body.body) })
  if (body._tag === "Empty") return new Request(url, { method, headers })
  return Result.getOrThrow(HttpClientRequest.toWebResult(request, { context }))
}

// Interruption ends the request; the signal ends a stream that is being read. As on a socket, HEAD has no body.
const received = (response: Response, method: string, signal: AbortSignal): Response => {
  const { body, headers, status } = response
  if (method === "HEAD") {
    void body?.cancel()
    return new Response(null, { status, headers })
  }
  return body !== null && isEventType(headers.get("content-type") ?? "")
    ? new Response(abortable(body, signal), { status, headers })
    : response
}

// A request that the platform cannot make, such as a GET with a body, fails as over `fetch`, and is not retried.
const encoded = (request: HttpClientRequest.HttpClientRequest, url: URL, context: Context.Context<never>) =>
  Effect.try({
    try: () => toWeb(request, url, context),
    catch: (cause) =>
      new HttpClientError.HttpClientError({
        reason: new HttpClientError.EncodeError({
          request,
          cause,
          description: "the platform cannot make this request"
        })
      })
  })

const dropped = (request: HttpClientRequest.HttpClientRequest): HttpClientError.HttpClientError =>
  new HttpClientError.HttpClientError({
    reason: new HttpClientError.TransportError({ request, description: "the connection was dropped" })
  })

const clientOf = (gateway: LocalGateway): HttpClient.HttpClient =>
  HttpClient.make((request, url, signal, fiber) =>
    Effect.flatMap(encoded(request, url, fiber.context), (sent) =>
      Effect.mapBoth(gateway.handle(sent), {
        onSuccess: (response) => HttpClientResponse.fromWeb(request, received(response, request.method, signal)),
        onFailure: () => dropped(request)
      })
    )
  )

/**
 * `GatewayService` and `AiService` over a local gateway in this process: no account, no network, and no real waiting
 * under a test clock. {@link Current} is the gateway itself. Fails with `InvalidRequest` naming the first invalid
 * option.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 * import * as LocalGateway from "effect-ai-gateway/local"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Router from "effect-ai-gateway/Router"
 *
 * const Live = Layer.provideMerge(Router.layer, LocalGateway.layer())
 * const program = Router.run(Provider.openai.chat("gpt-4.1-mini"), "Hello").pipe(Effect.provide(Live))
 * console.log((await Effect.runPromise(program)).value.text) // openai/gpt-4.1-mini: Hello
 * ```
 *
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<GatewayService.GatewayService | AiService.AiService | Current, GatewayError> =>
  Layer.unwrap(Effect.map(make(options), (gateway) => layerOf(gateway, options)))

/**
 * An `HttpClient` that reaches the gateway of {@link layer} without a socket, for code that sends its own requests:
 * `GatewayHttpClient` of `effect-ai-gateway/ai`, or an HTTP client with a URL from `GatewayService.getUrl`. The gateway
 * answers for any host in the URL.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as HttpBody from "effect/http/HttpBody"
 * import * as HttpClient from "effect/http/HttpClient"
 * import * as Layer from "effect/Layer"
 * import * as GatewayService from "effect-ai-gateway/GatewayService"
 * import * as LocalGateway from "effect-ai-gateway/local"
 *
 * const Live = Layer.provideMerge(LocalGateway.layerHttpClient, LocalGateway.layer())
 * const program = Effect.gen(function* () {
 *   const gateway = yield* GatewayService.GatewayService
 *   const client = yield* HttpClient.HttpClient
 *   const response = yield* client.post(`${yield* gateway.getUrl("openai")}/chat/completions`, {
 *     body: HttpBody.jsonUnsafe({ model: "gpt-4.1-mini", messages: [{ role: "user", content: "Hello" }] })
 *   })
 *   return response.status
 * })
 * console.log(await Effect.runPromise(Effect.provide(program, Live))) // 200
 * ```
 *
 * @category layers
 */
export const layerHttpClient: Layer.Layer<HttpClient.HttpClient, never, Current> = Layer.effect(
  HttpClient.HttpClient,
  Effect.map(Current, clientOf)
)

const layerOf = (
  gateway: LocalGateway,
  options: Options
): Layer.Layer<GatewayService.GatewayService | AiService.AiService | Current, GatewayError> => {
  const account = options.account ?? "local"
  // The path alone selects the surface; the host is for `getUrl`.
  const baseUrl = options.baseUrl ?? "http://local.gateway"
  const shared = {
    accountId: account,
    token: options.token,
    // The API requires a token; a local gateway without its own accepts any.
    apiToken: options.token ?? Redacted.make("local"),
    baseUrl,
    apiBaseUrl: `${baseUrl}/client/v4`
  }
  return Layer.mergeAll(
    GatewayService.layerHttp({ ...shared, gateway: options.gateway ?? "default" }),
    AiService.layerHttp(shared),
    Layer.succeed(Current, gateway)
  ).pipe(Layer.provide(Layer.succeed(HttpClient.HttpClient, clientOf(gateway))))
}

export type { GatewaySettings, KeepOptions, Model, Options, RouteElement } from "./gateway/options.ts"
