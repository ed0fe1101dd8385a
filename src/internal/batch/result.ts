/** Results of a batch's items. */
import type * as Duration from "effect/Duration"
import type { Attempt, GatewayError } from "../../GatewayError.ts"
import type { AnswerFacts, InDoubt } from "./record.ts"

/** Fields of every result. */
export interface Common {
  readonly id: string
  /** Position of the item in this run's input, from 0. */
  readonly index: number
  /** Whether an earlier run did the item, and the result comes from the journal. */
  readonly replayed: boolean
}

/** Fields of an item that was run. */
interface Ran extends Common {
  /** Every request for the item, in order, including those before the batch tried it again. */
  readonly attempts: ReadonlyArray<Attempt>
  /** From its admission to its end, waits included. */
  readonly latency: Duration.Duration
  /** Present when an earlier run had sent it, and was killed before it learned the outcome. */
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

/** An item that an earlier run has done, and whose value the journal did not store. */
export interface DoneBefore extends Ran, AnswerFacts {
  readonly _tag: "DoneBefore"
}

/** How an item ended. */
export type Result<Out> = Success<Out> | DeadLetter | DoneBefore
