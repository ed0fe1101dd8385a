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
import { decide, GatewayError, Timeout } from "../GatewayError.ts"
import { type Answered, attempt, method, type Run } from "./attempt.ts"
import type { Plan, Target } from "./plan.ts"
import { backoffMillis, type FallbackOn, isSchedule, type Policy, type RetrySchedule } from "./routeNode.ts"

/** Where in the plan we are. Times are milliseconds since the epoch. */
interface Place {
  readonly deadline: number | undefined
  /** Whether a failure that may move on has somewhere to go. */
  readonly hasNext: boolean
  readonly on: FallbackOn | undefined
}

/** A target that asked for a long wait while another one was ready. It is asked again when all others have failed. */
interface Deferred<In, Out> {
  readonly target: Target<In, Out>
  readonly used: number
  readonly readyAt: number
  readonly deadline: number | undefined
}

/** A run, and the targets that it came away from because of a long hint. */
export interface ClientRun<In, Out> extends Run<In> {
  readonly deferred: Array<Deferred<In, Out>>
}

const mayMove = (error: GatewayError, on: FallbackOn | undefined): boolean =>
  on === undefined ? decide(error.reason).next : typeof on === "function" ? on(error) : on.includes(error.reason._tag)

const mayRepeat = (error: GatewayError, policy: Policy | RetrySchedule): boolean =>
  isSchedule(policy) || policy.on === undefined ? decide(error.reason).again : policy.on.includes(error.reason._tag)

type Step = (now: number, error: GatewayError) => Effect.Effect<number | undefined>

/** Says how long to wait before the next attempt, or that there is none. Hints are not in it. */
const makeStep = (policy: Policy | RetrySchedule, used: number): Effect.Effect<Step> => {
  if (isSchedule(policy)) {
    return Effect.map(Schedule.toStep(policy), (step) => (now, error) =>
      step(now, error).pipe(
        Effect.map(([, delay]): number | undefined => Duration.toMillis(delay)),
        Pull.catchDone(() => Effect.succeed(undefined))
      )
    )
  }
  let made = used
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

const late = (target: Target<never, unknown>, eventId: string): GatewayError =>
  new GatewayError({ method, reason: new Timeout({ phase: "deadline" }), provider: target.leaf.provider, eventId })

const runTarget = Effect.fnUntraced(function* <In, Out>(
  run: ClientRun<In, Out>,
  target: Target<In, Out>,
  place: Place,
  used: number
): Effect.fn.Return<Answered<Out>, GatewayError> {
  const policy = target.retry
  let step: Step | undefined
  let made = used
  while (true) {
    const startedAt = yield* Clock.currentTimeMillis
    const remaining = place.deadline === undefined ? undefined : place.deadline - startedAt
    if (remaining !== undefined && remaining <= 0) return yield* late(target, run.eventId)
    const result = yield* Effect.result(attempt(run, target, remaining))
    if (Result.isSuccess(result)) return result.success
    made++
    const error = result.failure
    if (policy === undefined || !mayRepeat(error, policy)) return yield* error
    step ??= yield* makeStep(policy, used)
    const now = yield* Clock.currentTimeMillis
    const delay = yield* step(now, error)
    if (delay === undefined) return yield* error
    const hint = hintOf(error, policy)
    const patience = isSchedule(policy) ? delay : policy.maxDelay
    if (
      hint !== undefined &&
      hint > patience &&
      (place.hasNext || run.deferred.length > 0) &&
      mayMove(error, place.on)
    ) {
      // Another target is ready now, or will be before this one.
      run.deferred.push({ target, used: made, readyAt: now + hint, deadline: place.deadline })
      return yield* error
    }
    const wait = Math.max(delay, hint ?? 0)
    // A wait that the deadline would cut short is not begun: whoever comes next has the time instead.
    if (place.deadline !== undefined && now + wait >= place.deadline) return yield* error
    if (wait > 0) yield* Effect.sleep(wait)
  }
})

/** When everything else has failed, waits for the target that is ready first, as long as its deadline allows. */
const runDeferred = Effect.fnUntraced(function* <In, Out>(
  run: ClientRun<In, Out>,
  on: FallbackOn | undefined,
  last: GatewayError
): Effect.fn.Return<Answered<Out>, GatewayError> {
  let error = last
  while (true) {
    const now = yield* Clock.currentTimeMillis
    const fitting = run.deferred.filter(({ deadline, readyAt }) => deadline === undefined || readyAt < deadline)
    const [next] = fitting.sort((a, b) => a.readyAt - b.readyAt)
    if (next === undefined) return yield* error
    run.deferred.splice(run.deferred.indexOf(next), 1)
    if (next.readyAt > now) {
      yield* Effect.logDebug("every target is cooling down, waiting for the first", {
        target: next.target.key,
        millis: next.readyAt - now
      })
      yield* Effect.sleep(next.readyAt - now)
    }
    const place: Place = { deadline: next.deadline, hasNext: false, on }
    const result = yield* Effect.result(runTarget(run, next.target, place, next.used))
    if (Result.isSuccess(result)) return result.success
    error = result.failure
    if (!mayMove(error, on)) return yield* error
  }
})

const runFallback = Effect.fnUntraced(function* <In, Out>(
  run: ClientRun<In, Out>,
  plan: Extract<Plan<In, Out>, { _tag: "Fallback" }>,
  place: Place
): Effect.fn.Return<Answered<Out>, GatewayError> {
  const lastIndex = plan.plans.length - 1
  let error: GatewayError | undefined
  for (const [index, child] of plan.plans.entries()) {
    const inner: Place = { deadline: place.deadline, hasNext: place.hasNext || index < lastIndex, on: plan.on }
    const result = yield* Effect.result(runPlan(run, child, inner))
    if (Result.isSuccess(result)) return result.success
    error = result.failure
    if (!mayMove(error, plan.on)) return yield* error
    if (place.deadline !== undefined && (yield* Clock.currentTimeMillis) >= place.deadline) return yield* error
  }
  // A plan without targets is refused before it runs.
  if (error === undefined) return yield* Effect.die(new Error("a fallback without targets was run"))
  return yield* place.hasNext ? error : runDeferred(run, plan.on, error)
})

/** Runs a plan. */
const runPlan = <In, Out>(
  run: ClientRun<In, Out>,
  plan: Plan<In, Out>,
  place: Place
): Effect.Effect<Answered<Out>, GatewayError> => {
  switch (plan._tag) {
    case "Target":
      return runTarget(run, plan, place, 0)
    case "Fallback":
      return runFallback(run, plan, place)
    case "When":
      return runPlan(run, plan.predicate(run.input) ? plan.onTrue : plan.onFalse, place)
    case "Deadline":
      return Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const deadline = now + plan.millis
        return runPlan(run, plan.plan, {
          ...place,
          deadline: place.deadline === undefined ? deadline : Math.min(place.deadline, deadline)
        })
      })
  }
}

/** Runs a plan on the client, from its root. */
export const executeClient = <In, Out>(
  run: Run<In>,
  plan: Plan<In, Out>
): Effect.Effect<Answered<Out>, GatewayError> =>
  Effect.suspend(() => runPlan({ ...run, deferred: [] }, plan, { deadline: undefined, hasNext: false, on: undefined }))
