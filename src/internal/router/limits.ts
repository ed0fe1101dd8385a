/**
 * Calls targets under their limits.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { type AttemptCause, GatewayError } from "../../GatewayError.ts"
import { isThrottle } from "../../Limiter.ts"
import type { Admission, SentAttempt } from "../admission/admission.ts"
import { requestTokens } from "../admission/estimate.ts"
import { permitOf } from "../admission/heldPermit.ts"
import type { ToldLimits } from "../admission/learntLimits.ts"
import type { LimitSettings } from "../admission/limits.ts"
import type { Permit } from "../admission/permit.ts"
import { toldLimits } from "../admission/rateLimitHeaders.ts"
import { TargetLimits } from "../admission/targetLimits.ts"
import { type Settling, underPermit } from "../admission/underPermit.ts"
import type { Needs, WaitClass } from "../admission/waitQueue.ts"
import { defined } from "../data/defined.ts"
import { monotonicMillisOf } from "../data/monotonic.ts"
import { timeoutOrElse } from "../hotpath/timeoutOrElse.ts"
import { baseKeyOf, type Target } from "../route/plan.ts"
import { method, type Run } from "./attempt.ts"

const limitsOf = ({ state }: Run<unknown>, target: Target<never, unknown>): TargetLimits => {
  const known = state.of(target)
  known.limits ??= new TargetLimits()
  return known.limits
}

const needsOf = (run: Run<unknown>, limits: TargetLimits, settings: LimitSettings | undefined): Needs => {
  const countsTokens =
    settings !== undefined && (settings.limits.tokensPerMinute !== undefined || run.state.limiter !== undefined)
  return {
    requests: 1,
    tokens: countsTokens || limits.countsTokens ? Math.ceil(requestTokens(run.input)) : 0,
    place: true
  }
}

/** Turns a rejection into that of its target. */
const ofTarget = (error: GatewayError, { leaf }: Target<never, unknown>, eventId: string): GatewayError => {
  const { model, provider } = leaf
  return new GatewayError({ method, reason: error.reason, provider, eventId, ...defined({ model }) })
}

/** Combines several permits for one request. */
const together = (permits: ReadonlyArray<Permit>): Permit => {
  const each = (act: (permit: Permit) => Effect.Effect<void> | undefined): Effect.Effect<void> =>
    Effect.forEach(permits, (permit) => act(permit) ?? Effect.void, { discard: true })
  return {
    waited: permits.reduce((sum, permit) => Duration.sum(sum, permit.waited), Duration.zero),
    settle: (outcome) => each((permit) => permit.settle(outcome)),
    learn: (told) => each((permit) => permit.learn?.(told))
  }
}

const isCached = ({ response }: SentAttempt): boolean => response.meta.cacheStatus === "HIT"

/** The limits that an attempt reported. An answer from the gateway's cache reports old ones. */
const toldBy = (exit: Exit.Exit<SentAttempt, GatewayError>, today: number): ToldLimits | undefined => {
  if (Exit.isSuccess(exit)) {
    return isCached(exit.value) ? undefined : toldLimits(exit.value.response.headers, today)
  }
  const error = Exit.findErrorOption(exit)
  if (error._tag === "None") return undefined
  const { reason, retryAfter } = error.value
  // An exhausted quota says nothing about rates.
  return isThrottle(reason) && retryAfter !== undefined ? { retryAfter } : undefined
}

const isLate = (exit: Exit.Exit<unknown, GatewayError>): boolean => {
  const error = Exit.isSuccess(exit) ? undefined : Exit.findErrorOption(exit)
  return error?._tag === "Some" && error.value.reason._tag === "Timeout" && error.value.reason.phase !== "deadline"
}

/**
 * Admits the attempts of a run on one target. Without own settings nothing waits, but the request still counts under
 * the limits of other routes.
 */
const admission =
  (
    run: Run<unknown>,
    target: Target<never, unknown>,
    settings: LimitSettings | undefined,
    cause: AttemptCause
  ): Admission =>
  ({ expired, make, remaining }) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiber((fiber) => {
        const clock = fiber.getRef(Clock.Clock)
        const now = (): number => monotonicMillisOf(clock)
        const { eventId, state } = run
        const limits = limitsOf(run, target)
        const shared = settings === undefined ? undefined : run.state.limiter
        const since = now()

        const onQueue = (): void => state.tell?.({ _tag: "Queued", eventId, target: target.key })

        const take = (own: WaitClass, needs: Needs, longest: number): Effect.Effect<Permit, GatewayError> => {
          const from = now()
          const maxWait = settings === undefined ? 0 : Math.min(longest, settings.maxWait)
          const held =
            settings === undefined
              ? Effect.succeed(limits.count(from, needs))
              : limits.acquire(clock, settings, { class: own, needs, maxWait, onQueue }, from)
          return Effect.flatMap(held, (first) => {
            if (shared === undefined) return Effect.succeed(permitOf(first))
            // Recorded at once, because a caller that stops waiting at the last moment may have got a permit.
            const taken = [permitOf(first)]
            const rest = Math.max(0, maxWait - first.waited)
            const reservation = {
              tokens: needs.tokens,
              place: needs.place,
              urgent: own === "urgent",
              priority: run.priority,
              maxWait: rest
            }
            const acquired = Effect.uninterruptible(
              Effect.map(shared.acquire(baseKeyOf(target.leaf, target.options), reservation), (permit) => {
                taken.push(permit)
              })
            )
            const left = remaining === undefined ? undefined : Math.max(1, remaining - (now() - since))
            const within = restore(timeoutOrElse(acquired, left, expired))
            return Effect.onExit(
              Effect.map(within, () => together(taken)),
              (exit) =>
                Exit.isSuccess(exit)
                  ? Effect.void
                  : Effect.forEach(taken, (permit) => permit.settle({ sent: false }), { discard: true })
            )
          })
        }

        // Repeats go first; a hedge never waits.
        const isRepeat = cause !== "first" && run.slots.length > 0
        const own: WaitClass = cause === "hedge" ? "background" : isRepeat ? "urgent" : run.priority
        const longest = cause === "hedge" ? 0 : (remaining ?? Number.POSITIVE_INFINITY)
        const needs = needsOf(run, limits, settings)
        const entered = Effect.mapError(take(own, needs, longest), (error) => {
          if (error.reason._tag !== "Rejected") return error
          return remaining !== undefined && now() - since >= remaining
            ? expired()
            : ofTarget(error, target, run.eventId)
        })
        return Effect.flatMap(entered, (permit) => {
          const at = now()
          const left = remaining === undefined ? undefined : remaining - (at - since)
          if (left !== undefined && left <= 0) {
            return Effect.andThen(permit.settle({ sent: false }), Effect.fail(expired()))
          }
          let latency: number | undefined
          const settling: Settling = {
            again: Effect.suspend(() =>
              take("urgent", { requests: 1, tokens: 0, place: false }, Number.POSITIVE_INFINITY)
            ),
            settle: (one, outcome, end) => {
              if (end === undefined) return one.settle(outcome)
              // An answer from the gateway's cache was fast, whatever the provider does.
              if (Exit.isSuccess(end)) return one.settle(isCached(end.value) ? outcome : { ...outcome, latency })
              return one.settle(isLate(end) ? { ...outcome, throttled: true } : outcome)
            }
          }
          // Not measured by the clock: an open limiter also takes some microseconds.
          const waited = Duration.toMillis(permit.waited) > 0 ? permit.waited : undefined
          return underPermit(permit, settling, (beforeResend) =>
            Effect.onExit(restore(make(left, beforeResend, waited)), (exit) => {
              limits.timed ??= run.mode
              if (limits.timed === run.mode) latency = now() - at
              const told = toldBy(exit, clock.currentTimeMillisUnsafe())
              return (told === undefined ? undefined : permit.learn?.(told)) ?? Effect.void
            })
          )
        })
      })
    )

/** Returns the admission of an attempt on a target: that of the run, and within it the limits of the target. */
export const admissionOf = (
  run: Run<unknown>,
  target: Target<never, unknown>,
  cause: AttemptCause
): Admission | undefined => {
  const outer = run.admission
  if (target.limits === undefined && run.state.of(target).limits === undefined) return outer
  const inner = admission(run, target, target.limits, cause)
  if (outer === undefined) return inner
  return (pending) =>
    outer({
      ...pending,
      make: (remaining, beforeResend, before) =>
        inner({
          ...pending,
          remaining,
          make: (left, again, waited) =>
            pending.make(
              left,
              Effect.andThen(beforeResend, again),
              before === undefined || waited === undefined ? (before ?? waited) : Duration.sum(before, waited)
            )
        })
    })
}

/** Whether an attempt on a target would have to wait for its limits. */
export const isFull = (run: Run<unknown>, target: Target<never, unknown>, now: number): boolean => {
  if (target.limits === undefined) return false
  const limits = limitsOf(run, target)
  return !limits.isOpenTo(target.limits, needsOf(run, limits, target.limits), now)
}
