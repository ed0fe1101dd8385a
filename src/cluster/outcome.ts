/**
 * The parts of a result's record that have their own columns, so that a job can be summed up without reading its
 * records.
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Json } from "../BatchJournal.ts"
import { AnswerFacts } from "../internal/batch/record.ts"

const Attempts = Schema.Array(Schema.Unknown)
const decodeDone = Schema.decodeUnknownOption(
  Schema.Struct({ facts: AnswerFacts, attempts: Attempts, latency: Schema.Number })
)
const decodeDead = Schema.decodeUnknownOption(
  Schema.Struct({
    error: Schema.Struct({
      reason: Schema.Struct({ _tag: Schema.String }),
      attempts: Schema.optionalKey(Attempts)
    }),
    latency: Schema.Number
  })
)

export interface ClusterOutcome {
  /** Of a success. */
  readonly facts: AnswerFacts | undefined
  /** Of a dead letter. */
  readonly reason: string | undefined
  readonly requests: number
  readonly tokensIn: number
  readonly tokensOut: number
  readonly cacheHit: boolean
  /** Milliseconds. */
  readonly latency: number
}

export const read = (record: Json): ClusterOutcome => {
  const done = Option.getOrUndefined(decodeDone(record))
  const dead = done === undefined ? Option.getOrUndefined(decodeDead(record)) : undefined
  return {
    facts: done?.facts,
    reason: dead?.error.reason._tag,
    requests: done?.attempts.length ?? dead?.error.attempts?.length ?? 0,
    tokensIn: done?.facts.usage?.inputTokens ?? 0,
    tokensOut: done?.facts.usage?.outputTokens ?? 0,
    cacheHit: done?.facts.cacheStatus === "HIT",
    latency: done?.latency ?? dead?.latency ?? 0
  }
}
