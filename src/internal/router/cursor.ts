/**
 * Walks a plan target by target, for callers that decide by themselves when to call the next one.
 *
 * The order is that of a run in which every target fails: fallbacks from left to right, the branch of a condition that
 * applies, deadlines from their entry. Plans that call several targets at once are one step.
 */
import type * as Context from "effect/Context"
import { decide, type GatewayError } from "../../GatewayError.ts"
import type { Fallback, Hedge, Plan, Race, Target } from "../route/plan.ts"
import { orderBy } from "./engines.ts"
import { type ClientRun, canFallback, type Position } from "./walk.ts"

/** A fallback that the walk has entered. */
interface Frame<In, Out> {
  readonly plan: Fallback<In, Out>
  /** The position where its next plan begins. */
  readonly inner: Position
  readonly parent: Frame<In, Out> | undefined
  next: number
  /** A failure has moved past it, so none of its plans is called any more. */
  isClosed: boolean
}

/** A fallback that never continues after a failure: hedges cannot reach its other plans either. */
const neverGoesOn = ({ on }: Fallback<never, unknown>): boolean => Array.isArray(on) && on.length === 0

/** The next target to call, and its place in the plan. */
export interface Step<In, Out> {
  readonly plan: Target<In, Out> | Hedge<In, Out> | Race<In, Out>
  readonly place: Position
  /** Its fallbacks, from the innermost to the outermost. */
  readonly frame: Frame<In, Out> | undefined
}

const framesOf = <In, Out>({ frame }: Step<In, Out>): ReadonlyArray<Frame<In, Out>> => {
  const frames: Array<Frame<In, Out>> = []
  for (let around = frame; around !== undefined; around = around.parent) frames.push(around)
  return frames
}

/** Whether no failure has moved past the fallbacks of a step. */
const isReached = <In, Out>(step: Step<In, Out>): boolean => framesOf(step).every(({ isClosed }) => !isClosed)

/** The consequence of a failure: the next step, no more steps, or the end of the run. */
export type Verdict = "next" | "exhausted" | "stop"

/** A walk through one plan. */
export class Cursor<In, Out, A> {
  private readonly run: ClientRun<In, Out, A>
  private readonly place: Position
  private readonly context: Context.Context<never>
  private root: Plan<In, Out> | undefined
  private frame: Frame<In, Out> | undefined
  private readonly returned: Array<Step<In, Out>> = []

  constructor(run: ClientRun<In, Out, A>, plan: Plan<In, Out>, place: Position, context: Context.Context<never>) {
    this.run = run
    this.context = context
    this.root = plan
    this.place = place
  }

  /** Moves to the next step; `undefined` when there is none. */
  next(now: number): Step<In, Out> | undefined {
    const back = this.back()
    if (back !== undefined) return this.returned.shift()
    const { root } = this
    this.root = undefined
    if (root !== undefined) return this.enter(root, this.place, undefined, now)
    const frame = this.leave(now)
    const plan = frame?.plan.plans[frame.next]
    if (frame === undefined || plan === undefined) return undefined
    frame.next++
    return this.enter(plan, frame.inner, frame, now)
  }

  /** The plan that {@link next} would enter. No deadline begins. */
  peek(now: number): Plan<In, Out> | undefined {
    const back = this.back()
    if (back !== undefined) return back.plan
    const frame = this.leave(now)
    return this.root ?? frame?.plan.plans[frame.next]
  }

  /** Puts back a step that sent nothing: it becomes the next one again. */
  putBack(step: Step<In, Out>): void {
    this.returned.push(step)
  }

  /** The first step that was put back and that no failure has moved past. */
  private back(): Step<In, Out> | undefined {
    const { returned } = this
    while (returned[0] !== undefined && !isReached(returned[0])) returned.shift()
    return returned[0]
  }

  /** Decides how the run continues after a failure of a step. */
  failed({ frame }: Pick<Step<In, Out>, "frame">, error: GatewayError): Verdict {
    let goesOn = this.place.passes(error) || (frame === undefined && decide(error.reason).next)
    const passed: Array<Frame<In, Out>> = []
    for (let around = frame; around !== undefined; around = around.parent) {
      if (canFallback(error, around.plan.on)) {
        goesOn = true
        if (this.hasMore(around)) {
          for (const one of passed) one.isClosed = true
          return "next"
        }
      }
      passed.push(around)
    }
    for (const one of passed) one.isClosed = true
    return goesOn ? "exhausted" : "stop"
  }

  /** Whether a fallback has plans left to call, in itself or in an inner one that the walk has entered. */
  private hasMore(around: Frame<In, Out>): boolean {
    if (this.returned.some((step) => isReached(step) && framesOf(step).includes(around))) return true
    let has = false
    for (let frame = this.frame; frame !== undefined; frame = frame.parent) {
      has ||= !frame.isClosed && frame.next < frame.plan.plans.length
      if (frame === around) return has
    }
    return false
  }

  /** Leaves the fallbacks that have no plan left. */
  private leave(now: number): Frame<In, Out> | undefined {
    while (this.frame !== undefined) {
      const { inner, isClosed, next, parent, plan } = this.frame
      const isLate = inner.deadline !== undefined && now >= inner.deadline
      if (!isClosed && !isLate && next < plan.plans.length) return this.frame
      this.frame = parent
    }
    return undefined
  }

  private enter(
    plan: Plan<In, Out>,
    place: Position,
    frame: Frame<In, Out> | undefined,
    now: number
  ): Step<In, Out> | undefined {
    switch (plan._tag) {
      case "Target":
      case "Race":
      case "Hedge":
        return { plan, place, frame }
      case "Fallback": {
        const inner: Position = { ...place, passes: (error) => canFallback(error, plan.on) || place.passes(error) }
        const entered: Frame<In, Out> = { plan, inner, parent: frame, next: 1, isClosed: neverGoesOn(plan) }
        const [first] = plan.plans
        this.frame = entered
        // Called even when it is late: the failure then reports it.
        return first === undefined ? undefined : this.enter(first, inner, entered, now)
      }
      case "Balance":
        return this.enter(orderBy(this.run, plan, this.context), place, frame, now)
      case "When":
        return this.enter(plan.predicate(this.run.input) ? plan.onTrue : plan.onFalse, place, frame, now)
      case "Deadline": {
        const own = now + plan.millis
        this.run.deadlines?.set(plan, own)
        const deadline = place.deadline === undefined ? own : Math.min(place.deadline, own)
        return this.enter(plan.plan, { ...place, deadline }, frame, now)
      }
    }
  }
}
