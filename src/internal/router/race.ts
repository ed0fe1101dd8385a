/**
 * Calls all plans at once; the first answer wins.
 */
import * as Effect from "effect/Effect"
import type { GatewayError } from "../../GatewayError.ts"
import type { Race } from "../route/plan.ts"
import { runPlan } from "./client.ts"
import { inLanes } from "./lanes.ts"
import { anySideEffects } from "./sideEffects.ts"
import { type ClientRun, canFallback, type Position, tellingOf } from "./walk.ts"

const alone = <In, Out, A>(run: ClientRun<In, Out, A>): ClientRun<In, Out, A> => ({ ...run, deferred: [] })

/** Runs the plans of a race side by side, or one after the other if a request would change something twice. */
export const runRace = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  plan: Race<In, Out>,
  place: Position
): Effect.Effect<A, GatewayError> => {
  const { on, plans, sideEffects } = plan
  if (plans.length < 2 || (!sideEffects && anySideEffects(plan, run.input))) {
    return runPlan(run, { _tag: "Fallback", on, plans }, place)
  }
  // Branches defer targets in any order, and a fallback looks for its own at the end of a list.
  const branches = plans.map((child) => ({ child, own: alone(run) }))
  return inLanes<A>(place.lane, run, (lanes) => {
    // A branch may fail before the next one has begun.
    let left = branches.length
    let last: GatewayError | undefined
    const failed = (failure: GatewayError): void => {
      const isStop = !canFallback(failure, on) && !place.passes(failure)
      last = tellingOf(last, failure)
      left--
      if (left > 0 && !isStop) return
      for (const { own } of branches) run.deferred.push(...own.deferred)
      lanes.end(Effect.fail(isStop ? failure : last), false)
    }
    for (const { child, own } of branches) {
      lanes.start({ ask: (lane) => runPlan(own, child, { ...place, lane }), onFailure: failed })
    }
  })
}
