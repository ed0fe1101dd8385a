/**
 * What comes after a failure, in one step each: every call has a chain of these around it while it waits, and `Effect.catch` and `Effect.matchEffect` hold more.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"

/** What is left of a cause that nobody can handle: defects and interruptions. */
const withoutErrors = <E>(cause: Cause.Cause<E>): Cause.Cause<never> =>
  Cause.fromReasons(cause.reasons.filter((reason): reason is Cause.Reason<never> => !Cause.isFailReason(reason)))

const handled = <E, B, E2>(cause: Cause.Cause<E>, f: (error: E) => Effect.Effect<B, E2>): Effect.Effect<B, E2> => {
  const failure = Cause.findError(cause)
  return Result.isSuccess(failure) && !Cause.hasDies(cause)
    ? f(failure.success)
    : Effect.failCause(withoutErrors(cause))
}

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
