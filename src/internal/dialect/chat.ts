/**
 * The neutral chat types, which `Chat` re-exports.
 */
import type * as Schema from "effect/Schema"

/** A JSON value. */
export type Json = Schema.Json

/** A JSON Schema document; it is passed on as it is, so it must keep to what the provider supports. */
export type JsonSchema = { readonly [keyword: string]: unknown }

/** A piece of text. */
export interface TextPart {
  readonly type: "text"
  readonly text: string
}

/**
 * An image in a user message: exactly one of `url` (an address, or a `data:` URL) and `data` (base64, which needs
 * `mediaType`). Which media types are accepted, and whether addresses are fetched, differs between providers.
 */
export interface ImagePart {
  readonly type: "image"
  readonly url?: string | undefined
  /** Base64, without a `data:` prefix. */
  readonly data?: string | undefined
  /** For example `image/png`. */
  readonly mediaType?: string | undefined
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
}

/** What the application says: instructions, or the user's turn. Images are accepted in user messages only. */
export interface PromptMessage {
  readonly role: "system" | "user"
  readonly content: string | ReadonlyArray<TextPart | ImagePart>
}

/**
 * What the model thought before it said something or called tools. It goes back to models that refuse the next turn without it
 * (DeepSeek, Kimi), and is left out for all others.
 */
export interface ReasoningPart {
  readonly type: "reasoning"
  readonly text: string
}

/** What the model said earlier. */
export interface AssistantMessage {
  readonly role: "assistant"
  readonly content: string | ReadonlyArray<TextPart | ReasoningPart>
  readonly toolCalls?: ReadonlyArray<ToolCall> | undefined
}

/** The answer of a tool to one call. */
export interface ToolMessage {
  readonly role: "tool"
  readonly toolCallId: string
  /** Name of the tool. Google needs it; absent, it is looked up in the earlier messages. */
  readonly name?: string | undefined
  readonly content: string
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
   * want closed objects (`additionalProperties: false`). Google enforces all tools of a request or none. Default: `false`.
   */
  readonly strict?: boolean | undefined
}

/** Which tool the model may, must not or must call. Needs `tools`. */
export type ToolChoice = "auto" | "none" | "required" | { readonly name: string }

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
}

/** A chat request that says nothing about a provider. Absent fields are left to the provider's defaults. */
export interface Request {
  /** At least one. */
  readonly messages: ReadonlyArray<Message>
  /** Upper bound of the answer, thinking included: a whole number from 1. Anthropic needs one and gets 4096. */
  readonly maxTokens?: number | undefined
  /** From 0; up to 1 (Anthropic), 2 (OpenAI, Google) or 5 (Workers AI). Many thinking models refuse any. */
  readonly temperature?: number | undefined
  /** 0 to 1. */
  readonly topP?: number | undefined
  /** Texts that end the answer, not empty ones. */
  readonly stop?: ReadonlyArray<string> | undefined
  /** A whole number. Anthropic has none: a request with a seed is refused there. */
  readonly seed?: number | undefined
  readonly tools?: ReadonlyArray<Tool> | undefined
  readonly toolChoice?: ToolChoice | undefined
  readonly output?: Output | undefined
  /**
   * Stable name of the end user, against abuse: OpenAI's `user` and Anthropic's `metadata.user_id`. It changes no answer,
   * so Google, Workers AI and Mistral, which have no such field, are sent none.
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
}

/** Why the model stopped. `contentFilter` also stands for a refusal and for a prompt that was blocked. */
export type FinishReason = "stop" | "length" | "toolCalls" | "contentFilter" | "other"

/** The answer to a chat request. */
export interface Reply {
  /**
   * All text parts, joined. Empty when the model only called tools or made other output, and when it was cut off or filtered
   * before it said anything.
   */
  readonly text: string
  readonly reasoning?: string
  readonly toolCalls: ReadonlyArray<ToolCall>
  /** Output that has no neutral form, such as images and audio, as the provider wrote it. Absent when there is none. */
  readonly parts?: ReadonlyArray<Json>
  readonly finishReason: FinishReason
  readonly usage: Usage
  /** The model as the provider names it, often more precise than what was asked for. */
  readonly model?: string
  readonly id?: string
  /** The provider's whole body, so that fields unknown here survive. */
  readonly raw: unknown
}

/** What a reader of answers is told about the target. */
export interface DecodeOptions {
  /** Whether an answer may have nothing in it. Default `false`: without text, tool call or other output it is refused. */
  readonly allowEmpty?: boolean | undefined
}
