/**
 * The service that runs routes.
 *
 * A run ends with one target's decoded answer or with the last attempt's failure; both carry every attempt. Retries
 * have one owner. On the client, each request asks the gateway for a single attempt; in the gateway (`execution:
 * "gateway"`), the client makes no retries.
 *
 * **Gotchas**
 *
 * - A retry around a run (`Effect.retry`) multiplies with the retries of the route: 3 times a route with 3 attempts is
 *   up to 9 requests. Use `Route.retry`.
 * - Build the layer once. A router remembers breakers, latencies and budgets, and forgets them when it is built per
 *   request.
 * - A stream holds its connection until it is consumed or its scope closes. `Effect.scoped` around {@link open} alone
 *   closes the stream before you read it.
 * - A deadline includes waits: for limits, between retries, and for the consumer of a stream.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { BreakerStore } from "./BreakerStore.ts"
import type { Attempt, Cost, GatewayError, Skipped } from "./GatewayError.ts"
import type { Problem } from "./GatewayOptions.ts"
import { GatewayService, type GetLogOptions } from "./GatewayService.ts"
import {
  budgetOf,
  type CheckedBudget,
  defaultBudget,
  type RetryBudgetOptions
} from "./internal/admission/retryBudget.ts"
import type { Mutable } from "./internal/data/defined.ts"
import { strayField } from "./internal/data/json.ts"
import { usageAttributes } from "./internal/data/telemetry.ts"
import type { Usage } from "./internal/dialect/chat.ts"
import type { Delta } from "./internal/dialect/delta.ts"
import { withSpan } from "./internal/hotpath/span.ts"
import type { Target } from "./internal/route/plan.ts"
import { type Answered, attempt, attemptsOf, type Run, traceRun } from "./internal/router/attempt.ts"
import { executeClient } from "./internal/router/client.ts"
import { askWhole, executeGateway } from "./internal/router/gateway.ts"
import { type LoggedCost, loggedCostOf } from "./internal/router/loggedCost.ts"
import { opens } from "./internal/router/open.ts"
import { opening } from "./internal/router/opening.ts"
import { type Execution, type RunOptions, settingsOf } from "./internal/router/options.ts"
import { logRecovery, prepare, type RouterCore, runFailure } from "./internal/router/prepare.ts"
import { RouterState } from "./internal/router/state.ts"
import type { Streamed } from "./internal/router/streamed.ts"
import { eventStream, watches } from "./internal/router/watch.ts"
import { watching } from "./internal/router/watching.ts"
import type { Limiter } from "./Limiter.ts"
import type { Pricing } from "./Pricing.ts"
import type * as Route from "./Route.ts"
import type { RouterEvent, TargetState } from "./RouterEvent.ts"

export type { Admission, PendingAttempt, SentAttempt } from "./internal/admission/admission.ts"
export type { Priority } from "./internal/admission/permit.ts"
export type { RetryBudgetOptions } from "./internal/admission/retryBudget.ts"
export type { LoggedAttempt, LoggedCost } from "./internal/router/loggedCost.ts"
export type { Execution, RunOptions } from "./internal/router/options.ts"
export type { Streamed, StreamSummary } from "./internal/router/streamed.ts"

/**
 * The answer of a run, with the facts about how it was produced.
 *
 * @category models
 */
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
  /**
   * The cost of all attempts together, failed and abandoned ones included; absent without prices. Legs that failed
   * inside the gateway appear only in the logs.
   */
  readonly cost?: Cost
  readonly cacheStatus?: string
  /** Index of the leg that answered, when the gateway executed the route. */
  readonly step?: number
  readonly execution: "client" | "gateway"
  /**
   * Every request of this run, in order of start. When the gateway executed the route, one request covers several legs;
   * failed legs appear only in the logs.
   */
  readonly attempts: ReadonlyArray<Attempt>
  /** Targets that were skipped, in order. Nothing was sent to them. */
  readonly skipped: ReadonlyArray<Skipped>
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
 *
 * @category services
 */
export class Router extends Context.Service<
  Router,
  {
    /** Runs a route for one input; {@link run} calls it. */
    readonly run: <In, Out>(
      route: Route.Route<In, Out>,
      input: In,
      options?: RunOptions
    ) => Effect.Effect<Routed<Out>, GatewayError>
    /**
     * Opens a stream; {@link open} and {@link stream} call it. It dies in a bundle that uses neither of them, because
     * the code for streams is not in that bundle.
     */
    readonly open: <In, Out>(
      route: Route.Route<In, Out>,
      input: In,
      options?: RunOptions
    ) => Effect.Effect<Streamed, GatewayError, Scope.Scope>
    /** The gateway that receives the requests. */
    readonly gateway: GatewayService["Service"]
    /** Default execution mode of runs. */
    readonly execution: Execution
    /** See {@link listen}. */
    readonly listen: (listener: (event: RouterEvent) => void) => Effect.Effect<void, never, Scope.Scope>
    /** See {@link snapshot}. */
    readonly snapshot: Effect.Effect<ReadonlyArray<TargetState>>
  }
>()("effect-ai-gateway/Router") {}

const routed = <Out>(
  { model, provider, response, step, target, usage, value }: Answered<Out>,
  run: Run<unknown>,
  execution: "client" | "gateway"
): Routed<Out> => {
  const { cacheStatus, logId } = response.meta
  const { eventId, skipped } = run
  const out: Mutable<Routed<Out>> = { value, target, provider, eventId, execution, attempts: attemptsOf(run), skipped }
  if (model !== undefined) out.model = model
  if (usage !== undefined) out.usage = usage
  if (run.meter !== undefined) out.cost = run.meter.total()
  if (logId !== undefined) out.logId = logId
  if (cacheStatus !== undefined) out.cacheStatus = cacheStatus
  if (step !== undefined) out.step = step
  return out
}

/**
 * Options of a router.
 *
 * @category models
 */
export interface Options {
  /** Default execution mode of runs. Default `"auto"`. */
  readonly execution?: Execution | undefined
  /**
   * Limits further attempts per provider: retries, hedges, restarts, and fallbacks to the same provider. When the
   * budget refuses an attempt, the run continues as it does after the failure before it. Default: 0.2 for each first
   * attempt, plus 3 per second. `"none"`: no limit.
   */
  readonly budget?: RetryBudgetOptions | "none" | undefined
  /**
   * Shares the phases of breakers among routers. The router calls it before each guarded attempt. If it fails or takes
   * more than a second, the router calls the target and logs a warning. Routers share a target with the same provider,
   * model, endpoint, stored key and headers, or with the same explicit `key`. A target with its own credentials needs
   * an explicit key, because each router salts its hashes of credentials. Default: the memory of this router.
   */
  readonly breakerStore?: BreakerStore | undefined
  /**
   * A limiter shared with others, for example one over a store of several machines. Targets below `Route.limits` need
   * its permit in addition to that of the route's own numbers. Its key is the `key` of the target, by default provider,
   * model, key alias and labels of credentials. Default: none.
   */
  readonly limiter?: Limiter | undefined
  /** Prices for the costs of runs and for `RunOptions.maxCost`. Default: none; no cost is counted. */
  readonly pricing?: Pricing | undefined
}

/** A caller without types may pass bare prices, or anything else. */
const pricingProblems = (pricing: Pricing | undefined): ReadonlyArray<Problem> =>
  pricing === undefined
    ? []
    : typeof pricing?.meter === "function"
      ? pricing.problems
      : [{ field: "pricing", accepted: "the result of Pricing.make" }]

const limiterProblems = (limiter: Limiter | undefined): ReadonlyArray<Problem> =>
  limiter === undefined || typeof limiter?.acquire === "function" ? [] : [{ field: "limiter", accepted: "a Limiter" }]

/**
 * Makes a router over the gateway of the environment. With invalid options every run fails before anything is sent.
 *
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<Router["Service"], never, GatewayService> => {
  const { budget, problems } = budgetOf(options.budget)
  const stray = strayField(options, names)
  const strays = stray === undefined ? [] : [{ field: stray, accepted: `one of ${names.join(", ")}` }]
  const misgiven = [...limiterProblems(options.limiter), ...pricingProblems(options.pricing)]
  return makeWith({ budget, problems: [...strays, ...problems, ...misgiven] }, options)
}

const names = ["execution", "budget", "breakerStore", "limiter", "pricing"]

const makeWith = (
  { budget, problems }: CheckedBudget,
  { breakerStore, execution: ownExecution = "auto", limiter, pricing }: Options = {}
) =>
  Effect.gen(function* () {
    const gateway = yield* GatewayService
    const salt = yield* Random.nextInt
    const state = new RouterState(budget, salt, breakerStore, limiter)
    const core: RouterCore = { send: gateway.run, state, own: { execution: ownExecution }, pricing, problems }

    const run = <In, Out>(
      route: Route.Route<In, Out>,
      input: In,
      runOptions?: RunOptions
    ): Effect.Effect<Routed<Out>, GatewayError> =>
      withSpan("Router.run", "internal", (span) =>
        Effect.flatMap(prepare(core, route, input, settingsOf(core.own, runOptions)), ({ compiled, plan, run }) => {
          const by = compiled === undefined ? "client" : "gateway"
          if (span !== undefined) traceRun(span, run, by)
          const executed: Effect.Effect<Answered<Out>, GatewayError> = compiled === undefined
            ? executeClient(run, plan, {
                attempt: (target: Target<In, Out>, asked) => attempt(run, target, asked),
                discard: () => Effect.void
              })
            : executeGateway(compiled, askWhole(run, compiled))
          const ended = core.state.beginRun?.(run, by)
          const failed = Effect.mapError(executed, (error) => runFailure(error, run))
          const failing = ended === undefined ? failed : Effect.onExit(failed, (exit) => Effect.sync(() => ended(exit)))
          return Effect.flatMap(failing, (answered) => {
            const result = routed(answered, run, by)
            span?.annotate({
              "gen_ai.provider.name": result.provider,
              "gen_ai.response.model": result.model,
              ...usageAttributes(result.usage),
              "ai_gateway.log_id": result.logId
            })
            return result.attempts.length === 1
              ? Effect.succeed(result)
              : Effect.as(logRecovery(run, answered.target, result.attempts), result)
          })
        })
      )

    return Router.of({ run, open: opening(core), gateway, execution: ownExecution, ...watching(state) })
  })

/**
 * A router with the default options: it executes on the gateway where nothing is lost, and on the client otherwise.
 *
 * @category layers
 */
export const layer: Layer.Layer<Router, never, GatewayService> = Layer.effect(
  Router,
  // Leaves out the code that checks options.
  /* @__PURE__ */ makeWith({ budget: defaultBudget, problems: [] })
)

/**
 * A router with your options. Call it once and reuse the layer: the router's knowledge of its targets lives as long as
 * the layer.
 *
 * @example
 * ```ts
 * import * as Layer from "effect/Layer"
 * import * as GatewayService from "effect-ai-gateway/GatewayService"
 * import * as Router from "effect-ai-gateway/Router"
 * import * as Transport from "effect-ai-gateway/Transport"
 *
 * export const Live = Layer.provideMerge(
 *   Router.layerWith({ execution: "client", budget: "none" }),
 *   GatewayService.layerConfig
 * ).pipe(Layer.provide(Transport.layerFetch))
 * ```
 *
 * @category layers
 */
export const layerWith = (options: Options): Layer.Layer<Router, never, GatewayService> =>
  Layer.effect(Router, make(options))

/**
 * Runs a route for one input.
 *
 * Fails with the last attempt's reason and all attempts when no target answers. Fails with `InvalidRequest`, before
 * anything is sent, when the route or the options are invalid. Interruption aborts the request in flight and never
 * falls back.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 * import * as LocalGateway from "effect-ai-gateway/local"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 * import * as Router from "effect-ai-gateway/Router"
 *
 * const ask = Route.fallback(
 *   Provider.openai.chat("gpt-4.1-mini"),
 *   Provider.anthropic.messages("claude-haiku-4-5")
 * )
 * const Live = Layer.provideMerge(Router.layer, LocalGateway.layer())
 * const answer = await Effect.runPromise(Router.run(ask, "Hello").pipe(Effect.provide(Live)))
 * console.log(answer.value.text, answer.attempts.length) // openai/gpt-4.1-mini: Hello 1
 * ```
 *
 * @category running
 */
export const run = <In, Out>(
  route: Route.Route<In, Out>,
  input: In,
  options?: RunOptions
): Effect.Effect<Routed<Out>, GatewayError, Router> =>
  Effect.flatMap(Router, (router) => router.run(route, input, options))

/**
 * Opens a streamed answer.
 *
 * Targets that fail before their first delta (text, reasoning, a tool call) are replaced silently, under the same rules
 * as in {@link run}; then the effect succeeds. Closing the scope releases the rest of the stream. Fails as `run` does,
 * and with `InvalidRequest`, before anything is sent, when a target that the input leads to cannot stream.
 *
 * `Route.firstTokenTimeout` counts from the start of an attempt. When the gateway executes the route, the gateway
 * enforces that limit until it has the headers of a leg; then the router enforces it, starting again from zero. An
 * attempt is recorded when its stream ends: as a success if its finish arrived, whatever the consumer did afterwards.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Router from "effect-ai-gateway/Router"
 *
 * export const answer = Effect.gen(function* () {
 *   const { deltas, summary } = yield* Router.open(Provider.openai.chat("gpt-4.1-mini"), "What is a fiber?")
 *   yield* Stream.runForEach(deltas, (delta) => Effect.log(delta.type))
 *   return yield* summary
 * }).pipe(Effect.scoped)
 * ```
 *
 * @category running
 */
export const open = /* @__PURE__ */ opens(
  <In, Out>(
    route: Route.Route<In, Out>,
    input: In,
    options?: RunOptions
  ): Effect.Effect<Streamed, GatewayError, Router | Scope.Scope> =>
    Effect.flatMap(Router, (router) => router.open(route, input, options))
)

/**
 * Streams a route's answer as deltas.
 *
 * Before the first delta, failing targets are replaced silently. After it, a failure is a `StreamInterrupted` with the
 * part that arrived, unless the route allows a restart (`Route.restart`). An error event inside a 200, a stream without
 * its finish event, an empty stream and a stall beyond `Route.idleTimeout` are failures, never a silent end. Pulls only
 * what is consumed; ending early or being interrupted aborts the request.
 *
 * @example
 * ```ts
 * import * as Stream from "effect/Stream"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 * import * as Router from "effect-ai-gateway/Router"
 *
 * const ask = Route.fallback(
 *   Provider.openai.chat("gpt-4.1-mini"),
 *   Provider.anthropic.messages("claude-haiku-4-5")
 * ).pipe(Route.firstTokenTimeout("3 seconds"), Route.idleTimeout("10 seconds"))
 *
 * export const words = Router.stream(ask, "What is a fiber?").pipe(
 *   Stream.filter((delta) => delta.type === "text"),
 *   Stream.map((delta) => delta.text)
 * )
 * ```
 *
 * @category running
 */
export const stream = <In, Out>(
  route: Route.Route<In, Out>,
  input: In,
  options?: RunOptions
): Stream.Stream<Delta, GatewayError, Router> =>
  Stream.unwrap(Effect.map(open(route, input, options), ({ deltas }) => deltas))

/**
 * Calls a function synchronously for each event while the scope is open. No event is lost, so the function must be
 * fast; an exception from it is logged and disturbs no run. Most programs want {@link events}.
 *
 * @category observing
 */
export const listen = /* @__PURE__ */ watches(
  (listener: (event: RouterEvent) => void): Effect.Effect<void, never, Router | Scope.Scope> =>
    Effect.flatMap(Router, (router) => router.listen(listener))
)

/**
 * Streams the router's decisions from now on: attempts, waits, hedges, breakers, skipped targets.
 *
 * A reader may be 1,024 events behind; then it loses the oldest events, and an `EventsLost` reports how many. The
 * stream does not end, and contains nothing from before its reader started: fork the reader with `startImmediately`
 * before the first run.
 *
 * @example
 * ```ts
 * import * as Console from "effect/Console"
 * import * as Stream from "effect/Stream"
 * import * as Router from "effect-ai-gateway/Router"
 * import * as RouterEvent from "effect-ai-gateway/RouterEvent"
 *
 * export const breakers = Router.events.pipe(
 *   Stream.filter((event) => event._tag === "BreakerChanged"),
 *   Stream.runForEach((event) => Console.log(RouterEvent.format(event)))
 * )
 * ```
 *
 * @category observing
 */
export const events: Stream.Stream<RouterEvent, never, Router> = /* @__PURE__ */ watches(
  /* @__PURE__ */ Stream.unwrap(/* @__PURE__ */ Effect.map(Router, eventStream))
)

/**
 * The state of every target that the router has met, as far as this router knows it.
 *
 * @category observing
 */
export const snapshot: Effect.Effect<ReadonlyArray<TargetState>, never, Router> = /* @__PURE__ */ watches(
  /* @__PURE__ */ Effect.flatMap(Router, (router) => router.snapshot)
)

/**
 * Looks up the costs of attempts in the gateway's logs, to compare them with `Routed.cost`.
 *
 * Makes one request for each attempt with a log id. A log can be late, and its cost later still: see `awaitLog`. Legs
 * that failed inside the gateway have their own logs and are not among the attempts. Fails as `GatewayService.getLog`
 * does, except for a missing log.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Router from "effect-ai-gateway/Router"
 *
 * export const compared = Effect.gen(function* () {
 *   const { attempts, cost } = yield* Router.run(Provider.openai.chat("gpt-4.1-mini"), "What is a fiber?")
 *   const logged = yield* Router.loggedCost(attempts, { awaitLog: true })
 *   return { estimated: cost?.usd, logged: logged.usd, missing: logged.missing }
 * })
 * ```
 *
 * @category observing
 */
export const loggedCost = (
  attempts: ReadonlyArray<Attempt>,
  options?: GetLogOptions
): Effect.Effect<LoggedCost, GatewayError, Router> =>
  Effect.flatMap(Router, ({ gateway }) =>
    loggedCostOf(attempts, (logId) => Effect.map(gateway.getLog(logId, options), ({ cost }) => cost))
  )
