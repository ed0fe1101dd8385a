/**
 * Promises of things that can be aborted. Every request waits in one of these, so it is one callback; `Effect.tryPromise` with `Effect.onError` and
 * `Effect.map` around it does the same and holds more while it waits.
 */
import * as Effect from "effect/Effect"

/** What all of them are aborted with: a reason of its own would look at the stack each time. */
const reason = new DOMException("The request was aborted", "AbortError")

/** A signal, and what aborts. */
export const makeAbort = (): { readonly signal: AbortSignal; readonly abort: Effect.Effect<void> } => {
  const controller = new AbortController()
  return { signal: controller.signal, abort: Effect.sync(() => controller.abort(reason)) }
}

/**
 * Waits for a promise, and goes on with what `onValue` makes of its value. A promise that is rejected, or cannot even be made, fails as `onThrown` says; `abort` is
 * run before that, and when the wait is interrupted.
 */
export const promised = <A, B, E>(
  make: () => PromiseLike<A>,
  abort: Effect.Effect<void>,
  onValue: (value: A) => Effect.Effect<B, E>,
  onThrown: (thrown: unknown) => E
): Effect.Effect<B, E> =>
  Effect.callback((resume) => {
    const fail = (thrown: unknown): void => resume(Effect.flatMap(abort, () => Effect.fail(onThrown(thrown))))
    try {
      // What `onValue` throws is a defect of the fiber, and not of the promise.
      make().then((value) => resume(Effect.suspend(() => onValue(value))), fail)
    } catch (thrown) {
      fail(thrown)
    }
    return abort
  })
