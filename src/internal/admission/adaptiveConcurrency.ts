/**
 * Finds the number of requests at once from the answers: up while latency holds, down when the other side throttles.
 */

/** Bounds and sensitivity of an adaptive limit. */
export interface Adaptive {
  readonly initial: number
  readonly min: number
  readonly max: number
  /** Multiple of the baseline above which a round's mean latency is slow. */
  readonly tolerance: number
}

/** Minimum number of answers in a round; fewer are not representative. */
const minRound = 8
/** Number of slow rounds in a row after which the limiter checks whether fewer at once have helped. */
const patience = 6
/** The baseline follows the mean up to this multiple. */
const drift = 1.2
/** Acceptable share of rejections: up to it the limit does not change. */
const bearable = 0.1
/** Share of rejections from which on the other side counts as closed. */
const closed = 0.9

/**
 * An adaptive limit. A round has as many answers as the limit was when it began, about one flight.
 *
 * At first the limit doubles each round, as in TCP; from nine tenths of the last rejected limit on it grows by 0.5 per
 * round. A rejected round halves it, and a partly rejected one reduces it in proportion: an upstream that counts by the
 * second rejects now and then at its best rate, and halving for each rejection would leave a third of that rate unused.
 * A slow round reduces it by a tenth. If fewer requests at once did not make answers faster, the latency has another
 * cause and becomes the new baseline.
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
  /** No request was accepted in the round before this one. */
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
   * Records an answer, or a rejection, which has no latency. `busy`: the limit held other requests back. Requests that
   * started no later than the last decrease are ignored, because they ran under the old limit.
   */
  answered(now: number, startedAt: number, latency: number | undefined, busy: boolean): void {
    if (startedAt <= this.lastDecrease) return
    this.answers++
    if (latency === undefined) this.refused++
    else this.logSum += Math.log(Math.max(latency, 0.01))
    if (busy && this.refused === 0 && this.slowRounds === 0) {
      // Not beyond the threshold: for a limit of 3, one more is a third.
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
      // A side that rejects everything is closed for a while, which does not show how many it accepts when it is open;
      // nor does the round in which it opens.
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

  /** Judges the mean latency of a round. */
  private judge(now: number, mean: number): void {
    const baseline = this.baseline ?? mean
    if (mean <= baseline * this.bounds.tolerance) {
      // Only follows small changes, so that latency that grows with the limit does not raise the baseline.
      if (mean < baseline) this.baseline = mean
      else this.baseline = mean < baseline * drift ? baseline + (mean - baseline) * 0.02 : baseline
      this.slowRounds = 0
      return
    }
    this.slowRounds++
    // The limit was lower at the beginning of the first slow round than at its end, so the second one is the reference.
    if (this.slowRounds === 2) this.slowFrom = { limit: this.limit, mean }
    if (this.slowRounds > patience) {
      const { limit, mean: from } = this.slowFrom
      this.slowRounds = 1
      // If the limit were the cause, latency would have decreased with it.
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
