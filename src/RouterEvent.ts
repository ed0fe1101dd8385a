/**
 * What a router tells about its runs while they happen: plain values, each with a time, and without prompts, answers, secrets or sessions.
 */
import type * as Duration from "effect/Duration"
import type { Attempt, AttemptCause, EndedBy, Reason } from "./GatewayError.ts"

/** The phase of a circuit breaker. `exhausted`: open until a quota is reset, without probes. */
export type BreakerPhase = "closed" | "open" | "halfOpen" | "exhausted"

/** The part of a router that withheld an attempt. `queue`: the attempt would have had to wait for a place. */
export type WithheldBy = "budget" | "breaker" | "queue" | "cost" | "sideEffects"

/** The attempt that was withheld. */
export type WithheldAttempt = "retry" | "hedge" | "fallback" | "restart"

interface Base {
  /** Milliseconds since the epoch. */
  readonly at: number
}

interface OfRun extends Base {
  /** The id that every request of the run carries. */
  readonly eventId: string
}

interface OfTarget extends OfRun {
  /** Key of the target (see `Route`). */
  readonly target: string
}

/** A run has passed its checks. */
export interface RunStarted extends OfRun {
  readonly _tag: "RunStarted"
  readonly mode: "run" | "stream"
  readonly execution: "client" | "gateway"
}

/** A balance has ordered its children. */
export interface Chosen extends OfTarget {
  readonly _tag: "Chosen"
  readonly by: "weight" | "roundRobin" | "leastInFlight" | "latency" | "session"
  /** Keys of the first target of each child, in the order of this run. */
  readonly order: ReadonlyArray<string>
}

/** Nothing was sent to a target. */
export interface TargetSkipped extends OfTarget {
  readonly _tag: "Skipped"
  readonly reason: Reason
}

/** An attempt waits for a place under the limits of its target. */
export interface Queued extends OfTarget {
  readonly _tag: "Queued"
}

/** An attempt was admitted and begins. */
export interface AttemptStarted extends OfTarget {
  readonly _tag: "AttemptStarted"
  /** Its place among the attempts of its run, from 1. */
  readonly number: number
  readonly cause: AttemptCause
  readonly provider: string
  readonly model?: string
}

/** An attempt has ended; of a stream, when the stream has. */
export interface AttemptEnded extends OfTarget {
  readonly _tag: "AttemptEnded"
  readonly mode: "run" | "stream"
  readonly attempt: Attempt
  /** From the start to the first output: the decoded answer, or the first delta. Absent when there was none. */
  readonly toOutput?: Duration.Duration
}

/** The run waits before it repeats an attempt. */
export interface Waiting extends OfTarget {
  readonly _tag: "Waiting"
  readonly delay: Duration.Duration
}

/** No target had committed in time, so the next one starts too. */
export interface Hedged extends OfTarget {
  readonly _tag: "Hedged"
  readonly after: Duration.Duration
}

/** A further attempt was not made. */
export interface Withheld extends OfTarget {
  readonly _tag: "Withheld"
  readonly by: WithheldBy
  readonly attempt: WithheldAttempt
}

/** Another attempt has answered, so this one is interrupted. Its `AttemptEnded` follows. */
export interface Superseded extends OfTarget {
  readonly _tag: "Superseded"
  readonly number: number
}

/** A breaker has changed its phase. It belongs to no run, because it can also open by itself. */
export interface BreakerChanged extends Base {
  readonly _tag: "BreakerChanged"
  readonly target: string
  readonly provider: string
  readonly model?: string
  readonly from: BreakerPhase
  readonly to: BreakerPhase
}

/** All breakers of a run are open, and one attempt is made nevertheless. */
export interface Panic extends OfTarget {
  readonly _tag: "Panic"
}

/** A stream broke after its first delta, and another target starts it over. */
export interface Restarted extends OfTarget {
  readonly _tag: "Restarted"
}

/** A run has ended; of a stream, when the consumer has what there is. */
export interface RunEnded extends OfRun {
  readonly _tag: "RunEnded"
  readonly mode: "run" | "stream"
  readonly outcome: "success" | "failure" | "interrupted"
  readonly duration: Duration.Duration
  /** The target that answered. */
  readonly target?: string
  /** Absent for a success. */
  readonly error?: Reason
  readonly ended?: EndedBy
}

/** A router knows at most 4,096 targets, and forgets the idle one that was used longest ago. */
export interface StateDropped extends Base {
  readonly _tag: "StateDropped"
  readonly target: string
}

/** The reader was too slow, and this many events before this one are lost to it. */
export interface EventsLost extends Base {
  readonly _tag: "EventsLost"
  readonly count: number
}

/** A decision or a fact of a router. */
export type RouterEvent =
  | RunStarted
  | Chosen
  | TargetSkipped
  | Queued
  | AttemptStarted
  | AttemptEnded
  | Waiting
  | Hedged
  | Withheld
  | Superseded
  | BreakerChanged
  | Panic
  | Restarted
  | RunEnded
  | StateDropped
  | EventsLost
