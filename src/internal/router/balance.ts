/**
 * The order in which a run calls the children of a balance. It is computed once per run, on entry; after that the
 * balance is a fallback in this order.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Random from "effect/Random"
import { type Choosing, order } from "../admission/choice.ts"
import { monotonicMillisOf } from "../data/monotonic.ts"
import { type Balance, type Fallback, targetsOf } from "../route/plan.ts"
import { breakerIsOpen } from "./engines.ts"
import type { RouterState, TargetState } from "./state.ts"
import type { ClientRun } from "./walk.ts"

/** Maximum number of round-robin balances that a router remembers. */
const maxTurns = 4_096

const turns = new WeakMap<RouterState, Map<string, Float64Array>>()

/** The counters of a round-robin balance, by child. */
const creditsOf = (state: RouterState, key: string, children: number): Float64Array => {
  const own = turns.get(state) ?? new Map<string, Float64Array>()
  turns.set(state, own)
  const credits = own.get(key) ?? new Float64Array(children)
  // The first key is the least recently used.
  own.delete(key)
  own.set(key, credits)
  const [oldest] = own.keys()
  if (own.size > maxTurns && oldest !== undefined) own.delete(oldest)
  return credits
}

/** The facts by which a strategy chooses. The first target of a child for this input stands for the child. */
const choosing = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  { by, plans, weights }: Balance<In, Out>,
  context: Context.Context<never>
): Choosing => {
  const { input, mode, session, state } = run
  const first = plans.map((plan) => targetsOf(plan, input)[0])
  const states = first.map((target) => target && state.of(target))
  const pick = <B>(of: (one: TargetState) => B, none: B): ReadonlyArray<B> =>
    states.map((one) => (one === undefined ? none : of(one)))
  const inFlight = (): ReadonlyArray<number> => pick((one) => one.inFlight, 0)
  const now = monotonicMillisOf(Context.get(context, Clock.Clock))
  const open = first.map((target) => target !== undefined && breakerIsOpen(run, target, now))
  const names = first.map((target) => target?.key ?? "")
  const draw = (): number => Context.get(context, Random.Random).nextDoubleUnsafe()
  switch (by) {
    case "session":
      return session === undefined
        ? { by: "weight", weights, open, draw: draw() }
        : { by, weights, open, session, names, inFlight: inFlight() }
    case "weight":
      return { by, weights, open, draw: draw() }
    case "roundRobin":
      return { by, weights, open, credits: creditsOf(state, JSON.stringify([names, weights]), plans.length) }
    case "leastInFlight":
      return { by, weights, open, inFlight: inFlight() }
    case "latency": {
      const loads = pick((one) => one.latency(mode)?.load(one.inFlight, now) ?? 0, 0)
      return { by, weights, open, loads, draw: draw() }
    }
  }
}

/** Turns a balance into a fallback in the order of this run. */
export const ordered = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  plan: Balance<In, Out>,
  context: Context.Context<never>
): Fallback<In, Out> => {
  const plans = order(choosing(run, plan, context)).flatMap((index) => plan.plans[index] ?? [])
  const made: Fallback<In, Out> = { _tag: "Fallback", on: plan.on, plans }
  run.orders?.set(plan, made)
  const keys = plans.flatMap((child) => targetsOf(child, run.input)[0]?.key ?? [])
  const [target] = keys
  if (target !== undefined) {
    run.state.tell?.({ _tag: "Chosen", eventId: run.eventId, target, by: plan.by, order: keys })
  }
  return made
}
