/**
 * Reads streams of OpenAI Responses.
 *
 * Shapes: https://platform.openai.com/docs/api-reference/responses-streaming. The event with the complete response
 * completes the answer. Unknown types of events are skipped.
 */
import type { DecodeOptions } from "./chat.ts"
import { type Fields, fields, isFields, nonEmptyText, optionalText, parseJson, refuse, text } from "./codec.ts"
import type { Delta, Streaming } from "./delta.ts"
import { cutOff, finishDelta, makeCitations, makeDecoder, makeMeta, makeUsage } from "./deltaDecoder.ts"
import { citationsOf, decodeUsage, logprobsOf } from "./openai.ts"
import { isPart, mediaOf, opaqueOf, reasonOf, thoughtsOf } from "./responses.ts"

/** A call whose events are being read. */
interface Open {
  readonly id: string
  readonly index: number
  readonly isCustom: boolean
  /** Whether some of its arguments have been delivered. */
  some: boolean
  isEnded: boolean
}

const isCall = ({ type }: Fields): boolean => type === "function_call" || type === "custom_tool_call"

/**
 * Identifies the item of an event: by its number, which some servers omit, or by its id, which others change with each
 * event.
 */
const placeOf = ({ item, item_id: id, output_index: index }: Fields): unknown =>
  index ?? id ?? (isFields(item) ? item.id : undefined)

const reader = (options: DecodeOptions | undefined) => {
  const meta = makeMeta()
  const usage = makeUsage()
  const citations = makeCitations()
  const calls = new Map<unknown, Open>()
  /** Items with delivered text, and the text since the last item: some servers identify nothing. */
  const told = new Set<unknown>()
  const since = new Set<"said" | "thought">()
  let count = 0
  let some = false
  let refused = false
  let finished = false

  const begin = (item: Fields, place: unknown, out: Array<Delta>): Open | undefined => {
    if (!isCall(item)) return undefined
    const isCustom = item.type === "custom_tool_call"
    const id = nonEmptyText(item.call_id, "item.call_id")
    const call = { id, index: count++, isCustom, some: false, isEnded: false }
    calls.set(place, call)
    const name = nonEmptyText(item.name, "item.name")
    out.push({ type: "toolCall", index: call.index, id, name, arguments: isCustom ? '"' : "" })
    return call
  }

  const argue = (call: Open, piece: string, out: Array<Delta>): void => {
    if (piece === "") return
    call.some = true
    const json = call.isCustom ? JSON.stringify(piece).slice(1, -1) : piece
    out.push({ type: "toolCall", index: call.index, arguments: json })
  }

  const say = (type: "text" | "reasoning" | "refusal", words: string, place: unknown, out: Array<Delta>): void => {
    if (type === "refusal") refused = true
    if (words === "") return
    told.add(place)
    since.add(type === "reasoning" ? "thought" : "said")
    out.push({ type, text: words })
  }

  const isTold = (place: unknown, how: "said" | "thought"): boolean => {
    const isLatest = since.has(how)
    since.delete(how)
    return isLatest || told.has(place)
  }

  /** Some servers do not send an item in pieces, or do not announce it. */
  const end = (item: Fields, place: unknown, out: Array<Delta>): void => {
    if (isCall(item)) {
      const known = calls.get(place)
      const call = known === undefined || (known.isEnded && known.id !== item.call_id) ? begin(item, place, out) : known
      if (call === undefined || call.isEnded) return
      call.isEnded = true
      if (!call.some) argue(call, optionalText(call.isCustom ? item.input : item.arguments) ?? "", out)
      if (call.isCustom) out.push({ type: "toolCall", index: call.index, arguments: '"' })
    } else if (item.type === "reasoning") {
      const thoughts = isTold(place, "thought") ? [] : thoughtsOf(item)
      for (const piece of thoughts) say("reasoning", piece, place, out)
      since.delete("thought")
      const opaque = opaqueOf(item)
      if (opaque !== undefined) out.push({ type: "opaque", opaque })
    } else if (item.type === "message") {
      citations.release(out)
      if (isTold(place, "said") || !Array.isArray(item.content)) return
      for (const part of item.content.filter(isFields)) {
        if (part.type === "refusal") say("refusal", text(part.refusal, "refusal"), place, out)
        if (part.type !== "output_text") continue
        say("text", text(part.text, "text"), place, out)
        accompany(part, out)
        citations.release(out)
      }
      since.delete("said")
    } else if (isPart(item)) {
      const as = mediaOf(item)
      out.push({ type: "part", part: item, ...(as && { as }) })
    }
  }

  const accompany = ({ annotations, logprobs }: Fields, out: Array<Delta>): void => {
    citations.hold(citationsOf(annotations), out)
    const tokens = logprobsOf({ logprobs: { content: logprobs } })
    if (tokens !== undefined) out.push({ type: "logprobs", logprobs: tokens })
  }

  const complete = (raw: unknown, out: Array<Delta>): boolean => {
    const response = fields(raw, "response")
    meta(response.model, response.id, out, response.service_tier)
    const { output } = response
    if (!some && Array.isArray(output)) output.filter(isFields).forEach((item, i) => void end(item, i, out))
    if (response.usage !== undefined && response.usage !== null) usage(decodeUsage(response.usage), out)
    const reason = reasonOf(response)
    citations.release(out)
    finished = true
    out.push(refused ? { type: "finish", reason: "contentFilter" } : finishDelta(reason, count > 0))
    return true
  }

  return makeDecoder(options, {
    read: (body, out) => {
      const place = placeOf(body)
      switch (body.type) {
        case "response.created":
          if (isFields(body.response)) meta(body.response.model, body.response.id, out)
          return false
        case "response.output_item.added":
          some = true
          begin(fields(body.item, "item"), place, out)
          return false
        case "response.output_text.delta":
          some = true
          say("text", text(body.delta, "delta"), place, out)
          accompany({ logprobs: body.logprobs }, out)
          return false
        case "response.refusal.delta":
          some = true
          say("refusal", text(body.delta, "delta"), place, out)
          return false
        case "response.output_text.annotation.added":
          accompany({ annotations: [body.annotation] }, out)
          return false
        case "response.reasoning_summary_text.delta":
        case "response.reasoning_text.delta":
          some = true
          say("reasoning", text(body.delta, "delta"), place, out)
          return false
        case "response.function_call_arguments.delta":
        case "response.custom_tool_call_input.delta":
          argue(
            calls.get(place) ?? refuse("response.output_item.added", "one before its delta"),
            text(body.delta, "delta"),
            out
          )
          return false
        case "response.content_part.done":
          citations.release(out)
          return false
        case "response.output_item.done":
          some = true
          end(fields(body.item, "item"), place, out)
          return false
        case "response.completed":
        case "response.incomplete":
          return complete(body.response, out)
        default:
          return false
      }
    },
    end: () => {
      if (!finished) cutOff("response.completed")
    },
    finished: () => finished
  })
}

/** OpenAI's Responses. */
export const openaiResponses: Streaming = {
  query: (query) => ({ ...query, stream: true }),
  endpoint: (endpoint) => endpoint,
  decoder: (_, options) => {
    const { end, event } = reader(options)
    return {
      end,
      event: (one) => {
        // The error of a failed response is inside it.
        const body = one.data.includes("response.failed") ? parseJson(one.data) : undefined
        const error =
          isFields(body) && body.type === "response.failed" && isFields(body.response) ? body.response.error : undefined
        return error === undefined ? event(one) : event({ ...one, event: "error", data: JSON.stringify({ error }) })
      }
    }
  }
}
