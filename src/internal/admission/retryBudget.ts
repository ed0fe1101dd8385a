/**
 * A budget for further attempts, like Finagle's `RetryBudget`: first attempts pay in, and further ones draw on it.
 *
 * Finagle counts in ten slots of a second, which grants twice the floor to withdrawals just before and just after the
 * slot of the first ones expires. Slots of a tenth of a second, with one more of them for withdrawals, bound any ten
 * seconds at a cost of one percent. The floor is for clients with few requests, which would never earn a retry.
 */

import type { Problem } from "../../GatewayOptions.ts"
import { isObject, strayField } from "../data/json.ts"

/** Limits of the number of further attempts. */
export interface RetryBudgetOptions {
  /** Further attempts per first attempt: more than 0, at most 1. Default 0.2. */
  readonly ratio?: number | undefined
  /** Further attempts per second that need no first attempts: 0 to 1,000. Default 3. */
  readonly perSecond?: number | undefined
}

/** Checked options with all defaults. */
export interface Budget {
  readonly ratio: number
  readonly perSecond: number
}

/** The default budget of a router. */
export const defaultBudget: Budget = { ratio: 0.2, perSecond: 3 }

/** Result of {@link budgetOf}. */
export interface CheckedBudget {
  readonly budget: Budget | undefined
  readonly problems: ReadonlyArray<Problem>
}

const names = ["ratio", "perSecond"]

/** Returns the budget of a router, or its problems. */
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
  // Checked for callers without types: a string would compare like its number.
  if (!(typeof ratio === "number" && ratio > 0 && ratio <= 1))
    problems.push({ field: "budget.ratio", accepted: "a number more than 0, at most 1" })
  if (!(typeof perSecond === "number" && perSecond >= 0 && perSecond <= 1_000)) {
    problems.push({ field: "budget.perSecond", accepted: "a number from 0 to 1000" })
  }
  return { budget: problems.length === 0 ? { perSecond, ratio } : undefined, problems }
}

/** Length of the window, in milliseconds. */
const windowMillis = 10_000
const slotMillis = 100
const slots = windowMillis / slotMillis

/**
 * Pays for one provider's further attempts. Times are milliseconds of the monotonic clock.
 *
 * Law: in every 10 seconds that end with a withdrawal, withdrawals are at most `ratio * deposits + 10 * perSecond`. A
 * deposit counts for 9.9 to 10 seconds, a withdrawal for 10 to 10.1. Both are whole numbers, so sums stay exact.
 */
export class Purse {
  private readonly ratio: number
  private readonly reserve: number
  private readonly deposits = new Uint32Array(slots)
  /** One slot more than the window: the oldest counts until its last withdrawal is 10 seconds old. */
  private readonly withdrawals = new Uint32Array(slots + 1)
  private readonly lastOf = new Float64Array(slots + 1)
  private deposited = 0
  private withdrawn = 0
  private epoch = Number.NEGATIVE_INFINITY

  constructor({ perSecond, ratio }: Budget) {
    this.ratio = ratio
    this.reserve = (perSecond * windowMillis) / 1_000
  }

  /** Deposits for a first attempt. */
  deposit(now: number): void {
    this.advance(now)
    const at = this.epoch % slots
    this.deposits[at] = (this.deposits[at] ?? 0) + 1
    this.deposited++
  }

  /** Pays for a further attempt, if the balance allows it. */
  withdraw(now: number): boolean {
    if (this.left(now) < 1) return false
    const at = this.epoch % (slots + 1)
    this.withdrawals[at] = (this.withdrawals[at] ?? 0) + 1
    this.lastOf[at] = now
    this.withdrawn++
    return true
  }

  /** Number of further attempts that could be paid for now. */
  balance(now: number): number {
    return Math.max(0, Math.floor(this.left(now)))
  }

  private left(now: number): number {
    this.advance(now)
    const oldest = (this.epoch + 1) % (slots + 1)
    if (this.withdrawals[oldest] !== 0 && now - (this.lastOf[oldest] ?? 0) >= windowMillis) this.forget(oldest)
    // Products of fractions can be slightly below whole numbers.
    return this.reserve + this.ratio * this.deposited - this.withdrawn + 1e-9
  }

  private forget(at: number): void {
    this.withdrawn -= this.withdrawals[at] ?? 0
    this.withdrawals[at] = 0
  }

  /** Advances to the slot of the given time, and clears the slots in between. */
  private advance(now: number): void {
    const epoch = Math.floor(now / slotMillis)
    if (epoch <= this.epoch) return
    if (epoch - this.epoch > slots) {
      this.deposits.fill(0)
      this.withdrawals.fill(0)
      this.deposited = 0
      this.withdrawn = 0
    } else {
      for (let slot = this.epoch + 1; slot <= epoch; slot++) {
        const at = slot % slots
        this.deposited -= this.deposits[at] ?? 0
        this.deposits[at] = 0
        this.forget(slot % (slots + 1))
      }
    }
    this.epoch = epoch
  }
}
