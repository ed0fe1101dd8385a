/**
 * The neutral chat types, which `Chat` re-exports.
 */
import type * as Schema from "effect/Schema"

/** A JSON value. */
export type Json = Schema.Json

/** A JSON Schema document. It is passed on unchanged, so it must use what the provider supports. */
export type JsonSchema = { readonly [keyword: string]: unknown }

/**
 * An opaque value that only its provider understands, and expects back unchanged with the next request. It is never
 * logged.
 */
export interface Opaque {
  /** Family of models that made it: `openai`, `anthropic` or `google`. Requests to any other family omit it. */
  readonly origin: string
  readonly value: string
  /** OpenAI's id of the item that the value belongs to. */
  readonly id?: string | undefined
}

/** A mark up to which a provider may cache the prompt. A hint. */
export interface CachePoint {
  /** Lifetime. Default: the provider's, which is 5 minutes at Anthropic. */
  readonly ttl?: "5m" | "30m" | "1h" | undefined
}

/** A source that an answer names. Citations are for readers: they are not sent back. */
export interface Citation {
  readonly url?: string | undefined
  readonly title?: string | undefined
  /** Text of the source, or (Google) of the answer. */
  readonly quote?: string | undefined
  /** Position in the text part, in code units; absent if the provider does not report it, or counts in other units. */
  readonly start?: number | undefined
  readonly end?: number | undefined
}

/** A piece of text. */
export interface TextPart {
  readonly type: "text"
  readonly text: string
  readonly cache?: CachePoint | undefined
  /** In answers only. */
  readonly citations?: ReadonlyArray<Citation> | undefined
  /** In answers only: Gemini signs text. */
  readonly opaque?: Opaque | undefined
}

/** A file that a provider stores. The router skips targets of any other family. */
export interface FileId {
  /** `openai`, `anthropic` or `google`. */
  readonly origin: string
  /** Google: the URI of the file. */
  readonly id: string
}

/**
 * An image: exactly one of `url` (a web address or a `data:` URL), `data` (base64, which needs `mediaType`) and
 * `fileId`. Providers differ in the media types that they accept, and in whether they fetch URLs.
 */
export interface ImagePart {
  readonly type: "image"
  readonly url?: string | undefined
  /** Base64, without a `data:` prefix. */
  readonly data?: string | undefined
  readonly fileId?: FileId | undefined
  /** For example `image/png`. */
  readonly mediaType?: string | undefined
  /** How closely the model should look. A hint for OpenAI. */
  readonly detail?: "auto" | "low" | "high" | "original" | undefined
  readonly cache?: CachePoint | undefined
}

/**
 * A document, a recording or a video: exactly one of `url` (a web address or a `data:` URL), `data` (base64, which
 * needs `mediaType`) and `fileId`. A file of a type `image/…` is an image.
 */
export interface FilePart {
  readonly type: "file"
  readonly url?: string | undefined
  /** Base64, without a `data:` prefix. */
  readonly data?: string | undefined
  readonly fileId?: FileId | undefined
  /** For example `application/pdf` or `audio/wav`. */
  readonly mediaType?: string | undefined
  /** Name of the file, which the model may see. */
  readonly name?: string | undefined
  readonly cache?: CachePoint | undefined
}

/** A tool call of the model. */
export interface ToolCall {
  /**
   * Id for the tool message that answers. Unique within the reply; if the provider sends none, it is `call_` and the
   * position.
   */
  readonly id: string
  readonly name: string
  /** Parsed arguments, never JSON text. Anthropic and Google only accept an object. */
  readonly arguments: Json
  /** Opaque token of a thinking Gemini model. It must go back unchanged, otherwise Gemini rejects the next turn. */
  readonly signature?: string | undefined
  /** The same with its provider: with the origin `google` it is the signature. */
  readonly opaque?: Opaque | undefined
}

/** A message of the application: instructions, or the user's turn. Only user messages accept images and files. */
export interface PromptMessage {
  readonly role: "system" | "user"
  readonly content: string | ReadonlyArray<TextPart | ImagePart | FilePart>
}

/**
 * The model's thinking before it answered or called tools. With a signature (`opaque`) it goes back to its provider.
 * Its text goes to models that reject the next turn without it (DeepSeek, Kimi). Other targets do not get it.
 */
export interface ReasoningPart {
  readonly type: "reasoning"
  /** Empty if the provider does not show it. */
  readonly text: string
  readonly opaque?: Opaque | undefined
  /** Whether the provider encrypted it, so that `opaque` is all of it (`redacted_thinking` of Anthropic). */
  readonly redacted?: boolean | undefined
}

/** Text in which the model refused to answer. Targets without such a part get it as text. */
export interface RefusalPart {
  readonly type: "refusal"
  readonly text: string
}

/** An earlier answer of the model: its parts in order, then its tool calls. */
export interface AssistantMessage {
  readonly role: "assistant"
  readonly content: string | ReadonlyArray<TextPart | ReasoningPart | RefusalPart>
  readonly toolCalls?: ReadonlyArray<ToolCall> | undefined
}

/** The result of a tool for one call. */
export interface ToolMessage {
  readonly role: "tool"
  readonly toolCallId: string
  /** Name of the tool. Google needs it; if absent, it is looked up in the earlier messages. */
  readonly name?: string | undefined
  /**
   * Result. Workers AI accepts no images or files. If a provider only takes text in a tool result, they follow in a
   * user message.
   */
  readonly content: string | ReadonlyArray<TextPart | ImagePart | FilePart>
  /** Whether the tool failed. A hint: Anthropic and Google get it, others only get the content. */
  readonly isError?: boolean | undefined
}

/** One message of a conversation. */
export type Message = PromptMessage | AssistantMessage | ToolMessage

/** The author of a message. */
export type Role = Message["role"]

/** A function that the model may call. */
export interface Tool {
  /** 1 to 64 letters, digits, `_` or `-`; unique within the request. */
  readonly name: string
  readonly description?: string | undefined
  /** JSON Schema of the arguments, which must be an object. */
  readonly parameters: JsonSchema
  /**
   * Whether the arguments must fit the schema. The provider must then be able to enforce it: OpenAI and Anthropic
   * require closed objects (`additionalProperties: false`). Google enforces all tools of a request or none. Default:
   * `false`.
   */
  readonly strict?: boolean | undefined
  readonly cache?: CachePoint | undefined
}

/** A subset of the tools. A provider that cannot express it only gets these tools. */
export interface AllowedTools {
  /** Names of tools, at least one. */
  readonly allowed: ReadonlyArray<string>
  readonly mode: "auto" | "required"
}

/** Which tool the model may, must not or must call. Needs `tools`. */
export type ToolChoice = "auto" | "none" | "required" | { readonly name: string } | AllowedTools

/** The amount of thinking. `effort` and `budget` exclude each other. */
export interface Reasoning {
  /**
   * A hint: a model without this level gets the nearest lower one, or its lowest. `none` is a condition for models that
   * cannot turn thinking off: the router skips such a target.
   */
  readonly effort?: "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max" | undefined
  /**
   * Tokens, a whole number from 1, for Claude up to 4.6 and Gemini 2.5. For other models it is converted to an effort.
   */
  readonly budget?: number | undefined
  /** Whether to request the text of the thinking, or a summary of it. */
  readonly show?: boolean | undefined
}

/** A tool that the provider runs itself, in the form of the provider's `tools`. */
export interface ServerTool {
  /** `openai` (Responses), `anthropic` or `google`. The router skips targets of any other family. */
  readonly origin: string
  readonly tool: Json
}

/**
 * The treatment of a *hint* that a target cannot take, a field without which the answer is still correct. `refuse`: the
 * router skips the target with `Unsupported`. `dropHints`: the field is omitted or replaced by the nearest value, and
 * reported. Absent: the router skips a target for hints that shape the answer (`seed`, `topK`, `temperature`, `topP`,
 * penalties, an effort of `none`), and omits and reports all others.
 */
export type Losses = "refuse" | "dropHints"

/** Asks for JSON instead of prose. */
export interface Output {
  readonly type: "json"
  /** Label of the schema, for providers that require one: 1 to 64 letters, digits, `_` or `-`. Default `output`. */
  readonly name?: string | undefined
  /** Absent for any JSON. */
  readonly schema?: JsonSchema | undefined
  /**
   * Whether the answer must fit the schema. Only OpenAI distinguishes it, and then requires closed objects with all
   * properties required; Anthropic, Google and Workers AI always enforce a schema. Default: `false`.
   */
  readonly strict?: boolean | undefined
  /** Purpose of the schema. A hint for OpenAI. */
  readonly description?: string | undefined
}

/** A chat request that belongs to no provider. Absent fields use the provider's defaults. */
export interface Request {
  /** At least one. */
  readonly messages: ReadonlyArray<Message>
  /**
   * Upper bound of the answer including thinking: a whole number from 1. Anthropic requires one and gets 4096 by
   * default.
   */
  readonly maxTokens?: number | undefined
  /**
   * From 0; up to 1 (Anthropic), 2 (OpenAI, Google) or 5 (Workers AI). Newer Claude and reasoning OpenAI models take
   * none.
   */
  readonly temperature?: number | undefined
  /** 0 to 1. */
  readonly topP?: number | undefined
  /** A whole number from 1. OpenAI has none. */
  readonly topK?: number | undefined
  /** -2 to 2. Anthropic has none. */
  readonly frequencyPenalty?: number | undefined
  /** -2 to 2. Anthropic has none. */
  readonly presencePenalty?: number | undefined
  /** Strings that end the answer; not empty ones. */
  readonly stop?: ReadonlyArray<string> | undefined
  /** A whole number. Anthropic has none: a request with a seed is rejected there. */
  readonly seed?: number | undefined
  readonly tools?: ReadonlyArray<Tool> | undefined
  readonly toolChoice?: ToolChoice | undefined
  /** Tools that the provider runs itself. */
  readonly serverTools?: ReadonlyArray<ServerTool> | undefined
  /** `false` for at most one tool call in an answer. Google and Workers AI cannot ensure that with several tools. */
  readonly parallelToolCalls?: boolean | undefined
  readonly output?: Output | undefined
  readonly reasoning?: Reasoning | undefined
  /** Number of alternatives per token in the log probabilities: 0 to 20. OpenAI and Vertex support them. */
  readonly logprobs?: number | undefined
  /** Length of answers. A hint for OpenAI. */
  readonly verbosity?: "low" | "medium" | "high" | undefined
  /** Service tier. A hint. */
  readonly tier?: "auto" | "default" | "flex" | "priority" | "fast" | undefined
  /** Key by which requests with the same beginning share a prompt cache. A hint for OpenAI. */
  readonly cacheKey?: string | undefined
  /** Labels that the provider stores with the request: OpenAI with `extra.store`. A hint. */
  readonly metadata?: { readonly [key: string]: string } | undefined
  /** See {@link Losses}. */
  readonly losses?: Losses | undefined
  /**
   * Stable id of the end user, for abuse detection: OpenAI's `user` and Anthropic's `metadata.user_id`. A hint, because
   * it changes no answer: Google, Workers AI and Mistral have no such field and do not get it.
   */
  readonly user?: string | undefined
  /** Fields of the provider's own body. They are merged last and replace existing ones, key by key at the top level. */
  readonly extra?: { readonly [key: string]: Json } | undefined
}

/** Input of a chat: a request, or a string, which is one user message. */
export type Input = string | Request

/**
 * Tokens that the provider counted, with one meaning in every dialect: `inputTokens` includes cached ones and
 * `outputTokens` includes reasoning. Counts that the provider does not report are absent, never 0.
 */
export interface Usage {
  readonly inputTokens?: number
  readonly outputTokens?: number
  readonly totalTokens?: number
  /** Part of `inputTokens` that was read from the provider's prompt cache. */
  readonly cachedInputTokens?: number
  /** Part of `inputTokens` that was written to the provider's prompt cache. */
  readonly cacheWriteTokens?: number
  /** Part of `outputTokens` that was spent on thinking. */
  readonly reasoningTokens?: number
  /** Part of `cacheWriteTokens` that is kept for an hour. */
  readonly cacheWriteLongTokens?: number
  /** Part of `inputTokens` that was audio. */
  readonly audioInputTokens?: number
  /** Part of `outputTokens` that was audio. */
  readonly audioOutputTokens?: number
  /** Part of `inputTokens` that the provider's own tools added to the prompt. */
  readonly toolInputTokens?: number
}

/**
 * Why the model stopped. `contentFilter` also stands for a refusal and for a blocked prompt; `pause` for a turn that
 * Anthropic interrupted while its own tools ran. Their calls and results are in `Reply.parts`, which messages cannot
 * hold; to continue the turn, send Anthropic's own messages in `extra.messages`.
 */
export type FinishReason = "stop" | "length" | "toolCalls" | "contentFilter" | "pause" | "other"

/** A token of an answer with its log probability. */
export interface TokenLogprob {
  readonly token: string
  readonly logprob: number
  /** Alternatives at its position, the most likely first. */
  readonly top?: ReadonlyArray<{ readonly token: string; readonly logprob: number }>
}

/** A part of an answer. */
export type ReplyPart = TextPart | ReasoningPart | RefusalPart | ImagePart | FilePart

/** The answer to a chat request. */
export interface Reply {
  /**
   * All text parts, joined. Empty if the model only called tools or made other output, or if it was cut off or filtered
   * before any text.
   */
  readonly text: string
  readonly reasoning?: string
  readonly toolCalls: ReadonlyArray<ToolCall>
  /** Output without a neutral form, such as images and audio, as the provider wrote it. Absent if there is none. */
  readonly parts?: ReadonlyArray<Json>
  /**
   * The answer part by part, in order. Present only if `text` and `reasoning` do not hold all of it: with signatures,
   * citations, refusals and images. Tool calls follow it.
   */
  readonly content?: ReadonlyArray<ReplyPart>
  /** Text of a refusal, which is also `text` if there is no other. */
  readonly refusal?: string
  /** The string of `stop` that ended the answer, if the provider reports it. */
  readonly stopSequence?: string
  readonly logprobs?: ReadonlyArray<TokenLogprob>
  /** Service tier that the request got, in the provider's words. */
  readonly tier?: string
  readonly finishReason: FinishReason
  readonly usage: Usage
  /** The model as the provider names it, often more precise than in the request. */
  readonly model?: string
  readonly id?: string
  /** The provider's complete body, so that fields unknown here survive. */
  readonly raw: unknown
}

/** Facts about the target for a writer of requests. */
export interface EncodeOptions {
  /**
   * Called for each hint that is omitted or changed, with its path: `seed`, or `temperature: at most 1` if another
   * value is sent.
   */
  readonly onDropped?: ((field: string) => void) | undefined
}

/** Facts about the target for a reader of answers. */
export interface DecodeOptions {
  /** Whether an answer may be empty. Default `false`: an answer without text, tool call or other output is rejected. */
  readonly allowEmpty?: boolean | undefined
}
