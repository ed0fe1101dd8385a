/**
 * The neutral chat types, which `Chat` re-exports.
 */
import type * as Schema from "effect/Schema"

/** A JSON value. */
export type Json = Schema.Json

/** A JSON Schema document; it is passed on as it is, so it must keep to what the provider supports. */
export type JsonSchema = { readonly [keyword: string]: unknown }

/** A value that only its maker understands, and wants back unchanged with the next request. It is never logged. */
export interface Opaque {
  /** Family of models that made it: `openai`, `anthropic` or `google`. Requests to any other one leave it out. */
  readonly origin: string
  readonly value: string
  /** OpenAI's id of the item that the value belongs to. */
  readonly id?: string | undefined
}

/** A mark after which a provider may keep the prompt so far in its cache. A hint. */
export interface CachePoint {
  /** How long. Default: the provider's, which is 5 minutes at Anthropic. */
  readonly ttl?: "5m" | "30m" | "1h" | undefined
}

/** A source that an answer names. Citations are for readers: they are not sent back. */
export interface Citation {
  readonly url?: string | undefined
  readonly title?: string | undefined
  /** Words of the source, or (Google) of the answer. */
  readonly quote?: string | undefined
  /** Where in the text part, in code units; absent where the provider does not say so, or counts otherwise. */
  readonly start?: number | undefined
  readonly end?: number | undefined
}

/** A piece of text. */
export interface TextPart {
  readonly type: "text"
  readonly text: string
  readonly cache?: CachePoint | undefined
  /** Of answers only. */
  readonly citations?: ReadonlyArray<Citation> | undefined
  /** Of answers only: Gemini signs text. */
  readonly opaque?: Opaque | undefined
}

/** A file that a provider keeps. Targets of any other family are passed over. */
export interface FileId {
  /** `openai`, `anthropic` or `google`. */
  readonly origin: string
  /** Google: the URI of the file. */
  readonly id: string
}

/**
 * An image: exactly one of `url` (an address, or a `data:` URL), `data` (base64, which needs `mediaType`) and `fileId`.
 * Which media types are accepted, and whether addresses are fetched, differs between providers.
 */
export interface ImagePart {
  readonly type: "image"
  readonly url?: string | undefined
  /** Base64, without a `data:` prefix. */
  readonly data?: string | undefined
  readonly fileId?: FileId | undefined
  /** For example `image/png`. */
  readonly mediaType?: string | undefined
  /** How closely to look. A hint to OpenAI. */
  readonly detail?: "auto" | "low" | "high" | "original" | undefined
  readonly cache?: CachePoint | undefined
}

/**
 * A document, a recording or a film: exactly one of `url` (an address, or a `data:` URL), `data` (base64, which needs
 * `mediaType`) and `fileId`. A file of a type `image/…` is an image.
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
   * What the answering tool message names. Unique within the reply; where the provider sends none it is `call_` and
   * the position.
   */
  readonly id: string
  readonly name: string
  /** Parsed, never JSON text. Anthropic and Google accept an object only. */
  readonly arguments: Json
  /** Opaque token of a thinking Gemini model. It must go back unchanged, or the next turn is refused. */
  readonly signature?: string | undefined
  /** The same with its maker: with the origin `google` it is the signature. */
  readonly opaque?: Opaque | undefined
}

/**
 * Messages of the application: instructions, or the user's turn. Images and files are accepted in user messages only.
 */
export interface PromptMessage {
  readonly role: "system" | "user"
  readonly content: string | ReadonlyArray<TextPart | ImagePart | FilePart>
}

/**
 * Thinking of the model before it said something or called tools. With a signature (`opaque`) it goes back to its
 * maker. Its text goes to models that refuse the next turn without it (DeepSeek, Kimi). Any other target is not sent
 * it.
 */
export interface ReasoningPart {
  readonly type: "reasoning"
  /** Empty where the provider does not show it. */
  readonly text: string
  readonly opaque?: Opaque | undefined
  /** The provider encrypted it: `opaque` is all there is of it (`redacted_thinking` of Anthropic). */
  readonly redacted?: boolean | undefined
}

/** Words with which the model refused to answer. Targets without such a part are sent them as text. */
export interface RefusalPart {
  readonly type: "refusal"
  readonly text: string
}

/** What the model said earlier: its parts in order, then its tool calls. */
export interface AssistantMessage {
  readonly role: "assistant"
  readonly content: string | ReadonlyArray<TextPart | ReasoningPart | RefusalPart>
  readonly toolCalls?: ReadonlyArray<ToolCall> | undefined
}

/** The answer of a tool to one call. */
export interface ToolMessage {
  readonly role: "tool"
  readonly toolCallId: string
  /** Name of the tool. Google needs it; absent, it is looked up in the earlier messages. */
  readonly name?: string | undefined
  /**
   * Images and files are not accepted by Workers AI. Where a provider takes text alone in the answer of a tool, they
   * follow in a user message.
   */
  readonly content: string | ReadonlyArray<TextPart | ImagePart | FilePart>
  /** The tool failed. A hint: Anthropic and Google are told, others are sent the content alone. */
  readonly isError?: boolean | undefined
}

/** One message of a conversation. */
export type Message = PromptMessage | AssistantMessage | ToolMessage

/** Who speaks in a message. */
export type Role = Message["role"]

/** A function that the model may call. */
export interface Tool {
  /** 1 to 64 letters, digits, `_` or `-`; unique within the request. */
  readonly name: string
  readonly description?: string | undefined
  /** JSON Schema of the arguments, which are an object. */
  readonly parameters: JsonSchema
  /**
   * The arguments must fit the schema. Then the schema must be one that the provider can enforce: OpenAI and Anthropic
   * want closed objects (`additionalProperties: false`). Google enforces all tools of a request or none. Default:
   * `false`.
   */
  readonly strict?: boolean | undefined
  readonly cache?: CachePoint | undefined
}

/** Some of the tools. Where a provider has no words for it, it is sent these tools alone. */
export interface AllowedTools {
  /** Names of tools, at least one. */
  readonly allowed: ReadonlyArray<string>
  readonly mode: "auto" | "required"
}

/** Which tool the model may, must not or must call. Needs `tools`. */
export type ToolChoice = "auto" | "none" | "required" | { readonly name: string } | AllowedTools

/** How much the model thinks. `effort` and `budget` exclude each other. */
export interface Reasoning {
  /**
   * A hint: a model without this level gets the nearest lower one, else its lowest. `none` is a condition where
   * thinking cannot be turned off: such a target is passed over.
   */
  readonly effort?: "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max" | undefined
  /** Tokens, a whole number from 1: for Claude up to 4.6 and Gemini 2.5. Elsewhere it stands for an effort. */
  readonly budget?: number | undefined
  /** Ask for the text of the thinking, or a summary of it. */
  readonly show?: boolean | undefined
}

/** A tool that the provider runs itself, as it stands in the provider's `tools`. */
export interface ServerTool {
  /** `openai` (Responses), `anthropic` or `google`. Targets of any other family are passed over. */
  readonly origin: string
  readonly tool: Json
}

/**
 * What becomes of a *hint*, a field without which the answer is right all the same, where a target cannot take it.
 * `refuse`: the target is passed over with `Unsupported`. `dropHints`: the field is left out or brought to the nearest
 * value, and reported. Absent: a target is passed over for hints that shape the answer (`seed`, `topK`, `temperature`,
 * `topP`, penalties, an effort of `none`), and all other hints are left out and reported.
 */
export type Losses = "refuse" | "dropHints"

/** Asks for JSON instead of prose. */
export interface Output {
  readonly type: "json"
  /** Label of the schema, where a provider wants one: 1 to 64 letters, digits, `_` or `-`. Default `output`. */
  readonly name?: string | undefined
  /** Absent: any JSON. */
  readonly schema?: JsonSchema | undefined
  /**
   * The answer must fit the schema. It says something to OpenAI, which then wants closed objects with all properties
   * required; Anthropic, Google and Workers AI hold to a schema in any case. Default: `false`.
   */
  readonly strict?: boolean | undefined
  /** What the schema is for. A hint to OpenAI. */
  readonly description?: string | undefined
}

/** A chat request that says nothing about a provider. Absent fields are left to the provider's defaults. */
export interface Request {
  /** At least one. */
  readonly messages: ReadonlyArray<Message>
  /** Upper bound of the answer, thinking included: a whole number from 1. Anthropic needs one and gets 4096. */
  readonly maxTokens?: number | undefined
  /**
   * From 0; up to 1 (Anthropic), 2 (OpenAI, Google) or 5 (Workers AI). Newer Claude and thinking OpenAI models take
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
  /** Texts that end the answer, not empty ones. */
  readonly stop?: ReadonlyArray<string> | undefined
  /** A whole number. Anthropic has none: a request with a seed is refused there. */
  readonly seed?: number | undefined
  readonly tools?: ReadonlyArray<Tool> | undefined
  readonly toolChoice?: ToolChoice | undefined
  /** Tools that the provider runs itself. */
  readonly serverTools?: ReadonlyArray<ServerTool> | undefined
  /** `false`: at most one tool call in an answer. Google and Workers AI cannot promise that for several tools. */
  readonly parallelToolCalls?: boolean | undefined
  readonly output?: Output | undefined
  readonly reasoning?: Reasoning | undefined
  /** Log probabilities with so many alternatives per token: 0 to 20. OpenAI and Vertex have them. */
  readonly logprobs?: number | undefined
  /** How long answers are. A hint to OpenAI. */
  readonly verbosity?: "low" | "medium" | "high" | undefined
  /** Class of service. A hint. */
  readonly tier?: "auto" | "default" | "flex" | "priority" | "fast" | undefined
  /** Requests that begin alike and have the same key find each other's prompt cache. A hint to OpenAI. */
  readonly cacheKey?: string | undefined
  /** Labels that the provider keeps with the request: OpenAI with `extra.store`. A hint. */
  readonly metadata?: { readonly [key: string]: string } | undefined
  /** See {@link Losses}. */
  readonly losses?: Losses | undefined
  /**
   * Stable name of the end user, against abuse: OpenAI's `user` and Anthropic's `metadata.user_id`. It changes no
   * answer, so Google, Workers AI and Mistral, which have no such field, are sent none: it is a hint.
   */
  readonly user?: string | undefined
  /** Fields of the provider's own body. They are put in last and replace what is there, key by key at the top level. */
  readonly extra?: { readonly [key: string]: Json } | undefined
}

/** What a chat accepts: a request, or a text, which is one user message. */
export type Input = string | Request

/**
 * Tokens as the provider counted them, brought to one meaning: `inputTokens` includes cached ones and `outputTokens`
 * includes reasoning, in every dialect. What the provider did not say is absent, never 0.
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
  /** Part of `inputTokens` that was heard. */
  readonly audioInputTokens?: number
  /** Part of `outputTokens` that was spoken. */
  readonly audioOutputTokens?: number
  /** Part of `inputTokens` that the provider's own tools put into the prompt. */
  readonly toolInputTokens?: number
}

/**
 * Why the model stopped. `contentFilter` also stands for a refusal and for a prompt that was blocked; `pause` for a
 * turn that Anthropic interrupted while its own tools ran. Their calls and results are in `Reply.parts`, for which
 * messages have no place; Anthropic's own messages in `extra.messages` continue it.
 */
export type FinishReason = "stop" | "length" | "toolCalls" | "contentFilter" | "pause" | "other"

/** A token of an answer with its log probability. */
export interface TokenLogprob {
  readonly token: string
  readonly logprob: number
  /** Alternatives in its place, the likeliest first. */
  readonly top?: ReadonlyArray<{ readonly token: string; readonly logprob: number }>
}

/** A part of an answer. */
export type ReplyPart = TextPart | ReasoningPart | RefusalPart | ImagePart | FilePart

/** The answer to a chat request. */
export interface Reply {
  /**
   * All text parts, joined. Empty when the model only called tools or made other output, and when it was cut off or
   * filtered before it said anything.
   */
  readonly text: string
  readonly reasoning?: string
  readonly toolCalls: ReadonlyArray<ToolCall>
  /** Output that has no neutral form, such as images and audio, as the provider wrote it. Absent when there is none. */
  readonly parts?: ReadonlyArray<Json>
  /**
   * The answer part by part, in order: only where `text` and `reasoning` do not say it all, as with signatures,
   * citations, refusals and images. Tool calls follow it.
   */
  readonly content?: ReadonlyArray<ReplyPart>
  /** Words of a refusal, which are the text where there is no other. */
  readonly refusal?: string
  /** The text of `stop` that ended the answer, where the provider says which. */
  readonly stopSequence?: string
  readonly logprobs?: ReadonlyArray<TokenLogprob>
  /** Class of service that the request got, in the provider's words. */
  readonly tier?: string
  readonly finishReason: FinishReason
  readonly usage: Usage
  /** The model as the provider names it, often more precise than what was asked for. */
  readonly model?: string
  readonly id?: string
  /** The provider's whole body, so that fields unknown here survive. */
  readonly raw: unknown
}

/** What a writer of requests is told about the target. */
export interface EncodeOptions {
  /**
   * Called for each hint that is left out or changed, with its path: `seed`, or `temperature: at most 1` where another
   * value is sent.
   */
  readonly onDropped?: ((field: string) => void) | undefined
}

/** What a reader of answers is told about the target. */
export interface DecodeOptions {
  /**
   * Whether an answer may have nothing in it. Default `false`: without text, tool call or other output it is refused.
   */
  readonly allowEmpty?: boolean | undefined
}
