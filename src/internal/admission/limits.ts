/**
 * The limits of a key, and their problems.
 */
import type * as Duration from "effect/Duration"
import type { Problem } from "../../GatewayOptions.ts"
import { defined } from "../data/defined.ts"
import { millisOf } from "../data/duration.ts"
import { isObject, strayField } from "../data/json.ts"

/** A number of requests at once that is learned from the answers. */
export interface AdaptiveConcurrency {
  /** First value, `min` to `max`. Default 8, within the bounds. */
  readonly initial?: number | undefined
  /** At least 1. Default 1. */
  readonly min?: number | undefined
  /** At most 100,000. Default 512. */
  readonly max?: number | undefined
  /** Multiple of the baseline from which mean latency reduces the number. More than 1, default 2. */
  readonly tolerance?: number | undefined
}

/** How many may wait, and for how long. */
export interface QueueOptions {
  /**
   * Maximum number of waiters: 0 to 1,000,000. Default 1,000. When the queue is full, the newest of the lowest priority
   * is rejected.
   */
  readonly size?: number | undefined
  /** Longest wait of a reservation that sets none: 0 or more. Default 10 seconds. */
  readonly maxWait?: Duration.Input | undefined
}

/** The limits of one key. Absent fields are not limited. */
export interface Limits {
  /** Requests in any window of 60 seconds, at least 1. */
  readonly requestsPerMinute?: number | undefined
  /** Tokens in any window of 60 seconds, at least 1. Exact unless the estimates are too low. */
  readonly tokensPerMinute?: number | undefined
  /** Requests at once: a whole number of at least 1, or learned. */
  readonly concurrency?: number | "adaptive" | AdaptiveConcurrency | undefined
  /** Share of a minute's allowance that may be used at once; more than 0, at most 1. Default 1/6. */
  readonly burst?: number | undefined
  /**
   * Maximum time from the admission of a request until the other side counts it. 0 to 30 seconds, default 2 seconds.
   */
  readonly skew?: Duration.Input | undefined
  /**
   * Bounds the queue. A reservation is then rejected at once if its estimated wait is too long, and not only after
   * waiting in vain. Default: no bounds.
   */
  readonly queue?: QueueOptions | undefined
}

/** Default of `burst`. */
export const defaultBurst = 1 / 6
/** Default of `skew`. */
export const defaultSkew: Duration.Input = "2 seconds"
/** Default of `queue.size`. */
export const defaultQueueSize = 1_000
/** Default of `queue.maxWait`. */
export const defaultMaxWait: Duration.Input = "10 seconds"

/** Limits in their normal form: with all defaults, and durations in milliseconds. */
export interface LimitSettings {
  readonly limits: Limits
  /** Longest wait in its queue, in milliseconds. */
  readonly maxWait: number
  /** Equal numbers give equal keys. */
  readonly key: string
}

/** Normalizes limits that have no problems. */
export const settingsOf = (given: Limits): LimitSettings => {
  const {
    burst = defaultBurst,
    concurrency,
    queue = {},
    requestsPerMinute,
    skew = defaultSkew,
    tokensPerMinute
  } = given
  const { maxWait = defaultMaxWait, size = defaultQueueSize } = queue
  const limits: Limits = {
    ...defined({ requestsPerMinute, tokensPerMinute, concurrency: adaptiveForm(concurrency) }),
    burst,
    skew: millisOf(skew),
    queue: { size, maxWait: millisOf(maxWait) }
  }
  return {
    limits,
    maxWait: millisOf(maxWait),
    key: JSON.stringify([requestsPerMinute ?? 0, tokensPerMinute ?? 0, limits])
  }
}

const adaptiveForm = (concurrency: Limits["concurrency"]): number | AdaptiveConcurrency | undefined => {
  if (concurrency === undefined || typeof concurrency === "number") return concurrency
  const { initial, max = 512, min = 1, tolerance = 2 } = concurrency === "adaptive" ? {} : concurrency
  return { initial: initial ?? Math.max(min, Math.min(max, 8)), min, max, tolerance }
}

const isCount = (value: number, max = Number.MAX_SAFE_INTEGER): boolean =>
  Number.isSafeInteger(value) && value >= 1 && value <= max

const queueNames = ["size", "maxWait"]
const adaptiveNames = ["initial", "min", "max", "tolerance"]

/** Lists the problems of limits: each field and the accepted values. */
export const problems = (limits: Limits): ReadonlyArray<Problem> => {
  const { burst, concurrency, queue, requestsPerMinute, skew, tokensPerMinute } = limits
  const out: Array<Problem> = []
  const check = (ok: boolean, field: string, accepted: string): void => {
    if (!ok) out.push({ field, accepted })
  }
  const count = "a whole number of at least 1"
  check(requestsPerMinute === undefined || isCount(requestsPerMinute), "requestsPerMinute", count)
  check(tokensPerMinute === undefined || isCount(tokensPerMinute), "tokensPerMinute", count)
  check(burst === undefined || (burst > 0 && burst <= 1), "burst", "more than 0, at most 1")
  const skewMillis = skew === undefined ? 0 : millisOf(skew)
  check(skewMillis >= 0 && skewMillis <= 30_000, "skew", "0 to 30 seconds")
  if (queue !== undefined) {
    if (isObject(queue)) {
      const stray = strayField(queue, queueNames)
      check(stray === undefined, `queue.${stray}`, `one of ${queueNames.join(", ")}`)
      const { maxWait = 0, size = 0 } = queue
      check(Number.isInteger(size) && size >= 0 && size <= 1e6, "queue.size", "a whole number from 0 to 1000000")
      check(millisOf(maxWait) >= 0, "queue.maxWait", "a duration of 0 or more")
    } else check(false, "queue", `an object of ${queueNames.join(", ")}`)
  }
  if (typeof concurrency === "object" && isObject(concurrency)) {
    const { initial, max = 512, min = 1, tolerance } = concurrency
    const stray = strayField(concurrency, adaptiveNames)
    check(stray === undefined, `concurrency.${stray}`, `one of ${adaptiveNames.join(", ")}`)
    check(isCount(max, 100_000), "concurrency.max", "a whole number from 1 to 100000")
    check(isCount(min, max), "concurrency.min", "a whole number from 1 to concurrency.max")
    check(
      initial === undefined || (isCount(initial, max) && initial >= min),
      "concurrency.initial",
      "a whole number from concurrency.min to concurrency.max"
    )
    check(
      tolerance === undefined || (tolerance > 1 && Number.isFinite(tolerance)),
      "concurrency.tolerance",
      "more than 1"
    )
  } else if (concurrency !== undefined && concurrency !== "adaptive") {
    check(typeof concurrency === "number" && isCount(concurrency), "concurrency", `${count}, or "adaptive"`)
  }
  return out
}
