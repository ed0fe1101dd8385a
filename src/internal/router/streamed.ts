/**
 * A streamed answer for its consumer, which `Router` re-exports.
 */
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { Attempt, Cost, GatewayError, Skipped } from "../../GatewayError.ts"
import type { GatewayResponse } from "../../GatewayResponse.ts"
import type { Usage } from "../dialect/chat.ts"
import type { Delta } from "../dialect/delta.ts"

/** A streamed answer that has begun: its first delta has arrived, and its target is settled. */
export interface Streamed {
  /**
   * The deltas, starting with the first. Ends only after the answer's finish; breaks with `StreamInterrupted`. Ending
   * early or being interrupted aborts the request.
   *
   * **Gotchas**
   *
   * Consume it once, inside the scope: any other consumer gets an `InvalidRequest`, and not an empty stream.
   */
  readonly deltas: Stream.Stream<Delta, GatewayError>
  /** Returns the key of the target that answers; after a `restart` delta, that of another one. */
  readonly target: () => string
  readonly provider: () => string
  readonly logId: () => string | undefined
  readonly eventId: string
  readonly execution: "client" | "gateway"
  /** The response behind the deltas. Use it for its headers: the deltas consume its body. */
  readonly response: GatewayResponse
  /** The facts so far; complete when the deltas have ended or the consumer has stopped. */
  readonly summary: Effect.Effect<StreamSummary>
}

/** Facts of a stream. */
export interface StreamSummary {
  readonly target: string
  readonly provider: string
  readonly model?: string
  readonly logId?: string
  readonly eventId: string
  readonly usage?: Usage
  /** Cost of all attempts that have ended, including abandoned ones; absent without prices. */
  readonly cost?: Cost
  /** Number of deltas and text of the current answer that were delivered. */
  readonly deltas: number
  readonly text: string
  readonly restarts: number
  readonly attempts: ReadonlyArray<Attempt>
  /** Targets that were skipped, in order: nothing was sent to them. */
  readonly skipped: ReadonlyArray<Skipped>
}
