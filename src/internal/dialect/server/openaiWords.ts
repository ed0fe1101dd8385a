/**
 * Common parts of a chat completion and its chunks.
 */
import { defined } from "../../data/defined.ts"
import type { FinishReason, Usage } from "../chat.ts"

/** Facts about an answer, apart from its content. */
export interface AnswerFacts {
  /** Used if the answer has no id of its own. */
  readonly id: string
  /** Used if the answer names no model. */
  readonly model: string
  /** Seconds since the epoch. */
  readonly created: number
  readonly fingerprint?: string
  readonly serviceTier?: string
}

/** Returns a finish reason of OpenAI. Clients check for these words, so `other` and `pause` have none of their own. */
export const finishWord = (reason: FinishReason, called: boolean, refused: boolean): string => {
  // The text of a refusal is enough.
  if (refused && reason === "contentFilter") return "stop"
  switch (reason) {
    case "toolCalls":
      return "tool_calls"
    case "contentFilter":
      return "content_filter"
    case "other":
    case "pause":
      // Otherwise a loop that looks for calls by this word would miss them.
      return called ? "tool_calls" : "stop"
    default:
      return reason
  }
}

/**
 * Writes OpenAI's usage. An unknown count is absent, and so is the usage if none is known, because 0 would be a count.
 */
export const usageBody = (usage: Usage): object | undefined => {
  const { cachedInputTokens, cacheWriteTokens, inputTokens, outputTokens, reasoningTokens, totalTokens } = usage
  const some = (details: object): object | undefined => (Object.keys(details).length === 0 ? undefined : details)
  const total = inputTokens === undefined || outputTokens === undefined ? undefined : inputTokens + outputTokens
  return some(
    defined({
      prompt_tokens: inputTokens,
      completion_tokens: outputTokens,
      total_tokens: totalTokens ?? total,
      prompt_tokens_details: some(defined({ cached_tokens: cachedInputTokens, cache_write_tokens: cacheWriteTokens })),
      completion_tokens_details: some(defined({ reasoning_tokens: reasoningTokens }))
    })
  )
}

/** Writes the token of a call where Google's compatible endpoint has it, so that clients send it back. */
export const signatureBody = (signature: string | undefined): object =>
  signature === undefined ? {} : { extra_content: { google: { thought_signature: signature } } }
