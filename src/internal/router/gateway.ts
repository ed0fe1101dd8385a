/**
 * Runs a compiled route: one request whose legs the gateway tries in order.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { type Attempt, type AttemptCause, decide, GatewayError, InvalidResponse, Timeout } from "../../GatewayError.ts"
import type { GatewayResponse } from "../../GatewayResponse.ts"
import * as LogTrail from "../../LogTrail.ts"
import type { Leg } from "../../UniversalRequest.ts"
import { defined } from "../data/defined.ts"
import { monotonicMillis } from "../data/monotonic.ts"
import { timeoutOrElse } from "../hotpath/timeoutOrElse.ts"
import type { Target } from "../route/plan.ts"
import { type Answered, decode, ended, method, type Run, recorded, type Slot, takeSlot } from "./attempt.ts"

/** A compiled route that is about to run, with a leg for each target. */
export interface Compiled<In, Out> {
  readonly legs: ReadonlyArray<Leg>
  readonly targets: ReadonlyArray<Target<In, Out>>
  /** Limit of the complete run in milliseconds, kept here because the gateway has none. */
  readonly deadline: number | undefined
}

/** An answer whose leg is known. */
export interface LegAnswer<In, Out> {
  readonly response: GatewayResponse
  readonly target: Target<In, Out>
  /** Index among all legs of the run. */
  readonly step: number
}

/** Sends the legs from `offset` on, and determines which of them answered. */
export const askLegs = <In, Out>(
  run: Run<In>,
  { legs, targets }: Compiled<In, Out>,
  offset: number
): Effect.Effect<LegAnswer<In, Out>, GatewayError> => {
  const rest = legs.slice(offset)
  const options = { eventId: run.eventId, record: false } as const
  // The transport knows the index of a leg that failed, but not its target.
  const sent = Effect.mapError(run.send(rest, options), (error) => {
    const failed = error.step === undefined ? undefined : targets[offset + error.step]
    return failed === undefined || error.step === undefined ? error : atLeg(error, failed, error.step)
  })
  return Effect.flatMap(sent, (response) => {
    // A single leg needs no index; for a dynamic route or an alias the reported one is a step within it.
    const step = rest.length === 1 ? 0 : response.meta.step
    const target = step === undefined ? undefined : targets[offset + step]
    if (step !== undefined && target !== undefined) return Effect.succeed({ response, target, step: offset + step })
    const issue = step === undefined ? "no cf-aig-step" : `cf-aig-step ${step} names no leg`
    return Effect.flatMap(response.cancel, () =>
      Effect.fail(
        new GatewayError({
          method,
          reason: new InvalidResponse({ status: response.status, issue }),
          ...defined({ logId: response.meta.logId, eventId: response.meta.eventId })
        })
      )
    )
  })
}

/** Assigns a failure of one leg's answer to that leg, whatever the transport knew. */
export const atLeg = (error: GatewayError, target: Target<never, unknown>, step: number): GatewayError => {
  const { eventId, logId, reason } = error
  return new GatewayError({
    method,
    reason,
    step,
    provider: target.leaf.provider,
    ...defined({ eventId, logId, model: target.leaf.model })
  })
}

const withStep = (error: GatewayError, step: number): GatewayError => {
  const { eventId, logId, method, model, provider, reason } = error
  return new GatewayError({ method, reason, step, ...defined({ eventId, logId, model, provider }) })
}

/** Fields of a record that describe a leg. */
const legAt = ({ legs, targets }: Compiled<never, unknown>, index: number) => {
  const leg = legs[index]
  const target = targets[index]
  if (leg === undefined || target === undefined) return undefined
  const { endpoint, provider } = leg
  return { target: target.key, provider, endpoint, ...defined({ model: target.leaf.model }) }
}

const causeAt = (offset: number): AttemptCause => (offset === 0 ? "first" : "fallback")

/**
 * Takes a slot for the request that begins at `offset`: an attempt on its first leg. The time that another leg took is
 * unknown.
 */
export const takeLegSlot = (
  run: Run<unknown>,
  { legs, targets }: Compiled<never, unknown>,
  offset: number,
  fiber: Fiber.Fiber<unknown, unknown>
): Omit<Slot, "output"> & { readonly output: (step: number) => void } => {
  const first = targets[offset]
  if (first === undefined) throw new Error("no leg is left")
  // Only the gateway knows which of several legs failed, and it does not always report it.
  const answered = ({ step = targets.length - offset === 1 ? offset : undefined }: Attempt) =>
    step === undefined ? undefined : targets[step]
  const taken = takeSlot(run, first, fiber.getRef(Clock.Clock), causeAt(offset), legs[offset]?.query, undefined, {
    targets: targets.slice(offset),
    answered
  })
  // A cost limit requires execution on the client.
  if (taken instanceof GatewayError) throw taken
  const { output, ...slot } = taken
  return { ...slot, output: (step) => (step === offset ? output() : undefined) }
}

/** The record of the request that begins at `offset`, before its outcome is known. */
export const legStarted = (
  { eventId }: Run<unknown>,
  compiled: Compiled<never, unknown>,
  offset: number,
  number: number
): LogTrail.Started => {
  return { target: "", number, cause: causeAt(offset), provider: "", endpoint: "", eventId, ...legAt(compiled, offset) }
}

/** Assigns the record to the leg that the gateway reports for a failure. */
export const failedLeg = (
  exit: Exit.Exit<unknown, GatewayError>,
  compiled: Compiled<never, unknown>,
  offset: number
): LogTrail.Ended => {
  const relative = LogTrail.failed(exit).step
  if (relative === undefined) return {}
  const step = offset + relative
  const leg = legAt(compiled, step)
  return leg === undefined ? {} : { ...leg, step }
}

const answeredLeg = (
  exit: Exit.Exit<Answered<unknown>, GatewayError>,
  { legs }: Compiled<never, unknown>
): LogTrail.Ended => {
  const leg = Exit.isSuccess(exit) && exit.value.step !== undefined ? legs[exit.value.step] : undefined
  return leg === undefined ? {} : { endpoint: leg.endpoint }
}

/** Requests the answer of the legs from `offset` on, and records it. */
export type Asking<A> = (offset: number) => Effect.Effect<A, GatewayError>

/** {@link Asking} for a complete answer. Keeps the deadline itself, so that the record reports it. */
export const askWhole = <In, Out>(run: Run<In>, compiled: Compiled<In, Out>): Asking<Answered<Out>> => {
  const { deadline } = compiled
  /** End of the complete run, for all of its requests. */
  let end: number | undefined
  const expired = (): GatewayError =>
    new GatewayError({
      method,
      reason: new Timeout({ phase: "deadline", ...(deadline !== undefined && { limit: Duration.millis(deadline) }) }),
      eventId: run.eventId
    })
  const inTime = <A>(self: Effect.Effect<A, GatewayError>): Effect.Effect<A, GatewayError> =>
    deadline === undefined
      ? self
      : Effect.flatMap(monotonicMillis, (now) => {
          end ??= now + deadline
          return timeoutOrElse(self, end - now, expired)
        })
  return (offset) => {
    let answer: GatewayResponse | undefined
    return recorded(
      (fiber) => takeLegSlot(run, compiled, offset, fiber),
      ({ number }) => legStarted(run, compiled, offset, number),
      ({ output }) =>
        inTime(
          Effect.flatMap(askLegs(run, compiled, offset), ({ response, step, target }) => {
            answer = response
            return Effect.map(
              Effect.mapError(decode(target, response, step), (error) => atLeg(error, target, step - offset)),
              (answered) => {
                output(step)
                return answered
              }
            )
          })
        ),
      (exit) => ({ ...ended(exit, answer), ...answeredLeg(exit, compiled), ...failedLeg(exit, compiled, offset) })
    )
  }
}

/**
 * Runs compiled legs. The gateway retries and falls back. It cannot see that a 2xx answer does not decode, so the legs
 * after such an answer are sent as a separate request.
 */
export const executeGateway = <In, Out, A>(
  { legs }: Compiled<In, Out>,
  ask: Asking<A>
): Effect.Effect<A, GatewayError> => {
  const from = (offset: number): Effect.Effect<A, GatewayError> =>
    Effect.catch(ask(offset), (error) => {
      // Relative to the legs that were sent.
      const step = error.step ?? (legs.length - offset === 1 ? 0 : undefined)
      if (step !== undefined && offset + step + 1 < legs.length && decide(error.reason).next) {
        return from(offset + step + 1)
      }
      // Callers know all legs of the route.
      return Effect.fail(error.step === undefined || offset === 0 ? error : withStep(error, offset + error.step))
    })
  return from(0)
}
