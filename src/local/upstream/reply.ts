/** The echo's answer, before a dialect writes it. */
import type { Usage } from "../../internal/dialect/chat.ts"
import type { AnswerFacts } from "../../internal/dialect/server/openaiWords.ts"
import type { Called } from "./wish.ts"

/** Everything that a dialect needs to write one answer. */
export interface EchoReply {
  readonly id: string
  readonly model: string
  /** Made on demand: the deltas of a stream do not need it. */
  readonly text: string
  /** The text as the deltas of a stream. */
  readonly pieces: Iterable<string>
  /** Seconds since the epoch. */
  readonly created: number
  readonly promptTokens: number
  readonly completionTokens: number
  readonly includeUsage: boolean
  /** A tool call instead of an answer in text, which is then empty. */
  readonly call?: Called
  /** Whether the text is JSON that the request wanted. */
  readonly isJson: boolean
  /** Number of copies of the answer, from 1. */
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

/** Facts of a chat completion besides its text. Some clients reject one without a fingerprint, others `null`. */
export const chatFacts = ({ created, id, model }: EchoReply): AnswerFacts => ({
  id: `chatcmpl-${id}`,
  model,
  created,
  fingerprint: "fp_echo",
  serviceTier: "default"
})

/** The tokens of an answer. The echo neither caches nor reasons. */
export const chatUsage = ({ completionTokens, promptTokens }: EchoReply): Usage => ({
  inputTokens: promptTokens,
  outputTokens: completionTokens,
  totalTokens: promptTokens + completionTokens,
  cachedInputTokens: 0,
  reasoningTokens: 0
})
