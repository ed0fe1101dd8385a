/**
 * How many at once, found out from the answers: up while latency holds, down when the other side throttles.
 */

/** Bounds and temper of an adaptive limit. */
export interface Adaptive {
  readonly initial: number
  readonly min: number
  readonly max: number
  /** A round whose mean latency is more than so many times the baseline is slow. */
  readonly tolerance: number
}

/** Rounds of fewer answers say too little. */
const minRound = 8
/** Slow rounds in a row after which it is asked whether fewer at once have helped. */
const patience = 6
/** Up to this multiple the baseline follows the mean. */
const drift = 1.2
/** The share of refusals that is worth it: up to it the limit stays as it is. */
const bearable = 0.1
/** The share of refusals from which on the other side has closed. */
const closed = 0.9

/**
 * A round is as many answers as the limit was when it began, about one flight.
 *
 * The limit doubles each round at first, as TCP does, and from nine tenths of where it was last refused on grows by a
 * half. A round that was refused halves it; of a round that was refused in part, so does that part: an upstream that
 * counts by the second refuses now and then at its best rate, and halving for each refusal would leave a third of that
 * rate unused. A slow round takes a tenth. Where fewer at once did not make answers faster, the slowness is not ours,
 * and becomes the new baseline.
 */
export class AdaptiveLimit {
  private readonly bounds: Adaptive
  private limit: number
  private threshold = Number.POSITIVE_INFINITY
  private lastDecrease = Number.NEGATIVE_INFINITY
  private baseline: number | undefined
  private size: number
  private answers = 0
  private refused = 0
  private logSum = 0
  private slowRounds = 0
  private slowFrom = { limit: 1, mean: 0 }
  /** Nobody was let through in the round before this one. */
  private wasClosed = false

  constructor(bounds: Adaptive) {
    this.bounds = bounds
    this.limit = bounds.initial
    this.size = Math.max(minRound, bounds.initial)
  }

  get current(): number {
    return Math.floor(this.limit)
  }

  /**
   * An answer came, or a refusal, which has no latency. `busy`: the limit was what held others back. Who started before
   * the last decrease, or with it, says nothing about the limit since then.
   */
  answered(now: number, startedAt: number, latency: number | undefined, busy: boolean): void {
    if (startedAt <= this.lastDecrease) return
    this.answers++
    if (latency === undefined) this.refused++
    else this.logSum += Math.log(Math.max(latency, 0.01))
    if (busy && this.refused === 0 && this.slowRounds === 0) {
      // Up to the threshold and not beyond: of a limit of 3, one more is a third.
      this.set(this.limit < this.threshold ? Math.min(this.limit + 1, this.threshold) : this.limit + 0.5 / this.limit)
    }
    if (this.answers >= this.size) this.endRound(now)
  }

  private set(limit: number): void {
    this.limit = Math.min(this.bounds.max, Math.max(this.bounds.min, limit))
  }

  private decrease(now: number, factor: number): void {
    this.lastDecrease = now
    this.set(this.limit * factor)
  }

  private endRound(now: number): void {
    const good = this.answers - this.refused
    const share = this.refused / this.answers
    if (share > bearable) {
      // Who refuses everybody has closed for a while, and says nothing about how many it takes when it is open; nor
      // does the round in which it opens.
      const isClosed = share >= closed
      if ((!isClosed && !this.wasClosed) || this.threshold === Number.POSITIVE_INFINITY) {
        this.threshold = this.limit * 0.9
      }
      this.wasClosed = isClosed
      this.decrease(now, 1 - share / 2)
    } else {
      this.wasClosed = false
      if (good > 0) this.judge(now, Math.exp(this.logSum / good))
    }
    this.answers = 0
    this.refused = 0
    this.logSum = 0
    this.size = Math.max(minRound, this.current)
  }

  /** What the mean latency of a round means. */
  private judge(now: number, mean: number): void {
    const baseline = this.baseline ?? mean
    if (mean <= baseline * this.bounds.tolerance) {
      // Follows small changes only: what grows with the limit must not become its own excuse.
      if (mean < baseline) this.baseline = mean
      else this.baseline = mean < baseline * drift ? baseline + (mean - baseline) * 0.02 : baseline
      this.slowRounds = 0
      return
    }
    this.slowRounds++
    // The first slow round began with fewer at once than it ended with: compare with the second.
    if (this.slowRounds === 2) this.slowFrom = { limit: this.limit, mean }
    if (this.slowRounds > patience) {
      const { limit, mean: from } = this.slowFrom
      this.slowRounds = 1
      // Were it ours, latency would have gone down with the limit.
      if (mean > (from * (1 + this.limit / limit)) / 2) {
        this.baseline = mean
        this.slowRounds = 0
        return
      }
    }
    this.threshold = this.limit * 0.9
    this.decrease(now, 0.9)
  }
}
