/**
 * Holds a batch while a quota is exhausted or nothing succeeds, and lets one item at a time probe whether that is over.
 *
 * A failure that is probably not the item's own does not end the item. The item is held until there is evidence. An
 * answer to an item that began later shows that the item was at fault after all. {@link handful} such failures in a row
 * without an answer in between, or one connection that cannot be made, close the gate; all held items are sent again
 * when it opens.
 */
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type GatewayError, type QuotaExhausted, retryAfter } from "../../GatewayError.ts"
import { monotonicMillisOf, waitOf } from "../data/monotonic.ts"
import type { SharedFault } from "./sharedFault.ts"

/** Failures in a row, without an answer in between, that close the gate. */
export const handful = 5
/** Number of failures of an item, after the gate reopened for others, at which it becomes a dead letter. */
const strikes = 3
/** Milliseconds that a held item waits for evidence while nothing else is in flight. */
const grace = 1000
const day = 24 * 3_600_000

/** Why the gate is closed. */
export type PauseCause = "quota" | "outage"

/** Milliseconds until the first probe, which double up to the longest. */
const probes: Readonly<Record<PauseCause, { readonly first: number; readonly longest: number }>> = {
  quota: { first: 60_000, longest: 15 * 60_000 },
  outage: { first: 1000, longest: 30_000 }
}

/** Verdict on a failed item: it passes the gate again, ends as a dead letter, or the job ends and it stays undone. */
export type Verdict = "again" | "deadLetter" | "giveUp"

/** Items that the batch is working on. */
export interface Activity {
  readonly inFlight: number
  readonly entering: number
}

interface Closed {
  cause: PauseCause
  /** Failure of the last probe. */
  error: GatewayError
  /** When it closed. */
  readonly since: number
  readonly fault: SharedFault | undefined
  until: number
  step: number
  probing: boolean
}

interface Held {
  readonly error: GatewayError
  readonly failedAt: number
  readonly fault: SharedFault
  readonly verdict: Deferred.Deferred<Verdict>
}

/**
 * Milliseconds until the quota should be available again: the answer's hint, midnight UTC for a daily allocation, or
 * unknown.
 */
const untilReset = (reason: QuotaExhausted, epoch: number): number | undefined => {
  if (reason.retryAfter !== undefined) return Duration.toMillis(reason.retryAfter)
  return reason.kind === "allocation" ? day - (epoch % day) : undefined
}

/** The gate of a batch. Times are milliseconds of the monotonic clock. */
export class Gate {
  private readonly clock: Clock.Clock
  private readonly activity: Activity
  private readonly patience: Readonly<Record<PauseCause, number>>
  private closed: Closed | undefined
  private changed = Deferred.makeUnsafe<void>()
  private readonly held = new Set<Held>()
  /** Number of items that failed since the last answer. */
  private row = 0
  /** Whether all of them failed because targets rejected credentials or the model. */
  private onlyRefused = true
  private succeeded = false
  private ended = false
  /** Items at the gate that have not failed yet. */
  private newcomers = 0
  /** How often the gate closed. */
  pauses = 0
  /** How often it opened because something succeeded. */
  openings = 0

  /** @param patience milliseconds without an answer after which the job gives up */
  constructor(clock: Clock.Clock, activity: Activity, patience: Readonly<Record<PauseCause, number>>) {
    this.clock = clock
    this.activity = activity
    this.patience = patience
  }

  private now(): number {
    return monotonicMillisOf(this.clock)
  }

  private notify(): void {
    const before = this.changed
    this.changed = Deferred.makeUnsafe<void>()
    Deferred.doneUnsafe(before, Effect.void)
  }

  /** Why it is closed. */
  get cause(): PauseCause | undefined {
    return this.closed?.cause
  }

  /** The failure that keeps it closed. */
  get error(): GatewayError | undefined {
    return this.closed?.error
  }

  /** Until when it is closed, in milliseconds since the epoch. */
  get closedUntil(): number | undefined {
    const { closed } = this
    return closed === undefined
      ? undefined
      : Math.round(this.clock.currentTimeMillisUnsafe() + closed.until - this.now())
  }

  private close(cause: PauseCause, error: GatewayError, now: number, fault: SharedFault | undefined): Closed {
    this.pauses++
    const closed: Closed = { cause, error, since: now, fault, until: now, step: probes[cause].first, probing: false }
    this.closed = closed
    return closed
  }

  private restart(): void {
    this.row = 0
    this.onlyRefused = true
  }

  /**
   * Records an answer to a request that began at `startedAt`: by a provider, or by the gateway without one. A request
   * that began before the gate closed does not open it.
   */
  answered(startedAt: number, by: "provider" | "gateway", isSuccess: boolean): void {
    if (isSuccess && by === "provider") this.succeeded = true
    const { closed } = this
    if (closed === undefined) {
      if (by === "gateway") return
      this.restart()
      for (const one of this.held) {
        if (one.failedAt <= startedAt) Deferred.doneUnsafe(one.verdict, Effect.succeed("deadLetter"))
      }
      return
    }
    if (startedAt < closed.since) return
    if (by === "gateway" && closed.cause === "outage" && closed.fault !== "unreachable") {
      this.abandon(startedAt)
      return
    }
    this.closed = undefined
    this.openings++
    this.restart()
    this.notify()
  }

  /** Ends a probe without a finding; `startedAt` distinguishes it from items that began earlier. */
  abandon(startedAt = Number.POSITIVE_INFINITY): void {
    const { closed } = this
    if (closed === undefined || !closed.probing || startedAt < closed.until) return
    closed.probing = false
    this.notify()
  }

  /** Records that the quota was exhausted for a request that began at `startedAt`. */
  exhausted(error: GatewayError & { readonly reason: QuotaExhausted }, startedAt: number): Verdict {
    const now = this.now()
    // Concurrent requests report it once.
    const isNew = this.closed === undefined || startedAt >= this.closed.until
    const closed = this.closed ?? this.close("quota", error, now, undefined)
    closed.error = error
    if (closed.cause !== "quota") {
      closed.cause = "quota"
      closed.step = probes.quota.first
    }
    const reset = untilReset(error.reason, this.clock.currentTimeMillisUnsafe())
    if (reset !== undefined) closed.until = Math.max(closed.until, now + reset)
    else if (isNew) {
      closed.until = now + closed.step
      closed.step = Math.min(probes.quota.longest, closed.step * 2)
    }
    return closed.until - closed.since > this.patience.quota ? "giveUp" : this.keepClosed(closed)
  }

  /**
   * Records that an item, which began at `startedAt`, failed with a fault that is probably not its own. The verdict may
   * take time: the item returns its place before it waits. `struck`: how often the item failed before and the gate has
   * since opened for others; its failure then says nothing about the others.
   */
  failed(error: GatewayError, fault: SharedFault, startedAt: number, struck: number): Effect.Effect<Verdict> {
    const now = this.now()
    if (struck === 0) this.row++
    this.onlyRefused &&= fault === "refused"
    const { closed } = this
    if (closed !== undefined) {
      // The other items were in flight when it closed.
      return Effect.succeed(startedAt < closed.until ? "again" : this.postpone(closed, error, now, true))
    }
    if (fault === "unreachable" || this.row >= handful) {
      return Effect.succeed(this.postpone(this.close("outage", error, now, fault), error, now, false))
    }
    if (struck >= strikes) return Effect.succeed("deadLetter")
    const one: Held = { error, failedAt: now, fault, verdict: Deferred.makeUnsafe() }
    this.held.add(one)
    return Effect.ensuring(
      this.wait(one),
      Effect.sync(() => this.held.delete(one))
    )
  }

  /** Sets the time of the next probe, while there is patience. */
  private postpone(closed: Closed, error: GatewayError, now: number, isProbe: boolean): Verdict {
    if (closed.cause !== "outage") {
      closed.cause = "outage"
      closed.step = probes.outage.first
    }
    closed.error = error
    const end = closed.since + this.patience.outage
    const hint = retryAfter(error.reason)
    const asked = hint === undefined ? 0 : Duration.toMillis(hint)
    // Waiting does not make a key valid that no target has accepted yet; other requests in flight may prove it valid.
    const isHopeless = isProbe && this.onlyRefused && !this.succeeded && this.activity.inFlight <= 1
    const isOver = isHopeless || now >= end || now + asked > end
    closed.until = isOver ? now + closed.step : Math.min(now + Math.max(closed.step, asked), end)
    closed.step = Math.min(probes.outage.longest, closed.step * 2)
    return isOver ? "giveUp" : this.keepClosed(closed)
  }

  /** Makes all failed items wait for the next probe, whose time is known by now. */
  private keepClosed(closed: Closed): Verdict {
    closed.probing = false
    this.notify()
    for (const one of this.held) Deferred.doneUnsafe(one.verdict, Effect.succeed("again"))
    return "again"
  }

  private wait(one: Held): Effect.Effect<Verdict> {
    const timed = Effect.raceFirst(Deferred.await(one.verdict), Effect.as(Effect.sleep(grace), undefined))
    return Effect.flatMap(timed, (verdict) =>
      verdict !== undefined
        ? Effect.succeed(verdict)
        : this.isIdle
          ? Effect.sync(() => this.expire(one))
          : this.wait(one)
    )
  }

  private get isIdle(): boolean {
    return this.activity.inFlight === 0 && this.activity.entering === 0
  }

  /** Nothing is in flight that could show the cause. */
  private expire(one: Held): Verdict {
    if (this.closed !== undefined) return "again"
    if (this.succeeded) return "deadLetter"
    if (one.fault === "refused" && this.ended) return "giveUp"
    if (one.fault !== "transport") return "deadLetter"
    const now = this.now()
    return this.postpone(this.close("outage", one.error, now, one.fault), one.error, now, false)
  }

  /** Called when fewer items are in flight than before. */
  left(): void {
    if (!this.ended || this.held.size === 0 || !this.isIdle) return
    for (const one of this.held) Deferred.doneUnsafe(one.verdict, Effect.succeed(this.expire(one)))
  }

  /** Called when no more items come. */
  end(): void {
    this.ended = true
    this.left()
  }

  /**
   * Waits while it is closed. Then one item passes as a probe (`true`), and the others when the probe was answered.
   * Items that have not failed yet come first: otherwise a row of bad items would fail probe after probe.
   */
  pass(isNew: boolean): Effect.Effect<boolean> {
    return isNew
      ? Effect.acquireUseRelease(
          Effect.sync(() => this.newcomers++),
          () => this.turn(true),
          () =>
            Effect.sync(() => {
              this.newcomers--
              if (this.closed?.probing === false) this.notify()
            })
        )
      : this.turn(false)
  }

  private turn(isNew: boolean): Effect.Effect<boolean> {
    return Effect.suspend(() => {
      const { closed } = this
      if (closed === undefined) return Effect.succeed(false)
      const now = this.now()
      const wait = waitOf(closed.until - now)
      if (wait <= 0 && !closed.probing && (isNew || this.newcomers === 0)) {
        closed.probing = true
        // The probe does not begin before that time, by no fraction.
        closed.until = Math.min(closed.until, now)
        return Effect.succeed(true)
      }
      const changed = Deferred.await(this.changed)
      return Effect.andThen(wait <= 0 ? changed : Effect.raceFirst(changed, Effect.sleep(wait)), this.turn(isNew))
    })
  }
}
