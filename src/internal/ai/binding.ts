/**
 * `env.AI` itself. Calls of its `run` share state. If the binding has its own `fetch`, the same request goes through
 * that, and the answer belongs to this call alone; otherwise each call requests its own raw `Response` and relies on
 * nothing else.
 */
import * as Effect from "effect/Effect"
import { invalid } from "../../GatewayError.ts"
import * as GatewayOptions from "../../GatewayOptions.ts"
import { reveal } from "../data/secrets.ts"
import { encodeJson } from "../gateway/backend.ts"
import * as Gateway from "../gateway/binding.ts"
import { type CallContext, respond, thrownFailure } from "../gateway/respond.ts"
import { type AiBinding, call as callBinding } from "../transport/binding.ts"
import { type AiBackend, type AiRequest, defaultGateway, streamKey } from "./backend.ts"

const encodable = (method: string, { gateway, input }: AiRequest) => {
  const stream = streamKey(input)
  if (stream === undefined) return Effect.asVoid(encodeJson(method, "input", input))
  return gateway === undefined
    ? Effect.void
    : Effect.fail(invalid(method, `input.${stream}`, "a JSON value; a gateway takes no streams"))
}

// Unlike `run`, `models` uses this name for the service's answer, for which the log methods use the other one.
const refusedModels = (thrown: unknown): unknown => {
  if (!(thrown instanceof Error) || thrown.name !== "AiInternalError") return thrown
  const refusal = new Error(thrown.message)
  refusal.name = "AiGatewayInternalError"
  return refusal
}

const origin = "https://workers-binding.ai"

/** Sends the request of `run` without `run`: it shares nothing with other calls. */
const runBy = (
  fetch: NonNullable<AiBinding["fetch"]>,
  { input, model, prefix }: AiRequest,
  { extraHeaders, signal, ...options }: RunOptions
): Promise<unknown> =>
  fetch(`${origin}${options.gateway === undefined ? "" : "/ai-gateway"}/run?version=3`, {
    method: "POST",
    headers: {
      ...extraHeaders,
      "content-type": "application/json",
      "cf-consn-sdk-version": "2.0.0",
      "cf-consn-model-id": prefix === undefined ? model : `${prefix}:${model}`
    },
    body: JSON.stringify({ inputs: input, options }),
    signal
  })

const resumeBy =
  (fetch: NonNullable<AiBinding["fetch"]>, maxBytes: number | undefined): NonNullable<AiBackend["resume"]> =>
  ({ gateway, runId }, from, method) => {
    const call: CallContext = { method, surface: "gateway", secrets: [], maxBytes }
    const url = `${origin}/ai-gateway/gateways/${gateway}/run/${runId}/resume?from=${from}`
    return Effect.flatMap(
      callBinding(
        (signal) => fetch(url, { signal }),
        (thrown) => thrownFailure(call, thrown)
      ),
      (answer) => respond(call, answer)
    )
  }

/** The third argument of `run`. */
interface RunOptions {
  readonly gateway?: object
  readonly extraHeaders: Readonly<Record<string, string>>
  readonly signal: AbortSignal
}

/** Makes a backend of `env.AI`. */
export const makeBackend = (ai: AiBinding, maxBytes: number | undefined): AiBackend => ({
  run: (request, method) =>
    Effect.flatMap(encodable(method, request), () =>
      Effect.suspend(() => {
        const { input, model, options, prefix, queueRequest, rejectIfBusy, tags, target } = request
        const revealed = reveal(request.headers)
        const { extraHeaders, gateway } = GatewayOptions.toBinding(options)
        const id = request.gateway ?? (target.kind === "third-party" ? defaultGateway : undefined)
        const call: CallContext = {
          method,
          surface: "gateway",
          secrets: revealed.secrets,
          provider: target.provider,
          model: target.model,
          eventId: options.eventId,
          maxBytes
        }
        return Effect.flatMap(
          callBinding(
            (signal) => {
              const settings = {
                ...(id !== undefined && { gateway: { id, ...gateway } }),
                ...(tags !== undefined && { tags: [...tags] }),
                ...(queueRequest && { queueRequest }),
                ...(rejectIfBusy && { rejectIfBusy }),
                extraHeaders: { ...extraHeaders, ...revealed.headers },
                returnRawResponse: true,
                signal
              }
              return typeof ai.fetch === "function" && streamKey(input) === undefined
                ? runBy(ai.fetch.bind(ai), request, settings)
                : ai.run(model, input, { ...settings, ...(prefix !== undefined && { prefix }) })
            },
            (thrown) => thrownFailure(call, thrown)
          ),
          (answer) => respond(call, answer)
        )
      })
    ),
  models: (query) =>
    Effect.tryPromise({
      try: () => ai.models({ ...query }),
      catch: (thrown) =>
        thrownFailure({ method: "AiService.models", surface: "api", secrets: [] }, refusedModels(thrown))
    }),
  gateway: (id) => Gateway.makeBackend(ai, id, maxBytes),
  ...(typeof ai.fetch === "function" && { resume: resumeBy(ai.fetch.bind(ai), maxBytes) })
})
