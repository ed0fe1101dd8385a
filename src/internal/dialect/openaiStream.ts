/**
 * Reads streams of OpenAI chat completions, which many providers use with small differences.
 *
 * Shapes: https://platform.openai.com/docs/api-reference/chat-streaming. The chunk with a `finish_reason` completes the
 * answer; `[DONE]` and a chunk with the usage may follow, and some servers send neither.
 */
import { defined } from "../data/defined.ts"
import { isMistral } from "./callIds.ts"
import type { DecodeOptions, FinishReason, Json } from "./chat.ts"
import { type Fields, isFields, list, optionalText, refuse, writeJson } from "./codec.ts"
import type { Delta, Streaming } from "./delta.ts"
import { cutOff, finishDelta, makeCitations, makeDecoder, makeMeta, makeUsage } from "./deltaDecoder.ts"
import { finishReasonOf } from "./finish.ts"
import {
  bodyOf,
  citationsOf,
  decodeContent,
  decodeUsage,
  imageOf,
  logprobsOf,
  partsOf,
  signatureOf,
  toolCallsOf,
  uniqueIds
} from "./openai.ts"

/** Reads the chunks of one stream. Workers AI uses it in addition to its own shape. */
export interface Chunks {
  readonly read: (body: Fields, out: Array<Delta>) => void
  /** Reads tool calls, complete ones or fragments, from anywhere in an event. */
  readonly calls: (calls: unknown, field: string, out: Array<Delta>) => void
  /** Delivers usage; counts never decrease. */
  readonly usage: ReturnType<typeof makeUsage>
  /** Delivers the end of the answer, once. */
  readonly finish: (reason: FinishReason, out: Array<Delta>) => void
  /** The same for a raw reason of an event, if there is one. */
  readonly ended: (reason: unknown, field: string, out: Array<Delta>) => void
  readonly finished: () => boolean
}

export const makeChunks = (): Chunks => {
  const meta = makeMeta()
  const calls = makeCalls()
  const usage = makeUsage()
  const citations = makeCitations()
  let streamed = false
  let refused = false
  let finished = false

  const finish = (reason: FinishReason, out: Array<Delta>): void => {
    if (finished) return
    finished = true
    citations.release(out)
    calls.close(out)
    out.push(refused ? { type: "finish", reason: "contentFilter" } : finishDelta(reason, calls.some()))
  }

  const ended = (raw: unknown, field: string, out: Array<Delta>): void => {
    const reason = finishReasonOf(raw, field)
    if (reason !== undefined) finish(reason, out)
  }

  const text = (words: string, out: Array<Delta>): void => {
    if (words === "") return
    out.push({ type: "text", text: words })
  }

  const readDelta = (delta: Fields, out: Array<Delta>): void => {
    const thought = pieceOf(delta.reasoning_content) || pieceOf(delta.reasoning)
    if (thought !== "") out.push({ type: "reasoning", text: thought })
    const { content } = delta
    if (typeof content === "string") text(content, out)
    else if (content !== undefined && content !== null) {
      const { parts, reasoning, text: words } = decodeContent(content, "choices[0].delta.content")
      if (thought === "" && reasoning !== "") out.push({ type: "reasoning", text: reasoning })
      text(words, out)
      pushParts(parts, out)
    }
    citations.hold(citationsOf(delta.annotations), out)
    if (finished) citations.release(out)
    const refusal = optionalText(delta.refusal)
    if (refusal !== undefined) {
      out.push({ type: "refusal", text: refusal })
      refused = true
    }
    pushParts(partsOf(delta), out)
    calls.read(toolCallsOf(delta), "choices[0].delta.tool_calls", out)
  }

  const read = (body: Fields, out: Array<Delta>): void => {
    meta(body.model, body.id, out, body.service_tier)
    const choice = firstChoice(body.choices)
    if (choice !== undefined) {
      // A server that does not stream may put the complete answer into one event; others repeat it at the end.
      const delta = choice.delta ?? (streamed ? undefined : choice.message)
      if (isFields(delta)) {
        streamed = true
        readDelta(delta, out)
      }
      const logprobs = logprobsOf(choice)
      if (logprobs !== undefined) out.push({ type: "logprobs", logprobs })
    }
    // Groq reports usage in a field of its own unless it was requested.
    const counts = body.usage ?? (isFields(body.x_groq) ? body.x_groq.usage : undefined)
    if (counts !== undefined && counts !== null) usage(decodeUsage(counts), out)
    ended(choice?.finish_reason, "choices[0].finish_reason", out)
  }

  return { read, calls: calls.read, usage, finish, ended, finished: () => finished }
}

/** Reads a piece of thinking: values other than text are not essential. */
const pieceOf = (value: unknown): string => (typeof value === "number" ? String(value) : (optionalText(value) ?? ""))

const pushParts = (parts: ReadonlyArray<Json>, out: Array<Delta>): void => {
  for (const part of parts) out.push({ type: "part", part, ...defined({ as: imageOf(part) }) })
}

// Returns the first of several answers to one prompt: it is the reply. Their chunks are interleaved, each with its
// index.
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
  /** Ends the calls of custom tools, whose text is passed on as a JSON string. */
  readonly close: (out: Array<Delta>) => void
}

interface Open {
  /** As it was sent; a generated one identifies nothing. */
  readonly id: string | undefined
  readonly custom: boolean
  /** The name so far. */
  name: string
  /** Number of open brackets in the arguments, and whether their end is inside a string. */
  depth: number
  quoted: boolean
  escaped: boolean
  /** Whether the arguments are complete, so that another name belongs to another call. */
  whole: boolean
}

const scan = (call: Open, args: string): void => {
  for (const char of args) {
    if (call.escaped) call.escaped = false
    else if (call.quoted) {
      call.escaped = char === "\\"
      call.quoted = char !== '"'
    } else if (char === '"') call.quoted = true
    else if (char === "{" || char === "[") call.depth++
    else if (char === "}" || char === "]") call.whole = --call.depth === 0
  }
}

const makeCalls = (): Calls => {
  const open: Array<Open> = []
  // Positions of the calls that the server numbers, and of the first one with each id.
  const numbered = new Map<number, number>()
  const identified = new Map<string, number>()
  const unique = uniqueIds()

  /** Finds the call of a fragment; `undefined` if the fragment begins one. */
  const find = (
    index: number | undefined,
    id: string | undefined,
    name: string | undefined,
    args: string
  ): number | undefined => {
    const at = index === undefined ? undefined : numbered.get(index)
    // An id is more reliable than a number: some servers begin a call under one number and continue under another.
    const same = (id === undefined ? undefined : identified.get(id)) ?? at
    if (same === undefined) {
      // Google's compatible endpoint sends no numbers, others count fragments instead of calls: a continuation then has
      // no name, and rarely an id. Complete arguments are not continued.
      const last = open.at(-1)
      const begins = name !== undefined || (index !== undefined && (id !== undefined || (last?.whole && args !== "")))
      return begins || last === undefined ? undefined : open.length - 1
    }
    const known = open[same]
    if (known === undefined || name === undefined) return same
    // Servers in front of Gemini give all calls number 0, others give them all one id. A named fragment begins another
    // call if its id differs, if the arguments so far are complete, or if neither number nor name continues.
    const other = known.id !== undefined && id !== undefined && known.id !== id
    const next = known.name !== "" && known.name !== name
    return other || (known.whole && (next || args !== "")) || (next && index !== undefined && at === undefined)
      ? undefined
      : same
  }

  const readCall = (item: unknown, field: string, out: Array<Delta>): void => {
    const call = isFields(item) ? item : refuse(field, "an object")
    const body = bodyOf(call)
    const id = optionalText(call.id)
    const name = optionalText(body.name)
    const custom = isFields(call.custom)
    const sent = fragment(custom ? body.input : body.arguments, `${field}.arguments`)
    const signature = signatureOf(call)
    // Workers AI ends a call with a fragment of nulls.
    if (id === undefined && name === undefined && sent === "" && signature === undefined) return
    const index = numberOf(call.index)
    let at = find(index, id, name, sent)
    const fresh = at === undefined
    at ??= open.push({ id, custom, name: "", depth: 0, quoted: false, escaped: false, whole: false }) - 1
    if (id !== undefined && !identified.has(id)) identified.set(id, at)
    if (index !== undefined) numbered.set(index, at)
    const state = open[at]
    if (state === undefined) return
    const naming = rest(state.name, name)
    state.name += naming
    const args = state.custom ? `${fresh ? '"' : ""}${JSON.stringify(sent).slice(1, -1)}` : sent
    if (!state.custom) scan(state, args)
    out.push({
      type: "toolCall",
      index: at,
      ...(fresh && { id: unique(id ?? `call_${at}`) }),
      ...(naming !== "" && { name: naming }),
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
    some: () => open.length > 0,
    close: (out) => {
      open.forEach(({ custom }, index) => {
        if (custom) out.push({ type: "toolCall", index, arguments: '"' })
      })
    }
  }
}

/** Returns the new part of a name: some servers send it in pieces, others repeat all of it. */
const rest = (known: string, name = known): string => (name.startsWith(known) ? name.slice(known.length) : name)

/** Reads a number, which some servers write as a string. */
const numberOf = (index: unknown): number | undefined =>
  typeof index === "number" ? index : typeof index === "string" && /^\d+$/.test(index) ? Number(index) : undefined

const fragment = (args: unknown, field: string): string => {
  if (typeof args === "string") return args
  return args === undefined || args === null ? "" : writeJson(args, field)
}

const decoder = (_?: Record<string, unknown>, options?: DecodeOptions) => {
  const chunks = makeChunks()
  return makeDecoder(options, {
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

// `null` omits the field, for servers that reject it.
const withUsage = (query: Record<string, unknown>): Record<string, unknown> => {
  const { stream_options: own, ...rest } = query
  if (own === null) return { ...rest, stream: true }
  return {
    ...rest,
    stream: true,
    stream_options: own === undefined || isFields(own) ? { include_usage: true, ...own } : own
  }
}

/** Streams of OpenAI itself. */
export const openai: Streaming = { query: withUsage, endpoint: (endpoint) => endpoint, decoder }

// Mistral reports usage without the field, and rejects it (https://github.com/openai/openai-agents-python/issues/442).
// Other servers of its models may then not report usage; that is the smaller harm.
/** Streams of all other servers. */
export const openaiCompatible: Streaming = {
  query: (query) =>
    isMistral(query.model) && query.stream_options === undefined ? { ...query, stream: true } : withUsage(query),
  endpoint: (endpoint) => endpoint,
  decoder
}
