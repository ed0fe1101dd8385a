/**
 * One attempt on one target: send, wait for the first byte, read, decode, record.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import { type Attempt, type AttemptCause, GatewayError, InvalidRequest, Timeout } from "../../GatewayError.ts"
import type * as GatewayOptions from "../../GatewayOptions.ts"
import type { GatewayResponse } from "../../GatewayResponse.ts"
import * as LogTrail from "../../LogTrail.ts"
import type { LegInput } from "../../UniversalRequest.ts"
import type { Admission } from "../admission/admission.ts"
import { defined, type Mutable } from "../data/defined.ts"
import type { Usage } from "../dialect/chat.ts"
import { withoutStack } from "../hotpath/stackless.ts"
import { timeoutOrElse } from "../hotpath/timeoutOrElse.ts"
import type { Leaf } from "../route/node.ts"
import type { Plan, Target } from "../route/plan.ts"
import { type Additions, add } from "./additions.ts"

/** How an attempt reaches a gateway: `GatewayService.run`, and nothing else of it. */
export type SendLegs = (
  request: LegInput | ReadonlyArray<LegInput>,
  options: GatewayOptions.Input & {
    readonly record: false
    readonly beforeResend?: Effect.Effect<void, GatewayError> | undefined
  }
) => Effect.Effect<GatewayResponse, GatewayError>

/** Ends of the deadlines of a run, by their nodes: milliseconds of the monotonic clock. A node that is not in it has not begun. */
export type Deadlines = Map<Plan<never, unknown>, number>

/** What belongs to one run of a route. */
export interface Run<In> {
  readonly send: SendLegs
  readonly input: In
  readonly eventId: string
  /** A slot for each attempt, in order of start; filled when it has ended. */
  readonly slots: Array<Attempt | undefined>
  /** No log line when failures were overcome. */
  readonly quiet: boolean
  readonly admission: Admission | undefined
  readonly additions: Additions | undefined
  /** Kept for streams, which may restart. */
  readonly deadlines?: Deadlines
}

/** What an attempt is told beside its target. */
export interface Asked {
  /** What is left of the deadline, in milliseconds. */
  readonly remaining: number | undefined
  readonly cause: AttemptCause
  /** The gateway may have kept the answer that this attempt is to replace. */
  readonly skipsCache: boolean
}

/** The gateway options of one request to a target. */
export const sendingOf = <Resend>(
  { sending }: Target<never, unknown>,
  { skipsCache }: Asked,
  eventId: string,
  beforeResend: Resend
) =>
  skipsCache
    ? { ...sending, eventId, beforeResend, cache: { ...sending.cache, skip: true } }
    : { ...sending, eventId, beforeResend }

/** Takes the next slot of a run, for an attempt that starts. */
export const takeSlot = ({
  slots
}: Run<unknown>): { readonly number: number; readonly fill: (made: Attempt) => void } => {
  const number = slots.push(undefined)
  return {
    number,
    fill: (made) => {
      slots[number - 1] = made
    }
  }
}

/** The attempts of a run that have ended, in order of start. */
export const attemptsOf = ({ slots }: Run<unknown>): ReadonlyArray<Attempt> =>
  slots.filter((made) => made !== undefined)

/** A decoded answer and whose it is. */
export interface Answered<Out> {
  readonly value: Out
  readonly target: string
  readonly provider: string
  readonly model: string | undefined
  readonly usage: Usage | undefined
  readonly response: GatewayResponse
  /** Index of the answering leg, when the gateway executed the route. */
  readonly step: number | undefined
}

/** The method that errors of a router name. */
export const method = "Router.run"

const read = (
  response: GatewayResponse,
  accept: Leaf<never, unknown>["accept"]
): Effect.Effect<unknown, GatewayError> =>
  accept === "json" ? response.json : accept === "text" ? response.text : response.bytes

/** Reads and decodes a body. What does not decode is an `InvalidResponse` with a bounded excerpt. */
export const decode = <In, Out>(
  target: Target<In, Out>,
  response: GatewayResponse,
  step: number | undefined
): Effect.Effect<Answered<Out>, GatewayError> =>
  Effect.flatMap(read(response, target.leaf.accept), (body) => {
    const decoded = target.leaf.decode(body)
    if (Result.isFailure(decoded)) {
      const { accepted, field } = decoded.failure
      const excerpt = target.leaf.accept === "bytes" ? Effect.succeed("") : response.text
      return Effect.flatMap(excerpt, (text) => Effect.fail(response.invalid(`${field}: expected ${accepted}`, text)))
    }
    const { model, usage, value } = decoded.success
    return Effect.succeed({
      value,
      target: target.key,
      provider: response.meta.provider ?? target.leaf.provider,
      model: model ?? response.meta.model ?? target.leaf.model,
      usage,
      response,
      step
    })
  })

/** What an outcome adds to the record of an attempt. `answer`: what was behind a failure, if there was one. */
export const ended = (
  exit: Exit.Exit<Answered<unknown>, GatewayError>,
  answer: GatewayResponse | undefined
): LogTrail.Ended => {
  if (Exit.isSuccess(exit)) {
    const { model, provider, response, step, target } = exit.value
    const { cacheStatus, eventId, logId } = response.meta
    const answeredBy = step ?? response.meta.step
    const out: Mutable<LogTrail.Ended> = { target, provider, status: response.status }
    if (cacheStatus !== undefined) out.cacheStatus = cacheStatus
    if (eventId !== undefined) out.eventId = eventId
    if (logId !== undefined) out.logId = logId
    if (model !== undefined) out.model = model
    if (response.resent) out.resent = true
    if (answeredBy !== undefined) out.step = answeredBy
    return out
  }
  return { ...LogTrail.failed(exit), ...defined({ cacheStatus: answer?.meta.cacheStatus }) }
}

/** The failure of a target that had so many milliseconds. What was left of a deadline says nothing about the deadline. */
export const expired = (
  phase: "firstByte" | "deadline",
  target: Target<never, unknown>,
  millis: number,
  eventId: string
): GatewayError =>
  withoutStack(
    () =>
      new GatewayError({
        method,
        reason: new Timeout({ phase, ...(phase === "firstByte" && { limit: Duration.millis(millis) }) }),
        provider: target.leaf.provider,
        eventId,
        ...defined({ model: target.leaf.model })
      })
  )

/** The failure of a target whose request could not even be made. */
export const unbuildable = (target: Target<never, unknown>, problem: GatewayOptions.Problem, eventId: string) =>
  new GatewayError({
    method,
    reason: new InvalidRequest({ origin: "client", field: problem.field, accepted: problem.accepted }),
    provider: target.leaf.provider,
    eventId,
    ...defined({ model: target.leaf.model })
  })

/** Makes one attempt. The deadline covers the body too, while the target's own timeout ends with the first byte. */
export const attempt = <In, Out>(
  run: Run<In>,
  target: Target<In, Out>,
  asked: Asked
): Effect.Effect<Answered<Out>, GatewayError> => {
  const { admission, eventId } = run
  const { leaf, timeout } = target
  const built = leaf.build(run.input)
  if (Result.isFailure(built)) return Effect.fail(unbuildable(target, built.failure, eventId))
  const { endpoint, query } = built.success
  const make = (
    remaining: number | undefined,
    beforeResend?: Effect.Effect<void, GatewayError>
  ): Effect.Effect<Answered<Out>, GatewayError> => {
    const sent = run.send(
      add(run.additions, target, { provider: leaf.provider, endpoint, headers: leaf.headers, query }),
      sendingOf(target, asked, eventId, beforeResend)
    )
    const first = timeoutOrElse(sent, timeout, (millis) => expired("firstByte", target, millis, eventId))
    let answer: GatewayResponse | undefined
    const answered = Effect.flatMap(first, (response) => {
      answer = response
      return decode(target, response, undefined)
    })
    const bounded = timeoutOrElse(answered, remaining, (millis) => expired("deadline", target, millis, eventId))
    const { fill, number } = takeSlot(run)
    const started: Mutable<LogTrail.Started> = {
      target: target.key,
      number,
      cause: asked.cause,
      provider: leaf.provider,
      endpoint,
      eventId
    }
    if (leaf.model !== undefined) started.model = leaf.model
    return LogTrail.record(bounded, started, (exit) => ended(exit, answer), fill)
  }
  return admission === undefined
    ? make(asked.remaining)
    : admission({ remaining: asked.remaining, make, expired: () => expired("deadline", target, 0, eventId) })
}
