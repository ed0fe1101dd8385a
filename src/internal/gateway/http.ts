/**
 * A gateway over HTTP: one leg goes to the provider-native endpoint, several go to the universal endpoint; logs are on
 * Cloudflare's API host.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { type GatewayError, invalid } from "../../GatewayError.ts"
import * as GatewayLog from "../../GatewayLog.ts"
import * as GatewayOptions from "../../GatewayOptions.ts"
import type { GatewayResponse } from "../../GatewayResponse.ts"
import type { Leg, UniversalRequest } from "../../UniversalRequest.ts"
import { baseUrlAccepted, isBaseUrl } from "../data/baseUrl.ts"
import { isHeaderValue, isId } from "../data/headers.ts"
import { endpointSecrets, reveal, secretsOf } from "../data/secrets.ts"
import { trimSlashes } from "../data/trimSlashes.ts"
import type { Outgoing, Send } from "../transport/request.ts"
import { type Backend, checkId, checkMaxBytes, encodeJson, modelOf, refuse, undecodable } from "./backend.ts"
import { type CallContext, failure, respond } from "./respond.ts"

/** Host of the data plane. */
export const defaultBaseUrl = "https://gateway.ai.cloudflare.com"
/** Host and prefix of Cloudflare's API. */
export const defaultApiBaseUrl = "https://api.cloudflare.com/client/v4"

/** Options of the HTTP layers. */
export interface HttpOptions {
  readonly accountId: string
  /** Id of the gateway, 1 to 64 characters. */
  readonly gateway: string
  /** Token for a gateway with authentication, sent as `cf-aig-authorization`. */
  readonly token?: Redacted.Redacted<string> | undefined
  /** Cloudflare API token; only needed for logs. */
  readonly apiToken?: Redacted.Redacted<string> | undefined
  /** URL before `/v1/{account}/{gateway}`. Default {@link defaultBaseUrl}. */
  readonly baseUrl?: string | undefined
  /** Complete URL before `/{provider}`, for custom domains whose host stands for account and gateway. */
  readonly gatewayUrl?: string | undefined
  /** URL before `/accounts/{account}`. Default {@link defaultApiBaseUrl}. */
  readonly apiBaseUrl?: string | undefined
  /**
   * Size limit in bytes for an answer that is read in one piece, and in characters for one event of a stream, after
   * decompression. A larger one is an `InvalidResponse`. 1 to 536,870,888; default 67,108,864 (64 MiB).
   */
  readonly maxAnswerBytes?: number | undefined
}

/** Checks the common options of HTTP layers; fails with `InvalidRequest` and the name of the field. */
export const checkHttp = (
  method: string,
  options: Omit<HttpOptions, "gateway">,
  ids: { readonly [field: string]: string } = { accountId: options.accountId }
): Effect.Effect<void, GatewayError> => {
  for (const [field, id] of Object.entries(ids)) {
    if (!isId(id, 64)) return checkId(method, field, id)
  }
  for (const field of ["baseUrl", "gatewayUrl", "apiBaseUrl"] as const) {
    const url = options[field]
    if (url !== undefined && !isBaseUrl(url)) return Effect.fail(invalid(method, field, `an ${baseUrlAccepted}`))
  }
  for (const field of ["token", "apiToken"] as const) {
    const token = options[field]
    if (token !== undefined && !(Redacted.isRedacted(token) && isHeaderValue(Redacted.value(token)))) {
      return Effect.fail(invalid(method, field, "a Redacted token of printable ASCII that is not empty"))
    }
  }
  return checkMaxBytes(method, options.maxAnswerBytes)
}

const bearer = (token: Redacted.Redacted<string>): Redacted.Redacted<string> =>
  Redacted.make(`Bearer ${Redacted.value(token)}`)

/** Makes a client of Cloudflare's API: `Authorization`, JSON, typed failures. */
export const makeApi = (
  options: {
    readonly accountId: string
    readonly apiToken?: Redacted.Redacted<string> | undefined
    readonly apiBaseUrl?: string | undefined
    readonly maxAnswerBytes?: number | undefined
  },
  send: Send
) => {
  const base = `${trimSlashes(options.apiBaseUrl ?? defaultApiBaseUrl)}/accounts/${options.accountId}`
  const authorization = options.apiToken && bearer(options.apiToken)
  const maxBytes = options.maxAnswerBytes
  return (
    call: Omit<CallContext, "secrets"> & Partial<Pick<CallContext, "secrets">>,
    request: {
      readonly method: Outgoing["method"]
      readonly path: string
      readonly headers?: Record<string, string>
      readonly body?: string
    },
    permission: string
  ): Effect.Effect<GatewayResponse, GatewayError> =>
    Effect.suspend(() => {
      if (authorization === undefined) {
        return Effect.fail(invalid(call.method, "apiToken", `a Cloudflare API token with the permission ${permission}`))
      }
      const text = Redacted.value(authorization)
      const known: CallContext = { ...call, maxBytes, secrets: [...(call.secrets ?? []), ...secretsOf(text)] }
      return send({
        method: request.method,
        url: `${base}${request.path}`,
        headers: { ...request.headers, authorization: text },
        body: request.body,
        secrets: known.secrets
      }).pipe(
        Effect.mapError((reason) => failure(known, reason)),
        Effect.flatMap((answer) => respond(known, answer))
      )
    })
}

const configHeaders = ({ config }: Leg): Record<string, string> => {
  const out: Record<string, string> = {}
  if (config?.requestTimeout !== undefined) out["cf-aig-request-timeout"] = String(config.requestTimeout)
  if (config?.maxAttempts !== undefined) out["cf-aig-max-attempts"] = String(config.maxAttempts)
  if (config?.retryDelay !== undefined) out["cf-aig-retry-delay"] = String(config.retryDelay)
  if (config?.backoff !== undefined) out["cf-aig-backoff"] = config.backoff
  return out
}

/** Makes a gateway over HTTP. */
export const makeBackend = (options: HttpOptions, send: Send): Backend => {
  const gatewayUrl = trimSlashes(
    options.gatewayUrl ?? `${trimSlashes(options.baseUrl ?? defaultBaseUrl)}/v1/${options.accountId}/${options.gateway}`
  )
  const auth = options.token === undefined ? {} : { "cf-aig-authorization": bearer(options.token) }
  const api = makeApi(options, send)
  const logs = `/ai-gateway/gateways/${options.gateway}/logs`

  type Further = Readonly<Record<string, string>> | undefined
  const native = (leg: Leg, gateway: GatewayOptions.GatewayOptions, method: string, further: Further) =>
    Effect.map(encodeJson(method, "legs[0].query", leg.query), (body) => ({
      url: `${gatewayUrl}/${leg.provider}/${leg.endpoint}`,
      // A leg's own headers take precedence over those of the request, as inside a universal array.
      headers: { ...further, ...GatewayOptions.toHeaders(gateway), ...configHeaders(leg), ...leg.headers, ...auth },
      body,
      legSecrets: []
    }))

  const universal = (
    legs: UniversalRequest,
    gateway: GatewayOptions.GatewayOptions,
    method: string,
    further: Further
  ) =>
    Effect.suspend(() => {
      const revealed = legs.map((leg) => reveal({ "content-type": "application/json", ...leg.headers }))
      const wire = legs.map(({ config, endpoint, provider, query }, index) => ({
        provider,
        endpoint,
        headers: revealed[index]?.headers ?? {},
        query: query ?? null,
        ...(config && { config })
      }))
      return Effect.map(encodeJson(method, "legs", wire), (body) => ({
        url: gatewayUrl,
        headers: { ...further, ...GatewayOptions.toHeaders(gateway), ...auth },
        body,
        legSecrets: revealed.flatMap(({ secrets }) => secrets)
      }))
    })

  return {
    run: (legs, gateway, method, beforeResend, further) =>
      Effect.flatMap(
        legs.length === 1 ? native(legs[0], gateway, method, further) : universal(legs, gateway, method, further),
        ({ body, headers, legSecrets, url }) => {
          const revealed = reveal(headers)
          const call: CallContext = {
            method,
            surface: "gateway",
            secrets: [...revealed.secrets, ...legSecrets, ...legs.flatMap(({ endpoint }) => endpointSecrets(endpoint))],
            eventId: gateway.eventId,
            maxBytes: options.maxAnswerBytes,
            // For several legs, only the headers of the answer tell which one it belongs to.
            ...(legs.length === 1 && { provider: legs[0].provider, model: modelOf(legs[0]) })
          }
          const { secrets } = call
          return Effect.matchEffect(
            send({ method: "POST", url, headers: revealed.headers, body, secrets, beforeResend }),
            {
              onFailure: (reason) => Effect.fail(failure(call, reason)),
              onSuccess: (answer) => respond(call, answer)
            }
          )
        }
      ),
    getLog: (logId) =>
      Effect.flatMap(
        api(
          { method: "GatewayService.getLog", surface: "logs", logId },
          { method: "GET", path: `${logs}/${logId}` },
          "AI Gateway Read"
        ),
        (response) => response.result
      ),
    patchLog: (logId, patch) =>
      Effect.flatMap(encodeJson("GatewayService.patchLog", "patch", patch), (body) =>
        Effect.flatMap(
          api(
            { method: "GatewayService.patchLog", surface: "logs", logId },
            { method: "PATCH", path: `${logs}/${logId}`, body },
            "AI Gateway Edit"
          ),
          // The body may be empty; if there is one, it may report a failure despite the status.
          (response) =>
            Effect.flatMap(response.text, (text) => (text === "" ? Effect.void : Effect.asVoid(response.json)))
        )
      ),
    getUrl: (provider) => Effect.succeed(provider === undefined ? `${gatewayUrl}/` : `${gatewayUrl}/${provider}`),
    listLogs: Effect.fnUntraced(function* (query) {
      const method = "GatewayService.listLogs"
      yield* refuse(method, GatewayLog.queryProblems(query))
      const params = new URLSearchParams(GatewayLog.toParams(query).map(([name, value]) => [name, value])).toString()
      const response = yield* api(
        { method, surface: "logs", eventId: query.eventId },
        { method: "GET", path: params === "" ? logs : `${logs}?${params}` },
        "AI Gateway Read"
      )
      const page = GatewayLog.pageFromWire(yield* response.json)
      return page ?? (yield* undecodable(method, "a page without a list of entries"))
    })
  }
}
