/** The calls of the Workers binding `env.AI`. They carry no credentials: every holder of the binding is trusted. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { isRecord } from "../../internal/data/json.ts"
import * as JsonHeaders from "../gateway/jsonHeaders.ts"
import { run } from "../gateway/pipeline.ts"
import { fromBinding } from "../gateway/requestOptions.ts"
import type { GatewayState } from "../gateway/state.ts"
import {
  apiError,
  apiSuccess,
  badRequest,
  bindingError,
  code,
  dataPlaneError,
  json,
  type Refusal,
  refuse
} from "../wire/errors.ts"
import { type HeaderMap, type Incoming, jsonTextBody } from "../wire/message.ts"
import type { Answer, Disconnect } from "../wire/protocol.ts"
import * as Access from "./access.ts"
import * as Catalog from "./catalog.ts"
import * as DataPlane from "./dataPlane.ts"
import * as LogsApi from "./logsApi.ts"
import { search } from "./models.ts"
import { urlOf } from "./urls.ts"

type Handled = Effect.Effect<Answer, Disconnect>

const shaped = (handled: Effect.Effect<Answer, Refusal | Disconnect>, shape: (refusal: Refusal) => Answer): Handled =>
  Effect.catchTag(handled, "Refusal", (refusal) => Effect.succeed(shape(refusal)))

const noRoute = (): Handled => Effect.succeed(apiError(refuse(404, code.noRoute, "No route for that URI")))

// `[prefix:]model`; no model name has a colon before its first slash.
const modelOf = (headers: HeaderMap): string | undefined => headers["cf-consn-model-id"]?.replace(/^[^/@:]+:/, "")

/**
 * The input and the options of a run. A stream from the caller, such as audio, is the body itself; the other fields of
 * the input are then in the query.
 */
const readRun = Effect.fnUntraced(function* (incoming: Incoming) {
  if (incoming.url.searchParams.has("userInputs")) {
    const input = yield* Catalog.readInput(incoming)
    return { input, options: {} }
  }
  const body = yield* jsonTextBody(incoming)
  const input = Catalog.inputIn(body, "inputs")
  if (input === undefined || !isRecord(body.value)) return yield* badRequest("inputs: expected the model's input")
  const { options } = body.value
  return { input, options: isRecord(options) ? options : {} }
})

/** `env.AI.run`. With a gateway, its settings are inside the body; extra headers count too, with lower priority. */
const runModel = Effect.fnUntraced(function* (core: GatewayState, incoming: Incoming, viaGateway: boolean) {
  const { headers } = incoming
  const model = modelOf(headers)
  if (model === undefined || model === "") return yield* badRequest("cf-consn-model-id: expected the name of a model")
  const { input, options } = yield* readRun(incoming)
  if (options["queueRequest"] === true) return yield* badRequest("queueRequest: the local gateway has no batch queue")
  const settings = isRecord(options["gateway"]) ? options["gateway"] : {}
  const id = typeof settings["id"] === "string" ? settings["id"] : core.settings.defaultGateway
  const gateway = viaGateway ? yield* Effect.fromResult(Access.gateway(core, id)) : undefined
  if (gateway === undefined && !Catalog.isWorkersAi(model)) {
    return yield* refuse(404, code.modelNotFound, `Model not found: ${model}`)
  }
  const layers = [fromBinding(settings), headers]
  const all = yield* Effect.fromResult(Catalog.legs(core, gateway, model, input, headers, layers))
  const json = yield* JsonHeaders.current
  const streaming = all.map((target) => ({ ...target, streams: true }))
  const ran = yield* run(core, {
    gateway,
    legs: yield* Effect.fromResult(Catalog.planAll(core, gateway, streaming, json)),
    requestType: "run",
    userAgent: headers["user-agent"],
    authenticated: true
  })
  const provider = Catalog.answering(all, ran)
  const isNative = provider === "workers-ai"
  const answer = isNative ? Catalog.asBindingError(ran) : ran
  const wrapping = Catalog.wrappingOf(core.settings.envelope ?? "bare", provider)
  const wrapped = Catalog.wrap(answer, provider, wrapping)
  if (isNative) {
    return { ...wrapped, headers: { ...wrapped.headers, "cf-ai-req-id": yield* core.nextId } }
  }
  if (gateway === undefined || !core.settings.resumableRuns) return wrapped
  const runId = `${yield* core.nextId}${yield* core.nextId}`.replaceAll("-", "")
  return core.runs.start(runId, gateway.id, wrapped, yield* Clock.currentTimeMillis)
})

/** Resumes a streamed run of `env.AI.run` from an event on. */
const resume = Effect.fnUntraced(function* (core: GatewayState, gateway: string, incoming: Incoming, runId: string) {
  if (!/^[0-9a-f]{64}$/.test(runId)) return yield* refuse(500, code.malformedRun, "Malformed run id")
  const from = incoming.url.searchParams.get("from") ?? "0"
  if (!/^\d{1,15}$/.test(from)) return yield* badRequest("from: expected the number of an event, from 0")
  const answer = core.runs.resume(runId, gateway, Number(from), yield* Clock.currentTimeMillis)
  return answer ?? json(404, { error: "Request not found" })
})

const gateways = (core: GatewayState, incoming: Incoming, path: ReadonlyArray<string>): Handled => {
  const [id = "", what, ...rest] = path
  const found = Access.gateway(core, id)
  if (Result.isFailure(found)) return Effect.succeed(apiError(found.failure))
  if (what === "logs" && rest.length === 1) return shaped(LogsApi.handle(core, found.success, incoming, rest), apiError)
  if (what === "url" && rest.length === 1 && incoming.method === "GET") {
    const url = Effect.fromResult(urlOf(core, core.settings.account, id, rest[0] ?? ""))
    return shaped(
      Effect.map(url, (url) => apiSuccess({ url })),
      apiError
    )
  }
  if (what === "run" && rest.length === 2 && rest[1] === "resume" && incoming.method === "GET") {
    return shaped(resume(core, id, incoming, rest[0] ?? ""), dataPlaneError)
  }
  return noRoute()
}

/** Answers a request of the binding, or returns `undefined` for other paths. */
export const handle = (core: GatewayState, incoming: Incoming): Handled | undefined => {
  const { method, segments } = incoming
  const [first, second, ...rest] = segments
  if (first === "run" && second === undefined) {
    return method === "POST" ? shaped(runModel(core, incoming, false), bindingError) : noWebSocket()
  }
  if (first === "ai-api" && second === "models" && rest.join("/") === "search" && method === "GET") {
    return shaped(Effect.fromResult(search(core.settings.models, incoming.url.searchParams)), apiError)
  }
  if (first !== "ai-gateway") return undefined
  if (second === "run" && rest.length === 0 && method === "POST") {
    return shaped(runModel(core, incoming, true), dataPlaneError)
  }
  if (second === "universal" && rest[0] === "run" && rest.length === 2 && method === "POST") {
    const found = Effect.fromResult(Access.gateway(core, rest[1] ?? ""))
    return shaped(
      Effect.flatMap(found, (gateway) => DataPlane.universal(core, incoming, gateway, true)),
      dataPlaneError
    )
  }
  return second === "gateways" ? gateways(core, incoming, rest) : noRoute()
}

const noWebSocket = (): Handled =>
  Effect.succeed(bindingError(badRequest("the local gateway offers no WebSocket endpoints")))
