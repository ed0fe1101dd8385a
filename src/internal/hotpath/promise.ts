/**
 * Awaits promises that can be aborted. Every request waits in one of these, so it is a single callback;
 * `Effect.tryPromise` with `Effect.onError` and `Effect.map` does the same and holds more memory while it waits.
 */
import * as Effect from "effect/Effect"
import type { Scheduler } from "effect/Scheduler"
import { arrival } from "./eventLoopTurn.ts"
import { withoutStack } from "./stackless.ts"

/**
 * The error that `abort` makes by default, without the stack. Each request gets its own, because its receiver may write
 * to it.
 */
const aborted = (): Error =>
  withoutStack(() => {
    const message = "This operation was aborted"
    // Some contexts lack it, such as Node's `vm`.
    return typeof DOMException === "undefined"
      ? Object.assign(new Error(message), { name: "AbortError" })
      : new DOMException(message, "AbortError")
  })

/**
 * When to resume: at once, or with everything else that arrived in this turn. Called when a wait begins; the result is
 * called once when it ends.
 */
type Timing = () => (act: () => void) => void

const now: Timing = () => (act) => act()

/**
 * The scheduler of a Worker's request, which resumes a fiber at once during the request's own turn.
 */
interface TurnScheduler extends Scheduler {
  readonly enter: (act: () => void) => void
}

const hasTurn = (scheduler: Scheduler): scheduler is TurnScheduler => "enter" in scheduler

/**
 * Wraps a promise in one of this turn. Requests may share the original, and only continuations of a request's own
 * promise are sure to run in its context.
 */
const ofThisTurn = <A>(make: () => PromiseLike<A>): Promise<A> =>
  new Promise((resolve, reject) => {
    make().then(resolve, reject)
  })

/** Resumes with the result of a promise. If it rejects, or cannot even be made, it is aborted and fails. */
const follow = <A, B, E>(
  scheduler: Scheduler,
  resume: (effect: Effect.Effect<B, E>) => void,
  make: () => PromiseLike<A>,
  abort: Effect.Effect<void>,
  onValue: (value: A) => Effect.Effect<B, E>,
  onThrown: (thrown: unknown) => E,
  when: Timing
): void => {
  const turn = hasTurn(scheduler) ? scheduler : undefined
  const goOn = turn === undefined ? when() : turn.enter
  const fail = (thrown: unknown): void => goOn(() => resume(Effect.flatMap(abort, () => Effect.fail(onThrown(thrown)))))
  try {
    const promise = turn === undefined ? make() : ofThisTurn(make)
    // An exception from `onValue` is a defect of the fiber, not of the promise.
    promise.then((value) => goOn(() => resume(Effect.suspend(() => onValue(value)))), fail)
  } catch (thrown) {
    fail(thrown)
  }
}

const waiting =
  (when: Timing) =>
  <A, B, E>(
    make: () => PromiseLike<A>,
    abort: Effect.Effect<void>,
    onValue: (value: A) => Effect.Effect<B, E>,
    onThrown: (thrown: unknown) => E
  ): Effect.Effect<B, E> =>
    Effect.callback(function (resume) {
      follow(this, resume, make, abort, onValue, onThrown, when)
      return abort
    })

/**
 * Awaits a promise, and resumes with `onValue` of its value. A rejection fails with `onThrown`; `abort` runs before
 * that, and when the wait is interrupted.
 */
export const tryPromise = waiting(now)

/** {@link tryPromise} for the last wait of a request: it resumes with everything else that arrived in this turn. */
export const tryPromiseWhole = waiting(arrival)

/**
 * {@link tryPromise} for a request with its own signal. `onValue` receives the function that aborts it, as its body is
 * still to come.
 */
export const tryRequest = <A, B, E>(
  make: (signal: AbortSignal) => PromiseLike<A>,
  onValue: (value: A, abort: Effect.Effect<void>) => Effect.Effect<B, E>,
  onThrown: (thrown: unknown) => E
): Effect.Effect<B, E> =>
  Effect.callback(function (resume) {
    const controller = new AbortController()
    const abort = Effect.sync(() => controller.abort(aborted()))
    follow(
      this,
      resume,
      () => make(controller.signal),
      abort,
      (value) => onValue(value, abort),
      onThrown,
      arrival
    )
    return abort
  })
