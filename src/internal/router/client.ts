/**
 * Runs a plan on the client: attempts, waits, fallbacks, deadlines. Tests compare compiled execution with this
 * reference.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { decide, type GatewayError } from "../../GatewayError.ts"
import type { WithheldAttempt, WithheldBy } from "../../RouterEvent.ts"
import type { Admission } from "../admission/admission.ts"
import { monotonicMillis } from "../data/monotonic.ts"
import { logWithLevel } from "../hotpath/logWithLevel.ts"
import { backoffMillis, isSchedule, type Policy, type RetrySchedule } from "../route/node.ts"
import type { Fallback, Plan, Target } from "../route/plan.ts"
import { canPay, endWith, expired, type Run, unskip } from "./attempt.ts"
import { admissionFor, breakerIsOpen, keepInMind, orderBy, runBy, underBreaker, unlessOpen } from "./engines.ts"
import {
  type Asking,
  type ClientRun,
  canFallback,
  type Deferred,
  isOpenBreaker,
  isOverCost,
  isPassedOver,
  isRejected,
  type Position,
  type RetryStep,
  tellingOf
} from "./walk.ts"

const canRetry = (error: GatewayError, policy: Policy | RetrySchedule): boolean =>
  isSchedule(policy) || policy.on === undefined ? decide(error.reason).again : policy.on.includes(error.reason._tag)

/** Returns the wait before the next attempt, or that there is none. It ignores hints. */
const makeStep = (policy: Policy | RetrySchedule): Effect.Effect<RetryStep> => {
  if (isSchedule(policy)) {
    return Effect.map(
      Schedule.toStep(policy),
      (step) => (error) =>
        // A schedule may depend on days and hours.
        Effect.flatMap(Clock.currentTimeMillis, (now) => step(now, error)).pipe(
          Effect.map(([, delay]): number | undefined => Duration.toMillis(delay)),
          Pull.catchDone(() => Effect.succeed(undefined))
        )
    )
  }
  let made = 0
  return Effect.succeed(() => {
    made++
    if (made >= policy.attempts) return Effect.succeed(undefined)
    const wait = backoffMillis(policy, made)
    return policy.jitter === 0
      ? Effect.succeed(wait)
      : Effect.map(Random.next, (random) => wait * (1 - policy.jitter * random))
  })
}

const hintOf = (error: GatewayError, policy: Policy | RetrySchedule): number | undefined => {
  if (!isSchedule(policy) && !policy.retryAfter) return undefined
  return error.retryAfter === undefined ? undefined : Duration.toMillis(error.retryAfter)
}

/** `Effect.result`, made of operators that are in every bundle anyway. */
const outcomeOf = <A>(self: Effect.Effect<A, GatewayError>): Effect.Effect<Result.Result<A, GatewayError>> =>
  Effect.catch(Effect.map(self, Result.succeed), (error) => Effect.succeed(Result.fail(error)))

const isSuccessStatus = (status = 0): boolean => status >= 200 && status < 300

/** A breaker may have opened while an attempt waited for admission. */
const askingAgain =
  (admission: Admission, again: Effect.Effect<void, GatewayError>): Admission =>
  (pending) =>
    admission({
      ...pending,
      make: (remaining, beforeResend, waited) => {
        const made = pending.make(remaining, beforeResend, waited)
        return waited === undefined ? made : Effect.andThen(again, made)
      }
    })

/** Calls a target once, within the rest of the deadline. `last` is the failure of the attempt that this one repeats. */
const ask = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  target: Target<In, Out>,
  place: Position,
  last: GatewayError | undefined
): Effect.Effect<A, GatewayError> => {
  const { deadline, isPanic, lane, previous } = place
  const cause = last === undefined ? place.cause : "retry"
  // The gateway treats a 2xx as a success, and may return it again from its cache.
  const skipsCache = isSuccessStatus(last?.reason.status)
  const isFurther = last === undefined && previous !== undefined && run.purses !== undefined
  const attempt = (remaining: number | undefined): Effect.Effect<A, GatewayError> => {
    const admission = admissionFor(run, target, cause)
    const asked = { remaining, cause, skipsCache, lane, admission }
    return target.breaker === undefined || isPanic === true
      ? run.attempt(target, asked)
      : underBreaker(run, target, target.breaker, place, ({ again, pass }) =>
          run.attempt(target, { ...asked, pass, admission: admission && askingAgain(admission, again) })
        )
  }
  if (deadline === undefined && !isFurther) return attempt(undefined)
  return Effect.flatMap(monotonicMillis, (now) => {
    // A timer may fire late; the failure of the last attempt is then still the most useful one.
    if (deadline !== undefined && now >= deadline) {
      return Effect.fail(last ?? expired("deadline", target, 0, run.eventId))
    }
    if (isFurther && !canPay(run, target, now)) {
      endWith(run, "budget", previous)
      withheld(run, target, "budget", cause === "restart" ? "restart" : "fallback")
      return Effect.fail(previous)
    }
    return attempt(deadline === undefined ? undefined : deadline - now)
  })
}

const withheld = (
  { eventId, state }: Run<unknown>,
  { key }: Target<never, unknown>,
  by: WithheldBy,
  attempt: WithheldAttempt
): void => state.tell?.({ _tag: "Withheld", eventId, target: key, by, attempt })

const sleep = (
  { eventId, state }: Run<unknown>,
  { key }: Target<never, unknown>,
  millis: number
): Effect.Effect<void> => {
  const delay = Duration.millis(millis)
  state.tell?.({ _tag: "Waiting", eventId, target: key, delay })
  return Effect.sleep(delay)
}

/** Retries a target after a failed attempt. */
const repeat = Effect.fnUntraced(function* <In, Out, A>(
  run: ClientRun<In, Out, A>,
  target: Target<In, Out>,
  policy: Policy | RetrySchedule,
  place: Position,
  failure: GatewayError,
  known: RetryStep | undefined
): Effect.fn.Return<A, GatewayError> {
  let error = failure
  let step = known
  while (true) {
    if (!canRetry(error, policy)) return yield* error
    const now = yield* monotonicMillis
    if (place.deadline !== undefined && now >= place.deadline) return yield* error
    step ??= yield* makeStep(policy)
    const delay = yield* step(error)
    if (delay === undefined) return yield* error
    const hint = hintOf(error, policy)
    const patience = isSchedule(policy) ? delay : policy.maxDelay
    if (hint !== undefined && hint > patience && place.passes(error)) {
      // Another target may be ready now, or earlier than this one.
      run.deferred.push({ target, error, step, readyAt: now + hint, deadline: place.deadline })
      return yield* error
    }
    const wait = Math.max(delay, hint ?? 0)
    // The router does not begin a wait that the deadline would cut short: an outer fallback gets the time instead.
    if (place.deadline !== undefined && now + wait >= place.deadline) {
      endWith(run, "deadline", error)
      return yield* error
    }
    // A retry that the breaker would reject is not paid for either.
    if (breakerIsOpen(run, target, now, now + wait)) {
      endWith(run, "open", error)
      withheld(run, target, "breaker", "retry")
      return yield* error
    }
    if (!canPay(run, target, now)) {
      endWith(run, "budget", error)
      withheld(run, target, "budget", "retry")
      return yield* error
    }
    if (wait > 0) yield* sleep(run, target, wait)
    const result = yield* outcomeOf(ask(run, target, place, error))
    if (Result.isSuccess(result)) return result.success
    if (isRejected(result.failure)) {
      // Report the failure of the previous attempt.
      if (isOverCost(result.failure)) {
        withheld(run, target, "cost", "retry")
        return yield* error
      }
      // The target has been called, so it was not skipped.
      unskip(run, result.failure)
      const isOpen = isOpenBreaker(result.failure)
      withheld(run, target, isOpen ? "breaker" : "queue", "retry")
      if (isOpen) endWith(run, "open", error)
      else yield* keepInMind(run, target, place, result.failure, step, error)
      return yield* error
    }
    error = result.failure
  }
})

// Most calls succeed at once, so the code after a failure is only set up when there is one.
export const runTarget = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  target: Target<In, Out>,
  place: Position,
  resumed?: Deferred<In, Out>
): Effect.Effect<A, GatewayError> => {
  const { retry } = target
  // A rejected attempt was not sent, so this is not a repeat.
  const asked = ask(run, target, place, resumed && !isRejected(resumed.error) ? resumed.error : undefined)
  const isOnce = retry === undefined || place.isOnce === true
  if (isOnce && target.limits === undefined) return asked
  return Effect.catch(asked, (error) => {
    // The budget rejected it: the failure belongs to the target before.
    if (error === place.previous) return Effect.fail(error)
    if (isRejected(error) && !isOpenBreaker(error)) {
      // Only once: a target that is rejected again is not called later.
      if (resumed !== undefined) return Effect.fail(tellingOf(resumed.error, error))
      return Effect.andThen(keepInMind(run, target, place, error, undefined, error), Effect.fail(error))
    }
    return isOnce ? Effect.fail(error) : repeat(run, target, retry, place, error, resumed?.step)
  })
}

/**
 * Waits for the deferred target that is ready first, when all others below a fallback have failed, and if its deadline
 * allows. `goesOn`: whether the fallback itself continues after a failure; `from`: index of its first deferred target.
 */
export const runDeferred = Effect.fnUntraced(function* <In, Out, A>(
  run: ClientRun<In, Out, A>,
  goesOn: (error: GatewayError) => boolean,
  outer: Position,
  from: number,
  last: GatewayError
): Effect.fn.Return<A, GatewayError> {
  let error = last
  const passes = (one: GatewayError): boolean => goesOn(one) || outer.passes(one)
  while (true) {
    const now = yield* monotonicMillis
    const fitting = run.deferred
      .slice(from)
      .filter(({ deadline, readyAt }) => deadline === undefined || Math.max(now, readyAt) < deadline)
    const [next] = fitting.sort((a, b) => a.readyAt - b.readyAt)
    if (next === undefined) return yield* error
    run.deferred.splice(run.deferred.indexOf(next), 1)
    if (!canPay(run, next.target, now)) {
      endWith(run, "budget", error)
      withheld(run, next.target, "budget", "retry")
      continue
    }
    if (next.readyAt > now) {
      yield* logWithLevel(
        "Debug",
        `all targets are cooling down: ${next.target.key} is ready in ${next.readyAt - now} ms`
      )
      yield* sleep(run, next.target, next.readyAt - now)
    }
    const cause = !isRejected(next.error) ? "retry" : isPassedOver(error) ? outer.cause : "fallback"
    // The budget has been charged already.
    const place = { ...outer, deadline: next.deadline, passes, cause, previous: undefined }
    const sent = run.slots.length
    const result = yield* outcomeOf(runTarget(run, next.target, place, next))
    // It has been called, or is recorded a second time.
    if (run.slots.length > sent || (Result.isFailure(result) && isRejected(result.failure))) unskip(run, next.error)
    if (Result.isSuccess(result)) return result.success
    error = tellingOf(error, result.failure)
    if (outer.passes(error) || !goesOn(error)) return yield* error
  }
})

/** Continues a fallback with its plan `next` after those before it have failed. */
const runRest = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  plan: Fallback<In, Out>,
  outer: Position,
  inner: Position,
  from: number,
  next: number,
  error: GatewayError
): Effect.Effect<A, GatewayError> => {
  if (!canFallback(error, plan.on)) {
    if (next < plan.plans.length) endWith(run, "stop", error)
    return Effect.fail(error)
  }
  const goOn = (): Effect.Effect<A, GatewayError> => {
    const child = plan.plans[next]
    if (child !== undefined) {
      const place: Position = { ...inner, cause: "fallback", previous: tellingOf(inner.previous, error) }
      return Effect.catch(runPlan(run, child, place), (failure) =>
        runRest(run, plan, outer, place, from, next + 1, tellingOf(error, failure))
      )
    }
    // An outer fallback that continues has targets that are ready now, or knows others that are cooling down.
    return outer.passes(error)
      ? Effect.fail(error)
      : runDeferred(run, (failure) => canFallback(failure, plan.on), outer, from, error)
  }
  const { deadline } = outer
  return deadline === undefined
    ? goOn()
    : Effect.flatMap(monotonicMillis, (now) => {
        if (now < deadline) return goOn()
        endWith(run, "deadline", error)
        return Effect.fail(error)
      })
}

const runFallback = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  plan: Fallback<In, Out>,
  place: Position
): Effect.Effect<A, GatewayError> => {
  const [first] = plan.plans
  // A plan without targets is rejected before it runs.
  if (first === undefined) return Effect.die(new Error("no targets"))
  const from = run.deferred.length
  const inner: Position = { ...place, passes: (error) => canFallback(error, plan.on) || place.passes(error) }
  return Effect.catch(runPlan(run, first, inner), (error) => runRest(run, plan, place, inner, from, 1, error))
}

/**
 * Runs a plan. Deadlines and the order of deferred targets count from this call, so it is made when the plan's turn
 * comes.
 */
export const runPlan = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  plan: Plan<In, Out>,
  place: Position
): Effect.Effect<A, GatewayError> => {
  switch (plan._tag) {
    case "Target":
      return runTarget(run, plan, place)
    case "Fallback":
      return runFallback(run, plan, place)
    case "Balance":
      return Effect.withFiber(({ context }) => runFallback(run, orderBy(run, plan, context), place))
    case "Race":
    case "Hedge":
      return runBy(run, plan, place)
    case "When":
      return runPlan(run, plan.predicate(run.input) ? plan.onTrue : plan.onFalse, place)
    case "Deadline":
      return Effect.flatMap(monotonicMillis, (now) => {
        const deadline = now + plan.millis
        run.deadlines?.set(plan, deadline)
        return runPlan(run, plan.plan, {
          ...place,
          deadline: place.deadline === undefined ? deadline : Math.min(place.deadline, deadline)
        })
      })
  }
}

/** Runs a plan on the client, from its root, starting now. */
export const executeClient = <In, Out, A>(
  run: Run<In>,
  plan: Plan<In, Out>,
  { attempt, build, discard }: Asking<In, Out, A>,
  /** The failure after which a stream restarts. */
  broken?: GatewayError
): Effect.Effect<A, GatewayError> => {
  const own: ClientRun<In, Out, A> = { ...run, attempt, build, discard, deferred: [], refused: [] }
  const place: Position = {
    deadline: undefined,
    passes: () => false,
    cause: broken === undefined ? "first" : "restart",
    previous: broken
  }
  const walked = runPlan(own, plan, place)
  return run.isGuarded ? unlessOpen(own, walked, place) : walked
}
