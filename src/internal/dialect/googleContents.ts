/**
 * Writes conversations for Google.
 *
 * Shapes: https://ai.google.dev/api/caching#Content and https://ai.google.dev/gemini-api/docs/thought-signatures
 * (signatures go back in the same part).
 */
import { defined } from "../data/defined.ts"
import type { AssistantMessage, FilePart, ImagePart, Message, TextPart, ToolMessage } from "./chat.ts"
import { sourceOf } from "./checked.ts"
import { isFields, nonEmptyText, textsOf, unsupported } from "./codec.ts"
import type { Lose } from "./hints.ts"
import type { Gemini } from "./models.ts"
import { googleSignature } from "./openaiMessages.ts"

/** State of writing one request. */
export interface Writing {
  readonly facts: Gemini
  /** Whether calls have ids: AI Studio matches calls and results by id; Vertex rejects the field. */
  readonly callIds: boolean
  readonly lose: Lose
}

type Media = ImagePart | FilePart

export const encodeContents = (messages: ReadonlyArray<Message>, writing: Writing): Record<string, unknown> => {
  const system: Array<unknown> = []
  const contents: Array<{ readonly role: string; readonly parts: ReadonlyArray<unknown> }> = []
  const names = new Map<string, string>()
  let results: Array<unknown> | undefined
  /** Calls of the latest turn, and the positions of the answered ones. */
  let called: ReadonlyArray<string> = []
  let ranks: Array<number> = []
  // Files that older models cannot take in a tool result.
  let files: Array<unknown> = []
  const flush = (): void => {
    if (files.length > 0) contents.push({ role: "user", parts: files })
    files = []
    results = undefined
  }
  messages.forEach((message, i) => {
    const field = `messages[${i}]`
    // System messages move out of the turns, so they end none.
    if (message.role === "user" || message.role === "assistant") flush()
    switch (message.role) {
      case "system":
        loseCaches(message.content, `${field}.content`, writing)
        system.push(...textsOf(message.content).flatMap((text) => (text === "" ? [] : [{ text }])))
        return
      case "user":
        contents.push({ role: "user", parts: encodeParts(message.content, `${field}.content`, writing) })
        return
      case "assistant": {
        for (const call of message.toolCalls ?? []) names.set(call.id, call.name)
        called = message.toolCalls?.map(({ id }) => id) ?? []
        const parts = encodeAssistant(message, field, writing)
        // An empty answer, or one with only the thinking of another model, leaves nothing to send.
        if (parts.length > 0) contents.push({ role: "model", parts })
        return
      }
      default: {
        // One turn must hold as many results as there were calls.
        if (results === undefined) {
          results = []
          ranks = []
          contents.push({ role: "user", parts: results })
        }
        const media = mediaOf(message, `${field}.content`, writing)
        const { isLevelled } = writing.facts
        // Without ids, only the order tells which call a result belongs to.
        const rank = writing.callIds ? -1 : called.indexOf(message.toolCallId)
        const later = rank < 0 ? -1 : ranks.findIndex((other) => other > rank)
        const at = later < 0 ? results.length : later
        ranks.splice(at, 0, rank)
        results.splice(
          at,
          0,
          encodeResult(
            message,
            names.get(message.toolCallId),
            field,
            writing,
            media.length > 0 && isLevelled ? media : []
          )
        )
        if (media.length === 0 || isLevelled) return
        writing.lose(`${field}.content`, "text", "files in a turn of the user", "always")
        files.push({ text: `Files of the tool call ${message.toolCallId}:` }, ...media)
      }
    }
  })
  flush()
  if (contents.length === 0) unsupported("messages", "at least one message that is not a system message")
  return { ...(system.length > 0 && { systemInstruction: { parts: system } }), contents }
}

const loseCaches = (content: string | ReadonlyArray<TextPart | Media>, field: string, { lose }: Writing): void => {
  if (typeof content === "string") return
  content.forEach((part, i) => {
    if (part.cache !== undefined) lose(`${field}[${i}].cache`, "nothing")
    if (part.type === "image" && part.detail !== undefined) lose(`${field}[${i}].detail`, "nothing")
    if (part.type === "file" && part.name !== undefined) lose(`${field}[${i}].name`, "nothing")
  })
}

const encodeParts = (
  content: string | ReadonlyArray<TextPart | Media>,
  field: string,
  writing: Writing
): ReadonlyArray<unknown> => {
  if (typeof content === "string")
    return content === "" ? unsupported(field, "a non-empty string") : [{ text: content }]
  loseCaches(content, field, writing)
  const parts = content.flatMap((part, i): ReadonlyArray<object> => {
    if (part.type !== "text") return [encodeMedia(part, `${field}[${i}]`)]
    return part.text === "" ? [] : [{ text: part.text }]
  })
  return parts.length === 0 ? unsupported(field, "a non-empty string") : parts
}

const encodeMedia = (part: Media, field: string): object => {
  const source = sourceOf(part, field)
  if (source.type === "data") return { inlineData: { mimeType: source.mediaType, data: source.data } }
  if (source.type === "id" && source.origin !== "google") unsupported(`${field}.fileId.origin`, "google")
  const uri = source.type === "id" ? source.id : source.url
  return { fileData: { fileUri: uri, ...defined({ mimeType: source.mediaType }) } }
}

const mediaOf = ({ content }: ToolMessage, field: string, writing: Writing): ReadonlyArray<object> => {
  loseCaches(content, field, writing)
  return typeof content === "string"
    ? []
    : content.flatMap((part, j) => (part.type === "text" ? [] : [encodeMedia(part, `${field}[${j}]`)]))
}

const encodeAssistant = (
  { content, toolCalls = [] }: AssistantMessage,
  field: string,
  { callIds, facts, lose }: Writing
): ReadonlyArray<unknown> => {
  const said =
    typeof content === "string"
      ? content === ""
        ? []
        : [{ text: content }]
      : content.flatMap((part, i) => {
          const at = `${field}.content[${i}]`
          const opaque = "opaque" in part && part.opaque?.origin === "google" ? part.opaque.value : undefined
          const signed = { text: part.text, ...defined({ thoughtSignature: opaque }) }
          if (part.type !== "reasoning") return part.text === "" && opaque === undefined ? [] : [signed]
          if (opaque === undefined) {
            lose(at, "thinking that Gemini has signed", undefined, "always")
            return []
          }
          return [{ ...signed, thought: true }]
        })
  return [
    ...said,
    ...toolCalls.map((call, i) => ({
      functionCall: {
        ...(callIds && { id: call.id }),
        name: call.name,
        args: isFields(call.arguments)
          ? call.arguments
          : unsupported(`${field}.toolCalls[${i}].arguments`, "a JSON object")
      },
      ...defined({ thoughtSignature: googleSignature(call) ?? (i === 0 && facts.isLevelled ? noSignature : undefined) })
    }))
  ]
}

// From Gemini 3 on, the first call of a turn needs a signature. Google documents this value for calls of another model,
// which a fallback in mid-conversation leaves behind.
const noSignature = "skip_thought_signature_validator"

const encodeResult = (
  { content, isError, name, toolCallId }: ToolMessage,
  called: string | undefined,
  field: string,
  { callIds }: Writing,
  media: ReadonlyArray<object>
): unknown => ({
  functionResponse: {
    ...(callIds && { id: toolCallId }),
    name: nonEmptyText(name ?? called, `${field}.name`),
    response: { [isError === true ? "error" : "output"]: textsOf(content).join("\n") },
    ...(media.length > 0 && { parts: media })
  }
})
