/**
 * Calls targets under their breakers: skips those that are open, and chooses one when all of them are.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { GatewayError, Rejected } from "../../GatewayError.ts"
import type { Admitted, BreakerSettings } from "../admission/breaker.ts"
import { defined } from "../data/defined.ts"
import { monotonicMillis, monotonicMillisOf } from "../data/monotonic.ts"
import { logWithLevel } from "../hotpath/logWithLevel.ts"
import { withoutStack } from "../hotpath/stackless.ts"
import type { Target } from "../route/plan.ts"
import { endWith, method, type Run, skip } from "./attempt.ts"
import { runTarget } from "./client.ts"
import type { Guard } from "./engines.ts"
import { type ClientRun, isOpenBreaker, type Position, type Refused } from "./walk.ts"

/** The failure of a target whose breaker is open. */
const rejected = ({ target, until }: Refused<never, unknown>, now: number, eventId: string): GatewayError =>
  withoutStack(
    () =>
      new GatewayError({
        method,
        reason: new Rejected({ by: "breaker", retryAfter: Duration.millis(Math.max(0, Math.ceil(until - now))) }),
        provider: target.leaf.provider,
        eventId,
        ...defined({ model: target.leaf.model })
      })
  )

/** Whether a target's breaker is open until the given time. */
export const isOpen = ({ state }: Run<unknown>, target: Target<never, unknown>, now: number, at: number): boolean => {
  if (target.breaker === undefined) return false
  const until = state.of(target).facts?.breaker(target.breaker).look(now)
  return until !== undefined && until > at
}

/** Makes an attempt if the breaker of its target allows it; otherwise the router skips the target. */
export const guarded = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  target: Target<In, Out>,
  settings: BreakerSettings,
  place: Position,
  make: (guard: Guard) => Effect.Effect<A, GatewayError>
): Effect.Effect<A, GatewayError> =>
  // A granted probe must be returned, however the caller ends.
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiber((fiber) => {
      const { facts } = run.state.of(target)
      if (facts === undefined) return Effect.die(new Error("a router that was made before its first breaker"))
      const clock = fiber.getRef(Clock.Clock)
      const breaker = facts.breaker(settings)
      const refuse = (open: Extract<Admitted, { readonly isOpen: true }>): GatewayError => {
        const refused: Refused<In, Out> = { target, place, ...open }
        run.refused.push(refused)
        return rejected(refused, monotonicMillisOf(clock), run.eventId)
      }
      return Effect.flatMap(breaker.admit(clock, fiber.context), (admitted) => {
        if (admitted.isOpen) {
          const error = refuse(admitted)
          skip(run, target, error.reason)
          return Effect.fail(error)
        }
        let { pass } = admitted
        const guard: Guard = {
          pass: () => pass,
          // The caller skips the target.
          again: Effect.suspend(() =>
            pass.isProbe
              ? Effect.void
              : Effect.uninterruptible(
                  Effect.flatMap(breaker.admit(clock, fiber.context), (now) => {
                    if (now.isOpen) return Effect.fail(refuse(now))
                    pass = now.pass
                    return Effect.void
                  })
                )
          )
        }
        return Effect.onExit(restore(make(guard)), () => {
          // Without an attempt there is no outcome to record.
          if (!pass.isTaken) pass.end("ignored", 0, monotonicMillisOf(clock))
          return Effect.void
        })
      })
    })
  )

/** Time that a run waits for the first target to return when all breakers are open, in milliseconds. */
const patience = 5_000
/** Time until the next check of a target that was rejected again, in milliseconds. */
const pause = 100

/** Removes the record of a skipped target that is called after all. */
const takeBack = <In, Out, A>({ refused, skipped }: ClientRun<In, Out, A>, one: Refused<In, Out>): void => {
  const { key } = one.target
  refused.splice(0, refused.length, ...refused.filter(({ target }) => target.key !== key))
  const kept = skipped.filter(
    ({ reason, target }) => target !== key || reason._tag !== "Rejected" || reason.by !== "breaker"
  )
  skipped.splice(0, skipped.length, ...kept)
}

/**
 * Handles a run whose breakers are all open: waits for the first target that returns and probes it, or makes one
 * attempt on it now.
 */
const returned = Effect.fnUntraced(function* <In, Out, A>(
  run: ClientRun<In, Out, A>,
  outer: Position
): Effect.fn.Return<A, GatewayError> {
  const isLone = new Set(run.refused.map(({ target }) => target.key)).size === 1
  const patient = (yield* monotonicMillis) + patience
  while (true) {
    const now = yield* monotonicMillis
    const sorted = run.refused.toSorted((a, b) => a.until - b.until)
    const next = sorted.find(({ isExhausted }) => !isExhausted)
    const [soonest] = sorted
    if (isLone || next === undefined) {
      if (soonest === undefined) return yield* Effect.die(new Error("no targets"))
      const error = rejected(soonest, now, run.eventId)
      endWith(run, "open", error)
      return yield* error
    }
    const { place, target, until } = next
    // Without the plans around it, which have been walked.
    const own: Position = { ...outer, deadline: place.deadline }
    if (until > patient || (place.deadline !== undefined && until >= place.deadline)) {
      yield* logWithLevel("Debug", `all breakers are open: ${target.key} is called anyway`)
      takeBack(run, next)
      run.state.tell?.({ _tag: "Panic", eventId: run.eventId, target: target.key })
      return yield* runTarget(run, target, { ...own, isOnce: true, isPanic: true })
    }
    if (until > now) {
      const delay = Duration.millis(until - now)
      run.state.tell?.({ _tag: "Waiting", eventId: run.eventId, target: target.key, delay })
      yield* Effect.sleep(delay)
    }
    takeBack(run, next)
    const sent = run.slots.length
    const ended = yield* Effect.matchEffect(runTarget(run, target, own), {
      onSuccess: (answer) => Effect.succeed({ answer }),
      onFailure: (error) =>
        // Another run may be the probe; this one waits for its result.
        isOpenBreaker(error) && run.slots.length === sent ? Effect.succeed(undefined) : Effect.fail(error)
    })
    if (ended !== undefined) return ended.answer
    // Not at once: a store may give no hint.
    const soon = (yield* monotonicMillis) + pause
    const refused = run.refused.map((one) => (one.until > soon ? one : { ...one, until: soon }))
    run.refused.splice(0, refused.length, ...refused)
  }
})

/** Runs a walk through a plan with breakers. If something was sent, its failure stands. */
export const unlessAllOpen = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  walked: Effect.Effect<A, GatewayError>,
  outer: Position
): Effect.Effect<A, GatewayError> =>
  Effect.suspend(() => {
    const sent = run.slots.length
    return Effect.catch(walked, (error) =>
      run.refused.length > 0 &&
      run.slots.length === sent &&
      (isOpenBreaker(error) || error.reason._tag === "Unsupported")
        ? returned(run, outer)
        : Effect.fail(error)
    )
  })
