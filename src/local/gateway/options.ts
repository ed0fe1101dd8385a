/** Options of the local gateway, as users write them. */
import type * as Redacted from "effect/Redacted"
import type * as Upstream from "../Upstream.ts"

/** Settings of one gateway. */
export interface GatewaySettings {
  /** Seconds that answers are cached: 0 (off, the default), or 60 to 2,592,000. */
  readonly cacheTtl?: number | undefined
  /** Whether requests are logged. Default: true. */
  readonly collectLogs?: boolean | undefined
  /** Requests per interval; further requests get a 429 with code 2003. Default: no limit. */
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
  /** Whether the data plane requires the token. Default: true when `token` is set; cannot be true without it. */
  readonly authentication?: boolean | undefined
  /** Retries of each leg unless the request overrides them. Default: one attempt. */
  readonly retry?:
    | {
        /** 1 to 5, including the first. */
        readonly maxAttempts?: number | undefined
        /** 0 to 5000 milliseconds. Default: 0. */
        readonly delay?: number | undefined
        /** Default: `constant`. */
        readonly backoff?: "constant" | "linear" | "exponential" | undefined
      }
    | undefined
  /** Aliases of stored keys; any other is rejected with code 2040. Default: every alias is accepted. */
  readonly byokAliases?: ReadonlyArray<string> | undefined
  /** Aliases by name: models of the run catalogue, which requests for `custom/{name}` try in order. Default: none. */
  readonly aliases?: Readonly<Record<string, ReadonlyArray<string>>> | undefined
  /**
   * Whether a request for a stream gets a complete answer, as guardrails on responses produce it: on the data plane and
   * in `env.AI.gateway(id).run`. Default: false. The request header `cf-aig-local-buffer` overrides it everywhere.
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
 * Limits of what a gateway keeps. When a limit is reached, the oldest entries are dropped. Bytes are bytes of memory:
 * text occupies 2 bytes per UTF-16 code unit, plus 1 KiB for each entry.
 */
export interface KeepOptions {
  /** Log entries. Default: 10,000. */
  readonly logs?: number | undefined
  /** Recorded calls. Default: 10,000. */
  readonly calls?: number | undefined
  /**
   * Bytes of log entries with their bodies. An entry larger than this keeps the beginning of its bodies. Default: 64
   * MiB.
   */
  readonly logBytes?: number | undefined
  /**
   * Bytes of recorded calls with their bodies. A call larger than this keeps the beginning of its body. Default: 64
   * MiB.
   */
  readonly callBytes?: number | undefined
  /** Bytes of cached answers. An answer larger than this is not cached. Default: 64 MiB. */
  readonly cacheBytes?: number | undefined
  /** Bytes of streamed runs that can be resumed; a single run may occupy half of them. Default: 64 MiB. */
  readonly runBytes?: number | undefined
}

/**
 * An element of a dynamic route: `start`, `model`, `percentage` or `end`. The outputs of a percentage, such as `10%`,
 * sum to 100, or to less next to `else`. Source:
 * https://developers.cloudflare.com/ai-gateway/features/dynamic-routing/json-configuration/.
 */
export interface RouteElement {
  readonly id: string
  readonly type: string
  /** Properties of a model: `timeout` in milliseconds, and `retries` after the first attempt. */
  readonly properties?:
    | { readonly provider: string; readonly model: string; readonly timeout: number; readonly retries: number }
    | undefined
  readonly outputs: Readonly<Record<string, { readonly elementId: string }>>
}

/** Options of {@link make}. All have defaults. */
export interface Options {
  /** Default `local`. If set, paths with another account are rejected. */
  readonly account?: string | undefined
  /** Id of the gateway for requests that name none. It always exists. Default: `default`. */
  readonly gateway?: string | undefined
  /** Gateways by id. A request for any other id gets status 400 with code 2001. */
  readonly gateways?: Readonly<Record<string, GatewaySettings>> | undefined
  /**
   * If set, the data plane requires it in `cf-aig-authorization` and the API in `Authorization`, both as bearer token.
   */
  readonly token?: Redacted.Redacted<string> | undefined
  /** Token of `/__admin`, as `Authorization: Bearer …`. Default: `token`; none if that is not set. */
  readonly adminToken?: Redacted.Redacted<string> | undefined
  /**
   * Host names and addresses that clients may use, in addition to loopback and the host of `baseUrl`: the `Host` header
   * without the port. A request with any other `Host` gets a 403, because the owner of a web page can point its name at
   * this machine. Default: none.
   */
  readonly allowHosts?: ReadonlyArray<string> | undefined
  /**
   * Origins of web pages that may call and read answers (CORS), such as `http://localhost:5173`, but never `/__admin`.
   * Any other page gets a 403. Default: none.
   */
  readonly allowOrigins?: ReadonlyArray<string> | undefined
  /**
   * Upstreams by provider slug. Default: `Upstream.echo()` for every slug of AI Gateway; `custom-{slug}` exists only if
   * it is listed.
   */
  readonly upstreams?: Readonly<Record<string, Upstream.Upstream>> | undefined
  /**
   * Dynamic routes by name, for requests to `dynamic/{name}`: models as `provider-slug/model`, tried in order; or the
   * `elements` of a route in the form of Cloudflare's API and of `Route.compile`.
   */
  readonly routes?: Readonly<Record<string, ReadonlyArray<string> | ReadonlyArray<RouteElement>>> | undefined
  /**
   * Pool of `cloudflare/auto`: models as `provider-slug/model`, of which the first that the request allows answers.
   * Default: one model each of OpenAI, Anthropic and Google.
   */
  readonly autoModels?: ReadonlyArray<string> | undefined
  /** Base of all URLs. Default: `http://local.gateway`, or the address of the server. */
  readonly baseUrl?: string | undefined
  /**
   * Envelope of answers of `/ai/run` and `env.AI.run`: `bare`, `state` (`{ state, result }`), or `full` (that inside
   * the API's envelope). Default: `full` over HTTP and `bare` over the binding, as the service does.
   */
  readonly envelope?: "bare" | "state" | "full" | undefined
  /**
   * Whether streamed runs of `env.AI.run` with third-party models can be resumed by their run id, for five and a half
   * minutes. They then continue when the client leaves. Experimental, as at Cloudflare. Default: true.
   */
  readonly resumableRuns?: boolean | undefined
  /**
   * Milliseconds before a new log entry can be read, for a stream counted from its end; until then it is not found.
   * Default: 0.
   */
  readonly freshLogDelay?: number | undefined
  /** Limits of what the gateway keeps; 0 keeps nothing. */
  readonly keep?: KeepOptions | undefined
  /**
   * Bytes of all requests in flight together: their bodies, the JSON in them, and their answers until they are sent. A
   * request that needs more gets a 503 with code 7005. From 1; default: 335,544,320 (320 MiB).
   */
  readonly inFlightBytes?: number | undefined
  /** Result of `models`. Default: four models of Workers AI. */
  readonly models?: ReadonlyArray<Model> | undefined
}
