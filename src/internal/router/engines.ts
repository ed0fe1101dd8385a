/**
 * The registry where the client finds the code for plans that call several targets at once.
 *
 * A bundle holds everything that its members name, and most routes have no such plans. So the client does not name this
 * code: the combinators of `Route` that make such plans register it here.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { AttemptCause, GatewayError } from "../../GatewayError.ts"
import type { Problem } from "../../GatewayOptions.ts"
import type { Admission } from "../admission/admission.ts"
import type { BreakerSettings, Pass } from "../admission/breaker.ts"
import type { Latency } from "../admission/latency.ts"
import type { Budget } from "../admission/retryBudget.ts"
import type { Balance, Fallback, Hedge, Race, Target } from "../route/plan.ts"
import type { Run } from "./attempt.ts"
import { keepOutcomes, keepTimes, type MakeFacts } from "./state.ts"
import type { ClientRun, Engine, Position, RetryStep } from "./walk.ts"

/** The permission of a breaker for one attempt. */
export interface Guard {
  /** The current pass when the attempt begins. */
  readonly pass: () => Pass
  /** Checks the breaker a second time, for an attempt that has waited since. */
  readonly again: Effect.Effect<void, GatewayError>
}

interface Breakers {
  /** Makes an attempt if the breaker of its target allows it. */
  readonly guarded: <In, Out, A>(
    run: ClientRun<In, Out, A>,
    target: Target<In, Out>,
    settings: BreakerSettings,
    place: Position,
    make: (guard: Guard) => Effect.Effect<A, GatewayError>
  ) => Effect.Effect<A, GatewayError>
  /** Whether a target's breaker stays open until `at`, by the knowledge of `now`. */
  readonly isOpen: (run: Run<unknown>, target: Target<never, unknown>, now: number, at: number) => boolean
  /** Continues a walk that has found all breakers open. */
  readonly unlessAllOpen: <In, Out, A>(
    run: ClientRun<In, Out, A>,
    walked: Effect.Effect<A, GatewayError>,
    outer: Position
  ) => Effect.Effect<A, GatewayError>
}

interface Engines {
  Hedge?: Engine<"Hedge">
  Race?: Engine<"Race">
  /** Lists the problems of hedge percentiles under a budget. */
  hedgeProblems?: (percentiles: ReadonlyArray<number>, budget: Budget | undefined) => ReadonlyArray<Problem>
  /** Skips open targets. */
  breakers?: Breakers
  /** Admits attempts on a target. */
  admissionOf?: (run: Run<unknown>, target: Target<never, unknown>, cause: AttemptCause) => Admission | undefined
  /** Whether an attempt on a target would have to wait for its limits. */
  isFull?: (run: Run<unknown>, target: Target<never, unknown>, now: number) => boolean
  /** Keeps a rejected target, to be called when all others have failed. */
  setAside?: SetAside
  /** Makes the record of a target's outcomes. */
  makeFacts?: MakeFacts
  /** Makes the record of a target's latencies. */
  makeLatency?: () => Latency
  /** Orders a balance. */
  Balance?: <In, Out, A>(
    run: ClientRun<In, Out, A>,
    plan: Balance<In, Out>,
    context: Context.Context<never>
  ) => Fallback<In, Out>
}

type SetAside = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  target: Target<In, Out>,
  place: Position,
  error: GatewayError,
  step: RetryStep | undefined,
  failure: GatewayError
) => Effect.Effect<void>

const known: Engines = {}

/** Marks a combinator that needs an engine: a bundle that holds the combinator also holds that code. */
export const needs = <F>(engines: Engines, self: F): F => {
  const { makeFacts, makeLatency, ...others } = engines
  if (makeFacts !== undefined) keepOutcomes(makeFacts)
  Object.assign(known, others)
  if (makeLatency !== undefined) keepTimes(makeLatency)
  return self
}

const missing = (tag: string) => Effect.die(new Error(`a route with a ${tag} node needs its combinator in the bundle`))

/** Runs a plan with its engine. */
export const runBy = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  plan: Hedge<In, Out> | Race<In, Out>,
  place: Position
): Effect.Effect<A, GatewayError> => {
  if (plan._tag === "Hedge") return known.Hedge === undefined ? missing("Hedge") : known.Hedge(run, plan, place)
  return known.Race === undefined ? missing("Race") : known.Race(run, plan, place)
}

/** Makes an attempt under the breaker of its target. */
export const underBreaker: Breakers["guarded"] = (...args) =>
  known.breakers === undefined ? missing("CircuitBreaker") : known.breakers.guarded(...args)

/** Whether a target's breaker is open, now or until a later moment. */
export const breakerIsOpen = (run: Run<unknown>, target: Target<never, unknown>, now: number, at = now): boolean =>
  target.breaker !== undefined && known.breakers?.isOpen(run, target, now, at) === true

/** Returns the admission of an attempt on a target; absent if it need not wait. */
export const admissionFor = (
  run: Run<unknown>,
  target: Target<never, unknown>,
  cause: AttemptCause
): Admission | undefined =>
  known.admissionOf === undefined
    ? target.limits === undefined
      ? run.admission
      : () => missing("Limits")
    : known.admissionOf(run, target, cause)

/** Keeps a rejected target, to be called when all others have failed. */
export const keepInMind: SetAside = (...args) => known.setAside?.(...args) ?? Effect.void

/** Whether an attempt on a target would have to wait for its limits. */
export const isHeldBack = (run: Run<unknown>, target: Target<never, unknown>, now: number): boolean =>
  known.isFull?.(run, target, now) === true

/** Continues a walk that has found all breakers open. */
export const unlessOpen: Breakers["unlessAllOpen"] = (run, walked, outer) =>
  known.breakers === undefined ? missing("CircuitBreaker") : known.breakers.unlessAllOpen(run, walked, outer)

/** Lists the problems of the percentiles of a plan's hedges. */
export const hedgesIn: NonNullable<Engines["hedgeProblems"]> = (percentiles, budget) =>
  known.hedgeProblems?.(percentiles, budget) ?? []

/** Turns a balance into a fallback in the order of this run. */
export const orderBy = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  plan: Balance<In, Out>,
  context: Context.Context<never>
): Fallback<In, Out> => {
  if (known.Balance === undefined) throw new Error("a route with a Balance node needs its combinator in the bundle")
  return known.Balance(run, plan, context)
}
