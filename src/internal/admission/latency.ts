/**
 * How long a target takes for its first output: percentiles over ten minutes, and a load for choosing between targets.
 */

const gamma = 1.05
const logGamma = Math.log(gamma)
/** One millisecond to a quarter of an hour; what is longer counts as that. */
const buckets = Math.ceil(Math.log(900_000) / logGamma)

const slotMillis = 60_000
const slots = 10

/** Fewer samples say nothing about a percentile. */
export const fewestSamples = 30

/** Milliseconds after which a peak is forgotten by two thirds. */
const decay = 10_000

interface Slot {
  epoch: number
  /** Times that were seen to their end. */
  readonly seen: Uint32Array
  /** Times that were cut short: the whole would have been longer. */
  readonly cut: Uint32Array
}

const bucketOf = (millis: number): number =>
  millis <= 1 ? 0 : Math.min(buckets - 1, Math.ceil(Math.log(millis) / logGamma))

/** The times of one target in one mode. Times are milliseconds, `now` of the monotonic clock. */
export class Latency {
  private readonly slots: Array<Slot | undefined> = Array.from({ length: slots }, () => undefined)
  /** Percentiles are asked for again and again, and change slowly. */
  private known: { readonly at: number; readonly percentile: number; readonly millis: number | undefined } | undefined
  private cost = 0
  private stamp = 0

  /** A first output came after so long. */
  observe(millis: number, now: number): void {
    const { seen } = this.slotAt(now)
    const at = bucketOf(millis)
    seen[at] = (seen[at] ?? 0) + 1
    this.weigh(millis, now)
  }

  /** No output had come after so long, when the caller stopped waiting: a lower bound. */
  atLeast(millis: number, now: number): void {
    const { cut } = this.slotAt(now)
    const at = bucketOf(millis)
    cut[at] = (cut[at] ?? 0) + 1
    // It must not look faster than it was, and it may have been slower.
    if (millis > this.costAt(now)) this.weigh(millis, now)
  }

  /** Samples that count now. */
  count(now: number): number {
    let count = 0
    for (const { cut, seen } of this.live(now))
      for (let at = 0; at < buckets; at++) count += (seen[at] ?? 0) + (cut[at] ?? 0)
    return count
  }

  /**
   * The time within which a share of all answers begins; `undefined` with fewer than 30 samples, and where so many were
   * cut short that it is beyond what was seen. A time that was cut short counts as one that was longer, by the
   * estimator of Kaplan and Meier: left out, the fast ones would be over-represented, and each hedge would make the
   * next one earlier.
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

  /** The peak of recent times, falling off, times the requests that would be open: the lower, the sooner an answer. */
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
