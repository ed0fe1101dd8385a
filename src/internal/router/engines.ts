/**
 * The place where the client finds the code for plans that ask several targets at once.
 *
 * A bundle holds all that its members name, and most routes have none of them. So the client does not name this code: the combinators of `Route` that make such
 * plans put it here.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { GatewayError } from "../../GatewayError.ts"
import type { Problem } from "../../GatewayOptions.ts"
import type { BreakerSettings, TargetFacts } from "../admission/breaker.ts"
import type { Latency } from "../admission/latency.ts"
import type { Budget } from "../admission/retryBudget.ts"
import type { Balance, Fallback, Hedge, Race, Target } from "../route/plan.ts"
import type { Run } from "./attempt.ts"
import { keepOutcomes, keepTimes } from "./state.ts"
import type { ClientRun, Engine, Position } from "./walk.ts"

interface Engines {
  Hedge?: Engine<"Hedge">
  Race?: Engine<"Race">
  /** What is wrong with the percentiles of hedges under a budget. */
  hedgeProblems?: (percentiles: ReadonlyArray<number>, budget: Budget | undefined) => ReadonlyArray<Problem>
  /** Makes an attempt if the breaker of its target lets it. */
  guarded?: <A>(
    run: Run<unknown>,
    target: Target<never, unknown>,
    settings: BreakerSettings,
    attempt: Effect.Effect<A, GatewayError>
  ) => Effect.Effect<A, GatewayError>
  /** Whether a target is left alone. */
  isOpen?: (run: Run<unknown>, target: Target<never, unknown>, now: number) => boolean
  /** What keeps the outcomes of targets. */
  makeFacts?: () => TargetFacts
  /** What learns the times of targets. */
  makeLatency?: () => Latency
  /** The order of a balance. */
  Balance?: <In, Out, A>(
    run: ClientRun<In, Out, A>,
    plan: Balance<In, Out>,
    context: Context.Context<never>
  ) => Fallback<In, Out>
}

const known: Engines = {}

/** Marks a combinator that needs an engine: a program that has it in its bundle has that code too. */
export const needs = <F>(engines: Engines, self: F): F => {
  const { makeFacts, makeLatency, ...others } = engines
  if (makeFacts !== undefined) keepOutcomes(makeFacts)
  Object.assign(known, others)
  if (makeLatency !== undefined) keepTimes(makeLatency)
  return self
}

const missing = (tag: string) => Effect.die(new Error(`a route with a ${tag} node needs its combinator in the bundle`))

/** Runs a plan by its engine. */
export const runBy = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  plan: Hedge<In, Out> | Race<In, Out>,
  place: Position
): Effect.Effect<A, GatewayError> => {
  if (plan._tag === "Hedge") return known.Hedge === undefined ? missing("Hedge") : known.Hedge(run, plan, place)
  return known.Race === undefined ? missing("Race") : known.Race(run, plan, place)
}

/** Makes an attempt, under the breaker of its target if it has one. */
export const underBreaker = <A>(
  run: Run<unknown>,
  target: Target<never, unknown>,
  attempt: Effect.Effect<A, GatewayError>
): Effect.Effect<A, GatewayError> => {
  const { breaker } = target
  if (breaker === undefined) return attempt
  return known.guarded === undefined ? missing("CircuitBreaker") : known.guarded(run, target, breaker, attempt)
}

/** Whether a target is left alone. */
export const isLeftAlone = (run: Run<unknown>, target: Target<never, unknown>, now: number): boolean =>
  target.breaker !== undefined && known.isOpen?.(run, target, now) === true

/** What is wrong with the percentiles of a plan's hedges. */
export const hedgesIn: NonNullable<Engines["hedgeProblems"]> = (percentiles, budget) =>
  known.hedgeProblems?.(percentiles, budget) ?? []

/** A balance as a fallback in the order of this run. */
export const orderBy = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  plan: Balance<In, Out>,
  context: Context.Context<never>
): Fallback<In, Out> => {
  if (known.Balance === undefined) throw new Error("a route with a Balance node needs its combinator in the bundle")
  return known.Balance(run, plan, context)
}
