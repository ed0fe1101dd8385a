/**
 * Models by catalogue name (`@cf/author/model`, `author/model`, `dynamic/route`): which provider they are, which body
 * it wants, and how the answer is wrapped.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { isRecord } from "../../internal/data/json.ts"
import { encodeJson, type LegRequest } from "../gateway/plan.ts"
import { slugOfAuthor } from "../gateway/providers.ts"
import type { GatewayState } from "../gateway/state.ts"
import { isEmbeddingModel } from "../upstream/dialect.ts"
import { insideAccepted, isInside } from "../wire/endpoints.ts"
import { badRequest, bindingError, code, json, type Refusal, refuse } from "../wire/errors.ts"
import { type HeaderMap, type Incoming, jsonBody, parseJson, text } from "../wire/message.ts"
import type { Answer, Disconnect } from "../wire/protocol.ts"

/** Whether a model is one of Workers AI, which needs no gateway. */
export const isWorkersAi = (model: string): boolean => /^@[a-z]+\//.test(model)

/** Reads `{ model, input }`. */
export const readBody = (
  incoming: Incoming
): Effect.Effect<{ readonly model: string; readonly input: unknown }, Refusal | Disconnect> =>
  Effect.flatMap(jsonBody(incoming), (body) => {
    if (!isRecord(body) || typeof body["model"] !== "string")
      return Effect.fail(badRequest("model: expected the name of a model"))
    if (body["input"] === undefined) return Effect.fail(badRequest("input: expected the model's input"))
    return Effect.succeed({ model: body["model"], input: body["input"] })
  })

const endpointOf = (slug: string, model: string, input: unknown): string => {
  if (slug === "anthropic") return "v1/messages"
  if (isRecord(input) && input["messages"] === undefined && input["input"] !== undefined) {
    return isEmbeddingModel(model) ? "embeddings" : "responses"
  }
  return "chat/completions"
}

/** The API's catalogue writes Anthropic's versions with dots: it has `claude-haiku-4.5`, and not `claude-haiku-4-5`. */
const hasDashedVersion = (slug: string, name: string): boolean => slug === "anthropic" && /-\d{1,2}-\d/.test(name)

export const notFound = (model: string, hint = ""): Refusal =>
  refuse(404, code.modelNotFound, `Model not found: ${model}${hint}`)

/** The leg of a catalogue model. Fails with code 7003 for an unknown one. */
export const leg = (
  core: GatewayState,
  model: string,
  input: unknown,
  headers: HeaderMap,
  layers: ReadonlyArray<HeaderMap>,
  endpoint?: string
): Result.Result<LegRequest, Refusal> => {
  const base = { method: "POST", headers, layers }
  const withModel = (name: string): Pick<LegRequest, "body" | "json"> => {
    const body = isRecord(input) ? { ...input, model: name } : input
    return { body: encodeJson(body), json: body }
  }
  if (isWorkersAi(model)) {
    if (endpoint !== undefined)
      return Result.succeed({ ...base, provider: "workers-ai", endpoint, ...withModel(model) })
    // The model's name is the path.
    if (!isInside(model)) return Result.fail(badRequest(`model: expected ${insideAccepted}`))
    return Result.succeed({ ...base, provider: "workers-ai", endpoint: model, body: encodeJson(input), json: input })
  }
  if (model.startsWith("dynamic/")) {
    return Result.succeed({ ...base, provider: "compat", endpoint: "chat/completions", ...withModel(model) })
  }
  const slash = model.indexOf("/")
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
    endpoint: endpoint ?? endpointOf(slug, name, input),
    ...withModel(name)
  })
}

const isJson = (answer: Answer): boolean => (answer.headers["content-type"] ?? "").startsWith("application/json")

/** The model's own output: Workers AI wraps it, other providers do not. */
export const outputOf = (provider: string, body: unknown): unknown =>
  provider === "workers-ai" && isRecord(body) && body["success"] === true && "result" in body ? body["result"] : body

/**
 * An error of Workers AI as the binding gets it, `{ internalCode, name, message, description }`, which it throws as `3040: …`. Any
 * other answer stays as it is.
 */
export const asBindingError = (answer: Answer): Answer => {
  if (answer.status < 400 || !isJson(answer) || answer.body instanceof ReadableStream) return answer
  const body = parseJson(typeof answer.body === "string" ? answer.body : text(answer.body ?? undefined))
  const errors = isRecord(body) && body["success"] === false ? body["errors"] : undefined
  const first: unknown = Array.isArray(errors) ? errors[0] : undefined
  if (!isRecord(first) || typeof first["code"] !== "number" || typeof first["message"] !== "string") return answer
  return bindingError(refuse(answer.status, first["code"], first["message"], answer.headers))
}

/** How an answer is wrapped: not at all, `{ state, result }`, the API's envelope, or both. */
export interface Wrapping {
  readonly state?: boolean
  readonly envelope?: boolean
  /** More fields beside `state`. */
  readonly more?: Readonly<Record<string, unknown>>
}

/** Wraps a successful JSON answer; any other, and JSON that does not parse, stays as it is. */
export const wrap = (
  answer: Answer,
  provider: string,
  { envelope = false, more = {}, state = false }: Wrapping
): Answer => {
  if (answer.status < 200 || answer.status > 299 || !isJson(answer) || answer.body instanceof ReadableStream)
    return answer
  const body = parseJson(typeof answer.body === "string" ? answer.body : text(answer.body ?? undefined))
  if (body === undefined) return answer
  const output = outputOf(provider, body)
  const result = state ? { state: "Completed", result: output, ...more } : output
  return json(answer.status, envelope ? { success: true, errors: [], messages: [], result } : result, answer.headers)
}

const unified = { gatewayMetadata: { keySource: "Unified" } }

/** The wrapping that a name of the `envelope` option stands for. */
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
