/**
 * Limits of targets: what a caller writes, its limits, and its normal form.
 */
import type { Problem } from "../../GatewayOptions.ts"
import { type LimitSettings, type Limits, problems, type QueueOptions, settingsOf } from "../admission/limits.ts"
import { isObject, strayField } from "../data/json.ts"

/** What `Route.limits` takes. What is left out is not limited, except by the queue. */
export interface LimitsOptions extends Limits {
  /** How many may wait for the target, and how long. Default: 1,000, for 10 seconds. */
  readonly queue?: QueueOptions | undefined
}

const names = ["requestsPerMinute", "tokensPerMinute", "concurrency", "burst", "skew", "queue"]

/** The normal form of limits, or what is wrong with them. */
export const limitsOf = (options: LimitsOptions | "off"): LimitSettings | "off" | Problem => {
  if (options === "off") return "off"
  if (!isObject(options)) return { field: "limits", accepted: `"off", or an object` }
  const stray = strayField(options, names)
  if (stray !== undefined) return { field: `limits.${stray}`, accepted: `one of ${names.join(", ")}` }
  const [problem] = problems(options)
  return problem === undefined ? settingsOf(options) : { field: `limits.${problem.field}`, accepted: problem.accepted }
}
