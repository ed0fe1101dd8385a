/**
 * What the dialects share: their interface, the way out for what is wrong, and small readers for provider bodies. Plain
 * checks only: no Schema runs when a call is made.
 *
 * Inside this folder a check that fails calls {@link refuse}, which leaves through {@link attempt} at the border of
 * the codec. This keeps the codecs as short as the bodies they describe, and costs nothing on the way that succeeds.
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

/** A field that is not as it should be, without its value. */
export interface Issue {
  /** Path of the field, for example `messages[1].content` or `choices[0].message`. */
  readonly field: string
  /** What would have been accepted. */
  readonly accepted: string
  /** The request is right, and this dialect has no words for it. */
  readonly isUnsupported?: boolean
}

/** How one provider's bodies are written and read. Both directions are total: they never throw. */
export interface Dialect<In, Out> {
  readonly id: string
  /** The provider's request body, ready for `JSON.stringify`. */
  readonly encode: (input: In, model: string, options?: EncodeOptions) => Result.Result<Record<string, unknown>, Issue>
  /** Reads a parsed success body. */
  readonly decode: (body: unknown, options?: DecodeOptions) => Result.Result<Out, Issue>
  readonly usage: (out: Out) => Usage | undefined
  readonly model: (out: Out) => string | undefined
  /** Chat dialects: reads an answer that came in one piece although a stream was asked for. */
  readonly reply?: (body: unknown, options?: DecodeOptions) => Result.Result<Reply, Issue>
  /** Chat dialects of your own: how the answer streams. */
  readonly streaming?: Streaming
  /** The answer that a streamed reply stands for. `Provider` adds it to chat dialects of your own. */
  readonly ofReply?: (reply: Reply) => Out
}

/** A chat dialect from its two directions. */
export const chatDialect = (
  dialect: Pick<Dialect<Input, Reply>, "id" | "encode" | "decode">
): Dialect<Input, Reply> => ({
  ...dialect,
  reply: dialect.decode,
  ofReply: sameReply,
  usage: usageOf,
  model: modelOf
})

/** A streamed reply is the answer of a chat dialect itself. */
export const sameReply = (reply: Reply): Reply => reply

/** An object being read. */
export type Fields = { readonly [key: string]: unknown }

class Refusal {
  readonly issue: Issue
  constructor(issue: Issue) {
    this.issue = issue
  }
}

/** Leaves the surrounding {@link attempt} with an issue. */
export const refuse = (field: string, accepted: string): never => {
  throw new Refusal({ field, accepted })
}

/** {@link refuse}, for what other dialects can say. */
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

// Bodies come from `JSON.parse`, so what is inside an object is JSON and is not walked again.
export const isJson = (value: unknown): value is Json =>
  typeof value === "object" || typeof value === "string" || typeof value === "boolean" || Number.isFinite(value)

/** Writes JSON text; what has none (a cycle, a bigint, `undefined`) is refused. */
export const writeJson = (value: unknown, field: string): string => jsonText(value) ?? refuse(field, "a JSON value")

/**
 * Arguments of a tool call as they were sent: JSON text, or (Workers AI, Ollama) already a value. Nothing, empty text
 * and `null` are what servers send for a function without parameters.
 */
export const toolArguments = (value: unknown, field: string): Json => {
  const parsed = typeof value === "string" ? (value.trim() ? parseJson(value) : null) : (value ?? null)
  return isJson(parsed) ? (parsed ?? {}) : refuse(field, "JSON")
}

/** Text, or what was JSON text until a server parsed it: Workers AI does so with tokens that look like a number. */
export const words = (value: unknown, field: string): string =>
  typeof (value ?? "") === "string" ? text(value, field) : writeJson(value, field)

/** A count as it may go into {@link Usage}: a miscounted answer is still an answer, so anything else is left out. */
export const count = (value: unknown): number | undefined =>
  typeof value === "number" && value >= 0 && value <= Number.MAX_SAFE_INTEGER ? value : undefined

/** A total where the provider gives none; unknown as long as one side is. */
export const sum = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? undefined : a + b

/** The dialect's `usage`: `undefined` when the provider said nothing. */
export const usageOf = (out: { readonly usage: Usage }): Usage | undefined => {
  for (const _ in out.usage) return out.usage
  return undefined
}

export const modelOf = (out: { readonly model?: string }): string | undefined => out.model

/** See `Chat.toRequest`. */
export const toRequest = (input: Input): Request =>
  typeof input === "string" ? { messages: [{ role: "user", content: input }] } : input

/** What a message may hold, whoever speaks. */
export type Content = PromptMessage["content"] | AssistantMessage["content"] | ToolMessage["content"]

const isSaid = (content: Content): content is ToolMessage["content"] =>
  typeof content === "string" || content.every(({ type }) => type !== "reasoning" && type !== "refusal")

/** What the model thought before it said the rest. */
export const thoughtOf = (content: Content): string =>
  isSaid(content) ? "" : content.map((part) => (part.type === "reasoning" ? part.text : "")).join("")

/** A message without what was thought; beside thinking its texts are one. A refusal is text. */
export const spoken = (content: Content): PromptMessage["content"] =>
  isSaid(content) ? content : textsOf(content).join("")

/** The other way round: what was said, after what was thought. */
export const afterThought = (
  thought: string | undefined,
  content: string | ReadonlyArray<TextPart | RefusalPart>
): AssistantMessage["content"] => {
  if (!thought) return content
  const said: ReadonlyArray<TextPart | RefusalPart> =
    typeof content !== "string" ? content : content === "" ? [] : [{ type: "text", text: content }]
  return [{ type: "reasoning", text: thought }, ...said]
}

/** The texts of a message, those of a refusal included. */
export const textsOf = (content: Content): ReadonlyArray<string> =>
  typeof content === "string"
    ? [content]
    : content.flatMap((part) => (part.type === "text" || part.type === "refusal" ? [part.text] : []))
