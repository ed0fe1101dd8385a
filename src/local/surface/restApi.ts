/**
 * `api.cloudflare.com`: `/accounts/{account}/ai/…` for models, `/accounts/{account}/ai-gateway/gateways/{id}/…` for
 * logs and URLs.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { isRecord } from "../../internal/data/json.ts"
import type { GatewayJob } from "../gateway/job.ts"
import * as JsonHeaders from "../gateway/jsonHeaders.ts"
import { run } from "../gateway/pipeline.ts"
import type { Gateway } from "../gateway/settings.ts"
import type { GatewayState } from "../gateway/state.ts"
import { apiError, apiSuccess, badRequest, code, type Refusal, refuse } from "../wire/errors.ts"
import { type Incoming, jsonTextBody } from "../wire/message.ts"
import type { Answer, Disconnect } from "../wire/protocol.ts"
import * as Access from "./access.ts"
import * as Catalog from "./catalog.ts"
import { gatewayBody, listGateways } from "./gateways.ts"
import * as LogsApi from "./logsApi.ts"
import { search } from "./models.ts"
import { urlOf } from "./urls.ts"

type Handled = Effect.Effect<Answer, Refusal | Disconnect>

const noRoute = (status = 404): Handled => Effect.fail(refuse(status, code.noRoute, "No route for that URI"))

/** Workers AI uses a gateway only when the request names one; other models use the default one. */
const gatewayFor = (
  core: GatewayState,
  model: string,
  id: string | undefined
): Result.Result<Gateway | undefined, Refusal> => {
  if (id === undefined && Catalog.isWorkersAi(model)) return Result.succeed(undefined)
  return Access.gateway(core, id ?? core.settings.defaultGateway)
}

/** Runs a catalogue model with the options in the request's headers; the answer is not wrapped yet. */
const runModel = Effect.fnUntraced(function* (
  core: GatewayState,
  incoming: Incoming,
  model: string,
  input: Catalog.Input,
  endpoint?: string
) {
  const { headers } = incoming
  // The Cloudflare token is not the provider's credential.
  const { authorization: _, ...forward } = headers
  const gateway = yield* Effect.fromResult(gatewayFor(core, model, headers["cf-aig-gateway-id"]))
  const all = yield* Effect.fromResult(Catalog.legs(core, gateway, model, input, forward, [headers], endpoint))
  const json = yield* JsonHeaders.current
  const streaming = all.map((target) => ({ ...target, streams: true }))
  const job: GatewayJob = {
    gateway,
    legs: yield* Effect.fromResult(Catalog.planAll(core, gateway, streaming, json)),
    requestType: "run",
    userAgent: headers["user-agent"],
    authenticated: core.settings.token !== undefined
  }
  const answer = yield* run(core, job)
  const provider = Catalog.answering(all, answer)
  if (provider !== "workers-ai") return { answer, provider }
  return {
    answer: { ...answer, headers: { ...answer.headers, "cf-ai-req-id": yield* core.nextId } },
    provider
  }
})

const ai = (core: GatewayState, incoming: Incoming, path: ReadonlyArray<string>): Handled => {
  const [head, ...rest] = path
  const wrapped = Effect.fnUntraced(function* (model: string, input: Catalog.Input) {
    const { answer, provider } = yield* runModel(core, incoming, model, input)
    return Catalog.wrap(answer, provider, Catalog.wrappingOf(core.settings.envelope ?? "full", provider))
  })
  if (head === "models" && rest.join("/") === "search" && incoming.method === "GET") {
    return Effect.fromResult(search(core.settings.models, incoming.url.searchParams))
  }
  if (head === "run") {
    const model = rest.join("/").replaceAll("%40", "@")
    // The service has no route for another method, or for a name whose slashes are encoded.
    if (incoming.method !== "POST" || !(rest.length === 0 || Catalog.isWorkersAi(model))) return noRoute(400)
    return rest.length === 0
      ? Effect.flatMap(Catalog.readBody(incoming), ({ input, model }) => wrapped(model, input))
      : Effect.flatMap(Catalog.readInput(incoming), (input) => wrapped(model, input))
  }
  if (incoming.method !== "POST") return noRoute()
  const endpoint = rest.join("/")
  if (head === "v1" && ["chat/completions", "embeddings", "messages", "responses"].includes(endpoint)) {
    return Effect.flatMap(jsonTextBody(incoming), (body): Handled => {
      const model = isRecord(body.value) ? body.value["model"] : undefined
      if (typeof model !== "string") return Effect.fail(badRequest("model: expected the name of a model"))
      if (endpoint === "embeddings" && !Catalog.isWorkersAi(model)) return Effect.fail(Catalog.notFound(model))
      // At Workers AI and Anthropic these paths carry their version.
      const versioned = Catalog.isWorkersAi(model) || endpoint === "messages" ? `v1/${endpoint}` : endpoint
      return Effect.map(runModel(core, incoming, model, body, versioned), ({ answer }) => answer)
    })
  }
  return noRoute()
}

const management = (core: GatewayState, incoming: Incoming, account: string, path: ReadonlyArray<string>): Handled => {
  const [kind, id = "", what, ...rest] = path
  if (kind !== "gateways") return noRoute()
  if (id === "" && what === undefined && incoming.method === "GET") {
    return Effect.fromResult(listGateways(core, incoming.url.searchParams))
  }
  // Gateways are defined by the options.
  if (id === "") return noRoute()
  const found = Access.gateway(core, id)
  if (Result.isFailure(found)) return Effect.fail(found.failure)
  if (what === undefined && incoming.method === "GET")
    return Effect.succeed(apiSuccess(gatewayBody(core, found.success)))
  if (what === "logs") return LogsApi.handle(core, found.success, incoming, rest)
  if (what === "url" && incoming.method === "GET" && rest.length === 1) {
    return Effect.map(Effect.fromResult(urlOf(core, account, id, rest[0] ?? "")), (url) => apiSuccess(url))
  }
  return noRoute()
}

const dispatch = (core: GatewayState, incoming: Incoming): Handled => {
  const [, account = "", product, ...path] = incoming.segments
  const access = Access.api(core, account, incoming.headers)
  if (Result.isFailure(access)) return Effect.fail(access.failure)
  if (product === "ai") return ai(core, incoming, path)
  return product === "ai-gateway" ? management(core, incoming, account, path) : noRoute()
}

/** Answers a request whose path starts with `/accounts/{account}`. */
export const handle = (core: GatewayState, incoming: Incoming): Effect.Effect<Answer, Disconnect> =>
  Effect.catchTag(dispatch(core, incoming), "Refusal", (refusal) => Effect.succeed(apiError(refusal)))
