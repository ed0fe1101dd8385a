/**
 * Translates errors of this library to those of `effect/ai`.
 */
import * as AiError from "effect/ai/AiError"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { GatewayError } from "../GatewayError.ts"
import type { Problem } from "../GatewayOptions.ts"
import { attemptsOf, costOf } from "./metadata.ts"

// An `AiErrorReason` has no field for an error with its attempts, and serialization would lose it.
const origins = new WeakMap<AiError.AiErrorReason, GatewayError>()

/** See `GatewayModel.failureOf`. */
export const originOf = (reason: AiError.AiErrorReason): GatewayError | undefined => origins.get(reason)

/** The origin of an error. */
export interface Place {
  readonly module: string
  readonly method: string
}

/** An error that this library raises before anything is sent. */
export const refusal = (place: Place, { accepted, field }: Problem): AiError.AiError =>
  AiError.make({
    ...place,
    reason: new AiError.InvalidRequestError({ parameter: field, constraint: `must be ${accepted}` })
  })

const metadataOf = ({ attempts = [], cost, ended, eventId, logId, reason }: GatewayError) => ({
  gateway: {
    reason: reason._tag,
    status: reason.status ?? null,
    code: reason.code ?? null,
    logId: logId ?? null,
    eventId: eventId ?? null,
    ended: ended ?? null,
    attempts: attemptsOf(attempts),
    cost: costOf(cost)
  }
})

/** Returns the reason of `effect/ai` for a failed run. `now`: milliseconds since the epoch. */
const reasonOf = (error: GatewayError, now: number): AiError.AiErrorReason => {
  const { message, provider = "gateway", reason, retryAfter } = error
  const metadata = metadataOf(error)
  const quota = () => {
    // A wait can exceed the range of dates.
    const resetAt = retryAfter && Option.getOrUndefined(DateTime.make(now + Duration.toMillis(retryAfter)))
    return new AiError.QuotaExhaustedError({ metadata, ...(resetAt && { resetAt }) })
  }
  switch (reason._tag) {
    case "RateLimited":
      return new AiError.RateLimitError({ metadata, ...(retryAfter && { retryAfter }) })
    case "Rejected":
      // The limit of a run's own cost does not reset with time.
      return reason.by === "limiter" || reason.by === "breaker"
        ? new AiError.RateLimitError({ metadata, ...(retryAfter && { retryAfter }) })
        : quota()
    case "QuotaExhausted":
      return quota()
    case "Unauthorized":
      return new AiError.AuthenticationError({
        kind: reason.status === 403 ? "InsufficientPermissions" : reason.status === 401 ? "InvalidKey" : "Unknown",
        description: message,
        metadata
      })
    case "ContentBlocked":
      return new AiError.ContentPolicyError({ description: message, metadata })
    case "InvalidRequest":
    case "Unsupported":
      return new AiError.InvalidRequestError({
        metadata,
        description: message,
        ...(reason.field !== undefined && { parameter: reason.field }),
        ...(reason.accepted !== undefined && { constraint: `must be ${reason.accepted}` })
      })
    case "ContextLengthExceeded":
    case "NotFound":
      return new AiError.InvalidRequestError({ description: message, metadata })
    case "ProviderUnavailable":
    case "Timeout":
      return new AiError.InternalProviderError({ description: message, metadata })
    case "TransportFailure":
      return new AiError.NetworkError({
        reason: "TransportError",
        method: "POST",
        url: provider,
        description: message,
        cause: error
      })
    case "InvalidResponse":
    case "StreamInterrupted":
      return new AiError.InvalidOutputError({ description: message, metadata })
    case "BindingMissing":
    case "Unknown":
      return new AiError.UnknownError({ description: message, metadata })
  }
}

/** Fails with the error of `effect/ai` for a failed run. */
export const failWith =
  (place: Place) =>
  (error: GatewayError): Effect.Effect<never, AiError.AiError> =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const reason = reasonOf(error, now)
      origins.set(reason, error)
      return Effect.fail(AiError.make({ ...place, reason }))
    })
