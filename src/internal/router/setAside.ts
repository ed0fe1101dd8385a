/**
 * Targets that were passed over: nothing was sent to them, and they may be called when all others have failed.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { GatewayError } from "../../GatewayError.ts"
import { monotonicMillis } from "../data/monotonic.ts"
import type { Target } from "../route/plan.ts"
import { type ClientRun, isLeftAloneBy, type Position, type RetryStep } from "./walk.ts"

const noMore: RetryStep = () => Effect.succeed(undefined)

/** Keeps a target in mind. `error`: why it was passed over; `failure`: what a fallback goes by; `step`: what is left of its policy. */
export const setAside = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  target: Target<In, Out>,
  { deadline, passes }: Position,
  error: GatewayError,
  step: RetryStep | undefined,
  failure: GatewayError
): Effect.Effect<void> =>
  Effect.map(monotonicMillis, (now) => {
    const isOpen = isLeftAloneBy(error)
    const { retryAfter } = error
    // What never fits has no such time.
    if (!passes(failure) || (retryAfter === undefined && !isOpen)) return
    const readyAt = now + (retryAfter === undefined ? 0 : Duration.toMillis(retryAfter))
    run.deferred.push({ target, error, step: isOpen ? noMore : step, readyAt, deadline, isOpen })
  })
