/**
 * Measures simulated traffic.
 */
import * as Pricing from "../../Pricing.ts"
import type * as RouterEvent from "../../RouterEvent.ts"
import type { Seen } from "../peer/send.ts"
import { defaultUsage } from "./model.ts"
import { type Bucket, percentilesOf, type Result, type TargetResult } from "./result.ts"
import type { Target } from "./settings.ts"

interface Count {
  requests: number
  answered: number
  failed: number
  interrupted: number
}

interface Point {
  runs: number
  successes: number
  readonly times: Array<number>
  readonly load: Record<string, number>
}

const severity: ReadonlyArray<RouterEvent.BreakerPhase> = ["closed", "halfOpen", "open", "exhausted"]

const zeros = (keys: ReadonlyArray<string>): Record<string, number> => Object.fromEntries(keys.map((key) => [key, 0]))

/** Collects what happens in one simulation. Times are milliseconds of simulated time. */
export class Measure {
  private readonly duration: number
  private readonly bucket: number
  private readonly points: ReadonlyArray<Point>
  private readonly counts: ReadonlyMap<string, Count>
  /** Requests that have not ended. */
  private readonly open = new Map<Seen, { readonly count: Count; readonly isGood: boolean }>()
  private readonly changes: Array<{
    readonly key: string
    readonly to: RouterEvent.BreakerPhase
    readonly at: number
  }> = []
  private readonly failures: Record<string, number> = {}
  private done = 0
  private started = 0

  constructor(keys: ReadonlyArray<string>, duration: number, bucket: number) {
    this.duration = duration
    this.bucket = bucket
    this.counts = new Map(keys.map((key) => [key, { requests: 0, answered: 0, failed: 0, interrupted: 0 }]))
    this.points = Array.from({ length: Math.ceil(duration / bucket - 1e-9) }, () => ({
      runs: 0,
      successes: 0,
      times: [],
      load: zeros(keys)
    }))
  }

  private at(now: number): Point | undefined {
    // Fractions of a duration do not add up to it exactly.
    return now < this.duration
      ? this.points[Math.min(this.points.length - 1, Math.floor(now / this.bucket))]
      : undefined
  }

  /** A request has reached a target. */
  request(key: string, request: Seen, isGood: boolean): void {
    const count = this.counts.get(key)
    if (count === undefined) return
    count.requests++
    this.open.set(request, { count, isGood })
    const point = this.at(request.at)
    if (point !== undefined) point.load[key] = (point.load[key] ?? 0) + 1
  }

  /** A request has ended. */
  ended(request: Seen): void {
    const one = this.open.get(request)
    this.open.delete(request)
    if (one === undefined) return
    const { state } = request
    one.count[state === "interrupted" ? "interrupted" : state === "answered" && one.isGood ? "answered" : "failed"]++
  }

  begun(now: number): void {
    this.started++
    const point = this.at(now)
    if (point !== undefined) point.runs++
  }

  succeeded(begunAt: number, now: number): void {
    this.done++
    const point = this.at(begunAt)
    point?.times.push(now - begunAt)
    if (point !== undefined) point.successes++
  }

  failed(reason: string): void {
    this.done++
    this.failures[reason] = (this.failures[reason] ?? 0) + 1
  }

  /** A breaker has changed its phase. */
  changed(key: string, to: RouterEvent.BreakerPhase, now: number): void {
    this.changes.push({ key, to, at: now })
  }

  /** The worst phase of each breaker in each point. */
  private phases(): ReadonlyArray<Bucket["breakers"]> {
    const now = new Map<string, RouterEvent.BreakerPhase>([...this.counts.keys()].map((key) => [key, "closed"]))
    let next = 0
    return this.points.map((_, index) => {
      const worst = new Map(now)
      for (let one = this.changes[next]; one !== undefined; one = this.changes[++next]) {
        if (one.at >= (index + 1) * this.bucket) break
        now.set(one.key, one.to)
        if (severity.indexOf(one.to) > severity.indexOf(worst.get(one.key) ?? "closed")) worst.set(one.key, one.to)
      }
      return Object.fromEntries(worst)
    })
  }

  private targetOf(key: string, { price, usage = defaultUsage }: Target): TargetResult {
    const count = this.counts.get(key) ?? { requests: 0, answered: 0, failed: 0, interrupted: 0 }
    if (price === undefined) return count
    const one = Pricing.usd(price, { inputTokens: usage.input, outputTokens: usage.output })
    const cost = count.answered * one + count.interrupted * Pricing.usd(price, { inputTokens: usage.input })
    return { ...count, cost }
  }

  result(targets: Readonly<Record<string, Target>>): Result {
    const own = Object.fromEntries(Object.entries(targets).map(([key, target]) => [key, this.targetOf(key, target)]))
    const costs = Object.values(own).flatMap(({ cost }) => (cost === undefined ? [] : [cost]))
    const successes = this.points.reduce((sum, point) => sum + point.successes, 0)
    const runs = this.started
    const phases = this.phases()
    const requests = Object.values(own).reduce((sum, target) => sum + target.requests, 0)
    return {
      runs,
      successRate: runs === 0 ? 0 : successes / runs,
      ...percentilesOf(this.points.flatMap(({ times }) => times)),
      failures: this.failures,
      unfinished: runs - this.done,
      requests,
      requestsPerRun: runs === 0 ? 0 : requests / runs,
      ...(costs.length > 0 && { cost: costs.reduce((sum, cost) => sum + cost, 0) }),
      targets: own,
      series: this.points.map(
        ({ load, runs, successes, times }, index): Bucket => ({
          at: index * this.bucket,
          runs,
          ...(runs > 0 && { successRate: successes / runs }),
          ...percentilesOf(times),
          load,
          breakers: phases[index] ?? {}
        })
      )
    }
  }
}
