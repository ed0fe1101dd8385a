/**
 * What lets the requests of a run in, one by one: each attempt, and each time that a transport sends one again.
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { GatewayError } from "../../GatewayError.ts"
import type { GatewayResponse } from "../../GatewayResponse.ts"

/** Tokens of an answer, as far as it says. */
export interface TokenCounts {
  readonly inputTokens?: number
  readonly outputTokens?: number
  readonly totalTokens?: number
}

/** The end of an answer that streams. */
export interface StreamEnd {
  readonly usage: TokenCounts | undefined
}

/** What is known of an answer when its attempt ends: all of it, or that it has begun to stream. */
export interface SentAttempt {
  readonly response: GatewayResponse
  readonly usage?: TokenCounts | undefined
  /** Calls back once, when the stream has ended; at once if it has. Absent: the answer is whole. */
  readonly onEnd?: ((listener: (end: StreamEnd) => void) => void) | undefined
}

/** An attempt that has not been admitted yet. */
export interface PendingAttempt<A> {
  /**
   * What is left of the deadline, in milliseconds. It goes on while the attempt waits; the attempt's own timeouts begin
   * after that.
   */
  readonly remaining: number | undefined
  /** The failure when nothing is left of it. */
  readonly expired: () => GatewayError
  /**
   * Makes the attempt, decoding included, in what is left of the deadline by then. `beforeResend` runs before the same
   * bytes are sent once more; when it fails, they are not. `waited`: how long it waited, for its record; absent when it
   * did not.
   */
  readonly make: (
    remaining: number | undefined,
    beforeResend: Effect.Effect<void, GatewayError>,
    waited?: Duration.Duration
  ) => Effect.Effect<A, GatewayError>
}

/** Makes an attempt when it may be made. When it fails before that, nothing was sent, and no attempt is recorded. */
export type Admission = <A extends SentAttempt>(pending: PendingAttempt<A>) => Effect.Effect<A, GatewayError>
