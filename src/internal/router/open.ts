/**
 * Opens a streamed answer: the code that a program has in its bundle when it uses `Router.open` or `Router.stream`.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import { type GatewayError, invalid } from "../../GatewayError.ts"
import { defined } from "../data/defined.ts"
import { fromPuller } from "../hotpath/pullStream.ts"
import { type Annotate, withSpan } from "../hotpath/span.ts"
import { type Target, targetsOf } from "../route/plan.ts"
import { attemptsOf } from "./attempt.ts"
import { executeClient } from "./client.ts"
import { executeGateway } from "./gateway.ts"
import { hold } from "./heldStream.ts"
import { type OpenStream, type Routing, setOpening } from "./opening.ts"
import { type RunOptions, settingsOf } from "./options.ts"
import { logRecovery, prepare, type RouterCore } from "./prepare.ts"
import { buildStream, type CommittedStream, method, ofStream, streamAttempt, unableToStream } from "./streamAttempt.ts"
import type { Streamed } from "./streamed.ts"
import { askStream, limitLegs } from "./streamLegs.ts"
import { runStream } from "./streamTail.ts"

/** Opens streams over a gateway. */
const openStream =
  (core: RouterCore): OpenStream =>
  <In, Out>(route: Routing<In, Out>, input: In, options?: RunOptions) => {
    const opening = (annotate: Annotate | undefined) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const unable = unableToStream(targetsOf(route.planned.plan, input))
          if (unable !== undefined) return yield* invalid(method, unable.field, unable.accepted)
          const held = hold(core.send)
          const settings = settingsOf(core.own, options)
          const prepared = yield* Effect.mapError(prepare(core, route, input, settings, buildStream), (error) =>
            ofStream(error)
          )
          const { plan } = prepared
          const limited = limitLegs(prepared.compiled, settings)
          if (Result.isFailure(limited)) return yield* invalid(method, limited.failure.field, limited.failure.accepted)
          const compiled = limited.success
          const by = compiled === undefined ? "client" : "gateway"
          const run = {
            ...prepared.run,
            mode: "stream" as const,
            ended: core.state.beginRun?.({ eventId: prepared.run.eventId, mode: "stream" }, by),
            held,
            deadlines: new Map(),
            superseded: new Set<Target<never, unknown>>(),
            orders: new Map()
          }
          const executed: Effect.Effect<CommittedStream, GatewayError> =
            compiled === undefined
              ? executeClient(run, plan, {
                  attempt: (target: Target<In, Out>, asked) => streamAttempt(run, target, asked),
                  discard: ({ release }) => release
                })
              : executeGateway(run, { ...compiled, deadline: undefined }, askStream(run, compiled))
          const opened = yield* restore(executed).pipe(
            Effect.onError(() => held.release),
            Effect.mapError((error) => ofStream(error, run)),
            Effect.onError((cause) => Effect.sync(() => run.ended?.(Exit.failCause(cause))))
          )
          const running = runStream(run, opened, plan)
          yield* Effect.addFinalizer(() => running.close)
          yield* logRecovery(run, opened.target.key, attemptsOf(run))
          annotate?.({
            "ai_gateway.execution": by,
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
            execution: by,
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
                attempts: attemptsOf(run),
                skipped: [...run.skipped],
                ...defined({
                  model: model ?? opened.response.meta.model ?? opened.target.leaf.model,
                  logId: opened.response.meta.logId,
                  usage,
                  cost: run.meter?.total()
                })
              }
            })
          }
          return streamed
        })
      )
    return withSpan("Router.open", opening)
  }

/** Marks a function that needs the code for streams: a program that has it in its bundle has that code too. */
export const opens = <F>(self: F): F => {
  setOpening(openStream)
  return self
}
