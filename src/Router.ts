/**
 * The service that runs routes.
 *
 * A run ends with one target's decoded answer, or with the last attempt's failure; both carry every attempt. There is one owner of retries: on
 * the client the gateway is asked for a single attempt each time, and in the gateway (`execution: "gateway"`) the client makes none of its own.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type Attempt, type GatewayError, invalid } from "./GatewayError.ts"
import type { GatewayResponse } from "./GatewayResponse.ts"
import { GatewayService } from "./GatewayService.ts"
import { defined, type Mutable } from "./internal/data/defined.ts"
import type { Usage } from "./internal/dialect/chat.ts"
import type { Delta } from "./internal/dialect/delta.ts"
import { fromPuller } from "./internal/hotpath/pullStream.ts"
import { type Annotate, withSpan } from "./internal/hotpath/span.ts"
import { type Target, targetsOf } from "./internal/route/plan.ts"
import { type Answered, attempt, type Run } from "./internal/router/attempt.ts"
import { executeClient } from "./internal/router/client.ts"
import { askWhole, executeGateway } from "./internal/router/gateway.ts"
import type { Execution, RunOptions } from "./internal/router/options.ts"
import { logRecovery, prepare, runFailure } from "./internal/router/prepare.ts"
import {
  askStream,
  buildStream,
  type CommittedStream,
  hold,
  limitLegs,
  method,
  ofStream,
  streamAttempt,
  unableToStream
} from "./internal/router/streamAttempt.ts"
import { runStream } from "./internal/router/streamTail.ts"
import type * as Route from "./Route.ts"

export type { Execution, RunOptions } from "./internal/router/options.ts"

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

const routed = <Out>(
  { model, provider, response, step, target, usage, value }: Answered<Out>,
  { attempts, eventId }: Run<unknown>,
  execution: "client" | "gateway"
): Routed<Out> => {
  const { cacheStatus, logId } = response.meta
  const out: Mutable<Routed<Out>> = { value, target, provider, eventId, execution, attempts }
  if (model !== undefined) out.model = model
  if (usage !== undefined) out.usage = usage
  if (logId !== undefined) out.logId = logId
  if (cacheStatus !== undefined) out.cacheStatus = cacheStatus
  if (step !== undefined) out.step = step
  return out
}

/** Makes a router over the gateway of the environment. */
export const make = (options: { readonly execution?: Execution | undefined } = {}) =>
  Effect.map(GatewayService, (gateway) => {
    const ownExecution = options.execution ?? "auto"

    const run = <In, Out>(
      route: Route.Route<In, Out>,
      input: In,
      runOptions: RunOptions = {}
    ): Effect.Effect<Routed<Out>, GatewayError> =>
      withSpan("Router.run", (annotate) =>
        Effect.flatMap(
          prepare(gateway.run, route, input, { ...runOptions, execution: runOptions.execution ?? ownExecution }),
          ({ compiled, plan, run }) => {
            const by = compiled === undefined ? "client" : "gateway"
            annotate?.({ "ai_gateway.execution": by, "ai_gateway.event_id": run.eventId })
            const executed: Effect.Effect<Answered<Out>, GatewayError> = compiled === undefined
              ? executeClient(run, plan, (target: Target<In, Out>, remaining) => attempt(run, target, remaining))
              : executeGateway(run, compiled, askWhole(run, compiled))
            const failing = Effect.mapError(executed, (error) => runFailure(error, run.attempts))
            return Effect.flatMap(failing, (answered) => {
              const result = routed(answered, run, by)
              annotate?.({
                "gen_ai.provider.name": result.provider,
                "gen_ai.response.model": result.model,
                "gen_ai.usage.input_tokens": result.usage?.inputTokens,
                "gen_ai.usage.output_tokens": result.usage?.outputTokens,
                "ai_gateway.attempts": result.attempts.length,
                "ai_gateway.log_id": result.logId
              })
              return run.attempts.length === 1
                ? Effect.succeed(result)
                : Effect.as(logRecovery(run, answered.target, run.attempts.slice(0, -1)), result)
            })
          }
        )
      )

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

/** A streamed answer that has begun: its first delta has arrived, and which target it comes from is settled. */
export interface Streamed {
  /**
   * The deltas, from the first one on. Ends only after the answer's finish; breaks with `StreamInterrupted`. Ending early or being
   * interrupted aborts the request. To be consumed once, inside the scope: any other consumer gets an `InvalidRequest`, and not an
   * empty stream.
   */
  readonly deltas: Stream.Stream<Delta, GatewayError>
  /** Key of the target that answers; after a `restart` delta another one. */
  readonly target: () => string
  readonly provider: () => string
  readonly logId: () => string | undefined
  readonly eventId: string
  readonly execution: "client" | "gateway"
  /** The response behind the deltas; for its headers, as the deltas take its body. */
  readonly response: GatewayResponse
  /** What is known by now; when the deltas have ended, or were left early, all of it. */
  readonly summary: Effect.Effect<StreamSummary>
}

/** What a stream came to. */
export interface StreamSummary {
  readonly target: string
  readonly provider: string
  readonly model?: string
  readonly logId?: string
  readonly eventId: string
  readonly usage?: Usage
  /** Deltas and text of the present answer that were delivered. */
  readonly deltas: number
  readonly text: string
  readonly restarts: number
  readonly attempts: ReadonlyArray<Attempt>
}

/**
 * Opens a streamed answer. Targets that fail before their first delta (text, reasoning, a tool call) are replaced unseen, under the same
 * rules as in {@link run}; then the effect succeeds. The scope ends what is left of the stream. Fails as `run` does, and with `InvalidRequest`
 * before anything is sent when a target that the input leads to cannot stream.
 *
 * `Route.firstTokenTimeout` counts from the start of an attempt. When the gateway executes the route, it keeps that limit until it has the
 * headers of a leg, and from there on it is kept here, anew. An attempt is recorded when its stream has ended: as a success if its
 * finish was delivered, whatever became of the consumer after it.
 */
export const open = <In, Out>(
  route: Route.Route<In, Out>,
  input: In,
  options: RunOptions = {}
): Effect.Effect<Streamed, GatewayError, Router | Scope.Scope> =>
  Effect.flatMap(Router, ({ execution, gateway }) => {
    const opening = (annotate: Annotate | undefined) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const unable = unableToStream(targetsOf(route.planned.plan, input))
          if (unable !== undefined) return yield* invalid(method, unable.field, unable.accepted)
          const held = hold(gateway.run)
          const settings = { ...options, execution: options.execution ?? execution }
          const prepared = yield* Effect.mapError(prepare(held.send, route, input, settings, buildStream), (error) =>
            ofStream(error)
          )
          const { plan } = prepared
          const limited = limitLegs(prepared.compiled, settings)
          if (Result.isFailure(limited)) return yield* invalid(method, limited.failure.field, limited.failure.accepted)
          const compiled = limited.success
          const run = { ...prepared.run, held, deadlines: new Map() }
          const executed: Effect.Effect<CommittedStream, GatewayError> =
            compiled === undefined
              ? executeClient(run, plan, (target: Target<In, Out>, remaining) => streamAttempt(run, target, remaining))
              : executeGateway(run, { ...compiled, deadline: undefined }, askStream(run, compiled))
          const opened = yield* restore(executed).pipe(
            Effect.onError(() => held.release),
            Effect.mapError((error) => ofStream(error, [...run.attempts]))
          )
          const running = runStream(run, opened, plan)
          yield* Effect.addFinalizer(() => running.close)
          yield* logRecovery(run, opened.target.key, run.attempts)
          annotate?.({
            "ai_gateway.execution": compiled === undefined ? "client" : "gateway",
            "ai_gateway.event_id": run.eventId,
            "ai_gateway.log_id": opened.response.meta.logId,
            "gen_ai.provider.name": opened.response.meta.provider ?? opened.target.leaf.provider
          })
          const current = () => running.progress().opened
          const streamed: Streamed = {
            deltas: fromPuller(running.deltas),
            target: () => current().target.key,
            provider: () => current().response.meta.provider ?? current().target.leaf.provider,
            logId: () => current().response.meta.logId,
            eventId: run.eventId,
            execution: compiled === undefined ? "client" : "gateway",
            response: opened.response,
            summary: Effect.sync(() => {
              const { deltas, model, opened, restarts, text, usage } = running.progress()
              return {
                target: opened.target.key,
                provider: opened.response.meta.provider ?? opened.target.leaf.provider,
                eventId: run.eventId,
                deltas,
                text,
                restarts,
                attempts: [...run.attempts],
                ...defined({
                  model: model ?? opened.response.meta.model ?? opened.target.leaf.model,
                  logId: opened.response.meta.logId,
                  usage
                })
              }
            })
          }
          return streamed
        })
      )
    return withSpan("Router.open", opening)
  })

/**
 * Streams a route's answer as deltas. Until the first delta a failing target is replaced without the consumer noticing; after it a failure is a
 * `StreamInterrupted` with what had arrived, unless the route allows a restart (`Route.restart`). An error event inside a 200, a stream without
 * its finish event, an empty stream and a stall beyond `Route.idleTimeout` are failures, never a silent end. Pulls only what is consumed;
 * ending early or being interrupted aborts the request.
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
 */
export const stream = <In, Out>(
  route: Route.Route<In, Out>,
  input: In,
  options?: RunOptions
): Stream.Stream<Delta, GatewayError, Router> =>
  Stream.unwrap(Effect.map(open(route, input, options), ({ deltas }) => deltas))
