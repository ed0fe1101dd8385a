/**
 * The evidence of an attempt about its target: one table for breakers, adaptive limits and latency.
 */
import type { Attempt, Reason } from "../../GatewayError.ts"

/**
 * The verdict for a breaker. `throttled` and `exhausted` come with a time; failures of the caller itself are ignored.
 */
export type Verdict = "success" | "failure" | "throttled" | "exhausted" | "ignored"

/** A row of the table. */
export interface Outcome {
  readonly breaker: Verdict
  /** For an adaptive limit: a sample of its latency, a sign of overload, or neither. */
  readonly limit: "sample" | "drop" | "release"
  /** For percentiles: a time to the first output, a time that was cut short, or neither. */
  readonly latency: "sample" | "elapsed" | "none"
}

const success: Outcome = { breaker: "success", limit: "sample", latency: "sample" }
const failure: Outcome = { breaker: "failure", limit: "release", latency: "none" }
const timeout: Outcome = { breaker: "failure", limit: "drop", latency: "elapsed" }
const throttled: Outcome = { breaker: "throttled", limit: "drop", latency: "none" }
const exhausted: Outcome = { breaker: "exhausted", limit: "release", latency: "none" }
const ignored: Outcome = { breaker: "ignored", limit: "release", latency: "none" }
const cutShort: Outcome = { breaker: "ignored", limit: "release", latency: "elapsed" }

/** Failures inside a stream that concern the request. */
const ofCaller: ReadonlyArray<Reason["_tag"]> = ["ContentBlocked", "InvalidRequest", "ContextLengthExceeded"]

const rowOf = (reason: Reason): Outcome => {
  const { status = 0 } = reason
  switch (reason._tag) {
    case "RateLimited":
      return throttled
    case "QuotaExhausted":
      return exhausted
    case "Timeout":
      return reason.phase === "deadline" ? cutShort : timeout
    case "Unauthorized":
      return reason.origin === "provider" ? failure : ignored
    case "ProviderUnavailable":
      return status === 529 ? throttled : failure
    case "TransportFailure":
      return failure
    case "InvalidResponse":
      // The provider has done its work: the answer could be read, and only the route's own check rejected it.
      return reason.by === "validate" ? ignored : failure
    case "StreamInterrupted":
      // A filter that ends an answer says nothing about the target.
      return reason.failure !== undefined && ofCaller.includes(reason.failure) ? ignored : failure
    case "Unknown":
      // Without a status there was no readable answer.
      return status === 529 ? throttled : status >= 500 || status === 0 ? failure : ignored
    default:
      return ignored
  }
}

/** Returns the row of an attempt. */
export const outcomeOf = ({
  error,
  outcome,
  superseded
}: Pick<Attempt, "error" | "outcome" | "superseded">): Outcome => {
  if (outcome === "success") return success
  // Interrupted, or a defect of a decoder: its outcome is unknown.
  if (outcome === "interrupted" || error === undefined) return superseded === true ? cutShort : ignored
  return rowOf(error)
}
