/**
 * The interface that a transport implements for `env.AI`, and the checks before every transport.
 */
import * as Effect from "effect/Effect"
import { type GatewayError, invalid } from "../../GatewayError.ts"
import * as GatewayOptions from "../../GatewayOptions.ts"
import type { GatewayResponse } from "../../GatewayResponse.ts"
import type { Headers } from "../../UniversalRequest.ts"
import { headerValueAccepted, isHeaderName, isHeaderValue } from "../data/headers.ts"
import { textOf } from "../data/secrets.ts"
import { type Backend, checkId } from "../gateway/backend.ts"

/** The place where a model runs: on Workers AI, at a third party, or where a dynamic route decides. */
export interface AiTarget {
  readonly kind: "workers-ai" | "third-party" | "dynamic"
  /** Name for records and errors: `workers-ai`, the catalog's author, or `compat`, which serves dynamic routes. */
  readonly provider: string
  /** Name for records and errors, without the author of a third party. */
  readonly model: string
}

/** One checked run. */
export interface AiRequest {
  /** The name in the caller's form. */
  readonly model: string
  readonly target: AiTarget
  readonly input: Readonly<Record<string, unknown>>
  readonly gateway: string | undefined
  readonly options: GatewayOptions.GatewayOptions
  readonly tags: ReadonlyArray<string> | undefined
  readonly headers: Headers
  readonly queueRequest: boolean
  readonly rejectIfBusy: boolean
  readonly prefix: string | undefined
}

/** `env.AI` behind one transport. Inputs have been validated; models are returned as the wire has them. */
export interface AiBackend {
  readonly run: (request: AiRequest, method: string) => Effect.Effect<GatewayResponse, GatewayError>
  readonly models: (query: Readonly<Record<string, string | number | boolean>>) => Effect.Effect<unknown, GatewayError>
  /** `id` has been validated. */
  readonly gateway: (id: string) => Backend
  /** Resumes a streamed run from an event on; absent if the transport cannot. */
  readonly resume?: (run: StreamedRun, from: number, method: string) => Effect.Effect<GatewayResponse, GatewayError>
}

/** A streamed run that can be resumed. Ids have been validated. */
export interface StreamedRun {
  readonly gateway: string
  readonly runId: string
}

/** Whether a string is a run id of the service; it becomes part of a URL. */
export const isRunId = (id: string): boolean => /^[A-Za-z0-9_-]{1,128}$/.test(id)

/** The gateway that Cloudflare uses for a third-party model if none is named. */
export const defaultGateway = "default"

/** Settings that {@link prepare} reads in addition to the gateway options. */
export interface RunSettings {
  readonly gateway?: string | undefined
  readonly tags?: ReadonlyArray<string> | undefined
  readonly headers?: Headers | undefined
  readonly record?: boolean | undefined
  readonly queueRequest?: boolean | undefined
  readonly rejectIfBusy?: boolean | undefined
  readonly prefix?: string | undefined
  readonly sessionAffinity?: string | undefined
}

const maxTags = 5
const maxModel = 200
// Every part starts with a letter or digit, so that no part can be `..` and the name fits into a URL and a header.
const part = "[A-Za-z0-9][A-Za-z0-9._:+-]*"
const workersAi = new RegExp(`^@[a-z]+/${part}/${part}$`)
const thirdParty = new RegExp(`^(${part})/(${part}(?:/${part})*)$`)
const dynamic = /^dynamic\/[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

/** Reads the name of a model; `undefined` if it has none of the three forms. */
export const targetOf = (model: string): AiTarget | undefined => {
  if (typeof model !== "string" || model.length > maxModel) return undefined
  if (workersAi.test(model)) return { kind: "workers-ai", provider: "workers-ai", model }
  // Before the third parties, because `dynamic` is not an author.
  if (model.startsWith("dynamic/")) {
    return dynamic.test(model) ? { kind: "dynamic", provider: "compat", model } : undefined
  }
  const [, author, name] = thirdParty.exec(model) ?? []
  return author === undefined || name === undefined ? undefined : { kind: "third-party", provider: author, model: name }
}

/** Headers that only the transports write. */
const reserved = new Set([
  "authorization",
  "cf-aig-authorization",
  "cf-aig-gateway-id",
  "cf-consn-model-id",
  "cf-consn-sdk-version",
  "connection",
  "content-length",
  "content-type",
  "host",
  "transfer-encoding"
])

type Problem = readonly [field: string, accepted: string]

const headersProblem = (headers: Headers): Problem | undefined => {
  for (const [name, value] of Object.entries(headers)) {
    if (!isHeaderName(name)) return ["headers", "lower-case header names"]
    if (reserved.has(name)) return [`headers.${name}`, "a header that this service does not write itself"]
    if (!isHeaderValue(textOf(value))) {
      return [`headers.${name}`, headerValueAccepted]
    }
  }
  return undefined
}

const tagsProblem = (tags: ReadonlyArray<string>): Problem | undefined => {
  if (tags.length > maxTags) return ["tags", `at most ${maxTags} tags (got ${tags.length})`]
  const index = tags.findIndex((tag) => !/^[A-Za-z0-9:./@-]{1,50}$/.test(tag))
  return index < 0 ? undefined : [`tags[${index}]`, "1 to 50 letters, digits and `: - . / @`"]
}

/** Reports options that only Workers AI supports; other models would ignore them. */
const nativeProblem = (settings: RunSettings, { kind }: AiTarget): Problem | undefined => {
  const { headers, prefix, sessionAffinity } = settings
  for (const name of ["queueRequest", "rejectIfBusy", "prefix", "sessionAffinity"] as const) {
    const value = settings[name]
    if (value !== undefined && value !== false && kind !== "workers-ai") {
      return [name, "nothing: only models of Workers AI (`@cf/…`) take it"]
    }
  }
  for (const name of ["queueRequest", "rejectIfBusy"] as const) {
    if (typeof (settings[name] ?? false) !== "boolean") return [name, "true or false"]
  }
  if (prefix !== undefined && !/^[A-Za-z0-9._-]{1,64}$/.test(prefix)) {
    return ["prefix", "1 to 64 letters, digits, `.`, `_` and `-`"]
  }
  if (sessionAffinity === undefined) return undefined
  if (headers?.[affinity] !== undefined) return ["sessionAffinity", `nothing beside headers.${affinity}`]
  return isHeaderValue(sessionAffinity) && sessionAffinity.length <= 256
    ? undefined
    : ["sessionAffinity", `${headerValueAccepted}, at most 256 characters`]
}

/** Routes the requests of a session to where their prompt is cached. */
const affinity = "x-session-affinity"

/**
 * Whether a value is an object whose fields are its JSON: an instance of a class may be one, an array, a date or a map
 * is not.
 */
export const isPlain = (input: unknown): input is Record<string, unknown> =>
  Object.prototype.toString.call(input) === "[object Object]" &&
  typeof Reflect.get(Object(input), "toJSON") !== "function"

const isBytes = (value: unknown): boolean =>
  value instanceof ArrayBuffer || ArrayBuffer.isView(value) || value instanceof Blob

/** Whether the binding would send a value as a stream; JSON would turn it into `{}`. */
export const isStream = (value: unknown): boolean =>
  value instanceof ReadableStream ||
  value instanceof FormData ||
  (typeof value === "object" && value !== null && "body" in value && isStream(value.body))

/** The first key of an input whose value is a stream. */
export const streamKey = (input: Readonly<Record<string, unknown>>): string | undefined =>
  Object.keys(input).find((key) => isStream(input[key]))

const inputProblem = (input: unknown): Problem | undefined => {
  if (!isPlain(input)) return ["input", "a plain object"]
  const bytes = Object.keys(input).find((key) => isBytes(input[key]))
  return bytes === undefined ? undefined : [`input.${bytes}`, "a JSON value, such as an array of the bytes"]
}

/**
 * Checks one run; fails with `InvalidRequest` and the name of the field. The result shares nothing with the caller's
 * objects.
 */
export const prepare = (
  method: string,
  model: string,
  input: object,
  settings: RunSettings & GatewayOptions.Input
): Effect.Effect<AiRequest, GatewayError> => {
  const fail = (field: string, accepted: string) => Effect.fail(invalid(method, field, accepted))
  const { gateway, headers = {}, record: _, tags, ...others } = settings
  const { prefix, queueRequest = false, rejectIfBusy = false, sessionAffinity, ...own } = others
  const target = targetOf(model)
  if (target === undefined) {
    return fail("model", "`@cf/author/model`, `author/model` or `dynamic/route`, up to 200 characters")
  }
  // The binding's own name for it.
  if ("extraHeaders" in own) return fail("extraHeaders", "nothing: further headers of the request belong to `headers`")
  const problem =
    inputProblem(input) ??
    headersProblem(headers) ??
    (tags === undefined ? undefined : tagsProblem(tags)) ??
    nativeProblem(settings, target)
  if (problem !== undefined) return fail(...problem)
  const [wrong] = GatewayOptions.problems(own)
  if (wrong !== undefined) return fail(wrong.field, wrong.accepted)
  const options = GatewayOptions.normalize(own)
  if (gateway === undefined) {
    if (target.kind === "dynamic") return fail("gateway", "the id of the gateway that has the dynamic route")
    const [lost] = Object.keys(options)
    // Without a gateway these options have no effect.
    if (lost !== undefined) return fail("gateway", `the id of a gateway, because \`${lost}\` is an option of a gateway`)
  }
  return Effect.map(gateway === undefined ? Effect.void : checkId(method, "gateway", gateway), () => ({
    model,
    target,
    input: { ...input },
    gateway,
    options,
    tags: tags === undefined || tags.length === 0 ? undefined : [...tags],
    headers: { ...headers, ...(sessionAffinity !== undefined && { [affinity]: sessionAffinity }) },
    queueRequest,
    rejectIfBusy,
    prefix
  }))
}
