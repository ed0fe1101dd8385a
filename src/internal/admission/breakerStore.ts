/**
 * Where breakers keep their phase: the seam for phases that several machines share, and the store of one process.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { monotonicMillisOf } from "../data/monotonic.ts"
import { logWithLevel } from "../hotpath/logWithLevel.ts"
import { timeoutOrElse } from "../hotpath/timeoutOrElse.ts"

/** Why a breaker is open: too many of its calls failed, it asked for a long wait, or its credit has run out. */
export type OpenCause = "failing" | "throttled" | "exhausted"

/** The phase of a breaker. `HalfOpen`: its time is up, and a probe decides. */
export type BreakerState =
  | { readonly _tag: "Closed" }
  | { readonly _tag: "Open"; readonly cause: OpenCause; readonly retryAfter: Duration.Duration }
  | { readonly _tag: "HalfOpen"; readonly cause: OpenCause }

/**
 * An answer to a call. `generation` names the phase, and goes back with the report of the call. `Probe`: this call
 * decides, and no other is admitted until it is reported. `openings`: how often the breaker has opened without a
 * success since.
 */
export type BreakerAdmission =
  | { readonly _tag: "Closed"; readonly generation: number }
  | { readonly _tag: "Probe"; readonly generation: number; readonly openings: number }
  | { readonly _tag: "Refused"; readonly cause: OpenCause; readonly retryAfter: Duration.Duration }

/**
 * The effect of a call. `Closed`: the probe succeeded. `Released`: the probe ended without a verdict, so the next call
 * is the probe.
 */
export type BreakerReport =
  | { readonly _tag: "Opened"; readonly cause: OpenCause; readonly openFor: Duration.Duration }
  | { readonly _tag: "Closed" }
  | { readonly _tag: "Released" }

/** Keeps the phases of breakers. A key stands for a target and the numbers of its breaker. */
export interface BreakerStore {
  /** Asks for a call. After the open time exactly one caller gets the probe. */
  readonly admit: (key: string) => Effect.Effect<BreakerAdmission, unknown>
  /**
   * Reports a call. A report of another generation is ignored: what was on its way when the breaker opened neither
   * closes it nor keeps it open for longer. One exception: `exhausted` opens a breaker in any phase, and the longest
   * time holds.
   */
  readonly report: (key: string, generation: number, report: BreakerReport) => Effect.Effect<void, unknown>
  /** Looks at the phase, without asking for a call. */
  readonly state: (key: string) => Effect.Effect<BreakerState, unknown>
}

/** A store whose failures are no failures of a call. Without an admission the target is called. */
export interface SafeStore {
  readonly admit: (key: string) => Effect.Effect<BreakerAdmission | undefined>
  readonly report: (key: string, generation: number, report: BreakerReport) => Effect.Effect<void>
}

/** A store that machines share may be slow to answer. */
const patience = 1_000

class NoAnswer extends Error {
  override readonly name = "no answer within a second"
}

/** The kind of a failure. Its message may hold a connection string. */
const kindOf = (cause: unknown): string => (cause instanceof Error ? cause.name : "unknown failure")

const safely = <A>(self: Effect.Effect<A, unknown>): Effect.Effect<A | undefined> =>
  Effect.catch(
    timeoutOrElse<A, unknown>(self, patience, () => new NoAnswer()),
    (cause) =>
      Effect.as(
        logWithLevel("Warn", `the store of breakers failed, and the target is called: ${kindOf(cause)}`),
        undefined
      )
  )

/** Guards against a faulty store. */
export const safe = ({ admit, report }: BreakerStore): SafeStore => ({
  admit: (key) => safely(admit(key)),
  report: (key, generation, what) => Effect.asVoid(safely(report(key, generation, what)))
})

/** While a probe is on its way the hint says this. */
export const probeHint = 1_000
/** A probe that has not been reported for so long does not count any more: its process may be gone. */
const probeLease = 300_000
/** Most breakers that a store of one process remembers. */
const maxPhases = 16_384

/** The phase of one breaker. Times are milliseconds of the monotonic clock. */
export class Phase {
  /** Absent: closed. */
  private open: { readonly cause: OpenCause; readonly until: number; probeAt: number | undefined } | undefined
  private generation = 0
  private openings = 0

  /** Nothing is known that a new one would not know. */
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
    // Who reports to an open breaker was on its way before that.
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

/** A store of one process. */
export const memory = () => {
  const phases = new Map<string, Phase>()
  const withNow = <A>(f: (now: number) => A): Effect.Effect<A> =>
    Effect.withFiber((fiber) => Effect.succeed(f(monotonicMillisOf(fiber.getRef(Clock.Clock)))))
  const make = (key: string): Phase => {
    if (phases.size >= maxPhases) {
      // A closed one is the smallest loss.
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
