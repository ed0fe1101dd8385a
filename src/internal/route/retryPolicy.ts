/**
 * Retry policies: the options of a caller, their limits, and their normal form.
 */
import * as Duration from "effect/Duration"
import { decisions, type ReasonTag } from "../../GatewayError.ts"
import { type Backoff, backoffs, type Problem } from "../../GatewayOptions.ts"
import { millisOf } from "../data/duration.ts"
import { strayField } from "../data/json.ts"
import type { Policy } from "./node.ts"

/** A declarative retry policy; it can be compiled and stored. */
export interface RetryOptions {
  /** Attempts on one target, including the first: 1 to 100. */
  readonly attempts: number
  /** Wait before the second attempt. Default {@link defaultRetryDelay}. */
  readonly delay?: Duration.Input | undefined
  /** Growth of the wait: `delay`, `delay * n` or `delay * 2^(n-1)` before attempt `n + 1`. Default `"exponential"`. */
  readonly backoff?: Backoff | undefined
  /**
   * Longest wait of the back-off, and the longest hint to wait for while another target is ready. Default
   * {@link defaultMaxDelay}.
   */
  readonly maxDelay?: Duration.Input | undefined
  /** Share of the back-off that is random, from 0 (none, the default) to 1 (all of it). */
  readonly jitter?: number | undefined
  /** Whether a server's wait hint is a lower bound. Default `true`. */
  readonly retryAfter?: boolean | undefined
  /** Reasons after which the same target is retried. Default: those of the decision table. */
  readonly on?: ReadonlyArray<ReasonTag> | undefined
}

/** Default of `delay` in {@link retry}. */
export const defaultRetryDelay = Duration.millis(200)
/** Default of `maxDelay` in {@link retry}. */
export const defaultMaxDelay = Duration.seconds(5)

/** Whether a value is a list of reasons and nothing else. */
export const isReasons = (value: unknown): value is ReadonlyArray<ReasonTag> =>
  Array.isArray(value) && value.every((tag) => decisions.some(({ reason }) => reason === tag))

/** Names the values that {@link isReasons} accepts, for error messages. */
export const reasonsAccepted = "reasons such as RateLimited"

const names = ["attempts", "delay", "backoff", "maxDelay", "jitter", "retryAfter", "on"]

/** Normalizes a policy, or reports what is wrong with it. */
export const policyOf = (options: RetryOptions): Policy | Problem => {
  // A caller without types can pass anything; a value without fields has no attempts.
  const stray = strayField(options ?? {}, names)
  if (stray !== undefined) return { field: `retry.${stray}`, accepted: `one of ${names.join(", ")}` }
  const {
    attempts,
    backoff = "exponential",
    delay: first,
    jitter = 0,
    maxDelay: cap,
    on,
    retryAfter = true
  } = options ?? { attempts: 0 }
  const delay = millisOf(first ?? defaultRetryDelay)
  const longest = Duration.toMillis(defaultMaxDelay)
  const maxDelay = millisOf(cap ?? (delay > longest ? delay : longest))
  if (!Number.isInteger(attempts) || attempts < 1 || attempts > 100) {
    return { field: "retry.attempts", accepted: "a whole number from 1 to 100" }
  }
  if (!(Number.isFinite(delay) && delay >= 0))
    return { field: "retry.delay", accepted: "a finite duration of 0 or more" }
  if (!(Number.isFinite(maxDelay) && maxDelay >= delay)) {
    return { field: "retry.maxDelay", accepted: "a finite duration that is not shorter than delay" }
  }
  if (!(jitter >= 0 && jitter <= 1)) return { field: "retry.jitter", accepted: "a number from 0 to 1" }
  if (!backoffs.includes(backoff)) return { field: "retry.backoff", accepted: backoffs.join(", ") }
  if (on !== undefined && !isReasons(on)) return { field: "retry.on", accepted: reasonsAccepted }
  return { attempts, delay, backoff, maxDelay, jitter, retryAfter, on }
}
