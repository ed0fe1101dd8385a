/**
 * Writes conversations for Anthropic.
 *
 * Shapes: https://platform.claude.com/docs/en/api/messages. Thinking:
 * https://platform.claude.com/docs/en/build-with-claude/extended-thinking (blocks go back unchanged, before the calls
 * of their turn). Cache points: https://platform.claude.com/docs/en/build-with-claude/prompt-caching.
 */
import { defined } from "../data/defined.ts"
import type { AssistantMessage, CachePoint, FilePart, ImagePart, Message, TextPart, ToolMessage } from "./chat.ts"
import { sourceOf } from "./checked.ts"
import { isFields, refuse, unsupported } from "./codec.ts"
import type { Lose } from "./hints.ts"

/** State of writing one request. */
export interface Writing {
  readonly lose: Lose
  /** The mark of a cache point, as fields of a block. */
  readonly cacheOf: (cache: CachePoint | undefined, field: string) => object
}

/** Maximum number of cache marks in a request. */
const mostCachePoints = 4

export const makeWriting = (lose: Lose): Writing => {
  let marks = 0
  return {
    lose,
    cacheOf: (cache, field) => {
      if (cache === undefined) return {}
      if (++marks > mostCachePoints) {
        lose(field, `at most ${mostCachePoints} cache points in all`)
        return {}
      }
      const isBetween = cache.ttl === "30m"
      if (isBetween) lose(`${field}.ttl`, "5m or 1h", "1h")
      return { cache_control: { type: "ephemeral", ...defined({ ttl: isBetween ? "1h" : cache.ttl }) } }
    }
  }
}

export const encodeMessages = (all: ReadonlyArray<Message>, writing: Writing): Record<string, unknown> => {
  const system: Array<TextPart> = []
  const messages: Array<{ readonly role: string; readonly content: unknown }> = []
  const ids = toolUseIds()
  let results: Array<unknown> | undefined
  let isMarked = false
  all.forEach((message, i) => {
    const field = `messages[${i}].content`
    // System messages move out of the turns, so they end none.
    if (message.role === "user" || message.role === "assistant") results = undefined
    switch (message.role) {
      case "system": {
        const { content } = message
        const parts = typeof content === "string" ? [{ type: "text" as const, text: content }] : content
        parts.forEach((part, j) => {
          if (part.type !== "text" || isBlank(part, `${field}[${j}]`, writing)) return
          const mark = writing.cacheOf(part.cache, `${field}[${j}].cache`)
          isMarked ||= Object.keys(mark).length > 0
          system.push({ type: "text", text: part.text, ...mark })
        })
        return
      }
      case "user": {
        const { content } = message
        const said = typeof content === "string" ? content : encodeParts(content, field, writing)
        if (typeof said === "string" ? said.trim() === "" : said.length === 0) unsupported(field, "a non-empty string")
        messages.push({ role: "user", content: said })
        return
      }
      case "assistant": {
        ids.turn()
        const content = encodeAssistant(message, `messages[${i}]`, ids, writing)
        // An empty answer, or one with only the thinking of another model, leaves nothing to send.
        if (content.length > 0) messages.push({ role: "assistant", content })
        return
      }
      default: {
        // The results of parallel calls must be in one user turn.
        if (results === undefined) {
          results = []
          messages.push({ role: "user", content: results })
        }
        results.push(encodeResult(message, ids.of(message.toolCallId), field, writing))
      }
    }
  })
  if (messages.length === 0) unsupported("messages", "at least one message that is not a system message")
  // As one string, because Cloudflare's catalog rejects blocks (https://github.com/withastro/flue/issues/662).
  const text = isMarked ? system : system.map((part) => part.text).join("\n\n")
  return { ...(system.length > 0 && { system: text }), messages }
}

const encodeResult = (
  { content, isError }: ToolMessage,
  id: string,
  field: string,
  writing: Writing
): Record<string, unknown> => ({
  type: "tool_result",
  tool_use_id: id,
  content: typeof content === "string" ? content : encodeParts(content, field, writing),
  ...defined({ is_error: isError })
})

const encodeParts = (
  content: ReadonlyArray<TextPart | ImagePart | FilePart>,
  field: string,
  writing: Writing
): ReadonlyArray<object> =>
  content.flatMap((part, j) => {
    const at = `${field}[${j}]`
    return isBlank(part, at, writing) ? [] : [encodePart(part, at, writing)]
  })

/** Whether a part is blank. Claude rejects text that is only white space. */
const isBlank = (part: TextPart | ImagePart | FilePart, field: string, { lose }: Writing): boolean => {
  if (part.type !== "text" || part.text.trim() !== "") return false
  if (part.cache !== undefined) lose(`${field}.cache`, "a text that is not empty")
  return true
}

const imageTypes = /^image\/(jpeg|png|gif|webp)$/

const encodePart = (part: TextPart | ImagePart | FilePart, field: string, { cacheOf, lose }: Writing): object => {
  const mark = cacheOf(part.cache, `${field}.cache`)
  if (part.type === "text") return { type: "text", text: part.text, ...mark }
  if (part.type === "image" && part.detail !== undefined) lose(`${field}.detail`, "nothing")
  const source = sourceOf(part, field)
  const isImage = source.kind === "image"
  const type = isImage ? "image" : "document"
  const title = isImage || part.type === "image" ? {} : defined({ title: part.name })
  if (part.type === "file" && isImage && part.name !== undefined) lose(`${field}.name`, "nothing for an image")
  if (source.kind === "audio" || source.kind === "video") unsupported(field, "text, an image or a document")
  if (source.type === "id") {
    if (source.origin !== "anthropic") unsupported(`${field}.fileId.origin`, "anthropic")
    return { type, source: { type: "file", file_id: source.id }, ...title, ...mark }
  }
  const { mediaType } = source
  const isPdf = mediaType === "application/pdf"
  if (source.type === "url") {
    if (!isImage && mediaType !== undefined && !isPdf) unsupported(field, "the address of a PDF, or data")
    return { type, source: { type: "url", url: source.url }, ...title, ...mark }
  }
  if (isImage && !imageTypes.test(source.mediaType)) {
    unsupported(field, "an image of type image/jpeg, image/png, image/gif or image/webp")
  }
  if (isImage || isPdf) {
    return { type, source: { type: "base64", media_type: mediaType, data: source.data }, ...title, ...mark }
  }
  if (!source.mediaType.startsWith("text/")) unsupported(field, "a document of type application/pdf or text/…")
  const data = textOf(source.data) ?? refuse(`${field}.data`, "base64 of UTF-8 text")
  return { type, source: { type: "text", media_type: "text/plain", data }, ...title, ...mark }
}

/** Decodes base64 to UTF-8 text. */
const textOf = (base64: string): string | undefined => {
  try {
    const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes)
  } catch {
    return undefined
  }
}

const encodeAssistant = (
  { content, toolCalls = [] }: AssistantMessage,
  field: string,
  ids: ToolUseIds,
  writing: Writing
): string | ReadonlyArray<unknown> => {
  if (toolCalls.length === 0 && typeof content === "string") return content.trim() === "" ? [] : content
  const said = typeof content === "string" ? [{ type: "text" as const, text: content }] : content
  return [
    ...said.flatMap((part, i) => {
      const at = `${field}.content[${i}]`
      if (part.type === "reasoning") {
        const { opaque, redacted, text } = part
        // Claude rejects a foreign or empty signature, and thinking without one.
        if (opaque?.origin !== "anthropic" || opaque.value === "") {
          writing.lose(at, "thinking that Claude has signed", undefined, "always")
          return []
        }
        return redacted === true
          ? [{ type: "redacted_thinking", data: opaque.value }]
          : [{ type: "thinking", thinking: text, signature: opaque.value }]
      }
      // A turn that only calls tools has empty text elsewhere, and no text block here.
      const words = { ...part, type: "text" as const }
      return isBlank(words, at, writing) ? [] : [encodePart(words, at, writing)]
    }),
    ...toolCalls.map(({ arguments: input, id, name }, i) => ({
      type: "tool_use",
      id: ids.next(id),
      name,
      input: isFields(input) ? input : unsupported(`${field}.toolCalls[${i}].arguments`, "a JSON object")
    }))
  ]
}

interface ToolUseIds {
  /** Starts the next message with calls: earlier calls have their results by then. */
  readonly turn: () => void
  readonly next: (id: string) => string
  readonly of: (id: string) => string
}

// Makes ids that Claude accepts. After a fallback the conversation contains ids of another provider: they may hold
// characters that Claude rejects (`functions.search:0`), or restart their numbers in every reply.
const toolUseIds = (): ToolUseIds => {
  const used = new Set<string>()
  const current = new Map<string, string>()
  /** Calls of the current turn that wait for their result, in order: one id may stand for several of them. */
  let open: Array<readonly [id: string, own: string]> = []
  const clean = (id: string): string => id.replace(/[^A-Za-z0-9_-]/g, "_")
  return {
    turn: () => {
      open = []
    },
    next: (id) => {
      let own = clean(id)
      while (used.has(own)) own += "_"
      used.add(own)
      current.set(id, own)
      open.push([id, own])
      return own
    },
    of: (id) => {
      const at = open.findIndex(([called]) => called === id)
      const [found] = at < 0 ? [] : open.splice(at, 1)
      return found?.[1] ?? current.get(id) ?? clean(id)
    }
  }
}
