/**
 * Promises of things that can be aborted. Every request waits in one of these, so it is one callback;
 * `Effect.tryPromise` with `Effect.onError` and `Effect.map` around it does the same and holds more while it waits.
 */
import * as Effect from "effect/Effect"
import type { Scheduler } from "effect/Scheduler"
import { arrival } from "./eventLoopTurn.ts"
import { withoutStack } from "./stackless.ts"

/** As `abort` makes it by itself, without the stack. Each request has its own: whoever is given it may write on it. */
const aborted = (): Error =>
  withoutStack(() => {
    const message = "This operation was aborted"
    // Some contexts have none, such as Node's `vm`.
    return typeof DOMException === "undefined"
      ? Object.assign(new Error(message), { name: "AbortError" })
      : new DOMException(message, "AbortError")
  })

/**
 * When to go on: at once, or with all others that came in this turn. Asked when a wait begins, called once when it
 * ends.
 */
type Timing = () => (act: () => void) => void

const now: Timing = () => (act) => act()

/**
 * The scheduler of a Worker's request, which resumes a fiber at once where it is told that this is the request's turn.
 */
interface TurnScheduler extends Scheduler {
  readonly enter: (act: () => void) => void
}

const hasTurn = (scheduler: Scheduler): scheduler is TurnScheduler => "enter" in scheduler

/**
 * The same promise as one of this turn: it may be shared by requests, and only what waits for a request's own is sure
 * to run in its turn.
 */
const ofThisTurn = <A>(make: () => PromiseLike<A>): Promise<A> =>
  new Promise((resolve, reject) => {
    make().then(resolve, reject)
  })

/** Goes on with what becomes of a promise. One that is rejected, or cannot even be made, is aborted and fails. */
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
    // What `onValue` throws is a defect of the fiber, and not of the promise.
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
 * Waits for a promise, and goes on with what `onValue` makes of its value. When it is rejected it fails as `onThrown`
 * says; `abort` is run before that, and when the wait is interrupted.
 */
export const tryPromise = waiting(now)

/** {@link tryPromise} for what ends a request: with all others that came in this turn. */
export const tryPromiseWhole = waiting(arrival)

/**
 * {@link tryPromise} of a request with a signal of its own. `onValue` is given what aborts it, as its body has yet to
 * come.
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
