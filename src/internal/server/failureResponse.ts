/**
 * What a client of a server is told about a failure, and what the operator reads in the log.
 */
import * as Cause from "effect/Cause"
import * as Predicate from "effect/Predicate"
import { failureStatus, httpFailure, isGatewayError } from "../../GatewayError.ts"
import { failureOf, type HttpFailure } from "../data/httpAnswer.ts"

export { failureStatus }

const answer = ({ body, headers, status }: HttpFailure): Response => new Response(body, { status, headers })

const internal = (): Response => answer(failureOf(500, "Internal", false))

/**
 * The answer to a failed request: `{ "error": { "reason", "retryable" } }` with the status of {@link failureStatus},
 * and a `retry-after` header where waiting helps. Nothing of the message, the prompt, the provider or the credentials
 * is in it.
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

/** The answer when there are no services to run with: the Worker is set up wrongly, whatever the reason says. */
export const setupResponse = (): Response => internal()

/** Nobody reads it: the client has left. */
export const leftResponse = (): Response => new Response(null, { status: 499 })

// Messages of unknown errors may quote a prompt, as those of `JSON.parse` do; names and places do not.
const describeUnknown = (u: unknown): string => {
  if (isGatewayError(u)) return u.message
  const name = Predicate.hasProperty(u, "_tag") ? String(u._tag) : u instanceof Error ? u.name : typeof u
  const frames = u instanceof Error ? (u.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line)) : []
  return [name, ...frames].join("\n")
}

/** A cause for the log: messages of `GatewayError`, which are safe, and of all else the name and the place. */
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
