/**
 * Deltas as server-sent events: in their own form, or in OpenAI's.
 */
import type { ReasonTag } from "../../GatewayError.ts"
import type { Delta } from "./delta.ts"
import { errorOf } from "./server/openaiErrorWriter.ts"
import { makeChunkWriter } from "./server/openaiStreamWriter.ts"
import type { AnswerFacts } from "./server/openaiWords.ts"

/**
 * The error that a client gets for a broken stream. It contains nothing of the prompt, the answer, the provider or a
 * credential.
 */
export interface StreamProblem {
  readonly reason: ReasonTag
  readonly message: string
  /** Number of deltas before it. */
  readonly events: number
}

/** Writes one stream. */
export interface Encoder {
  /** Whether the form can tell a client to discard everything before. */
  readonly restarts: boolean
  readonly deltas: (deltas: ReadonlyArray<Delta>) => string
  /** Returns the end of a complete answer. */
  readonly end: () => string
  /** Returns the end of any other answer. */
  readonly error: (problem: StreamProblem) => string
}

const data = (text: string): string => `data: ${text}\n\n`
const event = (value: unknown): string => data(JSON.stringify(value))
const error = (value: unknown): string => `event: error\n${event(value)}`

/** One event per delta, unchanged. */
export const neutral: Encoder = {
  restarts: true,
  deltas: (deltas) => deltas.map(event).join(""),
  end: () => data("[DONE]"),
  error
}

/** Chunks of a chat completion. */
export const openai = (facts: AnswerFacts, includeUsage: boolean): Encoder => {
  const writer = makeChunkWriter(facts, includeUsage)
  const events = (chunks: ReadonlyArray<string>): string => chunks.map(data).join("")
  return {
    restarts: false,
    deltas: (deltas) => deltas.map((delta) => events(writer.delta(delta))).join(""),
    end: () => events(writer.end()),
    // OpenAI's clients ignore the name of the event; it is the same in both forms.
    error: ({ message, ...more }) => error({ error: { ...errorOf(more.reason, message), ...more } })
  }
}
