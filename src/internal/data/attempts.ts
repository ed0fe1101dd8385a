/**
 * Errors and what a run adds to them.
 */
import { type Attempt, type Cost, type EndedBy, GatewayError, type Skipped } from "../../GatewayError.ts"
import { defined } from "./defined.ts"

/** Facts that a failed run adds to its error. */
export interface RunFacts {
  readonly attempts?: ReadonlyArray<Attempt> | undefined
  readonly skipped?: ReadonlyArray<Skipped> | undefined
  readonly ended?: EndedBy | undefined
  readonly cost?: Cost | undefined
}

/** The same error with these facts, as the error of `method`. */
export const withFacts = (error: GatewayError, facts: RunFacts, method = error.method): GatewayError => {
  const { attempts, cost, ended, eventId, logId, model, provider, reason, skipped, step } = error
  return new GatewayError({
    method,
    reason,
    ...defined({ attempts, cost, ended, eventId, logId, model, provider, skipped, step, ...defined(facts) })
  })
}
