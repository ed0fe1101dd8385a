/**
 * Errors, what they say about their call, and the attempts that they carry.
 */
import { type Attempt, GatewayError, type Reason } from "../../GatewayError.ts"
import { defined } from "./defined.ts"

/** The same error with these attempts, as the error of `method`. */
export const withAttempts = (
  error: GatewayError,
  attempts: ReadonlyArray<Attempt>,
  method = error.method
): GatewayError => {
  const { eventId, logId, model, provider, reason, step } = error
  return new GatewayError({ method, reason, attempts, ...defined({ eventId, logId, model, provider, step }) })
}

/** Names of a call, or of the answer to it. */
interface CallNames {
  readonly eventId?: string | undefined
  readonly logId?: string | undefined
  readonly model?: string | undefined
  readonly provider?: string | undefined
}

/** The error of an answered call. What the answer says about itself comes before what the call knows. */
export const answerError = (
  reason: Reason,
  call: CallNames & { readonly method: string },
  meta: CallNames & { readonly step?: number | undefined }
): GatewayError => {
  const { eventId = call.eventId, logId = call.logId, model = call.model, provider = call.provider, step } = meta
  return new GatewayError({ method: call.method, reason, ...defined({ eventId, logId, model, provider, step }) })
}
