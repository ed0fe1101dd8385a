/**
 * How attempts on a target ended lately: counts in slots of a second, over five minutes.
 */

const slotMillis = 1_000
const slots = 300

/** Longest window that can be looked at. */
export const longestWindow = slotMillis * slots

/** Most limits of slow calls that are counted for one target. */
const maxLimits = 16

/** Counts of a window. */
export interface Counts {
  readonly calls: number
  readonly failures: number
  /** Calls whose first output took longer than the limit that was asked about. */
  readonly slow: number
}

/** A moment before which nothing counts: its slot, and what had been counted in it by then. */
export interface Mark extends Counts {
  readonly epoch: number
}

/** Successes and failures of one target. Times are milliseconds of the monotonic clock. */
export class Outcomes {
  private readonly calls = new Uint32Array(slots)
  private readonly failures = new Uint32Array(slots)
  private readonly epochs = new Float64Array(slots).fill(Number.NEGATIVE_INFINITY)
  /**
   * By limit. Settings hold thresholds, but slots cannot keep every time, so a limit counts from when it is first asked
   * about.
   */
  private readonly slow = new Map<number, Uint32Array>()
  /** Rises with all that can open a breaker. */
  version = 0

  /** Adds a call. `millis`: the time to its first output; absent when that says nothing. */
  add(isFailure: boolean, now: number, millis?: number): void {
    const at = this.slotAt(Math.floor(now / slotMillis))
    this.calls[at] = (this.calls[at] ?? 0) + 1
    if (isFailure) {
      this.failures[at] = (this.failures[at] ?? 0) + 1
      this.version++
    }
    if (millis === undefined || this.slow.size === 0) return
    for (const [limit, counts] of this.slow) {
      if (millis <= limit) continue
      counts[at] = (counts[at] ?? 0) + 1
      this.version++
    }
  }

  /** Counts calls that are slower than this from now on. */
  watch(limit: number): void {
    const counts = this.slow.get(limit) ?? new Uint32Array(slots)
    // The limit that was asked about longest ago is the first.
    this.slow.delete(limit)
    this.slow.set(limit, counts)
    const [oldest] = this.slow.keys()
    if (this.slow.size > maxLimits && oldest !== undefined) this.slow.delete(oldest)
  }

  /** Counts of the last `window` milliseconds, in whole seconds; nothing before `since` counts. */
  count(window: number, now: number, since?: Mark, limit?: number): Counts {
    const last = Math.floor(now / slotMillis)
    const first = Math.max(last - Math.ceil(window / slotMillis) + 1, since?.epoch ?? Number.NEGATIVE_INFINITY)
    const isMarked = since !== undefined && first === since.epoch
    let calls = isMarked ? -since.calls : 0
    let failures = isMarked ? -since.failures : 0
    let slow = isMarked ? -since.slow : 0
    const ofLimit = limit === undefined ? undefined : this.slow.get(limit)
    for (let epoch = first; epoch <= last; epoch++) {
      const at = ((epoch % slots) + slots) % slots
      if (this.epochs[at] !== epoch) continue
      calls += this.calls[at] ?? 0
      failures += this.failures[at] ?? 0
      slow += ofLimit?.[at] ?? 0
    }
    return { calls, failures, slow }
  }

  /** Marks this moment. */
  mark(now: number, limit?: number): Mark {
    const epoch = Math.floor(now / slotMillis)
    this.slotAt(epoch)
    return { epoch, ...this.count(slotMillis, now, undefined, limit) }
  }

  private slotAt(epoch: number): number {
    const at = ((epoch % slots) + slots) % slots
    if (this.epochs[at] !== epoch) {
      this.epochs[at] = epoch
      this.calls[at] = 0
      this.failures[at] = 0
      for (const counts of this.slow.values()) counts[at] = 0
    }
    return at
  }
}
