/**
 * A purse for further attempts, as Finagle's `RetryBudget` has it: first attempts pay in, further ones are paid out of it.
 *
 * Over the slots that count, ten of a second each, withdrawals are at most `ratio * deposits + 10 * perSecond`. The floor is for clients of few requests, which
 * would never earn one.
 */

/** How many further attempts there may be. */
export interface RetryBudgetOptions {
  /** Further attempts for each first one: more than 0, at most 1. Default 0.2. */
  readonly ratio?: number | undefined
  /** Further attempts per second that need no first ones: 0 to 1,000. Default 3. */
  readonly perSecond?: number | undefined
}

/** The same, checked. */
export interface Budget {
  readonly ratio: number
  readonly perSecond: number
}

export const defaultBudget: Budget = { ratio: 0.2, perSecond: 3 }

const seconds = 10
const slotMillis = 1_000

/** What one provider's further attempts are paid from. Times are milliseconds of the monotonic clock. */
export class Purse {
  private readonly ratio: number
  private readonly reserve: number
  /** Deposits less withdrawals, in first attempts. */
  private readonly slots = new Float64Array(seconds)
  private sum = 0
  private epoch = Number.NEGATIVE_INFINITY

  constructor({ perSecond, ratio }: Budget) {
    this.ratio = ratio
    this.reserve = perSecond * seconds
  }

  /** Pays in for a first attempt. */
  deposit(now: number): void {
    const at = this.slotAt(now)
    this.slots[at] = (this.slots[at] ?? 0) + this.ratio
    this.sum += this.ratio
  }

  /** Pays for a further attempt, if it can. */
  withdraw(now: number): boolean {
    const at = this.slotAt(now)
    // Sums of fractions fall short of whole numbers.
    if (this.reserve + this.sum < 1 - 1e-9) return false
    this.slots[at] = (this.slots[at] ?? 0) - 1
    this.sum -= 1
    return true
  }

  /** Further attempts that could be paid for now. */
  balance(now: number): number {
    this.slotAt(now)
    return Math.max(0, Math.floor(this.reserve + this.sum + 1e-9))
  }

  /** The slot of a moment; those that no longer count are emptied. */
  private slotAt(now: number): number {
    const epoch = Math.floor(now / slotMillis)
    if (epoch > this.epoch) {
      const passed = Math.min(seconds, epoch - this.epoch)
      for (let i = 0; i < passed; i++) {
        const at = (epoch - i) % seconds
        this.slots[at] = 0
      }
      this.epoch = epoch
      // Anew each second, so that fractions do not add up to an error.
      this.sum = this.slots.reduce((sum, one) => sum + one, 0)
    }
    return this.epoch % seconds
  }
}
