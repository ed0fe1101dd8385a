/**
 * Reads streams of Workers AI: its own `{ response }` events, and the OpenAI chunks of newer models on the same path.
 *
 * Shapes: https://developers.cloudflare.com/workers-ai/features/streaming/ and `getMappedStream` of
 * https://github.com/cloudflare/ai/tree/main/packages/workers-ai-provider. `[DONE]` completes an answer; its own events
 * rarely have a reason for the end.
 */
import type { DecodeOptions } from "./chat.ts"
import { refuse, writeJson } from "./codec.ts"
import type { Streaming } from "./delta.ts"
import { cutOff, makeDecoder } from "./deltaDecoder.ts"
import { decodeUsage } from "./openai.ts"
import { makeChunks } from "./openaiStream.ts"

const decoder = (_?: Record<string, unknown>, options?: DecodeOptions) => {
  const chunks = makeChunks()
  let answered = false
  return makeDecoder(options, {
    read: (body, out) => {
      if (body.choices !== undefined) {
        answered ||= !Array.isArray(body.choices) || body.choices.length > 0
        chunks.read(body, out)
        return false
      }
      const { response, tool_calls: calls } = body
      if (response !== undefined && response !== null) {
        answered = true
        // Tokens that look like a number, and parsed JSON, do not arrive as strings.
        const words = typeof response === "string" ? response : writeJson(response, "response")
        if (words !== "") out.push({ type: "text", text: words })
      }
      if (calls !== undefined && calls !== null) {
        answered = true
        chunks.calls(calls, "tool_calls", out)
      }
      if (body.usage !== undefined) chunks.usage(decodeUsage(body.usage), out)
      chunks.ended(body.finish_reason, "finish_reason", out)
      return false
    },
    end: (out, marked) => {
      if (chunks.finished()) return
      if (!marked) cutOff("[DONE]")
      if (!answered) refuse("response", "one before [DONE]")
      chunks.finish("stop", out)
    },
    finished: chunks.finished
  })
}

/** Workers AI `run`. */
export const workersAi: Streaming = {
  query: (query) => ({ ...query, stream: true }),
  endpoint: (endpoint) => endpoint,
  decoder
}
