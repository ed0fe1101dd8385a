/** Results of simulated traffic. */
import type * as RouterEvent from "../../RouterEvent.ts"

/** Times of successful runs in milliseconds. Absent where there were none. */
export interface Percentiles {
  readonly p50?: number
  readonly p95?: number
  readonly p99?: number
}

/** The load of one target. */
export interface TargetResult {
  /** Requests that reached it. */
  readonly requests: number
  readonly answered: number
  /** Error statuses and broken connections. */
  readonly failed: number
  /** Requests whose caller gave up: time limits, and losers of hedges and races. */
  readonly interrupted: number
  /** US dollars: the tokens of answers, and the input tokens of interrupted requests. Absent without a price. */
  readonly cost?: number
}

/** One point of the time series. */
export interface Bucket extends Percentiles {
  /** Its beginning, in milliseconds of simulated time. */
  readonly at: number
  /** Runs that began in it; their outcomes and times are counted here, whenever they ended. */
  readonly runs: number
  /** Absent when no run began. */
  readonly successRate?: number
  /** Requests that reached each target. Requests after the last run has begun are in the totals only. */
  readonly load: Readonly<Record<string, number>>
  /** The worst phase of each target's breaker in this time. */
  readonly breakers: Readonly<Record<string, RouterEvent.BreakerPhase>>
}

/** The result of a simulation. */
export interface Result extends Percentiles {
  readonly runs: number
  /** Share of the runs that had an answer. */
  readonly successRate: number
  /** Runs that failed, by the reason of the last failure. */
  readonly failures: Readonly<Record<string, number>>
  /** Runs that had not ended when the simulation did. They do not count as successes. */
  readonly unfinished: number
  /** Requests to targets. */
  readonly requests: number
  /** Requests for each run: 1.06 is an extra load of 6 %. */
  readonly requestsPerRun: number
  /** US dollars. Absent when no target has a price. */
  readonly cost?: number
  readonly targets: Readonly<Record<string, TargetResult>>
  readonly series: ReadonlyArray<Bucket>
}

/** The value at a fraction of sorted values. */
const at = (sorted: ReadonlyArray<number>, fraction: number): number | undefined =>
  sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * fraction) - 1)]

/** Percentiles of times in any order. */
export const percentilesOf = (times: ReadonlyArray<number>): Percentiles => {
  const sorted = times.toSorted((a, b) => a - b)
  const [p50, p95, p99] = [at(sorted, 0.5), at(sorted, 0.95), at(sorted, 0.99)]
  return { ...(p50 !== undefined && { p50 }), ...(p95 !== undefined && { p95 }), ...(p99 !== undefined && { p99 }) }
}

const percent = (share: number): string => `${(share * 100).toFixed(2)} %`
const millis = (value: number | undefined): string => (value === undefined ? "-" : `${Math.round(value)} ms`)

const cellsOf = (name: string, result: Result): ReadonlyArray<string> => [
  name,
  String(result.runs),
  percent(result.successRate),
  millis(result.p50),
  millis(result.p95),
  millis(result.p99),
  result.requestsPerRun.toFixed(3),
  result.cost === undefined ? "-" : `$${result.cost.toFixed(2)}`
]

/** Formats results as a table of plain text, one line for each. */
export const table = (results: Readonly<Record<string, Result>>): string => {
  const head = ["route", "runs", "success", "p50", "p95", "p99", "requests/run", "cost"]
  const rows = [head, ...Object.entries(results).map(([name, result]) => cellsOf(name, result))]
  const widths = head.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const line = (row: ReadonlyArray<string>): string =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  ")
  return rows.map(line).join("\n")
}
