/**
 * Common parts of the decoders of streamed answers: the pieces of an answer ({@link Delta}), the frame around a
 * dialect's own reader, and the conversions between deltas and a complete reply.
 *
 * A decoder turns one event into deltas and never throws. It parses each event once and runs no Schema. As in the
 * dialects, essential parts of an answer are read strictly, and unknown events and fields are skipped. A stream is
 * complete only when its dialect completes it: until then its end is a {@link Fault}.
 */
import * as Result from "effect/Result"
import { hasError } from "../classifier/errorBody.ts"
import { defined } from "../data/defined.ts"
import type {
  Citation,
  DecodeOptions,
  FinishReason,
  Json,
  Reply,
  ReplyPart,
  TokenLogprob,
  ToolCall,
  Usage
} from "./chat.ts"
import {
  attempt,
  type Fields,
  type Issue,
  isFields,
  nonEmptyText,
  optionalText,
  parseJson,
  refuse,
  toolArguments,
  usageOf,
  writeJson
} from "./codec.ts"
import type { Decoded, Delta, DeltaDecoder, Fault } from "./delta.ts"
import { finish, mayBeEmpty, someOutput } from "./finish.ts"
import { makeParts, type Parts, saidBy } from "./parts.ts"

/** The part of a decoder that knows a dialect. It rejects events that it cannot read. */
export interface DialectReader {
  /** Reads an event; returns `true` if nothing may follow. */
  readonly read: (body: Fields, out: Array<Delta>) => boolean
  /** Handles the end of the stream, which is a `[DONE]` event if `marked`. Rejects an incomplete answer. */
  readonly end: (out: Array<Delta>, marked: boolean) => void
  /** Whether `finish` has been delivered. */
  readonly finished: () => boolean
}

/** Makes a decoder. JSON, errors, `[DONE]`, the end, and the required output are the same for all dialects. */
export const makeDecoder = (options: DecodeOptions | undefined, reader: DialectReader): DeltaDecoder => {
  const judge = makeJudge(options)
  let over: Decoded | undefined
  const close = (deltas: ReadonlyArray<Delta>, fault: Fault | undefined): Decoded => {
    const ending = fault === undefined ? { done: true } : { fault }
    over = { deltas: [], ...ending }
    return { deltas, ...ending }
  }
  const step = (read: (out: Array<Delta>) => boolean): Decoded => {
    const deltas: Array<Delta> = []
    const last = attempt(() => {
      const done = read(deltas)
      deltas.forEach(judge.see)
      if (done) judge.end()
      return done
    })
    if (Result.isFailure(last)) {
      return close(
        deltas.filter(({ type }) => type !== "finish"),
        { issue: describe(last.failure) }
      )
    }
    return last.success ? close(deltas, undefined) : { deltas }
  }
  const end = (marked: boolean): Decoded =>
    step((out) => {
      reader.end(out, marked)
      return true
    })
  return {
    event: ({ data, event }) => {
      if (over !== undefined) return over
      if (event === "error") return close([], { issue: "an error event", body: data })
      if (data === "[DONE]") return end(true)
      // Some servers keep the connection alive with empty events.
      if (data === "") return { deltas: [] }
      const body = parseJson(data)
      if (hasError(body)) return close([], { issue: "an error event", body: data })
      if (isFields(body)) return step((out) => reader.read(body, out))
      // A usage event that was cut off does not invalidate a complete answer.
      return reader.finished() ? { deltas: [] } : close([], { issue: "event: expected a JSON object" })
    },
    end: () => over ?? end(false)
  }
}

/** Rejects the finish of an answer without output, or with incomplete calls, including calls that arrive after it. */
const makeJudge = (options: DecodeOptions | undefined) => {
  const calls = new Map<number, { name: string; arguments: string }>()
  let said = options?.allowEmpty === true
  /** A finish has arrived whose calls are not checked yet. */
  let owed = false
  let judged = false
  const end = (): void => {
    if (!owed) return
    owed = false
    for (const [i, call] of calls) {
      nonEmptyText(call.name, `toolCalls[${i}].name`)
      toolArguments(call.arguments, `toolCalls[${i}].arguments`)
    }
  }
  const see = (delta: Delta): void => {
    switch (delta.type) {
      case "text":
      case "refusal":
      case "part":
        said = true
        return
      case "toolCall": {
        const call = calls.get(delta.index) ?? { name: "", arguments: "" }
        call.name += delta.name ?? ""
        call.arguments += delta.arguments
        calls.set(delta.index, call)
        owed = judged
        return
      }
      case "finish": {
        if (mayBeEmpty(delta.reason)) return
        if (!said && calls.size === 0) refuse("answer", someOutput)
        judged = owed = true
        end()
      }
    }
  }
  return { see, end }
}

/** Formats an issue as one line. */
export const describe = ({ accepted, field }: Issue): string => `${field}: expected ${accepted}`

/** Reports a part that is missing at the end of a stream. */
export const cutOff = (field: string): never => refuse(field, "one before the stream ends")

/** Delivers model and id once, as soon as one of them is known. */
export const makeMeta = (): ((model: unknown, id: unknown, out: Array<Delta>, tier?: unknown) => void) => {
  let told = false
  return (model, id, out, tier) => {
    if (told) return
    const facts = defined({ model: optionalText(model), id: optionalText(id), tier: optionalText(tier) })
    if (facts.model === undefined && facts.id === undefined) return
    told = true
    out.push({ type: "meta", ...facts })
  }
}

/** Number of sources that are held back at most. A stream may name sources without end. */
export const mostHeld = 1000

/**
 * Holds sources back until their text is complete. They may arrive before it, within it and more than once, with
 * positions relative to its beginning.
 */
export const makeCitations = () => {
  const held = new Map<string, Citation>()
  const release = (out: Array<Delta>): void => {
    for (const citation of held.values()) out.push({ type: "citation", citation })
    held.clear()
  }
  return {
    hold: (citations: ReadonlyArray<Citation>, out: Array<Delta>): void => {
      for (const citation of citations) held.set(JSON.stringify(citation), citation)
      if (held.size >= mostHeld) release(out)
    },
    release
  }
}

/** Delivers usage, if there is any. Counts are totals of the answer so far, so a decrease is ignored. */
export const makeUsage = (): ((usage: Usage, out: Array<Delta>) => void) => {
  let known: Usage = {}
  return (usage, out) => {
    if (usageOf({ usage }) === undefined) return
    const most = (key: keyof Usage) => {
      const [a, b] = [known[key], usage[key]]
      return a === undefined || b === undefined ? (a ?? b) : Math.max(a, b)
    }
    const counts: Partial<Record<keyof Usage, number | undefined>> = {}
    for (const key of usageKeys) counts[key] = most(key)
    known = defined(counts)
    out.push({ type: "usage", usage: known })
  }
}

const usageKeys = [
  "inputTokens",
  "outputTokens",
  "totalTokens",
  "cachedInputTokens",
  "cacheWriteTokens",
  "cacheWriteLongTokens",
  "reasoningTokens",
  "audioInputTokens",
  "audioOutputTokens",
  "toolInputTokens"
] as const

const someCall: ReadonlyArray<ToolCall> = [{ id: "", name: "", arguments: {} }]

/** Makes the finish delta of an answer, and keeps reason and tool calls consistent, as in a reply. */
export const finishDelta = (reason: FinishReason, called: boolean, stopSequence?: string): Delta => ({
  type: "finish",
  reason: finish(reason, called ? someCall : []),
  ...defined({ stopSequence })
})

/**
 * Whether a consumer can act on a delta, so that no other target can take over unnoticed: text, reasoning, a part of a
 * tool call, or the end of an empty answer.
 */
export const isCommit = (delta: Delta): boolean => {
  switch (delta.type) {
    case "text":
    case "reasoning":
    case "refusal":
      return delta.text !== ""
    case "part":
      return true
    case "toolCall":
      return (
        delta.arguments !== "" || delta.id !== undefined || delta.name !== undefined || delta.signature !== undefined
      )
    case "finish":
      return true
    default:
      return false
  }
}

/** Turns a complete answer into the deltas that a stream of it would have. */
export const deltasOf = (reply: Reply): ReadonlyArray<Delta> => {
  const deltas: Array<Delta> = []
  const { id, model, tier } = reply
  const facts = defined({ model, id, tier })
  if (Object.keys(facts).length > 0) deltas.push({ type: "meta", ...facts })
  const rest = [...(reply.parts ?? [])]
  for (const part of reply.content ?? plainParts(reply)) {
    if (part.type === "image" || part.type === "file") {
      // As the provider wrote it, in its place. Earlier parts without a neutral form keep their order.
      const at = rest.findIndex((own) => holds(own, part.data ?? part.url))
      // A custom dialect may have a form without a part.
      if (at < 0) deltas.push({ type: "part", part: JSON.parse(JSON.stringify(part)), as: part })
      rest.splice(0, at + 1).forEach((own, i) => {
        deltas.push({ type: "part", part: own, ...(i === at && { as: part }) })
      })
      continue
    }
    if (part.text !== "") deltas.push({ type: part.type, text: part.text })
    if (part.type === "refusal") continue
    if (part.type === "text") part.citations?.forEach((citation) => void deltas.push({ type: "citation", citation }))
    const { opaque } = part
    const how = part.type === "text" ? ({ of: "text" } as const) : part.redacted === true ? { redacted: true } : {}
    if (opaque !== undefined) deltas.push({ type: "opaque", opaque, ...how })
  }
  if (reply.logprobs !== undefined) deltas.push({ type: "logprobs", logprobs: reply.logprobs })
  reply.toolCalls.forEach(({ arguments: args, id, name, signature }, index) => {
    const json = attempt(() => writeJson(args, "arguments"))
    deltas.push({
      type: "toolCall",
      index,
      id,
      name,
      // Too deeply nested to be written: no text would mean `{}`, this value shows that something is missing.
      arguments: Result.getOrElse(json, () => "["),
      ...defined({ signature })
    })
  })
  for (const part of rest) deltas.push({ type: "part", part })
  makeUsage()(reply.usage, deltas)
  deltas.push({ type: "finish", reason: reply.finishReason, ...defined({ stopSequence: reply.stopSequence }) })
  return deltas
}

/** Whether a string is contained in a part, with or without a prefix such as that of a `data:` URL. */
const holds = (part: unknown, text: string | undefined): boolean =>
  typeof part === "string"
    ? text !== undefined && part.endsWith(text)
    : typeof part === "object" && part !== null && Object.values(part).some((own) => holds(own, text))

const plainParts = ({ reasoning = "", text }: Reply): ReadonlyArray<ReplyPart> => [
  { type: "reasoning", text: reasoning },
  { type: "text", text }
]

interface Call {
  id: string | undefined
  name: string | undefined
  arguments: string
  signature: string | undefined
}

interface Draft {
  readonly parts: Array<Json>
  readonly said: Parts
  readonly logprobs: Array<TokenLogprob>
  stopSequence: string | undefined
  tier: string | undefined
  readonly calls: Map<number, Call>
  usage: Usage
  model: string | undefined
  id: string | undefined
  finish: FinishReason | undefined
}

const makeDraft = (): Draft => ({
  parts: [],
  said: makeParts(),
  logprobs: [],
  stopSequence: undefined,
  tier: undefined,
  calls: new Map(),
  usage: {},
  model: undefined,
  id: undefined,
  finish: undefined
})

/** Collects the deltas of one answer, without its failures. */
export const makeCollector = () => {
  let draft = makeDraft()
  return {
    see: (delta: Delta): void => {
      if (delta.type === "restart") draft = makeDraft()
      else add(draft, delta)
    },
    /** Returns the reply. Rejects an incomplete answer, so call it inside {@link attempt}. */
    reply: (): Reply => {
      const toolCalls = [...draft.calls].sort(([a], [b]) => a - b).map(([, call], i) => toToolCall(call, i))
      return replyOf(draft, draft.finish ?? refuse("finish", "one: the answer is not complete"), toolCalls)
    },
    /** Returns the answer without its calls, which may be cut off. */
    said: (): Reply => replyOf(draft, draft.finish ?? "other", [])
  }
}

const replyOf = (draft: Draft, reason: FinishReason, toolCalls: ReadonlyArray<ToolCall>): Reply => ({
  text: draft.said.text(),
  toolCalls,
  finishReason: finish(reason, toolCalls),
  usage: draft.usage,
  ...defined({
    ...saidBy(draft.said),
    parts: draft.parts.length > 0 ? draft.parts : undefined,
    logprobs: draft.logprobs.length > 0 ? draft.logprobs : undefined,
    stopSequence: draft.stopSequence,
    tier: draft.tier,
    model: draft.model,
    id: draft.id
  }),
  raw: null
})

/** See `Chat.collect`. */
export const collect = (deltas: Iterable<Delta>): Result.Result<Reply, Issue> =>
  attempt(() => {
    const { reply, see } = makeCollector()
    for (const delta of deltas) see(delta)
    return reply()
  })

const add = (draft: Draft, delta: Exclude<Delta, { readonly type: "restart" }>): void => {
  switch (delta.type) {
    case "text":
    case "reasoning":
    case "refusal":
      draft.said.say(delta.type, delta.text)
      return
    case "opaque":
      draft.said.sign(delta.opaque, delta.of ?? "reasoning", delta.redacted)
      return
    case "citation":
      draft.said.cite(delta.citation)
      return
    case "logprobs":
      draft.logprobs.push(...delta.logprobs)
      return
    case "toolCall": {
      let call = draft.calls.get(delta.index)
      if (call === undefined) {
        call = { id: undefined, name: undefined, arguments: "", signature: undefined }
        draft.calls.set(delta.index, call)
      }
      call.id ??= delta.id
      if (delta.name !== undefined && delta.name !== call.name) call.name = (call.name ?? "") + delta.name
      call.signature = delta.signature ?? call.signature
      call.arguments += delta.arguments
      return
    }
    case "part":
      draft.parts.push(delta.part)
      if (delta.as !== undefined) draft.said.add(delta.as)
      return
    case "usage":
      draft.usage = delta.usage
      return
    case "meta":
      draft.model = delta.model ?? draft.model
      draft.id = delta.id ?? draft.id
      draft.tier = delta.tier ?? draft.tier
      return
    case "finish":
      // Two would be two answers, and no restart announced the second.
      if (draft.finish !== undefined) refuse("finish", "only one")
      draft.finish = delta.reason
      draft.stopSequence = delta.stopSequence
  }
}

const toToolCall = (call: Call, i: number): ToolCall => ({
  id: call.id ?? `call_${i}`,
  name: nonEmptyText(call.name, `toolCalls[${i}].name`),
  arguments: toolArguments(call.arguments, `toolCalls[${i}].arguments`),
  ...defined({ signature: call.signature })
})
