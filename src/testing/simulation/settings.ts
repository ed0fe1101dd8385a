/**
 * Descriptions of simulated traffic.
 */
import type * as Duration from "effect/Duration"
import type * as Pricing from "../../Pricing.ts"
import type * as Router from "../../Router.ts"

/**
 * Arrival times of runs. `perSecond` alone: independent of each other, like many users (Poisson), or with
 * `by: "constant"` at equal intervals. `burst`: a number of runs at once, repeatedly, and `perSecond` between them.
 * `times`: as recorded.
 *
 * `perSecond`: more than 0, at most 10,000. At most 1,000,000 runs in all.
 */
export type Arrivals =
  | { readonly perSecond: number; readonly by?: "poisson" | "constant" | undefined }
  | { readonly burst: number; readonly every: Duration.Input; readonly perSecond?: number | undefined }
  | { readonly times: ReadonlyArray<Duration.Input> }

/** Duration of answers: constant, or a distribution. */
export type Latency = Duration.Input | LatencyModel

/** A distribution of times: lognormal through the two percentiles. */
export interface LatencyModel {
  /** The median, more than 0. */
  readonly p50: Duration.Input
  /** At least `p50`. Default `p50`, so that the time is constant. */
  readonly p99?: Duration.Input | undefined
  /** A share of the calls (0 to 1) that takes 1 to 1,000 times as long: `{ share: 0.04, times: 10 }`. */
  readonly slower?: { readonly share: number; readonly times: number } | undefined
}

interface AnyTarget {
  /**
   * Calls that the target processes at once, at least 1; others wait for a place, first come, first served. Default: no
   * limit.
   */
  readonly concurrency?: number | undefined
  /** Tokens of one answer. Default 1,000 in and 200 out. */
  readonly usage?: { readonly input: number; readonly output: number } | undefined
  /** Price of the target. Without a price for any target, a result has no cost. */
  readonly price?: Pricing.Price | undefined
}

/** A target that behaves according to a model. */
export interface ModelledTarget extends AnyTarget {
  /** Time to the complete answer. */
  readonly latency: Latency
  /**
   * A share of the calls (0 to 1) that fails, with a status of 400 to 599 (default 500) and after its own time
   * (default: that of answers).
   */
  readonly errors?:
    | { readonly rate: number; readonly status?: number | undefined; readonly latency?: Latency | undefined }
    | undefined
}

/** The outcome of one recorded call. */
export interface RecordedOutcome {
  readonly latency: Duration.Input
  /** 200 to 599. Default 200. */
  readonly status?: number | undefined
  /** Sent as `retry-after`, in whole seconds. */
  readonly retryAfter?: Duration.Input | undefined
}

/** A target that repeats recorded outcomes: each call takes the next, and after the last one the first again. */
export interface RecordedTarget extends AnyTarget {
  readonly recorded: ReadonlyArray<RecordedOutcome>
}

/** A target of a simulation. */
export type Target = ModelledTarget | RecordedTarget

/** A part of the simulated time, counted from its beginning. */
export interface Interval {
  /** Key in `targets`. */
  readonly target: string
  readonly from: Duration.Input
  readonly until: Duration.Input
  /** The affected share of calls: more than 0, at most 1. Default 1. */
  readonly share?: number | undefined
}

/** A time in which a target fails. */
export interface Outage extends Interval {
  /** A status of 500 to 599, `"stall"` (the answer never comes) or `"reset"` (the connection breaks). Default 503. */
  readonly fails?: number | "stall" | "reset" | undefined
  /** Time to the failure. Default 50 ms. */
  readonly latency?: Duration.Input | undefined
}

/** A time in which a target throttles calls. */
export interface Throttle extends Interval {
  /** Calls per second that it accepts, at least 0. Default 0. */
  readonly perSecond?: number | undefined
  /** 429 or 529. Default 429. */
  readonly status?: 429 | 529 | undefined
  /** Sent as `retry-after`, in whole seconds, rounded up. Default: not sent. */
  readonly retryAfter?: Duration.Input | undefined
}

/** Options that {@link run} and {@link compare} share. */
export interface Traffic<In> {
  /** A whole number from 0. The same seed gives the same result. Default 1. */
  readonly seed?: number | undefined
  /** How long runs keep arriving: more than 0, at most 24 hours. */
  readonly duration: Duration.Input
  readonly arrivals: Arrivals
  /**
   * Models of all targets of the route, by provider (`openai`) or by provider and model (`openai/gpt-4.1-mini`), which
   * takes precedence.
   */
  readonly targets: Readonly<Record<string, Target>>
  readonly outages?: ReadonlyArray<Outage> | undefined
  readonly throttles?: ReadonlyArray<Throttle> | undefined
  /** Input of each run, or a function of the run's position, from 0. */
  readonly input: In | ((index: number) => In)
  /** Options of each run, or a function of the run's position: a session, a priority. */
  readonly runOptions?: RunOptions | ((index: number) => RunOptions) | undefined
  /** Options of the router. Routes are executed on the client. */
  readonly router?: Omit<Router.Options, "execution"> | undefined
  /** Length of a point of the series: at least 1 ms, at most 10,000 of them. Default: a sixtieth of the duration. */
  readonly bucket?: Duration.Input | undefined
  /**
   * How long runs may continue after the last one has begun, at most 24 hours; those that take longer are `unfinished`.
   * Default 10 minutes.
   */
  readonly patience?: Duration.Input | undefined
}

/** Options of a simulated run. */
export type RunOptions = Omit<Router.RunOptions, "execution" | "allow">
