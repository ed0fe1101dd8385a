/**
 * A streamed answer from its commit point to its end: deltas, records, restarts, and a precise failure when it breaks.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { decide, GatewayError, invalid, StreamInterrupted } from "../../GatewayError.ts"
import { defined } from "../data/defined.ts"
import { monotonicMillis } from "../data/monotonic.ts"
import type { Usage } from "../dialect/chat.ts"
import type { Delta } from "../dialect/delta.ts"
import type { Puller } from "../hotpath/pullStream.ts"
import type { Plan, Target } from "../route/plan.ts"
import { attemptsOf } from "./attempt.ts"
import { executeClient } from "./client.ts"
import { logRecovery } from "./prepare.ts"
import { planAfter } from "./restart.ts"
import {
  buildStream,
  type CommittedStream,
  limitReads,
  method,
  ofStream,
  type StreamRun,
  streamAttempt,
  streamEnded
} from "./streamAttempt.ts"

/** The known facts of a stream so far; complete when it has ended. */
export interface StreamProgress {
  readonly opened: CommittedStream
  /** Number of deltas of the current answer that were delivered. */
  readonly deltas: number
  readonly text: string
  readonly usage: Usage | undefined
  readonly model: string | undefined
  /** Delivered output other than the text, if it has a price. */
  readonly others: string
  /** Whether its finish was among them. */
  readonly finished: boolean
  readonly restarts: number
}

/** A stream that has begun. */
export interface RunningStream {
  readonly progress: () => StreamProgress
  /** The deltas, for one consumer. */
  readonly deltas: () => Puller<Delta, GatewayError>
  /**
   * Releases everything, and records an attempt that had not ended: as a success if its finish has arrived, otherwise
   * as interrupted.
   */
  readonly close: Effect.Effect<void>
}

const begin = (opened: CommittedStream, restarts: number): StreamProgress => ({
  opened,
  deltas: 0,
  text: "",
  others: "",
  usage: undefined,
  model: undefined,
  finished: false,
  restarts
})

const interrupted = (
  error: GatewayError,
  { deltas, model, opened, text }: StreamProgress,
  eventId: string
): GatewayError => {
  const { reason } = error
  const { meta } = opened.response
  const { leaf } = opened.target
  return new GatewayError({
    method,
    reason:
      reason._tag === "StreamInterrupted"
        ? reason
        : new StreamInterrupted({
            events: deltas,
            partial: text,
            failure: reason._tag,
            ...defined({ status: reason.status, code: reason.code, detail: reason.detail })
          }),
    provider: meta.provider ?? leaf.provider,
    eventId: meta.eventId ?? eventId,
    ...defined({
      model: model ?? meta.model ?? leaf.model,
      logId: meta.logId,
      step: opened.step ?? meta.step
    })
  })
}

// The empty rest of a stream must not look like an answer.
const closed = (): GatewayError => invalid(method, "deltas", "one consumer, once, inside the scope of the stream")

/** Runs a stream from its commit point on. `whole` is the plan of the run, for restarts. */
export const runStream = <In, Out>(run: StreamRun<In>, first: CommittedStream, whole: Plan<In, Out>): RunningStream => {
  let progress = begin(first, 0)
  /** The plan that a restart may run. */
  let plan = whole
  let limiting = limitReads(first.target, run.eventId, first.deadline)
  let head: ReadonlyArray<Delta> | undefined = first.head
  /** The result of further reads after the end. */
  let over: Exit.Exit<undefined, GatewayError> | undefined

  const see = (batch: ReadonlyArray<Delta>): ReadonlyArray<Delta> => {
    let { finished, model, others, text, usage } = progress
    for (const delta of batch) {
      if (delta.type === "text") text += delta.text
      else if (delta.type === "usage") {
        usage = delta.usage
        progress.opened.told?.(usage)
      } else if (delta.type === "meta") model = delta.model ?? model
      else if (delta.type === "finish") finished = true
      else if (run.meter === undefined) continue
      else if (delta.type === "reasoning") others += delta.text
      else if (delta.type === "toolCall") others += (delta.name ?? "") + delta.arguments
    }
    progress = { ...progress, finished, text, others, usage, model, deltas: progress.deltas + batch.length }
    return batch
  }

  const end = (exit: Exit.Exit<unknown, GatewayError>): void => {
    const { model, opened, others, text, usage } = progress
    opened.running.end(exit, { ...streamEnded(opened, exit, model), delivered: text + others, ...defined({ usage }) })
  }

  const fail = (error: GatewayError): Effect.Effect<never, GatewayError> => {
    const failed = ofStream(error, run)
    over = Exit.fail(failed)
    run.ended?.(Exit.fail(failed))
    return Effect.fail(failed)
  }

  const restart = Effect.fnUntraced(function* (
    broken: GatewayError,
    error: GatewayError
  ): Effect.fn.Return<ReadonlyArray<Delta>, GatewayError> {
    const { opened, restarts } = progress
    const before = attemptsOf(run).length - 1
    const now = yield* monotonicMillis
    const failed = new Set<string>()
    for (const { outcome, target } of attemptsOf(run)) {
      if (outcome === "failure") failed.add(target)
      else failed.delete(target)
    }
    const left = planAfter(plan, opened.target, error, { ...run, failed }, now)
    run.superseded.clear()
    if (left === undefined) return yield* fail(broken)
    // If the gateway executed the route, no deadline of the plan has begun: the outer one was kept here.
    plan =
      opened.deadline === undefined || run.deadlines.size > 0
        ? left
        : { _tag: "Deadline", millis: Math.max(0, opened.deadline - now), plan: left }
    const again = yield* executeClient(
      run,
      plan,
      {
        // The gateway may have cached the answer of the broken target.
        attempt: (target: Target<In, Out>, asked) =>
          streamAttempt(run, target, target === opened.target ? { ...asked, skipsCache: true } : asked),
        discard: ({ release }) => release,
        build: buildStream
      },
      error
    ).pipe(
      // The consumer has not been asked to discard the delivered part, so the failure is still about that one.
      Effect.catch(() => fail(broken))
    )
    run.state.tell?.({ _tag: "Restarted", eventId: run.eventId, target: again.target.key })
    yield* logRecovery(run, again.target.key, attemptsOf(run).slice(before))
    progress = begin(again, restarts + 1)
    limiting = limitReads(again.target, run.eventId, again.deadline)
    head = again.head
    return [{ type: "restart" }]
  })

  const failed = (error: GatewayError): Effect.Effect<ReadonlyArray<Delta>, GatewayError> => {
    end(Exit.fail(error))
    const { opened, restarts } = progress
    const broken = interrupted(error, progress, run.eventId)
    const { again, next } = decide(error.reason)
    return restarts < opened.target.restarts && (again || next) ? restart(broken, error) : fail(broken)
  }

  const next: Puller<Delta, GatewayError>["next"] = Effect.suspend(() => {
    if (over !== undefined) return over
    if (head !== undefined) {
      const batch = see(head)
      head = undefined
      return Effect.succeed(batch)
    }
    const { pump } = progress.opened
    return Effect.matchCauseEffect(pump === undefined ? Effect.succeed(undefined) : pump.next(limiting), {
      onSuccess: (batch): Effect.Effect<ReadonlyArray<Delta> | undefined, GatewayError> => {
        if (batch !== undefined) return Effect.succeed(see(batch))
        end(Exit.void)
        over = Exit.succeed(undefined)
        run.ended?.(Exit.succeed({ target: progress.opened.target.key }))
        return over
      },
      onFailure: (cause) => {
        const error = Option.getOrUndefined(Cause.findErrorOption(cause))
        if (error !== undefined) return failed(error)
        // A caller's decoder that throws. An interruption is recorded when the stream is closed.
        if (!Cause.hasInterruptsOnly(cause)) end(Exit.failCause(cause))
        return Effect.failCause(cause)
      }
    })
  })

  const close = Effect.suspend(() => {
    // Read to its end: nothing is open, and an abort would only create an error with its stack.
    if (over !== undefined && Exit.isSuccess(over)) return Effect.void
    over ??= Exit.fail(closed())
    const { pump, response, target } = progress.opened
    const isWhole = progress.finished || pump?.isFinished() === true
    end(isWhole ? Exit.void : Exit.interrupt())
    run.ended?.(isWhole ? Exit.succeed({ target: target.key }) : Exit.interrupt())
    const { cancel } = pump ?? response
    // After an interrupted restart a different answer is open.
    return Effect.andThen(cancel, run.held.release)
  })

  let taken = false
  return {
    progress: () => progress,
    deltas: () => {
      if (taken) return { next: Effect.fail(closed()), cancel: Effect.void }
      taken = true
      return { next, cancel: close }
    },
    close
  }
}
