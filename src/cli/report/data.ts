/** Data for the report of a job, gathered while the job runs, in memory that does not depend on the number of items. */
import * as Duration from "effect/Duration"
import type * as Batch from "../../Batch.ts"
import type { ReasonTag } from "../../GatewayError.ts"
import { Quantiles } from "../../internal/data/quantiles.ts"

/** Number of points that are kept; beyond it two neighbours are merged. */
const maxPoints = 240
const firstWidth = 1000
const maxSlowest = 20
/** Number of kinds of failures, and of targets, beyond which the rest is counted under one name. */
const maxKinds = 50
const maxTargets = 200
const others = "(others)"

/** Counts of one stretch of time. */
export interface Point {
  /** Items that ended. */
  succeeded: number
  deadLetters: number
  /** Latencies of these items, in milliseconds. */
  latency: Quantiles | undefined
  /** The highest values seen; `undefined` without a sample. */
  inFlight: number | undefined
  concurrency: number | undefined
  /** Whether an exhausted quota or an outage held the job. */
  paused: boolean
}

/** One of the slowest items. */
export interface SlowItem {
  readonly id: string
  /** Position in the input, from 0. */
  readonly index: number
  /** Milliseconds. */
  readonly latency: number
  readonly requests: number
  /** The target that answered, or failed last. */
  readonly target: string | undefined
  /** Reason of a dead letter. */
  readonly reason: ReasonTag | undefined
  readonly logId: string | undefined
}

/** Dead letters of the same kind. */
export interface FailureKind {
  readonly reason: ReasonTag
  /** Status of the answer that ended the item. */
  readonly status: number | undefined
  readonly target: string
  count: number
  /** The id of the first one. */
  readonly example: string
}

/** Counts of a target in earlier runs. */
export interface Earlier {
  answered: number
  tokensIn: number
  tokensOut: number
}

const makePoint = (): Point => ({
  succeeded: 0,
  deadLetters: 0,
  latency: undefined,
  inFlight: undefined,
  concurrency: undefined,
  paused: false
})

const highest = (one: number | undefined, other: number | undefined): number | undefined =>
  one === undefined ? other : other === undefined ? one : Math.max(one, other)

/** Moves all counts of a point into the one before it. */
const absorb = (into: Point, from: Point): void => {
  into.succeeded += from.succeeded
  into.deadLetters += from.deadLetters
  if (into.latency === undefined) into.latency = from.latency
  else if (from.latency !== undefined) into.latency.merge(from.latency)
  into.inFlight = highest(into.inFlight, from.inFlight)
  into.concurrency = highest(into.concurrency, from.concurrency)
  into.paused ||= from.paused
}

const slowItem = (result: Batch.Result<unknown>, latency: number): SlowItem => {
  const last = result.attempts.at(-1)
  const isDead = result._tag === "DeadLetter"
  return {
    id: result.id,
    index: result.index,
    latency,
    requests: result.attempts.length,
    target: isDead ? last?.target : result.target,
    reason: isDead ? result.error.reason._tag : undefined,
    logId: isDead ? result.error.logId : result.logId
  }
}

/** Gathers the data. Times are milliseconds since the epoch. */
export class Recorder {
  readonly startedAt: number
  /** Milliseconds that a point covers. */
  width = firstWidth
  /** Oldest first. */
  points: Array<Point> = []
  /** Slowest first. */
  readonly slowest: Array<SlowItem> = []
  /** Of this run, like the points and the slowest items. */
  readonly failures = new Map<string, FailureKind>()
  readonly earlier = new Map<string, Earlier>()
  /** Time of the last event. */
  endedAt: number

  constructor(startedAt: number) {
    this.startedAt = startedAt
    this.endedAt = startedAt
  }

  private point(at: number): Point {
    this.endedAt = Math.max(this.endedAt, at)
    const passed = Math.max(0, at - this.startedAt)
    while (passed / this.width >= maxPoints) this.halve()
    const index = Math.floor(passed / this.width)
    while (this.points.length <= index) this.points.push(makePoint())
    return this.points[index] ?? makePoint()
  }

  private halve(): void {
    const merged: Array<Point> = []
    for (const [index, point] of this.points.entries()) {
      const before = index % 2 === 0 ? undefined : merged.at(-1)
      if (before === undefined) merged.push(point)
      else absorb(before, point)
    }
    this.points = merged
    this.width *= 2
  }

  private fail(result: Extract<Batch.Result<unknown>, { readonly _tag: "DeadLetter" }>): void {
    const { _tag: reason, status } = result.error.reason
    const target = result.attempts.at(-1)?.target ?? "(not sent)"
    const key = JSON.stringify([reason, status, target])
    const known = this.failures.get(key)
    if (known !== undefined) known.count++
    else if (this.failures.size < maxKinds) {
      this.failures.set(key, { reason, status, target, count: 1, example: result.id })
    } else {
      // There are few reasons, so these are few too.
      const rest = this.failures.get(reason)
      if (rest === undefined) {
        this.failures.set(reason, { reason, status: undefined, target: others, count: 1, example: result.id })
      } else rest.count++
    }
  }

  private rememberIfSlow(result: Batch.Result<unknown>, latency: number): void {
    const { slowest } = this
    if (slowest.length >= maxSlowest && latency <= (slowest.at(-1)?.latency ?? 0)) return
    const place = slowest.findIndex((item) => item.latency < latency)
    slowest.splice(place < 0 ? slowest.length : place, 0, slowItem(result, latency))
    if (slowest.length > maxSlowest) slowest.pop()
  }

  private addEarlier(result: Batch.Result<unknown>): void {
    if (result._tag === "DeadLetter") return
    const key = this.earlier.has(result.target) || this.earlier.size < maxTargets ? result.target : others
    const known = this.earlier.get(key) ?? { answered: 0, tokensIn: 0, tokensOut: 0 }
    known.answered++
    known.tokensIn += result.usage?.inputTokens ?? 0
    known.tokensOut += result.usage?.outputTokens ?? 0
    this.earlier.set(key, known)
  }

  /** Records that an item ended at a time; items that ended in earlier runs are not drawn over time. */
  add(result: Batch.Result<unknown>, at: number): void {
    if (result.replayed) {
      this.addEarlier(result)
      return
    }
    const point = this.point(at)
    const latency = Duration.toMillis(result.latency)
    point.latency ??= new Quantiles()
    point.latency.add(latency)
    this.rememberIfSlow(result, latency)
    if (result._tag === "DeadLetter") {
      point.deadLetters++
      this.fail(result)
    } else point.succeeded++
  }

  /** Records the current state of the job. */
  sample(progress: Batch.Progress): void {
    const point = this.point(progress.startedAt + Duration.toMillis(progress.duration))
    point.inFlight = highest(point.inFlight, progress.inFlight)
    point.concurrency = highest(point.concurrency, progress.concurrency)
    if (progress.state === "paused") point.paused = true
  }
}
