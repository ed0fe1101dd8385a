/**
 * Types of the walk through a plan on the client: the position, and the call of a target.
 */
import type * as Effect from "effect/Effect"
import { type AttemptCause, decide, type GatewayError } from "../../GatewayError.ts"
import type { Building } from "../route/compile.ts"
import type { FallbackOn } from "../route/node.ts"
import type { Plan, Target } from "../route/plan.ts"
import type { Asked, Lane, Run } from "./attempt.ts"

/** The current position in the plan. Times are milliseconds of the monotonic clock. */
export interface Position {
  readonly deadline: number | undefined
  /** Whether a fallback around this position continues after a failure. */
  readonly passes: (error: GatewayError) => boolean
  /** Why the next target is called. */
  readonly cause: AttemptCause
  /**
   * The failure before this position; absent at the beginning. A further attempt that is not paid for fails with it.
   */
  readonly previous?: GatewayError | undefined
  /** Absent while targets are called one at a time. */
  readonly lane?: Lane
  /** Whether the target is called only once, despite its policy. */
  readonly isOnce?: boolean
  /** Whether the breaker is ignored: if all are open, no attempt would otherwise show that a target is back. */
  readonly isPanic?: boolean
}

/** Returns the wait before the next attempt, or that there is none. It ignores hints. */
export type RetryStep = (error: GatewayError) => Effect.Effect<number | undefined>

/**
 * A target with a long wait (by its hint or its limits) while another one was ready. It is called again when all others
 * have failed.
 */
export interface Deferred<In, Out> {
  readonly target: Target<In, Out>
  readonly error: GatewayError
  /** The rest of its policy; absent for all of it. */
  readonly step: RetryStep | undefined
  readonly readyAt: number
  readonly deadline: number | undefined
}

/** A target whose breaker was open, and its position in the plan. */
export interface Refused<In, Out> {
  readonly target: Target<In, Out>
  readonly place: Position
  /** Milliseconds of the monotonic clock. */
  readonly until: number
  /** Nothing is sent to it before that time. */
  readonly isExhausted: boolean
}

/** The call of a target. */
export interface Asking<In, Out, A> {
  /** Makes one attempt on a target. */
  readonly attempt: (target: Target<In, Out>, asked: Asked) => Effect.Effect<A, GatewayError>
  /** Releases an answer that arrived after another one had won. */
  readonly discard: (answer: A) => Effect.Effect<void>
  /** Builds the request of a target. Default: that of its leaf. */
  readonly build?: Building<In> | undefined
}

/** A run, how it calls a target, and its deferred and rejected targets. */
export interface ClientRun<In, Out, A> extends Run<In>, Asking<In, Out, A> {
  readonly deferred: Array<Deferred<In, Out>>
  /** Targets whose breakers were open. */
  readonly refused: Array<Refused<In, Out>>
}

/** Runs a plan of one kind. */
export type Engine<Tag extends Plan<never, unknown>["_tag"]> = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  plan: Extract<Plan<In, Out>, { readonly _tag: Tag }>,
  place: Position
) => Effect.Effect<A, GatewayError>

/** Whether a failure is that of an open breaker: nothing was sent. */
export const isOpenBreaker = ({ reason }: GatewayError): boolean =>
  reason._tag === "Rejected" && reason.by === "breaker"

/** Whether nothing was sent because a breaker or limits rejected it. */
export const isRejected = ({ reason }: GatewayError): boolean => reason._tag === "Rejected"

/** Whether nothing was sent because the run could exceed its cost limit. */
export const isOverCost = ({ reason }: GatewayError): boolean => reason._tag === "Rejected" && reason.by === "cost"

/** Whether a target was skipped. */
export const isPassedOver = (error: GatewayError): boolean => error.reason._tag === "Unsupported" || isRejected(error)

/** The failure to report: a real one takes precedence over a later skipped target. */
export const tellingOf = (before: GatewayError | undefined, error: GatewayError): GatewayError =>
  before !== undefined && isPassedOver(error) && !isPassedOver(before) ? before : error

/** Whether a fallback moves on after a failure. A skipped target has not failed, whatever the list contains. */
export const canFallback = (error: GatewayError, on: FallbackOn | undefined): boolean =>
  isRejected(error) || on === undefined
    ? decide(error.reason).next
    : typeof on === "function"
      ? on(error)
      : on.includes(error.reason._tag)
