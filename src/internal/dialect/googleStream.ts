/**
 * Reads streams of Google's `streamGenerateContent`, at AI Studio and at Vertex. Every event is a response with the
 * next parts and the usage so far.
 *
 * Shapes: https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent. There is no last event: the
 * end of the stream completes the answer if a finish reason came before. The finish is delivered at the end, because
 * older models write a reason into every event.
 */
import { defined } from "../data/defined.ts"
import type { DecodeOptions, FinishReason } from "./chat.ts"
import { type Fields, fields, isFields, list, nonEmptyText, optionalText, refuse, text, writeJson } from "./codec.ts"
import type { Delta, Streaming } from "./delta.ts"
import { cutOff, finishDelta, makeCitations, makeDecoder, makeMeta, makeUsage } from "./deltaDecoder.ts"
import { finishReasonOf } from "./finish.ts"
import { citationsOf, decodeUsage, isPart, logprobsOf, mediaOf, opaqueOf } from "./google.ts"

const at = "candidates[0].content.parts"

const decoder = (_?: Record<string, unknown>, options?: DecodeOptions) => {
  const meta = makeMeta()
  const pushUsage = makeUsage()
  const citations = makeCitations()
  let replyId: string | undefined
  let reason: FinishReason | undefined
  let calls = 0
  let finished = false

  const readCall = (part: Fields, field: string, out: Array<Delta>): void => {
    const call = fields(part.functionCall, field)
    // On request, Vertex splits arguments into pieces of its own format.
    if (call.willContinue === true) refuse(field, "a complete call: streamFunctionCallArguments is not supported")
    const index = calls++
    out.push({
      type: "toolCall",
      index,
      id: optionalText(call.id) ?? `call_${replyId === undefined ? "" : `${replyId}_`}${index}`,
      name: nonEmptyText(call.name, `${field}.name`),
      arguments: typeof call.args === "string" ? call.args : writeJson(call.args ?? {}, `${field}.args`),
      ...defined({ signature: optionalText(part.thoughtSignature) })
    })
  }

  const readPart = (item: unknown, field: string, out: Array<Delta>): void => {
    const part = fields(item, field)
    if (part.functionCall !== undefined) readCall(part, `${field}.functionCall`, out)
    else if (part.text !== undefined) {
      const piece = text(part.text, `${field}.text`)
      const isThought = part.thought === true
      const opaque = opaqueOf(part)
      if (piece !== "") out.push({ type: isThought ? "reasoning" : "text", text: piece })
      if (opaque !== undefined) out.push({ type: "opaque", opaque, ...(!isThought && { of: "text" }) })
    } else if (isPart(part)) out.push({ type: "part", part, ...defined({ as: mediaOf(part) }) })
  }

  const readCandidate = (candidate: Fields, out: Array<Delta>): void => {
    const content = fields(candidate.content ?? {}, "candidates[0].content")
    list(content.parts ?? [], at).forEach((part, i) => {
      readPart(part, `${at}[${i}]`, out)
    })
    citations.hold(citationsOf(candidate), out)
    const logprobs = logprobsOf(candidate)
    if (logprobs.length > 0) out.push({ type: "logprobs", logprobs })
    reason = finishReasonOf(candidate.finishReason, "candidates[0].finishReason") ?? reason
  }

  return makeDecoder(options, {
    read: (body, out) => {
      meta(body.modelVersion, body.responseId, out)
      replyId ??= optionalText(body.responseId)
      const candidate = firstCandidate(body.candidates)
      if (candidate !== undefined) readCandidate(candidate, out)
      if (body.usageMetadata !== undefined) pushUsage(decodeUsage(body.usageMetadata), out)
      return false
    },
    end: (out) => {
      if (reason === undefined) return cutOff("candidates[0].finishReason")
      citations.release(out)
      out.push(finishDelta(reason, calls > 0))
      finished = true
    },
    finished: () => finished
  })
}

const firstCandidate = (candidates: unknown): Fields | undefined => {
  for (const candidate of list(candidates ?? [], "candidates")) {
    if (isFields(candidate) && (typeof candidate.index !== "number" || candidate.index === 0)) return candidate
  }
  return undefined
}

// Without `alt=sse` the answer is one JSON array.
const endpoint = (endpoint: string): string => {
  const [path = "", ...search] = endpoint.split("?")
  if (!/:(?:generateContent|streamGenerateContent)$/.test(path)) return endpoint
  const rest = search.join("?").split("&")
  const kept = rest.filter((parameter) => parameter !== "" && !parameter.startsWith("alt="))
  return `${path.replace(/:[a-zA-Z]+$/, ":streamGenerateContent")}?${["alt=sse", ...kept].join("&")}`
}

/** Google at AI Studio and at Vertex. */
export const google: Streaming = { query: (query) => query, endpoint, decoder }
