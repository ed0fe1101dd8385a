/**
 * Attempts, costs and skipped targets as JSON, for the metadata of answers and errors. `GatewayModel` documents and
 * exports the types.
 */
import * as Duration from "effect/Duration"
import type { Attempt, Cost, Skipped } from "../GatewayError.ts"

/** Attempts as JSON. */
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

/** The cost as a plain object; `null` if the router has no prices. */
export const costOf = (cost: Cost | undefined) => (cost === undefined ? null : { ...cost })

/** Skipped targets as JSON. */
export const skippedOf = (skipped: ReadonlyArray<Skipped>) =>
  skipped.map(({ reason, target }) => ({ target, reason: reason._tag }))
