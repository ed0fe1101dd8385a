/** Admits items: past the gate that a spent quota or an outage closes, and to a place among those in flight. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { GatewayError } from "../../GatewayError.ts"
import type * as Limiter from "../../Limiter.ts"
import { giveBack, type ItemPermits } from "./admission.ts"
import { type Admission, type EngineOptions, ownKey, type Shared } from "./job.ts"

/** Where items wait. Only their waiting can be interrupted. */
export interface Entrance {
  /**
   * Admits an item. If the gate closed while it waited for its place, it passes the gate again. `undefined`: the batch
   * drains.
   */
  readonly enter: (tokens: number, urgent: boolean) => Effect.Effect<Admission | undefined, GatewayError>
  /** Waits a number of milliseconds, and admits an item before new ones; `undefined` when the batch drains. */
  readonly reenter: (tokens: number, wait: number) => Effect.Effect<Admission | undefined, GatewayError>
}

/** Makes the entrance of a batch. */
export const make = (
  { places, rates }: Pick<EngineOptions<never, unknown, unknown, unknown>, "places" | "rates">,
  { counters, drained, gate }: Shared
): Entrance => {
  const hold = (place: Limiter.Permit, permits: ItemPermits | undefined): Admission => {
    let held = true
    counters.inFlight++
    return {
      permits,
      release: (outcome) =>
        Effect.suspend(() => {
          if (!held) return Effect.void
          held = false
          counters.inFlight--
          gate.left()
          const given = place.settle(outcome)
          return permits === undefined ? given : Effect.andThen(giveBack(permits), given)
        })
    }
  }

  /** Takes a place, and a share of the rates. */
  const admit = (tokens: number, urgent: boolean): Effect.Effect<Admission, GatewayError> => {
    const place = places.acquire(ownKey, { requests: 0, urgent })
    if (rates === undefined) return Effect.map(place, (place) => hold(place, undefined))
    const rate = rates.limiter.acquire(rates.key, { tokens, place: false, urgent, priority: "background" })
    return Effect.flatMap(place, (place) =>
      Effect.map(
        Effect.onError(rate, () => place.settle({ sent: false })),
        (entered) => hold(place, { entered, taken: new Set(), tokens })
      )
    )
  }

  const pass: Entrance["enter"] = (tokens, urgent) => {
    const as = (isProbe: boolean): Effect.Effect<Admission | undefined, GatewayError> => {
      const admitted = admit(tokens, urgent)
      const abandon = () => Effect.sync(() => gate.abandon())
      return Effect.flatMap(isProbe ? Effect.onError(admitted, abandon) : admitted, (admission) =>
        isProbe || gate.closedUntil === undefined
          ? Effect.succeed(admission)
          : Effect.andThen(admission.release({ sent: false }), pass(tokens, urgent))
      )
    }
    return Effect.suspend(() => {
      if (gate.closedUntil === undefined) return as(false)
      const passed = Effect.raceFirst(gate.pass(!urgent), Effect.as(Deferred.await(drained), undefined))
      return Effect.flatMap(Effect.interruptible(passed), (isProbe) =>
        isProbe === undefined ? Effect.succeed(undefined) : as(isProbe)
      )
    })
  }

  const underWay = <A, E>(self: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      counters.entering++
      return Effect.ensuring(
        self,
        Effect.sync(() => {
          counters.entering--
          gate.left()
        })
      )
    })

  const enter: Entrance["enter"] = (tokens, urgent) => underWay(pass(tokens, urgent))

  const reenter: Entrance["reenter"] = (tokens, wait) => {
    if (wait === 0) return enter(tokens, true)
    const slept = Effect.raceFirst(Effect.as(Effect.sleep(wait), true), Effect.as(Deferred.await(drained), false))
    return Effect.flatMap(underWay(Effect.interruptible(slept)), (hasWaited) =>
      hasWaited ? enter(tokens, true) : Effect.succeed(undefined)
    )
  }

  return { enter, reenter }
}
