/**
 * Limits of targets: the options of a caller, their limits, and their normal form.
 */
import type { Problem } from "../../GatewayOptions.ts"
import { type LimitSettings, type Limits, problems, type QueueOptions, settingsOf } from "../admission/limits.ts"
import { isObject, strayField } from "../data/json.ts"

/** Options of `Route.limits`. Absent fields are not limited, except by the queue. */
export interface LimitsOptions extends Limits {
  /** Limits of the queue for the target: how many attempts may wait, and how long. Default: 1,000, for 10 seconds. */
  readonly queue?: QueueOptions | undefined
}

const names = ["requestsPerMinute", "tokensPerMinute", "concurrency", "burst", "skew", "queue"]

/** Normalizes limits, or reports what is wrong with them. */
export const limitsOf = (options: LimitsOptions | "off"): LimitSettings | "off" | Problem => {
  if (options === "off") return "off"
  if (!isObject(options)) return { field: "limits", accepted: `"off", or an object` }
  const stray = strayField(options, names)
  if (stray !== undefined) return { field: `limits.${stray}`, accepted: `one of ${names.join(", ")}` }
  const [problem] = problems(options)
  return problem === undefined ? settingsOf(options) : { field: `limits.${problem.field}`, accepted: problem.accepted }
}
