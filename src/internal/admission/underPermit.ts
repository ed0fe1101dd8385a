/**
 * Runs an attempt under a permit, and settles its usage when it ends; for a stream, when that has ended.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { GatewayError } from "../../GatewayError.ts"
import { failed } from "../../Limiter.ts"
import type { SentAttempt, StreamEnd, TokenCounts } from "./admission.ts"
import type { Outcome, Permit } from "./permit.ts"

/** Returns the tokens that an answer reports. */
const tokensOf = ({ response }: SentAttempt, usage: TokenCounts | undefined): number | undefined =>
  response.meta.cacheStatus === "HIT"
    ? 0
    : usage === undefined
      ? undefined
      : (usage.totalTokens ??
        (usage.inputTokens === undefined && usage.outputTokens === undefined
          ? undefined
          : (usage.inputTokens ?? 0) + (usage.outputTokens ?? 0)))

/**
 * Returns the outcome of a stream. One that broke or was abandoned counts as it was reserved unless it reported its
 * usage, because its progress is unknown.
 */
const streamOutcome = (sent: SentAttempt, { usage }: StreamEnd): Outcome => ({ tokens: tokensOf(sent, usage) })

/**
 * Returns the outcome of a failed request. One that was interrupted counts as it was reserved, because its progress is
 * unknown.
 */
const failureOutcome = (exit: Exit.Exit<unknown, GatewayError>): Outcome | undefined => {
  const error = Exit.findErrorOption(exit)
  return error._tag === "Some" ? failed(error.value.reason) : undefined
}

/** Functions that handle a permit. */
export interface Settling {
  /** Admits a request that a transport sends a second time on a new connection. */
  readonly again: Effect.Effect<Permit, GatewayError>
  /** Ends a permit. `end`: how the attempt ended, or its answer began; absent for a request that was sent again. */
  readonly settle: (
    permit: Permit,
    outcome: Outcome | undefined,
    end: Exit.Exit<SentAttempt, GatewayError> | undefined
  ) => Effect.Effect<void>
}

/** Makes an attempt under a permit. Call it in an uninterruptible region; `attempt` restores interruption. */
export const underPermit = <A extends SentAttempt>(
  permit: Permit,
  { again, settle }: Settling,
  attempt: (beforeResend: Effect.Effect<void, GatewayError>) => Effect.Effect<A, GatewayError>
): Effect.Effect<A, GatewayError> => {
  let resent: Permit | undefined
  const beforeResend = Effect.uninterruptible(
    Effect.map(again, (taken) => {
      resent = taken
    })
  )
  const settled = (outcome: Outcome | undefined, exit: Exit.Exit<SentAttempt, GatewayError>): Effect.Effect<void> => {
    const own = settle(permit, outcome, exit)
    return resent === undefined ? own : Effect.andThen(settle(resent, undefined, undefined), own)
  }
  return Effect.onExit(attempt(beforeResend), (exit) => {
    if (Exit.isFailure(exit)) return settled(failureOutcome(exit), exit)
    const { onEnd, usage } = exit.value
    if (onEnd === undefined) return settled({ tokens: tokensOf(exit.value, usage) }, exit)
    return Effect.withFiber(({ context }) => {
      onEnd((end) => Effect.runForkWith(context)(settled(streamOutcome(exit.value, end), exit)))
      return Effect.void
    })
  })
}
