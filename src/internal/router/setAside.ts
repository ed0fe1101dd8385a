/**
 * Targets that their limits rejected: nothing was sent to them, and the router calls them when all others have failed.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { GatewayError } from "../../GatewayError.ts"
import { monotonicMillis } from "../data/monotonic.ts"
import type { Target } from "../route/plan.ts"
import type { ClientRun, Position, RetryStep } from "./walk.ts"

/**
 * Keeps a rejected target for later. `failure`: the failure by which a fallback decides; `step`: the rest of its
 * policy.
 */
export const setAside = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  target: Target<In, Out>,
  { deadline, passes }: Position,
  error: GatewayError,
  step: RetryStep | undefined,
  failure: GatewayError
): Effect.Effect<void> =>
  Effect.map(monotonicMillis, (now) => {
    const { retryAfter } = error
    // A request that can never fit has no such time.
    if (retryAfter === undefined || !passes(failure)) return
    run.deferred.push({ target, error, step, readyAt: now + Duration.toMillis(retryAfter), deadline })
  })
