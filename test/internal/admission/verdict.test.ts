/**
 * The evidence of an attempt about its target: a test per row of the table.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Errors from "effect-ai-gateway/GatewayError"
import { type Outcome, outcomeOf } from "../../../src/internal/admission/verdict.ts"

const text = ({ breaker, latency, limit }: Outcome): string => `${breaker}, ${limit}, ${latency}`

const failed = (reason: Errors.Reason, says: string) => ({ name: `${reason._tag} ${reason.message}`, reason, says })

describe("the end of an attempt", () => {
  it("is a success", () => {
    assert.strictEqual(text(outcomeOf({ outcome: "success" })), "success, sample, sample")
  })

  it.each([
    failed(new Errors.TransportFailure({ kind: "reset" }), "failure, release, none"),
    failed(new Errors.Timeout({ phase: "firstByte" }), "failure, drop, elapsed"),
    failed(new Errors.Timeout({ phase: "firstToken" }), "failure, drop, elapsed"),
    failed(new Errors.Timeout({ phase: "idle" }), "failure, drop, elapsed"),
    failed(new Errors.Timeout({ phase: "upstream" }), "failure, drop, elapsed"),
    failed(new Errors.ProviderUnavailable({ origin: "provider", status: 503 }), "failure, release, none"),
    failed(new Errors.ProviderUnavailable({ origin: "gateway" }), "failure, release, none"),
    failed(new Errors.InvalidResponse({}), "failure, release, none"),
    failed(new Errors.StreamInterrupted({ events: 1 }), "failure, release, none"),
    failed(new Errors.Unauthorized({ origin: "provider" }), "failure, release, none"),
    failed(new Errors.RateLimited({ origin: "provider" }), "throttled, drop, none"),
    failed(new Errors.ProviderUnavailable({ origin: "provider", status: 529 }), "throttled, drop, none"),
    failed(new Errors.QuotaExhausted({ kind: "spend", origin: "gateway" }), "exhausted, release, none"),
    failed(new Errors.InvalidRequest({ origin: "provider" }), "ignored, release, none"),
    failed(new Errors.Unauthorized({ origin: "gateway" }), "ignored, release, none"),
    failed(new Errors.Unauthorized({ origin: "api" }), "ignored, release, none"),
    failed(new Errors.ContentBlocked({ by: "guardrail", subject: "prompt" }), "ignored, release, none"),
    failed(new Errors.ContextLengthExceeded({}), "ignored, release, none"),
    failed(new Errors.NotFound({ what: "model" }), "ignored, release, none"),
    failed(new Errors.Unsupported({ field: "seed", accepted: "nothing" }), "ignored, release, none"),
    failed(new Errors.Rejected({ by: "limiter" }), "ignored, release, none"),
    failed(new Errors.BindingMissing({ member: "AI" }), "ignored, release, none"),
    failed(new Errors.Timeout({ phase: "deadline" }), "ignored, release, elapsed"),
    failed(new Errors.StreamInterrupted({ events: 1, failure: "ContentBlocked" }), "ignored, release, none"),
    failed(new Errors.StreamInterrupted({ events: 1, failure: "TransportFailure" }), "failure, release, none"),
    failed(new Errors.Unknown({}), "failure, release, none"),
    failed(new Errors.Unknown({ status: 418 }), "ignored, release, none"),
    failed(new Errors.Unknown({ status: 599 }), "failure, release, none")
  ])("says $says after $name", ({ reason, says }) => {
    assert.strictEqual(text(outcomeOf({ outcome: "failure", error: reason })), says)
  })

  it("is ignored when the caller stopped, when a decoder threw, and when the route's own check rejects the answer", () => {
    assert.strictEqual(text(outcomeOf({ outcome: "interrupted" })), "ignored, release, none")
    assert.strictEqual(text(outcomeOf({ outcome: "failure" })), "ignored, release, none")
    const rejected = { outcome: "failure", error: new Errors.InvalidResponse({ by: "validate" }) } as const
    assert.strictEqual(text(outcomeOf(rejected)), "ignored, release, none")
  })

  it("is a lower bound of its time when another attempt answered", () => {
    assert.strictEqual(text(outcomeOf({ outcome: "interrupted", superseded: true })), "ignored, release, elapsed")
  })
})
