/**
 * Percentiles of any number of values in constant memory, each within one percent: counts in logarithmic buckets, as in
 * DDSketch (https://www.vldb.org/pvldb/vol12/p2195-masson.pdf).
 */

const gamma = 1.02
const logGamma = Math.log(gamma)
/** Values from a microsecond to 11 days, when the unit is the millisecond; values outside count as the nearer end. */
const smallest = Math.ceil(Math.log(1e-3) / logGamma)
const largest = Math.ceil(Math.log(1e9) / logGamma)

export class Quantiles {
  private readonly buckets = new Float64Array(largest - smallest + 1)
  count = 0
  sum = 0
  min = Number.POSITIVE_INFINITY
  max = Number.NEGATIVE_INFINITY

  /** Counts a value of at least 0. */
  add(value: number): void {
    const bucket = value <= 0 ? smallest : Math.ceil(Math.log(value) / logGamma)
    const at = Math.min(largest, Math.max(smallest, bucket)) - smallest
    this.buckets[at] = (this.buckets[at] ?? 0) + 1
    this.count++
    this.sum += value
    this.min = Math.min(this.min, value)
    this.max = Math.max(this.max, value)
  }

  /** Adds all counts of another one. */
  merge(other: Quantiles): void {
    for (let at = 0; at < this.buckets.length; at++) {
      this.buckets[at] = (this.buckets[at] ?? 0) + (other.buckets[at] ?? 0)
    }
    this.count += other.count
    this.sum += other.sum
    this.min = Math.min(this.min, other.min)
    this.max = Math.max(this.max, other.max)
  }

  /** The value below which a share `q` of all values lies; `undefined` without values. */
  quantile(q: number): number | undefined {
    if (this.count === 0) return undefined
    let left = Math.max(1, Math.ceil(q * this.count))
    for (let at = 0; at < this.buckets.length; at++) {
      left -= this.buckets[at] ?? 0
      if (left <= 0) {
        const middle = (2 * gamma ** (at + smallest)) / (gamma + 1)
        return Math.min(this.max, Math.max(this.min, middle))
      }
    }
    return this.max
  }
}
