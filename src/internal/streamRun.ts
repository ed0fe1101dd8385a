/**
 * A streamed answer from its commit point to its end: deltas, records, restarts, and an honest failure when it breaks.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { decide, GatewayError, StreamInterrupted } from "../GatewayError.ts"
import { method, type Run } from "./attempt.ts"
import { defined } from "./defined.ts"
import type { Delta } from "./deltas/delta.ts"
import type { Usage } from "./dialects/dialect.ts"
import { executeClient } from "./executeClient.ts"
import type { Plan, Target } from "./plan.ts"
import { logRecovery, withAttempts } from "./prepare.ts"
import { nextBatch, type Opened, streamAttempt, streamEnded } from "./streamAttempt.ts"

/** What is known of a stream so far; complete when it has ended. */
export interface Progress {
  readonly opened: Opened
  /** Deltas that were delivered, of the present answer. */
  readonly deltas: number
  readonly text: string
  readonly usage: Usage | undefined
  readonly model: string | undefined
  readonly restarts: number
}

/** A stream that has begun. */
export interface Running {
  readonly progress: () => Progress
  /** The next deltas, or `undefined` at the end. */
  readonly next: Effect.Effect<ReadonlyArray<Delta> | undefined, GatewayError>
  /** Lets go of everything; records an attempt that had not ended as interrupted. */
  readonly close: Effect.Effect<void>
}

/** The targets after the one that broke, or that one again when it was the last. */
const rest = <In, Out>(targets: ReadonlyArray<Target<In, Out>>, broken: string): ReadonlyArray<Target<In, Out>> => {
  const index = targets.findIndex(({ key }) => key === broken)
  return index >= 0 && index + 1 < targets.length ? targets.slice(index + 1) : targets.slice(index, index + 1)
}

const interrupted = (error: GatewayError, { deltas, text }: Progress): GatewayError => {
  const { reason } = error
  if (reason._tag === "StreamInterrupted") return error
  return new GatewayError({
    method,
    reason: new StreamInterrupted({
      events: deltas,
      partial: text,
      failure: reason._tag,
      ...defined({ status: reason.status, code: reason.code, detail: reason.detail })
    }),
    ...defined({
      provider: error.provider,
      model: error.model,
      logId: error.logId,
      eventId: error.eventId,
      step: error.step
    })
  })
}

/** Runs a stream from its commit point. `targets` are those of the run, in order, for restarts. */
export const runStream = <In, Out>(run: Run<In>, first: Opened, targets: ReadonlyArray<Target<In, Out>>): Running => {
  let progress: Progress = { opened: first, deltas: 0, text: "", usage: undefined, model: undefined, restarts: 0 }
  let head: ReadonlyArray<Delta> | undefined = first.head
  let over = false

  const see = (batch: ReadonlyArray<Delta>): ReadonlyArray<Delta> => {
    let { model, text, usage } = progress
    for (const delta of batch) {
      if (delta.type === "text") text += delta.text
      else if (delta.type === "usage") usage = delta.usage
      else if (delta.type === "meta") model = delta.model ?? model
    }
    progress = { ...progress, text, usage, model, deltas: progress.deltas + batch.length }
    return batch
  }

  const end = (exit: Exit.Exit<unknown, GatewayError>): void => {
    over = true
    const { model, opened, usage } = progress
    opened.running.end(exit, streamEnded(opened, exit, { model, usage }))
  }

  const restart = (broken: GatewayError): Effect.Effect<ReadonlyArray<Delta>, GatewayError> =>
    Effect.gen(function* () {
      const { opened, restarts } = progress
      const now = yield* Clock.currentTimeMillis
      const fallback: Plan<In, Out> = { _tag: "Fallback", on: undefined, plans: rest(targets, opened.target.key) }
      const plan: Plan<In, Out> =
        opened.deadline === undefined
          ? fallback
          : { _tag: "Deadline", millis: Math.max(1, opened.deadline - now), plan: fallback }
      const again = yield* Effect.mapError(
        executeClient(run, plan, (target: Target<In, Out>, remaining) => streamAttempt(run, target, remaining)),
        (error) => withAttempts(error, run.attempts)
      )
      yield* logRecovery(again.target.key, run.attempts.slice(-1))
      progress = { opened: again, deltas: 0, text: "", usage: undefined, model: undefined, restarts: restarts + 1 }
      over = false
      head = again.head
      return [{ type: "restart" } as const]
    }).pipe(Effect.mapError((error) => (error.attempts === undefined ? broken : error)))

  const failed = (error: GatewayError): Effect.Effect<ReadonlyArray<Delta>, GatewayError> => {
    end(Exit.fail(error))
    const { opened, restarts } = progress
    const broken = withAttempts(interrupted(error, progress), run.attempts)
    const { again, next } = decide(error.reason)
    return restarts < opened.target.restarts && (again || next) ? restart(broken) : Effect.fail(broken)
  }

  const next: Running["next"] = Effect.suspend(() => {
    if (over) return Effect.succeed(undefined)
    if (head !== undefined) {
      const batch = see(head)
      head = undefined
      return Effect.succeed(batch)
    }
    return Effect.matchEffect(nextBatch(progress.opened, run.eventId), {
      onSuccess: (batch): Effect.Effect<ReadonlyArray<Delta> | undefined, GatewayError> => {
        if (batch !== undefined) return Effect.succeed(see(batch))
        end(Exit.void)
        return Effect.succeed(undefined)
      },
      onFailure: failed
    })
  })

  return {
    progress: () => progress,
    next,
    close: Effect.suspend(() => {
      const { pump } = progress.opened
      if (over) return pump?.cancel ?? Effect.void
      end(Exit.interrupt())
      return pump?.cancel ?? progress.opened.response.cancel
    })
  }
}
