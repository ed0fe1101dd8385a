/**
 * A streamed answer as its consumer has it, which `Router` re-exports.
 */
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { Attempt, Cost, GatewayError, Skipped } from "../../GatewayError.ts"
import type { GatewayResponse } from "../../GatewayResponse.ts"
import type { Usage } from "../dialect/chat.ts"
import type { Delta } from "../dialect/delta.ts"

/** A streamed answer that has begun: its first delta has arrived, and which target it comes from is settled. */
export interface Streamed {
  /**
   * The deltas, from the first one on. Ends only after the answer's finish; breaks with `StreamInterrupted`. Ending
   * early or being interrupted aborts the request. To be consumed once, inside the scope: any other consumer gets an
   * `InvalidRequest`, and not an empty stream.
   */
  readonly deltas: Stream.Stream<Delta, GatewayError>
  /** Key of the target that answers; after a `restart` delta another one. */
  readonly target: () => string
  readonly provider: () => string
  readonly logId: () => string | undefined
  readonly eventId: string
  readonly execution: "client" | "gateway"
  /** The response behind the deltas; for its headers, as the deltas take its body. */
  readonly response: GatewayResponse
  /** The facts so far; complete when the deltas have ended or the consumer has left. */
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
  /** What the attempts that have ended cost together, abandoned ones included; absent without prices. */
  readonly cost?: Cost
  /** Deltas and text of the present answer that were delivered. */
  readonly deltas: number
  readonly text: string
  readonly restarts: number
  readonly attempts: ReadonlyArray<Attempt>
  /** Targets that were passed over, in order: nothing was sent to them. */
  readonly skipped: ReadonlyArray<Skipped>
}
