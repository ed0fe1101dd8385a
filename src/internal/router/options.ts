/**
 * Options of a run, which `Router` re-exports.
 */
import type * as GatewayOptions from "../../GatewayOptions.ts"
import type { Admission } from "../admission/admission.ts"
import type { Priority } from "../admission/permit.ts"
import { strayField } from "../data/json.ts"
import type { LossKind } from "../route/compile.ts"

/**
 * The place where a route is executed. `client`: in this process, one request per attempt. `gateway`: by the gateway,
 * one request for the complete route; a route that it cannot express is rejected. `auto`: by the gateway if nothing is
 * lost, otherwise on the client.
 */
export type Execution = "auto" | "client" | "gateway"

/** Options of one run. */
export interface RunOptions {
  /** Default: the router's own, which is `auto` unless its layer sets another one. */
  readonly execution?: Execution | undefined
  /**
   * Losses that are accepted with `execution: "gateway"`. An allowed deadline is still kept on the client, for the
   * complete run. Default: none.
   */
  readonly allow?: ReadonlyArray<LossKind> | undefined
  /**
   * Gateway options of this run, for example `metadata`; the route's own options win. An `eventId` given here applies
   * to every request, even if the route has one: a run has one event id.
   */
  readonly options?: GatewayOptions.Input | undefined
  /**
   * Additional headers of every request of this run: lower-case names, values that are not secret. A target's own
   * headers win. Credentials, headers of the transport and headers that gateway options write are rejected by name;
   * other `cf-aig-…` headers are accepted.
   */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /**
   * Key of the larger unit that this run belongs to, for example a conversation: 1 to 1,024 characters. A balance by
   * session sends it to the same target, where its prompt is cached. The router neither stores the key nor sends it in
   * clear text. Targets get 128 bits of its SHA-256 in the header `cf-aig-session-id` and, where they support it, in
   * `x-session-affinity` or the field `prompt_cache_key`.
   *
   * The field is omitted if the gateway may answer from its cache by the body: turn that cache off with
   * `Route.cache({ ttl: "off" })`, or give it a key.
   */
  readonly session?: string | undefined
  /**
   * `"none"`: this run neither pays into the router's budget nor draws on it, as in batches. Default: the router's
   * budget.
   */
  readonly budget?: "none" | undefined
  /**
   * Priority of the run in the queues of limits: `"background"` comes after `"interactive"`, and equals it after 30
   * seconds in the queue. Default `"interactive"`; batches use `"background"`.
   */
  readonly priority?: Priority | undefined
  /**
   * Maximum cost of the run in US dollars, 0 to 1,000,000. The router skips a target (`Rejected` by `cost`) if the
   * costs so far, plus an estimate of its input and of the longest output that its request allows (1,024 tokens without
   * a limit), could exceed it. Needs a router with `pricing` and a price for every target of the route; the run is then
   * executed on the client. Default: no limit.
   */
  readonly maxCost?: number | undefined
  /**
   * Omits the log line about failures that were overcome, for callers that read `attempts`, as batches do. Default
   * `false`.
   */
  readonly quiet?: boolean | undefined
  /**
   * Admits each request of the run: a hook for rate limiters, as in batches with limits. The run is then executed on
   * the client. Default: every request is made at once.
   */
  readonly admission?: Admission | undefined
}

/** Options of a run, completed by those of its router. */
export interface RunSettings extends RunOptions {
  readonly execution: Execution
}

/** A run without options uses the router's own settings, which have been checked. */
export const settingsOf = (own: RunSettings, given: RunOptions | undefined): RunSettings =>
  given === undefined ? own : { ...given, execution: given?.execution ?? own.execution }

// A record, so that the compiler reports a missing option.
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
 * The first option that does not exist or would be misread: an unknown name has no effect, and a string has an
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
