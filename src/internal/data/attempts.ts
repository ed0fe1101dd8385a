/**
 * Errors and the attempts that they carry.
 */
import { type Attempt, GatewayError } from "../../GatewayError.ts"
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
