/**
 * Hedges: the options of a caller, their limits, and their normal form.
 */
import type * as Duration from "effect/Duration"
import type { Problem } from "../../GatewayOptions.ts"
import { millisOf } from "../data/duration.ts"
import { isRecord, strayField } from "../data/json.ts"
import type { Hedging, LearntDelay } from "./node.ts"

/** A delay that the router learns from each target's recent times to the first output. */
export interface HedgePercentile {
  /**
   * Share of answers to wait for: a fraction from 0.5 to 0.999. The share beyond it must not exceed the router's
   * budget.
   */
  readonly percentile: number
  /** Shortest delay. Default: none. */
  readonly atLeast?: Duration.Input | undefined
  /**
   * Longest delay, and the delay while fewer than 30 answers are known. Default: none; before 30 answers nothing is
   * hedged then.
   */
  readonly atMost?: Duration.Input | undefined
}

/** Options of `Route.hedge`. */
export interface HedgeOptions {
  /**
   * Time that a target has for its first output before the next one is called too: whole milliseconds from 1, or
   * learned.
   */
  readonly after: Duration.Input | HedgePercentile
  /** Maximum number of further targets that the clock starts in one run, 1 to 4. Default 1. */
  readonly max?: number | undefined
  /**
   * Also hedges requests that change something at the provider: `store`, `background`, conversations, tools that run
   * there, and targets of `Route.make` without `idempotent`. Default `false`.
   */
  readonly sideEffects?: boolean | undefined
}

const names = ["after", "max", "sideEffects"]
const percentileNames = ["percentile", "atLeast", "atMost"]

const isWhole = (millis: number): boolean => Number.isSafeInteger(millis) && millis >= 1
const millisAccepted = "1 millisecond or more, finite, in whole milliseconds"

const learntOf = (given: HedgePercentile): LearntDelay | Problem => {
  const stray = strayField(given, percentileNames)
  if (stray !== undefined) return { field: `hedge.after.${stray}`, accepted: `one of ${percentileNames.join(", ")}` }
  const { percentile } = given
  if (!(typeof percentile === "number" && percentile >= 0.5 && percentile <= 0.999)) {
    return { field: "hedge.after.percentile", accepted: "a fraction from 0.5 to 0.999" }
  }
  const atLeast = given.atLeast === undefined ? undefined : millisOf(given.atLeast)
  const atMost = given.atMost === undefined ? undefined : millisOf(given.atMost)
  if (atLeast !== undefined && !isWhole(atLeast)) return { field: "hedge.after.atLeast", accepted: millisAccepted }
  if (atMost !== undefined && !(isWhole(atMost) && atMost >= (atLeast ?? 1))) {
    return { field: "hedge.after.atMost", accepted: `${millisAccepted}, not shorter than atLeast` }
  }
  return { percentile, atLeast, atMost }
}

const isPercentile = (after: HedgeOptions["after"]): after is HedgePercentile =>
  isRecord(after) && percentileNames.some((name) => name in after)

/** Normalizes the options of a hedge, or reports what is wrong with them. */
export const hedgingOf = (options: HedgeOptions | "off"): Hedging | "off" | Problem => {
  if (options === "off") return "off"
  if (!isRecord(options)) return { field: "hedge", accepted: `"off", or an object with after` }
  const stray = strayField(options, names)
  if (stray !== undefined) return { field: `hedge.${stray}`, accepted: `one of ${names.join(", ")}` }
  const { max = 1, sideEffects = false } = options
  const after = isPercentile(options.after) ? learntOf(options.after) : millisOf(options.after)
  if (typeof after === "object" && "field" in after) return after
  if (typeof after === "number" && !isWhole(after)) {
    return { field: "hedge.after", accepted: `${millisAccepted}, or a percentile` }
  }
  if (!Number.isInteger(max) || max < 1 || max > 4)
    return { field: "hedge.max", accepted: "a whole number from 1 to 4" }
  if (typeof sideEffects !== "boolean") return { field: "hedge.sideEffects", accepted: "true or false" }
  return { after, max, sideEffects }
}
