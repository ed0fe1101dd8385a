/**
 * What the decision table says to its readers. Apart from the table, because a program that runs has no use for it.
 */
import type { DecisionRow } from "../../src/GatewayError.ts"

/** Where a row comes from, and why it decides as it does. */
export interface DecisionNote {
  /** Statuses, codes and words that lead to the row. */
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
    why: "often gone a moment later"
  },
  "Timeout (deadline)": {
    from: "`Route.deadline`",
    why: "an inner deadline is over; an outer one may allow another target"
  },
  Timeout: {
    from: "`Route.timeout`, 408, 504, 3007, 3008",
    why: "a slow answer may be fast the next time"
  },
  RateLimited: {
    from: "429, 2003, 3040",
    why: "capacity comes back; the hint says when"
  },
  QuotaExhausted: {
    from: "402, 2021, 2041, 2045, 2049, 3036, `insufficient_quota`",
    why: "waiting seconds brings no money"
  },
  "Unauthorized (provider)": {
    from: "provider 401, 403",
    why: "another provider has another key"
  },
  Unauthorized: {
    from: "2009, 10000",
    why: "the gateway would refuse every target"
  },
  InvalidRequest: {
    from: "400, 422 and every 4xx without a row here, our own checks",
    why: "wrong everywhere; it must not burn the chain"
  },
  Unsupported: {
    from: "a request that the target's dialect has no words for, found before it is sent",
    why: "another target may have them"
  },
  ContextLengthExceeded: {
    from: "`context_length_exceeded` and the like",
    why: "another model may have a larger context"
  },
  "ContentBlocked (provider)": {
    from: "provider's own filter",
    why: "filters differ between providers"
  },
  ContentBlocked: {
    from: "2016, 2017, 2029, 2030",
    why: "a blocked prompt is not shopped around"
  },
  "NotFound (gateway)": {
    from: "2001",
    why: "every target is behind the same gateway"
  },
  "NotFound (log)": {
    from: "7002",
    why: "not a routing matter; `awaitLog` waits for fresh logs"
  },
  NotFound: {
    from: "404, 7003 with 404, 3042",
    why: "another target has another model"
  },
  ProviderUnavailable: {
    from: "5xx, 52x, 529, 409, 425, 400 with 2005",
    why: "failing now, likely well soon"
  },
  InvalidResponse: {
    from: "undecodable, HTML, truncated, rejected by `Route.validate`",
    why: "the same model would likely do it again"
  },
  StreamInterrupted: {
    from: "cut after content was delivered",
    why: "a second answer must not be glued to the first"
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
    why: "never repeated blindly; another target may answer"
  }
}
