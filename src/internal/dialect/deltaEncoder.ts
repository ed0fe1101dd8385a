/**
 * Deltas as server-sent events: in a form of their own, or as OpenAI writes them.
 */
import type { ReasonTag } from "../../GatewayError.ts"
import type { Delta } from "./delta.ts"
import { errorOf } from "./server/openaiErrorWriter.ts"
import { makeChunkWriter } from "./server/openaiStreamWriter.ts"
import type { AnswerFacts } from "./server/openaiWords.ts"

/** What a client is told about a stream that broke: nothing of the prompt, the answer, the provider or a credential. */
export interface StreamProblem {
  readonly reason: ReasonTag
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

const data = (text: string): string => `data: ${text}\n\n`
const event = (value: unknown): string => data(JSON.stringify(value))
const error = (value: unknown): string => `event: error\n${event(value)}`

/** One event per delta, as it is. */
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
    // The name of the event changes nothing for OpenAI's clients, and is the same in both forms.
    error: ({ message, ...more }) => error({ error: { ...errorOf(more.reason, message), ...more } })
  }
}
