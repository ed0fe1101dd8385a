/**
 * What a batch says about its items.
 */
import type * as Duration from "effect/Duration"
import type { Attempt, GatewayError } from "../../GatewayError.ts"
import type { AnswerFacts, InDoubt } from "./record.ts"

/** What every result has. */
export interface Common {
  readonly id: string
  /** Position of the item in this run's input, from 0. */
  readonly index: number
  /** It comes from the journal: an earlier run did it. */
  readonly replayed: boolean
}

/** What an item that was run has. */
interface Ran extends Common {
  /** Every request for the item, in order, also those before the batch tried it again as a whole. */
  readonly attempts: ReadonlyArray<Attempt>
  /** From its admission to its end, waits included. */
  readonly latency: Duration.Duration
  /** An earlier run had sent it, and was killed before it knew more. */
  readonly inDoubt?: InDoubt
}

/** An item that was answered. */
export interface Success<Out> extends Ran, AnswerFacts {
  readonly _tag: "Success"
  readonly value: Out
}

/** An item that was given up. */
export interface DeadLetter extends Ran {
  readonly _tag: "DeadLetter"
  readonly error: GatewayError
}

/** An item that an earlier run has done, and whose value the journal was told not to keep. */
export interface DoneBefore extends Ran, AnswerFacts {
  readonly _tag: "DoneBefore"
}

/** How an item ended. */
export type Result<Out> = Success<Out> | DeadLetter | DoneBefore
