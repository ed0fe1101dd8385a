/**
 * One attempt on one target: send, wait for the first byte, read, decode, record.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import {
  type Attempt,
  type AttemptCause,
  decide,
  type EndedBy,
  GatewayError,
  InvalidRequest,
  type Reason,
  type Skipped,
  Timeout,
  Unsupported
} from "../../GatewayError.ts"
import type * as GatewayOptions from "../../GatewayOptions.ts"
import type { GatewayResponse } from "../../GatewayResponse.ts"
import * as LogTrail from "../../LogTrail.ts"
import type { Meter, Requested } from "../../Pricing.ts"
import type { LegInput } from "../../UniversalRequest.ts"
import type { Admission } from "../admission/admission.ts"
import type { Pass } from "../admission/breaker.ts"
import type { Priority } from "../admission/permit.ts"
import type { Purse } from "../admission/retryBudget.ts"
import type { RunFacts } from "../data/attempts.ts"
import { defined, type Mutable } from "../data/defined.ts"
import { monotonicMillisOf } from "../data/monotonic.ts"
import { operationOf } from "../data/telemetry.ts"
import type { Usage } from "../dialect/chat.ts"
import type { OpenSpan } from "../hotpath/span.ts"
import { withoutStack } from "../hotpath/stackless.ts"
import { timeoutOrElse } from "../hotpath/timeoutOrElse.ts"
import type { Leaf, Rejection, Unbuildable } from "../route/node.ts"
import type { Plan, Target } from "../route/plan.ts"
import { type Additions, add } from "./additions.ts"
import type { Mode, RouterState } from "./state.ts"

/** Sends requests to a gateway: `GatewayService.run`, and no other part of it. */
export type SendLegs = (
  request: LegInput | ReadonlyArray<LegInput>,
  options: GatewayOptions.Input & {
    readonly record: false
    readonly beforeResend?: Effect.Effect<void, GatewayError> | undefined
  }
) => Effect.Effect<GatewayResponse, GatewayError>

/**
 * Ends of the deadlines of a run, by node, in milliseconds of the monotonic clock. A node that has not begun is absent.
 */
export type Deadlines = Map<Plan<never, unknown>, number>

/** The orders that a run has chosen, by balance. */
export type Orders = Map<Plan<never, unknown>, Plan<never, unknown>>

/** State of one run of a route. */
export interface Run<In> {
  readonly send: SendLegs
  readonly input: In
  readonly eventId: string
  /** A slot for each attempt, in order of start; filled when the attempt ends. */
  readonly slots: Array<Attempt | undefined>
  /** Targets that were skipped, in order. */
  readonly skipped: Array<Skipped>
  readonly mode: Mode
  /** Priority in the queues of limits. */
  readonly priority: Priority
  /** The key of a balance by session. */
  readonly session: string | undefined
  readonly state: RouterState
  /** Purses that this run has paid into; absent if further attempts are not counted. */
  readonly purses: Array<Purse> | undefined
  /** Why no further attempt was made, where the last failure does not tell. The next attempt clears it. */
  readonly ending: { by?: { readonly ended: EndedBy; readonly reason?: Reason } | undefined }
  /** Whether to omit the log line about failures that were overcome. */
  readonly quiet: boolean
  readonly admission: Admission | undefined
  readonly additions: Additions | undefined
  /** Whether some of its targets have breakers. */
  readonly isGuarded: boolean
  /** Adds up the cost of the run; absent without prices. */
  readonly meter: Meter | undefined
  /** Kept for streams, which can restart. */
  readonly deadlines?: Deadlines
  /** Kept for streams: targets whose attempt was abandoned because another one answered. */
  readonly superseded?: Set<Target<never, unknown>>
  /** Kept for streams: the orders of its balances. */
  readonly orders?: Orders
}

/** See {@link Lane}. */
export type CloseAttempt = (isSuperseded: boolean) => boolean

/** One of several targets that are called at the same time. */
export interface Lane {
  /**
   * Called when an attempt of the lane has started. `close` records it as interrupted before its fiber ends, and
   * returns whether it was open.
   */
  readonly started: (target: Target<never, unknown>, close: CloseAttempt) => void
}

/** Facts that an attempt gets with its target. */
export interface Asked {
  /** Time until the deadline, in milliseconds. */
  readonly remaining: number | undefined
  readonly cause: AttemptCause
  /** Whether the gateway may have cached the answer that this attempt replaces. */
  readonly skipsCache: boolean
  /** Admits the attempt. Absent: it is made at once. */
  readonly admission: Admission | undefined
  readonly lane?: Lane | undefined
  /** The pass of its breaker, which ends with the attempt. */
  readonly pass?: (() => Pass) | undefined
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

/** The slot of an attempt in its run. */
export interface Slot {
  readonly number: number
  /** Records the first output. */
  readonly output: () => void
  readonly fill: LogTrail.OnAttempt
}

/** Describes a target for the prices. */
export const requestedOf = ({ key, leaf: { model, provider } }: Target<never, unknown>): Requested => ({
  target: key,
  provider,
  ...defined({ requestedModel: model })
})

/** Records a target as skipped: nothing is sent to it. */
export const skip = (
  { eventId, skipped, state }: Run<unknown>,
  target: Target<never, unknown>,
  reason: Reason
): void => {
  skipped.push({ target: target.key, reason })
  state.tell?.({ _tag: "Skipped", eventId, target: target.key, reason })
}

/** Removes the record, because the target has been called or will be. */
export const unskip = ({ skipped }: Run<unknown>, { reason }: GatewayError): void => {
  const index = skipped.findLastIndex((one) => one.reason === reason)
  if (index >= 0) skipped.splice(index, 1)
}

/**
 * Takes the next slot of a run, for an attempt that starts now. Returns a failure if the run could then cost more than
 * its limit.
 */
export const takeSlot = (
  run: Run<unknown>,
  target: Target<never, unknown>,
  clock: Clock.Clock,
  cause: AttemptCause,
  /** The request body. */
  body: unknown,
  pass?: Pass,
  /** Legs that the request can reach, if it is not only this target, and the leg that an outcome belongs to. */
  legs?: {
    readonly targets: ReadonlyArray<Target<never, unknown>>
    readonly answered: (made: Attempt) => Target<never, unknown> | undefined
  }
): Slot | GatewayError => {
  const { ending, eventId, meter, mode, purses, slots } = run
  const spending = meter?.begin((legs?.targets ?? [target]).map(requestedOf), body)
  if (spending !== undefined && "_tag" in spending) return failureOf(target, spending, eventId)
  const state = run.state.of(target)
  const now = monotonicMillisOf(clock)
  const facts = state.begin(mode, now, pass)
  const number = slots.push(undefined)
  run.state.tell?.({
    _tag: "AttemptStarted",
    eventId,
    target: target.key,
    number,
    cause,
    provider: target.leaf.provider,
    ...defined({ model: target.leaf.model })
  })
  ending.by = undefined
  const { purse } = state
  if (purses !== undefined && purse !== undefined && !purses.includes(purse)) {
    purses.push(purse)
    purse.deposit(now)
  }
  return {
    number,
    output: () => facts.output(monotonicMillisOf(clock)),
    fill: (made, { delivered }) => {
      if (spending !== undefined) made.cost = spending.end(made, delivered)
      slots[number - 1] = made
      const answered = legs?.answered(made)
      const outcomes = legs === undefined ? state.facts : answered && run.state.of(answered).facts
      const ended = monotonicMillisOf(clock)
      const { tell } = run.state
      if (tell !== undefined) {
        const { key } = target
        if (made.superseded === true) tell({ _tag: "Superseded", eventId, target: key, number })
        const toOutput = facts.millis === undefined ? undefined : Duration.millis(facts.millis)
        tell({ _tag: "AttemptEnded", eventId, target: made.target, mode, attempt: made, ...defined({ toOutput }) })
      }
      // The time that another leg took is unknown.
      const isOwn = legs === undefined || answered === target
      facts.end(made, ended, clock.currentTimeMillisUnsafe(), outcomes, isOwn)
    }
  }
}

/** Pays for a further attempt on a target, if the budget allows it. The first attempt at a provider is free. */
export const canPay = ({ purses, state }: Run<unknown>, target: Target<never, unknown>, now: number): boolean => {
  const purse = purses === undefined ? undefined : state.of(target).purse
  return purse === undefined || purses?.includes(purse) !== true || purse.withdraw(now)
}

/** Lists the attempts of the run that have ended, in order of start. */
export const attemptsOf = ({ slots }: Run<unknown>): ReadonlyArray<Attempt> =>
  slots.filter((made) => made !== undefined)

/** Adds the attributes of a run to its span: some at once, the others when it ends. */
export const traceRun = (span: OpenSpan, run: Run<unknown>, execution: "client" | "gateway"): void => {
  span.annotate({ "ai_gateway.execution": execution, "ai_gateway.event_id": run.eventId })
  span.atEnd(() => {
    const attempts = attemptsOf(run)
    const last = attempts.findLast(({ outcome }) => outcome === "success") ?? attempts.at(-1)
    return {
      "gen_ai.operation.name": last && operationOf(last.endpoint),
      "ai_gateway.attempts": attempts.length
    }
  })
}

const endedBy = ({ reason }: GatewayError, { ending }: Run<unknown>): EndedBy => {
  const { again, next } = decide(reason)
  // In a race, one branch may be out of time while another one stops the run.
  if (!again && !next) return "stop"
  // Another branch may have ended for a different cause before.
  const by = ending.by?.reason === undefined || ending.by.reason === reason ? ending.by?.ended : undefined
  return by ?? (reason._tag === "Timeout" && reason.phase === "deadline" ? "deadline" : "attempts")
}

/** Records why nothing more is tried after a failure that does not tell by itself. */
export const endWith = ({ ending }: Run<unknown>, ended: EndedBy, { reason }: GatewayError): void => {
  ending.by = { ended, reason }
}

/** Facts for the error of a run. */
export const factsOf = (error: GatewayError, run: Run<unknown>): RunFacts => ({
  attempts: attemptsOf(run),
  skipped: [...run.skipped],
  ended: endedBy(error, run),
  cost: run.meter?.total()
})

/** A decoded answer and the target that it belongs to. */
export interface Answered<Out> {
  readonly value: Out
  readonly target: string
  readonly provider: string
  readonly model: string | undefined
  readonly usage: Usage | undefined
  readonly response: GatewayResponse
  /** Index of the leg that answered, if the gateway executed the route. */
  readonly step: number | undefined
}

/** Method in the errors of a router. */
export const method = "Router.run"

const read = (
  response: GatewayResponse,
  accept: Leaf<never, unknown>["accept"]
): Effect.Effect<unknown, GatewayError> =>
  accept === "json" ? response.json : accept === "text" ? response.text : response.bytes

/** Tokens of answers that `Route.validate` rejected, by failure. */
const rejectedUsage = new WeakMap<Reason, Usage>()

/** The failure of an answer that could be read, but was rejected. */
export const rejected = (response: GatewayResponse, { issue, usage }: Rejection, text: string): GatewayError => {
  const error = response.invalid(issue, text, "validate")
  if (usage !== undefined) rejectedUsage.set(error.reason, usage)
  return error
}

/** Returns the tokens of an answer that was rejected for this reason. */
export const usageOf = (reason: Reason | undefined): Usage | undefined => reason && rejectedUsage.get(reason)

/** Reads and decodes a body. One that does not decode is an `InvalidResponse` with a short excerpt. */
export const decode = <In, Out>(
  target: Target<In, Out>,
  response: GatewayResponse,
  step: number | undefined
): Effect.Effect<Answered<Out>, GatewayError> =>
  Effect.flatMap(read(response, target.leaf.accept), (body) => {
    const decoded = target.leaf.decode(body)
    if (Result.isFailure(decoded)) {
      const { failure } = decoded
      const excerpt = target.leaf.accept === "bytes" ? Effect.succeed("") : response.text
      return Effect.flatMap(excerpt, (text) =>
        Effect.fail(
          "issue" in failure
            ? rejected(response, failure, text)
            : response.invalid(`${failure.field}: expected ${failure.accepted}`, text)
        )
      )
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

/** Fields that an outcome adds to the record of an attempt. `answer`: the answer behind a failure, if there was one. */
export const ended = (
  exit: Exit.Exit<Answered<unknown>, GatewayError>,
  answer: GatewayResponse | undefined
): LogTrail.Ended => {
  if (Exit.isSuccess(exit)) {
    const { model, provider, response, step, target, usage, value } = exit.value
    const { cacheStatus, eventId, logId } = response.meta
    const answeredBy = step ?? response.meta.step
    const out: Mutable<LogTrail.Ended> = { target, provider, status: response.status, delivered: value }
    if (usage !== undefined) out.usage = usage
    if (cacheStatus !== undefined) out.cacheStatus = cacheStatus
    if (eventId !== undefined) out.eventId = eventId
    if (logId !== undefined) out.logId = logId
    if (model !== undefined) out.model = model
    if (response.resent) out.resent = true
    if (answeredBy !== undefined) out.step = answeredBy
    return out
  }
  const failed = LogTrail.failed(exit)
  return { ...failed, ...defined({ cacheStatus: answer?.meta.cacheStatus, usage: usageOf(failed.error) }) }
}

/** The record of an abandoned attempt. `answer`: the part that had begun to arrive. */
export const abandoned = (answer: GatewayResponse | undefined, isSuperseded: boolean): LogTrail.Ended =>
  defined({
    cacheStatus: answer?.meta.cacheStatus,
    eventId: answer?.meta.eventId,
    logId: answer?.meta.logId,
    status: answer?.status,
    superseded: isSuperseded ? true : undefined
  })

const failureOf = ({ leaf }: Target<never, unknown>, reason: Reason, eventId: string): GatewayError => {
  const { model, provider } = leaf
  return new GatewayError({ method, reason, provider, eventId, ...defined({ model }) })
}

/**
 * The failure of a target that had the given number of milliseconds. A deadline reports no `limit`, because the target
 * only had the rest of it.
 */
export const expired = (
  phase: "firstByte" | "deadline",
  target: Target<never, unknown>,
  millis: number,
  eventId: string
): GatewayError =>
  withoutStack(() =>
    failureOf(target, new Timeout({ phase, ...(phase === "firstByte" && { limit: Duration.millis(millis) }) }), eventId)
  )

/**
 * The failure of a target whose request could not be built. The router skips a target for something that only this
 * target cannot express.
 */
export const unbuildable = (
  target: Target<never, unknown>,
  { accepted, field, isUnsupported }: Unbuildable,
  run: Run<unknown>
): GatewayError => {
  const reason = isUnsupported
    ? new Unsupported({ field, accepted })
    : new InvalidRequest({ origin: "client", field, accepted })
  if (isUnsupported) skip(run, target, reason)
  return failureOf(target, reason, run.eventId)
}

/** Runs an attempt that may be rejected before it is sent; the router then skips the target. */
export const admitted = <A>(
  run: Run<unknown>,
  target: Target<never, unknown>,
  attempt: Effect.Effect<A, GatewayError>
): Effect.Effect<A, GatewayError> =>
  Effect.tapError(attempt, ({ reason }) => {
    if (reason._tag !== "Rejected") return Effect.void
    skip(run, target, reason)
    if (reason.by === "cost") run.ending.by = { ended: "cost" }
    return Effect.void
  })

/**
 * Takes a slot, makes the attempt and records its end. The end is set up before the beginning: a fiber can be
 * interrupted between any two steps, and each attempt that has begun must end.
 */
export const recorded = <S extends Pick<Slot, "fill">, A>(
  take: (fiber: Fiber.Fiber<unknown, unknown>) => S | GatewayError,
  startedOf: (slot: S) => LogTrail.Started,
  ask: (slot: S, running: LogTrail.Running) => Effect.Effect<A, GatewayError>,
  describe: (exit: Exit.Exit<A, GatewayError>) => LogTrail.Ended
): Effect.Effect<A, GatewayError> => {
  let running: LogTrail.Running | undefined
  const begun = Effect.withFiber((fiber) => {
    const slot = take(fiber)
    if (slot instanceof GatewayError) return Effect.fail(slot)
    running = LogTrail.beginUnsafe(fiber, startedOf(slot), slot.fill)
    return ask(slot, running)
  })
  return Effect.onExit(begun, (exit) => {
    running?.end(exit, describe(exit))
    return Effect.void
  })
}

/** Makes one attempt. The deadline includes the body; the target's own timeout ends with the first byte. */
export const attempt = <In, Out>(
  run: Run<In>,
  target: Target<In, Out>,
  asked: Asked
): Effect.Effect<Answered<Out>, GatewayError> => {
  const { eventId, meter } = run
  const { admission, lane } = asked
  const { leaf, timeout } = target
  const built = leaf.build(run.input)
  if (Result.isFailure(built)) return Effect.fail(unbuildable(target, built.failure, run))
  const { dropped, endpoint, query } = built.success
  const make = (
    remaining: number | undefined,
    beforeResend?: Effect.Effect<void, GatewayError>,
    waited?: Duration.Duration
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
    return recorded(
      (fiber) => takeSlot(run, target, fiber.getRef(Clock.Clock), asked.cause, query, asked.pass?.()),
      ({ number }) => {
        const started: Mutable<LogTrail.Started> = {
          target: target.key,
          number,
          cause: asked.cause,
          provider: leaf.provider,
          endpoint,
          eventId
        }
        if (leaf.model !== undefined) started.model = leaf.model
        if (waited !== undefined) started.waited = waited
        if (dropped !== undefined) started.dropped = dropped
        return started
      },
      ({ output }, running) => {
        lane?.started(target, (isSuperseded) => running.end(Exit.interrupt(), abandoned(answer, isSuperseded)))
        return Effect.map(bounded, (answered) => {
          output()
          return answered
        })
      },
      (exit) => ended(exit, answer)
    )
  }
  if (admission === undefined && meter === undefined) return make(asked.remaining)
  return admitted(
    run,
    target,
    admission === undefined
      ? make(asked.remaining)
      : admission({ remaining: asked.remaining, make, expired: () => expired("deadline", target, 0, eventId) })
  )
}
