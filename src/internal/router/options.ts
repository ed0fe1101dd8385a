/**
 * Options of a run, which `Router` re-exports.
 */
import type * as GatewayOptions from "../../GatewayOptions.ts"
import type { Admission } from "../admission/admission.ts"
import type { LossKind } from "../route/compile.ts"

/**
 * Who executes a route. `client`: this process, one request per attempt. `gateway`: the gateway, one request for the whole route; a
 * route that it cannot express is refused. `auto`: the gateway when nothing is lost by it, else the client.
 */
export type Execution = "auto" | "client" | "gateway"

/** Options of one run. */
export interface RunOptions {
  /** Default: the router's own, which is `auto` unless its layer says otherwise. */
  readonly execution?: Execution | undefined
  /** What may be lost with `execution: "gateway"`. An allowed deadline is still kept, on the client, for the whole. Default: nothing. */
  readonly allow?: ReadonlyArray<LossKind> | undefined
  /**
   * Gateway options of this run, for example `metadata`; where the route speaks too, the route wins. An `eventId` given here is
   * that of every request, also where the route has one: a run has one event id.
   */
  readonly options?: GatewayOptions.Input | undefined
  /**
   * What belongs together, for example a conversation: 1 to 1,024 characters. A balance by session sends it to the same target. It is not remembered, and never sent as it is.
   */
  readonly session?: string | undefined
  /** `"none"`: the attempts of this run neither feed the router's budget nor are limited by it, as those of batches. Default: they do and are. */
  readonly budget?: "none" | undefined
  /** No log line when failures were overcome: for callers who look at `attempts`, as batches do. Default `false`. */
  readonly quiet?: boolean | undefined
  /**
   * Lets each request of the run in, for callers who count requests, as batches with limits do. The run is then executed on the client. Default: every request
   * is made at once.
   */
  readonly admission?: Admission | undefined
}
