/**
 * The one error of this library, its reasons, and the table that decides how to react to each.
 *
 * Callers handle one tag (`"GatewayError"`) and inspect `reason` with `Effect.catchReason`. A router reacts to a
 * failure with four decisions, not with one boolean: try the same target *again*, go to the *next* target, *wait* (how
 * long), or *stop*. The decisions are data ({@link decisions}), so the documentation, the router and the local gateway
 * cannot disagree.
 *
 * The classes do not use `Schema`, which would double a Worker's bundle; codecs for storing and sending errors are in
 * `ErrorSchema`.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { failureOf, type HttpFailure, httpAnswer } from "./internal/data/httpAnswer.ts"
import { counted } from "./internal/data/numbers.ts"
import type { Usage } from "./internal/dialect/chat.ts"

export type { HttpFailure } from "./internal/data/httpAnswer.ts"

// `Duration.format` would be the only use of a large part of that module in a Worker.
const seconds = (duration: Duration.Duration): string => `${Duration.toMillis(duration) / 1000}s`

/** Joins the parts that are not empty. */
const join = (separator: string, ...parts: ReadonlyArray<string | number | boolean | undefined>): string =>
  parts.filter(Boolean).join(separator)

/**
 * Facts that any reason may carry.
 *
 * @category models
 */
export interface Facts {
  /** HTTP status of the answer. */
  readonly status?: number
  /** Code in the body: Cloudflare's number or the provider's string. */
  readonly code?: string
  /** Text of the answer, truncated, with every credential of the request removed. Never part of `message`. */
  readonly detail?: string
}

/**
 * The party that rejected the request: this library, the gateway, Cloudflare's API front door, or the provider.
 *
 * @category models
 */
export type Origin = "client" | "gateway" | "api" | "provider"

/**
 * The connection failed before a response arrived: refused, reset, DNS, TLS.
 *
 * @category reasons
 */
export class TransportFailure extends Data.TaggedError("TransportFailure")<
  Facts & {
    /**
     * The kind of failure. `stale`: a reused connection that ended without a byte of this answer. `connect` with the
     * code `network_error`: from workerd or a browser, which cannot tell a refused connection from one that broke
     * before the answer.
     */
    readonly kind: "connect" | "reset" | "stale" | "unknown"
  }
> {
  override get message(): string {
    return `transport failed (${this.kind})`
  }
}

/**
 * A time limit passed.
 *
 * @category reasons
 */
export class Timeout extends Data.TaggedError("Timeout")<
  Facts & {
    /**
     * The limit that passed: one of ours (per attempt, until the first token, between chunks, for everything), or one
     * that the other side reported.
     */
    readonly phase: "firstByte" | "firstToken" | "idle" | "deadline" | "upstream"
    /** The limit that passed, if it was ours. */
    readonly limit?: Duration.Duration
  }
> {
  override get message(): string {
    const limit = this.limit === undefined ? "" : ` after ${seconds(this.limit)}`
    return `timed out (${this.phase})${limit}`
  }
}

/**
 * Too many requests or no capacity right now; waiting helps.
 *
 * @category reasons
 */
export class RateLimited extends Data.TaggedError("RateLimited")<
  Facts & {
    readonly origin: Origin
    /** Lower bound of the wait, from the answer. */
    readonly retryAfter?: Duration.Duration
  }
> {
  override get message(): string {
    const hint = this.retryAfter === undefined ? "" : `, retry after ${seconds(this.retryAfter)}`
    return `rate limited by ${this.origin}${hint}`
  }
}

/**
 * Credit or a daily allocation has run out; a short wait does not restore it.
 *
 * @category reasons
 */
export class QuotaExhausted extends Data.TaggedError("QuotaExhausted")<
  Facts & {
    readonly kind: "spend" | "credits" | "allocation"
    readonly origin: Origin
    readonly retryAfter?: Duration.Duration
  }
> {
  override get message(): string {
    return `quota exhausted (${this.kind}, ${this.origin})`
  }
}

/**
 * Credentials are missing, wrong, or not allowed.
 *
 * @category reasons
 */
export class Unauthorized extends Data.TaggedError("Unauthorized")<Facts & { readonly origin: Origin }> {
  override get message(): string {
    return `${this.origin} rejected the credentials`
  }
}

/**
 * The request itself is invalid; sending it again, or to another target, changes nothing.
 *
 * @category reasons
 */
export class InvalidRequest extends Data.TaggedError("InvalidRequest")<
  Facts & {
    readonly origin: Origin
    /** The field or header at fault. */
    readonly field?: string
    /** The accepted values. */
    readonly accepted?: string
  }
> {
  override get message(): string {
    if (this.field === undefined) return `invalid request (${this.origin})`
    return `invalid ${this.field}${this.accepted === undefined ? "" : `: expected ${this.accepted}`}`
  }
}

/**
 * The target cannot express a field of the request; another target may. Nothing was sent.
 *
 * @category reasons
 */
export class Unsupported extends Data.TaggedError("Unsupported")<
  Facts & {
    /** Path of the field, for example `messages[1].content[0]`. */
    readonly field: string
    /** The values that this target accepts there. */
    readonly accepted: string
  }
> {
  override get message(): string {
    return `unsupported ${this.field}: expected ${this.accepted}`
  }
}

/**
 * The prompt does not fit into the model's context. Another model may take it.
 *
 * @category reasons
 */
export class ContextLengthExceeded extends Data.TaggedError("ContextLengthExceeded")<Facts> {
  override get message(): string {
    return "the prompt exceeds the model's context"
  }
}

/**
 * A guardrail, a data-loss rule or the provider's own filter blocked the prompt or the response.
 *
 * @category reasons
 */
export class ContentBlocked extends Data.TaggedError("ContentBlocked")<
  Facts & {
    readonly by: "guardrail" | "dlp" | "provider"
    readonly subject: "prompt" | "response" | "unknown"
  }
> {
  override get message(): string {
    return `${this.subject === "unknown" ? "content" : this.subject} blocked by ${this.by}`
  }
}

/**
 * Something named in the request does not exist.
 *
 * @category reasons
 */
export class NotFound extends Data.TaggedError("NotFound")<
  Facts & { readonly what: "gateway" | "model" | "log" | "route" | "run" | "endpoint" }
> {
  override get message(): string {
    return `${this.what} not found`
  }
}

/**
 * The provider or the gateway is failing: 5xx, 52x, 529, and Cloudflare's HTTP 400 with code 2005.
 *
 * @category reasons
 */
export class ProviderUnavailable extends Data.TaggedError("ProviderUnavailable")<
  Facts & { readonly origin: Origin; readonly retryAfter?: Duration.Duration }
> {
  override get message(): string {
    return `${this.origin} unavailable`
  }
}

/**
 * An answer arrived but is not the one requested: it does not decode, is HTML, is cut off, or was rejected by
 * `Route.validate`.
 *
 * @category reasons
 */
export class InvalidResponse extends Data.TaggedError("InvalidResponse")<
  Facts & {
    /**
     * Where and why decoding failed, without the value itself; or the reason that a predicate of `Route.validate` gave.
     */
    readonly issue?: string
    /** Present when the answer decoded and `Route.validate` rejected it; absent when it could not be read. */
    readonly by?: "validate"
  }
> {
  override get message(): string {
    return `invalid response${this.issue === undefined ? "" : `: ${this.issue}`}`
  }
}

/**
 * A stream broke after the consumer had received part of it.
 *
 * @category reasons
 */
export class StreamInterrupted extends Data.TaggedError("StreamInterrupted")<
  Facts & {
    /** Number of deltas that were delivered. */
    readonly events: number
    /** The text that was delivered. */
    readonly partial?: string
    /** The reason that broke the stream; its status, code and detail are here too. */
    readonly failure?: Exclude<ReasonTag, "StreamInterrupted">
  }
> {
  override get message(): string {
    return `stream interrupted after ${counted(this.events, "delta")}${this.failure === undefined ? "" : `: ${this.failure}`}`
  }
}

/**
 * This library rejected the request before sending it. `limiter`: a rate limit. `breaker`: the target's breaker is
 * open. `cost`: the run could cost more than its limit. `budget`: a cluster item whose workers have died too often.
 *
 * @category reasons
 */
export class Rejected extends Data.TaggedError("Rejected")<
  Facts & { readonly by: "limiter" | "breaker" | "budget" | "cost"; readonly retryAfter?: Duration.Duration }
> {
  override get message(): string {
    const hint = this.retryAfter === undefined ? "" : `, retry after ${seconds(this.retryAfter)}`
    return this.by === "cost" ? "rejected as too expensive" : `rejected by the ${this.by}${hint}`
  }
}

/**
 * The Workers binding is absent or lacks a method that is needed.
 *
 * @category reasons
 */
export class BindingMissing extends Data.TaggedError("BindingMissing")<
  Facts & {
    /** The missing member, for example `AI.gateway`. */
    readonly member: string
  }
> {
  override get message(): string {
    return `the binding has no ${this.member}`
  }
}

/**
 * No rule of the classification applies. `detail` holds the truncated raw body.
 *
 * @category reasons
 */
export class Unknown extends Data.TaggedError("Unknown")<Facts> {
  override get message(): string {
    return "unknown failure"
  }
}

/**
 * Any reason.
 *
 * @category reasons
 */
export type Reason =
  | TransportFailure
  | Timeout
  | RateLimited
  | QuotaExhausted
  | Unauthorized
  | InvalidRequest
  | Unsupported
  | ContextLengthExceeded
  | ContentBlocked
  | NotFound
  | ProviderUnavailable
  | InvalidResponse
  | StreamInterrupted
  | Rejected
  | BindingMissing
  | Unknown
/**
 * The tag of a reason.
 *
 * @category reasons
 */
export type ReasonTag = Reason["_tag"]

/**
 * The cause of an attempt. `first`: the first one of its run. `retry`: the same target again, by its retry policy.
 * `fallback`: the targets before it failed. `restart`: a stream broke and began again. `hedge`: the target before it
 * was late.
 *
 * @category models
 */
export type AttemptCause = "first" | "retry" | "fallback" | "hedge" | "restart"

/**
 * The cost of requests. `usd + estimatedUsd` is the best estimate; it is incomplete if `unpriced` is above 0.
 *
 * @category models
 */
export interface Cost {
  /** US dollars for tokens that providers reported. */
  readonly usd: number
  /**
   * US dollars for tokens that no provider reported: of attempts that failed, were interrupted or lost a race. Tends to
   * be too high, because providers do not charge for most requests that they reject.
   */
  readonly estimatedUsd: number
  /** Number of attempts in neither amount: there is no price for them, or their tokens are unknown. */
  readonly unpriced: number
}

/**
 * One dispatch to one target, as the client saw it.
 *
 * @category models
 */
export interface Attempt {
  /** Key of the target (see `Route`). */
  readonly target: string
  /** Its position among the attempts of its run, from 1, in order of start. Absent outside a run. */
  readonly number?: number
  /** The cause of the attempt; absent outside a run. */
  readonly cause?: AttemptCause
  readonly provider: string
  readonly model?: string
  readonly endpoint: string
  readonly logId?: string
  readonly eventId?: string
  /** Index of the leg that answered, if the gateway reported it. */
  readonly step?: number
  readonly cacheStatus?: string
  /** HTTP status, if there was an answer. */
  readonly status?: number
  readonly outcome: "success" | "failure" | "interrupted"
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  /** Time that it waited for limits before it started; absent if it did not wait. */
  readonly waited?: Duration.Duration
  /** Time from the start until the answer was decoded, the failure was known, or the fiber was interrupted. */
  readonly duration: Duration.Duration
  /** The transport sent the same bytes once more, because a kept-alive socket turned out to be closed. */
  readonly resent?: boolean
  /** Another attempt of the same run answered first, so this one was interrupted. */
  readonly superseded?: boolean
  /** Hints of the request that this target did not get in full, see `Chat.Losses`. Absent if there are none. */
  readonly dropped?: ReadonlyArray<string>
  /** Tokens that the provider reported. */
  readonly usage?: Usage
  /** Its cost; set by a router with prices. */
  readonly cost?: Cost
  readonly error?: Reason
}

/**
 * A target that was skipped because of an open breaker (`Rejected`) or a field that it cannot express (`Unsupported`).
 * Nothing was sent to it.
 *
 * @category models
 */
export interface Skipped {
  /** Key of the target (see `Route`). */
  readonly target: string
  readonly reason: Reason
}

/**
 * The cause that ended a run without an answer. `stop`: no other target would help. `attempts`: every target failed.
 * `deadline`: the time was up, or too short for the next wait. `budget`: the router's budget allowed no further
 * attempt. `cost`: a further attempt could have cost more than `maxCost`. `open`: breakers were open, and no further
 * attempt was made.
 *
 * @category models
 */
export type EndedBy = "stop" | "attempts" | "deadline" | "budget" | "cost" | "open"

/**
 * The error of every operation in this library.
 *
 * `message` holds the method, the target, the reason, the status and the code, and never a credential, a prompt, or
 * text of a provider (that is in `reason.detail`, truncated and without credentials).
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import { GatewayError, RateLimited } from "effect-ai-gateway/GatewayError"
 *
 * const call = Effect.fail(
 *   new GatewayError({ method: "Router.run", reason: new RateLimited({ origin: "provider" }) })
 * )
 * export const handled = call.pipe(
 *   Effect.catchReason("GatewayError", "RateLimited", () => Effect.succeed("later"))
 * )
 * ```
 *
 * @category errors
 */
export class GatewayError extends Data.TaggedError("GatewayError")<{
  readonly reason: Reason
  /** The public operation that failed, for example `GatewayService.getLog`. */
  readonly method: string
  readonly provider?: string
  readonly model?: string
  readonly logId?: string
  readonly eventId?: string
  readonly step?: number
  /** Every attempt in order of start; set by the router, where the last attempt's error is `reason`. */
  readonly attempts?: ReadonlyArray<Attempt>
  /** Targets that were skipped, in order; set by the router. */
  readonly skipped?: ReadonlyArray<Skipped>
  /** Set by the router; absent when the route or its options are invalid. */
  readonly ended?: EndedBy
  /** The cost of all attempts together; set by a router with prices. */
  readonly cost?: Cost
}> {
  override get message(): string {
    const { attempts = [], ended, method, model, provider, reason } = this
    const { code = "", status } = reason
    const facts = join(
      ", ",
      status && `status ${status}`,
      // A code comes from an answer, so the message only shows values that look like one.
      /^[\w./-]{1,64}$/.test(code) && `code ${code}`,
      attempts.length > 1 && `${attempts.length} attempts`,
      // Without this, the failure does not show why nothing more was tried.
      ended === "budget" && "ended by the budget",
      ended === "cost" && "ended by maxCost"
    )
    return join(": ", method, join("/", provider, model), reason.message + (facts && ` (${facts})`))
  }
  /** Whether the same target may be tried again. */
  get isRetryable(): boolean {
    return decide(this.reason).again
  }
  /** The wait that the answer requested, if any. */
  get retryAfter(): Duration.Duration | undefined {
    return retryAfter(this.reason)
  }
  /**
   * The response of Effect's HTTP servers to a handler that fails with this error (`HttpServerRespondable`), see
   * {@link httpFailure}. The response type is in an unstable module, so this signature only fits where one is wanted.
   */
  "~effect/http/HttpServerRespondable"(): Effect.Effect<never> {
    return Effect.sync(() => httpAnswer(httpFailure(this)) as never)
  }
}

/**
 * Whether `u` is a {@link GatewayError}, including one of another copy of this package.
 *
 * **Gotchas**
 *
 * An error that came over RPC or out of JSON is none: it has lost its getters. `ErrorSchema` decodes it to one.
 *
 * @category guards
 */
export const isGatewayError = (u: unknown): u is GatewayError =>
  Predicate.isTagged(u, "GatewayError") && Predicate.hasProperty(u, "reason") && "isRetryable" in u

/**
 * The wait that a reason requests, if any.
 *
 * @category getters
 */
export const retryAfter = (reason: Reason): Duration.Duration | undefined =>
  "retryAfter" in reason ? reason.retryAfter : undefined

/**
 * Makes an {@link InvalidRequest} for a fault that this library found before anything was sent.
 *
 * @example
 * ```ts
 * import * as GatewayError from "effect-ai-gateway/GatewayError"
 *
 * const error = GatewayError.invalid("GatewayOptions.make", "cache.ttl", "60 seconds to 30 days, or \"off\"")
 * console.log(error.message) // GatewayOptions.make: invalid cache.ttl: expected 60 seconds to 30 days, or "off"
 * ```
 *
 * @category constructors
 */
export const invalid = (method: string, field: string, accepted: string): GatewayError =>
  new GatewayError({ method, reason: new InvalidRequest({ origin: "client", field, accepted }) })

/**
 * How to react to a failure. `stop` means neither again nor next.
 *
 * @category decisions
 */
export interface Decision {
  /** The same target may be tried again. */
  readonly again: boolean
  /** Another target may be tried. */
  readonly next: boolean
  /** The wait before `again`: the answer's hint (at least the back-off), the back-off, or none. */
  readonly wait: "hint" | "backoff" | "none"
}

/**
 * One row of the decision table.
 *
 * @category decisions
 */
export interface DecisionRow extends Decision {
  readonly reason: ReasonTag
  /** The variant within the reason, or `undefined` for all others of that reason. */
  readonly variant: string | undefined
}

const row = (
  reason: ReasonTag,
  decision: "again" | "next" | "stop",
  wait: Decision["wait"] = "none",
  variant?: string
): DecisionRow => ({
  reason,
  variant,
  again: decision === "again",
  next: decision !== "stop",
  wait
})

/**
 * The decision table: for each reason (and variant), whether to try again, move on, wait or stop. A route overrides it
 * with `retry({ on })` and `fallbackOn`.
 *
 * @category decisions
 */
export const decisions: ReadonlyArray<DecisionRow> = [
  row("TransportFailure", "again", "backoff"),
  row("Timeout", "next", "none", "deadline"),
  row("Timeout", "again", "backoff"),
  row("RateLimited", "again", "hint"),
  row("QuotaExhausted", "next"),
  row("Unauthorized", "next", "none", "provider"),
  row("Unauthorized", "stop"),
  row("InvalidRequest", "stop"),
  row("Unsupported", "next"),
  row("ContextLengthExceeded", "next"),
  row("ContentBlocked", "next", "none", "provider"),
  row("ContentBlocked", "stop"),
  row("NotFound", "stop", "none", "gateway"),
  row("NotFound", "stop", "none", "log"),
  row("NotFound", "next"),
  row("ProviderUnavailable", "again", "hint"),
  row("InvalidResponse", "next"),
  row("StreamInterrupted", "stop"),
  row("Rejected", "next"),
  row("BindingMissing", "stop"),
  row("Unknown", "next")
]

/**
 * The variant of a reason, where the decision table distinguishes several.
 *
 * @category getters
 */
export const variant = (reason: Reason): string | undefined => {
  switch (reason._tag) {
    case "Timeout":
      return reason.phase
    case "Unauthorized":
      return reason.origin
    case "ContentBlocked":
      return reason.by
    case "NotFound":
      return reason.what
    default:
      return undefined
  }
}

const unknownRow = decisions[decisions.length - 1] as DecisionRow

/**
 * Looks a reason up in {@link decisions}. A failure inside a 2xx answer is never retried on the same target: the
 * gateway treats such an answer as a success, and both ways to execute a route must agree. A route opts in with
 * `retry({ on })`.
 *
 * @category decisions
 */
export const decide = (reason: Reason): DecisionRow => {
  const v = variant(reason)
  const found =
    decisions.find((row) => row.reason === reason._tag && (row.variant === undefined || row.variant === v)) ??
    unknownRow
  const inside = reason.status !== undefined && reason.status >= 200 && reason.status < 300
  return inside && found.again ? { ...found, again: false, wait: "none" } : found
}

// Most failures come from a server behind this one.
const badGateway = 502
/** By reason, or by its variant. */
const otherStatus: Readonly<Record<string, number>> = {
  log: 404,
  Timeout: 504,
  RateLimited: 429,
  QuotaExhausted: 503,
  InvalidRequest: 400,
  Unsupported: 400,
  ContextLengthExceeded: 413,
  ContentBlocked: 422,
  ProviderUnavailable: 503,
  Rejected: 503,
  BindingMissing: 500
}

/**
 * HTTP status with which a server answers a failed request, by reason. A `NotFound` of a log is 404.
 *
 * 4xx means that the client can change something. Rejected credentials belong to the server, so they are 502 and not
 * 401.
 *
 * @category getters
 */
export const failureStatus: Readonly<Record<ReasonTag, number>> = /* @__PURE__ */ (() => {
  const statuses = decisions.map(({ reason }) => [reason, otherStatus[reason] ?? badGateway])
  return Object.fromEntries(statuses)
})()

/**
 * The answer of a server to its own client about a failure: the status of {@link failureStatus},
 * `{ "error": { "reason", "retryable" } }`, and `retry-after` in seconds with a 429 or 503 where waiting helps. It
 * holds nothing of the message, the prompt, the provider or the credentials.
 *
 * @example
 * ```ts
 * import * as GatewayError from "effect-ai-gateway/GatewayError"
 *
 * const error = GatewayError.invalid("Router.run", "maxTokens", "a whole number from 1")
 * console.log(GatewayError.httpFailure(error).status) // 400
 * ```
 *
 * @category getters
 */
export const httpFailure = ({ reason, retryAfter }: GatewayError): HttpFailure => {
  const status = otherStatus[variant(reason) ?? ""] ?? otherStatus[reason._tag] ?? badGateway
  // A provider's hint is only passed on with an answer that means "come back later".
  const hint = (status === 429 || status === 503) && retryAfter
  const seconds = hint ? Math.ceil(Duration.toMillis(hint) / 1000) : Number.NaN
  // The header is a number in digits, and an endless wait has none.
  return failureOf(status, reason._tag, decide(reason).again, Number.isSafeInteger(seconds) ? seconds : undefined)
}
