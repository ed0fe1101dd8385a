/**
 * Recent outcomes of attempts on a target: counts in slots of a second, over five minutes.
 */

const slotMillis = 1_000
const slots = 300

/** Longest window that can be counted. */
export const longestWindow = slotMillis * slots

/** Maximum number of limits of slow calls that are counted for one target. */
const maxLimits = 16

/** Counts of a window. */
export interface Counts {
  readonly calls: number
  readonly failures: number
  /** Calls whose first output took longer than the given limit. */
  readonly slow: number
}

/** A moment before which nothing counts: its slot, and the counts of that slot by then. */
export interface Mark extends Counts {
  readonly epoch: number
}

/** Successes and failures of one target. Times are milliseconds of the monotonic clock. */
export class Outcomes {
  private readonly calls = new Uint32Array(slots)
  private readonly failures = new Uint32Array(slots)
  private readonly epochs = new Float64Array(slots).fill(Number.NEGATIVE_INFINITY)
  /** Counts of slow calls, by limit. Slots cannot keep every time, so a limit counts from its first use. */
  private readonly slow = new Map<number, Uint32Array>()
  /** Increases with every event that can open a breaker. */
  version = 0

  /** Adds a call. `millis`: the time to its first output; absent if it is not meaningful. */
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
    // The first key is the least recently used limit.
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
