/**
 * A purse for further attempts, as Finagle's `RetryBudget` has it: first attempts pay in, further ones are paid out of it.
 *
 * At each withdrawal, those of the last ten seconds (in slots of one) are at most `ratio * deposits + 10 * perSecond` of the same slots. The floor is for clients of few
 * requests, which would never earn one.
 */

import type { Problem } from "../../GatewayOptions.ts"
import { isObject, strayField } from "../data/json.ts"

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

/** The budget of a router that is told none. */
export const defaultBudget: Budget = { ratio: 0.2, perSecond: 3 }

/** See {@link budgetOf}. */
export interface CheckedBudget {
  readonly budget: Budget | undefined
  readonly problems: ReadonlyArray<Problem>
}

const names = ["ratio", "perSecond"]

/** The budget of a router, and what is wrong with it. */
export const budgetOf = (options: RetryBudgetOptions | "none" | undefined): CheckedBudget => {
  if (options === undefined) return { budget: defaultBudget, problems: [] }
  if (options === "none") return { budget: undefined, problems: [] }
  const problems: Array<Problem> = []
  if (!isObject(options)) {
    return { budget: undefined, problems: [{ field: "budget", accepted: `"none", or ratio and perSecond` }] }
  }
  const stray = strayField(options, names)
  if (stray !== undefined) problems.push({ field: `budget.${stray}`, accepted: `one of ${names.join(", ")}` })
  const { perSecond = defaultBudget.perSecond, ratio = defaultBudget.ratio } = options
  if (!(ratio > 0 && ratio <= 1)) problems.push({ field: "budget.ratio", accepted: "a number more than 0, at most 1" })
  if (!(perSecond >= 0 && perSecond <= 1_000)) {
    problems.push({ field: "budget.perSecond", accepted: "a number from 0 to 1000" })
  }
  return { budget: problems.length === 0 ? { perSecond, ratio } : undefined, problems }
}

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
