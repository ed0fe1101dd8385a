/**
 * Constructors of routes, one value per provider: `Provider.openai.chat("gpt-4.1-mini")` is a `Route` of one target.
 *
 * | value | slug | credential header | `chat` | `embeddings` |
 * | --- | --- | --- | --- | --- |
 * | `openai` | `openai` | `authorization: Bearer` | `chat/completions`; `responses`: `responses` | `embeddings` |
 * | `anthropic` | `anthropic` | `x-api-key` | `v1/messages` (also `messages`) | |
 * | `googleAiStudio` | `google-ai-studio` | `x-goog-api-key` | `v1beta/models/{model}:generateContent` | |
 * | `googleVertexAi` | `google-vertex-ai` | `authorization: Bearer` | `v1/projects/{project}/locations/{region}/…:generateContent` | |
 * | `workersAi` | `workers-ai` | `authorization: Bearer` | `{model}` | `{model}` |
 * | `azureOpenai` | `azure-openai` | `api-key` | `{resource}/{deployment}/chat/completions?api-version=…` | `…/embeddings?api-version=…` |
 * | `awsBedrock` | `aws-bedrock` | `authorization: Bearer` | `bedrock-mantle/{region}/anthropic/v1/messages` (also `messages`) | |
 * | `grok` | `grok` | `authorization: Bearer` | `v1/chat/completions` | |
 * | `groq` | `groq` | `authorization: Bearer` | `chat/completions` | |
 * | `deepseek` | `deepseek` | `authorization: Bearer` | `chat/completions` | |
 * | `mistral` | `mistral` | `authorization: Bearer` | `v1/chat/completions` | `v1/embeddings` |
 * | `cerebras` | `cerebras` | `authorization: Bearer` | `chat/completions` | |
 * | `openrouter` | `openrouter` | `authorization: Bearer` | `v1/chat/completions` | `v1/embeddings` |
 * | `perplexityAi` | `perplexity-ai` | `authorization: Bearer` | `chat/completions` | |
 * | `baseten` | `baseten` | `authorization: Bearer` | `v1/chat/completions` | |
 * | `fireworks` | `fireworks` | `authorization: Bearer` | `chat/completions` | `embeddings` |
 * | `cohere` | `cohere` | `authorization: Bearer` | (through `compat`) | |
 * | `huggingface` | `huggingface` | `authorization: Bearer` | | |
 * | `replicate` | `replicate` | `authorization: Bearer` | | |
 * | `fal` | `fal` | `authorization: Key` | | |
 * | `ideogram` | `ideogram` | `api-key` | | |
 * | `parallel` | `parallel` | `x-api-key` | (through `compat`) | |
 * | `cartesia` | `cartesia` | `x-api-key` | | |
 * | `deepgram` | `deepgram` | `authorization: Token` | | |
 * | `elevenlabs` | `elevenlabs` | `xi-api-key` | | |
 * | `adobeFirefly` | `adobe-firefly` | `authorization: Bearer` | | |
 * | `compat`, `dynamic`, `auto`, `alias` | `compat` | `authorization: Bearer` | `chat/completions` | |
 * | `custom("x")` | `custom-x` | `authorization: Bearer` (option) | `v1/chat/completions` (option) | `v1/embeddings` (option) |
 *
 * Use {@link request} for anything else that a provider offers. Without `apiKey` no credential header is sent: the
 * gateway then uses a stored key, or Unified Billing (`Route.options({ noWholesale: true })` forbids the latter).
 *
 * Nothing throws. An invalid argument (an empty model, a missing region, a key with a space in it) makes a route whose
 * `Route.problems` name it as `{slug}.{field}`; running it fails with `InvalidRequest` before anything is sent. Every
 * part of a path is checked, so that no model name can lead to another path. Paths are those of
 * https://developers.cloudflare.com/ai-gateway/usage/providers/.
 */
import type * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type * as Chat from "./Chat.ts"
import type { Problem } from "./GatewayOptions.ts"
import { anthropic as anthropicDialect } from "./internal/dialect/anthropic.ts"
import { sameReply } from "./internal/dialect/codec.ts"
import { openaiEmbeddings, workersAiEmbeddings } from "./internal/dialect/embeddings.ts"
import { google as googleDialect, googleVertex as googleVertexDialect } from "./internal/dialect/google.ts"
import { openaiCompatible, openai as openaiDialect } from "./internal/dialect/openai.ts"
import { openaiResponses } from "./internal/dialect/responses.ts"
import { workersAi as workersAiDialect } from "./internal/dialect/workersAi.ts"
import * as Providers from "./internal/route/providers.ts"
import * as Route from "./Route.ts"
import type { Headers } from "./UniversalRequest.ts"

export type { Definition } from "./internal/route/providers.ts"

/**
 * A route that answers chat requests.
 *
 * @category models
 */
export type ChatRoute = Route.Route<Chat.Input, Chat.Reply>
/**
 * A route that produces embeddings.
 *
 * @category models
 */
export type EmbeddingRoute = Route.Route<Chat.EmbeddingInput, Chat.Embeddings>

/**
 * Options of every target.
 *
 * @category models
 */
export interface Options {
  /**
   * The provider's key alone; it is written as the provider's credential header. A label
   * (`Redacted.make(key, { label })`) becomes part of the target's key, so that two API keys are two
   * targets. Default: the gateway's stored key, or Unified Billing.
   */
  readonly apiKey?: Redacted.Redacted<string> | undefined
  /** Key of the target, unique within a route. Default: provider, model, key alias and labels. */
  readonly key?: string | undefined
  /** Further headers for the provider: lower-case names, credentials as `Redacted`, no gateway headers (`cf-aig-…`). */
  readonly headers?: Headers | undefined
  /** Fields of every request body; fields of the request itself win. */
  readonly body?: Readonly<Record<string, Chat.Json>> | undefined
  /** Path at the provider instead of the usual one, without a leading slash. */
  readonly endpoint?: string | undefined
}

/**
 * Options of `chat`.
 *
 * @category models
 */
export interface ChatOptions extends Options {
  /**
   * The codec to use instead of the provider's usual one, for example `Chat.anthropicJsonTool`. Stored routes refer to
   * it by its `id`.
   */
  readonly dialect?: Chat.Dialect<Chat.Input, Chat.Reply> | undefined
  /**
   * Whether an empty answer is accepted: one with no text, no tool call and no other output that ended neither at its
   * `maxTokens` nor in a filter. Default `false`: an empty answer is an `InvalidResponse`, and the next target is
   * tried.
   */
  readonly allowEmpty?: boolean | undefined
  /**
   * Tokens that the model accepts in one request, input and output together: a whole number from 1. A target is skipped
   * with `Unsupported`, before anything is sent, when the conversation certainly does not fit. The estimate is low
   * (five bytes of text per token), so that a conversation that may fit is sent. Default: no check.
   */
  readonly contextWindow?: number | undefined
}

/**
 * Options of {@link anthropic}.
 *
 * @category models
 */
export interface AnthropicOptions extends ChatOptions {
  /** Header `anthropic-version`. Default `2023-06-01`. */
  readonly version?: string | undefined
}

/**
 * Location of an Azure OpenAI deployment.
 *
 * @category models
 */
export interface AzurePlace {
  /** Name of the resource, the first part of its host. */
  readonly resource: string
  /** Version of the API, for example `2024-10-21`. */
  readonly apiVersion: string
  /** Name of the deployment. Default: the model. */
  readonly deployment?: string | undefined
}

/**
 * Location of a Vertex AI model.
 *
 * @category models
 */
export interface VertexPlace {
  readonly project: string
  /** For example `us-central1`; Cloudflare advises against `global`. */
  readonly region: string
}

/**
 * Location of a Bedrock model.
 *
 * @category models
 */
export interface BedrockPlace {
  /** For example `us-east-1`. */
  readonly region: string
}

/**
 * Options of {@link request}: those of `Route.make` without the provider.
 *
 * @category models
 */
export interface RequestOptions<In, Body, Out> {
  /** Path at the provider without a leading slash, or a function of the input. */
  readonly endpoint: string | ((input: In) => string)
  /** The provider's request body. */
  readonly query: (input: In) => Body
  /** Decodes the answer. */
  readonly success: Schema.ConstraintDecoder<Out>
  /** Name of the model, for records and diagrams. */
  readonly model?: string | undefined
  /** How the body is read before `success` decodes it. Default `"json"`. */
  readonly accept?: "json" | "text" | "bytes" | undefined
  /** As in {@link Options}. */
  readonly apiKey?: Redacted.Redacted<string> | undefined
  /** As in {@link Options}. */
  readonly headers?: Headers | undefined
  /** As in {@link Options}. */
  readonly key?: string | undefined
}

/**
 * Properties of all providers; {@link request} needs no others.
 *
 * @category models
 */
export interface Provider {
  /** Name of the provider in URLs, legs and logs. */
  readonly slug: string
  /** Credential header, own headers and paths, as data. */
  readonly definition: Providers.Definition
}

/**
 * A provider with chat.
 *
 * @category models
 */
export interface WithChat {
  /** Makes a chat target for a model: `Provider.openai.chat("gpt-4.1-mini")`. */
  readonly chat: (model: string, options?: ChatOptions) => ChatRoute
}

/**
 * A provider with embeddings.
 *
 * @category models
 */
export interface WithEmbeddings {
  /** Makes an embeddings target for a model: `Provider.openai.embeddings("text-embedding-3-small")`. */
  readonly embeddings: (model: string, options?: Options) => EmbeddingRoute
}

/**
 * A provider of OpenAI's Responses API.
 *
 * @category models
 */
export interface WithResponses {
  /**
   * Makes a chat target over the Responses API, without stored state. Use it for models that chat completions do not
   * serve, for reasoning that OpenAI encrypts and takes back, and for OpenAI's own tools (`serverTools` with the origin
   * `openai`).
   */
  readonly responses: (model: string, options?: ChatOptions) => ChatRoute
}

/**
 * A provider of Anthropic's Messages API; `chat` is the same function under the name that all providers share.
 *
 * @category models
 */
export interface WithMessages {
  /** Makes a chat target for a model: `Provider.anthropic.messages("claude-haiku-4-5")`. */
  readonly messages: (model: string, options?: AnthropicOptions) => ChatRoute
  /** Makes a chat target for a model; the same function as `messages`. */
  readonly chat: (model: string, options?: AnthropicOptions) => ChatRoute
}

const invalid = <In, Out>(slug: string, problems: ReadonlyArray<Problem>): Route.Route<In, Out> =>
  Route.fromNode(
    problems.reduceRight<Route.Node<In, Out> | undefined>(
      (route, { accepted, field }) => ({ _tag: "Invalid", problem: { field: `${slug}.${field}`, accepted }, route }),
      undefined
    ) ?? { _tag: "Fallback", routes: [] }
  )

const target = <In, Out>(
  definition: Providers.Definition,
  kind: Providers.Kind,
  dialect: Chat.Dialect<In, Out>,
  model: string,
  options: Providers.LegOptions = {}
): Route.Route<In, Out> => {
  const made = Providers.makeLeaf(definition, kind, dialect, model, options)
  return Result.isFailure(made) ? invalid(definition.slug, made.failure) : Route.fromNode(made.success)
}

const chatOf =
  (definition: Providers.Definition, dialect: Chat.Dialect<Chat.Input, Chat.Reply>) =>
  (model: string, options?: ChatOptions & Providers.LegOptions): ChatRoute =>
    target(definition, "chat", { ofReply: sameReply, ...(options?.dialect ?? dialect) }, model, options)

const embeddingsOf =
  (definition: Providers.Definition, dialect: Chat.Dialect<Chat.EmbeddingInput, Chat.Embeddings>) =>
  (model: string, options?: Providers.LegOptions): EmbeddingRoute =>
    target(definition, "embeddings", dialect, model, options)

const provider = (definition: Providers.Definition): Provider => ({ slug: definition.slug, definition })

const withChat = (
  definition: Providers.Definition,
  dialect: Chat.Dialect<Chat.Input, Chat.Reply> = openaiCompatible
): Provider & WithChat => ({ ...provider(definition), chat: chatOf(definition, dialect) })

const withEmbeddings = (
  definition: Providers.Definition,
  dialect: Chat.Dialect<Chat.Input, Chat.Reply> = openaiCompatible
): Provider & WithChat & WithEmbeddings => ({
  ...withChat(definition, dialect),
  embeddings: embeddingsOf(definition, openaiEmbeddings)
})

const withMessages = (definition: Providers.Definition) => {
  const messages = chatOf(definition, anthropicDialect)
  return { ...provider(definition), messages, chat: messages }
}

/**
 * Makes a target for any request to a provider: `Route.make` with its slug, credential header and own headers filled
 * in.
 *
 * Such a route cannot be stored, because it consists of functions. It is a function and not a method of each provider,
 * so that bundles without it do not contain `Schema`.
 *
 * @example
 * ```ts
 * import * as Schema from "effect/Schema"
 * import * as Provider from "effect-ai-gateway/Provider"
 *
 * export const moderate = Provider.request(Provider.openai, {
 *   endpoint: "moderations",
 *   query: (input: string) => ({ input }),
 *   success: Schema.Struct({ results: Schema.Array(Schema.Struct({ flagged: Schema.Boolean })) })
 * })
 *
 * export const speak = Provider.request(Provider.elevenlabs, {
 *   endpoint: "v1/text-to-speech/JBFqnCBsd6RMkjVDRZzb?output_format=mp3_44100_128",
 *   query: (text: string) => ({ text, model_id: "eleven_multilingual_v2" }),
 *   success: Schema.Uint8Array,
 *   accept: "bytes"
 * })
 * ```
 *
 * @category constructors
 */
export const request = <In, Body, Out>(
  { definition, slug }: Provider,
  options: RequestOptions<In, Body, Out>
): Route.Route<In, Out> => {
  const { apiKey: _, ...rest } = options
  const { headers, problems } = Providers.headersOf(definition, options)
  const all = [
    ...(definition.problems ?? []),
    ...(typeof options.endpoint === "function" ? [] : Providers.endpointProblems(options.endpoint)),
    ...(options.key === "" ? [{ field: "key", accepted: "a name that is not empty" }] : []),
    ...problems
  ]
  return all.length > 0 ? invalid(slug, all) : Route.make({ ...rest, headers, provider: slug })
}

/**
 * OpenAI.
 *
 * @example
 * ```ts
 * import * as Redacted from "effect/Redacted"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 *
 * // The second key is used when the first one is throttled.
 * export const ask = Route.fallback(
 *   Provider.openai.chat("gpt-4.1-mini", { apiKey: Redacted.make("sk-1", { label: "team-a" }) }),
 *   Provider.openai.chat("gpt-4.1-mini", { apiKey: Redacted.make("sk-2", { label: "team-b" }) })
 * )
 * ```
 *
 * @category providers
 */
export const openai: Provider & WithChat & WithEmbeddings & WithResponses = /*#__PURE__*/ (() => ({
  ...withEmbeddings(Providers.openai, openaiDialect),
  responses: chatOf(
    { ...Providers.openai, chat: { dialect: openaiResponses.id, endpoint: "responses" } },
    openaiResponses
  )
}))()

/**
 * Anthropic. `messages` is the name that its documentation uses; `chat` is the same function.
 *
 * @example
 * ```ts
 * import * as Chat from "effect-ai-gateway/Chat"
 * import * as Provider from "effect-ai-gateway/Provider"
 *
 * export const ask = Provider.anthropic.messages("claude-haiku-4-5")
 * // For models without structured output.
 * export const older = Provider.anthropic.messages("claude-3-5-haiku-latest", { dialect: Chat.anthropicJsonTool })
 * ```
 *
 * @category providers
 */
export const anthropic: Provider & WithMessages = /*#__PURE__*/ withMessages(Providers.anthropic)

/**
 * Google AI Studio (Gemini). Model names consist of letters, digits and `.`, `_`, `-`, `@`, as they are part of the
 * path.
 *
 * @category providers
 */
export const googleAiStudio: Provider & WithChat = /*#__PURE__*/ withChat(Providers.googleAiStudio, googleDialect)

/**
 * Google Vertex AI (Gemini). `apiKey` is an access token, or a service account's JSON in base64 that contains a
 * `region`.
 *
 * @example
 * ```ts
 * import * as Provider from "effect-ai-gateway/Provider"
 *
 * export const ask = Provider.googleVertexAi.chat("gemini-2.5-flash", {
 *   project: "my-project",
 *   region: "us-central1"
 * })
 * ```
 *
 * @category providers
 */
export const googleVertexAi: Provider & {
  /** Makes a chat target for a model in a project and region. */
  readonly chat: (model: string, options: ChatOptions & VertexPlace) => ChatRoute
} = /*#__PURE__*/ withChat(Providers.googleVertexAi, googleVertexDialect)

/**
 * Workers AI through its native path, where the model is the endpoint.
 *
 * Every text model has this path, and the dialect also reads the OpenAI-shaped answers of newer models. For the other
 * path pass `endpoint: "v1/chat/completions"` and `dialect: Chat.openaiCompatible`. Over HTTP, `apiKey` is a Cloudflare
 * token with Workers AI Read; over the binding none is needed.
 *
 * @category providers
 */
export const workersAi: Provider & WithChat & WithEmbeddings = /*#__PURE__*/ (() => ({
  ...withChat(Providers.workersAi, workersAiDialect),
  embeddings: embeddingsOf(Providers.workersAi, workersAiEmbeddings)
}))()

/**
 * Azure OpenAI. Records and diagrams show the model; the deployment decides, and defaults to the model's name.
 *
 * @example
 * ```ts
 * import * as Provider from "effect-ai-gateway/Provider"
 *
 * export const ask = Provider.azureOpenai.chat("gpt-4.1-mini", {
 *   resource: "my-resource",
 *   deployment: "mini-eu",
 *   apiVersion: "2024-10-21"
 * })
 * ```
 *
 * @category providers
 */
export const azureOpenai: Provider & {
  /** Makes a chat target for a deployment. */
  readonly chat: (model: string, options: ChatOptions & AzurePlace) => ChatRoute
  /** Makes an embeddings target for a deployment. */
  readonly embeddings: (model: string, options: Options & AzurePlace) => EmbeddingRoute
} = /*#__PURE__*/ withEmbeddings(Providers.azureOpenai, openaiDialect)

/**
 * Anthropic's models at Amazon Bedrock, through its `bedrock-mantle` endpoint, which speaks Anthropic's Messages API.
 *
 * `apiKey` is an Amazon Bedrock API key; without one the gateway signs with the stored AWS credentials. For everything
 * else at Bedrock use {@link request} with stored credentials, because a request that is signed here cannot be sent in
 * a leg. Source: https://developers.cloudflare.com/ai-gateway/usage/providers/bedrock/.
 *
 * @category providers
 */
export const awsBedrock: Provider & {
  /** Makes a chat target for an Anthropic model in a region. */
  readonly messages: (model: string, options: AnthropicOptions & BedrockPlace) => ChatRoute
  /** Makes a chat target for a model in a region; the same function as `messages`. */
  readonly chat: (model: string, options: AnthropicOptions & BedrockPlace) => ChatRoute
} = /*#__PURE__*/ withMessages(Providers.awsBedrock)

/**
 * xAI.
 *
 * @category providers
 */
export const grok: Provider & WithChat = /*#__PURE__*/ withChat(Providers.grok)

/**
 * Groq.
 *
 * @category providers
 */
export const groq: Provider & WithChat = /*#__PURE__*/ withChat(Providers.groq)

/**
 * DeepSeek.
 *
 * @category providers
 */
export const deepseek: Provider & WithChat = /*#__PURE__*/ withChat(Providers.deepseek)

/**
 * Mistral AI. For shorter vectors set `extra: { output_dimension }` instead of `dimensions`.
 *
 * @category providers
 */
export const mistral: Provider & WithChat & WithEmbeddings = /*#__PURE__*/ withEmbeddings(Providers.mistral)

/**
 * Cerebras.
 *
 * @category providers
 */
export const cerebras: Provider & WithChat = /*#__PURE__*/ withChat(Providers.cerebras)

/**
 * OpenRouter; model names have a slash: `openai/gpt-5-mini`.
 *
 * @category providers
 */
export const openrouter: Provider & WithChat & WithEmbeddings = /*#__PURE__*/ withEmbeddings(Providers.openrouter)

/**
 * Perplexity.
 *
 * @category providers
 */
export const perplexityAi: Provider & WithChat = /*#__PURE__*/ withChat(Providers.perplexityAi)

/**
 * Baseten's shared models; use {@link request} to `model/{id}` for your own deployment.
 *
 * @category providers
 */
export const baseten: Provider & WithChat = /*#__PURE__*/ withChat(Providers.baseten)

/**
 * Fireworks. Cloudflare's adapter supports it, although its documentation does not list it.
 *
 * @category providers
 */
export const fireworks: Provider & WithChat & WithEmbeddings = /*#__PURE__*/ withEmbeddings(Providers.fireworks)

/**
 * Cohere. Its own chat API has another shape; use `compat.chat("cohere/…")`.
 *
 * @category providers
 */
export const cohere: Provider = /*#__PURE__*/ provider(Providers.cohere)

/**
 * Hugging Face, through the path of a model. The gateway's upstream was reported as retired:
 * https://github.com/cloudflare/cloudflare-docs/issues/27332.
 *
 * @category providers
 */
export const huggingface: Provider = /*#__PURE__*/ provider(Providers.huggingface)

/**
 * Replicate; use {@link request} to `predictions`.
 *
 * @category providers
 */
export const replicate: Provider = /*#__PURE__*/ provider(Providers.replicate)

/**
 * Fal.
 *
 * @category providers
 */
export const fal: Provider = /*#__PURE__*/ provider(Providers.fal)

/**
 * Ideogram.
 *
 * @category providers
 */
export const ideogram: Provider = /*#__PURE__*/ provider(Providers.ideogram)

/**
 * Parallel: use {@link request} for tasks and search, and `compat.chat("parallel/…")` for chat.
 *
 * @category providers
 */
export const parallel: Provider = /*#__PURE__*/ provider(Providers.parallel)

/**
 * Cartesia; it requires a header `cartesia-version`.
 *
 * @category providers
 */
export const cartesia: Provider = /*#__PURE__*/ provider(Providers.cartesia)

/**
 * Deepgram.
 *
 * @category providers
 */
export const deepgram: Provider = /*#__PURE__*/ provider(Providers.deepgram)

/**
 * ElevenLabs.
 *
 * @category providers
 */
export const elevenlabs: Provider = /*#__PURE__*/ provider(Providers.elevenlabs)

/**
 * Adobe Firefly. `apiKey` is the access token; Adobe also requires the client id as a header `x-api-key`.
 *
 * @category providers
 */
export const adobeFirefly: Provider = /*#__PURE__*/ provider(Providers.adobeFirefly)

/**
 * The gateway's own OpenAI-shaped endpoint for many providers; the model is `provider/model`, split at the first slash.
 *
 * Cloudflare calls it deprecated. It keeps working, and {@link dynamic} routes are called through it over HTTP.
 *
 * @example
 * ```ts
 * import * as Provider from "effect-ai-gateway/Provider"
 *
 * export const ask = Provider.compat.chat("google-vertex-ai/google/gemini-2.5-pro")
 * export const routed = Provider.compat.chat("dynamic/support") // the same as Provider.dynamic("support")
 * ```
 *
 * @category providers
 */
export const compat: Provider & WithChat = /*#__PURE__*/ (() => ({
  ...provider(Providers.compat),
  chat: (model: string, options?: ChatOptions) => {
    const own = Providers.wayOf(Providers.compat, "chat", model)?.dialect === openaiDialect.id
    return chatOf(Providers.compat, own ? openaiDialect : openaiCompatible)(model, options)
  }
}))()

/**
 * A dynamic route of the gateway as one target: the gateway decides about its fallbacks, limits and splits.
 *
 * It needs stored keys or Unified Billing. In one universal request with other targets, dynamic routes to Workers AI
 * models fail (https://github.com/cloudflare/ai/issues/617): run such a route with `execution: "client"`.
 *
 * @example
 * ```ts
 * import * as Provider from "effect-ai-gateway/Provider"
 *
 * export const ask = Provider.dynamic("support")
 * ```
 *
 * @category providers
 */
export const dynamic = (route: string, options?: ChatOptions): ChatRoute =>
  typeof route === "string" && /^\S+$/.test(route) && !route.startsWith("dynamic/")
    ? compat.chat(`dynamic/${route}`, options)
    : invalid("compat", [
        { field: "route", accepted: "the name of a dynamic route, without `dynamic/` and without spaces" }
      ])

/**
 * Options of {@link auto}.
 *
 * @category models
 */
export interface AutoOptions extends ChatOptions {
  /**
   * Models to choose from: `provider/model`, where `*` stands for any text without a slash. Default: all that the
   * gateway offers.
   */
  readonly models?: ReadonlyArray<string> | undefined
  /** Slugs of the providers to choose from. Default: all. */
  readonly providers?: ReadonlyArray<string> | undefined
}

const listed = (
  field: string,
  names: ReadonlyArray<string> | undefined,
  pattern: RegExp,
  accepted: string
): ReadonlyArray<Problem> =>
  names === undefined
    ? []
    : !Array.isArray(names) || names.length === 0
      ? [{ field, accepted: `a list of ${accepted}` }]
      : names.flatMap((name, i) =>
          typeof name === "string" && pattern.test(name)
            ? []
            : [{ field: `${field}[${i}]`, accepted: `one of ${accepted}` }]
        )

/**
 * Cloudflare's Auto Router (beta) as one target: it chooses a model for each request.
 *
 * The same as `compat.chat("cloudflare/auto")`. With `RunOptions.session` it keeps a turn of a conversation at one
 * model. Needs stored keys or Unified Billing. Source:
 * https://developers.cloudflare.com/ai-gateway/features/auto-router/.
 *
 * @example
 * ```ts
 * import * as Provider from "effect-ai-gateway/Provider"
 *
 * export const ask = Provider.auto({ models: ["openai/*", "anthropic/claude-haiku-*"] })
 * ```
 *
 * @category providers
 */
export const auto = ({ models, providers, ...options }: AutoOptions = {}): ChatRoute => {
  const problems = [
    ...listed("models", models, /^[^\s,/]+(?:\/[^\s,/]+)+$/, "models such as openai/gpt-4.1-mini or openai/*"),
    ...listed("providers", providers, /^[a-z0-9-]+$/, "provider slugs such as openai")
  ]
  if (problems.length > 0) return invalid("compat", problems)
  const headers = {
    ...options.headers,
    ...(models && { "cf-aig-allowed-models": models.join(",") }),
    ...(providers && { "cf-aig-allowed-providers": providers.join(",") })
  }
  return compat.chat("cloudflare/auto", { ...options, headers })
}

/**
 * A model alias of the gateway (`custom/{name}`) as one target: the gateway tries the alias's models in order, or
 * chooses among them.
 *
 * Needs an authenticated gateway with stored keys or Unified Billing. Source:
 * https://developers.cloudflare.com/ai-gateway/features/routing/model-aliases/.
 *
 * **Gotchas**
 *
 * Cloudflare documents aliases for its REST API; this target calls the `compat` endpoint, where routes live. If the
 * gateway does not serve the alias there, the target fails like any other. `AiService.run("custom/{name}", …)` uses the
 * documented path. An alias is not a {@link custom} provider.
 *
 * @example
 * ```ts
 * import * as Provider from "effect-ai-gateway/Provider"
 *
 * export const ask = Provider.alias("support-fast")
 * ```
 *
 * @category providers
 */
export const alias = (name: string, options?: ChatOptions): ChatRoute =>
  typeof name === "string" && /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)
    ? compat.chat(`custom/${name}`, options)
    : invalid("compat", [{ field: "alias", accepted: "the name of a model alias, without `custom/`" }])

/**
 * Options of {@link custom}.
 *
 * @category models
 */
export interface CustomOptions {
  /** Codec of its chat. Default: OpenAI's, which most servers speak. */
  readonly dialect?: Chat.Dialect<Chat.Input, Chat.Reply> | undefined
  /** Path of its chat below the `base_url`. Default `v1/chat/completions`. */
  readonly chatEndpoint?: string | undefined
  /** Path of its embeddings below the `base_url`, in OpenAI's shape. Default `v1/embeddings`. */
  readonly embeddingsEndpoint?: string | undefined
  /** Header of its key, in lower case, and the word before the key, if any. Default: `authorization` with `Bearer`. */
  readonly auth?: { readonly header: string; readonly scheme?: string | undefined } | undefined
}

/**
 * A custom provider, named by its slug in the gateway's settings (without `custom-`). Source:
 * https://developers.cloudflare.com/ai-gateway/configuration/custom-providers/.
 *
 * @example
 * ```ts
 * import * as Provider from "effect-ai-gateway/Provider"
 *
 * const ours = Provider.custom("our-llm", { chatEndpoint: "api/chat", auth: { header: "x-api-key" } })
 * export const ask = ours.chat("llama-70b")
 * ```
 *
 * @category providers
 */
export const custom = (slug: string, options: CustomOptions = {}): Provider & WithChat & WithEmbeddings => {
  const { auth, chatEndpoint = "v1/chat/completions", dialect, embeddingsEndpoint = "v1/embeddings" } = options
  const definition = Providers.custom(slug, auth)
  const { chat, embeddings, ...rest } = withEmbeddings(definition, dialect)
  return {
    ...rest,
    chat: (model, given) => chat(model, { ...given, endpoint: given?.endpoint ?? chatEndpoint }),
    embeddings: (model, given) => embeddings(model, { ...given, endpoint: given?.endpoint ?? embeddingsEndpoint })
  }
}
