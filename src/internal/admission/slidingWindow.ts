/**
 * The remaining allowance of a window, in constant memory.
 *
 * Two rules apply together. The window: units that the other side may have counted within any one window never exceed
 * the limit. The pace: at most a burst is admitted at once, and it refills evenly, so that an allowance is not used up
 * in the first second of every minute.
 *
 * The other side counts a request some time after its admission here: when it answers at the latest, or after `skew`.
 * Units stay in the window from that latest moment on, so a late arrival and an early one cannot add up to too many.
 */

/** Slots of a window. Units expire with their slot, so up to one slot late and never early. */
const slotsPerWindow = 600

/** Units taken, to be settled once. */
export interface Taken {
  readonly slot: number
  readonly units: number
}

/** An allowance of whole units. Times are milliseconds of any monotonic clock. */
export class RateBudget {
  readonly limit: number
  private readonly window: number
  private readonly skew: number
  private readonly burst: number
  private readonly width: number
  private readonly counts: Float64Array
  /** Number of the first slot that still counts. */
  private base = Number.NEGATIVE_INFINITY
  private sum = 0
  private level: number
  private levelAt = Number.NEGATIVE_INFINITY

  /** @param burst units that may be taken at once, at least 1 */
  constructor(limit: number, window: number, skew: number, burst: number) {
    this.limit = limit
    this.window = window
    this.skew = skew
    this.burst = burst
    this.width = window / slotsPerWindow
    this.counts = new Float64Array(slotsPerWindow + Math.ceil(skew / this.width) + 2)
    this.level = burst
  }

  private index(slot: number): number {
    const size = this.counts.length
    return ((slot % size) + size) % size
  }

  private advance(now: number): void {
    const first = Math.floor((now - this.window) / this.width)
    if (first > this.base) {
      if (first - this.base >= this.counts.length) {
        this.counts.fill(0)
        this.sum = 0
      } else {
        for (let slot = this.base; slot < first; slot++) {
          const at = this.index(slot)
          this.sum -= this.counts[at] ?? 0
          this.counts[at] = 0
        }
      }
      this.base = first
    }
    if (now > this.levelAt) {
      const refilled = this.level + ((now - this.levelAt) * this.limit) / this.window
      this.level = Math.min(this.burst, refilled)
      this.levelAt = now
    }
  }

  private add(slot: number, units: number): void {
    const at = this.index(slot)
    this.counts[at] = (this.counts[at] ?? 0) + units
    this.sum += units
  }

  /** Milliseconds until the given units can be taken; 0 means now, infinity never. */
  delay(now: number, units: number): number {
    if (units > this.limit) return Number.POSITIVE_INFINITY
    if (units === 0) return 0
    this.advance(now)
    // More than a burst is taken from a full level, which then becomes negative.
    const missing = Math.min(units, this.burst) - this.level
    const pace = missing > 1e-9 ? (missing * this.window) / this.limit : 0
    let excess = this.sum + units - this.limit
    if (excess <= 0) return Math.ceil(pace)
    let slot = this.base
    for (; excess > 0; slot++) excess -= this.counts[this.index(slot)] ?? 0
    return Math.ceil(Math.max(pace, slot * this.width + this.window - now))
  }

  /**
   * Estimated milliseconds until the given units are taken, behind those `ahead`. Too long if less is used than was
   * reserved.
   */
  estimate(now: number, ahead: number, units: number): number {
    const exact = this.delay(now, Math.min(ahead + units, this.limit))
    const missing = ahead + Math.min(units, this.burst) - this.level
    return Math.max(exact, Math.ceil((missing * this.window) / this.limit))
  }

  /** Counts units that were used before this allowance was made. */
  count(now: number, at: number, units: number): void {
    this.advance(now)
    this.add(Math.max(this.base, Math.floor(at / this.width)), units)
  }

  /** Takes units. The caller has checked that {@link delay} is 0. */
  take(now: number, units: number): Taken {
    this.advance(now)
    const slot = Math.floor((now + this.skew) / this.width)
    this.add(slot, units)
    this.level -= units
    return { slot, units }
  }

  /** Replaces the taken units by the used ones: the other side has counted the request by now. */
  settle(now: number, { slot, units }: Taken, used: number): void {
    this.advance(now)
    this.level = Math.min(this.burst, this.level + units - used)
    if (slot < this.base) return
    this.add(slot, -units)
    this.add(Math.max(this.base, Math.min(slot, Math.floor(now / this.width))), used)
  }

  /** Units in the window that ends now. */
  used(now: number): number {
    this.advance(now)
    return this.sum
  }
}
