/** `/__admin/…`: the interface for tests in other processes: scripts, recorded calls, reset. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { isRecord } from "../../internal/data/json.ts"
import { type GatewayState, logsKey } from "../gateway/state.ts"
import * as Faults from "../upstream/faults.ts"
import { apiError, apiSuccess, apiSuccessPieces, badRequest, code, type Refusal, refuse } from "../wire/errors.ts"
import { type Incoming, jsonBody } from "../wire/message.ts"
import type { Answer, Disconnect } from "../wire/protocol.ts"

/** The problem with the key of a script, if any. */
export const keyProblem = (core: GatewayState, key: string): { field: string; accepted: string } | undefined => {
  const [slug = ""] = key.split("/", 1)
  const model = key.slice(slug.length)
  return key === logsKey || (core.isProvider(slug) && model !== "/")
    ? undefined
    : { field: "provider", accepted: "the slug of a provider that the gateway has, slug/model, or `logs`" }
}

const setScript = Effect.fnUntraced(function* (core: GatewayState, incoming: Incoming) {
  const body = yield* jsonBody(incoming)
  if (!isRecord(body) || typeof body["provider"] !== "string")
    return yield* badRequest("provider: expected a slug, or slug/model")
  const wrongKey = keyProblem(core, body["provider"])
  if (wrongKey !== undefined) return yield* badRequest(`${wrongKey.field}: expected ${wrongKey.accepted}`)
  const faults = Faults.decode(body["faults"])
  if (Result.isFailure(faults)) return yield* badRequest(`${faults.failure.field}: expected ${faults.failure.accepted}`)
  core.script(body["provider"], faults.success)
  return apiSuccess({})
})

const dispatch = (core: GatewayState, incoming: Incoming): Effect.Effect<Answer, Refusal | Disconnect> => {
  switch (`${incoming.method} ${incoming.segments.slice(1).join("/")}`) {
    case "POST script":
      return setScript(core, incoming)
    case "GET calls":
      return Effect.sync(() => apiSuccessPieces(core.calls.json()))
    case "GET bodies":
      return Effect.sync(() => apiSuccess({ open: core.bodies.count }))
    case "POST reset":
      return Effect.map(core.reset, () => apiSuccess({}))
    default:
      return Effect.fail(refuse(404, code.noRoute, "expected POST script, GET calls, GET bodies or POST reset"))
  }
}

/** Answers a request whose path starts with `/__admin`. */
export const handle = (core: GatewayState, incoming: Incoming): Effect.Effect<Answer, Disconnect> =>
  Effect.catchTag(dispatch(core, incoming), "Refusal", (refusal) => Effect.succeed(apiError(refusal)))
