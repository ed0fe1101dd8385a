/** Response to a server's client about a failure, and the operator's log line. */
import * as Cause from "effect/Cause"
import * as Predicate from "effect/Predicate"
import { failureStatus, httpFailure, isGatewayError } from "../../GatewayError.ts"
import { failureOf, type HttpFailure } from "../data/httpAnswer.ts"

export { failureStatus }

const answer = ({ body, headers, status }: HttpFailure): Response => new Response(body, { status, headers })

const internal = (): Response => answer(failureOf(500, "Internal", false))

/**
 * Converts an error to the response for a client: `{ "error": { "reason", "retryable" } }` with the status of
 * {@link failureStatus}, and a `retry-after` header where waiting helps. It contains nothing of the message, the
 * prompt, the provider or the credentials.
 *
 * @example
 * ```ts
 * import { GatewayError, RateLimited } from "effect-ai-gateway/GatewayError"
 * import * as Worker from "effect-ai-gateway/worker"
 *
 * const response = Worker.failureResponse(
 *   new GatewayError({ method: "Router.run", reason: new RateLimited({ origin: "provider" }) })
 * )
 * console.log(response.status) // 429
 * ```
 */
export const failureResponse = (error: unknown): Response =>
  isGatewayError(error) ? answer(httpFailure(error)) : internal()

/** The response when services cannot be built: the Worker's set-up is wrong, whatever the reason. */
export const setupResponse = (): Response => internal()

/** The response after the client has left, which no one reads. */
export const leftResponse = (): Response => new Response(null, { status: 499 })

// Messages of unknown errors may quote a prompt, as those of `JSON.parse` do; names and locations do not.
const describeUnknown = (u: unknown): string => {
  if (isGatewayError(u)) return u.message
  const name = Predicate.hasProperty(u, "_tag") ? String(u._tag) : u instanceof Error ? u.name : typeof u
  const frames = u instanceof Error ? (u.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line)) : []
  return [name, ...frames].join("\n")
}

/** Formats a cause for the log: messages of `GatewayError`, which are safe, and otherwise only name and location. */
export const describe = (cause: Cause.Cause<unknown>): string =>
  cause.reasons
    .map((reason) =>
      Cause.isFailReason(reason)
        ? describeUnknown(reason.error)
        : Cause.isDieReason(reason)
          ? `died: ${describeUnknown(reason.defect)}`
          : "interrupted"
    )
    .join("\n")
