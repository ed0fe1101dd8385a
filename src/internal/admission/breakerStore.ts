/**
 * Stores the phases of breakers: the interface for phases that several machines share, and the store of one process.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { monotonicMillisOf } from "../data/monotonic.ts"
import { logWithLevel } from "../hotpath/logWithLevel.ts"
import { timeoutOrElse } from "../hotpath/timeoutOrElse.ts"

/** Why a breaker is open: too many calls failed, the target asked for a long wait, or its credit has run out. */
export type OpenCause = "failing" | "throttled" | "exhausted"

/** The phase of a breaker. `HalfOpen`: its time is up, and a probe decides. */
export type BreakerState =
  | { readonly _tag: "Closed" }
  | { readonly _tag: "Open"; readonly cause: OpenCause; readonly retryAfter: Duration.Duration }
  | { readonly _tag: "HalfOpen"; readonly cause: OpenCause }

/**
 * The response to a call. `generation` names the phase, and is returned with the report of the call. `Probe`: this call
 * decides, and no other is admitted until it is reported. `openings`: the number of times that the breaker has opened
 * since the last success.
 */
export type BreakerAdmission =
  | { readonly _tag: "Closed"; readonly generation: number }
  | { readonly _tag: "Probe"; readonly generation: number; readonly openings: number }
  | { readonly _tag: "Refused"; readonly cause: OpenCause; readonly retryAfter: Duration.Duration }

/**
 * The outcome of a call. `Closed`: the probe succeeded. `Released`: the probe ended without a verdict, so the next call
 * is the probe.
 */
export type BreakerReport =
  | { readonly _tag: "Opened"; readonly cause: OpenCause; readonly openFor: Duration.Duration }
  | { readonly _tag: "Closed" }
  | { readonly _tag: "Released" }

/** Keeps the phases of breakers. A key identifies a target and the numbers of its breaker. */
export interface BreakerStore {
  /** Requests a call. After the open time exactly one caller gets the probe. */
  readonly admit: (key: string) => Effect.Effect<BreakerAdmission, unknown>
  /**
   * Reports a call. A report of another generation is ignored: calls that were in flight when the breaker opened
   * neither close it nor keep it open for longer. One exception: `exhausted` opens a breaker in any phase, and the
   * longest time applies.
   */
  readonly report: (key: string, generation: number, report: BreakerReport) => Effect.Effect<void, unknown>
  /** Returns the phase, without requesting a call. */
  readonly state: (key: string) => Effect.Effect<BreakerState, unknown>
}

/** A store whose own failures do not fail a call. Without its response the target is called. */
export interface SafeStore {
  readonly admit: (key: string) => Effect.Effect<BreakerAdmission | undefined>
  readonly report: (key: string, generation: number, report: BreakerReport) => Effect.Effect<void>
}

/** Time limit for a store that machines share, in milliseconds. */
const patience = 1_000

class NoAnswer extends Error {
  override readonly name = "no answer within a second"
}

/** The kind of a failure. Its message could contain a connection string. */
const kindOf = (cause: unknown): string => (cause instanceof Error ? cause.name : "unknown failure")

const safely = <A>(self: Effect.Effect<A, unknown>): Effect.Effect<A | undefined> =>
  Effect.catch(
    timeoutOrElse<A, unknown>(self, patience, () => new NoAnswer()),
    (cause) =>
      Effect.as(logWithLevel("Warn", `the breaker store failed, so the target is called: ${kindOf(cause)}`), undefined)
  )

/** Protects callers from a faulty store. */
export const safe = ({ admit, report }: BreakerStore): SafeStore => ({
  admit: (key) => safely(admit(key)),
  report: (key, generation, what) => Effect.asVoid(safely(report(key, generation, what)))
})

/** Hint while a probe is in flight, in milliseconds. */
export const probeHint = 1_000
/** Milliseconds after which an unreported probe no longer counts: its process may be gone. */
const probeLease = 300_000
/** Maximum number of breakers that a store of one process remembers. */
const maxPhases = 16_384

/** The phase of one breaker. Times are milliseconds of the monotonic clock. */
export class Phase {
  /** Absent while closed. */
  private open: { readonly cause: OpenCause; readonly until: number; probeAt: number | undefined } | undefined
  private generation = 0
  private openings = 0

  /** Whether it holds no information beyond that of a new phase. */
  get isClosed(): boolean {
    return this.open === undefined
  }

  admit(now: number): BreakerAdmission {
    const { open } = this
    if (open === undefined) return { _tag: "Closed", generation: this.generation }
    const { cause, probeAt, until } = open
    if (now < until) return { _tag: "Refused", cause, retryAfter: Duration.millis(until - now) }
    if (probeAt !== undefined && now - probeAt < probeLease) {
      return { _tag: "Refused", cause, retryAfter: Duration.millis(probeHint) }
    }
    open.probeAt = now
    return { _tag: "Probe", generation: ++this.generation, openings: this.openings }
  }

  report(generation: number, report: BreakerReport, now: number): void {
    const { open } = this
    const isNews =
      report._tag === "Opened" &&
      report.cause === "exhausted" &&
      (open?.cause !== "exhausted" || now + Duration.toMillis(report.openFor) > open.until)
    // A report to an open breaker is of a call that was in flight before, unless it is the probe's.
    const isOwn = generation === this.generation && (open === undefined || open.probeAt !== undefined)
    if (!isOwn && !isNews) return
    if (report._tag === "Opened") {
      this.generation++
      this.openings++
      this.open = { cause: report.cause, until: now + Duration.toMillis(report.openFor), probeAt: undefined }
    } else if (open !== undefined) {
      this.generation++
      open.probeAt = undefined
      if (report._tag === "Closed") {
        this.open = undefined
        this.openings = 0
      }
    }
  }

  state(now: number): BreakerState {
    const { open } = this
    if (open === undefined) return { _tag: "Closed" }
    const { cause, until } = open
    return now < until ? { _tag: "Open", cause, retryAfter: Duration.millis(until - now) } : { _tag: "HalfOpen", cause }
  }
}

const closed: BreakerAdmission = { _tag: "Closed", generation: 0 }

/** Makes a store of one process. */
export const memory = () => {
  const phases = new Map<string, Phase>()
  const withNow = <A>(f: (now: number) => A): Effect.Effect<A> =>
    Effect.withFiber((fiber) => Effect.succeed(f(monotonicMillisOf(fiber.getRef(Clock.Clock)))))
  const make = (key: string): Phase => {
    if (phases.size >= maxPhases) {
      // A closed one loses the least.
      const [oldest] = phases.keys()
      const found = [...phases].find(([, phase]) => phase.isClosed)?.[0] ?? oldest
      if (found !== undefined) phases.delete(found)
    }
    const made = new Phase()
    phases.set(key, made)
    return made
  }
  return {
    admit: (key) => withNow((now) => phases.get(key)?.admit(now) ?? closed),
    report: (key, generation, report) =>
      withNow((now) => {
        const phase = phases.get(key) ?? (report._tag === "Opened" ? make(key) : undefined)
        phase?.report(generation, report, now)
      }),
    state: (key) => withNow((now) => phases.get(key)?.state(now) ?? { _tag: "Closed" })
  } satisfies BreakerStore
}
