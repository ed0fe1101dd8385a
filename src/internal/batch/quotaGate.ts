/**
 * Holds a batch while a quota is exhausted, and lets one item at a time find out whether it still is.
 */
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { GatewayError, QuotaExhausted } from "../../GatewayError.ts"

const firstProbe = 60_000
const longestProbe = 15 * 60_000
const day = 24 * 3_600_000

/** Milliseconds until the quota should be there again: the answer's hint, midnight UTC for a daily allocation, or unknown. */
const untilReset = (reason: QuotaExhausted, now: number): number | undefined => {
  if (reason.retryAfter !== undefined) return Duration.toMillis(reason.retryAfter)
  return reason.kind === "allocation" ? day - (now % day) : undefined
}

export class QuotaGate {
  private readonly clock: Clock.Clock
  private readonly patience: number
  private until: number | undefined
  /** When the quota was first found exhausted, and nothing was answered since. */
  private since: number | undefined
  private closedAt = Number.NEGATIVE_INFINITY
  private step = firstProbe
  private probing = false
  private changed = Deferred.makeUnsafe<void>()
  /** How often the gate closed. */
  pauses = 0

  /** @param patience milliseconds without a success after which the job gives up */
  constructor(clock: Clock.Clock, patience: number) {
    this.clock = clock
    this.patience = patience
  }

  private notify(): void {
    const before = this.changed
    this.changed = Deferred.makeUnsafe<void>()
    Deferred.doneUnsafe(before, Effect.void)
  }

  /** Until when it is closed, in milliseconds since the epoch. */
  get closedUntil(): number | undefined {
    return this.until
  }

  /** A request that began then was answered, or failed for another reason. What began before the quota was gone says nothing. */
  open(startedAt: number): void {
    if (this.since === undefined || startedAt < this.closedAt) return
    this.since = undefined
    this.until = undefined
    this.step = firstProbe
    this.probing = false
    this.notify()
  }

  /** Whoever was let through to find out did not. */
  abandon(): void {
    if (!this.probing) return
    this.probing = false
    this.notify()
  }

  /** The quota is exhausted for a request that began then. Says whether to wait for it. */
  exhausted(error: GatewayError & { readonly reason: QuotaExhausted }, startedAt: number): "wait" | "give up" {
    const now = this.clock.currentTimeMillisUnsafe()
    // Requests of the same flight say it once.
    const isNew = this.until === undefined || startedAt >= this.until
    if (this.until === undefined) {
      this.pauses++
      this.closedAt = now
    }
    this.since ??= now
    const reset = untilReset(error.reason, now)
    if (reset !== undefined) this.until = Math.max(this.until ?? 0, now + reset)
    else if (isNew) {
      this.until = now + this.step
      this.step = Math.min(longestProbe, this.step * 2)
    }
    this.probing = false
    this.notify()
    return (this.until ?? now) - this.since > this.patience ? "give up" : "wait"
  }

  /** Waits while it is closed. Then one passes to find out (`true`), and the others when that one was answered. */
  readonly pass: Effect.Effect<boolean> = Effect.suspend(() => {
    if (this.until === undefined) return Effect.succeed(false)
    const wait = this.until - this.clock.currentTimeMillisUnsafe()
    if (wait <= 0 && !this.probing) {
      this.probing = true
      return Effect.succeed(true)
    }
    const changed = Deferred.await(this.changed)
    return Effect.andThen(wait <= 0 ? changed : Effect.raceFirst(changed, Effect.sleep(wait)), this.pass)
  })
}
