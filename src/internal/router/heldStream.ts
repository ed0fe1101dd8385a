/**
 * The open attempts of a streamed run, so that stopping the run closes all of them.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { GatewayError } from "../../GatewayError.ts"
import type { GatewayResponse } from "../../GatewayResponse.ts"
import * as LogTrail from "../../LogTrail.ts"
import type { SendLegs, Slot } from "./attempt.ts"

/** An attempt, from its start on. */
export interface OpenAttempt {
  /** `Run.send`, whose answer belongs to this attempt. */
  readonly send: SendLegs
  readonly running: LogTrail.Running
  /** Releases its answer; an attempt that has not ended is recorded as interrupted. */
  readonly release: Effect.Effect<void>
}

/** The open attempts of a run. */
export interface HeldStream {
  /**
   * Takes a slot and begins its attempt in one step, so that an interruption finds either nothing or all of it. Fails
   * if there is no slot, before anything is sent.
   */
  readonly open: <S extends Pick<Slot, "fill">>(
    take: (fiber: Fiber.Fiber<unknown, unknown>) => S | GatewayError,
    startedOf: (slot: S) => LogTrail.Started
  ) => Effect.Effect<OpenAttempt & { readonly slot: S }, GatewayError>
  /** Releases everything. */
  readonly release: Effect.Effect<void>
}

/** Keeps track of open attempts. */
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
