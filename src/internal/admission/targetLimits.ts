/**
 * One target under the limits of all its routes.
 *
 * Sent requests are facts, and limits are numbers of a route: each set of numbers has its own windows and queue. A
 * request counts in all of them, and waits in one.
 */
import type * as Clock from "effect/Clock"
import type * as Effect from "effect/Effect"
import type { GatewayError } from "../../GatewayError.ts"
import { HeldPermit } from "./heldPermit.ts"
import { type Entry, KeyLimits, noFacts, windowMillis } from "./keyLimits.ts"
import type { LimitSettings } from "./limits.ts"
import type { State } from "./permit.ts"
import type { Needs } from "./waitQueue.ts"

/** Maximum number of sets of numbers that a target remembers. */
const maxSettings = 32

const slotMillis = 1_000
const slots = windowMillis / slotMillis + 1

/** The usage of the last minute, for limits that are set later. */
class Spent {
  private readonly epochs = new Float64Array(slots).fill(Number.NEGATIVE_INFINITY)
  private readonly requests = new Float64Array(slots)
  private readonly tokens = new Float64Array(slots)

  add(now: number, requests: number, tokens: number): void {
    const epoch = Math.floor(now / slotMillis)
    const at = epoch % slots
    if (this.epochs[at] !== epoch) {
      this.epochs[at] = epoch
      this.requests[at] = 0
      this.tokens[at] = 0
    }
    this.requests[at] = (this.requests[at] ?? 0) + requests
    this.tokens[at] = (this.tokens[at] ?? 0) + tokens
  }

  /** Counts it under limits, each second as if all of it had arrived at its end. */
  countIn(limits: KeyLimits, now: number): void {
    this.epochs.forEach((epoch, at) => {
      if (epoch < Math.floor((now - windowMillis) / slotMillis)) return
      limits.count(now, Math.min(now, (epoch + 1) * slotMillis), this.requests[at] ?? 0, this.tokens[at] ?? 0)
    })
  }
}

/** Limits of one target. Times are milliseconds of the monotonic clock. */
export class TargetLimits {
  /**
   * The mode whose answers are timed. A complete answer and the beginning of a stream take different times, and have no
   * common mean.
   */
  timed: "run" | "stream" | undefined
  private readonly facts = noFacts()
  private readonly spent = new Spent()
  private readonly open = new Set<HeldPermit>()
  private readonly known = new Map<string, KeyLimits>()

  /** Whether there is no waiter, and nothing is in flight. */
  get isIdle(): boolean {
    return this.open.size === 0 && Array.from(this.known.values()).every((one) => one.isIdle)
  }

  /** Whether an estimate of tokens matters under any of its limits. */
  get countsTokens(): boolean {
    if (this.facts.learnt?.knowsTokens === true) return true
    for (const one of this.known.values()) if (one.countsTokens) return true
    return false
  }

  /** Returns the state under the given limits. */
  look(settings: LimitSettings, now: number): State {
    return this.of(settings, now).look(now)
  }

  /** Returns the state under each set of numbers. */
  lookAll(now: number): ReadonlyArray<State> {
    return Array.from(this.known.values(), (one) => one.look(now))
  }

  /** Whether a request would be admitted at once, with no waiter before it. */
  isOpenTo(settings: LimitSettings, needs: Needs, now: number): boolean {
    return this.of(settings, now).isOpenTo(now, needs)
  }

  /** Waits until a request fits under its own limits, and counts it under all. Call it in an uninterruptible region. */
  acquire(
    clock: Clock.Clock,
    settings: LimitSettings,
    entry: Entry,
    now: number
  ): Effect.Effect<HeldPermit, GatewayError> {
    return this.of(settings, now).acquire(clock, entry, (at, since) => this.hold(at, entry.needs, at - since))
  }

  /** Counts a request that no limit applies to. */
  count(now: number, needs: Needs): HeldPermit {
    return this.hold(now, needs, 0)
  }

  private hold(now: number, needs: Needs, waited: number): HeldPermit {
    const permit = new HeldPermit(this.known.values(), this.facts, needs, now, waited, (settled, at, counted) => {
      this.open.delete(settled)
      this.spent.add(at, counted.requests, counted.tokens)
    })
    this.open.add(permit)
    return permit
  }

  private of({ key, limits }: LimitSettings, now: number): KeyLimits {
    const found = this.known.get(key)
    if (found !== undefined) return found
    if (this.known.size >= maxSettings) this.drop()
    const made = new KeyLimits(limits, this.facts)
    this.spent.countIn(made, now)
    for (const permit of this.open) permit.join(made, now)
    this.known.set(key, made)
    return made
  }

  /** Forgets the oldest set of numbers without waiters. */
  private drop(): void {
    for (const [key, limits] of this.known) {
      if (limits.hasWaiting) continue
      this.known.delete(key)
      return
    }
  }
}
