/**
 * What the dialects share: the neutral chat types (which `Chat` re-exports), the checks every request passes before a
 * dialect sees it, and small readers for provider bodies. Plain checks only: no Schema runs when a call is made.
 *
 * Inside this folder a check that fails calls {@link refuse}, which leaves through {@link attempt} at the border of
 * the codec. This keeps the codecs as short as the bodies they describe, and costs nothing on the way that succeeds.
 */
import * as Result from "effect/Result"
import { isRecord, jsonText, optionalText, parseJson, strayField } from "../data/json.ts"
import type {
  AssistantMessage,
  DecodeOptions,
  ImagePart,
  Input,
  Json,
  Message,
  Output,
  PromptMessage,
  Reply,
  Request,
  TextPart,
  Tool,
  ToolChoice,
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
  readonly encode: (input: In, model: string) => Result.Result<Record<string, unknown>, Issue>
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
const isJson = (value: unknown): value is Json =>
  typeof value === "object" || typeof value === "string" || typeof value === "boolean" || Number.isFinite(value)

/** Writes JSON text; what has none (a cycle, a bigint, `undefined`) is refused. */
export const writeJson = (value: unknown, field: string): string => jsonText(value) ?? refuse(field, "a JSON value")

/**
 * Arguments of a tool call as they were sent: JSON text, or (Workers AI, Ollama) already a value. Nothing, empty text and
 * `null` are what servers send for a function without parameters.
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

export const namePattern = /^[A-Za-z0-9_-]{1,64}$/
export const nameAccepted = "1 to 64 letters, digits, `_` or `-`"

/** See `Chat.toRequest`. */
export const toRequest = (input: Input): Request =>
  typeof input === "string" ? { messages: [{ role: "user", content: input }] } : input

/** The request behind an input, after the checks that hold for every dialect. */
export const checked = (input: Input, limits: { readonly temperature: number }): Request => {
  const request = toRequest(input)
  // A text has no field that could be wrong.
  if (typeof input === "string") return request
  onlyKnown(fields(request, "request"), requestFields)
  if (list(request.messages, "messages").length === 0) refuse("messages", "at least one message")
  request.messages.forEach((message, i) => {
    checkMessage(message, `messages[${i}]`)
  })
  const { extra, maxTokens, output, seed, stop, temperature, tools, toolChoice, topP, user } = request
  checkLength(maxTokens, "maxTokens")
  within(temperature, "temperature", limits.temperature, unsupported)
  within(topP, "topP", 1)
  if (seed !== undefined && !Number.isSafeInteger(seed)) refuse("seed", "a whole number")
  if (stop !== undefined) checkTexts(stop, "stop")
  if (tools !== undefined) checkTools(tools)
  if (toolChoice !== undefined) checkToolChoice(toolChoice, tools ?? [])
  if (output !== undefined) checkOutput(output)
  if (user !== undefined) nonEmptyText(user, "user")
  if (extra !== undefined) fields(extra, "extra")
  return request
}

/** The fields of a request. */
export const requestFields = [
  "messages",
  "maxTokens",
  "temperature",
  "topP",
  "stop",
  "seed",
  "tools",
  "toolChoice",
  "output",
  "user",
  "extra"
] satisfies ReadonlyArray<keyof Request>

/** Refuses what no dialect would write: `max_tokens` of an SDK would vanish otherwise. */
const onlyKnown = (value: Fields, names: ReadonlyArray<string>, path = ""): void => {
  const stray = strayField(value, names)
  if (stray !== undefined) refuse(path + stray, `one of ${names.join(", ")}`)
}

/** Refuses a list that holds anything but texts. Returns how many there are. */
export const checkTexts = (value: ReadonlyArray<string>, field: string): number => {
  list(value, field).forEach((item, i) => void nonEmptyText(item, `${field}[${i}]`))
  return value.length
}

/** Refuses a bound that is set and is no whole number from 1. */
export const checkLength = (value: number | undefined, field: string): void => {
  if (value !== undefined && !(Number.isSafeInteger(value) && value >= 1)) refuse(field, "a whole number from 1")
}

/** `tooLarge` refuses what is larger: of what one dialect does not take another one may take more. */
const within = (value: number | undefined, field: string, max: number, tooLarge = refuse): void => {
  if (value === undefined || (typeof value === "number" && value >= 0 && value <= max)) return
  const no = Number.isFinite(value) && value > max ? tooLarge : refuse
  no(field, `a number from 0 to ${max}`)
}

const checkMessage = (message: Message, field: string): void => {
  const own = fields(message, field)
  const known = (...names: ReadonlyArray<string>) => onlyKnown(own, ["role", "content", ...names], `${field}.`)
  switch (message.role) {
    case "system":
    case "user":
      known()
      checkContent(message.content, `${field}.content`, message.role === "user" ? "image" : undefined)
      return
    case "assistant": {
      known("toolCalls")
      const { content, toolCalls = [] } = message
      const calls = list(toolCalls, `${field}.toolCalls`).length
      // Nothing may stand beside calls. A caller without types may give no content at all.
      if (calls === 0 || content?.length !== 0) checkContent(content, `${field}.content`, "reasoning")
      toolCalls.forEach((call, i) => {
        const at = `${field}.toolCalls[${i}]`
        nonEmptyText(fields(call, at).id, `${at}.id`)
        nonEmptyText(call.name, `${at}.name`)
        if (!isJson(call.arguments)) refuse(`${at}.arguments`, "a JSON value")
      })
      return
    }
    case "tool":
      known("toolCallId", "name")
      nonEmptyText(message.toolCallId, `${field}.toolCallId`)
      text(message.content, `${field}.content`)
      return
    default:
      refuse(`${field}.role`, "system, user, assistant or tool")
  }
}

/** What a message may hold, whoever speaks. */
type Content = PromptMessage["content"] | AssistantMessage["content"]

/** Checks texts, and parts of the one `other` type that the speaker has. */
const checkContent = (content: Content, field: string, other: "image" | "reasoning" | undefined): void => {
  if (typeof content === "string") return
  if (list(content, field).length === 0) refuse(field, "a string, or at least one part")
  content.forEach((part, i) => {
    const at = `${field}[${i}]`
    fields(part, at)
    if (part.type === "image") other === "image" ? image(part, at) : refuse(at, "text: images are for user messages")
    else if (part.type === "text" || part.type === other) text(part.text, `${at}.text`)
    else refuse(`${at}.type`, other === undefined ? "text" : `text or ${other}`)
  })
}

/** Where an image is: an address to be fetched, or the data itself. */
export type ImageSource =
  | { readonly type: "url"; readonly url: string; readonly mediaType: string | undefined }
  | { readonly type: "data"; readonly data: string; readonly mediaType: string }

/** Reads an image part; a `data:` URL counts as data. */
export const image = (part: ImagePart, field: string): ImageSource => {
  const { data, mediaType, url } = part
  if ((url === undefined) === (data === undefined)) refuse(field, "either url or data")
  if (data !== undefined) {
    const type = typeof mediaType === "string" && /^image\/[\w.+-]+$/.test(mediaType) ? mediaType : undefined
    return {
      type: "data",
      data: nonEmptyText(data, `${field}.data`),
      mediaType: type ?? refuse(`${field}.mediaType`, "a media type such as image/png")
    }
  }
  const address = nonEmptyText(url, `${field}.url`)
  if (!/^data:/i.test(address)) return { type: "url", url: address, mediaType }
  const match = /^data:(image\/[\w.+-]+);base64,(?=.)/i.exec(address)
  return match?.[1] === undefined
    ? refuse(`${field}.url`, "an address, or data:image/…;base64,…")
    : { type: "data", data: address.slice(match[0].length), mediaType: match[1] }
}

const checkFlag = (value: unknown, field: string): void => {
  if (value !== undefined && typeof value !== "boolean") refuse(field, "a boolean")
}

const checkName = (name: unknown, field: string): void => {
  if (!(typeof name === "string" && namePattern.test(name))) refuse(field, nameAccepted)
}

const checkTools = (tools: ReadonlyArray<Tool>): void => {
  const seen = new Set<string>()
  list(tools, "tools")
  tools.forEach((tool, i) => {
    const at = `tools[${i}]`
    fields(tool, at)
    checkName(tool.name, `${at}.name`)
    if (seen.has(tool.name)) refuse(`${at}.name`, "a name that no other tool has")
    seen.add(tool.name)
    if (tool.description !== undefined) text(tool.description, `${at}.description`)
    if (!isFields(tool.parameters)) refuse(`${at}.parameters`, "a JSON Schema object")
    checkFlag(tool.strict, `${at}.strict`)
  })
}

const checkToolChoice = (choice: ToolChoice, tools: ReadonlyArray<Tool>): void => {
  if (tools.length === 0) refuse("toolChoice", "nothing, as there are no tools")
  if (choice === "auto" || choice === "none" || choice === "required") return
  if (!isFields(choice)) refuse("toolChoice", "auto, none, required or the name of a tool")
  else if (!tools.some((tool) => tool.name === choice.name)) refuse("toolChoice.name", "the name of a tool")
}

const checkOutput = (output: Output): void => {
  if (!isFields(output) || output.type !== "json") refuse("output.type", "json")
  checkName(output.name ?? "output", "output.name")
  checkFlag(output.strict, "output.strict")
  // Without a schema there is nothing to be strict about.
  if ((output.strict || output.schema !== undefined) && !isFields(output.schema)) {
    refuse("output.schema", "a JSON Schema object")
  }
}

const isSaid = (content: Content): content is PromptMessage["content"] =>
  typeof content === "string" || content.every(({ type }) => type !== "reasoning")

/** What the model thought before it said the rest. */
export const thoughtOf = (content: Content): string =>
  isSaid(content) ? "" : content.map((part) => (part.type === "reasoning" ? part.text : "")).join("")

/** A message without what was thought; beside thinking its texts are one. */
export const spoken = (content: Content): PromptMessage["content"] =>
  isSaid(content) ? content : textsOf(content).join("")

/** The other way round: what was said, after what was thought. */
export const afterThought = (
  thought: string | undefined,
  content: string | ReadonlyArray<TextPart>
): AssistantMessage["content"] => {
  if (!thought) return content
  const said: ReadonlyArray<TextPart> =
    typeof content !== "string" ? content : content === "" ? [] : [{ type: "text", text: content }]
  return [{ type: "reasoning", text: thought }, ...said]
}

/** The text parts of a message that holds no images. */
export const textsOf = (content: Content): ReadonlyArray<string> =>
  typeof content === "string" ? [content] : content.flatMap((part) => (part.type === "text" ? [part.text] : []))

/** Like {@link textsOf}, for providers that refuse empty text. */
export const nonEmptyTexts = (content: PromptMessage["content"], field: string): ReadonlyArray<string> =>
  typeof content === "string"
    ? [nonEmptyText(content, field)]
    : textsOf(content).map((item, i) => nonEmptyText(item, `${field}[${i}].text`))
