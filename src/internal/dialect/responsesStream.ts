/**
 * Streams of OpenAI's Responses.
 *
 * Shapes: https://platform.openai.com/docs/api-reference/responses-streaming. The event with the whole response completes
 * the answer. Types of events that are not known are read over.
 */
import type { DecodeOptions } from "./chat.ts"
import { type Fields, fields, isFields, nonEmptyText, optionalText, parseJson, refuse, text } from "./codec.ts"
import type { Delta, Streaming } from "./delta.ts"
import { cutOff, finishDelta, makeDecoder, makeMeta, makeUsage } from "./deltaDecoder.ts"
import { citationsOf, decodeUsage, logprobsOf } from "./openai.ts"
import { isPart, mediaOf, opaqueOf, reasonOf } from "./responses.ts"

/** A call whose events are being read. */
interface Open {
  readonly index: number
  readonly isCustom: boolean
  /** Some of its arguments have been delivered. */
  some: boolean
}

const reader = (options: DecodeOptions | undefined) => {
  const meta = makeMeta()
  const usage = makeUsage()
  const calls = new Map<unknown, Open>()
  let refused = false
  let finished = false

  const begin = (item: Fields, place: unknown, out: Array<Delta>): void => {
    if (item.type !== "function_call" && item.type !== "custom_tool_call") return
    const call = { index: calls.size, isCustom: item.type === "custom_tool_call", some: false }
    calls.set(place, call)
    out.push({
      type: "toolCall",
      index: call.index,
      id: nonEmptyText(item.call_id, "item.call_id"),
      name: nonEmptyText(item.name, "item.name"),
      arguments: call.isCustom ? '"' : ""
    })
  }

  const argue = (place: unknown, piece: string, out: Array<Delta>): void => {
    const call = calls.get(place) ?? refuse("response.output_item.added", "one before its delta")
    if (piece === "") return
    call.some = true
    const json = call.isCustom ? JSON.stringify(piece).slice(1, -1) : piece
    out.push({ type: "toolCall", index: call.index, arguments: json })
  }

  const end = (item: Fields, place: unknown, out: Array<Delta>): void => {
    const call = calls.get(place)
    if (call !== undefined) {
      // Not every server sends arguments in pieces.
      if (!call.some) argue(place, optionalText(call.isCustom ? item.input : item.arguments) ?? "", out)
      if (call.isCustom) out.push({ type: "toolCall", index: call.index, arguments: '"' })
    } else if (item.type === "reasoning") {
      const opaque = opaqueOf(item)
      if (opaque !== undefined) out.push({ type: "opaque", opaque })
    } else if (item.type !== "message" && isPart(item)) {
      const as = mediaOf(item)
      out.push({ type: "part", part: item, ...(as && { as }) })
    }
  }

  const complete = (raw: unknown, out: Array<Delta>): boolean => {
    const response = fields(raw, "response")
    meta(response.model, response.id, out, response.service_tier)
    if (response.usage !== undefined && response.usage !== null) usage(decodeUsage(response.usage), out)
    const reason = reasonOf(response)
    finished = true
    out.push(refused ? { type: "finish", reason: "contentFilter" } : finishDelta(reason, calls.size > 0))
    return true
  }

  return makeDecoder(options, {
    read: (body, out) => {
      const { output_index: place } = body
      switch (body.type) {
        case "response.created":
          if (isFields(body.response)) meta(body.response.model, body.response.id, out)
          return false
        case "response.output_item.added":
          begin(fields(body.item, "item"), place, out)
          return false
        case "response.output_text.delta": {
          const words = text(body.delta, "delta")
          if (words !== "") out.push({ type: "text", text: words })
          const logprobs = logprobsOf({ logprobs: { content: body.logprobs } })
          if (logprobs !== undefined) out.push({ type: "logprobs", logprobs })
          return false
        }
        case "response.refusal.delta": {
          const words = text(body.delta, "delta")
          refused = true
          if (words !== "") out.push({ type: "refusal", text: words })
          return false
        }
        case "response.output_text.annotation.added":
          for (const citation of citationsOf([body.annotation])) out.push({ type: "citation", citation })
          return false
        case "response.reasoning_summary_text.delta":
        case "response.reasoning_text.delta": {
          const words = text(body.delta, "delta")
          if (words !== "") out.push({ type: "reasoning", text: words })
          return false
        }
        case "response.function_call_arguments.delta":
        case "response.custom_tool_call_input.delta":
          argue(place, text(body.delta, "delta"), out)
          return false
        case "response.output_item.done":
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
        // The error of a response that has failed stands inside of it.
        const body = one.data.includes("response.failed") ? parseJson(one.data) : undefined
        const error =
          isFields(body) && body.type === "response.failed" && isFields(body.response) ? body.response.error : undefined
        return error === undefined ? event(one) : event({ ...one, event: "error", data: JSON.stringify({ error }) })
      }
    }
  }
}
