/**
 * Counts every request of an item, retries and fallbacks too, against a limiter.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { GatewayError } from "../../GatewayError.ts"
import type { GatewayResponse } from "../../GatewayResponse.ts"
import * as Limiter from "../../Limiter.ts"
import type { Usage } from "../dialect/chat.ts"
import { BeforeResend } from "../transport/request.ts"

/** The permits of one item. */
export interface ItemPermits {
  /** The permit that the item was admitted with; its first request has it. */
  admitted: Limiter.Permit | undefined
  /** The permit of a request whose answer is being read. */
  reading: Limiter.Permit | undefined
  readonly tokens: number
}

/** The item that the fiber works for. */
export const CurrentItemPermits = Context.Reference<ItemPermits | undefined>("effect-ai-gateway/Batch/Sending", {
  defaultValue: () => undefined
})

const take = (
  limiter: Limiter.Limiter,
  key: string,
  sending: ItemPermits
): Effect.Effect<Limiter.Permit, GatewayError> => {
  const { admitted, reading, tokens } = sending
  sending.reading = undefined
  const next =
    admitted === undefined
      ? limiter.acquire(key, { tokens, place: false, urgent: true })
      : Effect.sync(() => {
          sending.admitted = undefined
          return admitted
        })
  return reading === undefined ? next : Effect.andThen(reading.settle(), next)
}

/** Puts requests of items under a limiter, also those that a transport sends a second time on a fresh connection. */
export const limited =
  <Args extends ReadonlyArray<unknown>>(
    limiter: Limiter.Limiter,
    key: string,
    send: (...args: Args) => Effect.Effect<GatewayResponse, GatewayError>
  ) =>
  (...args: Args): Effect.Effect<GatewayResponse, GatewayError> => {
    const run = (...args: Args): Effect.Effect<GatewayResponse, GatewayError> =>
      Effect.suspend(() => {
        let resent: Limiter.Permit | undefined
        const again = Effect.uninterruptible(
          Effect.map(limiter.acquire(key, { place: false, urgent: true }), (permit) => {
            resent = permit
          })
        )
        return Effect.onExit(
          Effect.provideService(send(...args), BeforeResend, again),
          () => resent?.settle() ?? Effect.void
        )
      })
    return Effect.flatMap(CurrentItemPermits, (sending) =>
      sending === undefined
        ? run(...args)
        : Effect.uninterruptibleMask((restore) =>
            Effect.flatMap(take(limiter, key, sending), (permit) =>
              Effect.onExit(restore(run(...args)), (exit) => {
                if (Exit.isSuccess(exit)) {
                  sending.reading = permit
                  return Effect.void
                }
                const error = Exit.findErrorOption(exit)
                return permit.settle(error._tag === "Some" ? Limiter.failed(error.value.reason) : undefined)
              })
            )
          )
    )
  }

const total = (usage: Usage | undefined): number | undefined =>
  usage === undefined
    ? undefined
    : (usage.totalTokens ??
      (usage.inputTokens === undefined && usage.outputTokens === undefined
        ? undefined
        : (usage.inputTokens ?? 0) + (usage.outputTokens ?? 0)))

/** Settles what is left of an item's permits. */
export const settle = (
  sending: ItemPermits,
  usage: Usage | undefined,
  cacheStatus: string | undefined
): Effect.Effect<void> => {
  const { admitted, reading } = sending
  sending.admitted = undefined
  sending.reading = undefined
  const unused = admitted === undefined ? Effect.void : admitted.settle({ sent: false })
  const tokens = cacheStatus === "HIT" ? 0 : total(usage)
  return reading === undefined ? unused : Effect.andThen(unused, reading.settle({ tokens }))
}
