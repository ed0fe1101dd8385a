/**
 * Circuit breakers: what a caller writes, its limits, and its normal form.
 */
import type * as Duration from "effect/Duration"
import type { Problem } from "../../GatewayOptions.ts"
import type { BreakerSettings } from "../admission/breaker.ts"
import { longestWindow } from "../admission/outcomes.ts"
import { millisOf } from "../data/duration.ts"
import { isObject, strayField } from "../data/json.ts"

/** What `Route.circuitBreaker` takes. */
export interface BreakerOptions {
  /** What counts: the last 1 second to 5 minutes. Default 30 seconds. */
  readonly window?: Duration.Input | undefined
  /** Fewer attempts in the window say nothing: a whole number of at least 1. Default 10. */
  readonly minimumCalls?: number | undefined
  /** The share of failures from which the target is left alone: more than 0, at most 1. Default 0.5. */
  readonly failureRate?: number | undefined
  /** How long it is left alone before one attempt tries it: 1 millisecond to 1 hour. Default 15 seconds. */
  readonly openFor?: Duration.Input | undefined
  /** It doubles with each probe that fails, up to this: `openFor` to 1 hour. Default 5 minutes, or `openFor` where that is longer. */
  readonly maxOpenFor?: Duration.Input | undefined
}

const names = ["window", "minimumCalls", "failureRate", "openFor", "maxOpenFor"]

const hour = 3_600_000

const isBetween = (value: number, min: number, max: number): boolean => value >= min && value <= max

/** The normal form of a breaker, or what is wrong with it. */
export const breakerOf = (options: BreakerOptions | "off" = {}): BreakerSettings | "off" | Problem => {
  if (options === "off") return "off"
  if (!isObject(options)) return { field: "circuitBreaker", accepted: `"off", or an object` }
  const stray = strayField(options, names)
  if (stray !== undefined) return { field: `circuitBreaker.${stray}`, accepted: `one of ${names.join(", ")}` }
  const { failureRate = 0.5, minimumCalls = 10 } = options
  const window = millisOf(options.window ?? "30 seconds")
  const openFor = millisOf(options.openFor ?? "15 seconds")
  const maxOpenFor = options.maxOpenFor === undefined ? Math.max(openFor, 300_000) : millisOf(options.maxOpenFor)
  if (!isBetween(window, 1_000, longestWindow)) {
    return { field: "circuitBreaker.window", accepted: "1 second to 5 minutes" }
  }
  if (!(Number.isSafeInteger(minimumCalls) && minimumCalls >= 1)) {
    return { field: "circuitBreaker.minimumCalls", accepted: "a whole number of at least 1" }
  }
  if (!(failureRate > 0 && failureRate <= 1)) {
    return { field: "circuitBreaker.failureRate", accepted: "a number more than 0, at most 1" }
  }
  if (!isBetween(openFor, 1, hour)) return { field: "circuitBreaker.openFor", accepted: "1 millisecond to 1 hour" }
  if (!isBetween(maxOpenFor, openFor, hour)) {
    return { field: "circuitBreaker.maxOpenFor", accepted: "openFor to 1 hour" }
  }
  return { window, minimumCalls, failureRate, openFor, maxOpenFor }
}
