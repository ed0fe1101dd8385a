/**
 * Streams of Anthropic messages.
 *
 * Shapes: https://platform.claude.com/docs/en/build-with-claude/streaming. Only `message_stop` completes an answer, and
 * with it comes the finish; types of events and blocks that are not known are read over, as the page asks.
 */
import { answerPrefix, decodeUsage, finishReasonOf } from "./anthropic.ts"
import { type Fields, fields, isFields, nonEmptyText, optionalText, refuse, text, writeJson } from "./codec.ts"
import type { Delta, Streaming } from "./delta.ts"
import { cutOff, finishDelta, makeDecoder, makeMeta, pushUsage } from "./deltaDecoder.ts"

/** A content block whose events are being read. */
type Block =
  | { readonly kind: "text" | "thinking" | "ignored" }
  | { readonly kind: "call"; readonly index: number }
  | { readonly kind: "answer"; empty: boolean }

const ignored: Block = { kind: "ignored" }

/** What a decoder does about the tool that carries an answer. */
type Options = {
  /** A tool whose name says so is the answer. */
  readonly answerTool: boolean
  /** Text is held back to the end, because an answer tool makes it chatter. */
  readonly hold: boolean
}

const decoder = ({ answerTool, hold }: Options) => {
  const meta = makeMeta()
  const blocks = new Map<unknown, Block>()
  let started = false
  let finished = false
  let usage: Fields = {}
  let reason: unknown
  let calls = 0
  let answered = false
  let held = ""

  const say = (words: string, out: Array<Delta>): void => {
    if (words === "") return
    if (hold) held += words
    else out.push({ type: "text", text: words })
  }

  const count = (more: unknown, out: Array<Delta>): void => {
    if (!isFields(more)) return
    usage = update(usage, more)
    pushUsage(decodeUsage(usage), out)
  }

  const startTool = (block: Fields, out: Array<Delta>): Block => {
    const name = nonEmptyText(block.name, "content_block.name")
    // Usually it follows in deltas; what a server writes at once comes here.
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
        return { kind: "text" }
      case "thinking":
        think(optionalText(block.thinking) ?? "", out)
        return { kind: "thinking" }
      case "tool_use":
        return startTool(block, out)
      default:
        return ignored
    }
  }

  const readDelta = (block: Block, raw: unknown, out: Array<Delta>): void => {
    const delta = fields(raw, "delta")
    switch (delta.type) {
      case "text_delta":
        if (block.kind === "text") say(text(delta.text, "delta.text"), out)
        return
      case "thinking_delta":
        if (block.kind === "thinking") think(text(delta.thinking, "delta.thinking"), out)
        return
      case "input_json_delta": {
        const json = text(delta.partial_json, "delta.partial_json")
        if (json === "") return
        if (block.kind === "call") out.push({ type: "toolCall", index: block.index, arguments: json })
        else if (block.kind === "answer") {
          block.empty = false
          out.push({ type: "text", text: json })
        }
      }
    }
  }

  const stopBlock = (block: Block | undefined, out: Array<Delta>): void => {
    // Arguments of nobody are an empty object, and as an answer they have to be seen.
    if (block?.kind === "answer" && block.empty) out.push({ type: "text", text: "{}" })
  }

  const readStart = (raw: unknown, out: Array<Delta>): void => {
    if (started) refuse("message_start", "only one")
    started = true
    const message = fields(raw, "message")
    meta(message.model, message.id, out)
    count(message.usage, out)
  }

  const stop = (out: Array<Delta>): void => {
    if (!answered && held !== "") out.push({ type: "text", text: held })
    const why = finishReasonOf(reason)
    out.push(finishDelta(why === "toolCalls" && calls === 0 ? "stop" : why, calls > 0))
    finished = true
  }

  return makeDecoder({
    read: (body, out) => {
      switch (body.type) {
        case "content_block_delta":
          readDelta(blocks.get(body.index) ?? refuse("content_block_start", "one before its delta"), body.delta, out)
          return false
        case "content_block_start":
          blocks.set(body.index, start(body.content_block, out))
          return false
        case "content_block_stop":
          stopBlock(blocks.get(body.index), out)
          blocks.delete(body.index)
          return false
        case "message_start":
          readStart(body.message, out)
          return false
        case "message_delta":
          if (isFields(body.delta)) reason = body.delta.stop_reason ?? reason
          count(body.usage, out)
          return false
        case "message_stop":
          stop(out)
          return true
        default:
          return false
      }
    },
    // Whoever else marks the end of a stream cannot know that the message is complete.
    end: () => cutOff("message_stop"),
    finished: () => finished
  })
}

const think = (words: string, out: Array<Delta>): void => {
  if (words !== "") out.push({ type: "reasoning", text: words })
}

// Counts are totals so far; what an event leaves out or writes as `null` stays as it was.
const update = (old: Fields, more: Fields): Fields => ({
  input_tokens: more.input_tokens ?? old.input_tokens,
  output_tokens: more.output_tokens ?? old.output_tokens,
  cache_read_input_tokens: more.cache_read_input_tokens ?? old.cache_read_input_tokens,
  cache_creation_input_tokens: more.cache_creation_input_tokens ?? old.cache_creation_input_tokens,
  output_tokens_details: more.output_tokens_details ?? old.output_tokens_details
})

const query = (query: Record<string, unknown>): Record<string, unknown> => ({ ...query, stream: true })

/** Messages as they are. */
export const anthropic: Streaming = {
  query,
  endpoint: (endpoint) => endpoint,
  decoder: () => decoder({ answerTool: false, hold: false })
}

const offersAnswer = (query: Record<string, unknown>): boolean =>
  Array.isArray(query.tools) &&
  query.tools.some((tool) => isFields(tool) && typeof tool.name === "string" && tool.name.startsWith(answerPrefix))

/**
 * With an answer tool, whose arguments are the text. Text beside it is chatter that a reply does not have, and whether
 * the tool is called shows only later: such text waits for the end, unless the request offers no answer tool.
 */
export const anthropicJsonTool: Streaming = {
  query,
  endpoint: (endpoint) => endpoint,
  decoder: (query) => decoder({ answerTool: true, hold: query === undefined || offersAnswer(query) })
}
