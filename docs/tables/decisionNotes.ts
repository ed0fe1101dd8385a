/**
 * Texts of the decision table in the docs. They are kept out of the table itself, because programs do not need them.
 */
import type { DecisionRow } from "../../src/GatewayError.ts"

/** The failures that lead to a row, and the reason for its decision. */
export interface DecisionNote {
  /** Statuses, codes and words. */
  readonly from: string
  readonly why: string
}

/** Name of a row: its reason, and the variant when it has one. */
export const rowName = ({ reason, variant }: DecisionRow): string =>
  variant === undefined ? reason : `${reason} (${variant})`

/** By {@link rowName}. */
export const decisionNotes: Readonly<Record<string, DecisionNote>> = {
  TransportFailure: {
    from: "connection refused, reset, DNS, TLS",
    why: "a broken connection often works a moment later"
  },
  "Timeout (deadline)": {
    from: "`Route.deadline`",
    why: "an inner deadline has passed; an outer one may leave time for another target"
  },
  Timeout: {
    from: "`Route.timeout`, 408, 504, 3007, 3008",
    why: "a slow answer may be fast the next time"
  },
  RateLimited: {
    from: "429, 2003, 3040",
    why: "capacity returns; the hint says when"
  },
  QuotaExhausted: {
    from: "402, 2021, 2041, 2045, 2049, 3036, `insufficient_quota`",
    why: "a short wait does not restore credit"
  },
  "Unauthorized (provider)": {
    from: "provider 401, 403",
    why: "another provider has another key"
  },
  Unauthorized: {
    from: "2009, 10000",
    why: "the gateway would reject every target"
  },
  InvalidRequest: {
    from: "400, 422, every 4xx without a row here, checks of this library",
    why: "the request is wrong for every target"
  },
  Unsupported: {
    from: "a field that the target's dialect cannot express, found before sending",
    why: "another target may take the field"
  },
  ContextLengthExceeded: {
    from: "`context_length_exceeded` and the like",
    why: "another model may have a larger context"
  },
  "ContentBlocked (provider)": {
    from: "the provider's own filter",
    why: "filters differ between providers"
  },
  ContentBlocked: {
    from: "2016, 2017, 2029, 2030",
    why: "a blocked prompt is not offered to other providers"
  },
  "NotFound (gateway)": {
    from: "2001",
    why: "every target uses the same gateway"
  },
  "NotFound (log)": {
    from: "7002",
    why: "not a matter of routing; `awaitLog` waits for a fresh log"
  },
  NotFound: {
    from: "404, 7003 with 404, 3042",
    why: "another target has another model"
  },
  ProviderUnavailable: {
    from: "5xx, 52x, 529, 409, 425, 400 with 2005",
    why: "a failing provider often recovers soon"
  },
  InvalidResponse: {
    from: "undecodable, HTML, cut off, rejected by `Route.validate`",
    why: "the same model would probably answer in the same way"
  },
  StreamInterrupted: {
    from: "a stream that broke after content was delivered",
    why: "the consumer has a part of one answer; another answer must not continue it"
  },
  Rejected: {
    from: "limiter, breaker, `maxCost`",
    why: "another target has its own limits and prices"
  },
  BindingMissing: {
    from: "no `env.AI`",
    why: "a configuration error"
  },
  Unknown: {
    from: "anything else",
    why: "a retry could do harm; another target may answer"
  }
}
