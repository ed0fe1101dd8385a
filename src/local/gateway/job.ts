/**
 * A request to the gateway, read and ready to run.
 */
import type * as Faults from "../upstream/faults.ts"
import type { Refusal } from "../wire/errors.ts"
import type { UpstreamRequest } from "../wire/protocol.ts"
import type { Routing } from "./autoRouter.ts"
import type { ResolvedOptions } from "./requestOptions.ts"
import type { Gateway } from "./settings.ts"

/** One leg, ready to run. */
export interface LegPlan {
  readonly request: UpstreamRequest
  readonly options: ResolvedOptions
  /** Why this leg cannot be sent; it then counts as a leg that failed with this answer. */
  readonly refusal: Refusal | undefined
  /** Faults for this request only; they precede any script. */
  readonly faults: Faults.Queue | undefined
  /** Whether the leg belongs to a dynamic route or an alias, whose answers name model and provider. */
  readonly dynamic: boolean
  /** Choice of the Auto Router, if the request used it. */
  readonly routing: Routing | undefined
}

/** A request, ready to run. */
export interface GatewayJob {
  /** `undefined`: Workers AI without a gateway: no log, no cache, no limits. */
  readonly gateway: Gateway | undefined
  readonly legs: readonly [LegPlan, ...ReadonlyArray<LegPlan>]
  readonly requestType: "universal" | "provider" | "compat" | "run"
  readonly userAgent: string | undefined
  /** Whether the caller is authorized. */
  readonly authenticated: boolean
}
