/**
 * What the echo answers, before a dialect writes it.
 */
import type { Usage } from "../../internal/dialect/chat.ts"
import type { AnswerFacts } from "../../internal/dialect/server/openaiWords.ts"

/** Everything that a dialect needs to write one answer. */
export interface EchoReply {
  readonly id: string
  readonly model: string
  /** Made when it is asked for: the deltas of a stream need it not. */
  readonly text: string
  /** The text as the deltas of a stream. */
  readonly pieces: Iterable<string>
  /** Seconds since the epoch. */
  readonly created: number
  readonly promptTokens: number
  readonly completionTokens: number
  readonly includeUsage: boolean
}

/** What a chat completion says beside its text. Some clients refuse one without a fingerprint, others `null`. */
export const chatFacts = ({ created, id, model }: EchoReply): AnswerFacts => ({
  id: `chatcmpl-${id}`,
  model,
  created,
  fingerprint: "fp_echo",
  serviceTier: "default"
})

/** The tokens of an answer. The echo caches nothing and does not think. */
export const chatUsage = ({ completionTokens, promptTokens }: EchoReply): Usage => ({
  inputTokens: promptTokens,
  outputTokens: completionTokens,
  totalTokens: promptTokens + completionTokens,
  cachedInputTokens: 0,
  reasoningTokens: 0
})
