/**
 * Runs a plan on the client: attempts, waits, fallbacks, deadlines. This is the reference that compiled execution is
 * held against.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { type AttemptCause, decide, type GatewayError } from "../../GatewayError.ts"
import { monotonicMillis } from "../data/monotonic.ts"
import { logWithLevel } from "../hotpath/logWithLevel.ts"
import { backoffMillis, type FallbackOn, isSchedule, type Policy, type RetrySchedule } from "../route/node.ts"
import type { Plan, Target } from "../route/plan.ts"
import { type Asked, expired, type Run } from "./attempt.ts"

/** Where in the plan we are. Times are milliseconds of the monotonic clock. */
interface Position {
  readonly deadline: number | undefined
  /** Whether a fallback around this place goes on after such a failure. */
  readonly passes: (error: GatewayError) => boolean
  /** Why the next target is asked. */
  readonly cause: AttemptCause
}

/** A target that asked for a long wait while another one was ready. It is asked again when all others have failed. */
interface Deferred<In, Out> {
  readonly target: Target<In, Out>
  readonly error: GatewayError
  /** What is left of its policy. */
  readonly step: RetryStep
  readonly readyAt: number
  readonly deadline: number | undefined
}

/** Makes one attempt on a target. */
export type Attempting<In, Out, A> = (target: Target<In, Out>, asked: Asked) => Effect.Effect<A, GatewayError>

/** A run, how it asks a target, and the targets that it came away from because of a long hint. */
interface ClientRun<In, Out, A> extends Run<In> {
  readonly attempt: Attempting<In, Out, A>
  readonly deferred: Array<Deferred<In, Out>>
}

/** Whether a fallback moves on after a failure. */
export const canFallback = (error: GatewayError, on: FallbackOn | undefined): boolean =>
  on === undefined ? decide(error.reason).next : typeof on === "function" ? on(error) : on.includes(error.reason._tag)

const canRetry = (error: GatewayError, policy: Policy | RetrySchedule): boolean =>
  isSchedule(policy) || policy.on === undefined ? decide(error.reason).again : policy.on.includes(error.reason._tag)

type RetryStep = (error: GatewayError) => Effect.Effect<number | undefined>

/** Says how long to wait before the next attempt, or that there is none. Hints are not in it. */
const makeStep = (policy: Policy | RetrySchedule): Effect.Effect<RetryStep> => {
  if (isSchedule(policy)) {
    return Effect.map(
      Schedule.toStep(policy),
      (step) => (error) =>
        // A schedule may know of days and hours.
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

/** `Effect.result` in terms of what is in every bundle anyway. */
const outcomeOf = <A>(self: Effect.Effect<A, GatewayError>): Effect.Effect<Result.Result<A, GatewayError>> =>
  Effect.catch(Effect.map(self, Result.succeed), (error) => Effect.succeed(Result.fail(error)))

const isSuccessStatus = (status = 0): boolean => status >= 200 && status < 300

/** Asks a target once, in what is left of the deadline. `last` is the failure of the attempt that this one repeats. */
const ask = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  target: Target<In, Out>,
  place: Position,
  last: GatewayError | undefined
): Effect.Effect<A, GatewayError> => {
  const { deadline } = place
  const cause = last === undefined ? place.cause : "retry"
  // The gateway takes a 2xx for a success, and gives it again to whoever asks for the same.
  const skipsCache = isSuccessStatus(last?.reason.status)
  return deadline === undefined
    ? run.attempt(target, { remaining: undefined, cause, skipsCache })
    : Effect.flatMap(monotonicMillis, (now) =>
        // A timer may fire late; the last attempt then still says best what is wrong.
        now < deadline
          ? run.attempt(target, { remaining: deadline - now, cause, skipsCache })
          : Effect.fail(last ?? expired("deadline", target, 0, run.eventId))
      )
}

/** Goes on after a target's attempt that failed. */
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
      // Another target may be ready now, or before this one.
      run.deferred.push({ target, error, step, readyAt: now + hint, deadline: place.deadline })
      return yield* error
    }
    const wait = Math.max(delay, hint ?? 0)
    // A wait that the deadline would cut short is not begun: whoever comes next has the time instead.
    if (place.deadline !== undefined && now + wait >= place.deadline) return yield* error
    if (wait > 0) yield* Effect.sleep(wait)
    const result = yield* outcomeOf(ask(run, target, place, error))
    if (Result.isSuccess(result)) return result.success
    error = result.failure
  }
})

// Most calls succeed at once, so what comes after a failure is only set up when there is one.
const runTarget = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  target: Target<In, Out>,
  place: Position,
  resumed?: Deferred<In, Out>
): Effect.Effect<A, GatewayError> => {
  const { retry } = target
  const asked = ask(run, target, place, resumed?.error)
  return retry === undefined
    ? asked
    : Effect.catch(asked, (error) => repeat(run, target, retry, place, error, resumed?.step))
}

/**
 * When everything else below a fallback has failed, waits for its target that is ready first, as long as that one's deadline allows.
 * `from` is where the fallback's own targets begin among the deferred ones.
 */
const runDeferred = Effect.fnUntraced(function* <In, Out, A>(
  run: ClientRun<In, Out, A>,
  on: FallbackOn | undefined,
  outer: Position,
  from: number,
  last: GatewayError
): Effect.fn.Return<A, GatewayError> {
  let error = last
  const passes = (one: GatewayError): boolean => canFallback(one, on) || outer.passes(one)
  while (true) {
    const now = yield* monotonicMillis
    const fitting = run.deferred
      .slice(from)
      .filter(({ deadline, readyAt }) => deadline === undefined || Math.max(now, readyAt) < deadline)
    const [next] = fitting.sort((a, b) => a.readyAt - b.readyAt)
    if (next === undefined) return yield* error
    run.deferred.splice(run.deferred.indexOf(next), 1)
    if (next.readyAt > now) {
      yield* logWithLevel(
        "Debug",
        `all targets are cooling down: ${next.target.key} is ready in ${next.readyAt - now} ms`
      )
      yield* Effect.sleep(next.readyAt - now)
    }
    const result = yield* outcomeOf(
      runTarget(run, next.target, { deadline: next.deadline, passes, cause: "retry" }, next)
    )
    if (Result.isSuccess(result)) return result.success
    error = result.failure
    if (outer.passes(error) || !canFallback(error, on)) return yield* error
  }
})

type Fallback<In, Out> = Extract<Plan<In, Out>, { _tag: "Fallback" }>

/** Goes on with a fallback's plan `next`, as those before it have failed. */
const runRest = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  plan: Fallback<In, Out>,
  outer: Position,
  inner: Position,
  from: number,
  next: number,
  error: GatewayError
): Effect.Effect<A, GatewayError> => {
  if (!canFallback(error, plan.on)) return Effect.fail(error)
  const goOn = (): Effect.Effect<A, GatewayError> => {
    const child = plan.plans[next]
    if (child !== undefined) {
      const place: Position = inner.cause === "fallback" ? inner : { ...inner, cause: "fallback" }
      return Effect.catch(runPlan(run, child, place), (failure) =>
        runRest(run, plan, outer, place, from, next + 1, failure)
      )
    }
    // An outer fallback that goes on has targets that are ready now, or knows of more that are cooling down.
    return outer.passes(error) ? Effect.fail(error) : runDeferred(run, plan.on, outer, from, error)
  }
  const { deadline } = outer
  return deadline === undefined
    ? goOn()
    : Effect.flatMap(monotonicMillis, (now) => (now >= deadline ? Effect.fail(error) : goOn()))
}

const runFallback = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  plan: Fallback<In, Out>,
  place: Position
): Effect.Effect<A, GatewayError> => {
  const [first] = plan.plans
  // A plan without targets is refused before it runs.
  if (first === undefined) return Effect.die(new Error("no targets"))
  const from = run.deferred.length
  const inner: Position = {
    deadline: place.deadline,
    passes: (error) => canFallback(error, plan.on) || place.passes(error),
    cause: place.cause
  }
  return Effect.catch(runPlan(run, first, inner), (error) => runRest(run, plan, place, inner, from, 1, error))
}

/** Runs a plan. Deadlines and the order of what is put off count from this call, so it is made when it is the plan's turn. */
const runPlan = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  plan: Plan<In, Out>,
  place: Position
): Effect.Effect<A, GatewayError> => {
  switch (plan._tag) {
    case "Target":
      return runTarget(run, plan, place)
    case "Fallback":
      return runFallback(run, plan, place)
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

/** Runs a plan on the client, from its root and from now on; `attempt` asks one target once. */
export const executeClient = <In, Out, A>(
  run: Run<In>,
  plan: Plan<In, Out>,
  attempt: Attempting<In, Out, A>,
  cause: AttemptCause = "first"
): Effect.Effect<A, GatewayError> =>
  runPlan({ ...run, attempt, deferred: [] }, plan, { deadline: undefined, passes: () => false, cause })
