/**
 * Calls a target under its breaker.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { GatewayError, Rejected } from "../../GatewayError.ts"
import type { BreakerSettings } from "../admission/breaker.ts"
import { verdictOf } from "../admission/breaker.ts"
import { defined } from "../data/defined.ts"
import { monotonicMillisOf } from "../data/monotonic.ts"
import type { Target } from "../route/plan.ts"
import { method, type Run } from "./attempt.ts"

/** The failure of a target that is left alone until then. */
const rejected = (
  target: Target<never, unknown>,
  until: number,
  now: number,
  isExhausted: boolean,
  eventId: string
) => {
  const { model, provider } = target.leaf
  return new GatewayError({
    method,
    reason: new Rejected({
      by: "breaker",
      retryAfter: Duration.millis(Math.ceil(until - now)),
      ...(isExhausted && { code: "exhausted" })
    }),
    provider,
    eventId,
    ...defined({ model })
  })
}

/** Whether a target is left alone now. */
export const isOpen = ({ state }: Run<unknown>, target: Target<never, unknown>, now: number): boolean =>
  target.breaker !== undefined && state.of(target).facts?.breaker(target.breaker).look(now).isOpen === true

/** Makes an attempt if the breaker of its target lets it; a refusal passes the target over. */
export const guarded = <A>(
  run: Run<unknown>,
  target: Target<never, unknown>,
  settings: BreakerSettings,
  attempt: Effect.Effect<A, GatewayError>
): Effect.Effect<A, GatewayError> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiber((fiber) => {
      const { facts } = run.state.of(target)
      if (facts === undefined) return restore(attempt)
      const clock = fiber.getRef(Clock.Clock)
      const breaker = facts.breaker(settings)
      const now = monotonicMillisOf(clock)
      const admitted = breaker.admit(now)
      if (admitted.isOpen) {
        const error = rejected(target, admitted.until, now, admitted.isExhausted, run.eventId)
        run.skipped.push({ target: target.key, reason: error.reason })
        return Effect.fail(error)
      }
      return Effect.onExit(restore(attempt), (exit) => {
        const error = Exit.isSuccess(exit) ? undefined : Exit.findErrorOption(exit)
        const verdict = Exit.isSuccess(exit)
          ? "success"
          : error?._tag === "Some"
            ? verdictOf(error.value.reason)
            : // Interrupted, or a defect: nobody knows how it would have ended.
              "ignored"
        breaker.end(admitted.isProbe, verdict, monotonicMillisOf(clock))
        return Effect.void
      })
    })
  )
