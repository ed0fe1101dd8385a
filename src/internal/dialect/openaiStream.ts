/**
 * Streams of OpenAI chat completions, which many providers speak with small differences.
 *
 * Shapes: https://platform.openai.com/docs/api-reference/chat-streaming. The chunk with a `finish_reason` completes the
 * answer; `[DONE]` and a chunk with the usage may follow, and some servers send neither.
 */
import { defined } from "../data/defined.ts"
import type { FinishReason } from "./chat.ts"
import { type Fields, isFields, list, optionalText, refuse, writeJson } from "./codec.ts"
import type { Delta, Streaming } from "./delta.ts"
import { cutOff, finishDelta, makeDecoder, makeMeta, pushUsage } from "./deltaDecoder.ts"
import { decodeContent, decodeUsage, finishReasonOf, isMistral, signatureOf } from "./openai.ts"

/** Reads the chunks of one stream. Workers AI reads its own shape beside it. */
export interface Chunks {
  readonly read: (body: Fields, out: Array<Delta>) => void
  /** Reads tool calls, whole ones or fragments, wherever they stand in an event. */
  readonly calls: (calls: unknown, field: string, out: Array<Delta>) => void
  /** Delivers the end of the answer, the first time. */
  readonly finish: (reason: FinishReason, out: Array<Delta>) => void
  /** The same, if there is a reason as it stands in an event. */
  readonly ended: (reason: unknown, field: string, out: Array<Delta>) => void
  readonly finished: () => boolean
}

export const makeChunks = (): Chunks => {
  const meta = makeMeta()
  const calls = makeCalls()
  let streamed = false
  let said = false
  let refused = false
  let finished = false

  const finish = (reason: FinishReason, out: Array<Delta>): void => {
    if (finished) return
    finished = true
    out.push(refused ? { type: "finish", reason: "contentFilter" } : finishDelta(reason, calls.some()))
  }

  const ended = (raw: unknown, field: string, out: Array<Delta>): void => {
    const reason = optionalText(raw)
    // The model broke off, although no error stands beside it.
    if (reason === "error") refuse(field, "anything but error")
    if (reason !== undefined) finish(finishReasonOf(reason), out)
  }

  const text = (words: string | undefined, out: Array<Delta>): void => {
    if (words === undefined) return
    said = true
    out.push({ type: "text", text: words })
  }

  const readDelta = (delta: Fields, out: Array<Delta>): void => {
    const thought = optionalText(delta.reasoning_content) ?? optionalText(delta.reasoning)
    if (thought !== undefined) out.push({ type: "reasoning", text: thought })
    const { content } = delta
    if (typeof content === "string") text(optionalText(content), out)
    else if (content !== undefined && content !== null) {
      const parts = decodeContent(content, "choices[0].delta.content")
      if (thought === undefined && parts?.reasoning !== undefined)
        out.push({ type: "reasoning", text: parts.reasoning })
      text(optionalText(parts?.text), out)
    }
    const refusal = optionalText(delta.refusal)
    if (refusal !== undefined) {
      // In a reply a refusal is the text only where there is no other.
      if (!said) out.push({ type: "text", text: refusal })
      refused = true
    }
    calls.read(delta.tool_calls, "choices[0].delta.tool_calls", out)
  }

  const read = (body: Fields, out: Array<Delta>): void => {
    meta(body.model, body.id, out)
    const choice = firstChoice(body.choices)
    if (choice !== undefined) {
      // A server that does not stream a model's answer may put the whole of it into one event; others repeat the
      // whole at the end.
      const delta = choice.delta ?? (streamed ? undefined : choice.message)
      if (isFields(delta)) {
        streamed = true
        readDelta(delta, out)
      }
    }
    // Groq counts in a field of its own unless it was asked for usage.
    const usage = body.usage ?? (isFields(body.x_groq) ? body.x_groq.usage : undefined)
    if (usage !== undefined && usage !== null) pushUsage(decodeUsage(usage), out)
    ended(choice?.finish_reason, "choices[0].finish_reason", out)
  }

  return { read, calls: calls.read, finish, ended, finished: () => finished }
}

// Of several answers to one prompt the first is the reply; their chunks come mixed, each with its index.
const firstChoice = (choices: unknown): Fields | undefined => {
  // Some servers write `null` beside the usage.
  if (choices === undefined || choices === null) return undefined
  for (const choice of list(choices, "choices")) {
    if (isFields(choice) && (typeof choice.index !== "number" || choice.index === 0)) return choice
  }
  return undefined
}

interface Calls {
  readonly read: Chunks["calls"]
  readonly some: () => boolean
}

interface Open {
  /** As it was sent; one that was made up identifies nothing. */
  readonly id: string | undefined
  named: boolean
}

const makeCalls = (): Calls => {
  const open: Array<Open> = []
  // Where the calls stand that the server numbers, and the first one of each id.
  const numbered = new Map<number, number>()
  const identified = new Map<string, number>()

  /** The call that a fragment belongs to, or `undefined` when it begins one. */
  const find = (index: number | undefined, id: string | undefined, name: string | undefined): number | undefined => {
    if (index === undefined) {
      // Google's compatible endpoint numbers nothing; a continuation then has no name, and hardly an id.
      const same = id === undefined ? undefined : identified.get(id)
      if (same !== undefined) return same
      return name !== undefined || open.length === 0 ? undefined : open.length - 1
    }
    const at = numbered.get(index)
    const known = at === undefined ? undefined : open[at]
    // Servers in front of Gemini give all calls number 0: another id beside a name is another call.
    const other = known?.id !== undefined && id !== undefined && name !== undefined && known.id !== id
    return other ? undefined : at
  }

  const readCall = (item: unknown, field: string, out: Array<Delta>): void => {
    const call = isFields(item) ? item : refuse(field, "an object")
    // Workers AI writes whole calls flat.
    const body = isFields(call.function) ? call.function : call
    const id = optionalText(call.id)
    const name = optionalText(body.name)
    const args = fragment(body.arguments, `${field}.arguments`)
    const signature = signatureOf(call)
    // Workers AI ends a call with a fragment of nulls.
    if (id === undefined && name === undefined && args === "" && signature === undefined) return
    const index = typeof call.index === "number" ? call.index : undefined
    let at = find(index, id, name)
    const fresh = at === undefined
    at ??= open.push({ id, named: false }) - 1
    if (fresh && id !== undefined && !identified.has(id)) identified.set(id, at)
    if (index !== undefined) numbered.set(index, at)
    const state = open[at]
    const naming = name !== undefined && state !== undefined && !state.named
    if (naming) state.named = true
    out.push({
      type: "toolCall",
      index: at,
      ...(fresh && { id: id ?? `call_${at}` }),
      ...(naming && { name }),
      arguments: args,
      ...defined({ signature })
    })
  }

  return {
    read: (calls, field, out) => {
      if (calls === undefined || calls === null) return
      list(calls, field).forEach((call, i) => {
        readCall(call, `${field}[${i}]`, out)
      })
    },
    some: () => open.length > 0
  }
}

const fragment = (args: unknown, field: string): string => {
  if (typeof args === "string") return args
  return args === undefined || args === null ? "" : writeJson(args, field)
}

const decoder = () => {
  const chunks = makeChunks()
  return makeDecoder({
    read: (body, out) => {
      chunks.read(body, out)
      return false
    },
    end: () => {
      if (!chunks.finished()) cutOff("choices[0].finish_reason")
    },
    finished: chunks.finished
  })
}

// `null` leaves the field out, for servers that refuse it.
const withUsage = (query: Record<string, unknown>): Record<string, unknown> => {
  const { stream_options: own, ...rest } = query
  if (own === null) return { ...rest, stream: true }
  return {
    ...rest,
    stream: true,
    stream_options: own === undefined || isFields(own) ? { include_usage: true, ...own } : own
  }
}

/** OpenAI itself. */
export const openai: Streaming = { query: withUsage, endpoint: (endpoint) => endpoint, decoder }

// Mistral counts unasked, and refuses the question (https://github.com/openai/openai-agents-python/issues/442). Its
// models are served by others too, which then may not count; that is the smaller harm.
/** Everybody else. */
export const openaiCompatible: Streaming = {
  query: (query) =>
    isMistral(query.model) && query.stream_options === undefined ? { ...query, stream: true } : withUsage(query),
  endpoint: (endpoint) => endpoint,
  decoder
}
