/** Counts every request of an item, including retries and fallbacks, against a limiter. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { GatewayError } from "../../GatewayError.ts"
import type * as Limiter from "../../Limiter.ts"
import type { Admission, PendingAttempt, SentAttempt } from "../admission/admission.ts"
import { type Settling, underPermit } from "../admission/underPermit.ts"
import { monotonicMillis } from "../data/monotonic.ts"
import { timeoutOrElse } from "../hotpath/timeoutOrElse.ts"

/** The permits of one item. */
export interface ItemPermits {
  /** The permit with which the item was admitted; its first request uses it. */
  entered: Limiter.Permit | undefined
  /** Permits of its other requests that are not settled yet. */
  readonly taken: Set<Limiter.Permit>
  readonly tokens: number
}

/** Puts the requests of an item under a limiter, including those that a transport resends on a fresh connection. */
export const admission =
  (limiter: Limiter.Limiter, key: string, item: ItemPermits): Admission =>
  <A extends SentAttempt>({ expired, make, remaining }: PendingAttempt<A>) => {
    // A caller that stops waiting at the last moment may leave a permit behind, so it is recorded at once.
    const take = (tokens: number): Effect.Effect<Limiter.Permit, GatewayError> =>
      Effect.uninterruptible(
        Effect.map(limiter.acquire(key, { tokens, place: false, urgent: true, priority: "background" }), (permit) => {
          item.taken.add(permit)
          return permit
        })
      )
    const settling: Settling = {
      again: take(0),
      settle: (permit, outcome) => {
        item.taken.delete(permit)
        return permit.settle(outcome)
      }
    }
    const under = (
      permit: Limiter.Permit,
      left: number | undefined,
      restore: <B, E>(self: Effect.Effect<B, E>) => Effect.Effect<B, E>,
      waited?: Duration.Duration
    ): Effect.Effect<A, GatewayError> =>
      underPermit(permit, settling, (beforeResend) => restore(make(left, beforeResend, waited)))
    return Effect.uninterruptibleMask((restore) => {
      const { entered } = item
      if (entered !== undefined) {
        item.entered = undefined
        return under(entered, remaining, restore)
      }
      return Effect.flatMap(monotonicMillis, (askedAt) =>
        Effect.flatMap(restore(timeoutOrElse(take(item.tokens), remaining, expired)), (permit) =>
          Effect.flatMap(monotonicMillis, (now) => {
            const left = remaining === undefined ? undefined : remaining - (now - askedAt)
            return left === undefined || left > 0
              ? under(permit, left, restore, Duration.isZero(permit.waited) ? undefined : permit.waited)
              : Effect.andThen(settling.settle(permit, { sent: false }, undefined), Effect.fail(expired()))
          })
        )
      )
    })
  }

/** Returns the unused permits of an item. */
export const giveBack = ({ entered, taken }: ItemPermits): Effect.Effect<void> => {
  const unused = (permit: Limiter.Permit): Effect.Effect<void> => permit.settle({ sent: false })
  const rest = taken.size === 0 ? Effect.void : Effect.forEach(taken, unused, { discard: true })
  return entered === undefined ? rest : Effect.andThen(unused(entered), rest)
}
