/**
 * Circuit breakers: the options of a caller, their limits, and their normal form.
 */
import type * as Duration from "effect/Duration"
import type { Problem } from "../../GatewayOptions.ts"
import type { BreakerSettings } from "../admission/breaker.ts"
import { longestWindow } from "../admission/outcomes.ts"
import { millisOf } from "../data/duration.ts"
import { isObject, strayField } from "../data/json.ts"

/** Calls that count as slow. */
export interface SlowCallsOptions {
  /**
   * Limit for the first output, beyond which a call is slow: whole milliseconds from 1. For a stream, the first delta
   * counts. Timeouts count as slow.
   */
  readonly after: Duration.Input
  /** Share of slow calls at which the breaker opens: more than 0, at most 1. Default 0.5. */
  readonly rate?: number | undefined
}

/** Options of `Route.circuitBreaker`. */
export interface BreakerOptions {
  /** Length of the window: 1 second to 5 minutes, in whole seconds. Default 30 seconds. */
  readonly window?: Duration.Input | undefined
  /** Minimum number of attempts in the window before the breaker may open: a whole number from 1. Default 10. */
  readonly minimumCalls?: number | undefined
  /** Share of failures at which the breaker opens: more than 0, at most 1. Default 0.5. */
  readonly failureRate?: number | undefined
  /** Opens the breaker when too many answers begin late. Default `"off"`. */
  readonly slowCalls?: SlowCallsOptions | "off" | undefined
  /** Time that it stays open before one attempt probes the target: 1 millisecond to 1 hour. Default 15 seconds. */
  readonly openFor?: Duration.Input | undefined
  /**
   * Upper limit of the open time, which doubles with each failed probe: `openFor` to 1 hour. Default 5 minutes, or
   * `openFor` if that is longer.
   */
  readonly maxOpenFor?: Duration.Input | undefined
}

const names = ["window", "minimumCalls", "failureRate", "slowCalls", "openFor", "maxOpenFor"]
const slowNames = ["after", "rate"]

const hour = 3_600_000

const isBetween = (value: number, min: number, max: number): boolean => value >= min && value <= max

const isRate = (rate: number): boolean => typeof rate === "number" && rate > 0 && rate <= 1
const rateAccepted = "a number more than 0, at most 1"

const slowCallsOf = (given: SlowCallsOptions): NonNullable<BreakerSettings["slowCalls"]> | Problem => {
  if (!isObject(given)) return { field: "circuitBreaker.slowCalls", accepted: `"off", or an object with after` }
  const stray = strayField(given, slowNames)
  if (stray !== undefined) {
    return { field: `circuitBreaker.slowCalls.${stray}`, accepted: `one of ${slowNames.join(", ")}` }
  }
  const after = millisOf(given.after)
  const { rate = 0.5 } = given
  if (!(Number.isSafeInteger(after) && after >= 1)) {
    return {
      field: "circuitBreaker.slowCalls.after",
      accepted: "1 millisecond or more, finite, in whole milliseconds"
    }
  }
  return isRate(rate) ? { after, rate } : { field: "circuitBreaker.slowCalls.rate", accepted: rateAccepted }
}

/** Normalizes the options of a breaker, or reports what is wrong with them. */
export const breakerOf = (options: BreakerOptions | "off" = {}): BreakerSettings | "off" | Problem => {
  if (options === "off") return "off"
  if (!isObject(options)) return { field: "circuitBreaker", accepted: `"off", or an object` }
  const stray = strayField(options, names)
  if (stray !== undefined) return { field: `circuitBreaker.${stray}`, accepted: `one of ${names.join(", ")}` }
  const { failureRate = 0.5, minimumCalls = 10 } = options
  const window = millisOf(options.window === undefined ? "30 seconds" : options.window)
  const openFor = millisOf(options.openFor === undefined ? "15 seconds" : options.openFor)
  const maxOpenFor = options.maxOpenFor === undefined ? Math.max(openFor, 300_000) : millisOf(options.maxOpenFor)
  if (!isBetween(window, 1_000, longestWindow) || window % 1_000 !== 0) {
    return { field: "circuitBreaker.window", accepted: "1 second to 5 minutes, in whole seconds" }
  }
  if (!(Number.isSafeInteger(minimumCalls) && minimumCalls >= 1)) {
    return { field: "circuitBreaker.minimumCalls", accepted: "a whole number of at least 1" }
  }
  if (!isRate(failureRate)) return { field: "circuitBreaker.failureRate", accepted: rateAccepted }
  const slowCalls =
    options.slowCalls === undefined || options.slowCalls === "off" ? undefined : slowCallsOf(options.slowCalls)
  if (slowCalls !== undefined && "field" in slowCalls) return slowCalls
  if (!isBetween(openFor, 1, hour)) return { field: "circuitBreaker.openFor", accepted: "1 millisecond to 1 hour" }
  if (!isBetween(maxOpenFor, openFor, hour)) {
    return { field: "circuitBreaker.maxOpenFor", accepted: "openFor to 1 hour" }
  }
  return { window, minimumCalls, failureRate, slowCalls, openFor, maxOpenFor }
}
