/**
 * Common parts of the dialects: their interface, the exit for faults, and small readers for provider bodies. Plain
 * checks only: no Schema runs during a call.
 *
 * Inside this folder a failed check calls {@link refuse}, which exits through {@link attempt} at the border of the
 * codec. This keeps the codecs as short as the bodies they describe, and costs nothing on success.
 */
import * as Result from "effect/Result"
import { isRecord, jsonText, optionalText, parseJson } from "../data/json.ts"
import type {
  AssistantMessage,
  DecodeOptions,
  EncodeOptions,
  Input,
  Json,
  PromptMessage,
  RefusalPart,
  Reply,
  Request,
  TextPart,
  ToolMessage,
  Usage
} from "./chat.ts"
import type { Streaming } from "./delta.ts"

export { optionalText, parseJson } from "../data/json.ts"

/** An invalid field, without its value. */
export interface Issue {
  /** Path of the field, for example `messages[1].content` or `choices[0].message`. */
  readonly field: string
  /** The accepted values. */
  readonly accepted: string
  /** Whether the request is valid, and only this dialect cannot express it. */
  readonly isUnsupported?: boolean
}

/** Writes and reads the bodies of one provider. Both directions are total: they never throw. */
export interface Dialect<In, Out> {
  readonly id: string
  /** Returns the provider's request body, ready for `JSON.stringify`. */
  readonly encode: (input: In, model: string, options?: EncodeOptions) => Result.Result<Record<string, unknown>, Issue>
  /** Reads the parsed body of a successful answer. */
  readonly decode: (body: unknown, options?: DecodeOptions) => Result.Result<Out, Issue>
  readonly usage: (out: Out) => Usage | undefined
  readonly model: (out: Out) => string | undefined
  /** For chat dialects: reads an answer that arrived complete although a stream was requested. */
  readonly reply?: (body: unknown, options?: DecodeOptions) => Result.Result<Reply, Issue>
  /** For custom chat dialects: how the answer streams. */
  readonly streaming?: Streaming
  /** Returns the answer for a streamed reply. `Provider` adds it to custom chat dialects. */
  readonly ofReply?: (reply: Reply) => Out
}

/** Makes a chat dialect of its two directions. */
export const chatDialect = (
  dialect: Pick<Dialect<Input, Reply>, "id" | "encode" | "decode">
): Dialect<Input, Reply> => ({
  ...dialect,
  reply: dialect.decode,
  ofReply: sameReply,
  usage: usageOf,
  model: modelOf
})

/** Returns the reply unchanged: it is the answer of a chat dialect. */
export const sameReply = (reply: Reply): Reply => reply

/** An object being read. */
export type Fields = { readonly [key: string]: unknown }

class Refusal {
  readonly issue: Issue
  constructor(issue: Issue) {
    this.issue = issue
  }
}

/** Exits from the surrounding {@link attempt} with an issue. */
export const refuse = (field: string, accepted: string): never => {
  throw new Refusal({ field, accepted })
}

/** The same as {@link refuse}, for something that other dialects can express. */
export const unsupported = (field: string, accepted: string): never => {
  throw new Refusal({ field, accepted, isUnsupported: true })
}

/** Runs a codec; a {@link refuse} inside becomes the failure. */
export const attempt = <A>(codec: () => A): Result.Result<A, Issue> => {
  try {
    return Result.succeed(codec())
  } catch (cause) {
    if (cause instanceof Refusal) return Result.fail(cause.issue)
    throw cause
  }
}

export const isFields: (value: unknown) => value is Fields = isRecord

export const fields = (value: unknown, field: string): Fields => (isFields(value) ? value : refuse(field, "an object"))

export const list = (value: unknown, field: string): ReadonlyArray<unknown> =>
  Array.isArray(value) ? value : refuse(field, "an array")

export const text = (value: unknown, field: string): string =>
  typeof value === "string" ? value : refuse(field, "a string")

export const nonEmptyText = (value: unknown, field: string): string =>
  optionalText(value) ?? refuse(field, "a non-empty string")

// Bodies come from `JSON.parse`, so the content of an object is JSON and need not be walked again.
export const isJson = (value: unknown): value is Json =>
  typeof value === "object" || typeof value === "string" || typeof value === "boolean" || Number.isFinite(value)

/** Writes JSON text, and rejects values that have none (a cycle, a bigint, `undefined`). */
export const writeJson = (value: unknown, field: string): string => jsonText(value) ?? refuse(field, "a JSON value")

/**
 * Reads the arguments of a tool call: JSON text, or (Workers AI, Ollama) a parsed value. For a function without
 * parameters, servers send no value, an empty string or `null`.
 */
export const toolArguments = (value: unknown, field: string): Json => {
  const parsed = typeof value === "string" ? (value.trim() ? parseJson(value) : null) : (value ?? null)
  return isJson(parsed) ? (parsed ?? {}) : refuse(field, "JSON")
}

/** Reads text that may have been parsed as JSON: Workers AI does so with tokens that look like a number. */
export const words = (value: unknown, field: string): string =>
  typeof (value ?? "") === "string" ? text(value, field) : writeJson(value, field)

/** Reads a count for {@link Usage}, and omits anything else, because a miscounted answer is still an answer. */
export const count = (value: unknown): number | undefined =>
  typeof value === "number" && value >= 0 && value <= Number.MAX_SAFE_INTEGER ? value : undefined

/** A total that the provider omits; unknown if one side is unknown. */
export const sum = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? undefined : a + b

/** Returns the dialect's `usage`; `undefined` if the provider reported none. */
export const usageOf = (out: { readonly usage: Usage }): Usage | undefined => {
  for (const _ in out.usage) return out.usage
  return undefined
}

export const modelOf = (out: { readonly model?: string }): string | undefined => out.model

/** See `Chat.toRequest`. */
export const toRequest = (input: Input): Request =>
  typeof input === "string" ? { messages: [{ role: "user", content: input }] } : input

/** The content of a message of any role. */
export type Content = PromptMessage["content"] | AssistantMessage["content"] | ToolMessage["content"]

const isSaid = (content: Content): content is ToolMessage["content"] =>
  typeof content === "string" || content.every(({ type }) => type !== "reasoning" && type !== "refusal")

/** Returns the thinking before the rest of a message. */
export const thoughtOf = (content: Content): string =>
  isSaid(content) ? "" : content.map((part) => (part.type === "reasoning" ? part.text : "")).join("")

/** Returns a message without its thinking. Beside thinking, its texts are joined to one. A refusal is text. */
export const spoken = (content: Content): PromptMessage["content"] =>
  isSaid(content) ? content : textsOf(content).join("")

/** The reverse: puts thinking before the content. */
export const afterThought = (
  thought: string | undefined,
  content: string | ReadonlyArray<TextPart | RefusalPart>
): AssistantMessage["content"] => {
  if (!thought) return content
  const said: ReadonlyArray<TextPart | RefusalPart> =
    typeof content !== "string" ? content : content === "" ? [] : [{ type: "text", text: content }]
  return [{ type: "reasoning", text: thought }, ...said]
}

/** Returns the texts of a message, including those of a refusal. */
export const textsOf = (content: Content): ReadonlyArray<string> =>
  typeof content === "string"
    ? [content]
    : content.flatMap((part) => (part.type === "text" || part.type === "refusal" ? [part.text] : []))
