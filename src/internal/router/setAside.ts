/**
 * Targets that their limits rejected: nothing was sent to them, and they are called when all others have failed.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { GatewayError } from "../../GatewayError.ts"
import { monotonicMillis } from "../data/monotonic.ts"
import type { Target } from "../route/plan.ts"
import type { ClientRun, Position, RetryStep } from "./walk.ts"

/** Keeps a rejected target. `failure`: the one that a fallback goes by; `step`: the rest of its policy. */
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
    // A request that never fits has no such time.
    if (retryAfter === undefined || !passes(failure)) return
    run.deferred.push({ target, error, step, readyAt: now + Duration.toMillis(retryAfter), deadline })
  })
