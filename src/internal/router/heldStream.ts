/**
 * The attempts that a streamed run has open, so that stopping the run closes all of them.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { GatewayError } from "../../GatewayError.ts"
import type { GatewayResponse } from "../../GatewayResponse.ts"
import * as LogTrail from "../../LogTrail.ts"
import type { SendLegs, Slot } from "./attempt.ts"

/** An attempt from the moment on at which it exists. */
export interface OpenAttempt {
  /** `Run.send`, whose answer belongs to this attempt. */
  readonly send: SendLegs
  readonly running: LogTrail.Running
  /** Lets go of its answer; if it has not ended it is recorded as interrupted. */
  readonly release: Effect.Effect<void>
}

/** The attempts that a run has open. */
export interface HeldStream {
  /**
   * Takes a slot and begins its attempt, in one step, so that an interruption finds either nothing or all of it. Fails
   * where no slot is given, before anything is sent.
   */
  readonly open: <S extends Pick<Slot, "fill">>(
    take: (fiber: Fiber.Fiber<unknown, unknown>) => S | GatewayError,
    startedOf: (slot: S) => LogTrail.Started
  ) => Effect.Effect<OpenAttempt & { readonly slot: S }, GatewayError>
  /** Lets go of everything. */
  readonly release: Effect.Effect<void>
}

/** Keeps hold of what attempts open. */
export const hold = (send: SendLegs): HeldStream => {
  const open = new Set<OpenAttempt>()
  return {
    open: (take, startedOf) =>
      Effect.withFiber((fiber) => {
        const slot = take(fiber)
        if (slot instanceof GatewayError) return Effect.fail(slot)
        const running = LogTrail.beginUnsafe(fiber, startedOf(slot), slot.fill)
        let response: GatewayResponse | undefined
        const attempt: OpenAttempt = {
          send: (request, options) =>
            Effect.map(send(request, options), (answered) => {
              response = answered
              return answered
            }),
          running,
          release: Effect.suspend(() => {
            open.delete(attempt)
            running.end(Exit.interrupt(), {})
            return response?.cancel ?? Effect.void
          })
        }
        open.add(attempt)
        return Effect.succeed({ ...attempt, slot })
      }),
    release: Effect.suspend(() => Effect.forEach([...open], ({ release }) => release, { discard: true }))
  }
}
