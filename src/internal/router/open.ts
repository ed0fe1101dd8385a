/**
 * Opens a streamed answer: the code that `Router.open` and `Router.stream` add to a bundle.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import { type GatewayError, invalid } from "../../GatewayError.ts"
import { defined } from "../data/defined.ts"
import { monotonicMillis } from "../data/monotonic.ts"
import { fromPuller } from "../hotpath/pullStream.ts"
import { type OpenSpan, openSpan } from "../hotpath/span.ts"
import { type Target, targetsOf } from "../route/plan.ts"
import { attemptsOf, type SendLegs, traceRun } from "./attempt.ts"
import { executeClient } from "./client.ts"
import { executeGateway } from "./gateway.ts"
import { hold } from "./heldStream.ts"
import { type OpenStream, type Routing, setOpening } from "./opening.ts"
import { type RunOptions, settingsOf } from "./options.ts"
import { logRecovery, prepare, type RouterCore } from "./prepare.ts"
import { buildStream, type CommittedStream, method, ofStream, streamAttempt, unableToStream } from "./streamAttempt.ts"
import type { Streamed } from "./streamed.ts"
import { askStream, limitLegs } from "./streamLegs.ts"
import { traceStream } from "./streamSpan.ts"
import { runStream } from "./streamTail.ts"

/** Opens streams over a gateway. */
const openStream =
  (core: RouterCore): OpenStream =>
  <In, Out>(route: Routing<In, Out>, input: In, options?: RunOptions) => {
    const opening = (span: OpenSpan | undefined) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const unable = unableToStream(targetsOf(route.planned.plan, input))
          if (unable !== undefined) return yield* invalid(method, unable.field, unable.accepted)
          // A restart is part of this span too, wherever the stream is read.
          const send: SendLegs = span === undefined ? core.send : (...args) => span.within(core.send(...args))
          const begun = span && (yield* monotonicMillis)
          const held = hold(send)
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
          if (span !== undefined) traceRun(span, run, by)
          const executed: Effect.Effect<CommittedStream, GatewayError> =
            compiled === undefined
              ? executeClient(run, plan, {
                  attempt: (target: Target<In, Out>, asked) => streamAttempt(run, target, asked),
                  discard: ({ release }) => release,
                  build: buildStream
                })
              : executeGateway(compiled, askStream(run, compiled))
          const opened = yield* restore(executed).pipe(
            Effect.onError(() => held.release),
            Effect.mapError((error) => ofStream(error, run)),
            Effect.onError((cause) => Effect.sync(() => run.ended?.(Exit.failCause(cause))))
          )
          const untraced = runStream(run, opened, plan)
          const running = span === undefined ? untraced : traceStream(span, untraced)
          if (begun !== undefined) {
            const toFirst = ((yield* monotonicMillis) - begun) / 1000
            span?.annotate({ "gen_ai.request.stream": true, "gen_ai.response.time_to_first_chunk": toFirst })
          }
          yield* Effect.addFinalizer(() => running.close)
          yield* logRecovery(run, opened.target.key, attemptsOf(run))
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
    return Effect.withFiber((fiber) => {
      const span = openSpan(fiber, "Router.open", "internal")
      return span === undefined
        ? opening(span)
        : Effect.onError(span.within(opening(span)), (cause) => Effect.sync(() => span.end(Exit.failCause(cause))))
    })
  }

/** Marks a function that needs the code for streams: a bundle that holds the function also holds that code. */
export const opens = <F>(self: F): F => {
  setOpening(openStream)
  return self
}
