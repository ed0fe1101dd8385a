/** Plans a request: legs that are ready to run, with provider, endpoint, headers, body and options. */
import * as Result from "effect/Result"
import { asciiJson } from "../../internal/data/headers.ts"
import { isRecord } from "../../internal/data/json.ts"
import { dialectOf, modelOf, wantsStream } from "../upstream/dialect.ts"
import * as Faults from "../upstream/faults.ts"
import { insideAccepted, isInside } from "../wire/endpoints.ts"
import { badRequest, code, jsonHeaders, type Refusal, refuse } from "../wire/errors.ts"
import { fieldValueAccepted, isFieldName, isFieldValue } from "../wire/fieldValues.ts"
import type { HeaderMap } from "../wire/message.ts"
import type { StreamShape } from "../wire/streamShape.ts"
import { streamHeader } from "../wire/streamShape.ts"
import { autoModel, choose, modelsHeader, providersHeader, type Routing } from "./autoRouter.ts"
import type { RouteModel } from "./dynamicRoute.ts"
import type { LegPlan } from "./job.ts"
import { faultsHeader, type JsonHeaders } from "./jsonHeaders.ts"
import { isGatewaySlug, slugOfAuthor } from "./providers.ts"
import * as RequestOptions from "./requestOptions.ts"
import type { Gateway } from "./settings.ts"
import type { GatewayState } from "./state.ts"

/** A leg as a surface describes it. */
export interface LegRequest {
  /** Slug, `compat`, or anything else that the client wrote. */
  readonly provider: string
  readonly endpoint: string
  readonly method: string
  /** Headers for the provider, still mixed with the gateway's. */
  readonly headers: HeaderMap
  /** Sources of options, nearest first. */
  readonly layers: ReadonlyArray<HeaderMap>
  readonly body: Uint8Array<ArrayBuffer> | undefined
  /** `undefined` when the body is not JSON. */
  readonly json: unknown
  /** Whether streams stay streams on this surface, whatever the gateway's setting. */
  readonly streams?: boolean
  /** Whether the model was selected by its name in the run catalogue, which has its own providers. */
  readonly isCatalogue?: boolean
  /** Whether an alias selected the model; the answer then names it. */
  readonly isAlias?: boolean
}

/** A gateway that adds nothing: for Workers AI without a gateway. */
const none: Gateway = {
  id: "",
  cacheTtl: 0,
  collectLogs: false,
  rateLimit: undefined,
  authentication: false,
  maxAttempts: 1,
  retryDelay: 0,
  backoff: "constant",
  byokAliases: undefined,
  aliases: new Map(),
  bufferStreams: false
}

const encoder = new TextEncoder()

/** Encodes a JSON body. */
export const encodeJson = (value: unknown): Uint8Array<ArrayBuffer> => encoder.encode(JSON.stringify(value))

// `cf-*` headers are for Cloudflare, the others for the server that received this request.
const notForProvider = /^(cf-.*|mf-.*|host|connection|content-length|transfer-encoding|keep-alive|upgrade|expect)$/

const providerHeaders = (headers: HeaderMap): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !notForProvider.test(name)))

const nearest = (layers: ReadonlyArray<HeaderMap>, name: string): string | undefined =>
  layers.map((layer) => layer[name]).find((value) => value !== undefined)

const shapeOf = (
  layers: ReadonlyArray<HeaderMap>,
  json: JsonHeaders
): Result.Result<StreamShape | undefined, Refusal> => {
  const source = nearest(layers, streamHeader)
  return source === undefined ? Result.succeed(undefined) : json.stream(source)
}

const faultsOf = (
  layers: ReadonlyArray<HeaderMap>,
  json: JsonHeaders
): Result.Result<Faults.Queue | undefined, Refusal> => {
  const source = nearest(layers, faultsHeader)
  return source === undefined ? Result.succeed(undefined) : Result.map(json.faults(source), Faults.makeQueue)
}

interface PlannedTarget {
  readonly provider: string
  readonly endpoint: string
  readonly model: string | undefined
  readonly body: Uint8Array<ArrayBuffer> | undefined
  readonly json: unknown
  readonly refusal?: Refusal
  readonly dynamic?: boolean
  readonly routing?: Routing
  /** Options of an element of a dynamic route, which override those of the request. */
  readonly ownOptions?: Partial<RequestOptions.ResolvedOptions>
}

const ownOptions = ({ attempts, timeout }: RouteModel): Partial<RequestOptions.ResolvedOptions> => ({
  ...(timeout !== undefined && { requestTimeout: timeout }),
  ...(attempts !== undefined && { maxAttempts: attempts, retryDelay: 0 })
})

const compatModel = (input: LegRequest, name: string, dynamic: boolean): PlannedTarget => {
  const slash = name.indexOf("/")
  const model = name.slice(slash + 1)
  const json = isRecord(input.json) ? { ...input.json, model } : input.json
  return { provider: name.slice(0, slash), endpoint: input.endpoint, model, body: encodeJson(json), json, dynamic }
}

/** Converts a name of the run catalogue to its `compat` form. */
const slugModel = (model: string): string => {
  const author = model.slice(0, model.indexOf("/"))
  return author.startsWith("@")
    ? `workers-ai/${model}`
    : `${slugOfAuthor(author) ?? author}${model.slice(author.length)}`
}

const badFormat = (input: LegRequest, refusal: Refusal): ReadonlyArray<() => PlannedTarget> => [
  () => ({
    provider: input.provider,
    endpoint: input.endpoint,
    model: undefined,
    body: input.body,
    json: input.json,
    refusal
  })
]

/** For `compat`, the model's name selects the provider; a dynamic route expands to its models in order. */
const compatTargets = (
  core: GatewayState,
  gateway: Gateway | undefined,
  input: LegRequest
): ReadonlyArray<() => PlannedTarget> => {
  const name = isRecord(input.json) ? input.json["model"] : undefined
  if (typeof name !== "string" || !/^[^/]+\/./.test(name)) {
    return badFormat(input, refuse(400, code.badModelFormat, "model: expected provider/model or dynamic/route"))
  }
  if (name === autoModel) {
    const routing = choose(
      core.settings.autoModels,
      nearest(input.layers, modelsHeader),
      nearest(input.layers, providersHeader)
    )
    return Result.isFailure(routing)
      ? badFormat(input, routing.failure)
      : [() => ({ ...compatModel(input, routing.success.model, false), routing: routing.success })]
  }
  const pool = name.startsWith("custom/") ? gateway?.aliases.get(name.slice("custom/".length)) : undefined
  if (pool !== undefined) return pool.map((model) => () => compatModel(input, slugModel(model), true))
  if (!name.startsWith("dynamic/")) return [() => compatModel(input, name, false)]
  const route = core.settings.routes.get(name.slice("dynamic/".length))
  if (route === undefined) {
    return badFormat(input, refuse(404, code.modelNotFound, `No route with the name ${JSON.stringify(name)}`))
  }
  return route(core.draw).map((model) => () => ({
    ...compatModel(input, model.name, true),
    ownOptions: ownOptions(model)
  }))
}

/** Made one after the other, because each may have its own body. */
const targets = (
  core: GatewayState,
  gateway: Gateway | undefined,
  input: LegRequest
): ReadonlyArray<() => PlannedTarget> => {
  if (input.provider === "compat") return compatTargets(core, gateway, input)
  const { body, endpoint, json, provider } = input
  return [() => ({ provider, endpoint, json, body, model: modelOf(provider, endpoint, json) })]
}

/** Converts a request to one for an answer without a stream. */
const whole = (target: PlannedTarget): PlannedTarget => {
  if (dialectOf(target.provider, target.endpoint) === "google-stream") {
    const [path = "", query = ""] = target.endpoint.split("?", 2)
    const rest = query.split("&").filter((part) => part !== "" && part !== "alt=sse")
    const endpoint = path.replace(/:streamGenerateContent$/, ":generateContent")
    return { ...target, endpoint: rest.length === 0 ? endpoint : `${endpoint}?${rest.join("&")}` }
  }
  if (!isRecord(target.json) || !wantsStream(target.json)) return target
  // Providers reject options of a stream without `stream`.
  const { stream: _, stream_options: __, ...json } = target.json
  return { ...target, json, body: encodeJson(json) }
}

/** Longest name of a model, in characters. Logs and calls keep it. */
const maxModel = 2000
/** Longest content type, in characters. Log entries contain it. */
const maxContentType = 1000

/** Plans one leg; a dynamic route becomes several. Fails when an option is invalid. */
export const plan = (
  core: GatewayState,
  gateway: Gateway | undefined,
  input: LegRequest,
  json: JsonHeaders
): Result.Result<ReadonlyArray<LegPlan>, Refusal> =>
  Result.gen(function* () {
    const settings = gateway ?? none
    const options = yield* RequestOptions.resolve(
      input.layers,
      input.streams === true ? { ...settings, bufferStreams: false } : settings,
      json
    )
    const faults = yield* faultsOf(input.layers, json)
    const stream = yield* shapeOf(input.layers, json)
    const headers = providerHeaders(input.headers)
    if (input.body !== undefined && headers["content-type"] === undefined && input.json !== undefined) {
      Object.assign(headers, jsonHeaders)
    }
    if ((headers["content-type"]?.length ?? 0) > maxContentType) {
      return yield* Result.fail(badRequest(`content-type: expected at most ${maxContentType} characters`))
    }
    const legs: Array<LegPlan> = []
    for (const make of targets(core, gateway, input)) {
      const asked = make()
      const { endpoint, model = "" } = asked
      if (!isInside(endpoint)) return yield* Result.fail(badRequest(`endpoint: expected ${insideAccepted}`))
      if (model.length > maxModel) {
        return yield* Result.fail(badRequest(`model: expected a name of at most ${maxModel} characters`))
      }
      const {
        dynamic = false,
        ownOptions,
        refusal: refused,
        routing,
        ...request
      } = options.bufferStreams ? whole(asked) : asked
      const isReachable = input.isCatalogue === true || isGatewaySlug(request.provider)
      const refusal = refused ?? (isReachable ? undefined : refuse(400, code.unknownProvider, "Invalid provider"))
      const full = json.share.take(request.body?.length ?? 0)
      if (full !== undefined) return yield* Result.fail(full)
      legs.push({
        request: { ...request, method: input.method, headers, ...(stream === undefined ? {} : { stream }) },
        options: { ...options, ...ownOptions },
        faults,
        refusal,
        dynamic: dynamic || input.isAlias === true,
        routing
      })
    }
    return legs
  })

/** Longest total of the headers that a leg sends to its provider, in characters. */
const maxHeaders = 131_072

const headerValue = (value: unknown): string | undefined => {
  if (value === null || value === undefined) return undefined
  return typeof value === "object" ? asciiJson(value) : String(value)
}

/** A value, or the invalid field (from its dot on) and its accepted values. */
type Read<A> = Result.Result<A, readonly [field: string, accepted: string]>

const headersOf = (u: unknown): Read<HeaderMap> => {
  if (u === undefined || u === null) return Result.succeed({})
  if (!isRecord(u)) return Result.fail([".headers", "an object of header values"])
  const out = new Map<string, string>()
  let size = 0
  for (const [written, value] of Object.entries(u)) {
    const text = headerValue(value)
    if (text === undefined) continue
    const name = written.toLowerCase()
    if (!isFieldName(name)) return Result.fail([".headers", "names of HTTP headers"])
    // Headers for the gateway are not forwarded, and are checked where they are read.
    if (!name.startsWith("cf-")) {
      if (!isFieldValue(text)) return Result.fail([`.headers.${name}`, fieldValueAccepted])
      size += name.length + text.length
    }
    out.set(name, text)
  }
  return size > maxHeaders
    ? Result.fail([".headers", `at most ${maxHeaders} characters`])
    : Result.succeed(Object.fromEntries(out))
}

/** Longest slug of a provider, known or unknown, in characters. */
const maxProvider = 128

/** Reads one element of a universal request. */
export const fromUniversal = (
  u: unknown,
  index: number,
  requestHeaders: HeaderMap
): Result.Result<LegRequest, Refusal> => {
  const fail = (field: string, accepted: string) => Result.fail(badRequest(`[${index}]${field}: expected ${accepted}`))
  if (!isRecord(u)) return fail("", "an object with provider, endpoint, headers and query")
  const { authorization, config, endpoint, provider, query } = u
  if (typeof provider !== "string" || provider === "" || provider.length > maxProvider) {
    return fail(".provider", `a provider slug of at most ${maxProvider} characters`)
  }
  if (typeof endpoint !== "string") return fail(".endpoint", "a path at the provider")
  const path = endpoint.replace(/^\/+/, "")
  if (!isInside(path)) return fail(".endpoint", insideAccepted)
  if (query === undefined) return fail(".query", "the provider's request body")
  if (config !== undefined && !isRecord(config)) return fail(".config", "an object")
  const own = headersOf(u["headers"])
  if (Result.isFailure(own)) return fail(...own.failure)
  if (typeof authorization === "string" && !isFieldValue(authorization)) {
    return fail(".authorization", fieldValueAccepted)
  }
  const headers = typeof authorization === "string" ? { authorization, ...own.success } : own.success
  return Result.succeed({
    provider,
    endpoint: path,
    method: "POST",
    headers,
    layers: [RequestOptions.fromConfig(config), headers, requestHeaders],
    body: encodeJson(query),
    json: query
  })
}
