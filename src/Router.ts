/**
 * The service that runs routes.
 *
 * A run ends with one target's decoded answer, or with the last attempt's failure; both carry every attempt. There is one owner of retries: on
 * the client the gateway is asked for a single attempt each time, and in the gateway (`execution: "gateway"`) the client makes none of its own.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type { Usage } from "./internal/dialects/dialect.ts"
import { type Attempt, GatewayError, InvalidRequest, invalid } from "./GatewayError.ts"
import * as GatewayOptions from "./GatewayOptions.ts"
import { GatewayService } from "./GatewayService.ts"
import { type Answered, method, type Run } from "./internal/attempt.ts"
import { toUniversal } from "./internal/compile.ts"
import { defined } from "./internal/defined.ts"
import { executeClient } from "./internal/executeClient.ts"
import { executeGateway } from "./internal/executeGateway.ts"
import * as Route from "./Route.ts"

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
  /** Gateway options of this run, for example `metadata` or an `eventId`; where the route speaks too, the route wins. */
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
  }
>()("effect-ai-gateway/Router") {}

/** A random id in the form of a UUID, from Effect's `Random`, so that tests can fix it. */
const makeEventId: Effect.Effect<string> = Effect.withFiber((fiber) => {
  const random = fiber.getRef(Random.Random)
  const hex = (): string =>
    Math.floor(random.nextDoubleUnsafe() * 0x1_0000_0000)
      .toString(16)
      .padStart(8, "0")
  const text = hex() + hex() + hex() + hex()
  const variant = "89ab".charAt(Math.floor(random.nextDoubleUnsafe() * 4))
  return Effect.succeed(
    `${text.slice(0, 8)}-${text.slice(8, 12)}-4${text.slice(13, 16)}-${variant}${text.slice(17, 20)}-${text.slice(20)}`
  )
})

const lossText = (losses: ReadonlyArray<Route.Loss>): string =>
  losses.map(({ detail, kind, target }) => `${kind}${target === undefined ? "" : ` (${target})`}: ${detail}`).join("; ")

const refused = (losses: ReadonlyArray<Route.Loss>): GatewayError =>
  new GatewayError({
    method,
    reason: new InvalidRequest({
      origin: "client",
      field: "execution",
      accepted: `"client", or a route that the gateway can execute without loss; lost would be ${lossText(losses)}`
    })
  })

const routed = <Out>(
  answered: Answered<Out>,
  run: Run<unknown>,
  execution: "client" | "gateway"
): Routed<Out> => ({
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

const withAttempts = (error: GatewayError, attempts: ReadonlyArray<Attempt>): GatewayError => {
  const { eventId, logId, model, provider, reason, step } = error
  return new GatewayError({ method, reason, attempts, ...defined({ eventId, logId, model, provider, step }) })
}

/** A failure that was overcome is worth one line, and no more than names. */
const logRecovery = (answered: Answered<unknown>, attempts: ReadonlyArray<Attempt>): Effect.Effect<void> =>
  attempts.length < 2
    ? Effect.void
    : Effect.logWarning(`answered by ${answered.target} after ${attempts.length - 1} failed attempts`, {
        failed: attempts.slice(0, -1).map(({ error, target }) => `${target}: ${error?.message ?? "interrupted"}`)
      })

/** Makes a router over the gateway of the environment. */
export const make = (options: { readonly execution?: Execution | undefined } = {}) =>
  Effect.gen(function* () {
    const gateway = yield* GatewayService
    const ownExecution = options.execution ?? "auto"

    const run = Effect.fn("Router.run")(function* <In, Out>(
      route: Route.Route<In, Out>,
      input: In,
      runOptions: RunOptions = {}
    ) {
      const [problem] = [...Route.problems(route), ...GatewayOptions.problems(runOptions.options ?? {})]
      if (problem !== undefined) return yield* invalid(method, problem.field, problem.accepted)
      const { plan, targets } = route.planned
      const own = GatewayOptions.normalize(runOptions.options ?? {})
      const eventId = own.eventId ?? targets[0]?.options.eventId ?? (yield* makeEventId)
      const state: Run<In> = { send: gateway.run, input, eventId, options: own, attempts: [] }
      const execution = runOptions.execution ?? ownExecution
      const allow = execution === "gateway" ? (runOptions.allow ?? []) : []
      const compiled =
        execution === "client" || (execution === "auto" && isPlain(route))
          ? undefined
          : toUniversal(route.planned, input, allow)
      if (execution === "gateway" && compiled !== undefined && Result.isFailure(compiled)) {
        return yield* refused(compiled.failure)
      }
      const viaGateway = compiled !== undefined && Result.isSuccess(compiled) ? compiled.success : undefined
      const executed: Effect.Effect<Answered<Out>, GatewayError> =
        viaGateway === undefined
          ? executeClient(state, plan)
          : executeGateway(state, {
              legs: viaGateway.compiled.legs,
              targets: viaGateway.targets,
              deadline: plan._tag === "Deadline" ? plan.millis : undefined
            })
      yield* Effect.annotateCurrentSpan({
        "ai_gateway.execution": viaGateway === undefined ? "client" : "gateway",
        "ai_gateway.event_id": eventId
      })
      const answered = yield* Effect.mapError(executed, (error) => withAttempts(error, state.attempts))
      yield* logRecovery(answered, state.attempts)
      const result = routed(answered, state, viaGateway === undefined ? "client" : "gateway")
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

    return Router.of({ run })
  })

/** One target that is asked once: the same request either way, so nothing needs compiling. */
const isPlain = (route: Route.Route<never, unknown>): boolean => {
  const { plan } = route.planned
  return plan._tag === "Target" && plan.retry === undefined
}

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
