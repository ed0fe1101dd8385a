/**
 * `env.AI` as a service: run models, search the catalogue, get at the gateways of the account.
 *
 * `run` takes the model names of Cloudflare's catalogue and lets Cloudflare bring the credentials. To speak to a
 * provider in its own dialect with a key of your own, use `GatewayService`. Nothing here retries or falls back: that
 * is the router's job.
 */
import * as Cache from "effect/Cache"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { type GatewayError, InvalidResponse, invalid } from "./GatewayError.ts"
import type * as GatewayOptions from "./GatewayOptions.ts"
import type { GatewayResponse } from "./GatewayResponse.ts"
import { endedOf, type GatewayService, make as makeGateway } from "./GatewayService.ts"
import { type AiBackend, prepare } from "./internal/aiBackend.ts"
import * as Binding from "./internal/aiBinding.ts"
import * as Http from "./internal/aiHttp.ts"
import { checkId } from "./internal/backend.ts"
import { type AiBinding, requireMethods } from "./internal/binding.ts"
import { defined } from "./internal/defined.ts"
import { checkHttp } from "./internal/gatewayHttp.ts"
import { type HttpClient, sender } from "./internal/http.ts"
import { failure } from "./internal/respond.ts"
import * as LogTrail from "./LogTrail.ts"
import type { Headers } from "./UniversalRequest.ts"

/** Options of one {@link AiService.run}: where it goes, and what the gateway there should do. */
export interface RunOptions extends GatewayOptions.Input {
  /**
   * Id of the gateway. Without it a Workers AI model runs past every gateway, and a third-party model through the
   * account's gateway `default`. A dynamic route needs its own gateway, and gateway options need one to act on them.
   */
  readonly gateway?: string | undefined
  /** Whether the call is recorded in `LogTrail`. A router that records its own attempts says `false`. Default `true`. */
  readonly record?: boolean | undefined
  /** At most 5 tags of 1 to 50 letters, digits and `: - . / @`. Over the binding only. */
  readonly tags?: ReadonlyArray<string> | undefined
  /** Further request headers, names in lower case; credentials may stay `Redacted`. */
  readonly headers?: Headers | undefined
}

/** Which models {@link AiService.models} lists. */
export interface ModelsQuery {
  readonly author?: string | undefined
  readonly hideExperimental?: boolean | undefined
  /** 1 or more. */
  readonly page?: number | undefined
  /** 1 or more. */
  readonly perPage?: number | undefined
  /** Part of a name or a description. */
  readonly search?: string | undefined
  /** Id of a source. */
  readonly source?: number | undefined
  /** Name of a task, for example `Text Generation`. */
  readonly task?: string | undefined
}

/** A model of the catalogue. */
export interface Model {
  readonly id: string
  /** What {@link AiService.run} takes, for example `@cf/meta/llama-3.1-8b-instruct`. */
  readonly name: string
  readonly description?: string
  readonly source?: number
  /** Name of the task, for example `Text Generation`. */
  readonly task?: string
  readonly tags: ReadonlyArray<string>
  /** For example `context_window`; values as the catalogue has them. */
  readonly properties: Readonly<Record<string, unknown>>
}

/**
 * `env.AI`, over the binding or over HTTP.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as AiService from "effect-ai-gateway/AiService"
 *
 * export const ask = Effect.gen(function*() {
 *   const ai = yield* AiService.AiService
 *   const response = yield* ai.run(
 *     "openai/gpt-4.1-mini",
 *     { messages: [{ role: "user", content: "Hello" }] },
 *     { gateway: "my-gateway", metadata: { team: "support" } }
 *   )
 *   return { answer: yield* response.result, logId: response.meta.logId }
 * })
 * ```
 */
export class AiService extends Context.Service<
  AiService,
  {
    /**
     * Runs a model: `@cf/author/model` (Workers AI), `author/model` (third party) or `dynamic/route`. Succeeds with a
     * 2xx answer whose body is unread; `result` reads it without Cloudflare's envelopes. Every other outcome is a typed
     * failure.
     *
     * `meta.logId` belongs to this answer or is absent. Over the binding it goes missing when a call of `env.AI.run`
     * elsewhere in the isolate overlaps this one, because the binding mixes up their options; such a call may in turn
     * get a raw `Response`. Keep to this service, or run through `gateway(id)`, which shares nothing.
     */
    readonly run: (model: string, input: object, options?: RunOptions) => Effect.Effect<GatewayResponse, GatewayError>
    /** One page of the catalogue. */
    readonly models: (query?: ModelsQuery) => Effect.Effect<ReadonlyArray<Model>, GatewayError>
    /** A gateway of the account, over the same transport. Fails with `InvalidRequest` when the id is malformed. */
    readonly gateway: (id: string) => Effect.Effect<GatewayService["Service"], GatewayError>
  }
>()("effect-ai-gateway/AiService") {}

const isRecord = (u: unknown): u is Record<string, unknown> => typeof u === "object" && u !== null && !Array.isArray(u)
const text = (u: unknown): string | undefined => (typeof u === "string" ? u : undefined)
const list = (u: unknown): ReadonlyArray<unknown> => (Array.isArray(u) ? u : [])

/** Reads a model; only its id and its name must be there. */
const modelFromWire = (wire: unknown): Model | undefined => {
  if (!isRecord(wire) || typeof wire["id"] !== "string" || typeof wire["name"] !== "string") return undefined
  const { description, id, name, properties, source, tags, task } = wire
  return {
    id,
    name,
    ...defined({
      description: text(description),
      source: typeof source === "number" ? source : undefined,
      task: text(isRecord(task) ? task["name"] : undefined)
    }),
    tags: list(tags).filter((tag) => typeof tag === "string"),
    properties: Object.fromEntries(
      list(properties).flatMap((property) =>
        isRecord(property) && typeof property["property_id"] === "string"
          ? [[property["property_id"], property["value"]]]
          : []
      )
    )
  }
}

const isPage = (n: number | undefined): boolean => n === undefined || (Number.isInteger(n) && n >= 1)

/** Makes the service from a transport. */
const make = (backend: AiBackend) =>
  Effect.gen(function* () {
    // One service per gateway, so that its memory (see `getUrl`) outlives a request.
    const gateways = yield* Cache.make({
      capacity: 64,
      lookup: (id: string) => makeGateway(id, backend.gateway(id))
    })

    const run = Effect.fn("AiService.run")(function* (model: string, input: object, options: RunOptions = {}) {
      const request = yield* prepare("AiService.run", model, input, options)
      const { eventId } = request.options
      const { target } = request
      const sent = backend.run(request, "AiService.run")
      yield* Effect.annotateCurrentSpan({
        "gen_ai.provider.name": target.provider,
        "gen_ai.request.model": target.model,
        "ai_gateway.id": request.gateway
      })
      const started: LogTrail.Started = {
        target: `${request.gateway === undefined ? "" : `${request.gateway}:`}${target.provider}/${target.model}`,
        provider: target.provider,
        model: target.model,
        endpoint: "run",
        ...defined({ eventId })
      }
      const response = yield* options.record === false
        ? sent
        : LogTrail.record(sent, started, (exit) => endedOf(exit, []))
      yield* Effect.annotateCurrentSpan({
        "http.response.status_code": response.status,
        "ai_gateway.log_id": response.meta.logId,
        "ai_gateway.step": response.meta.step
      })
      return response
    })

    const models = Effect.fn("AiService.models")(function* (query: ModelsQuery = {}) {
      for (const field of ["page", "perPage"] as const) {
        if (!isPage(query[field])) return yield* invalid("AiService.models", field, "a whole number of 1 or more")
      }
      const { author, hideExperimental, page, perPage, search, source, task } = query
      const wire = yield* backend.models(
        defined({ author, hide_experimental: hideExperimental, page, per_page: perPage, search, source, task })
      )
      const found = Array.isArray(wire) ? wire.map(modelFromWire) : [undefined]
      const out = found.filter((model) => model !== undefined)
      if (out.length === found.length) return out
      return yield* failure(
        { method: "AiService.models", surface: "api", secrets: [] },
        new InvalidResponse({ issue: "not a list of models with ids and names" })
      )
    })

    const gateway = Effect.fn("AiService.gateway")(function* (id: string) {
      yield* checkId("AiService.gateway", "id", id)
      return yield* Cache.get(gateways, id)
    })

    return AiService.of({ run, models, gateway })
  })

/** Options of {@link layerHttp}. */
export type HttpOptions = Http.AiHttpOptions

/**
 * The service over Cloudflare's REST API, through any `HttpClient`. Fails with `InvalidRequest` when an id, token or URL
 * is malformed.
 *
 * @example
 * ```ts
 * import * as FetchHttpClient from "effect/http/FetchHttpClient"
 * import * as Layer from "effect/Layer"
 * import * as Redacted from "effect/Redacted"
 * import * as AiService from "effect-ai-gateway/AiService"
 *
 * export const Live = AiService.layerHttp({
 *   accountId: "0123456789abcdef",
 *   apiToken: Redacted.make("...")
 * }).pipe(Layer.provide(FetchHttpClient.layer))
 * ```
 */
export const layerHttp = (options: HttpOptions): Layer.Layer<AiService, GatewayError, HttpClient> =>
  Layer.effect(
    AiService,
    Effect.gen(function* () {
      yield* checkHttp("AiService.layerHttp", options)
      return yield* make(Http.makeBackend(options, yield* sender))
    })
  )

/**
 * {@link layerHttp} from the environment: `CLOUDFLARE_ACCOUNT_ID` and `CLOUDFLARE_API_TOKEN`; optional `CF_AIG_TOKEN`
 * (the token of gateways), `AI_GATEWAY_URL` (another base URL, with or without `/v1/{account}` and a gateway) and
 * `CLOUDFLARE_API_URL`. Fails with `ConfigError` when one is missing.
 */
export const layerConfig: Layer.Layer<AiService, GatewayError | Config.ConfigError, HttpClient> = Layer.unwrap(
  Effect.gen(function* () {
    const accountId = yield* Config.String("CLOUDFLARE_ACCOUNT_ID")
    const apiToken = yield* Config.Redacted("CLOUDFLARE_API_TOKEN")
    const token = yield* Config.option(Config.Redacted("CF_AIG_TOKEN"))
    const url = yield* Config.option(Config.String("AI_GATEWAY_URL"))
    const apiUrl = yield* Config.option(Config.String("CLOUDFLARE_API_URL"))
    // One environment serves `GatewayService.layerConfig` too, where the URL may name the gateway.
    const withoutAccount = (text: string): string => {
      const base = text.replace(/\/+$/, "")
      const at = base.lastIndexOf(`/v1/${accountId}`)
      const rest = at < 0 ? undefined : base.slice(at + `/v1/${accountId}`.length)
      return rest !== undefined && /^(?:\/[^/]+)?$/.test(rest) ? base.slice(0, at) : base
    }
    return layerHttp({
      accountId,
      apiToken,
      token: Option.getOrUndefined(token),
      baseUrl: Option.getOrUndefined(Option.map(url, withoutAccount)),
      apiBaseUrl: Option.getOrUndefined(apiUrl)
    })
  })
)

/**
 * The service over the Workers binding. Fails with `BindingMissing` when `ai` is not there or lacks a method.
 *
 * @example
 * ```ts
 * import * as AiService from "effect-ai-gateway/AiService"
 *
 * declare const env: { readonly AI: AiService.AiBinding }
 * export const Live = AiService.layerBinding(env.AI)
 * ```
 */
export const layerBinding = (ai: AiBinding): Layer.Layer<AiService, GatewayError> =>
  Layer.effect(
    AiService,
    Effect.gen(function* () {
      yield* requireMethods("AiService.layerBinding", ai, ["run", "models", "gateway"])
      return yield* make(Binding.makeBackend(ai))
    })
  )

export type { AiBinding, GatewayBinding } from "./internal/binding.ts"
