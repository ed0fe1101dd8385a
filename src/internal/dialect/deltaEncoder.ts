/**
 * Deltas as server-sent events: in a form of their own, or as OpenAI writes them.
 */
import { defined } from "../data/defined.ts"
import type { FinishReason, Usage } from "./chat.ts"
import type { Delta } from "./delta.ts"

/** What a client is told about a stream that broke: nothing of the prompt, the answer, the provider or a credential. */
export interface StreamProblem {
  /** Tag of the failure's reason. */
  readonly reason: string
  readonly message: string
  /** Deltas that came before. */
  readonly events: number
}

/** Writes one stream. */
export interface Encoder {
  /** Whether there is a way to say that everything before is to be discarded. */
  readonly restarts: boolean
  readonly deltas: (deltas: ReadonlyArray<Delta>) => string
  /** The end of a complete answer. */
  readonly end: () => string
  /** The end of any other. */
  readonly error: (problem: StreamProblem) => string
}

/** What is known of an answer before its first delta. */
export interface StreamFacts {
  readonly id: string
  readonly model: string
  /** Seconds since the epoch. */
  readonly created: number
}

const event = (data: unknown): string => `data: ${JSON.stringify(data)}\n\n`
const done = "data: [DONE]\n\n"
const error = (data: unknown): string => `event: error\n${event(data)}`

/** One event per delta, as it is. */
export const neutral: Encoder = {
  restarts: true,
  deltas: (deltas) => deltas.map(event).join(""),
  end: () => done,
  error
}

const finishReasons: Readonly<Record<FinishReason, string>> = {
  stop: "stop",
  length: "length",
  toolCalls: "tool_calls",
  contentFilter: "content_filter",
  other: "other"
}

const encodeUsage = (usage: Usage) => ({
  ...defined({
    prompt_tokens: usage.inputTokens,
    completion_tokens: usage.outputTokens,
    total_tokens: usage.totalTokens,
    prompt_tokens_details:
      usage.cachedInputTokens === undefined && usage.cacheWriteTokens === undefined
        ? undefined
        : defined({ cached_tokens: usage.cachedInputTokens, cache_write_tokens: usage.cacheWriteTokens }),
    completion_tokens_details:
      usage.reasoningTokens === undefined ? undefined : { reasoning_tokens: usage.reasoningTokens }
  })
})

const encodeCall = (delta: Extract<Delta, { readonly type: "toolCall" }>) => ({
  index: delta.index,
  ...(delta.id !== undefined && { id: delta.id, type: "function" }),
  function: { ...defined({ name: delta.name }), arguments: delta.arguments },
  ...(delta.signature !== undefined && { extra_content: { google: { thought_signature: delta.signature } } })
})

/** Chunks of a chat completion. The finish and the usage come together, in the last chunk: either may be first. */
export const openai = (facts: StreamFacts): Encoder => {
  let { id, model } = facts
  let begun = false
  let reason: string | null = null
  let usage: Usage | undefined

  const chunk = (delta: Record<string, unknown>, finish: string | null): string => {
    const first = begun ? undefined : { role: "assistant" }
    begun = true
    return event({
      id,
      object: "chat.completion.chunk",
      created: facts.created,
      model,
      choices: [{ index: 0, delta: { ...first, ...delta }, logprobs: null, finish_reason: finish }],
      ...(finish !== null && usage !== undefined && { usage: encodeUsage(usage) })
    })
  }

  const encode = (delta: Delta): string => {
    switch (delta.type) {
      case "text":
        return chunk({ content: delta.text }, null)
      case "reasoning":
        return chunk({ reasoning_content: delta.text }, null)
      case "toolCall":
        return chunk({ tool_calls: [encodeCall(delta)] }, null)
      case "part":
        // No field of OpenAI's takes what another provider wrote.
        return chunk({ parts: [delta.part] }, null)
      case "meta":
        // All chunks of an answer have one id.
        if (!begun) {
          id = delta.id ?? id
          model = delta.model ?? model
        }
        return ""
      case "usage":
        usage = delta.usage
        return ""
      case "finish":
        reason = finishReasons[delta.reason]
        return ""
      case "restart":
        return ""
    }
  }

  return {
    restarts: false,
    deltas: (deltas) => deltas.map(encode).join(""),
    end: () => (reason === null ? done : `${chunk({}, reason)}${done}`),
    error: ({ events, message, reason }) =>
      error({ error: { message, type: reason, param: null, code: null, reason, events } })
  }
}
