/**
 * Reads streams of Anthropic messages.
 *
 * Shapes: https://platform.claude.com/docs/en/build-with-claude/streaming. A `stop_reason` completes an answer, because
 * `message_stop` does not always follow: that event, a ping, or the end of the bytes then ends the stream. Unknown
 * types of events are skipped, as the page requires; unknown blocks are parts.
 */
import { answerPrefix, citationsOf, decodeUsage, isPart, opaqueOf } from "./anthropic.ts"
import type { Citation, DecodeOptions, FinishReason, Json } from "./chat.ts"
import {
  type Fields,
  fields,
  isFields,
  nonEmptyText,
  optionalText,
  parseJson,
  refuse,
  text,
  writeJson
} from "./codec.ts"
import type { Delta, Streaming } from "./delta.ts"
import { cutOff, finishDelta, makeDecoder, makeMeta, makeUsage, mostHeld } from "./deltaDecoder.ts"
import { finishReasonOf } from "./finish.ts"

/** A content block whose events are being read. */
type Block =
  | { readonly kind: "thinking" | "ignored" }
  /** Sources may arrive before their text, so they wait for its end. */
  | { readonly kind: "text"; readonly citations: Array<Citation> }
  | { readonly kind: "call"; readonly index: number }
  | { readonly kind: "answer"; empty: boolean }
  | { readonly kind: "part"; readonly block: Fields & { readonly [key: string]: Json }; json: string; text: string }

const ignored: Block = { kind: "ignored" }

/** How a decoder treats the tool that carries an answer. */
type Options = {
  /** Whether a tool with the prefix in its name is the answer. */
  readonly answerTool: boolean
  /** Whether text is held back to the end, because an answer tool makes it chatter. */
  readonly hold: boolean
}

const decoder = ({ answerTool, hold }: Options, options: DecodeOptions | undefined) => {
  const meta = makeMeta()
  const pushUsage = makeUsage()
  const blocks = new Map<unknown, Block>()
  let latest: Block | undefined
  let started = false
  let finished = false
  let usage: Fields = {}
  let calls = 0
  let answered = false
  let held = ""

  const say = (piece: string, out: Array<Delta>): void => {
    if (piece === "") return
    if (hold && !finished) held += piece
    else if (!(hold && answered)) out.push({ type: "text", text: piece })
  }

  const count = (more: unknown, out: Array<Delta>): void => {
    if (!isFields(more)) return
    usage = update(usage, more)
    pushUsage(decodeUsage(usage), out)
  }

  const startTool = (block: Fields, out: Array<Delta>): Block => {
    const name = nonEmptyText(block.name, "content_block.name")
    // Usually it arrives in deltas. This is for servers that write it at once.
    const whole = isFields(block.input) && Object.keys(block.input).length > 0
    const input = whole ? writeJson(block.input, "content_block.input") : ""
    if (answerTool && name.startsWith(answerPrefix)) {
      if (answered) return ignored
      answered = true
      if (whole) out.push({ type: "text", text: input })
      return { kind: "answer", empty: !whole }
    }
    const id = nonEmptyText(block.id, "content_block.id")
    const index = calls++
    out.push({ type: "toolCall", index, id, name, arguments: input })
    return { kind: "call", index }
  }

  const start = (raw: unknown, out: Array<Delta>): Block => {
    const block = fields(raw, "content_block")
    switch (block.type) {
      case "text":
        say(optionalText(block.text) ?? "", out)
        return { kind: "text", citations: hold ? [] : [...citationsOf(block.citations)] }
      case "thinking":
        think(optionalText(block.thinking) ?? "", out)
        return sign({ kind: "thinking" }, block, out)
      case "redacted_thinking":
        return sign(ignored, block, out, true)
      case "tool_use":
        return startTool(block, out)
      default:
        return isPart(block) ? { kind: "part", block, json: "", text: "" } : ignored
    }
  }

  const readDelta = (block: Block, raw: unknown, out: Array<Delta>): void => {
    const delta = fields(raw, "delta")
    switch (delta.type) {
      // Some servers do not end one block before they continue with the next.
      case "text_delta":
        if (isOurs(block)) say(text(delta.text, "delta.text"), out)
        return
      case "thinking_delta":
        if (isOurs(block)) think(text(delta.thinking, "delta.thinking"), out)
        return
      case "input_json_delta": {
        const json = text(delta.partial_json, "delta.partial_json")
        if (json === "" || block.kind === "ignored") return
        if (block.kind === "call") out.push({ type: "toolCall", index: block.index, arguments: json })
        else if (block.kind === "part") block.json += json
        else if (block.kind === "answer") {
          block.empty = false
          out.push({ type: "text", text: json })
        } else refuse("delta.type", `that of a ${block.kind} block`)
        return
      }
      case "signature_delta":
        sign(block, delta, out)
        return
      case "citations_delta":
        if (block.kind !== "text" || hold) return
        block.citations.push(...citationsOf([delta.citation]))
        if (block.citations.length >= mostHeld) cite(block, out)
        return
      case "compaction_delta":
        if (block.kind === "part") block.text += optionalText(delta.content) ?? ""
    }
  }

  const stopBlock = (block: Block | undefined, out: Array<Delta>): void => {
    // A call without arguments is an empty object, and as an answer it must be visible.
    if (block?.kind === "answer" && block.empty) out.push({ type: "text", text: "{}" })
    if (block?.kind === "text") cite(block, out)
    if (block?.kind !== "part") return
    const input = block.json === "" ? undefined : parseJson(block.json)
    const part = {
      ...block.block,
      ...(input !== undefined && { input }),
      ...(block.text !== "" && { content: block.text })
    }
    out.push({ type: "part", part })
  }

  const readStart = (raw: unknown, out: Array<Delta>): void => {
    if (started) refuse("message_start", "only one")
    started = true
    const message = fields(raw, "message")
    meta(message.model, message.id, out, isFields(message.usage) ? message.usage.service_tier : undefined)
    count(message.usage, out)
  }

  const stop = (reason: FinishReason, out: Array<Delta>, sequence?: unknown): void => {
    if (finished) return
    finished = true
    // Servers that end no block end all of them here.
    for (const [index, block] of blocks) {
      stopBlock(block, out)
      if (block.kind === "part" || block.kind === "answer") blocks.set(index, ignored)
    }
    if (!answered && held !== "") out.push({ type: "text", text: held })
    out.push(finishDelta(reason === "toolCalls" && calls === 0 ? "stop" : reason, calls > 0, optionalText(sequence)))
  }

  return makeDecoder(options, {
    read: (body, out) => {
      switch (body.type) {
        case "content_block_delta":
          readDelta(blocks.get(body.index) ?? refuse("content_block_start", "one before its delta"), body.delta, out)
          return false
        case "content_block_start":
          // Servers that end no block end the text before it here.
          if (latest?.kind === "text") stopBlock(latest, out)
          latest = start(body.content_block, out)
          blocks.set(body.index, latest)
          return false
        case "content_block_stop":
          stopBlock(blocks.get(body.index), out)
          blocks.delete(body.index)
          return false
        case "message_start":
          readStart(body.message, out)
          return false
        case "message_delta": {
          count(body.usage, out)
          const reason = isFields(body.delta) ? finishReasonOf(body.delta.stop_reason, "stop_reason") : undefined
          if (reason !== undefined) stop(reason, out, isFields(body.delta) ? body.delta.stop_sequence : undefined)
          return false
        }
        case "ping":
          return finished
        case "message_stop":
          stop("other", out)
          return true
        default:
          return false
      }
    },
    // Other markers of the end do not prove that the message is complete.
    end: () => {
      if (!finished) cutOff("message_stop")
    },
    finished: () => finished
  })
}

/**
 * Whether the text of a block belongs to the answer. That of other blocks, such as the provider's own tools, does not.
 */
const isOurs = ({ kind }: Block): boolean => kind !== "ignored" && kind !== "part"

/** Delivers the signature of thinking, which arrives in one piece. */
const sign = (block: Block, raw: Fields, out: Array<Delta>, isRedacted = false): Block => {
  const opaque = opaqueOf(raw)
  if (opaque !== undefined && (isRedacted || block.kind === "thinking")) {
    out.push({ type: "opaque", opaque, ...(isRedacted && { redacted: true }) })
  }
  return block
}

/** Delivers the sources of a text that wait. */
const cite = ({ citations }: { readonly citations: Array<Citation> }, out: Array<Delta>): void => {
  for (const citation of citations.splice(0)) out.push({ type: "citation", citation })
}

const think = (piece: string, out: Array<Delta>): void => {
  if (piece !== "") out.push({ type: "reasoning", text: piece })
}

// Merges counts, which are totals so far: a count that an event omits, writes as `null` or repeats as 0 stays
// unchanged.
const update = (old: Fields, more: Fields): Fields => {
  const out: Record<string, unknown> = { ...old }
  for (const name in more) {
    const [a, b] = [old[name], more[name]]
    out[name] = typeof a === "number" && typeof b === "number" ? Math.max(a, b) : (b ?? a)
  }
  return out
}

const query = (query: Record<string, unknown>): Record<string, unknown> => ({ ...query, stream: true })

/** Streams of messages. */
export const anthropic: Streaming = {
  query,
  endpoint: (endpoint) => endpoint,
  decoder: (_, options) => decoder({ answerTool: false, hold: false }, options)
}

const offersAnswer = (query: Record<string, unknown>): boolean =>
  Array.isArray(query.tools) &&
  query.tools.some((tool) => isFields(tool) && typeof tool.name === "string" && tool.name.startsWith(answerPrefix))

/**
 * Streams with an answer tool, whose arguments are the text. A reply does not contain the text beside it, and only
 * later events show whether the tool is called: such text waits for the end, unless the request offers no answer tool.
 */
export const anthropicJsonTool: Streaming = {
  query,
  endpoint: (endpoint) => endpoint,
  decoder: (query, options) => decoder({ answerTool: true, hold: query === undefined || offersAnswer(query) }, options)
}
