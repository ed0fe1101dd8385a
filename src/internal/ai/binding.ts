/**
 * `env.AI` itself. Its calls share state, so each asks for its own raw `Response` and trusts nothing else.
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

// Unlike `run`, `models` uses this name for what the service answered, as the log methods use the other one.
const refusedModels = (thrown: unknown): unknown => {
  if (!(thrown instanceof Error) || thrown.name !== "AiInternalError") return thrown
  const refusal = new Error(thrown.message)
  refusal.name = "AiGatewayInternalError"
  return refusal
}

const resumeBy =
  (fetch: NonNullable<AiBinding["fetch"]>, maxBytes: number | undefined): NonNullable<AiBackend["resume"]> =>
  ({ gateway, runId }, from, method) => {
    const call: CallContext = { method, surface: "gateway", secrets: [], maxBytes }
    const url = `https://workers-binding.ai/ai-gateway/gateways/${gateway}/run/${runId}/resume?from=${from}`
    return Effect.flatMap(
      callBinding(
        (signal) => fetch(url, { signal }),
        (thrown) => thrownFailure(call, thrown)
      ),
      (answer) => respond(call, answer)
    )
  }

/** `env.AI` as a backend. */
export const makeBackend = (ai: AiBinding, maxBytes: number | undefined): AiBackend => ({
  run: (request, method) =>
    Effect.flatMap(encodable(method, request), () =>
      Effect.suspend(() => {
        const { input, model, options, tags, target } = request
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
            (signal) =>
              ai.run(model, input, {
                ...(id !== undefined && { gateway: { id, ...gateway } }),
                ...(tags !== undefined && { tags: [...tags] }),
                extraHeaders: { ...extraHeaders, ...revealed.headers },
                returnRawResponse: true,
                signal
              }),
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
