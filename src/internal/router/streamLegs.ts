/**
 * A streamed answer of a route that the gateway executes.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import { GatewayError, Timeout } from "../../GatewayError.ts"
import type * as GatewayOptions from "../../GatewayOptions.ts"
import { monotonicMillis } from "../data/monotonic.ts"
import { timeoutOrElse } from "../hotpath/timeoutOrElse.ts"
import type { LossKind } from "../route/compile.ts"
import { attemptsOf, type Target } from "../route/plan.ts"
import { type Asking, askLegs, atLeg, type Compiled, failedLeg, legStarted, takeLegSlot } from "./gateway.ts"
import type { Execution } from "./options.ts"
import {
  type Answering,
  type CommittedStream,
  commit,
  limited,
  method,
  type StreamRun,
  streamEnded
} from "./streamAttempt.ts"

/**
 * Targets whose first-token timeout the gateway would not keep, because it waits for the last attempt without a limit.
 */
const unlimitedTargets = (targets: ReadonlyArray<Target<never, unknown>>): ReadonlyArray<string> =>
  targets.flatMap(({ firstTokenTimeout, key, retry, timeout }) =>
    firstTokenTimeout !== undefined && timeout === undefined && attemptsOf(retry) > 1 ? [key] : []
  )

/**
 * Compiles legs for a stream: the gateway must not wait longer for a first byte than a target may take for its first
 * token. A limit that cannot be kept is a loss like those of `Route.compile`: unless it is allowed, `auto` runs on the
 * client and `gateway` is rejected.
 */
export const limitLegs = <In, Out>(
  compiled: Compiled<In, Out> | undefined,
  { allow, execution }: { readonly allow?: ReadonlyArray<LossKind> | undefined; readonly execution: Execution }
): Result.Result<Compiled<In, Out> | undefined, GatewayOptions.Problem> => {
  if (compiled === undefined) return Result.succeed(undefined)
  const lost = allow?.includes("lastAttemptTimeout") === true ? [] : unlimitedTargets(compiled.targets)
  if (lost.length > 0) {
    const detail = `lastAttemptTimeout (${lost.join(", ")}): the gateway's last attempt ignores the first-token timeout`
    return execution === "auto"
      ? Result.succeed(undefined)
      : Result.fail({
          field: "execution",
          accepted: `"client", or a route that the gateway can execute without loss; lost would be ${detail}`
        })
  }
  const legs = compiled.legs.map((leg, index) => {
    const limit = compiled.targets[index]?.firstTokenTimeout
    if (limit === undefined) return leg
    const requestTimeout = Math.min(limit, leg.config?.requestTimeout ?? limit)
    return { ...leg, config: { ...leg.config, requestTimeout } }
  })
  return Result.succeed({ ...compiled, legs })
}

// The leg that failed is unknown, so the run does not continue with another one.
const expired = (eventId: string): GatewayError =>
  new GatewayError({ method, reason: new Timeout({ phase: "deadline" }), eventId })

/**
 * Requests the streamed answer of the legs from `offset` on. Keeps the deadline itself, so that the record reports it.
 */
export const askStream = <In, Out>(run: StreamRun<In>, compiled: Compiled<In, Out>): Asking<CommittedStream> => {
  let deadline: number | undefined
  return (offset) =>
    Effect.gen(function* () {
      const { eventId } = run
      // End of the complete run, for all of its requests.
      deadline ??= compiled.deadline === undefined ? undefined : (yield* monotonicMillis) + compiled.deadline
      const { release, running, send, slot } = yield* run.held.open(
        (fiber) => takeLegSlot(run, compiled, offset, fiber),
        ({ number }) => legStarted(run, compiled, offset, number)
      )
      let answering: Answering | undefined
      const opening = Effect.flatMap(askLegs({ ...run, send }, compiled, offset), ({ response, step, target }) => {
        const leg = compiled.legs[step]
        const answer = { target, response, endpoint: leg?.endpoint ?? "", step }
        answering = answer
        // The start of this leg is unknown here, so its time counts from the headers on; until then the gateway keeps
        // it.
        const committed = limited(
          commit(target, response, leg?.query, eventId),
          target.firstTokenTimeout,
          "firstToken",
          target,
          eventId
        )
        return Effect.mapBoth(
          Effect.onError(committed, () => response.cancel),
          {
            onSuccess: (committed): CommittedStream => {
              slot.output(step)
              return { ...committed, ...answer, running, release, deadline }
            },
            onFailure: (error) => atLeg(error, target, step - offset)
          }
        )
      })
      const left = deadline === undefined ? undefined : deadline - (yield* monotonicMillis)
      return yield* Effect.onError(
        timeoutOrElse(opening, left, () => expired(eventId)),
        (cause) =>
          Effect.suspend(() => {
            const exit = Exit.failCause(cause)
            running.end(exit, { ...streamEnded(answering, exit), ...failedLeg(exit, compiled, offset) })
            return release
          })
      )
    })
}
