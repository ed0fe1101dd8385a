/**
 * `env.AI` over HTTP: models run on Cloudflare's API host, dynamic routes on the gateway's.
 */
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import { type GatewayError, invalid } from "../../GatewayError.ts"
import * as GatewayOptions from "../../GatewayOptions.ts"
import type { GatewayResponse } from "../../GatewayResponse.ts"
import { reveal } from "../data/secrets.ts"
import { encodeJson } from "../gateway/backend.ts"
import * as Gateway from "../gateway/http.ts"
import type { Send } from "../transport/request.ts"
import { type AiBackend, type AiRequest, streamKey } from "./backend.ts"

/** Options of the HTTP layer. */
export interface AiHttpOptions {
  readonly accountId: string
  /** Cloudflare API token with the permission Workers AI Read (gateway logs also need AI Gateway Read). */
  readonly apiToken: Redacted.Redacted<string>
  /** URL before `/accounts/{account}`. Default `https://api.cloudflare.com/client/v4`. */
  readonly apiBaseUrl?: string | undefined
  /** Token for gateways with authentication, used for dynamic routes and for `gateway(id)`. */
  readonly token?: Redacted.Redacted<string> | undefined
  /** URL before `/v1/{account}/{gateway}`. Default `https://gateway.ai.cloudflare.com`. */
  readonly baseUrl?: string | undefined
  /**
   * Size limit in bytes for an answer that is read in one piece, and in characters for one event of a stream, after
   * decompression. A larger one is an `InvalidResponse`. 1 to 536,870,888; default 67,108,864 (64 MiB).
   */
  readonly maxAnswerBytes?: number | undefined
}

const checkTransport = (
  method: string,
  { input, prefix, rejectIfBusy, tags }: AiRequest
): Effect.Effect<void, GatewayError> => {
  if (prefix !== undefined) return Effect.fail(invalid(method, "prefix", "nothing over HTTP: only the binding has one"))
  if (rejectIfBusy && input["options"] !== undefined) {
    return Effect.fail(invalid(method, "input.options", "nothing beside `rejectIfBusy`, which is sent there"))
  }
  const stream = streamKey(input)
  if (stream !== undefined) {
    return Effect.fail(invalid(method, `input.${stream}`, "a JSON value; only the binding takes streams"))
  }
  return tags === undefined
    ? Effect.void
    : Effect.fail(invalid(method, "tags", "nothing over HTTP: only the binding is known to carry tags"))
}

/** Makes a backend of `env.AI` over HTTP. */
export const makeBackend = (options: AiHttpOptions, send: Send): AiBackend => {
  const api = Gateway.makeApi(options, send)
  const gateway: AiBackend["gateway"] = (id) => Gateway.makeBackend({ ...options, gateway: id }, send)

  const runOnApi = (request: AiRequest, method: string): Effect.Effect<GatewayResponse, GatewayError> => {
    const { model, queueRequest, rejectIfBusy, target } = request
    const native = target.kind === "workers-ai"
    const input = rejectIfBusy ? { ...request.input, options: { rejectIfBusy } } : request.input
    return Effect.flatMap(encodeJson(method, "input", native ? input : { model, input }), (body) =>
      Effect.suspend(() => {
        const revealed = reveal(request.headers)
        return api(
          {
            method,
            surface: "api",
            secrets: revealed.secrets,
            provider: target.provider,
            model: target.model,
            eventId: request.options.eventId
          },
          {
            method: "POST",
            path: native ? `/ai/run/${model}${queueRequest ? "?queueRequest=true" : ""}` : "/ai/run",
            headers: {
              ...GatewayOptions.toHeaders(request.options),
              ...revealed.headers,
              ...(request.gateway !== undefined && { "cf-aig-gateway-id": request.gateway })
            },
            body
          },
          "Workers AI Read"
        )
      })
    )
  }

  // The only endpoint of the data plane that accepts dynamic routes.
  const runRoute = (request: AiRequest, id: string, method: string): Effect.Effect<GatewayResponse, GatewayError> => {
    const { headers, input, model, options } = request
    if (input["model"] !== undefined && input["model"] !== model) {
      return Effect.fail(invalid(method, "input.model", "nothing: the dynamic route picks the model"))
    }
    const query = { ...input, model }
    return Effect.flatMap(encodeJson(method, "input", query), () =>
      gateway(id).run([{ provider: "compat", endpoint: "chat/completions", headers, query }], options, method)
    )
  }

  return {
    run: (request, method) =>
      Effect.flatMap(checkTransport(method, request), () =>
        request.target.kind === "dynamic" && request.gateway !== undefined
          ? runRoute(request, request.gateway, method)
          : runOnApi(request, method)
      ),
    models: (query) => {
      const params = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)])).toString()
      return Effect.flatMap(
        api(
          { method: "AiService.models", surface: "api" },
          { method: "GET", path: `/ai/models/search${params === "" ? "" : `?${params}`}` },
          "Workers AI Read"
        ),
        (response) => response.result
      )
    },
    gateway
  }
}
