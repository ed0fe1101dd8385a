/**
 * What comes after a failure, in one step each: every call has a chain of these around it while it waits, and `Effect.catch` and `Effect.matchEffect` hold more.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"

// Which causes hold an error to handle is for Effect to say, once there is one.
const handled = <E, B, E2>(cause: Cause.Cause<E>, f: (error: E) => Effect.Effect<B, E2>): Effect.Effect<B, E2> =>
  Effect.catch(Effect.failCause(cause), f)

/** `Effect.catch`. */
export const orElse = <A, E, B, E2>(
  self: Effect.Effect<A, E>,
  f: (error: E) => Effect.Effect<B, E2>
): Effect.Effect<A | B, E2> => Effect.catchCause(self, (cause) => handled(cause, f))

/** `Effect.matchEffect`. */
export const either = <A, E, B, E2>(
  self: Effect.Effect<A, E>,
  onFailure: (error: E) => Effect.Effect<B, E2>,
  onSuccess: (value: A) => Effect.Effect<B, E2>
): Effect.Effect<B, E2> => Effect.matchCauseEffect(self, { onFailure: (cause) => handled(cause, onFailure), onSuccess })
