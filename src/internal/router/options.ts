/**
 * Options of a run, which `Router` re-exports.
 */
import type * as GatewayOptions from "../../GatewayOptions.ts"
import type { Admission } from "../admission/admission.ts"
import type { Priority } from "../admission/permit.ts"
import { strayField } from "../data/json.ts"
import type { LossKind } from "../route/compile.ts"

/**
 * Who executes a route. `client`: this process, one request per attempt. `gateway`: the gateway, one request for the
 * whole route; a route that it cannot express is rejected. `auto`: the gateway when nothing is lost by it, else the
 * client.
 */
export type Execution = "auto" | "client" | "gateway"

/** Options of one run. */
export interface RunOptions {
  /** Default: the router's own, which is `auto` unless its layer says otherwise. */
  readonly execution?: Execution | undefined
  /**
   * Losses that are accepted with `execution: "gateway"`. An allowed deadline is still kept, on the client, for the
   * whole. Default: nothing.
   */
  readonly allow?: ReadonlyArray<LossKind> | undefined
  /**
   * Gateway options of this run, for example `metadata`; the route's own options win. An `eventId` given here is
   * that of every request, also where the route has one: a run has one event id.
   */
  readonly options?: GatewayOptions.Input | undefined
  /**
   * More headers of every request of this run: lower-case names, values that are not secret. A target's own headers
   * win. Credentials, headers of the transport and headers that gateway options write are rejected by name; a
   * `cf-aig-…` header that this library does not know passes.
   */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /**
   * The key of what this run belongs to, for example a conversation: 1 to 1,024 characters. A balance by session sends
   * it to the same target, where its prompt is cached. The router neither stores it nor sends it in clear. Targets
   * receive 128 bits of its SHA-256 in the header `cf-aig-session-id` and, where they support it, in
   * `x-session-affinity` or the field `prompt_cache_key`. The field is left out where the gateway may answer from its
   * cache by the body: turn that cache off with `Route.cache({ ttl: "off" })`, or give it a key.
   */
  readonly session?: string | undefined
  /**
   * `"none"`: this run neither pays into nor draws on the router's budget. Batches run this way. Default: the router's
   * budget.
   */
  readonly budget?: "none" | undefined
  /**
   * Priority of the run where it waits for the limits of a target: `"background"` after `"interactive"`, and equal to
   * it after 30 seconds in the queue. Default `"interactive"`; batches are `"background"`.
   */
  readonly priority?: Priority | undefined
  /**
   * Most US dollars that the run may cost, 0 to 1,000,000. A target is passed over (`Rejected` by `cost`) when the
   * costs so far, an estimate of its input and the most output that its request allows (1,024 tokens where it says
   * nothing) could be more. Needs a router with `pricing` and a price for every target of the route; the run is then
   * executed on the client. Default: no limit.
   */
  readonly maxCost?: number | undefined
  /** No log line when failures were overcome: for callers who look at `attempts`, as batches do. Default `false`. */
  readonly quiet?: boolean | undefined
  /**
   * Lets each request of the run in, for callers who count requests, as batches with limits do. The run is then
   * executed on the client. Default: every request is made at once.
   */
  readonly admission?: Admission | undefined
}

/** Options of a run, with those of its router. */
export interface RunSettings extends RunOptions {
  readonly execution: Execution
}

/** A run without options takes the router's own settings as they are, which are known to be right. */
export const settingsOf = (own: RunSettings, given: RunOptions | undefined): RunSettings =>
  given === undefined ? own : { ...given, execution: given?.execution ?? own.execution }

// A record, so that none of them can be forgotten.
const known: Readonly<Record<keyof RunOptions, true>> = {
  execution: true,
  allow: true,
  options: true,
  headers: true,
  session: true,
  budget: true,
  priority: true,
  quiet: true,
  admission: true,
  maxCost: true
}

/**
 * The first option that does not exist, or would be misread: an unknown name has no effect, and a text has an
 * `includes` of its own.
 */
export const optionProblem = (settings: RunSettings): GatewayOptions.Problem | undefined => {
  const names = Object.keys(known)
  const { admission, allow, quiet } = settings
  const stray = strayField(settings, names)
  if (stray !== undefined) return { field: stray, accepted: `one of ${names.join(", ")}` }
  if (allow !== undefined && !Array.isArray(allow)) return { field: "allow", accepted: "a list of losses" }
  if (typeof (quiet ?? false) !== "boolean") return { field: "quiet", accepted: "true or false" }
  return admission === undefined || typeof admission === "function"
    ? undefined
    : { field: "admission", accepted: "a function" }
}
