/** Engine options and per-item state. */
import type * as Clock from "effect/Clock"
import type * as Deferred from "effect/Deferred"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { JournalError, OpenJournal } from "../../BatchJournal.ts"
import type { Attempt, GatewayError } from "../../GatewayError.ts"
import type * as Limiter from "../../Limiter.ts"
import type { ItemPermits } from "./admission.ts"
import type { Gate, Verdict } from "./gate.ts"
import type { Ledger } from "./ledger.ts"
import type { AnswerFacts, InDoubt, Records } from "./record.ts"
import type { Result } from "./result.ts"
import type { Tally } from "./tally.ts"

/** The one key of a batch's own limiters. */
export const ownKey = "batch"
/** The method that errors of a batch itself name. */
export const method = "Batch.run"

/** An answer. */
export interface ItemAnswer<Out> extends AnswerFacts {
  readonly value: Out
  readonly attempts: ReadonlyArray<Attempt>
}

/** Options of the engine. Times in milliseconds. */
export interface EngineOptions<Item, Out, E, R> {
  readonly items: Stream.Stream<Item, E, R>
  readonly idOf: (item: Item, index: number) => string
  /** `left`: the rest of the item's deadline, unless it is the first time. */
  readonly run: (
    item: Item,
    eventId: string,
    permits: ItemPermits | undefined,
    left: number | undefined
  ) => Effect.Effect<ItemAnswer<Out>, GatewayError>
  /** Looks up an event id in the gateway. */
  readonly reconcile: (eventId: string) => Effect.Effect<InDoubt>
  readonly tokensOf: (item: Item) => number
  readonly costOf: (facts: AnswerFacts) => number | undefined
  readonly isFatal: (error: GatewayError) => boolean
  readonly places: Limiter.Limiter
  readonly rates: { readonly limiter: Limiter.Limiter; readonly key: string } | undefined
  readonly buffer: number
  readonly ordered: boolean
  readonly duplicates: "fail" | "skip" | "unchecked"
  readonly retryFailed: boolean
  readonly replay: (id: string) => boolean
  readonly itemDeadline: number | undefined
  readonly jobDeadline: number | undefined
  readonly quotaPatience: number
  readonly outagePatience: number
  readonly throttlePatience: number
  readonly ledger: Ledger
  readonly journal: OpenJournal | undefined
  readonly records: Records<Out>
}

/** Counts in addition to the items' outcomes. */
export interface Counters {
  state: "running" | "draining" | "complete" | "drained" | "failed"
  items: number
  replayedDone: number
  replayedDead: number
  duplicates: number
  inDoubt: number
  resent: number
  requeued: number
  inFlight: number
  /** Items that wait for their place, or for their look-up. */
  entering: number
  /** The first dead letter, or the obstacle when the job gave up. */
  firstProblem: FirstProblem | undefined
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  /** The same moment, and the end, in milliseconds of the monotonic clock. */
  readonly beganAt: number
  endedAt: number | undefined
}

/** A problem that the summary names. */
export interface FirstProblem {
  readonly id: string
  readonly error: GatewayError
}

/** State that the parts of one batch share. */
export interface Shared {
  readonly clock: Clock.Clock
  /** Milliseconds of the monotonic clock. */
  readonly millis: () => number
  readonly counters: Counters
  readonly gate: Gate
  readonly tally: Tally
  /** Completed when the batch accepts nothing more. */
  readonly drained: Deferred.Deferred<void>
}

/** A running batch. */
export interface Engine<Out, E> {
  readonly results: Stream.Stream<Result<Out>, E | GatewayError | JournalError>
  readonly drain: Effect.Effect<void>
  readonly finished: Effect.Effect<void>
  readonly tally: Tally
  readonly gate: Gate
  readonly counters: Counters
}

/** A place among the items in flight. */
export interface Admission {
  readonly permits: ItemPermits | undefined
  /** Returns the place; only the first call counts. */
  readonly release: (outcome: Limiter.Outcome) => Effect.Effect<void>
}

/** An item in progress. */
export interface WorkItem<Item> {
  readonly item: Item
  readonly id: string
  readonly index: number
  readonly order: number
  readonly tokens: number
  /** By the monotonic clock. */
  readonly startedAt: number
}

/** One attempt of the batch at an item. */
export interface ItemAttempt {
  readonly eventId: string
  readonly admission: Admission
  readonly inDoubt: InDoubt | undefined
  /** How often it was tried before, and the attempts of those tries. */
  readonly times: number
  readonly attempts: ReadonlyArray<Attempt>
  /** When its deadline and its patience began, by the monotonic clock: time at a closed gate does not count. */
  readonly since: number
  /** How often it failed with a fault that appears not to be its own, and something else succeeded afterwards. */
  readonly struck: number
}

/** Response to a failure: the item waits and is tried again, is given up, or has to wait for a verdict. */
export type Next =
  | { readonly _tag: "again"; readonly wait: number }
  | { readonly _tag: "deadLetter" }
  | { readonly _tag: "verdict"; readonly verdict: Effect.Effect<Verdict> }
