/**
 * What a client of a server is told about a failure, and what the operator reads in the log.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Predicate from "effect/Predicate"
import { decide, type GatewayError, isGatewayError, type Reason, type ReasonTag } from "../../GatewayError.ts"

/**
 * Status that a failed request is answered with, by reason. A `NotFound` of a log is 404. Whatever is no `GatewayError`, and a
 * layer that cannot be built, is 500.
 *
 * 4xx is for what the client can change. A refused credential is the server's own, so it is 502 and not 401.
 */
export const failureStatus: Readonly<Record<ReasonTag, number>> = {
  TransportFailure: 502,
  Timeout: 504,
  RateLimited: 429,
  QuotaExhausted: 503,
  Unauthorized: 502,
  InvalidRequest: 400,
  Unsupported: 400,
  ContextLengthExceeded: 413,
  ContentBlocked: 422,
  NotFound: 502,
  ProviderUnavailable: 503,
  InvalidResponse: 502,
  StreamInterrupted: 502,
  Rejected: 503,
  BindingMissing: 500,
  Unknown: 502
}

const statusOf = (reason: Reason): number =>
  reason._tag === "NotFound" && reason.what === "log" ? 404 : failureStatus[reason._tag]

const respond = (
  status: number,
  reason: string,
  retryable: boolean,
  headers: Readonly<Record<string, string>>
): Response =>
  Response.json({ error: { reason, retryable } }, { status, headers: { "cache-control": "no-store", ...headers } })

const fromGatewayError = ({ reason, retryAfter }: GatewayError): Response => {
  const status = statusOf(reason)
  // A hint of the provider's is only passed on with an answer that means "come back later".
  const hint = retryAfter === undefined || (status !== 429 && status !== 503) ? undefined : retryAfter
  const seconds = hint === undefined ? {} : { "retry-after": String(Math.ceil(Duration.toSeconds(hint))) }
  return respond(status, reason._tag, decide(reason).again, seconds)
}

/**
 * The answer to a failed request: `{ "error": { "reason", "retryable" } }` with the status of {@link failureStatus}, and a
 * `retry-after` header where waiting helps. Nothing of the message, the prompt, the provider or the credentials is in it.
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
  isGatewayError(error) ? fromGatewayError(error) : respond(500, "Internal", false, {})

/** The answer when there are no services to run with: the Worker is set up wrongly, whatever the reason says. */
export const setupResponse = (): Response => respond(500, "Internal", false, {})

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
