/**
 * What is reserved of a limit, and how it ends.
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { ToldLimits } from "./learntLimits.ts"

/** Who is let in first when several wait. `background` counts as `interactive` after 30 seconds. */
export type Priority = "interactive" | "background"

/** All of them; callers may have no types. */
export const priorities: ReadonlyArray<Priority> = ["interactive", "background"]

/** What is reserved. */
export interface Reservation {
  /** Whole number. Default 1. */
  readonly requests?: number | undefined
  /**
   * Estimate of the tokens in and out; too high costs speed until it is corrected, too low may exceed the limit.
   * Default 0.
   */
  readonly tokens?: number | undefined
  /** Whether it takes one of the places of `concurrency`. Default `true`. */
  readonly place?: boolean | undefined
  /** Before all who wait without it. For a retry of something that was admitted before. Default `false`. */
  readonly urgent?: boolean | undefined
  /**
   * `interactive` goes before `background`, and within each it is first come, first served. After 30 seconds
   * `background` counts as `interactive`. Default `"interactive"`.
   */
  readonly priority?: Priority | undefined
  /** Longest wait. Default: that of the queue, or without a queue as long as it takes. */
  readonly maxWait?: Duration.Input | undefined
}

/** How a request ended. What is left out: it was sent, and used the tokens that were reserved. */
export interface Outcome {
  /** `false`: the other side has not seen it; everything is given back. */
  readonly sent?: boolean | undefined
  /** Tokens that were used. */
  readonly tokens?: number | undefined
  /** The other side is at its limit: adaptive concurrency goes down. */
  readonly throttled?: boolean | undefined
  /** How long the answer took, for adaptive concurrency. */
  readonly latency?: Duration.Input | undefined
}

/** An admission. */
export interface Permit {
  /** How long it was waited for. */
  readonly waited: Duration.Duration
  /** Ends it; only the first call counts. A permit that is not settled keeps its place for ever. */
  readonly settle: (outcome?: Outcome) => Effect.Effect<void>
  /**
   * Takes over what the answer says is left of the other side's limits, before or after it is settled. It only ever
   * tightens the limits of the key. A limiter of your own may leave it out.
   */
  readonly learn?: (told: ToldLimits) => Effect.Effect<void>
}

/** How things stand for a key. */
export interface State {
  /** Permits that hold a place. */
  readonly inFlight: number
  readonly waiting: number
  /** The present limit of concurrency, when there is one. */
  readonly concurrency?: number
  /** Requests and tokens that count in the window that ends now. */
  readonly requests: number
  readonly tokens: number
}
