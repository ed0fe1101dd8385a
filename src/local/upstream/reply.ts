/**
 * What the echo answers, before a dialect writes it.
 */
import type { Usage } from "../../internal/dialect/chat.ts"
import type { AnswerFacts } from "../../internal/dialect/server/openaiWords.ts"
import type { Called } from "./wish.ts"

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
  /** A tool that is called instead of an answer in text, which is then empty. */
  readonly call?: Called
  /** The text is JSON that the request asked for. */
  readonly isJson: boolean
  /** How many times the same answer is given, from 1. */
  readonly choices: number
}

/** The arguments as the pieces of a stream. */
export const argumentPieces = ({ arguments: args }: Called): Iterable<string> => jsonPieces(JSON.stringify(args))

/** JSON in pieces of at most 12 characters. */
export const jsonPieces = (text: string): Iterable<string> => ({
  *[Symbol.iterator]() {
    for (const [piece] of text.matchAll(/.{1,12}/gsu)) yield piece
  }
})

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
