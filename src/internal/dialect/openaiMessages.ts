/**
 * Writes conversations for chat completions.
 *
 * Shapes: https://platform.openai.com/docs/api-reference/chat/create.
 */
import { callIdFor } from "./callIds.ts"
import type { AssistantMessage, FilePart, ImagePart, Message, TextPart, ToolCall } from "./chat.ts"
import { sourceOf } from "./checked.ts"
import { spoken, textsOf, thoughtOf, unsupported, writeJson } from "./codec.ts"
import type { Lose } from "./hints.ts"

/** State of writing one request. */
export interface Writing {
  readonly model: string
  /** Whether the target is OpenAI itself, and not a server of its dialect. */
  readonly isOpenai: boolean
  /** Whether OpenAI shows thinking here. */
  readonly showsThinking?: boolean
  readonly lose: Lose
}

type Media = ImagePart | FilePart

export const encodeMessages = (messages: ReadonlyArray<Message>, writing: Writing): ReadonlyArray<object> => {
  const out: Array<object> = []
  // Tool results are text only, so their files follow when all calls have results.
  let files: Array<unknown> = []
  const flush = (): void => {
    if (files.length > 0) out.push({ role: "user", content: files })
    files = []
  }
  messages.forEach((message, i) => {
    const field = `messages[${i}]`
    const { content, role } = message
    if (role !== "tool") {
      flush()
      out.push({
        role,
        content:
          role === "assistant"
            ? encodeSaid(content, field, writing)
            : encodeContent(content, `${field}.content`, writing),
        ...(role === "assistant" && encodeCalling(message, field, writing))
      })
      return
    }
    const media = typeof content === "string" ? [] : content.filter(isMedia)
    out.push({ role, ...encodeResult(message, field, writing, media.length) })
    if (typeof content !== "string" && media.length > 0) {
      writing.lose(`${field}.content`, "text", "files in a user message", "always")
      files.push({
        type: "text",
        text: `Files of the tool call ${callIdFor(message.toolCallId, writing.model, writing.isOpenai)}:`
      })
      content.forEach((part, j) => {
        if (isMedia(part)) files.push(encodePart(part, `${field}.content[${j}]`, writing))
      })
    }
  })
  flush()
  return out
}

const isMedia = (part: TextPart | Media): part is Media => part.type !== "text"

/** Encodes the result of a tool. It names content other than text. */
export const encodeResult = (
  { content, isError, toolCallId }: Extract<Message, { readonly role: "tool" }>,
  field: string,
  { isOpenai, lose, model }: Writing,
  files = 0
): { readonly tool_call_id: string; readonly content: string } => {
  if (isError === true) lose(`${field}.isError`, "nothing")
  if (typeof content !== "string") {
    content.forEach((part, j) => {
      if (part.type === "text" && part.cache !== undefined) lose(`${field}.content[${j}].cache`, "nothing")
    })
  }
  const texts = textsOf(content)
  return {
    tool_call_id: callIdFor(toolCallId, model, isOpenai),
    content: (files > 0 ? [...texts, "(The files follow in the next message.)"] : texts).join("\n")
  }
}

const encodeSaid = (content: AssistantMessage["content"], field: string, writing: Writing): unknown => {
  if (typeof content === "string") return content
  // Servers of other vendors may not support refusals.
  if (writing.isOpenai && content.some(({ type }) => type === "refusal")) {
    return content.flatMap((part) =>
      part.type === "reasoning"
        ? []
        : [part.type === "text" ? { type: "text", text: part.text } : { type: "refusal", refusal: part.text }]
    )
  }
  return encodeContent(spoken(content), `${field}.content`, writing)
}

/**
 * Encodes the tool calls of a message, with the thinking before them for models that reject the next turn without it.
 */
export const encodeCalling = (
  { content, toolCalls }: AssistantMessage,
  field: string,
  writing: Writing
): Record<string, unknown> => {
  const { lose, model } = writing
  const isCalling = toolCalls !== undefined && toolCalls.length > 0
  const thought = thoughtOf(content)
  // DeepSeek requires the field even without thinking (https://api-docs.deepseek.com/guides/thinking_mode); Kimi
  // rejects an empty one.
  const wanted = isCalling && (/deepseek(?!.*distill)/i.test(model) || (thought !== "" && /kimi/i.test(model)))
  if (typeof content !== "string") {
    content.forEach((part, j) => {
      if (part.type === "reasoning" && !wanted) lose(`${field}.content[${j}]`, "nothing", undefined, "always")
    })
  }
  return {
    ...(wanted && { reasoning_content: thought }),
    ...(isCalling && { tool_calls: encodeToolCalls(toolCalls, field, writing) })
  }
}

const encodeContent = (content: string | ReadonlyArray<TextPart | Media>, field: string, writing: Writing): unknown => {
  if (typeof content === "string") return content
  // With tool calls the content has no parts, and OpenAI accepts an empty string.
  if (content.length === 0) return ""
  return content.map((part, i) => encodePart(part, `${field}[${i}]`, writing))
}

const encodePart = (part: TextPart | Media, at: string, { isOpenai, lose }: Writing): object => {
  const { cache } = part
  if (cache !== undefined && !isOpenai) lose(`${at}.cache`, "nothing")
  if (cache?.ttl !== undefined && isOpenai) lose(`${at}.cache.ttl`, "nothing")
  const mark = cache !== undefined && isOpenai ? { prompt_cache_breakpoint: { mode: "explicit" } } : {}
  return { ...(part.type === "text" ? { type: "text", text: part.text } : encodeMedia(part, at, isOpenai)), ...mark }
}

const encodeMedia = (part: Media, at: string, isOpenai: boolean): object => {
  const source = sourceOf(part, at)
  const { kind, type } = source
  const data = type === "data" ? `data:${source.mediaType};base64,${source.data}` : undefined
  if (kind === "image") {
    if (type === "id") unsupported(`${at}.fileId`, "url or data")
    const detail = part.type === "image" && part.detail !== undefined ? { detail: part.detail } : {}
    return { type: "image_url", image_url: { url: type === "url" ? source.url : data, ...detail } }
  }
  if (kind === "audio" && type === "data") {
    const format = /^audio\/(?:x-)?(wav|mp3|mpeg)$/.exec(source.mediaType)?.[1]
    if (format === undefined) unsupported(at, "audio/wav or audio/mpeg")
    return { type: "input_audio", input_audio: { data: source.data, format: format === "wav" ? format : "mp3" } }
  }
  if (kind !== "document") unsupported(at, "text, an image, a document or audio as data")
  if (type === "url") unsupported(`${at}.url`, "data or fileId")
  if (type === "id" && !(isOpenai && source.origin === "openai"))
    unsupported(`${at}.fileId.origin`, isOpenai ? "openai" : "nothing")
  const name = part.type === "file" ? part.name : undefined
  return {
    type: "file",
    file:
      type === "id"
        ? { file_id: source.id }
        : { filename: name ?? (source.mediaType === "application/pdf" ? "document.pdf" : "document"), file_data: data }
  }
}

const encodeToolCalls = (
  calls: ReadonlyArray<ToolCall>,
  field: string,
  { isOpenai, model }: Writing
): ReadonlyArray<unknown> =>
  calls.map((call, i) => {
    const signature = googleSignature(call)
    return {
      id: callIdFor(call.id, model, isOpenai),
      type: "function",
      function: { name: call.name, arguments: writeJson(call.arguments, `${field}.toolCalls[${i}].arguments`) },
      // Google's compatible endpoint reads the token here; other servers may reject an unknown field.
      ...(signature !== undefined &&
        /gemini/i.test(model) && { extra_content: { google: { thought_signature: signature } } })
    }
  })

/** Returns the token of a call that Gemini made. */
export const googleSignature = ({ opaque, signature }: ToolCall): string | undefined =>
  signature ?? (opaque?.origin === "google" ? opaque.value : undefined)
