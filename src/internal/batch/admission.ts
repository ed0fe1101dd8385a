/**
 * Counts every request of an item, retries and fallbacks too, against a limiter.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { GatewayError } from "../../GatewayError.ts"
import * as Limiter from "../../Limiter.ts"
import type { Admission, PendingAttempt, SentAttempt } from "../admission/admission.ts"
import { timeoutOrElse } from "../hotpath/timeoutOrElse.ts"

/** The permits of one item. */
export interface ItemPermits {
  /** The permit that the item was let in with; its first request has it. */
  entered: Limiter.Permit | undefined
  /** Those of its other requests that are not settled yet. */
  readonly taken: Set<Limiter.Permit>
  readonly tokens: number
}

const tokensOf = ({ response, usage }: SentAttempt): number | undefined =>
  response.meta.cacheStatus === "HIT"
    ? 0
    : usage === undefined
      ? undefined
      : (usage.totalTokens ??
        (usage.inputTokens === undefined && usage.outputTokens === undefined
          ? undefined
          : (usage.inputTokens ?? 0) + (usage.outputTokens ?? 0)))

/** How a request counts. One that was interrupted counts as it was reserved, as nobody knows how far it came. */
const outcomeOf = (exit: Exit.Exit<SentAttempt, GatewayError>): Limiter.Outcome | undefined => {
  if (Exit.isSuccess(exit)) return { tokens: tokensOf(exit.value) }
  const error = Exit.findErrorOption(exit)
  return error._tag === "Some" ? Limiter.failed(error.value.reason) : undefined
}

/** Puts the requests of an item under a limiter, also those that a transport sends a second time on a fresh connection. */
export const admission =
  (limiter: Limiter.Limiter, key: string, item: ItemPermits): Admission =>
  <A extends SentAttempt>({ expired, make, remaining }: PendingAttempt<A>) => {
    // Whoever stops waiting at the last moment may leave a permit behind, so it is noted at once.
    const take = (tokens: number): Effect.Effect<Limiter.Permit, GatewayError> =>
      Effect.uninterruptible(
        Effect.map(limiter.acquire(key, { tokens, place: false, urgent: true }), (permit) => {
          item.taken.add(permit)
          return permit
        })
      )
    const settle = (permit: Limiter.Permit, outcome: Limiter.Outcome | undefined): Effect.Effect<void> => {
      item.taken.delete(permit)
      return permit.settle(outcome)
    }
    const under = (
      permit: Limiter.Permit,
      left: number | undefined,
      restore: <B, E>(self: Effect.Effect<B, E>) => Effect.Effect<B, E>
    ): Effect.Effect<A, GatewayError> => {
      let resent: Limiter.Permit | undefined
      const beforeResend = Effect.map(take(0), (permit) => {
        resent = permit
      })
      return Effect.onExit(restore(make(left, beforeResend)), (exit) => {
        const settled = settle(permit, outcomeOf(exit))
        return resent === undefined ? settled : Effect.andThen(settle(resent, undefined), settled)
      })
    }
    return Effect.uninterruptibleMask((restore) => {
      const { entered } = item
      if (entered !== undefined) {
        item.entered = undefined
        return under(entered, remaining, restore)
      }
      return Effect.flatMap(Clock.currentTimeMillis, (askedAt) =>
        Effect.flatMap(restore(timeoutOrElse(take(item.tokens), remaining, expired)), (permit) =>
          Effect.flatMap(Clock.currentTimeMillis, (now) => {
            const left = remaining === undefined ? undefined : remaining - (now - askedAt)
            return left === undefined || left > 0
              ? under(permit, left, restore)
              : Effect.andThen(settle(permit, { sent: false }), Effect.fail(expired()))
          })
        )
      )
    })
  }

/** Gives back what an item has not used. */
export const giveBack = ({ entered, taken }: ItemPermits): Effect.Effect<void> => {
  const unused = (permit: Limiter.Permit): Effect.Effect<void> => permit.settle({ sent: false })
  const rest = taken.size === 0 ? Effect.void : Effect.forEach(taken, unused, { discard: true })
  return entered === undefined ? rest : Effect.andThen(unused(entered), rest)
}
