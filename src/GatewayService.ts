/**
 * One AI Gateway as a service: it sends requests, reads and rates logs, and knows the gateway's URLs.
 *
 * The same program runs over HTTP, over the Workers binding or over the embedded local gateway (`LocalGateway.layer`)
 * when you exchange one Layer. The service itself neither retries nor falls back; the router does.
 *
 * **Gotchas**
 *
 * - The body of an answer is unread: read it or call `cancel`, or its connection stays busy.
 * - The binding cannot list logs: `listLogs` works over HTTP only, and there the log operations need `apiToken`.
 * - Build the layer once per process or isolate. Built per request (`layerHttp` inside a handler), it forgets its URLs,
 *   and so does whatever is built with it: the router its state, a client its connections.
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { type GatewayError, invalid } from "./GatewayError.ts"
import * as GatewayLog from "./GatewayLog.ts"
import * as GatewayOptions from "./GatewayOptions.ts"
import type { GatewayResponse } from "./GatewayResponse.ts"
import { defined } from "./internal/data/defined.ts"
import { durationOf } from "./internal/data/duration.ts"
import { trimSlashes } from "./internal/data/trimSlashes.ts"
import { answerAttributes, linkHeaders, requestAttributes } from "./internal/gateway/attributes.ts"
import {
  type Backend,
  checkId,
  checkMaxBytes,
  modelOf,
  refusal,
  refuse,
  undecodable
} from "./internal/gateway/backend.ts"
import * as Binding from "./internal/gateway/binding.ts"
import * as Http from "./internal/gateway/http.ts"
import { operation, withSpan } from "./internal/hotpath/span.ts"
import { type AiBinding, requireMethods } from "./internal/transport/binding.ts"
import { type HttpClient, sender } from "./internal/transport/httpClient.ts"
import * as LogTrail from "./LogTrail.ts"
import * as UniversalRequest from "./UniversalRequest.ts"

/**
 * Options of one {@link GatewayService.run}.
 *
 * @category models
 */
export interface RunOptions extends GatewayOptions.Input {
  /**
   * Whether the call is recorded in `LogTrail`. Set `false` in a router that records its own attempts. Default `true`.
   */
  readonly record?: boolean | undefined
  /**
   * Runs before a transport resends the same bytes on a fresh connection; if it fails, they are not sent. A hook for
   * callers that count requests. Default: nothing.
   */
  readonly beforeResend?: Effect.Effect<void, GatewayError> | undefined
}

/**
 * Options of `getLog`.
 *
 * @category models
 */
export interface GetLogOptions {
  /**
   * Longest wait for a missing log, which can lag its answer by half a second. `true` is 5 seconds. Default: a single
   * request.
   */
  readonly awaitLog?: boolean | Duration.Input | undefined
}

/**
 * One AI Gateway.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as GatewayService from "effect-ai-gateway/GatewayService"
 *
 * export const ask = Effect.gen(function*() {
 *   const gateway = yield* GatewayService.GatewayService
 *   const response = yield* gateway.run({
 *     provider: "openai",
 *     endpoint: "chat/completions",
 *     query: { model: "gpt-4.1-mini", messages: [{ role: "user", content: "Hello" }] }
 *   }, { cache: { ttl: "1 hour" } })
 *   return { body: yield* response.json, logId: response.meta.logId }
 * })
 * ```
 *
 * @category services
 */
export class GatewayService extends Context.Service<
  GatewayService,
  {
    /** Id of the gateway. */
    readonly id: string
    /**
     * Sends one leg (provider-native endpoint over HTTP) or several (universal endpoint: the first that succeeds
     * answers). Succeeds with a 2xx answer whose body is unread; every other outcome is a typed failure.
     */
    readonly run: (
      request: UniversalRequest.LegInput | ReadonlyArray<UniversalRequest.LegInput>,
      options?: RunOptions
    ) => Effect.Effect<GatewayResponse, GatewayError>
    /** Reads one log entry. Fails with `NotFound` (`log`), also while the log has not arrived; see `awaitLog`. */
    readonly getLog: (logId: string, options?: GetLogOptions) => Effect.Effect<GatewayLog.GatewayLog, GatewayError>
    /** Adds feedback, a score or metadata to a log entry. */
    readonly patchLog: (logId: string, patch: GatewayLog.Patch) => Effect.Effect<void, GatewayError>
    /**
     * The base URL for a provider's SDK, or the gateway's own when `provider` is absent. Each provider's URL is
     * requested once and remembered; failures are not.
     */
    readonly getUrl: (provider?: string) => Effect.Effect<string, GatewayError>
    /** One page of log entries. Unsupported over the binding. */
    readonly listLogs: (query?: GatewayLog.Query) => Effect.Effect<GatewayLog.Page, GatewayError>
  }
>()("effect-ai-gateway/GatewayService") {}

const isLegs = (
  request: UniversalRequest.LegInput | ReadonlyArray<UniversalRequest.LegInput>
): request is ReadonlyArray<UniversalRequest.LegInput> => Array.isArray(request)

const checkLogId = (method: string, logId: string): Effect.Effect<void, GatewayError> =>
  checkId(method, "logId", logId, 128)

/**
 * Longest wait of `awaitLog: true`.
 *
 * @category constants
 */
export const defaultAwaitLog = Duration.seconds(5)
const logInterval = Duration.millis(150)

const isMissingLog = (error: GatewayError): boolean => error.reason._tag === "NotFound" && error.reason.what === "log"

const awaiting = <A>(
  self: Effect.Effect<A, GatewayError>,
  awaitLog: GetLogOptions["awaitLog"]
): Effect.Effect<A, GatewayError> => {
  if (awaitLog === undefined || awaitLog === false) return self
  const input = awaitLog === true ? defaultAwaitLog : awaitLog
  const duration = durationOf(input)
  if (duration === undefined || Duration.toMillis(duration) < 0) {
    return Effect.fail(invalid("GatewayService.getLog", "awaitLog", "true, false or a duration of 0 or more"))
  }
  return Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const until = now + Duration.toMillis(duration)
    const ask: Effect.Effect<A, GatewayError> = Effect.catch(self, (error) =>
      Effect.flatMap(Clock.currentTimeMillis, (at) =>
        isMissingLog(error) && at < until ? Effect.flatMap(Effect.sleep(logInterval), () => ask) : Effect.fail(error)
      )
    )
    return ask
  })
}

/** Fields of an attempt record that describe a leg. */
const startedOf = (
  id: string,
  legs: UniversalRequest.UniversalRequest,
  eventId: string | undefined
): LogTrail.Started => {
  const [leg] = legs
  const model = modelOf(leg)
  return {
    target: `${id}:${leg.provider}/${model ?? leg.endpoint}`,
    provider: leg.provider,
    endpoint: leg.endpoint,
    ...defined({ model, eventId })
  }
}

/**
 * Fields that an outcome adds to an attempt record; with several legs, the answering leg too.
 *
 * @category getters
 */
export const endedOf = (
  exit: Exit.Exit<GatewayResponse, GatewayError>,
  legs: ReadonlyArray<UniversalRequest.Leg>
): LogTrail.Ended => {
  const answered = (step: number | undefined) => {
    const leg = step === undefined ? undefined : legs[step]
    return leg === undefined || legs.length === 1
      ? {}
      : { provider: leg.provider, endpoint: leg.endpoint, ...defined({ model: modelOf(leg) }) }
  }
  if (Exit.isSuccess(exit)) {
    const { meta, resent, status } = exit.value
    const { cacheStatus, eventId, logId, model, provider, step } = meta
    return {
      ...answered(step),
      status,
      ...defined({ cacheStatus, eventId, logId, model, provider, step, resent: resent || undefined })
    }
  }
  const failed = LogTrail.failed(exit)
  return { ...answered(failed.step), ...failed }
}

/** Far above the number of providers. */
const maxUrls = 256

/**
 * Makes the service from a transport. Internal to this library, as are the transports.
 *
 * @category constructors
 */
export const make = (id: string, backend: Backend): Effect.Effect<GatewayService["Service"]> =>
  Effect.sync(() => {
    // Holds answers only: in a Worker a shared request dies with its own context, and those who wait for it would hang.
    const urls = new Map<string, string>()

    const method = "GatewayService.run"
    const run: GatewayService["Service"]["run"] = (request, { beforeResend, record, ...input } = {}) =>
      withSpan(method, "client", (span) =>
        Effect.flatMap(UniversalRequest.makeFor(method, isLegs(request) ? request : [request]), (legs) => {
          const refused = refusal(method, GatewayOptions.problems(input))
          if (refused !== undefined) return refused
          const options = GatewayOptions.normalize(input)
          const describe = (leg: UniversalRequest.Leg) =>
            requestAttributes(leg.provider, leg.endpoint, leg.query, modelOf(leg), id, options.eventId)
          if (span !== undefined) span.annotate({ ...describe(legs[0]), "ai_gateway.legs": legs.length })
          const link = span && linkHeaders(span, legs)
          const sent = backend.run(legs, options, method, beforeResend, link)
          const recorded =
            record === false
              ? sent
              : LogTrail.record(sent, startedOf(id, legs, options.eventId), (exit) => endedOf(exit, legs))
          return span === undefined
            ? recorded
            : Effect.onExit(recorded, (exit) => {
                // With several legs, only the answer tells which leg it belongs to.
                const { step } = endedOf(exit, legs)
                const leg = step === undefined ? undefined : legs[step]
                if (leg !== undefined) span.annotate(describe(leg))
                if (Exit.isSuccess(exit)) span.annotate(answerAttributes(exit.value))
                return Effect.void
              })
        })
      )

    const getLog = operation(
      "GatewayService.getLog",
      Effect.fnUntraced(function* (logId: string, options: GetLogOptions = {}) {
        yield* checkLogId("GatewayService.getLog", logId)
        const wire = yield* awaiting(backend.getLog(logId), options.awaitLog)
        const log = GatewayLog.fromWire(wire)
        return log ?? (yield* undecodable("GatewayService.getLog", "a log entry without an id", logId))
      })
    )

    const patchLog = operation(
      "GatewayService.patchLog",
      Effect.fnUntraced(function* (logId: string, patch: GatewayLog.Patch) {
        yield* checkLogId("GatewayService.patchLog", logId)
        yield* refuse("GatewayService.patchLog", GatewayLog.patchProblems(patch))
        yield* backend.patchLog(logId, defined({ ...patch }))
      })
    )

    const getUrl = operation(
      "GatewayService.getUrl",
      Effect.fnUntraced(function* (provider?: string) {
        if (provider !== undefined && !UniversalRequest.isProvider(provider)) {
          return yield* invalid("GatewayService.getUrl", "provider", UniversalRequest.providerAccepted)
        }
        const key = provider ?? ""
        const known = urls.get(key)
        if (known !== undefined) return known
        const url = yield* backend.getUrl(provider)
        if (urls.size < maxUrls) urls.set(key, url)
        return url
      })
    )

    const listLogs = operation("GatewayService.listLogs", (query: GatewayLog.Query = {}) => backend.listLogs(query))

    return GatewayService.of({ id, run, getLog, patchLog, getUrl, listLogs })
  })

/**
 * Options of {@link layerHttp}, {@link layerConfig} and similar layers.
 *
 * @category models
 */
export type HttpOptions = Http.HttpOptions

/**
 * A gateway over HTTP, through any `HttpClient`. Fails with `InvalidRequest` when an id, token or URL is malformed.
 * Log operations need `apiToken`.
 *
 * @example
 * ```ts
 * import * as Layer from "effect/Layer"
 * import * as Redacted from "effect/Redacted"
 * import * as GatewayService from "effect-ai-gateway/GatewayService"
 * import * as Transport from "effect-ai-gateway/Transport"
 *
 * export const Live = GatewayService.layerHttp({
 *   accountId: "0123456789abcdef",
 *   gateway: "my-gateway",
 *   token: Redacted.make("...")
 * }).pipe(Layer.provide(Transport.layerFetch))
 * ```
 *
 * @category layers
 */
export const layerHttp = (options: HttpOptions): Layer.Layer<GatewayService, GatewayError, HttpClient> =>
  Layer.effect(
    GatewayService,
    Effect.gen(function* () {
      const { accountId, gateway } = options
      yield* Http.checkHttp("GatewayService.layerHttp", options, { accountId, gateway })
      return yield* make(options.gateway, Http.makeBackend(options, yield* sender))
    })
  )

/**
 * {@link layerHttp} from the environment: `CLOUDFLARE_ACCOUNT_ID` and `AI_GATEWAY_ID`; optional `CF_AIG_TOKEN` (the
 * gateway's token), `CLOUDFLARE_API_TOKEN` (logs), `AI_GATEWAY_URL` (another base URL, with or without
 * `/v1/{account}/{gateway}`), `CLOUDFLARE_API_URL` and `AI_GATEWAY_MAX_ANSWER_BYTES`. Fails with `ConfigError` when one
 * is missing.
 *
 * @category layers
 */
export const layerConfig: Layer.Layer<GatewayService, GatewayError | Config.ConfigError, HttpClient> = Layer.unwrap(
  Effect.gen(function* () {
    const accountId = yield* Config.String("CLOUDFLARE_ACCOUNT_ID")
    const gateway = yield* Config.String("AI_GATEWAY_ID")
    const token = yield* Config.option(Config.Redacted("CF_AIG_TOKEN"))
    const apiToken = yield* Config.option(Config.Redacted("CLOUDFLARE_API_TOKEN"))
    const url = yield* Config.option(Config.String("AI_GATEWAY_URL"))
    const apiUrl = yield* Config.option(Config.String("CLOUDFLARE_API_URL"))
    const maxAnswerBytes = yield* Config.option(Config.Int("AI_GATEWAY_MAX_ANSWER_BYTES"))
    const suffix = `/v1/${accountId}/${gateway}`
    const withoutSuffix = (text: string): string => {
      const base = trimSlashes(text)
      return base.endsWith(suffix) ? base.slice(0, -suffix.length) : base
    }
    return layerHttp({
      accountId,
      gateway,
      token: Option.getOrUndefined(token),
      apiToken: Option.getOrUndefined(apiToken),
      baseUrl: Option.getOrUndefined(Option.map(url, withoutSuffix)),
      apiBaseUrl: Option.getOrUndefined(apiUrl),
      maxAnswerBytes: Option.getOrUndefined(maxAnswerBytes)
    })
  })
)

/**
 * Options of {@link layerBinding}.
 *
 * @category models
 */
export interface BindingOptions extends Pick<HttpOptions, "maxAnswerBytes"> {
  /** Id of the gateway, 1 to 64 characters. */
  readonly gateway: string
}

/**
 * A gateway over the Workers binding. Fails with `BindingMissing` when `ai` has no `gateway` method, and with
 * `InvalidRequest` when the gateway's id is malformed, because the binding puts it into a URL unescaped.
 *
 * @example
 * ```ts
 * import * as GatewayService from "effect-ai-gateway/GatewayService"
 *
 * declare const env: { readonly AI: GatewayService.AiBinding }
 * export const Live = GatewayService.layerBinding(env.AI, { gateway: "my-gateway" })
 * ```
 *
 * @category layers
 */
export const layerBinding = (
  ai: Pick<AiBinding, "gateway">,
  options: BindingOptions
): Layer.Layer<GatewayService, GatewayError> =>
  Layer.effect(
    GatewayService,
    requireMethods("GatewayService.layerBinding", ai, ["gateway"]).pipe(
      Effect.flatMap(() => checkId("GatewayService.layerBinding", "gateway", options.gateway)),
      Effect.flatMap(() => checkMaxBytes("GatewayService.layerBinding", options.maxAnswerBytes)),
      Effect.flatMap(() => make(options.gateway, Binding.makeBackend(ai, options.gateway, options.maxAnswerBytes)))
    )
  )

export type { AiBinding, GatewayBinding } from "./internal/transport/binding.ts"
