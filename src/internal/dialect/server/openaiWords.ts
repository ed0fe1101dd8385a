/**
 * Words that a whole chat completion and its chunks share.
 */
import { defined } from "../../data/defined.ts"
import type { FinishReason, Usage } from "../chat.ts"

/** What is known of an answer beside the answer. */
export interface AnswerFacts {
  /** Taken where the answer has no id of its own. */
  readonly id: string
  /** Taken where the answer names no model. */
  readonly model: string
  /** Seconds since the epoch. */
  readonly created: number
  readonly fingerprint?: string
  readonly serviceTier?: string
}

/** A finish reason of OpenAI's own: clients check for these words, so `other` and `pause` have none. */
export const finishWord = (reason: FinishReason, called: boolean, refused: boolean): string => {
  // The words of a refusal say it.
  if (refused && reason === "contentFilter") return "stop"
  switch (reason) {
    case "toolCalls":
      return "tool_calls"
    case "contentFilter":
      return "content_filter"
    case "other":
    case "pause":
      // A loop that looks for calls by this word would not find them otherwise.
      return called ? "tool_calls" : "stop"
    default:
      return reason
  }
}

/** OpenAI's usage. A count that is not known is absent, and so is the usage when none is: 0 would be a count. */
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

/** Where Google's compatible endpoint keeps the token of a call, and clients send it back. */
export const signatureBody = (signature: string | undefined): object =>
  signature === undefined ? {} : { extra_content: { google: { thought_signature: signature } } }
