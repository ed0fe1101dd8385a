/** Errors with the facts of their call, and the facts that a run adds to them. */
import { type Attempt, type Cost, type EndedBy, GatewayError, type Reason, type Skipped } from "../../GatewayError.ts"
import { defined } from "./defined.ts"

/** Facts that a failed run adds to its error. */
export interface RunFacts {
  readonly attempts?: ReadonlyArray<Attempt> | undefined
  readonly skipped?: ReadonlyArray<Skipped> | undefined
  readonly ended?: EndedBy | undefined
  readonly cost?: Cost | undefined
}

/** Copies an error with these facts, as the error of `method`. */
export const withFacts = (error: GatewayError, facts: RunFacts, method = error.method): GatewayError => {
  const { attempts, cost, ended, eventId, logId, model, provider, reason, skipped, step } = error
  return new GatewayError({
    method,
    reason,
    ...defined({ attempts, cost, ended, eventId, logId, model, provider, skipped, step, ...defined(facts) })
  })
}

/** Names of a call, or of the answer to it. */
interface CallNames {
  readonly eventId?: string | undefined
  readonly logId?: string | undefined
  readonly model?: string | undefined
  readonly provider?: string | undefined
}

/** The error of an answered call. Names in the answer take precedence over those of the call. */
export const answerError = (
  reason: Reason,
  call: CallNames & { readonly method: string },
  meta: CallNames & { readonly step?: number | undefined }
): GatewayError => {
  const { eventId = call.eventId, logId = call.logId, model = call.model, provider = call.provider, step } = meta
  return new GatewayError({ method: call.method, reason, ...defined({ eventId, logId, model, provider, step }) })
}
