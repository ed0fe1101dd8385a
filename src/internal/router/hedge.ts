/**
 * Calls one target after the other, and also calls the next one when the one before it is late.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { AttemptCause, GatewayError } from "../../GatewayError.ts"
import type { Problem } from "../../GatewayOptions.ts"
import type { WithheldBy } from "../../RouterEvent.ts"
import type { Latency } from "../admission/latency.ts"
import type { Budget } from "../admission/retryBudget.ts"
import { monotonicMillisOf } from "../data/monotonic.ts"
import { after } from "../hotpath/timer.ts"
import type { Hedging } from "../route/node.ts"
import { type Hedge, type Plan, type Target, targetsOf } from "../route/plan.ts"
import { canPay, requestedOf, unskip } from "./attempt.ts"
import { runDeferred, runPlan } from "./client.ts"
import { Cursor, type Step } from "./cursor.ts"
import { breakerIsOpen, isHeldBack } from "./engines.ts"
import { inLanes, type Lanes } from "./lanes.ts"
import { anySideEffects } from "./sideEffects.ts"
import { type ClientRun, isOpenBreaker, isOverCost, isRejected, type Position, tellingOf } from "./walk.ts"

/** Milliseconds before a hedge of a target; `undefined` for none. */
const delayOf = ({ after }: Hedging, latency: Latency | undefined, now: number): number | undefined => {
  if (typeof after === "number") return after
  const { atLeast = 0, atMost, percentile } = after
  const learnt = latency?.percentile(percentile, now)
  return learnt === undefined ? atMost : Math.min(atMost ?? Number.POSITIVE_INFINITY, Math.max(atLeast, learnt))
}

/** The targets that a plan may call first. A balance prefers one whose breaker is closed, and a race calls all. */
const nextTargets = <In, Out>(plan: Plan<In, Out>, input: In): ReadonlyArray<Target<In, Out>> => {
  switch (plan._tag) {
    case "Target":
      return [plan]
    case "Fallback":
      return plan.plans.slice(0, 1).flatMap((child) => nextTargets(child, input))
    case "Balance":
    case "Race":
      return plan.plans.flatMap((child) => nextTargets(child, input))
    case "Hedge":
    case "Deadline":
      return nextTargets(plan.plan, input)
    case "When":
      return nextTargets(plan.predicate(input) ? plan.onTrue : plan.onFalse, input)
  }
}

class HedgedRun<In, Out, A> {
  private readonly outer: ClientRun<In, Out, A>
  /** The same run, with a list of its own for deferred targets. */
  private readonly run: ClientRun<In, Out, A>
  private readonly hedging: Hedging
  private readonly place: Position
  private readonly lanes: Lanes<A>
  private readonly context: Context.Context<never>
  private readonly cursor: Cursor<In, Out, A>
  /** The only target, if there is just one. */
  private readonly lone: Target<In, Out> | undefined
  /** The steps that have been opened. */
  private readonly asked: Array<Step<In, Out>> = []
  /** The steps that were opened because another one was late. */
  private readonly hedges = new Set<Step<In, Out>>()
  private left: number
  /** The failure to report so far. */
  private last: GatewayError | undefined

  constructor(
    run: ClientRun<In, Out, A>,
    { plan }: Hedge<In, Out>,
    hedging: Hedging,
    place: Position,
    lanes: Lanes<A>,
    context: Context.Context<never>
  ) {
    this.outer = run
    this.run = { ...run, deferred: [] }
    this.hedging = hedging
    this.place = place
    this.lanes = lanes
    this.context = context
    this.cursor = new Cursor(this.run, plan, place, context)
    const [first, ...others] = targetsOf(plan, run.input)
    this.lone = others.length === 0 ? first : undefined
    this.left = hedging.max
  }

  private now(): number {
    return monotonicMillisOf(Context.get(this.context, Clock.Clock))
  }

  /** Opens the next lane, if there is one. */
  open(cause: AttemptCause, previous: GatewayError | undefined): boolean {
    const step = this.cursor.next(this.now())
    if (step === undefined) return false
    if (cause === "hedge") this.hedges.add(step)
    else this.hedges.delete(step)
    this.start(step, { ...step.place, cause, previous })
    return true
  }

  private start(step: Step<In, Out>, place: Position): void {
    this.asked.push(step)
    // The clock belongs to the newest lane, and starts with its attempt.
    this.lanes.clock(() => {})
    this.lanes.start({
      ask: (lane) => runPlan(this.run, step.plan, { ...place, lane }),
      onFailure: (error) => this.failed(step, error),
      // Plans with several targets at once manage their own clock.
      onStart: step.plan._tag === "Target" ? (target) => this.arm(target) : undefined
    })
  }

  /** Sets the clock for the lane that was admitted last. */
  private arm(target: Target<never, unknown>): void {
    const { mode, state } = this.run
    const delay = this.left > 0 ? delayOf(this.hedging, state.of(target).latency(mode), this.now()) : undefined
    this.lanes.clock(
      delay === undefined
        ? () => {}
        : after(this.context, delay, () => this.lanes.attempt(() => this.hedge(target, Duration.millis(delay))))
    )
  }

  /** Opens one more lane, because `late` has not committed in time. */
  private hedge(late: Target<never, unknown>, after: Duration.Duration): void {
    const { asked, cursor, lone, run } = this
    const now = this.now()
    const next = cursor.peek(now)
    const plan = next ?? lone
    const [first] = asked
    if (plan === undefined || first === undefined) return
    if (!this.hedging.sideEffects) {
      // One of them may still be running.
      if ([plan, ...asked.map((step) => step.plan)].some((one) => anySideEffects(one, run.input))) {
        this.withhold(plan, "sideEffects")
        return
      }
    }
    const targets = nextTargets(plan, run.input)
    const isOpen = (target: Target<In, Out>): boolean => breakerIsOpen(run, target, now)
    const isFull = (target: Target<In, Out>): boolean => isHeldBack(run, target, now)
    if (targets.every((target) => isOpen(target) || isFull(target) || this.isTooDear(target))) {
      this.withhold(plan, targets.every(isOpen) ? "breaker" : targets.some(isFull) ? "queue" : "cost")
      return
    }
    // The provider that is hedged pays, because the other one has no first attempts to pay from.
    if (!canPay(run, late, now)) {
      this.withhold(plan, "budget")
      return
    }
    this.left--
    const { eventId, state } = run
    for (const { key } of targets.slice(0, 1)) state.tell?.({ _tag: "Hedged", eventId, target: key, after })
    // The hedge has been paid for.
    if (next !== undefined) this.open("hedge", undefined)
    else this.start(first, { ...first.place, cause: "hedge", isOnce: true, previous: undefined })
  }

  /** Whether the run could exceed its cost limit if a target were called in addition to the open ones. */
  private isTooDear(target: Target<In, Out>): boolean {
    const { build, input, meter } = this.run
    if (meter === undefined) return false
    const built = build === undefined ? target.leaf.build(input) : build(target, input)
    return Result.isSuccess(built) && !meter.fits(requestedOf(target), built.success.query)
  }

  private withhold(plan: Plan<In, Out>, by: WithheldBy): void {
    const { eventId, input, state } = this.run
    for (const { key } of nextTargets(plan, input).slice(0, 1)) {
      state.tell?.({ _tag: "Withheld", eventId, target: key, by, attempt: "hedge" })
    }
  }

  private failed(step: Step<In, Out>, failure: GatewayError): void {
    const { cursor, lanes, lone, outer, place, run } = this
    const isHedge = this.hedges.has(step)
    if (lanes.size > 0 && lone === undefined && isRejected(failure) && (isHedge || isOverCost(failure))) {
      if (isHedge) {
        this.withhold(step.plan, isOverCost(failure) ? "cost" : isOpenBreaker(failure) ? "breaker" : "queue")
      }
      // Nothing was sent, so the step comes next when another lane has failed.
      unskip(run, failure)
      const kept = run.deferred.findIndex(({ error }) => error === failure)
      if (kept >= 0) run.deferred.splice(kept, 1)
      cursor.putBack(step)
      return
    }
    const verdict = cursor.failed(step, failure)
    const error = tellingOf(this.last, failure)
    this.last = error
    if (verdict === "stop") {
      lanes.end(Effect.fail(failure), false)
      return
    }
    if ((verdict === "next" && this.open("fallback", error)) || lanes.size > 0) return
    if (place.passes(error)) {
      // The fallback around it has targets that are ready now, and gets the deferred ones.
      outer.deferred.push(...run.deferred)
      lanes.end(Effect.fail(error), false)
      return
    }
    const goesOn = (one: GatewayError): boolean => cursor.failed(step, one) !== "stop"
    lanes.end(runDeferred(run, goesOn, place, 0, error), false)
  }
}

/** Runs a plan whose targets are hedged. */
export const runHedge = <In, Out, A>(
  run: ClientRun<In, Out, A>,
  plan: Hedge<In, Out>,
  place: Position
): Effect.Effect<A, GatewayError> => {
  const { hedge } = plan
  return hedge === undefined
    ? runPlan(run, plan.plan, place)
    : inLanes<A>(place.lane, run, (lanes, context) => {
        // A plan without targets is rejected before it runs.
        if (!new HedgedRun(run, plan, hedge, place, lanes, context).open(place.cause, place.previous)) {
          lanes.end(Effect.die(new Error("no targets")), false)
        }
      })
}

/** Checks percentiles against the budget: below 1 - ratio, half of it would be spent on answers that are not late. */
export const hedgeProblems = (
  percentiles: ReadonlyArray<number>,
  budget: Budget | undefined
): ReadonlyArray<Problem> => {
  const lowest = budget === undefined ? 0 : 1 - budget.ratio
  return percentiles.some((percentile) => percentile < lowest - 1e-9)
    ? [
        {
          field: "hedge.after.percentile",
          accepted: `at least ${Number(lowest.toFixed(4))}, 1 less budget.ratio of the router`
        }
      ]
    : []
}
