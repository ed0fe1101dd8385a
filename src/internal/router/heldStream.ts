/**
 * What a streamed run has open, so that whoever stops it can let go of all of it.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { GatewayResponse } from "../../GatewayResponse.ts"
import * as LogTrail from "../../LogTrail.ts"
import type { SendLegs } from "./attempt.ts"

/** An attempt from the moment on at which it exists. */
export interface OpenAttempt {
  /** `Run.send`, whose answer belongs to this attempt. */
  readonly send: SendLegs
  readonly running: LogTrail.Running
  /** Lets go of its answer; if it has not ended it is recorded as interrupted. */
  readonly release: Effect.Effect<void>
}

/** What a run has open. */
export interface HeldStream {
  readonly open: (started: LogTrail.Started, fill: LogTrail.OnAttempt) => Effect.Effect<OpenAttempt>
  /** Lets go of everything. */
  readonly release: Effect.Effect<void>
}

/** Keeps hold of what attempts open. */
export const hold = (send: SendLegs): HeldStream => {
  const open = new Set<OpenAttempt>()
  return {
    open: (started, fill) =>
      Effect.map(LogTrail.begin(started, fill), (running) => {
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
        return attempt
      }),
    release: Effect.suspend(() => Effect.forEach([...open], ({ release }) => release, { discard: true }))
  }
}
