/**
 * Providers as data: slug, credential header, and the paths of their chat and embeddings behind the gateway; and the
 * leaves made of them. Dialects are named here and not imported, so that a bundle holds only the codecs it uses.
 *
 * Paths: https://developers.cloudflare.com/ai-gateway/usage/providers/ and the table of Cloudflare's own adapter
 * (`cloudflare/ai`, `packages/gateway-core/src/gateway-providers.ts`).
 */
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { Problem } from "../../GatewayOptions.ts"
import { type Headers, isProvider } from "../../UniversalRequest.ts"
import { defined } from "../data/defined.ts"
import {
  headerValueAccepted,
  isHeaderName,
  isHeaderValue,
  isPath,
  pathAccepted,
  providerHeaderAccepted
} from "../data/headers.ts"
import { isCredential, shownEndpoint, textOf } from "../data/secrets.ts"
import type { Json } from "../dialect/chat.ts"
import { type Dialect, isFields } from "../dialect/codec.ts"
import { dialectLeaf } from "./leaf.ts"
import type { Leaf } from "./node.ts"

/** How a provider takes its key. */
export interface Auth {
  readonly header: string
  /** Prefix of the key, with its space; empty if there is none. */
  readonly scheme: string
}

/** Path of one kind of request. `{name}` in it stands for the model or for a {@link Slot}. */
export interface Way {
  /** Id of the dialect. */
  readonly dialect: string
  readonly endpoint: string
  /** Headers of this kind of request, in addition to those of the provider. */
  readonly headers?: Readonly<Record<string, string>>
}

/** A value that becomes part of a path or header, and must not be able to escape from it. */
export interface Slot {
  readonly pattern: RegExp
  readonly accepted: string
  readonly byDefault?: (model: string) => string
}

/** One provider. */
export interface Definition {
  readonly slug: string
  readonly auth: Auth
  readonly chat?: Way
  /** The path for the chat of certain models. */
  readonly chatOf?: (model: string) => Way | undefined
  readonly embeddings?: Way
  /** Headers of every request; values may contain slots. */
  readonly headers?: Readonly<Record<string, string>>
  readonly slots?: Readonly<Record<string, Slot>>
  /** Problems of the provider itself. */
  readonly problems?: ReadonlyArray<Problem>
}

/** The kind of answer. */
export type Kind = "chat" | "embeddings"

/** Names of the options that fill slots. */
export const slotNames = ["resource", "deployment", "apiVersion", "project", "region", "version"] as const

/** Options of a target, in addition to its model. */
export interface LegOptions extends HeaderOptions {
  readonly key?: string | undefined
  readonly body?: Readonly<Record<string, Json>> | undefined
  readonly endpoint?: string | undefined
  readonly allowEmpty?: boolean | undefined
  readonly contextWindow?: number | undefined
}

interface HeaderOptions extends Partial<Readonly<Record<(typeof slotNames)[number], string | undefined>>> {
  readonly apiKey?: Redacted.Redacted<string> | undefined
  readonly headers?: Headers | undefined
}

const bearer: Auth = { header: "authorization", scheme: "Bearer " }
const xApiKey: Auth = { header: "x-api-key", scheme: "" }

const anyModel: Slot = { pattern: /^\S+(?: \S+)*$/, accepted: "the name of a model" }
// A computed value (`slot.pattern`, a template) would stay in every bundle.
const name = /^[A-Za-z0-9][A-Za-z0-9._@-]*$/
const version: Slot = { pattern: name, accepted: "a date such as 2023-06-01", byDefault: () => "2023-06-01" }
const pathModel: Slot = { pattern: name, accepted: "the name of a model: letters, digits and `.`, `_`, `-`, `@`" }
const awsRegion: Slot = { pattern: /^[a-z]+(?:-[a-z]+)+-\d+$/, accepted: "an AWS region such as us-east-1" }

const openAiChat: Way = { dialect: "openai-compatible", endpoint: "chat/completions" }
const openAiChatV1: Way = { dialect: "openai-compatible", endpoint: "v1/chat/completions" }
const openAiEmbeddings: Way = { dialect: "openai-embeddings", endpoint: "embeddings" }
const openAiEmbeddingsV1: Way = { dialect: "openai-embeddings", endpoint: "v1/embeddings" }

export const openai: Definition = {
  slug: "openai",
  auth: bearer,
  chat: { dialect: "openai", endpoint: "chat/completions" },
  embeddings: openAiEmbeddings
}

export const anthropic: Definition = {
  slug: "anthropic",
  auth: xApiKey,
  chat: { dialect: "anthropic", endpoint: "v1/messages" },
  headers: { "anthropic-version": "{version}" },
  slots: { version }
}

export const googleAiStudio: Definition = {
  slug: "google-ai-studio",
  auth: { header: "x-goog-api-key", scheme: "" },
  chat: { dialect: "google", endpoint: "v1beta/models/{model}:generateContent" },
  slots: { model: pathModel }
}

export const googleVertexAi: Definition = {
  slug: "google-vertex-ai",
  auth: bearer,
  chat: {
    dialect: "google-vertex",
    endpoint: "v1/projects/{project}/locations/{region}/publishers/google/models/{model}:generateContent"
  },
  slots: {
    model: pathModel,
    // An old project id looks like `example.com:name`.
    project: { pattern: /^[a-z0-9][a-z0-9.:-]*$/, accepted: "a project id such as my-project-123" },
    region: { pattern: /^[a-z][a-z0-9-]*$/, accepted: "a Google Cloud region such as us-central1" }
  }
}

// Native `run`, and not `v1/chat/completions`: every text model has it, the binding supports it, and its dialect also
// reads the OpenAI-shaped answers of newer models.
export const workersAi: Definition = {
  slug: "workers-ai",
  auth: bearer,
  chat: { dialect: "workers-ai", endpoint: "{model}" },
  embeddings: { dialect: "workers-ai-embeddings", endpoint: "{model}" },
  slots: {
    model: {
      pattern: /^@[A-Za-z0-9]+(?:\/[A-Za-z0-9][A-Za-z0-9._-]*)+$/,
      accepted: "a Workers AI model such as @cf/meta/llama-3.1-8b-instruct"
    }
  }
}

export const azureOpenai: Definition = {
  slug: "azure-openai",
  auth: { header: "api-key", scheme: "" },
  chat: { dialect: "openai", endpoint: "{resource}/{deployment}/chat/completions?api-version={apiVersion}" },
  embeddings: {
    dialect: "openai-embeddings",
    endpoint: "{resource}/{deployment}/embeddings?api-version={apiVersion}"
  },
  slots: {
    resource: {
      pattern: /^[A-Za-z0-9][A-Za-z0-9-]*$/,
      accepted: "the name of an Azure resource: letters, digits, hyphens"
    },
    deployment: {
      pattern: name,
      accepted: "the name of a deployment (by default the model): letters, digits and `.`, `_`, `-`, `@`",
      byDefault: (model) => model
    },
    apiVersion: { pattern: name, accepted: "an API version such as 2024-10-21" }
  }
}

// Not `bedrock-runtime/…/invoke`: mantle takes the same body as Anthropic, and accepts bearer keys as well as stored
// ones.
export const awsBedrock: Definition = {
  slug: "aws-bedrock",
  auth: bearer,
  chat: {
    dialect: "anthropic",
    endpoint: "bedrock-mantle/{region}/anthropic/v1/messages",
    headers: { "anthropic-version": "{version}" }
  },
  slots: { region: awsRegion, version }
}

export const grok: Definition = { slug: "grok", auth: bearer, chat: openAiChatV1 }
export const groq: Definition = { slug: "groq", auth: bearer, chat: openAiChat }
export const deepseek: Definition = { slug: "deepseek", auth: bearer, chat: openAiChat }
export const mistral: Definition = {
  slug: "mistral",
  auth: bearer,
  chat: openAiChatV1,
  embeddings: openAiEmbeddingsV1
}
export const cerebras: Definition = { slug: "cerebras", auth: bearer, chat: openAiChat }
export const openrouter: Definition = {
  slug: "openrouter",
  auth: bearer,
  chat: openAiChatV1,
  embeddings: openAiEmbeddingsV1
}
export const perplexityAi: Definition = { slug: "perplexity-ai", auth: bearer, chat: openAiChat }
export const baseten: Definition = { slug: "baseten", auth: bearer, chat: openAiChatV1 }
export const fireworks: Definition = {
  slug: "fireworks",
  auth: bearer,
  chat: openAiChat,
  embeddings: openAiEmbeddings
}

export const cohere: Definition = { slug: "cohere", auth: bearer }
export const huggingface: Definition = { slug: "huggingface", auth: bearer }
export const replicate: Definition = { slug: "replicate", auth: bearer }
export const fal: Definition = { slug: "fal", auth: { header: "authorization", scheme: "Key " } }
export const ideogram: Definition = { slug: "ideogram", auth: { header: "api-key", scheme: "" } }
export const parallel: Definition = { slug: "parallel", auth: xApiKey }
export const cartesia: Definition = { slug: "cartesia", auth: xApiKey }
export const deepgram: Definition = { slug: "deepgram", auth: { header: "authorization", scheme: "Token " } }
export const elevenlabs: Definition = { slug: "elevenlabs", auth: { header: "xi-api-key", scheme: "" } }
export const adobeFirefly: Definition = { slug: "adobe-firefly", auth: bearer }

export const compat: Definition = {
  slug: "compat",
  auth: bearer,
  chat: openAiChat,
  // OpenAI's own models need OpenAI's own dialect: their reasoning models reject `max_tokens`, which the others expect.
  chatOf: (model) =>
    typeof model === "string" && model.startsWith("openai/")
      ? { dialect: "openai", endpoint: "chat/completions" }
      : undefined,
  // The first part names the provider, or is `dynamic`; the rest may contain slashes.
  slots: {
    model: {
      pattern: /^[a-z0-9-]+\/[^\s/]\S*$/,
      accepted: "provider/model or dynamic/route, for example openai/gpt-4.1-mini"
    }
  }
}

/** Makes the definition of a custom provider. */
export const custom = (
  slug: string,
  auth: { readonly header: string; readonly scheme?: string | undefined } = { header: bearer.header, scheme: "Bearer" }
): Definition => {
  const scheme = auth.scheme ?? ""
  return {
    slug: `custom-${slug}`,
    auth: { header: auth.header, scheme: scheme === "" ? "" : `${scheme} ` },
    chat: openAiChatV1,
    embeddings: openAiEmbeddingsV1,
    problems: [
      ...(isProvider(slug) && isProvider(`custom-${slug}`)
        ? []
        : [{ field: "slug", accepted: "a slug: up to 57 lower-case letters, digits and inner hyphens" }]),
      ...(isHeaderName(auth.header) && !isGatewayHeader(auth.header)
        ? []
        : [{ field: "auth.header", accepted: "the name of a provider's header in lower case" }]),
      ...(/^[\x21-\x7e]*$/.test(scheme) ? [] : [{ field: "auth.scheme", accepted: "a word, or nothing" }])
    ]
  }
}

/** Finds the definition of a slug, for reading: it refers to all definitions. */
export const definitionOf = (slug: string): Definition | undefined =>
  slug.startsWith("custom-")
    ? custom(slug.slice("custom-".length))
    : [
        adobeFirefly,
        anthropic,
        awsBedrock,
        azureOpenai,
        baseten,
        cartesia,
        cerebras,
        cohere,
        compat,
        deepgram,
        deepseek,
        elevenlabs,
        fal,
        fireworks,
        googleAiStudio,
        googleVertexAi,
        grok,
        groq,
        huggingface,
        ideogram,
        mistral,
        openai,
        openrouter,
        parallel,
        perplexityAi,
        replicate,
        workersAi
      ].find((definition) => definition.slug === slug)

/** Returns the path for a model. */
export const wayOf = (definition: Definition, kind: Kind, model: string): Way | undefined =>
  (kind === "chat" ? definition.chatOf?.(model) : undefined) ?? definition[kind]

const isGatewayHeader = (header: string): boolean => header.startsWith("cf-aig-")

const isText = (value: unknown): value is string => typeof value === "string" && value !== ""

/** Lists the problems of a path that replaces a provider's own. */
export const endpointProblems = (endpoint: string): ReadonlyArray<Problem> => {
  // The same rule as in `UniversalRequest.make`, applied earlier.
  if (!isPath(endpoint)) return [{ field: "endpoint", accepted: pathAccepted }]
  return shownEndpoint(endpoint) !== endpoint
    ? [{ field: "endpoint", accepted: "a path without a credential: keys go into `apiKey` or `headers`" }]
    : []
}

/** Fills the slots of the templates, or reports values that a slot does not accept. */
const fill = (definition: Definition, model: string, options: HeaderOptions, templates: ReadonlyArray<string>) => {
  const problems: Array<Problem> = []
  const values = new Map<string, string>()
  const textOf = (slot: string): string => {
    const known = values.get(slot)
    if (known !== undefined) return known
    const { accepted, byDefault, pattern } = definition.slots?.[slot] ?? anyModel
    // A slot has the name of the option that fills it.
    const given: unknown = slot === "model" ? model : Reflect.get(options, slot)
    const value = given ?? byDefault?.(model)
    const fits = typeof value === "string" && pattern.test(value)
    if (!fits) problems.push({ field: slot, accepted })
    values.set(slot, fits ? value : "")
    return fits ? value : ""
  }
  const texts = templates.map((template) => template.replace(/\{(\w+)\}/g, (_, slot: string) => textOf(slot)))
  return { problems, texts }
}

/** Returns the plain headers and credentials of a target, and their problems. */
export const headersOf = (
  definition: Definition,
  options: HeaderOptions,
  way?: Way
): { readonly headers: Headers; readonly problems: ReadonlyArray<Problem> } => {
  const problems: Array<Problem> = []
  const { auth } = definition
  const templates = { ...definition.headers, ...way?.headers }
  const own = Object.entries(templates).filter(([header]) => options.headers?.[header] === undefined)
  const filled = fill(
    definition,
    "",
    options,
    own.map(([, template]) => template)
  )
  problems.push(...filled.problems)
  const headers: Record<string, string | Redacted.Redacted<string>> = {}
  own.forEach(([header], i) => {
    headers[header] = filled.texts[i] ?? ""
  })
  if (options.headers !== undefined && !isFields(options.headers)) {
    problems.push({ field: "headers", accepted: "an object of header values" })
  } else {
    for (const [header, value] of Object.entries(options.headers ?? {})) {
      const problem = headerProblem(header, value, definition === compat && routing.test(header))
      if (problem !== undefined) problems.push(problem)
      else if (header === auth.header && options.apiKey !== undefined) {
        problems.push({ field: `headers.${header}`, accepted: "nothing beside apiKey" })
      } else headers[header] = value
    }
  }
  if (options.apiKey !== undefined) {
    const { apiKey } = options
    const key = Redacted.isRedacted(apiKey) ? Redacted.value(apiKey) : undefined
    if (typeof key !== "string" || !/^[\x21-\x7e]+$/.test(key)) {
      problems.push({
        field: "apiKey",
        accepted: `a Redacted key alone${auth.scheme === "" ? "" : ` (without \`${auth.scheme.trim()}\`)`}: printable ASCII without spaces`
      })
    } else headers[auth.header] = Redacted.make(auth.scheme + key, { label: apiKey.label })
  }
  return { headers, problems }
}

/** Headers that `cloudflare/auto` chooses by. No option of the gateway sets them. */
const routing = /^cf-aig-(?:allowed-(?:models|providers)|no-session-affinity)$/

const headerProblem = (
  header: string,
  value: string | Redacted.Redacted<string>,
  isRouting: boolean
): Problem | undefined => {
  const field = `headers.${header}`
  if (!isHeaderName(header)) return { field, accepted: "lower-case header names" }
  if (isGatewayHeader(header) && !isRouting) return { field, accepted: providerHeaderAccepted }
  if (!Redacted.isRedacted(value) && isCredential(header)) return { field, accepted: "a Redacted credential" }
  return isHeaderValue(textOf(value)) ? undefined : { field, accepted: headerValueAccepted }
}

/** Returns the defaults of a target, which a stored route need not repeat. */
export const defaultsOf = (
  definition: Definition,
  kind: Kind,
  model: string
): { readonly dialect?: string; readonly endpoint?: string; readonly headers: Headers } => {
  const way = wayOf(definition, kind, model)
  const path = fill(definition, model, {}, [way?.endpoint ?? ""])
  return {
    headers: headersOf(definition, {}, way).headers,
    ...defined({ dialect: way?.dialect, endpoint: path.problems.length === 0 ? way && path.texts[0] : undefined })
  }
}

/** Makes the leaf of a model, or lists everything that is wrong. */
export const makeLeaf = <In, Out>(
  definition: Definition,
  kind: Kind,
  dialect: Dialect<In, Out>,
  model: string,
  options: LegOptions
): Result.Result<Leaf<In, Out>, ReadonlyArray<Problem>> => {
  const problems: Array<Problem> = [...(definition.problems ?? [])]
  const { allowEmpty, body, contextWindow, endpoint, key } = options
  const slot = definition.slots?.["model"] ?? anyModel
  if (!(typeof model === "string" && slot.pattern.test(model)))
    problems.push({ field: "model", accepted: slot.accepted })
  const way = wayOf(definition, kind, model)
  const path = fill(definition, model, options, [way?.endpoint ?? ""])
  if (endpoint === undefined) problems.push(...path.problems.filter(({ field }) => field !== "model"))
  else problems.push(...endpointProblems(endpoint))
  if (key !== undefined && !isText(key)) problems.push({ field: "key", accepted: "a name that is not empty" })
  if (body !== undefined && !isFields(body)) problems.push({ field: "body", accepted: "an object of JSON values" })
  if (typeof (allowEmpty ?? true) !== "boolean") problems.push({ field: "allowEmpty", accepted: "true or false" })
  if (contextWindow !== undefined && !(Number.isSafeInteger(contextWindow) && contextWindow > 0)) {
    problems.push({ field: "contextWindow", accepted: "a whole number from 1" })
  }
  const { headers, problems: wrong } = headersOf(definition, options, way)
  problems.push(...wrong)
  if (problems.length > 0) return Result.fail(problems)
  const plain: Record<string, string> = {}
  const credentials: Array<string> = []
  for (const [header, value] of Object.entries(headers)) {
    if (Redacted.isRedacted(value)) credentials.push(header)
    else plain[header] = value
  }
  const spec = {
    kind,
    dialect: dialect.id,
    provider: definition.slug,
    model,
    endpoint: endpoint ?? path.texts[0] ?? "",
    ...defined({
      key,
      headers: Object.keys(plain).length === 0 ? undefined : plain,
      credentials: credentials.length === 0 ? undefined : credentials,
      body: body === undefined ? undefined : { ...body },
      allowEmpty,
      contextWindow
    })
  }
  return Result.succeed(dialectLeaf(spec, dialect, headers))
}
