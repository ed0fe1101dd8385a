/**
 * What walks a plan on the client: where it is, and what it asks targets with.
 */
import type * as Effect from "effect/Effect"
import { type AttemptCause, decide, type GatewayError } from "../../GatewayError.ts"
import type { FallbackOn } from "../route/node.ts"
import type { Plan, Target } from "../route/plan.ts"
import type { Asked, Lane, Run } from "./attempt.ts"

/** Where in the plan we are. Times are milliseconds of the monotonic clock. */
export interface Position {
  readonly deadline: number | undefined
  /** Whether a fallback around this place goes on after such a failure. */
  readonly passes: (error: GatewayError) => boolean
  /** Why the next target is asked. */
  readonly cause: AttemptCause
  /** The failure that led here; absent at the beginning. Of a further attempt that is not paid for, it is the error. */
  readonly previous?: GatewayError | undefined
  /** Absent while one target is asked at a time. */
  readonly lane?: Lane
  /** The target is asked once, whatever its policy says. */
  readonly isOnce?: boolean
  /** Whatever its breaker says, too: all targets are left alone, and nobody would find out otherwise. */
  readonly isPanic?: boolean
}

/** Says how long to wait before the next attempt, or that there is none. Hints are not in it. */
export type RetryStep = (error: GatewayError) => Effect.Effect<number | undefined>

/** A target that asked for a long wait while another one was ready. It is asked again when all others have failed. */
export interface Deferred<In, Out> {
  readonly target: Target<In, Out>
  readonly error: GatewayError
  /** What is left of its policy. */
  readonly step: RetryStep
  readonly readyAt: number
  readonly deadline: number | undefined
  /** Its breaker refused it, so nothing was sent. */
  readonly isOpen?: boolean
}

/** How targets are asked. */
export interface Asking<In, Out, A> {
  /** Makes one attempt on a target. */
  readonly attempt: (target: Target<In, Out>, asked: Asked) => Effect.Effect<A, GatewayError>
  /** Lets go of an answer that came when another one had been taken. */
  readonly discard: (answer: A) => Effect.Effect<void>
}

/** A run, how it asks a target, and the targets that it came away from because of a long hint. */
export interface ClientRun<In, Out, A> extends Run<In>, Asking<In, Out, A> {
  readonly deferred: Array<Deferred<In, Out>>
}

/** Runs a plan of one kind. */
export type Engine<Tag extends Plan<never, unknown>["_tag"]> = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  plan: Extract<Plan<In, Out>, { readonly _tag: Tag }>,
  place: Position
) => Effect.Effect<A, GatewayError>

/** Whether a failure is that of a breaker. */
export const isLeftAloneBy = ({ reason }: GatewayError): boolean =>
  reason._tag === "Rejected" && reason.by === "breaker"

/** What a run says at last: a target that was passed over tells less than a failure before it. */
export const tellingOf = (before: GatewayError | undefined, error: GatewayError): GatewayError => {
  const isPassedOver = (one: GatewayError): boolean => one.reason._tag === "Unsupported" || isLeftAloneBy(one)
  return before !== undefined && isPassedOver(error) && !isPassedOver(before) ? before : error
}

/** Whether a fallback moves on after a failure. */
export const canFallback = (error: GatewayError, on: FallbackOn | undefined): boolean =>
  on === undefined ? decide(error.reason).next : typeof on === "function" ? on(error) : on.includes(error.reason._tag)
