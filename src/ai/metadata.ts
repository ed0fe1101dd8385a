/**
 * Facts about calls as JSON, for the metadata of answers and errors. The types are in `GatewayModel`'s documentation,
 * which exports them.
 */
import * as Duration from "effect/Duration"
import type { Attempt, Cost, Skipped } from "../GatewayError.ts"

/** What an answer or a failure tells of its attempts. */
export const attemptsOf = (attempts: ReadonlyArray<Attempt>) =>
  attempts.map(({ cause = null, dropped = [], duration, error, logId = null, outcome, status = null, target }) => ({
    target,
    cause,
    outcome,
    reason: error?._tag ?? null,
    status,
    logId,
    milliseconds: Math.round(Duration.toMillis(duration)),
    dropped: [...dropped]
  }))

/** Costs, in an object of their own. */
export const costOf = (cost: Cost | undefined) => (cost === undefined ? null : { ...cost })

/** Targets that were passed over. */
export const skippedOf = (skipped: ReadonlyArray<Skipped>) =>
  skipped.map(({ reason, target }) => ({ target, reason: reason._tag }))
