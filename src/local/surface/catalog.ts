/**
 * Models by catalogue name (`@cf/author/model`, `author/model`, `dynamic/route`): their provider, their request body,
 * and the envelope of their answers.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { isRecord } from "../../internal/data/json.ts"
import type { LegPlan } from "../gateway/job.ts"
import type { JsonHeaders } from "../gateway/jsonHeaders.ts"
import { type LegRequest, plan } from "../gateway/plan.ts"
import { slugOfAuthor } from "../gateway/providers.ts"
import type { Gateway } from "../gateway/settings.ts"
import type { GatewayState } from "../gateway/state.ts"
import { isEmbeddingModel } from "../upstream/dialect.ts"
import { insideAccepted, isInside } from "../wire/endpoints.ts"
import { badRequest, bindingError, code, jsonHeaders, type Refusal, refuse } from "../wire/errors.ts"
import { memberText, withMember } from "../wire/jsonText.ts"
import {
  type HeaderMap,
  type Incoming,
  type JsonText,
  jsonTextBody,
  parseBody,
  parseBoundedJson,
  text
} from "../wire/message.ts"
import type { Answer, Disconnect } from "../wire/protocol.ts"

const encoder = new TextEncoder()

/** Whether a model is one of Workers AI, which needs no gateway. */
export const isWorkersAi = (model: string): boolean => /^@[a-z]+\//.test(model)

/** A model's input: JSON, or bytes such as those of audio. */
export type Input = JsonText | { readonly bytes: Uint8Array<ArrayBuffer> }

/** A member of a body as an input; `undefined` when it is absent. */
export const inputIn = ({ text, value }: JsonText, name: string): Input | undefined => {
  const own = isRecord(value) ? value[name] : undefined
  return own === undefined ? undefined : { value: own, text: memberText(text, name) ?? JSON.stringify(own) }
}

/** Reads `{ model, input }`. */
export const readBody = (
  incoming: Incoming
): Effect.Effect<{ readonly model: string; readonly input: Input }, Refusal | Disconnect> =>
  Effect.flatMap(jsonTextBody(incoming), (body) => {
    const model = isRecord(body.value) ? body.value["model"] : undefined
    if (typeof model !== "string") return Effect.fail(badRequest("model: expected the name of a model"))
    const input = inputIn(body, "input")
    if (input === undefined) return Effect.fail(badRequest("input: expected the model's input"))
    return Effect.succeed({ model, input })
  })

/** Reads a body that is the input: JSON, or bytes of another type. */
export const readInput = (incoming: Incoming): Effect.Effect<Input, Refusal | Disconnect> => {
  const type = incoming.headers["content-type"] ?? ""
  // Programs send JSON under any type, and audio without one.
  if (/^application\/(?:[\w.-]+\+)?json\b/i.test(type)) return jsonTextBody(incoming)
  return Effect.flatMap(incoming.body, (bytes) =>
    Effect.flatMap(parseBody(bytes), (value): Effect.Effect<Input, Refusal> => {
      if (value !== undefined) return Effect.succeed({ value, text: text(bytes) })
      return bytes === undefined || type.startsWith("text/")
        ? Effect.fail(badRequest("the request body is not JSON"))
        : Effect.succeed({ bytes })
    })
  )
}

const endpointOf = (slug: string, model: string, input: unknown): string => {
  if (slug === "anthropic") return "v1/messages"
  if (isRecord(input) && input["messages"] === undefined && input["input"] !== undefined) {
    return isEmbeddingModel(model) ? "embeddings" : "responses"
  }
  return "chat/completions"
}

/**
 * Whether a name writes Anthropic's version with dashes. The API's catalogue uses dots: `claude-haiku-4.5`, not
 * `claude-haiku-4-5`.
 */
const hasDashedVersion = (slug: string, name: string): boolean => slug === "anthropic" && /-\d{1,2}-\d/.test(name)

export const notFound = (model: string, hint = ""): Refusal =>
  refuse(404, code.modelNotFound, `Model not found: ${model}${hint}`)

/** The leg of a catalogue model. Fails with code 7003 for an unknown one. */
export const leg = (
  core: GatewayState,
  model: string,
  input: Input,
  headers: HeaderMap,
  layers: ReadonlyArray<HeaderMap>,
  endpoint?: string
): Result.Result<LegRequest, Refusal> => {
  const base = { method: "POST", headers, layers }
  const withModel = (name: string): Pick<LegRequest, "body" | "json"> => {
    if ("bytes" in input) return { body: input.bytes, json: undefined }
    const { text, value } = input
    return {
      body: encoder.encode(withMember(text, "model", JSON.stringify(name))),
      json: isRecord(value) ? { ...value, model: name } : value
    }
  }
  if (isWorkersAi(model)) {
    if (endpoint !== undefined)
      return Result.succeed({ ...base, provider: "workers-ai", endpoint, ...withModel(model) })
    // The model's name is the path.
    if (!isInside(model)) return Result.fail(badRequest(`model: expected ${insideAccepted}`))
    const plain = "bytes" in input ? undefined : input
    const body = "bytes" in input ? input.bytes : encoder.encode(input.text)
    return Result.succeed({ ...base, provider: "workers-ai", endpoint: model, body, json: plain?.value })
  }
  if (model.startsWith("dynamic/")) {
    return Result.succeed({ ...base, provider: "compat", endpoint: "chat/completions", ...withModel(model) })
  }
  const slash = model.indexOf("/")
  if ("bytes" in input) return Result.fail(badRequest("input: expected JSON; only Workers AI takes bytes"))
  const author = model.slice(0, Math.max(0, slash))
  const slug = slugOfAuthor(author)
  const name = model.slice(slash + 1)
  if (slug === undefined) {
    const isNative = core.isProvider(author)
    return Result.fail(notFound(model, isNative ? `; ${author} is reached by a gateway's own paths only` : ""))
  }
  if (name === "") return Result.fail(notFound(model))
  if (hasDashedVersion(slug, name)) {
    return Result.fail(notFound(model, "; the catalogue writes versions of Anthropic's models with dots"))
  }
  return Result.succeed({
    ...base,
    isCatalogue: true,
    provider: slug,
    endpoint: endpoint ?? endpointOf(slug, name, input.value),
    ...withModel(name)
  })
}

/** The legs of a name: one, or those of an alias of the gateway (`custom/{name}`), in order. */
export const legs = (
  core: GatewayState,
  gateway: Gateway | undefined,
  model: string,
  input: Input,
  headers: HeaderMap,
  layers: ReadonlyArray<HeaderMap>,
  endpoint?: string
): Result.Result<readonly [LegRequest, ...ReadonlyArray<LegRequest>], Refusal> => {
  const legOf = (name: string) => leg(core, name, input, headers, layers, endpoint)
  const pool = model.startsWith("custom/") ? gateway?.aliases.get(model.slice("custom/".length)) : undefined
  if (pool === undefined) return Result.map(legOf(model), (only) => [only] as const)
  return Result.flatMap(Result.all(pool.map(legOf)), ([first, ...rest]) =>
    first === undefined
      ? Result.fail(notFound(model))
      : Result.succeed([{ ...first, isAlias: true }, ...rest.map((one) => ({ ...one, isAlias: true }))] as const)
  )
}

/** The provider that answered: that of the step, or of the only leg. */
export const answering = (all: readonly [LegRequest, ...ReadonlyArray<LegRequest>], answer: Answer): string =>
  (all.length === 1 ? all[0] : (all[Number(answer.headers["cf-aig-step"])] ?? all[0])).provider

/** Plans all legs. */
export const planAll = (
  core: GatewayState,
  gateway: Gateway | undefined,
  all: ReadonlyArray<LegRequest>,
  json: JsonHeaders
): Result.Result<readonly [LegPlan, ...ReadonlyArray<LegPlan>], Refusal> =>
  Result.flatMap(Result.all(all.map((one) => plan(core, gateway, one, json))), (plans) => {
    const [first, ...rest] = plans.flat()
    return first === undefined
      ? Result.fail(badRequest("model: expected a route with models"))
      : Result.succeed([first, ...rest] as const)
  })

const isJson = (answer: Answer): boolean => (answer.headers["content-type"] ?? "").startsWith("application/json")

/** The model's own output, as it was written: Workers AI wraps it, other providers do not. */
const outputOf = (provider: string, source: string, body: unknown): string =>
  provider === "workers-ai" && isRecord(body) && body["success"] === true && "result" in body
    ? (memberText(source, "result") ?? source)
    : source

/**
 * Converts an error of Workers AI to the binding's form, `{ internalCode, name, message, description }`, which the
 * binding throws as `3040: …`. Any other answer is returned unchanged.
 */
export const asBindingError = (answer: Answer): Answer => {
  if (answer.status < 400 || !isJson(answer) || answer.body instanceof ReadableStream) return answer
  const body = parseBoundedJson(typeof answer.body === "string" ? answer.body : text(answer.body ?? undefined))
  const errors = isRecord(body) && body["success"] === false ? body["errors"] : undefined
  const first: unknown = Array.isArray(errors) ? errors[0] : undefined
  if (!isRecord(first) || typeof first["code"] !== "number" || typeof first["message"] !== "string") return answer
  return bindingError(refuse(answer.status, first["code"], first["message"], answer.headers))
}

/** Envelope of an answer: none, `{ state, result }`, the API's envelope, or both. */
export interface Wrapping {
  readonly state?: boolean
  readonly envelope?: boolean
  /** Further fields next to `state`. */
  readonly more?: Readonly<Record<string, unknown>>
}

/**
 * Wraps a successful JSON answer and keeps the text inside as it was written. Any other answer, and JSON that does not
 * parse, is returned unchanged, as is an answer without an envelope.
 */
export const wrap = (
  answer: Answer,
  provider: string,
  { envelope = false, more = {}, state = false }: Wrapping
): Answer => {
  if (answer.status < 200 || answer.status > 299 || !isJson(answer) || answer.body instanceof ReadableStream)
    return answer
  if (!state && !envelope && provider !== "workers-ai") return answer
  const source = typeof answer.body === "string" ? answer.body : text(answer.body ?? undefined)
  const body = parseBoundedJson(source)
  if (body === undefined) return answer
  const output = outputOf(provider, source, body)
  if (!state && !envelope && output === source) return answer
  const inState = state
    ? withMember(JSON.stringify({ state: "Completed", result: null, ...more }), "result", output)
    : output
  const written = envelope
    ? withMember(`{"success":true,"errors":[],"messages":[],"result":null}`, "result", inState)
    : inState
  return { status: answer.status, headers: { ...answer.headers, ...jsonHeaders }, body: written }
}

const unified = { gatewayMetadata: { keySource: "Unified" } }

/** The wrapping for a value of the `envelope` option. */
export const wrappingOf = (envelope: "bare" | "state" | "full", provider: string): Wrapping => {
  const thirdParty = provider !== "workers-ai"
  switch (envelope) {
    case "bare":
      return {}
    case "state":
      return { state: true, more: thirdParty ? unified : {} }
    case "full":
      return { envelope: true, state: thirdParty, more: thirdParty ? unified : {} }
  }
}
