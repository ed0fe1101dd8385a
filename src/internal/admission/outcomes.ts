/**
 * How attempts on a target ended lately: counts in slots of a second, over five minutes.
 */

const slotMillis = 1_000
const slots = 300

/** Longest window that can be looked at. */
export const longestWindow = slotMillis * slots

/** Successes and failures of one target. Times are milliseconds of the monotonic clock. */
export class Outcomes {
  private readonly calls = new Uint32Array(slots)
  private readonly failures = new Uint32Array(slots)
  private readonly epochs = new Float64Array(slots).fill(Number.NEGATIVE_INFINITY)

  add(isFailure: boolean, now: number): void {
    const epoch = Math.floor(now / slotMillis)
    const at = ((epoch % slots) + slots) % slots
    if (this.epochs[at] !== epoch) {
      this.epochs[at] = epoch
      this.calls[at] = 0
      this.failures[at] = 0
    }
    this.calls[at] = (this.calls[at] ?? 0) + 1
    if (isFailure) this.failures[at] = (this.failures[at] ?? 0) + 1
  }

  /** Counts of the last `window` milliseconds, but of nothing that was before `since`. */
  count(window: number, since: number, now: number): { readonly calls: number; readonly failures: number } {
    const last = Math.floor(now / slotMillis)
    const first = Math.max(last - Math.ceil(window / slotMillis) + 1, Math.ceil(since / slotMillis))
    let calls = 0
    let failures = 0
    for (let epoch = first; epoch <= last; epoch++) {
      const at = ((epoch % slots) + slots) % slots
      if (this.epochs[at] !== epoch) continue
      calls += this.calls[at] ?? 0
      failures += this.failures[at] ?? 0
    }
    return { calls, failures }
  }
}
