/**
 * Reservations of limits, and their outcomes.
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { ToldLimits } from "./learntLimits.ts"

/** Priority among waiters. `background` counts as `interactive` after 30 seconds. */
export type Priority = "interactive" | "background"

/** All priorities, because callers may not use types. */
export const priorities: ReadonlyArray<Priority> = ["interactive", "background"]

/** The requests, tokens and place that a permit reserves. */
export interface Reservation {
  /** Whole number. Default 1. */
  readonly requests?: number | undefined
  /**
   * Estimated tokens in and out: too many slow the caller down until they are corrected, too few may exceed the limit.
   * Default 0.
   */
  readonly tokens?: number | undefined
  /** Whether it takes one of the places of `concurrency`. Default `true`. */
  readonly place?: boolean | undefined
  /** Whether it comes before all waiters without this flag, for a retry of an admitted request. Default `false`. */
  readonly urgent?: boolean | undefined
  /**
   * `interactive` comes before `background`; within each, first come, first served. After 30 seconds `background`
   * counts as `interactive`. Default `"interactive"`.
   */
  readonly priority?: Priority | undefined
  /** Longest wait. Default: that of the queue, or no limit without a queue. */
  readonly maxWait?: Duration.Input | undefined
}

/** The end of a request. Absent fields: it was sent, and used the reserved tokens. */
export interface Outcome {
  /** `false`: the other side has not received it; everything is returned. */
  readonly sent?: boolean | undefined
  /** Tokens that were used. */
  readonly tokens?: number | undefined
  /** Whether the other side was at its limit: adaptive concurrency decreases. */
  readonly throttled?: boolean | undefined
  /** Latency of the answer, for adaptive concurrency. */
  readonly latency?: Duration.Input | undefined
}

/** An admission. */
export interface Permit {
  /** Time that it waited. */
  readonly waited: Duration.Duration
  /**
   * Ends the permit; only the first call counts.
   *
   * **Gotchas**
   *
   * A permit that is not settled keeps its place forever.
   */
  readonly settle: (outcome?: Outcome) => Effect.Effect<void>
  /**
   * Applies the remaining limits that the answer reports, before or after the permit is settled. They can only tighten
   * the limits of the key. A custom limiter may omit it.
   */
  readonly learn?: (told: ToldLimits) => Effect.Effect<void>
}

/** The current state of a key. */
export interface State {
  /** Permits that hold a place. */
  readonly inFlight: number
  readonly waiting: number
  /** The current limit of concurrency, if there is one. */
  readonly concurrency?: number
  /** Requests and tokens in the window that ends now. */
  readonly requests: number
  readonly tokens: number
}
