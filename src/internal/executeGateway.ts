/**
 * Runs a compiled route: one request whose legs the gateway tries in order.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { decide, GatewayError, InvalidResponse, Timeout } from "../GatewayError.ts"
import * as LogTrail from "../LogTrail.ts"
import type { Leg } from "../UniversalRequest.ts"
import { type Answered, decode, ended, method, type Run } from "./attempt.ts"
import { defined } from "./defined.ts"
import type { Target } from "./plan.ts"

/** A compiled route that is about to run: a leg for each target. */
export interface Compiled<In, Out> {
  readonly legs: ReadonlyArray<Leg>
  readonly targets: ReadonlyArray<Target<In, Out>>
  /** Limit of the whole, kept here because the gateway has none; milliseconds. */
  readonly deadline: number | undefined
}

/** Sends the legs from `offset` on and decodes the answer of the leg that the gateway names. */
const send = <In, Out>(
  run: Run<In>,
  { legs, targets }: Compiled<In, Out>,
  offset: number
): Effect.Effect<Answered<Out>, GatewayError> => {
  const rest = legs.slice(offset)
  const options = { ...run.options, eventId: run.eventId, record: false } as const
  return Effect.flatMap(run.send(rest, options), (response) => {
    // Only a single leg can answer without saying which one it is.
    const step = response.meta.step ?? (rest.length === 1 ? 0 : undefined)
    const target = step === undefined ? undefined : targets[offset + step]
    if (step === undefined || target === undefined) {
      const issue = step === undefined ? "no cf-aig-step" : `cf-aig-step ${step} names no leg`
      return Effect.andThen(
        response.cancel,
        Effect.fail(
          new GatewayError({
            method,
            reason: new InvalidResponse({ status: response.status, issue }),
            ...defined({ logId: response.meta.logId, eventId: response.meta.eventId })
          })
        )
      )
    }
    return Effect.mapError(
      decode(target, response, offset + step),
      // The failure is that leg's, whatever the transport knew.
      (error) => withStep(error, target, step)
    )
  })
}

const withStep = (error: GatewayError, target: Target<never, unknown>, step: number): GatewayError => {
  const { eventId, logId, reason } = error
  return new GatewayError({
    method,
    reason,
    step,
    provider: target.leaf.provider,
    ...defined({ eventId, logId, model: target.leaf.model })
  })
}

/** When the gateway says which leg a failure is about, the record is about that leg. */
const failedLeg = (
  exit: Exit.Exit<Answered<unknown>, GatewayError>,
  { legs, targets }: Compiled<never, unknown>,
  offset: number
): LogTrail.Ended => {
  if (Exit.isSuccess(exit)) return {}
  const step = Option.getOrUndefined(Exit.findErrorOption(exit))?.step
  const target = step === undefined ? undefined : targets[offset + step]
  const leg = step === undefined ? undefined : legs[offset + step]
  if (step === undefined || target === undefined || leg === undefined) return {}
  return {
    target: target.key,
    provider: leg.provider,
    endpoint: leg.endpoint,
    step: offset + step,
    ...defined({ model: target.leaf.model })
  }
}

/**
 * Runs compiled legs. The gateway retries and falls back; what it cannot see is a 2xx answer that does not decode, so the
 * legs after such an answer are sent as a request of their own.
 */
export const executeGateway = <In, Out>(
  run: Run<In>,
  compiled: Compiled<In, Out>
): Effect.Effect<Answered<Out>, GatewayError> => {
  const { deadline, legs, targets } = compiled
  const loop = Effect.fnUntraced(function* (): Effect.fn.Return<Answered<Out>, GatewayError> {
    let offset = 0
    while (true) {
      const target = targets[offset]
      const leg = legs[offset]
      if (target === undefined || leg === undefined) return yield* Effect.die(new Error("a compiled route without legs was run"))
      const result = yield* Effect.result(
        LogTrail.record(
          send(run, compiled, offset),
          {
            target: target.key,
            provider: leg.provider,
            endpoint: leg.endpoint,
            eventId: run.eventId,
            ...defined({ model: target.leaf.model })
          },
          (exit) => ({ ...ended(exit), ...failedLeg(exit, compiled, offset) }),
          (made) => run.attempts.push(made)
        )
      )
      if (Result.isSuccess(result)) return result.success
      const error = result.failure
      const step: number | undefined = error.step ?? (legs.length - offset === 1 ? 0 : undefined)
      if (step === undefined || offset + step + 1 >= legs.length || !decide(error.reason).next) return yield* error
      offset += step + 1
    }
  })
  return deadline === undefined
    ? loop()
    : Effect.timeoutOrElse(loop(), {
        duration: deadline,
        orElse: () =>
          Effect.fail(
            new GatewayError({
              method,
              reason: new Timeout({ phase: "deadline", limit: Duration.millis(deadline) }),
              eventId: run.eventId
            })
          )
      })
}
