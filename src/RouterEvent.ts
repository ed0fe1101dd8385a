/**
 * Events of a router's runs as plain values: decisions and facts with a time, without prompts, answers, secrets or
 * sessions.
 */
import * as Duration from "effect/Duration"
import type { Attempt, AttemptCause, EndedBy, Reason } from "./GatewayError.ts"
import type { State } from "./internal/admission/permit.ts"

/**
 * Phase of a circuit breaker. `exhausted`: open until a quota is reset, without probes.
 *
 * @category models
 */
export type BreakerPhase = "closed" | "open" | "halfOpen" | "exhausted"

/**
 * Part of a router that withheld an attempt. `queue`: the attempt would have had to wait for a place.
 *
 * @category models
 */
export type WithheldBy = "budget" | "breaker" | "queue" | "cost" | "sideEffects"

/**
 * Kind of an attempt that was withheld.
 *
 * @category models
 */
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

/**
 * A run has passed its checks.
 *
 * @category models
 */
export interface RunStarted extends OfRun {
  readonly _tag: "RunStarted"
  readonly mode: "run" | "stream"
  readonly execution: "client" | "gateway"
}

/**
 * A balance has put its children in order.
 *
 * @category models
 */
export interface Chosen extends OfTarget {
  readonly _tag: "Chosen"
  readonly by: "weight" | "roundRobin" | "leastInFlight" | "latency" | "session"
  /** Keys of each child's first target, in the order of this run. */
  readonly order: ReadonlyArray<string>
}

/**
 * A target was skipped; nothing was sent to it.
 *
 * @category models
 */
export interface TargetSkipped extends OfTarget {
  readonly _tag: "Skipped"
  readonly reason: Reason
}

/**
 * An attempt waits for a place under the limits of its target.
 *
 * @category models
 */
export interface Queued extends OfTarget {
  readonly _tag: "Queued"
}

/**
 * An attempt was admitted and begins.
 *
 * @category models
 */
export interface AttemptStarted extends OfTarget {
  readonly _tag: "AttemptStarted"
  /** Its place among the attempts of its run, from 1. */
  readonly number: number
  readonly cause: AttemptCause
  readonly provider: string
  readonly model?: string
}

/**
 * An attempt has ended; for a stream, when the stream has ended.
 *
 * @category models
 */
export interface AttemptEnded extends OfTarget {
  readonly _tag: "AttemptEnded"
  readonly mode: "run" | "stream"
  readonly attempt: Attempt
  /** Time from the start to the first output: the decoded answer, or the first delta. Absent when there was none. */
  readonly toOutput?: Duration.Duration
}

/**
 * The run waits before it repeats an attempt.
 *
 * @category models
 */
export interface Waiting extends OfTarget {
  readonly _tag: "Waiting"
  readonly delay: Duration.Duration
}

/**
 * No target committed in time, so the next one starts too.
 *
 * @category models
 */
export interface Hedged extends OfTarget {
  readonly _tag: "Hedged"
  readonly after: Duration.Duration
}

/**
 * A further attempt was not made.
 *
 * @category models
 */
export interface Withheld extends OfTarget {
  readonly _tag: "Withheld"
  readonly by: WithheldBy
  readonly attempt: WithheldAttempt
}

/**
 * An attempt is interrupted because another one has answered. Its `AttemptEnded` follows.
 *
 * @category models
 */
export interface Superseded extends OfTarget {
  readonly _tag: "Superseded"
  readonly number: number
}

/**
 * A breaker has changed its phase, as this router sees it: at a call, or at its end.
 *
 * @category models
 */
export interface BreakerChanged extends Base {
  readonly _tag: "BreakerChanged"
  readonly target: string
  readonly provider: string
  readonly model?: string
  readonly from: BreakerPhase
  readonly to: BreakerPhase
}

/**
 * All breakers of a run are open, and one attempt is made nevertheless.
 *
 * @category models
 */
export interface Panic extends OfTarget {
  readonly _tag: "Panic"
}

/**
 * A stream broke after its first delta, and another target starts it again.
 *
 * @category models
 */
export interface Restarted extends OfTarget {
  readonly _tag: "Restarted"
}

/**
 * A run has ended; for a stream, when the consumer has everything that there is.
 *
 * @category models
 */
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

/**
 * The router has forgotten the idle target that was used longest ago: it knows at most 4,096.
 *
 * @category models
 */
export interface StateDropped extends Base {
  readonly _tag: "StateDropped"
  readonly target: string
}

/**
 * The reader was too slow and has lost this many earlier events.
 *
 * @category models
 */
export interface EventsLost extends Base {
  readonly _tag: "EventsLost"
  readonly count: number
}

/**
 * A decision or a fact of a router; `Router.events` streams them.
 *
 * @category models
 */
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

/**
 * Times to the first output: for complete answers until they are decoded, for streams until the first delta that a
 * consumer can act on.
 *
 * @category models
 */
export interface LatencyState {
  /** Absent with fewer than 30 samples in 10 minutes. */
  readonly p50?: Duration.Duration
  readonly p95?: Duration.Duration
  /** Number of samples. */
  readonly n: number
}

/**
 * The state of one target, as far as this router knows it. Parts that no combinator of the program uses are absent.
 *
 * @category models
 */
export interface TargetState {
  /** Key of the target (see `Route`). */
  readonly target: string
  readonly provider: string
  readonly model?: string
  /** Attempts that have started and not ended. */
  readonly inFlight: number
  /** Attempts that wait for a place under its limits. */
  readonly waiting: number
  /** The most restrictive of its breakers. */
  readonly breaker?: {
    readonly phase: BreakerPhase
    /** Time until a probe is allowed; absent when closed. */
    readonly retryAfter?: Duration.Duration
  }
  readonly latency?: { readonly run: LatencyState; readonly stream: LatencyState }
  /** One for each set of numbers that routes give it (`Route.limits`). */
  readonly limits: ReadonlyArray<State>
  /** Further attempts that the budget of its provider could pay for now; absent without a budget. */
  readonly purse?: number
}

const millis = (duration: Duration.Duration): string => `${Math.round(Duration.toMillis(duration))} ms`

const detailOf = (event: RouterEvent): string => {
  switch (event._tag) {
    case "RunStarted":
      return `${event.mode}, executed by the ${event.execution}`
    case "Chosen":
      return `by ${event.by}: ${event.order.join(", ")}`
    case "Skipped":
      return event.reason.message
    case "AttemptStarted":
      return `number ${event.number}, ${event.cause}`
    case "AttemptEnded": {
      const { duration, error, outcome, superseded } = event.attempt
      const how = superseded === true ? "superseded" : outcome
      return `${how} after ${millis(duration)}${error === undefined ? "" : `: ${error.message}`}`
    }
    case "Waiting":
      return `for ${millis(event.delay)}`
    case "Hedged":
      return `after ${millis(event.after)}`
    case "Withheld":
      return `${event.attempt}, by ${event.by}`
    case "BreakerChanged":
      return `from ${event.from} to ${event.to}`
    case "RunEnded": {
      const { duration, ended, error, outcome } = event
      return `${outcome} after ${millis(duration)}${error === undefined ? "" : `: ${error.message}`}${ended === undefined ? "" : ` (${ended})`}`
    }
    case "EventsLost":
      return `${event.count}`
    default:
      return ""
  }
}

/**
 * Formats an event as one line of text for a log: its name, its target, and the facts. Contains no prompt and no
 * answer.
 *
 * @example
 * ```ts
 * import * as RouterEvent from "effect-ai-gateway/RouterEvent"
 *
 * // BreakerChanged openai/gpt-4.1-mini: from closed to open
 * export const line = RouterEvent.format({
 *   _tag: "BreakerChanged",
 *   at: 0,
 *   target: "openai/gpt-4.1-mini",
 *   provider: "openai",
 *   from: "closed",
 *   to: "open"
 * })
 * ```
 *
 * @category formatting
 */
export const format = (event: RouterEvent): string => {
  const detail = detailOf(event)
  const target = "target" in event && event.target !== undefined ? ` ${event.target}` : ""
  return `${event._tag}${target}${detail === "" ? "" : `: ${detail}`}`
}
