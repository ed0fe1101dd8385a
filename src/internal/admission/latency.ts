/**
 * Latency of a target to its first output: percentiles over ten minutes, and a load for choosing between targets.
 */

const gamma = 1.05
const logGamma = Math.log(gamma)
/** One millisecond to a quarter of an hour; longer times count as that. */
const buckets = Math.ceil(Math.log(900_000) / logGamma)

const slotMillis = 60_000
const slots = 10

/** Minimum number of samples for a percentile. */
export const fewestSamples = 30

/** Milliseconds after which a peak has decayed by two thirds. */
const decay = 10_000

interface Slot {
  epoch: number
  /** Complete times. */
  readonly seen: Uint32Array
  /** Times that were cut short: they would have been longer. */
  readonly cut: Uint32Array
}

const bucketOf = (millis: number): number =>
  millis <= 1 ? 0 : Math.min(buckets - 1, Math.ceil(Math.log(millis) / logGamma))

/** Latencies of one target in one mode. Times are milliseconds, `now` of the monotonic clock. */
export class Latency {
  private readonly slots: Array<Slot | undefined> = Array.from({ length: slots }, () => undefined)
  /** A cache, because percentiles are read often and change slowly. */
  private known: { readonly at: number; readonly percentile: number; readonly millis: number | undefined } | undefined
  private cost = 0
  private stamp = 0

  /** Records the time to a first output. */
  observe(millis: number, now: number): void {
    const { seen } = this.slotAt(now)
    const at = bucketOf(millis)
    seen[at] = (seen[at] ?? 0) + 1
    this.weigh(millis, now)
  }

  /** Records a time without output after which the caller stopped waiting: a lower bound. */
  atLeast(millis: number, now: number): void {
    const { cut } = this.slotAt(now)
    const at = bucketOf(millis)
    cut[at] = (cut[at] ?? 0) + 1
    // The target must not look faster than it was, and it may have been slower.
    if (millis > this.costAt(now)) this.weigh(millis, now)
  }

  /** Number of samples in the window. */
  count(now: number): number {
    let count = 0
    for (const { cut, seen } of this.live(now))
      for (let at = 0; at < buckets; at++) count += (seen[at] ?? 0) + (cut[at] ?? 0)
    return count
  }

  /**
   * Returns the time within which a share of all answers begins; `undefined` with fewer than 30 samples, or if so many
   * were cut short that the share was never observed. A time that was cut short counts as a longer one, by the
   * Kaplan-Meier estimator: without it, fast answers would be over-represented, and each hedge would make the next one
   * earlier.
   */
  percentile(percentile: number, now: number): number | undefined {
    const { known } = this
    if (known !== undefined && known.percentile === percentile && now - known.at < 1_000 && known.at <= now) {
      return known.millis
    }
    const millis = this.estimate(percentile, now)
    this.known = { at: now, percentile, millis }
    return millis
  }

  /**
   * Returns the decaying peak of recent times, multiplied by the requests that would be open: a lower load means an
   * earlier answer.
   */
  load(pending: number, now: number): number {
    const cost = this.costAt(now)
    return cost === 0 && pending > 0 ? Number.POSITIVE_INFINITY : cost * (pending + 1)
  }

  private estimate(percentile: number, now: number): number | undefined {
    const live = this.live(now)
    let atRisk = this.count(now)
    if (atRisk < fewestSamples) return undefined
    let beyond = 1
    for (let at = 0; at < buckets; at++) {
      let seen = 0
      let cut = 0
      for (const slot of live) {
        seen += slot.seen[at] ?? 0
        cut += slot.cut[at] ?? 0
      }
      if (seen > 0) {
        beyond *= 1 - seen / atRisk
        if (1 - beyond >= percentile - 1e-9) return at === 0 ? 1 : (2 * gamma ** at) / (gamma + 1)
      }
      atRisk -= seen + cut
    }
    return undefined
  }

  private live(now: number): ReadonlyArray<Slot> {
    const epoch = Math.floor(now / slotMillis)
    return this.slots.filter((slot): slot is Slot => slot !== undefined && slot.epoch > epoch - slots)
  }

  private slotAt(now: number): Slot {
    const epoch = Math.floor(now / slotMillis)
    const at = epoch % slots
    const found = this.slots[at]
    if (found?.epoch === epoch) return found
    if (found === undefined) {
      const made: Slot = { epoch, seen: new Uint32Array(buckets), cut: new Uint32Array(buckets) }
      this.slots[at] = made
      return made
    }
    found.epoch = epoch
    found.seen.fill(0)
    found.cut.fill(0)
    return found
  }

  private costAt(now: number): number {
    return this.cost * Math.exp(-Math.max(0, now - this.stamp) / decay)
  }

  private weigh(millis: number, now: number): void {
    const weight = Math.exp(-Math.max(0, now - this.stamp) / decay)
    this.cost = millis > this.cost ? millis : this.cost * weight + millis * (1 - weight)
    this.stamp = now
  }
}
