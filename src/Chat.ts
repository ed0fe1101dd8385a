/**
 * Chat requests, replies and usage that belong to no provider, and the codecs that write and read them in each
 * provider's dialect.
 *
 * A {@link Dialect} is plain data with two total functions: `encode` returns the provider's request body or an
 * {@link Issue}, `decode` returns a {@link Reply} or an {@link Issue}. Neither throws, and neither runs a Schema. Every
 * dialect is a separate value, so a bundle holds only those it uses. A dialect rejects a condition that it cannot keep,
 * with the name of the field, and reports a hint that it omits: see {@link Losses}.
 *
 * The essential parts of an answer are read strictly (text, tool calls, their arguments). The rest (usage, model, id)
 * is omitted when it is malformed, because the answer was paid for. `raw` holds the complete body.
 */
import type * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { keptAs } from "./internal/data/plainJson.ts"
import * as anthropicDialect from "./internal/dialect/anthropic.ts"
import type {
  AssistantMessage,
  Input,
  PromptMessage,
  ReasoningPart,
  RefusalPart,
  Reply,
  ReplyPart,
  Request,
  TextPart,
  ToolCall,
  ToolMessage
} from "./internal/dialect/chat.ts"
import type { Dialect, Issue } from "./internal/dialect/codec.ts"
import * as dialect from "./internal/dialect/codec.ts"
import type { Delta } from "./internal/dialect/delta.ts"
import * as delta from "./internal/dialect/deltaDecoder.ts"
import type { EmbeddingInput, Embeddings } from "./internal/dialect/embeddings.ts"
import * as embeddings from "./internal/dialect/embeddings.ts"
import * as googleDialect from "./internal/dialect/google.ts"
import * as openaiDialect from "./internal/dialect/openai.ts"
import * as responsesDialect from "./internal/dialect/responses.ts"
import * as workersAiDialect from "./internal/dialect/workersAi.ts"

export type {
  AllowedTools,
  AssistantMessage,
  CachePoint,
  Citation,
  DecodeOptions,
  EncodeOptions,
  FileId,
  FilePart,
  FinishReason,
  ImagePart,
  Input,
  Json,
  JsonSchema,
  Losses,
  Message,
  Opaque,
  Output,
  PromptMessage,
  Reasoning,
  ReasoningPart,
  RefusalPart,
  Reply,
  ReplyPart,
  Request,
  Role,
  ServerTool,
  TextPart,
  TokenLogprob,
  Tool,
  ToolCall,
  ToolChoice,
  ToolMessage,
  Usage
} from "./internal/dialect/chat.ts"
export type {
  Dialect,
  Issue
} from "./internal/dialect/codec.ts"
export type { Decoded, Delta, DeltaDecoder, Fault, Streaming } from "./internal/dialect/delta.ts"
export type { EmbeddingInput, EmbeddingRequest, Embeddings } from "./internal/dialect/embeddings.ts"
export type { ServerEvent } from "./internal/transport/sse.ts"

/**
 * Makes a user message: text, or a list of text, images and files.
 *
 * @example
 * ```ts
 * import * as Chat from "effect-ai-gateway/Chat"
 *
 * export const request: Chat.Request = {
 *   messages: [
 *     Chat.system("Answer in one sentence."),
 *     Chat.user([
 *       { type: "text", text: "What is in this picture?" },
 *       { type: "image", url: "https://example.com/cat.png" }
 *     ])
 *   ],
 *   maxTokens: 200
 * }
 * ```
 *
 * @category messages
 */
export const user = (content: PromptMessage["content"]): PromptMessage => ({
  role: "user",
  content
})

/**
 * Makes a message with instructions.
 *
 * **Gotchas**
 *
 * Anthropic and Google take instructions apart from the conversation: they apply from the start, wherever the message
 * stands.
 *
 * @category messages
 */
export const system = (content: string | ReadonlyArray<TextPart>): PromptMessage => ({ role: "system", content })

/**
 * Makes a message of the model: its text, and the tools that it called. See also {@link fromReply}.
 *
 * @category messages
 */
export const assistant = (
  content: AssistantMessage["content"],
  toolCalls?: ReadonlyArray<ToolCall>
): AssistantMessage => ({
  role: "assistant",
  content,
  ...(toolCalls !== undefined && { toolCalls })
})

/**
 * Makes the result of a tool for a call, which is given as a value or by its id.
 *
 * @example
 * ```ts
 * import * as Chat from "effect-ai-gateway/Chat"
 *
 * // The next request of a conversation in which the model called tools.
 * export const next = (request: Chat.Request, reply: Chat.Reply): Chat.Request => ({
 *   ...request,
 *   messages: [
 *     ...request.messages,
 *     Chat.fromReply(reply),
 *     ...reply.toolCalls.map((call) => Chat.tool(call, `{"ok":true}`))
 *   ]
 * })
 * ```
 *
 * @category messages
 */
export const tool = (
  call: string | Pick<ToolCall, "id" | "name">,
  content: ToolMessage["content"],
  options?: { readonly isError?: boolean | undefined }
): ToolMessage => ({
  role: "tool",
  ...(typeof call === "string" ? { toolCallId: call } : { toolCallId: call.id, name: call.name }),
  content,
  ...(options?.isError !== undefined && { isError: options.isError })
})

const isSpoken = (part: ReplyPart): part is TextPart | ReasoningPart | RefusalPart =>
  part.type !== "image" && part.type !== "file"

/**
 * Turns a reply into the message that continues the conversation.
 *
 * Reasoning before tool calls is kept as part of the content, because DeepSeek and Kimi reject tool results without it.
 * Signed reasoning is always kept, with its signature. Other reasoning is dropped, and so are images and files, which
 * no assistant message can hold.
 *
 * @category messages
 */
export const fromReply = ({ content, reasoning, text, toolCalls }: Reply): AssistantMessage => {
  const said = content?.filter(isSpoken) ?? []
  const parts = said.length > 0 ? said : toolCalls.length === 0 ? text : dialect.afterThought(reasoning, text)
  return assistant(parts, toolCalls.length === 0 ? undefined : toolCalls)
}

/**
 * Collects the deltas of a stream into a reply: the one that the same answer would give without streaming, except that
 * `raw` is `null`. A `restart` discards everything before it.
 *
 * An {@link Issue} with the field `finish` means that the answer is not complete. One about `toolCalls[…]` means that a
 * call has no name or that its arguments are not JSON, as when the answer was cut off at its `maxTokens`.
 *
 * @example
 * ```ts
 * import * as Result from "effect/Result"
 * import * as Chat from "effect-ai-gateway/Chat"
 *
 * const deltas: ReadonlyArray<Chat.Delta> = [
 *   { type: "text", text: "Hel" },
 *   { type: "text", text: "lo." },
 *   { type: "finish", reason: "stop" }
 * ]
 * console.log(Result.getOrThrow(Chat.collect(deltas)).text) // Hello.
 * ```
 *
 * @category streams
 */
export const collect: (deltas: Iterable<Delta>) => Result.Result<Reply, Issue> = delta.collect

/**
 * Returns the request for an input: a string is one user message.
 *
 * @category conversions
 */
export const toRequest: (input: Input) => Request = dialect.toRequest

/**
 * OpenAI chat completions. `maxTokens` becomes `max_completion_tokens`, because reasoning models reject `max_tokens`.
 *
 * A refusal of the model is in `refusal`, with `finishReason` `"contentFilter"`; without other text it is the text too.
 * Without `strict`, the output and the tools accept any JSON Schema. Ids of tool calls with more than 64 characters are
 * rewritten, in the call and in its result. Shapes: https://platform.openai.com/docs/api-reference/chat.
 *
 * @example
 * ```ts
 * import * as Result from "effect/Result"
 * import * as Chat from "effect-ai-gateway/Chat"
 *
 * const body = Chat.openai.encode({ messages: [Chat.user("Say hello.")], maxTokens: 20 }, "gpt-4.1-mini")
 * console.log(Result.getOrThrow(body))
 * ```
 *
 * @category dialects
 */
export const openai: Dialect<Input, Reply> = openaiDialect.openai

/**
 * OpenAI Responses. Nothing is stored (`store: false`): each request holds the complete conversation. Reasoning comes
 * back encrypted and returns to OpenAI with the next request. `stop` is rejected; `seed` and penalties are hints that
 * it does not take. `strict` of a tool is always sent, because its default there is `true`. Shapes:
 * https://platform.openai.com/docs/api-reference/responses.
 *
 * @category dialects
 */
export const openaiResponses: Dialect<Input, Reply> = responsesDialect.openaiResponses

/**
 * Chat completions of all other providers: groq, mistral, deepseek, Workers AI's `v1/chat/completions`, the gateway's
 * `compat` endpoint, dynamic routes. `maxTokens` becomes `max_tokens`, which Mistral requires and the others accept.
 *
 * Reads tool arguments that arrive parsed, reasoning in `reasoning_content`, `reasoning` or content parts, and Gemini's
 * signatures in `extra_content`. Signatures are sent back to models with `gemini` in the name, and reasoning before
 * tool calls to those of DeepSeek and Kimi. Mistral's models get no `user`, which they reject, and ids of tool calls
 * are rewritten there unless they are nine letters or digits.
 *
 * @category dialects
 */
export const openaiCompatible: Dialect<Input, Reply> = openaiDialect.openaiCompatible

/**
 * The `max_tokens` of a request to Anthropic without `maxTokens`. The field is required there.
 *
 * @category dialects
 */
export const anthropicMaxTokens: number = anthropicDialect.anthropicMaxTokens

/**
 * Anthropic messages. Without `maxTokens` the answer is at most {@link anthropicMaxTokens} tokens long.
 *
 * System messages move into `system`, as one string. The results of parallel tool calls become one user turn. Ids of
 * calls from another provider are rewritten where Anthropic would reject them. `output` needs a schema here and becomes
 * `output_config.format`: current models reject a forced tool (https://github.com/can1357/oh-my-pi/issues/12939); for
 * older ones, use {@link anthropicJsonTool}. The router skips the target for hints that the model does not take
 * (`seed`, penalties; from 4.7 on `temperature`, `topP`, `topK`), unless `losses` drops them. Reasoning goes back with
 * its signature. `user` becomes `metadata.user_id`. Shapes: https://platform.claude.com/docs/en/api/messages.
 *
 * @category dialects
 */
export const anthropic: Dialect<Input, Reply> = anthropicDialect.anthropic

/**
 * Like {@link anthropic}, but JSON output is a tool call: for models without structured output, for schemas beyond its
 * support, and for JSON without a schema. The tool is named `output__` plus the name of the output (other tools must
 * not start with that), and its arguments become the text of the reply. The schema must be of type `object`.
 *
 * @category dialects
 */
export const anthropicJsonTool: Dialect<Input, Reply> = anthropicDialect.anthropicJsonTool

/**
 * Google's `generateContent` at AI Studio. The model is in the URL, not in the body.
 *
 * A blocked prompt, which Google answers with 200 and no candidate, is a reply with empty text and `finishReason`
 * `"contentFilter"`. Signatures of tool calls are kept. From Gemini 3 on, a call of another provider, which has none,
 * is sent with the value that Google documents for this case. `extra.generationConfig` is merged key by key. With a
 * `strict` tool the calling mode is `VALIDATED`, which applies the schemas of all tools. `user` is not sent. Shapes:
 * https://ai.google.dev/api/generate-content.
 *
 * @category dialects
 */
export const google: Dialect<Input, Reply> = googleDialect.google

/**
 * Like {@link google}, without ids of function calls, which Vertex rejects.
 *
 * @category dialects
 */
export const googleVertex: Dialect<Input, Reply> = googleDialect.googleVertex

/**
 * Workers AI `run`. The model is in the URL (or goes to the binding), not in the body.
 *
 * Reads the native answer and the OpenAI-shaped one, bare or inside `{ success, result }` and `{ state, result }`. JSON
 * that arrives parsed becomes text again. Native answers have no finish reason: the reply's is `"stop"` or
 * `"toolCalls"`. Images must be data, because Workers AI fetches none. `user` is not sent. An output schema that the
 * model cannot keep is an error of the provider. Shapes: https://developers.cloudflare.com/workers-ai/.
 *
 * @category dialects
 */
export const workersAi: Dialect<Input, Reply> = workersAiDialect.workersAi

/**
 * Embeddings in OpenAI's shape. Vectors are in the order of the texts, by the indexes in the answer; base64 is not
 * supported. Shapes: https://platform.openai.com/docs/api-reference/embeddings.
 *
 * @example
 * ```ts
 * import * as Chat from "effect-ai-gateway/Chat"
 *
 * export const body = Chat.openaiEmbeddings.encode(["one", "two"], "text-embedding-3-small")
 * ```
 *
 * @category dialects
 */
export const openaiEmbeddings: Dialect<EmbeddingInput, Embeddings> = embeddings.openaiEmbeddings

/**
 * Embeddings of native Workers AI, bare or inside its envelopes. `dimensions` is rejected: the model determines the
 * length.
 *
 * @category dialects
 */
export const workersAiEmbeddings: Dialect<EmbeddingInput, Embeddings> = embeddings.workersAiEmbeddings

// Schemas for stored routes, journals and HTTP endpoints. Each is the result of one pure call, so that bundlers drop an
// unused one together with Schema; they would keep a Schema built at the top level.

const opaqueSchema = () =>
  Schema.Struct({ origin: Schema.String, value: Schema.String, id: Schema.optional(Schema.String) })

const toolCallSchema = () =>
  Schema.Struct({
    id: Schema.String,
    name: Schema.String,
    arguments: Schema.Json,
    signature: Schema.optional(Schema.String),
    opaque: Schema.optional(opaqueSchema())
  })

const partSchemas = () => {
  const optionalString = Schema.optional(Schema.String)
  const optionalNumber = Schema.optional(Schema.Number)
  const opaque = Schema.optional(opaqueSchema())
  const cache = Schema.optional(Schema.Struct({ ttl: Schema.optional(Schema.Literals(["5m", "30m", "1h"])) }))
  const source = {
    url: optionalString,
    data: optionalString,
    fileId: Schema.optional(Schema.Struct({ origin: Schema.String, id: Schema.String })),
    mediaType: optionalString,
    cache
  }
  const citation = Schema.Struct({
    url: optionalString,
    title: optionalString,
    quote: optionalString,
    start: optionalNumber,
    end: optionalNumber
  })
  return {
    cache,
    text: Schema.Struct({
      type: Schema.Literal("text"),
      text: Schema.String,
      cache,
      citations: Schema.optional(Schema.Array(citation)),
      opaque
    }),
    reasoning: Schema.Struct({
      type: Schema.Literal("reasoning"),
      text: Schema.String,
      opaque,
      redacted: Schema.optional(Schema.Boolean)
    }),
    refusal: Schema.Struct({ type: Schema.Literal("refusal"), text: Schema.String }),
    image: Schema.Struct({
      type: Schema.Literal("image"),
      ...source,
      detail: Schema.optional(Schema.Literals(["auto", "low", "high", "original"]))
    }),
    file: Schema.Struct({ type: Schema.Literal("file"), ...source, name: optionalString })
  }
}

const messageSchema = () => {
  const { file, image, reasoning, refusal, text } = partSchemas()
  const media = Schema.Union([Schema.String, Schema.Array(Schema.Union([text, image, file]))])
  return Schema.Union([
    Schema.Struct({ role: Schema.Literals(["system", "user"]), content: media }),
    Schema.Struct({
      role: Schema.Literal("assistant"),
      content: Schema.Union([Schema.String, Schema.Array(Schema.Union([text, reasoning, refusal]))]),
      toolCalls: Schema.optional(Schema.Array(toolCallSchema()))
    }),
    Schema.Struct({
      role: Schema.Literal("tool"),
      toolCallId: Schema.String,
      name: Schema.optional(Schema.String),
      content: media,
      isError: Schema.optional(Schema.Boolean)
    })
  ])
}

const requestSchema = (): Schema.Codec<Request> => {
  const object = Schema.Record(Schema.String, Schema.Json)
  const optionalNumber = Schema.optional(Schema.Number)
  const optionalFlag = Schema.optional(Schema.Boolean)
  return Schema.Struct({
    messages: Schema.Array(messageSchema()),
    maxTokens: optionalNumber,
    temperature: optionalNumber,
    topP: optionalNumber,
    topK: optionalNumber,
    frequencyPenalty: optionalNumber,
    presencePenalty: optionalNumber,
    stop: Schema.optional(Schema.Array(Schema.String)),
    seed: optionalNumber,
    tools: Schema.optional(
      Schema.Array(
        Schema.Struct({
          name: Schema.String,
          description: Schema.optional(Schema.String),
          parameters: object,
          strict: optionalFlag,
          cache: partSchemas().cache
        })
      )
    ),
    toolChoice: Schema.optional(
      Schema.Union([
        Schema.Literals(["auto", "none", "required"]),
        Schema.Struct({ name: Schema.String }),
        Schema.Struct({ allowed: Schema.Array(Schema.String), mode: Schema.Literals(["auto", "required"]) })
      ])
    ),
    serverTools: Schema.optional(Schema.Array(Schema.Struct({ origin: Schema.String, tool: Schema.Json }))),
    parallelToolCalls: optionalFlag,
    output: Schema.optional(
      Schema.Struct({
        type: Schema.Literal("json"),
        name: Schema.optional(Schema.String),
        schema: Schema.optional(object),
        strict: optionalFlag,
        description: Schema.optional(Schema.String)
      })
    ),
    reasoning: Schema.optional(
      Schema.Struct({
        effort: Schema.optional(Schema.Literals(["none", "minimal", "low", "medium", "high", "xhigh", "max"])),
        budget: optionalNumber,
        show: optionalFlag
      })
    ),
    logprobs: optionalNumber,
    verbosity: Schema.optional(Schema.Literals(["low", "medium", "high"])),
    tier: Schema.optional(Schema.Literals(["auto", "default", "flex", "priority", "fast"])),
    cacheKey: Schema.optional(Schema.String),
    metadata: Schema.optional(Schema.Record(Schema.String, Schema.String)),
    user: Schema.optional(Schema.String),
    losses: Schema.optional(Schema.Literals(["refuse", "dropHints"])),
    extra: Schema.optional(object)
  })
}

const replySchema = (): Schema.Codec<Reply> => {
  const { file, image, reasoning, refusal, text } = partSchemas()
  const token = { token: Schema.String, logprob: Schema.Number }
  const optionalCount = Schema.optionalKey(Schema.Number)
  const schema: Schema.Codec<Reply> = Schema.Struct({
    text: Schema.String,
    reasoning: Schema.optionalKey(Schema.String),
    toolCalls: Schema.Array(toolCallSchema()),
    parts: Schema.optionalKey(Schema.Array(Schema.Json)),
    content: Schema.optionalKey(Schema.Array(Schema.Union([text, reasoning, refusal, image, file]))),
    refusal: Schema.optionalKey(Schema.String),
    stopSequence: Schema.optionalKey(Schema.String),
    logprobs: Schema.optionalKey(
      Schema.Array(Schema.Struct({ ...token, top: Schema.optionalKey(Schema.Array(Schema.Struct(token))) }))
    ),
    tier: Schema.optionalKey(Schema.String),
    finishReason: Schema.Literals(["stop", "length", "toolCalls", "contentFilter", "pause", "other"]),
    usage: Schema.Struct({
      inputTokens: optionalCount,
      outputTokens: optionalCount,
      totalTokens: optionalCount,
      cachedInputTokens: optionalCount,
      cacheWriteTokens: optionalCount,
      reasoningTokens: optionalCount,
      cacheWriteLongTokens: optionalCount,
      audioInputTokens: optionalCount,
      audioOutputTokens: optionalCount,
      toolInputTokens: optionalCount
    }),
    model: Schema.optionalKey(Schema.String),
    id: Schema.optionalKey(Schema.String),
    raw: Schema.Unknown
  })
  // All other fields are strings. Arguments of tools and `raw` can be anything once an application has changed them,
  // and JSON has no NaN.
  keptAs(schema, (reply) =>
    reply.raw === null &&
    reply.toolCalls.length === 0 &&
    reply.parts === undefined &&
    reply.content === undefined &&
    reply.logprobs === undefined &&
    Object.values(reply.usage).every(Number.isFinite)
      ? reply
      : undefined
  )
  return schema
}

/**
 * Schema of {@link Request}. It checks the shape only: `encode` checks ranges and what a provider accepts, with the
 * same message for every source of a request.
 *
 * @example
 * ```ts
 * import * as Schema from "effect/Schema"
 * import * as Chat from "effect-ai-gateway/Chat"
 *
 * export const decodeLine = Schema.decodeEffect(Schema.fromJsonString(Chat.RequestSchema))
 * ```
 *
 * @category schemas
 */
export const RequestSchema: Schema.Codec<Request> = /*#__PURE__*/ requestSchema()

/**
 * Schema of {@link Reply}. `raw` is kept unchanged.
 *
 * @category schemas
 */
export const ReplySchema: Schema.Codec<Reply> = /*#__PURE__*/ replySchema()
