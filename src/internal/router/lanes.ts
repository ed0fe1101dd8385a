/**
 * Calls several targets at the same time: the first answer wins, and the others are interrupted in the same tick.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { GatewayError } from "../../GatewayError.ts"
import type { Target } from "../route/plan.ts"
import type { CloseAttempt, Lane } from "./attempt.ts"
import type { ClientRun } from "./walk.ts"

/** Options of a lane. */
export interface LaneOptions<A> {
  /** Calls targets; their attempts belong to the given lane. */
  readonly ask: (lane: Lane) => Effect.Effect<A, GatewayError>
  /** Called when the lane has failed. */
  readonly onFailure: (error: GatewayError) => void
  /** Called when its first attempt has started. */
  readonly onStart?: ((target: Target<never, unknown>) => void) | undefined
}

class OpenLane implements Lane {
  private readonly parent: Lane | undefined
  private onStart: LaneOptions<never>["onStart"]
  private readonly attempts: Array<{ readonly target: Target<never, unknown>; readonly close: CloseAttempt }> = []
  fiber: Fiber.Fiber<unknown, unknown> | undefined

  constructor(parent: Lane | undefined, onStart: LaneOptions<never>["onStart"]) {
    this.parent = parent
    this.onStart = onStart
  }

  started(target: Target<never, unknown>, close: CloseAttempt): void {
    this.attempts.push({ target, close })
    this.parent?.started(target, close)
    const { onStart } = this
    this.onStart = undefined
    onStart?.(target)
  }

  /**
   * Records open attempts as interrupted and stops them, without waiting for their clean-up. Returns the targets that
   * were still running.
   */
  stop(isSuperseded: boolean): ReadonlyArray<Target<never, unknown>> {
    const open = this.attempts.filter(({ close }) => close(isSuperseded))
    this.fiber?.interruptUnsafe()
    return open.map(({ target }) => target)
  }
}

/** The lanes of one run. */
export class Lanes<A> {
  private readonly open = new Set<OpenLane>()
  private isOver = false
  private readonly context: Context.Context<never>
  private readonly parent: Lane | undefined
  private readonly run: Pick<ClientRun<never, never, A>, "discard" | "superseded">
  private readonly resume: (end: Effect.Effect<A, GatewayError>) => void
  /** Cancels the clock. */
  private callOff: () => void = () => {}

  constructor(
    context: Context.Context<never>,
    parent: Lane | undefined,
    run: Pick<ClientRun<never, never, A>, "discard" | "superseded">,
    resume: (end: Effect.Effect<A, GatewayError>) => void
  ) {
    this.context = context
    this.parent = parent
    this.run = run
    this.resume = resume
  }

  /** Number of open lanes. */
  get size(): number {
    return this.open.size
  }

  /** Replaces the one clock of these lanes. */
  clock(callOff: () => void): void {
    this.callOff()
    this.callOff = callOff
  }

  /**
   * Runs a step of these lanes. An exception of the caller's functions is a defect of the run, wherever they were
   * called.
   */
  attempt(act: () => void): void {
    try {
      act()
    } catch (cause) {
      this.end(Effect.die(cause), false)
    }
  }

  /** Opens a lane, unless the run is over. */
  start({ ask, onFailure, onStart }: LaneOptions<A>): void {
    if (this.isOver) return
    const lane = new OpenLane(this.parent, onStart)
    this.open.add(lane)
    lane.fiber = Effect.runForkWith(this.context)(
      Effect.onExit(
        Effect.suspend(() => ask(lane)),
        (exit) => this.ended(lane, exit, onFailure)
      )
    )
  }

  /** Ends the run and stops all open lanes. */
  end(result: Effect.Effect<A, GatewayError>, isSuperseded: boolean): void {
    if (this.isOver) return
    this.isOver = true
    this.callOff()
    for (const lane of this.open) {
      const targets = lane.stop(isSuperseded)
      if (isSuperseded) for (const target of targets) this.run.superseded?.add(target)
    }
    this.open.clear()
    this.resume(result)
  }

  /** Interrupts everything and waits for it. */
  readonly interrupt: Effect.Effect<void> = Effect.suspend(() => {
    this.isOver = true
    this.callOff()
    return Fiber.interruptAll([...this.open].flatMap(({ fiber }) => (fiber === undefined ? [] : [fiber])))
  })

  private ended(
    lane: OpenLane,
    exit: Exit.Exit<A, GatewayError>,
    onFailure: (error: GatewayError) => void
  ): Effect.Effect<void> {
    this.open.delete(lane)
    if (this.isOver) return Exit.isSuccess(exit) ? this.run.discard(exit.value) : Effect.void
    if (Exit.isSuccess(exit)) {
      this.end(exit, true)
      return Effect.void
    }
    const error = Exit.findErrorOption(exit)
    if (error._tag === "Some") this.attempt(() => onFailure(error.value))
    else this.end(exit, false)
    return Effect.void
  }
}

/** Calls targets in lanes. `begin` opens the first ones. */
export const inLanes = <A>(
  parent: Lane | undefined,
  run: Pick<ClientRun<never, never, A>, "discard" | "superseded">,
  begin: (lanes: Lanes<A>, context: Context.Context<never>) => void
): Effect.Effect<A, GatewayError> =>
  Effect.withFiber(({ context }) =>
    Effect.callback((resume) => {
      const lanes = new Lanes(context, parent, run, resume)
      lanes.attempt(() => begin(lanes, context))
      return lanes.interrupt
    })
  )
