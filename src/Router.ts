/**
 * The service that runs routes.
 *
 * A run ends with one target's decoded answer, or with the last attempt's failure; both carry every attempt. There is one owner of retries: on
 * the client the gateway is asked for a single attempt each time, and in the gateway (`execution: "gateway"`) the client makes none of its own.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Attempt, GatewayError } from "./GatewayError.ts"
import type * as GatewayOptions from "./GatewayOptions.ts"
import { GatewayService } from "./GatewayService.ts"
import { type Answered, attempt, type Run } from "./internal/attempt.ts"
import { defined } from "./internal/defined.ts"
import type { Usage } from "./internal/dialects/dialect.ts"
import { executeClient } from "./internal/executeClient.ts"
import { askWhole, executeGateway } from "./internal/executeGateway.ts"
import type { Target } from "./internal/plan.ts"
import { logRecovery, prepare, withAttempts } from "./internal/prepare.ts"
import type * as Route from "./Route.ts"

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
  readonly allow?: ReadonlyArray<Route.LossKind> | undefined
  /**
   * Gateway options of this run, for example `metadata`; where the route speaks too, the route wins. An `eventId` given here is
   * that of every request, also where the route has one: a run has one event id.
   */
  readonly options?: GatewayOptions.Input | undefined
}

/** The answer of a run, and how it came about. */
export interface Routed<Out> {
  readonly value: Out
  /** Key of the target that answered. */
  readonly target: string
  readonly provider: string
  readonly model?: string
  /** Log id of the answer; absent when the transport cannot know it. */
  readonly logId?: string
  /** The id that every request of this run carried; `listLogs({ eventId })` finds them all. */
  readonly eventId: string
  readonly usage?: Usage
  readonly cacheStatus?: string
  /** Index of the answering leg, when the gateway executed the route. */
  readonly step?: number
  readonly execution: "client" | "gateway"
  /**
   * Every request of this run in order. When the gateway executed the route that is one request for several legs; its failed legs are in
   * the logs only.
   */
  readonly attempts: ReadonlyArray<Attempt>
}

/**
 * Runs routes.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 * import * as Router from "effect-ai-gateway/Router"
 *
 * const ask = Route.fallback(
 *   Provider.openai.chat("gpt-4.1-mini"),
 *   Provider.anthropic.messages("claude-haiku-4-5")
 * ).pipe(Route.retry({ attempts: 3 }), Route.deadline("20 seconds"))
 *
 * export const program = Effect.gen(function*() {
 *   const { attempts, logId, value } = yield* Router.run(ask, "What is a fiber?")
 *   return { text: value.text, logId, attempts: attempts.length }
 * })
 * ```
 */
export class Router extends Context.Service<
  Router,
  {
    readonly run: <In, Out>(
      route: Route.Route<In, Out>,
      input: In,
      options?: RunOptions
    ) => Effect.Effect<Routed<Out>, GatewayError>
    /** The gateway that routes are run through. */
    readonly gateway: GatewayService["Service"]
    /** Who executes a route unless a run says otherwise. */
    readonly execution: Execution
  }
>()("effect-ai-gateway/Router") {}

const routed = <Out>(answered: Answered<Out>, run: Run<unknown>, execution: "client" | "gateway"): Routed<Out> => ({
  value: answered.value,
  target: answered.target,
  provider: answered.provider,
  eventId: run.eventId,
  execution,
  attempts: run.attempts,
  ...defined({
    model: answered.model,
    usage: answered.usage,
    logId: answered.response.meta.logId,
    cacheStatus: answered.response.meta.cacheStatus,
    step: answered.step
  })
})

/** Makes a router over the gateway of the environment. */
export const make = (options: { readonly execution?: Execution | undefined } = {}) =>
  Effect.map(GatewayService, (gateway) => {
    const ownExecution = options.execution ?? "auto"

    const run = Effect.fn("Router.run")(function* <In, Out>(
      route: Route.Route<In, Out>,
      input: In,
      runOptions: RunOptions = {}
    ) {
      const execution = runOptions.execution ?? ownExecution
      const prepared = yield* prepare(gateway.run, route, input, { ...runOptions, execution })
      const { compiled, plan, run } = prepared
      const by = compiled === undefined ? "client" : "gateway"
      yield* Effect.annotateCurrentSpan({ "ai_gateway.execution": by, "ai_gateway.event_id": run.eventId })
      const executed: Effect.Effect<Answered<Out>, GatewayError> = compiled === undefined
        ? executeClient(run, plan, (target: Target<In, Out>, remaining) => attempt(run, target, remaining))
        : executeGateway(run, compiled, askWhole(run, compiled))
      const answered = yield* Effect.mapError(executed, (error) => withAttempts(error, run.attempts))
      yield* logRecovery(answered.target, run.attempts.slice(0, -1))
      const result = routed(answered, run, by)
      yield* Effect.annotateCurrentSpan({
        "gen_ai.provider.name": result.provider,
        "gen_ai.response.model": result.model,
        "gen_ai.usage.input_tokens": result.usage?.inputTokens,
        "gen_ai.usage.output_tokens": result.usage?.outputTokens,
        "ai_gateway.attempts": result.attempts.length,
        "ai_gateway.log_id": result.logId
      })
      return result
    })

    return Router.of({ run, gateway, execution: ownExecution })
  })

/** A router that executes each route where nothing is lost: `auto`. */
export const layer: Layer.Layer<Router, never, GatewayService> = Layer.effect(Router, make())

/** A router with another default of `execution`. Call it once and keep the value. */
export const layerWith = (options: {
  readonly execution?: Execution | undefined
}): Layer.Layer<Router, never, GatewayService> => Layer.effect(Router, make(options))

/**
 * Runs a route for one input. Fails with the last attempt's reason and all attempts when no target answers, and with
 * `InvalidRequest` before anything is sent when the route or the options are invalid. Interruption stops at once, aborts the
 * request in flight, and never falls back.
 */
export const run = <In, Out>(
  route: Route.Route<In, Out>,
  input: In,
  options?: RunOptions
): Effect.Effect<Routed<Out>, GatewayError, Router> =>
  Effect.flatMap(Router, (router) => router.run(route, input, options))
