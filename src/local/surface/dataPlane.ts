/**
 * The data plane, `/v1/{account}/{gateway}/…`: universal, provider-native, `compat`, and the run API.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { GatewayJob, LegPlan } from "../gateway/job.ts"
import * as JsonHeaders from "../gateway/jsonHeaders.ts"
import { run } from "../gateway/pipeline.ts"
import { fromUniversal, type LegRequest, plan } from "../gateway/plan.ts"
import type { Gateway } from "../gateway/settings.ts"
import type { GatewayState } from "../gateway/state.ts"
import { badRequest, code, dataPlaneError, type Refusal, refuse, runError } from "../wire/errors.ts"
import { type Incoming, jsonBody, parseBody } from "../wire/message.ts"
import type { Answer, Disconnect } from "../wire/protocol.ts"
import * as Access from "./access.ts"
import * as Catalog from "./catalog.ts"

type Handled = Effect.Effect<Answer, Refusal | Disconnect>

const noRoute = (): Refusal => refuse(404, code.noRoute, "No route for that URI")

const job = (
  core: GatewayState,
  incoming: Incoming,
  gateway: Gateway,
  requestType: GatewayJob["requestType"],
  legs: ReadonlyArray<LegPlan>,
  authenticated = Access.holdsToken(core, incoming.headers["cf-aig-authorization"])
): Handled => {
  const [first, ...rest] = legs
  if (first === undefined) return Effect.fail(badRequest("expected at least one leg"))
  return run(core, {
    gateway,
    legs: [first, ...rest],
    requestType,
    userAgent: incoming.headers["user-agent"],
    authenticated
  })
}

/** Most legs of one request. */
const maxLegs = 1000

/** Runs the body of a universal request: an array of legs, or one. */
export const universal = Effect.fnUntraced(function* (
  core: GatewayState,
  incoming: Incoming,
  gateway: Gateway,
  authenticated?: boolean
) {
  const body = yield* jsonBody(incoming)
  const elements: ReadonlyArray<unknown> = Array.isArray(body) ? body : [body]
  if (elements.length > maxLegs) return yield* badRequest(`the request body: expected 1 to ${maxLegs} legs`)
  const json = yield* JsonHeaders.current
  const legs: Array<LegPlan> = []
  for (const [index, element] of elements.entries()) {
    const input = yield* Effect.fromResult(fromUniversal(element, index, incoming.headers))
    legs.push(...(yield* Effect.fromResult(plan(core, gateway, input, json))))
  }
  return yield* job(core, incoming, gateway, "universal", legs, authenticated)
})

const native = Effect.fnUntraced(function* (
  core: GatewayState,
  incoming: Incoming,
  gateway: Gateway,
  provider: string,
  endpoint: string
) {
  const body = yield* incoming.body
  const input: LegRequest = {
    provider,
    endpoint,
    method: incoming.method,
    headers: incoming.headers,
    layers: [incoming.headers],
    body,
    json: yield* parseBody(body)
  }
  const legs = yield* Effect.fromResult(plan(core, gateway, input, yield* JsonHeaders.current))
  return yield* job(core, incoming, gateway, provider === "compat" ? "compat" : "provider", legs)
})

const runApi = Effect.fnUntraced(function* (core: GatewayState, incoming: Incoming, gateway: Gateway) {
  const { input, model } = yield* Catalog.readBody(incoming)
  const { headers } = incoming
  const all = yield* Effect.fromResult(Catalog.legs(core, gateway, model, input, headers, [headers]))
  const legs = yield* Effect.fromResult(Catalog.planAll(core, gateway, all, yield* JsonHeaders.current))
  const answer = yield* job(core, incoming, gateway, "run", legs).pipe(
    Effect.catchTag("Refusal", (refusal) => Effect.succeed(runError(model)(refusal)))
  )
  const provider = Catalog.answering(all, answer)
  return Catalog.wrap(answer, provider, { state: true, more: { provider, model } })
})

const dispatch = (core: GatewayState, incoming: Incoming): Handled => {
  const [, account = "", id = "", ...rest] = incoming.segments
  const found = Access.dataPlane(core, account, id, incoming.headers)
  if (Result.isFailure(found)) return Effect.fail(found.failure)
  const gateway = found.success
  if (incoming.headers["upgrade"]?.toLowerCase() === "websocket") {
    return Effect.fail(badRequest("the local gateway offers no WebSocket endpoints"))
  }
  const [provider = "", ...path] = rest
  const endpoint = path.join("/") + incoming.url.search
  const isPost = incoming.method === "POST"
  if (provider === "" && path.length === 0) {
    return isPost ? universal(core, incoming, gateway) : Effect.fail(refuse(405, code.badParameter, "expected POST"))
  }
  if (provider === "compat") {
    return isPost && endpoint === "chat/completions"
      ? native(core, incoming, gateway, provider, endpoint)
      : Effect.fail(noRoute())
  }
  if (provider === "run" && path.length === 0 && isPost) return runApi(core, incoming, gateway)
  return native(core, incoming, gateway, provider, endpoint)
}

/** Answers a request whose path starts with `/v1/{account}/{gateway}`. */
export const handle = (core: GatewayState, incoming: Incoming): Effect.Effect<Answer, Disconnect> =>
  Effect.catchTag(dispatch(core, incoming), "Refusal", (refusal) => Effect.succeed(dataPlaneError(refusal)))
