/**
 * Writes deltas as chunks of a chat completion.
 *
 * Shapes: https://platform.openai.com/docs/api-reference/chat-streaming.
 */
import { defined } from "../../data/defined.ts"
import type { FinishReason, Usage } from "../chat.ts"
import type { Delta } from "../delta.ts"
import { type AnswerFacts, finishWord, signatureBody, usageBody } from "./openaiWords.ts"

/** Writes the chunks of one answer, each as JSON text. */
export interface ChunkWriter {
  /** Returns the chunks of one delta, if any. A restart has no chunk: do not pass it. */
  readonly delta: (delta: Delta) => ReadonlyArray<string>
  /** Returns the end of a complete answer: its finish reason, its usage, and {@link done}. */
  readonly end: () => ReadonlyArray<string>
}

/** The data of the last event. */
export const done = "[DONE]"

/**
 * Makes a writer. The usage has a chunk without a choice, after the finish reason, as OpenAI writes it for
 * `stream_options.include_usage`.
 */
export const makeChunkWriter = (facts: AnswerFacts, includeUsage: boolean): ChunkWriter => {
  let { id, model } = facts
  let head: string | undefined
  let reason: FinishReason | undefined
  let usage: Usage | undefined
  let called = false
  let refused = false

  // All chunks of an answer begin with the same fields. Those that strict clients reject as `null` (the fingerprint,
  // and the usage before the end) are omitted.
  const chunk = (choices: ReadonlyArray<object>, more: object = {}): string =>
    `${head}${JSON.stringify({ choices, ...more }).slice(1)}`
  const choice = (delta: object, finish: string | null = null): string =>
    chunk([{ index: 0, delta, logprobs: null, finish_reason: finish }])

  const write = (delta: object, content: string | null, finish?: string): ReadonlyArray<string> => {
    const written = (): string => choice(delta, finish)
    if (head !== undefined) return [written()]
    const opening = {
      id,
      object: "chat.completion.chunk",
      created: facts.created,
      model,
      service_tier: facts.serviceTier ?? null,
      ...defined({ system_fingerprint: facts.fingerprint })
    }
    head = `${JSON.stringify(opening).slice(0, -1)},`
    return [choice({ role: "assistant", content, refusal: null }), written()]
  }

  return {
    delta: (delta) => {
      switch (delta.type) {
        case "text":
          return write({ content: delta.text }, "")
        case "refusal":
          refused = true
          return write({ refusal: delta.text }, null)
        case "reasoning":
          return write({ reasoning_content: delta.text }, null)
        case "toolCall": {
          called = true
          const { arguments: args, id: own, index, name, signature } = delta
          const call = {
            index,
            ...(own !== undefined && { id: own, type: "function" }),
            function: { ...defined({ name }), arguments: args },
            ...signatureBody(signature)
          }
          return write({ tool_calls: [call] }, null)
        }
        case "part":
          // OpenAI has no field for another provider's output.
          return write({ parts: [delta.part] }, null)
        case "meta":
          // All chunks have one id, which cannot change after the first one.
          id = delta.id ?? id
          model = delta.model ?? model
          return []
        case "usage":
          usage = delta.usage
          return []
        case "finish":
          reason = delta.reason
          return []
        default:
          return []
      }
    },
    // The finish reason is written at the end: a stream that breaks before it is not a complete answer.
    end: () => {
      if (reason === undefined) return [done]
      const body = includeUsage && usage !== undefined ? usageBody(usage) : undefined
      const last = write({}, "", finishWord(reason, called, refused))
      return [...last, ...(body === undefined ? [] : [chunk([], { usage: body })]), done]
    }
  }
}
