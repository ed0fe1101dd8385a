/**
 * Admits the requests of a run, one by one: each attempt, and each resend by a transport.
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { GatewayError } from "../../GatewayError.ts"
import type { GatewayResponse } from "../../GatewayResponse.ts"

/** Tokens of an answer, as far as it reports them. */
export interface TokenCounts {
  readonly inputTokens?: number
  readonly outputTokens?: number
  readonly totalTokens?: number
}

/** The end of an answer that streams. */
export interface StreamEnd {
  readonly usage: TokenCounts | undefined
}

/** Known facts of an answer when its attempt ends: all of it, or that it has begun to stream. */
export interface SentAttempt {
  readonly response: GatewayResponse
  readonly usage?: TokenCounts | undefined
  /** Calls the listener once when the stream has ended, or at once if it has. Absent for a complete answer. */
  readonly onEnd?: ((listener: (end: StreamEnd) => void) => void) | undefined
}

/** An attempt that has not been admitted yet. */
export interface PendingAttempt<A> {
  /**
   * Rest of the deadline, in milliseconds. It keeps running while the attempt waits; the attempt's own timeouts start
   * afterwards.
   */
  readonly remaining: number | undefined
  /** Makes the failure for the end of the deadline. */
  readonly expired: () => GatewayError
  /**
   * Makes the attempt, including decoding, in the rest of the deadline. `beforeResend` runs before the same bytes are
   * sent a second time; if it fails, they are not sent. `waited`: the wait for the record of the attempt; absent if
   * there was none.
   */
  readonly make: (
    remaining: number | undefined,
    beforeResend: Effect.Effect<void, GatewayError>,
    waited?: Duration.Duration
  ) => Effect.Effect<A, GatewayError>
}

/** Makes an attempt when it is admitted. If it fails before that, nothing was sent, and no attempt is recorded. */
export type Admission = <A extends SentAttempt>(pending: PendingAttempt<A>) => Effect.Effect<A, GatewayError>
