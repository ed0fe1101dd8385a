/**
 * An AI Gateway in process: one pure web handler with the data plane, Cloudflare's API, what the Workers binding calls,
 * and the logs.
 *
 * It falls back, retries, times out, caches, limits and logs like the service, against upstreams that echo, follow a
 * script of faults, or are real servers. It needs no account, no network and no server; `local/node` makes one of it. All waiting
 * goes through the Effect clock, so that tests run in virtual time. What the service does not document is decided in
 * `docs/local-gateway.md`.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type { HttpClientRequest } from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as AiService from "../AiService.ts"
import { type GatewayError, invalid } from "../GatewayError.ts"
import * as GatewayService from "../GatewayService.ts"
import type { UpstreamCall } from "./gateway/calls.ts"
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

/** Settings of one gateway. */
export interface GatewaySettings {
  /** Seconds that answers are cached: 0 (off, the default), or 60 to 2,592,000. */
  readonly cacheTtl?: number | undefined
  /** Whether requests are logged. Default: true. */
  readonly collectLogs?: boolean | undefined
  /** Requests per interval; more are answered with 429 and code 2003. Default: no limit. */
  readonly rateLimit?:
    | {
        /** From 1. */
        readonly limit: number
        /** From 1. */
        readonly intervalSeconds: number
        /** Default: `fixed`. */
        readonly technique?: "fixed" | "sliding" | undefined
      }
    | undefined
  /** Whether the data plane asks for the token. Default: true when `token` is set; cannot be true without. */
  readonly authentication?: boolean | undefined
  /** Retries of each leg unless the request says otherwise. Default: one attempt. */
  readonly retry?:
    | {
        /** 1 to 5, the first included. */
        readonly maxAttempts?: number | undefined
        /** 0 to 5000 milliseconds. Default: 0. */
        readonly delay?: number | undefined
        /** Default: `constant`. */
        readonly backoff?: "constant" | "linear" | "exponential" | undefined
      }
    | undefined
  /** Aliases of stored keys; any other is refused with code 2040. Default: every alias is accepted. */
  readonly byokAliases?: ReadonlyArray<string> | undefined
  /**
   * Whether a request for a stream is answered whole, as guardrails on responses do it: on the data plane and in
   * `env.AI.gateway(id).run`. Default: false. The request header `cf-aig-local-buffer` overrides it, everywhere.
   */
  readonly bufferStreams?: boolean | undefined
}

/** One model of the catalogue. */
export interface Model {
  readonly id: string
  readonly source: number
  readonly name: string
  readonly description: string
  readonly task: { readonly id: string; readonly name: string; readonly description: string }
  readonly tags: ReadonlyArray<string>
  readonly properties: ReadonlyArray<{ readonly property_id: string; readonly value: string }>
}

/**
 * Limits of what a gateway keeps. At the first limit that is reached, the oldest entries go. Bytes are bytes of memory: text takes
 * 2 bytes per UTF-16 code unit, and each entry takes 1 KiB more.
 */
export interface KeepOptions {
  /** Log entries. Default: 10,000. */
  readonly logs?: number | undefined
  /** Recorded calls. Default: 10,000. */
  readonly calls?: number | undefined
  /** Bytes of log entries with their bodies. An entry larger than this keeps the beginning of its bodies. Default: 64 MiB. */
  readonly logBytes?: number | undefined
  /** Bytes of recorded calls with their bodies. A call larger than this keeps the beginning of its body. Default: 64 MiB. */
  readonly callBytes?: number | undefined
  /** Bytes of cached answers. An answer larger than this is not cached. Default: 64 MiB. */
  readonly cacheBytes?: number | undefined
  /** Bytes of streamed runs that can be taken up; a single run may have half of them. Default: 64 MiB. */
  readonly runBytes?: number | undefined
}

/** Options of {@link make}. All have defaults. */
export interface Options {
  /** Default `local`. When given, another account in a path is refused. */
  readonly account?: string | undefined
  /** Id of the gateway that is used when none is named. It always exists. Default: `default`. */
  readonly gateway?: string | undefined
  /** Gateways by id. An id that is not here does not exist: status 400, code 2001. */
  readonly gateways?: Readonly<Record<string, GatewaySettings>> | undefined
  /** When set, the data plane asks for it in `cf-aig-authorization`, the API in `Authorization`, both as bearer token. */
  readonly token?: Redacted.Redacted<string> | undefined
  /** Token of `/__admin`, as `Authorization: Bearer …`. Default: `token`, and none when that is not set. */
  readonly adminToken?: Redacted.Redacted<string> | undefined
  /**
   * Host names and addresses that clients may use, besides loopback and the host of `baseUrl`: the `Host` header without
   * the port. A request with any other `Host` is answered with 403, because the owner of a web page can point its name at
   * this machine. Default: none.
   */
  readonly allowHosts?: ReadonlyArray<string> | undefined
  /**
   * Origins of web pages that may call and read answers (CORS), such as `http://localhost:5173`; never `/__admin`. Any
   * other page is answered with 403. Default: none.
   */
  readonly allowOrigins?: ReadonlyArray<string> | undefined
  /** By provider slug. Default: `Upstream.echo()` for every slug of AI Gateway; `custom-{slug}` exists only if given. */
  readonly upstreams?: Readonly<Record<string, Upstream.Upstream>> | undefined
  /** Dynamic routes by name: models as `provider-slug/model`, tried in order when `dynamic/{name}` is asked for. */
  readonly routes?: Readonly<Record<string, ReadonlyArray<string>>> | undefined
  /** What URLs start with. Default: `http://local.gateway`, or the address of the server. */
  readonly baseUrl?: string | undefined
  /**
   * How answers of `/ai/run` and `env.AI.run` are wrapped: `bare`, `state` (`{ state, result }`), or `full` (that inside
   * the API's envelope). Default: `full` over HTTP and `bare` over the binding, as the service does.
   */
  readonly envelope?: "bare" | "state" | "full" | undefined
  /**
   * Whether streamed runs of `env.AI.run` with third-party models can be taken up again by their run id, for five and a
   * half minutes. They then run on when the client leaves. Experimental, as it is at Cloudflare. Default: true.
   */
  readonly resumableRuns?: boolean | undefined
  /**
   * Milliseconds before a new log entry can be read, that of a stream after its end; until then it is not found.
   * Default: 0.
   */
  readonly freshLogDelay?: number | undefined
  /** Limits of what the gateway keeps; 0 keeps nothing. */
  readonly keep?: KeepOptions | undefined
  /**
   * Bytes that all requests in flight may have together: their bodies, the JSON in them, and their answers until they are
   * sent. A request that needs more is answered with 503 and code 7005. From 1; default: 335,544,320 (320 MiB).
   */
  readonly inFlightBytes?: number | undefined
  /** What `models` answers. Default: four models of Workers AI. */
  readonly models?: ReadonlyArray<Model> | undefined
}

/** A gateway. See the module. */
export interface LocalGateway {
  /**
   * Answers a request on any surface. Runs in the caller's fiber: its interruption reaches the upstream. Fails with
   * `Disconnect` when a fault says that the client's connection breaks.
   */
  readonly handle: (request: Request) => Effect.Effect<Response, Disconnect>
  /** Every attempt at an upstream in order of start, credentials replaced by `<redacted>`. */
  readonly calls: Effect.Effect<ReadonlyArray<UpstreamCall>>
  /** How many streamed bodies of upstreams are open: neither read to their end, nor cancelled. */
  readonly openBodies: Effect.Effect<number>
  /**
   * Replaces the script in front of a provider, or of one of its models (`slug/model`, which then ignores the
   * provider's). When it is used up, the configured upstream answers. Dies with a `GatewayError` naming the field when
   * the slug is unknown or a fault is malformed.
   */
  readonly script: (provider: string, faults: ReadonlyArray<Upstream.Fault>) => Effect.Effect<void>
  /** Forgets scripts, calls, logs, cache and limits, and starts the upstreams anew. */
  readonly reset: Effect.Effect<void>
  /** The URL of a gateway (default: the default one) and provider, without asking the handler. */
  readonly url: (gateway?: string, provider?: string) => string
}

/** {@link make} for a server, which knows its address late and who can reach it. */
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
          Effect.map((answer) => toResponse(answer, share)),
          // After a success the body has it.
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
 * Makes a gateway. Everything is in memory; nothing has to be closed. Fails with `InvalidRequest` naming the first
 * option that is wrong.
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
 */
export const make = Effect.fn("LocalGateway.make")(
  (options: Options = {}): Effect.Effect<LocalGateway, GatewayError> =>
    makeExposed(options, () => "http://local.gateway", "trusted")
)

/** The local gateway behind {@link layer}, for scripts and for a look at its calls. */
export class Current extends Context.Service<Current, LocalGateway>()("effect-ai-gateway/local/LocalGateway") {}

const toWeb = (request: HttpClientRequest, url: URL): Request => {
  const { body, headers, method } = request
  // Services of this library send JSON text or nothing.
  return new Request(url, { method, headers, ...(body._tag === "Uint8Array" && { body: new Uint8Array(body.body) }) })
}

// Interruption ends the request; the signal ends a stream that is being read.
const withSignal = (response: Response, signal: AbortSignal): Response => {
  const { body, headers, status } = response
  return body !== null && isEventType(headers.get("content-type") ?? "")
    ? new Response(abortable(body, signal), { status, headers })
    : response
}

const clientOf = (gateway: LocalGateway): HttpClient.HttpClient =>
  HttpClient.make((request, url, signal) =>
    Effect.mapBoth(
      Effect.suspend(() => gateway.handle(toWeb(request, url))),
      {
        onSuccess: (response) => HttpClientResponse.fromWeb(request, withSignal(response, signal)),
        onFailure: () =>
          new HttpClientError.HttpClientError({
            reason: new HttpClientError.TransportError({ request, description: "the connection was dropped" })
          })
      }
    )
  )

/**
 * `GatewayService` and `AiService` over a local gateway in this process: no account, no network, and under a test clock
 * no waiting. {@link Current} is the gateway itself. Fails with `InvalidRequest` naming the first option that is wrong.
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
 */
export const layer = (
  options: Options = {}
): Layer.Layer<GatewayService.GatewayService | AiService.AiService | Current, GatewayError> =>
  Layer.unwrap(Effect.map(make(options), (gateway) => layerOf(gateway, options)))

const layerOf = (
  gateway: LocalGateway,
  options: Options
): Layer.Layer<GatewayService.GatewayService | AiService.AiService | Current, GatewayError> => {
  const account = options.account ?? "local"
  // The path alone decides what is asked; the host is for `getUrl`.
  const baseUrl = options.baseUrl ?? "http://local.gateway"
  const shared = {
    accountId: account,
    token: options.token,
    // The API wants a token to be sent; without one of its own the local gateway takes any.
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
