/**
 * Runs many inputs through a route: flat memory, each item ends exactly once, and a crash loses nothing.
 *
 * An item ends as a success or as a dead letter. With a journal this holds across runs: an item is written down before
 * it is sent, and its result is durable before it is reported. A later run over the same journal reports the finished
 * items again and does the rest. Items that a killed run had sent are in doubt: the batch consults the gateway's logs
 * before it sends them again.
 *
 * Buffers are bounded everywhere. Only the set of ids grows, which finds duplicates and finished items: about 30 MB for
 * a million ids, and nothing with `duplicates: "unchecked"` and no earlier run.
 *
 * **Gotchas**
 *
 * - Delivery is at least once. Make `onResult` and consumers idempotent by the item's id.
 * - An item that was sent when its run was killed may be sent twice; `inDoubt` in the summary counts such items.
 * - Ids must be the same in every run. Line numbers are not, if the input changes.
 * - A dead letter is a result, not a failure of the stream. Later runs report it again; `retryFailed` tries it again.
 * - Retries of the route count against `limits`, and with `limits` routes run on the client.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Damage, Fingerprint, Journal, JournalError, OpenJournal } from "./BatchJournal.ts"
import { type GatewayError, invalid, type ReasonTag } from "./GatewayError.ts"
import type * as GatewayOptions from "./GatewayOptions.ts"
import type { GatewayService } from "./GatewayService.ts"
import { requestTokens } from "./internal/admission/estimate.ts"
import { admission, type ItemPermits } from "./internal/batch/admission.ts"
import * as Engine from "./internal/batch/engine.ts"
import type { PauseCause } from "./internal/batch/gate.ts"
import { type EngineOptions, type FirstProblem, method, ownKey, type Engine as Running } from "./internal/batch/job.ts"
import { Ledger } from "./internal/batch/ledger.ts"
import { checkNames } from "./internal/batch/names.ts"
import { type AnswerFacts, type InDoubt, records, type ValueCodec } from "./internal/batch/record.ts"
import type { Result } from "./internal/batch/result.ts"
import type { Latencies, TargetSummary } from "./internal/batch/tally.ts"
import { defined } from "./internal/data/defined.ts"
import { millisOf } from "./internal/data/duration.ts"
import { counted } from "./internal/data/numbers.ts"
import { keptAs, plainJsonOf } from "./internal/data/plainJson.ts"
import * as Limiter from "./Limiter.ts"
import * as Route from "./Route.ts"
import * as Router from "./Router.ts"

export type { PauseCause } from "./internal/batch/gate.ts"
export type { FirstProblem } from "./internal/batch/job.ts"
export type { AnswerFacts, InDoubt, ValueCodec } from "./internal/batch/record.ts"
export type { DeadLetter, DoneBefore, Result, Success } from "./internal/batch/result.ts"
export type { Latencies, TargetSummary } from "./internal/batch/tally.ts"

/**
 * Limits of a job in requests and tokens per minute, over all its targets.
 *
 * Every request counts, including retries and fallbacks. Routes therefore run on the client, one request per attempt,
 * through the application's router.
 *
 * The first request of an item is admitted before the item's timeouts begin. A later request that has to wait precedes
 * new items. Its attempt, with that attempt's timeouts, begins when it is admitted; the route's deadline continues.
 *
 * @category models
 */
export interface Limits<In> extends Pick<Limiter.Limits, "requestsPerMinute" | "tokensPerMinute" | "burst" | "skew"> {
  /**
   * Estimates the tokens of a request, in and out; the answer's usage corrects it. The limit holds exactly if the
   * estimate is not too low. Default: one token for every three bytes of the input as JSON, plus its `maxTokens`, or
   * 1,024 without one.
   */
  readonly tokens?: ((input: In) => number) | undefined
  /** A shared limiter, instead of one that belongs to this job and has the limits above. */
  readonly limiter?: Limiter.Limiter | undefined
  /** The key in that limiter. Default `"batch"`. */
  readonly key?: string | undefined
}

/**
 * The journal of a job, and how it is used. With {@link Limits}, a run begins a minute after the end of the previous
 * run, whose requests still count.
 *
 * @category models
 */
export interface JournalOptions<Out> {
  readonly store: Journal
  /**
   * How values are stored: a codec to JSON (for chat {@link withoutRaw} of `Chat.ReplySchema`), or `"ids"` for none.
   * Without values, a later run reports finished items as `DoneBefore`. If the codec or JSON cannot write an answer,
   * its item ends as a dead letter (`InvalidResponse`, code `unwritable`) and the job continues.
   */
  readonly value: ValueCodec<Out>
  /** Whether the dead letters of earlier runs are tried again. Default `false`: they are reported again. */
  readonly retryFailed?: boolean | undefined
  /**
   * Identity of the job, in addition to its route (`route`, its description, when all items share one): for example
   * `{ input: hash }`. A journal with another identity is rejected.
   */
  readonly fingerprint?: Fingerprint | undefined
  /** Whether to accept a journal that belongs to another job or is damaged in its middle. Default `false`. */
  readonly force?: boolean | undefined
  /**
   * Selects the items of earlier runs that are reported again. Default: all. The others are only counted; with `false`,
   * a run over a million finished items takes seconds.
   */
  readonly replay?: boolean | ((id: string) => boolean) | undefined
}

/**
 * Options of a job.
 *
 * @category models
 */
export interface Options<Item, In, Out> {
  /** One route, or one for each item. */
  readonly route: Route.Route<In, Out> | ((item: Item) => Route.Route<In, Out>)
  /** Input of the route for an item. */
  readonly input: (item: Item) => In
  /** Id of an item: 1 to 512 characters, unique within the job, the same in every run. */
  readonly id: (item: Item, index: number) => string
  /** Items in progress at once: a number, or adapted to latencies and throttling. Default 16. */
  readonly concurrency?: number | "adaptive" | Limiter.AdaptiveConcurrency | undefined
  readonly limits?: Limits<In> | undefined
  /**
   * Deadline of each item, from its admission: like `Route.deadline` around its route, in whole milliseconds. Default:
   * none.
   */
  readonly itemDeadline?: Duration.Input | undefined
  /**
   * Deadline of the job. When it passes, items in flight are interrupted and the job fails with `Timeout` (`deadline`).
   * Default: none.
   */
  readonly jobDeadline?: Duration.Input | undefined
  /**
   * Whether results follow the order of the input. A slow item then holds back up to `buffer` others. Default: in order
   * of completion.
   */
  readonly ordered?: boolean | undefined
  /**
   * Items that have begun and that the consumer has not taken yet: more than the concurrency. Default: 1,024, or twice
   * the concurrency.
   */
  readonly buffer?: number | undefined
  /** The journal. Default: none; nothing survives the process. */
  readonly journal?: JournalOptions<Out> | undefined
  /**
   * Treatment of an id that occurs a second time: the job fails (default), or counts and skips the item (`"skip"`).
   * With `"unchecked"` the caller guarantees unique ids: ids of new items are not remembered, and an item that occurs
   * twice is done twice.
   */
  readonly duplicates?: "fail" | "skip" | "unchecked" | undefined
  /**
   * How long the job waits without a single success after an item's quota was exhausted (`QuotaExhausted`); the items
   * wait too. After that the job fails with that error, and a later run resumes. A wait that would be longer fails at
   * once. Default 1 hour.
   */
  readonly quotaPatience?: Duration.Input | undefined
  /**
   * How long the job waits without an answer when failures are not the items' own: the gateway is unreachable, or five
   * items in a row found no working provider. Meanwhile the job sends one item after 1 second, then after 2, 4 and so
   * on up to 30 seconds, or when the answers ask for it. After that the job fails with the last such error; the items
   * stay undone, and a later run resumes. 0: fails at once. Default 5 minutes.
   */
  readonly outagePatience?: Duration.Input | undefined
  /**
   * How long, from its admission, an item is put back and tried again when it was throttled after all retries of its
   * route (`RateLimited`, 529). 0: never. Default 5 minutes.
   */
  readonly throttlePatience?: Duration.Input | undefined
  /**
   * Recognizes failures that are not an item's: the job fails with them, and the item stays undone. Default: rejected
   * by the gateway or the API (`Unauthorized`), no such gateway, no binding.
   */
  readonly isFatal?: ((error: GatewayError) => boolean) | undefined
  /** Gateway options of all requests, or of an item's requests; the batch sets the event id itself. */
  readonly options?:
    | Omit<GatewayOptions.Input, "eventId">
    | ((item: Item) => Omit<GatewayOptions.Input, "eventId">)
    | undefined
  /** As in `Router.run`; `"client"` with `limits`. */
  readonly execution?: Router.Execution | undefined
  /** Computes the cost of an answer in US dollars, for the summary. Default: unknown. */
  readonly cost?: ((answer: AnswerFacts) => number | undefined) | undefined
}

/**
 * Progress of a job, and its result at the end. Counts refer to this run unless documented otherwise.
 *
 * @category models
 */
export interface Summary {
  /** `complete`: all items have ended. `drained`: all items that began have ended. */
  readonly state: "running" | "paused" | "draining" | "complete" | "drained" | "failed"
  /** Items taken from the input. */
  readonly items: number
  readonly succeeded: number
  readonly deadLetters: number
  /** Items that ended in earlier runs. */
  readonly replayed: { readonly succeeded: number; readonly deadLetters: number }
  readonly duplicates: number
  /** Items in the journal that have not occurred in the input so far. */
  readonly unmet: number
  /**
   * Items that an earlier run sent without learning the outcome, and how many of them had been answered: those are paid
   * for twice.
   */
  readonly inDoubt: number
  readonly resent: number
  /**
   * Requests of items that have ended or were given up for this run; a request that was cut off with the job is not
   * counted. `retries` are repeats at the same target; `fallbacks` are items that a target other than the first
   * answered.
   */
  readonly requests: number
  readonly retries: number
  readonly fallbacks: number
  readonly cacheHits: number
  /**
   * How often items were put back because of throttling, and how often the job paused: for an exhausted quota, or
   * because nothing succeeded.
   */
  readonly requeued: number
  readonly pauses: number
  readonly tokensIn: number
  readonly tokensOut: number
  /** US dollars of the successes with a known cost. */
  readonly cost: number
  readonly costKnown: number
  /** The first dead letter of this run, or the first item that failed and stays undone. */
  readonly firstProblem?: FirstProblem
  /** Dead letters by reason. */
  readonly reasons: Readonly<Partial<Record<ReasonTag, number>>>
  /** Latencies of items, waits included. */
  readonly latency?: Latencies
  /** Counts by key; beyond 200 targets under `(others)`. */
  readonly targets: Readonly<Record<string, TargetSummary>>
  /** Parts of the journal that could not be read. */
  readonly damage: ReadonlyArray<Damage>
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  readonly duration: Duration.Duration
}

/**
 * State of a job at a moment.
 *
 * @category models
 */
export interface Progress extends Summary {
  readonly inFlight: number
  /** The current limit of concurrent items. */
  readonly concurrency: number
  /** Items that ended per second, since the last event. */
  readonly perSecond: number
  /**
   * Why the job is paused: the failure that keeps it so, and when the next item tries again, in milliseconds since the
   * epoch.
   */
  readonly pausedFor?: PauseCause
  readonly pausedBy?: GatewayError
  readonly pausedUntil?: number
}

/**
 * A running job.
 *
 * @category models
 */
export interface Job<Out, E> {
  /** Results; consume them once. Fails after all results that were ready. */
  readonly results: Stream.Stream<Result<Out>, GatewayError | JournalError | E>
  readonly summary: Effect.Effect<Summary>
  /** Progress every second or at the given interval, and once more at the end. */
  readonly progress: (interval?: Duration.Input) => Stream.Stream<Progress>
  /** Begins no more items; items in flight end, and then the results end. */
  readonly drain: Effect.Effect<void>
}

const fatalByDefault = ({ reason }: GatewayError): boolean =>
  reason._tag === "BindingMissing" ||
  (reason._tag === "Unauthorized" && reason.origin !== "provider") ||
  (reason._tag === "NotFound" && reason.what === "gateway")

const isStream = <Item, E, R>(items: Stream.Stream<Item, E, R> | Iterable<Item>): items is Stream.Stream<Item, E, R> =>
  Stream.isStream(items)

interface Checked {
  readonly itemDeadline: number | undefined
  readonly jobDeadline: number | undefined
  readonly quotaPatience: number
  readonly outagePatience: number
  readonly throttlePatience: number
  readonly buffer: number
}

const check = <Item, In, Out>(options: Options<Item, In, Out>): Effect.Effect<Checked, GatewayError> =>
  Effect.gen(function* () {
    yield* checkNames(options)
    const duration = (field: string, input: Duration.Input | undefined, min: number) => {
      const millis = input === undefined ? undefined : millisOf(input)
      return millis === undefined || (millis >= min && (min === 0 || Number.isInteger(millis)))
        ? Effect.succeed(millis)
        : Effect.fail(invalid(method, field, min === 0 ? "a duration of 0 or more" : "whole milliseconds, at least 1"))
    }
    const { buffer, concurrency, execution, limits, route } = options
    const itemDeadline = yield* duration("itemDeadline", options.itemDeadline, 1)
    const jobDeadline = yield* duration("jobDeadline", options.jobDeadline, 1)
    const quotaPatience = (yield* duration("quotaPatience", options.quotaPatience, 0)) ?? 3_600_000
    const outagePatience = (yield* duration("outagePatience", options.outagePatience, 0)) ?? 300_000
    const throttlePatience = (yield* duration("throttlePatience", options.throttlePatience, 0)) ?? 300_000
    const places =
      typeof concurrency === "number" ? concurrency : typeof concurrency === "object" ? (concurrency.max ?? 512) : 512
    const least = concurrency === undefined ? 16 : places
    if (buffer !== undefined && !(Number.isSafeInteger(buffer) && buffer > least)) {
      return yield* invalid(method, "buffer", `a whole number of more than ${least}, the concurrency`)
    }
    if (limits !== undefined && execution === "gateway") {
      return yield* invalid(
        method,
        "execution",
        `"client" or "auto" with limits: the gateway's own requests cannot be counted`
      )
    }
    if (limits?.limiter !== undefined && (limits.requestsPerMinute ?? limits.tokensPerMinute) !== undefined) {
      return yield* invalid(method, "limits", "either a limiter, or requestsPerMinute and tokensPerMinute")
    }
    if (typeof route !== "function") {
      const [problem] = Route.problems(route)
      if (problem !== undefined) return yield* invalid(method, `route: ${problem.field}`, problem.accepted)
    }
    const patience = { quotaPatience, outagePatience, throttlePatience }
    return { itemDeadline, jobDeadline, ...patience, buffer: buffer ?? Math.max(1024, least * 2) }
  })

/** How long the logs may take to answer. */
const reconcilePatience = "30 seconds"

/** Looks up an event id in the gateway's logs. */
const reconcile = (gateway: GatewayService["Service"], eventId: string): Effect.Effect<InDoubt> =>
  Effect.match(Effect.timeout(gateway.listLogs({ eventId, perPage: 50 }), reconcilePatience), {
    onFailure: (): InDoubt => ({ eventId, found: "unknown", logIds: [] }),
    onSuccess: ({ logs }): InDoubt => {
      const succeeded = logs.filter(
        ({ statusCode, success }) => success ?? (statusCode !== undefined && statusCode < 300)
      )
      const found = succeeded.length > 0 ? "success" : logs.length > 0 ? "failure" : "nothing"
      return { eventId, found, logIds: (succeeded.length > 0 ? succeeded : logs).map(({ id }) => id) }
    }
  })

/** Milliseconds between two marks in the journal that requests are being made. */
const touchEvery = 1000

/**
 * A limiter that starts when the requests of an earlier run no longer count. The earlier run knew how many they were;
 * this one knows only when that run last wrote to the journal. For the next run it keeps the journal's time current,
 * because retries write nothing.
 */
const acrossRuns = (
  limiter: Limiter.Limiter,
  { lastWritten, touch }: OpenJournal,
  skew: Duration.Input = Limiter.defaultSkew
): Limiter.Limiter => {
  const minute = 60_000 + (millisOf(skew) ?? 0)
  let [told, touched] = [false, Number.NEGATIVE_INFINITY]
  const wait = (millis: number): Effect.Effect<void> => {
    const seconds = Math.ceil(millis / 1000)
    const line = `waiting ${counted(seconds, "second")}: requests of the previous run count against the limits for a minute`
    const tell = told ? Effect.void : Effect.logInfo(line)
    told = true
    return Effect.andThen(tell, Effect.interruptible(Effect.sleep(millis)))
  }
  return {
    state: limiter.state,
    acquire: (key, reservation) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const acquired = Effect.tap(limiter.acquire(key, reservation), () =>
          Effect.map(Clock.currentTimeMillis, (now) => {
            if (now - touched < touchEvery) return
            touched = now
            touch?.(now)
          })
        )
        const ago = lastWritten === undefined ? minute : now - lastWritten
        // A clock that is slightly ahead is trusted; one that is far ahead is a different clock.
        return ago >= minute || ago < -minute ? acquired : Effect.andThen(wait(Math.ceil(minute - ago)), acquired)
      })
  }
}

/** Runs one item. */
type RunItem<Item, Out> = EngineOptions<Item, Out, never, never>["run"]

const runItem = <Item, In, Out>(
  options: Options<Item, In, Out>,
  router: Router.Router["Service"],
  rates: EngineOptions<never, unknown, unknown, unknown>["rates"],
  deadline: number | undefined
): RunItem<Item, Out> => {
  const { input, options: own, route } = options
  const execution = rates === undefined ? options.execution : "client"
  // A deadline around a route makes a new plan; a route that all items share needs it once.
  const known = new WeakMap<Route.Route<In, Out>, Route.Route<In, Out>>()
  const within = (one: Route.Route<In, Out>, left: number | undefined): Route.Route<In, Out> => {
    if (deadline === undefined) return one
    if (left !== undefined) return Route.deadline(one, Math.max(1, Math.floor(left)))
    const limitedOne = known.get(one) ?? Route.deadline(one, deadline)
    known.set(one, limitedOne)
    return limitedOne
  }
  const admitted = (permits: ItemPermits | undefined) =>
    rates !== undefined && permits !== undefined && { admission: admission(rates.limiter, rates.key, permits) }
  return (item, eventId, permits, left) =>
    Effect.suspend(() => {
      const one = within(typeof route === "function" ? route(item) : route, left)
      const gatewayOptions = { ...(typeof own === "function" ? own(item) : own), eventId }
      return router.run(one, input(item), {
        execution,
        options: gatewayOptions,
        quiet: true,
        budget: "none",
        priority: "background",
        ...admitted(permits)
      })
    })
}

const summaryOf = (
  { counters, gate, tally }: Running<unknown, unknown>,
  ledger: Ledger,
  damage: ReadonlyArray<Damage>,
  now: number
): Summary => {
  const { beganAt, duplicates, endedAt, firstProblem, inDoubt, items, requeued, resent, startedAt, state } = counters
  const { cacheHits, cost, costKnown, deadLetters, fallbacks, requests, retries, succeeded, tokensIn, tokensOut } =
    tally
  return {
    state: state === "running" && gate.closedUntil !== undefined ? "paused" : state,
    items,
    succeeded,
    deadLetters,
    replayed: { succeeded: counters.replayedDone, deadLetters: counters.replayedDead },
    duplicates,
    unmet: ledger.unmet,
    inDoubt,
    resent,
    requests,
    retries,
    fallbacks,
    cacheHits,
    requeued,
    pauses: gate.pauses,
    tokensIn,
    tokensOut,
    cost,
    costKnown,
    reasons: { ...tally.reasons },
    targets: tally.byTarget(),
    damage,
    startedAt,
    duration: Duration.millis((endedAt ?? now) - beganAt),
    ...defined({ firstProblem, latency: tally.itemLatency() })
  }
}

/**
 * Starts a job in the current scope.
 *
 * When the scope closes, items in flight are interrupted, and answers that have arrived are written down. The consumer
 * of the results sets the pace of the job.
 *
 * Fails with `JournalError` when the journal is in use, damaged, or another job's, and with `InvalidRequest` naming the
 * option. The results fail with the input's failure, with `InvalidRequest` for a bad or duplicate id, with a failure
 * that is not an item's (see `isFatal`, `outagePatience`), with `QuotaExhausted` beyond `quotaPatience`, with `Timeout`
 * after `jobDeadline`, and with `JournalError` when a result cannot be written down, for example on a full disk.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 * import * as Batch from "effect-ai-gateway/Batch"
 * import * as Provider from "effect-ai-gateway/Provider"
 *
 * export const program = Effect.gen(function* () {
 *   const job = yield* Batch.start(["one", "two", "three"], {
 *     route: Provider.openai.chat("gpt-4.1-mini"),
 *     id: (word) => word,
 *     input: (word) => `Spell ${word}.`,
 *     concurrency: "adaptive",
 *     limits: { requestsPerMinute: 500 }
 *   })
 *   yield* Stream.runForEach(job.progress("5 seconds"), ({ inFlight, perSecond, succeeded }) =>
 *     Effect.log({ succeeded, inFlight, perSecond })
 *   ).pipe(Effect.forkChild)
 *   yield* Stream.runDrain(job.results)
 *   return yield* job.summary
 * }).pipe(Effect.scoped)
 * ```
 *
 * @category running
 */
export const start = Effect.fn("Batch.start")(function* <Item, In, Out, E = never, R = never>(
  items: Stream.Stream<Item, E, R> | Iterable<Item>,
  options: Options<Item, In, Out>
): Effect.fn.Return<Job<Out, E>, GatewayError | JournalError, Router.Router | R | Scope.Scope> {
  const { buffer, itemDeadline, jobDeadline, outagePatience, quotaPatience, throttlePatience } = yield* check(options)
  const { id, journal, limits, route } = options
  const router = yield* Router.Router
  const places = yield* Limiter.make({ concurrency: options.concurrency ?? 16 })
  const { burst, key = ownKey, requestsPerMinute, skew, tokensPerMinute } = limits ?? {}
  const own =
    limits === undefined || limits.limiter !== undefined
      ? undefined
      : yield* Limiter.make({ requestsPerMinute, tokensPerMinute, burst, skew })
  const ledger = new Ledger()
  const replay = journal?.replay ?? true
  const open =
    journal === undefined
      ? undefined
      : yield* journal.store.open({
          fingerprint: { ...(typeof route !== "function" && { route: Route.describe(route) }), ...journal.fingerprint },
          force: journal.force ?? false,
          onEntry: (entry) => ledger.learn(entry)
        })
  // A shared limiter has already seen what was sent, or its owner must tell it.
  const limiter = own === undefined || open === undefined ? own : acrossRuns(own, open, skew)
  const shared = limiter ?? limits?.limiter
  const rates = shared === undefined ? undefined : { limiter: shared, key }
  const tokens = limits?.tokens ?? requestTokens
  const engine = yield* Engine.start<Item, Out, E, R>({
    items: isStream(items) ? items : Stream.fromIterable(items),
    idOf: id,
    run: runItem(options, router, rates, itemDeadline),
    reconcile: (eventId) => reconcile(router.gateway, eventId),
    tokensOf: (item) => tokens(options.input(item)),
    costOf: (facts) => options.cost?.(facts),
    isFatal: options.isFatal ?? fatalByDefault,
    places,
    rates,
    buffer,
    ordered: options.ordered ?? false,
    duplicates: options.duplicates ?? "fail",
    retryFailed: journal?.retryFailed ?? false,
    replay: typeof replay === "function" ? replay : () => replay,
    itemDeadline,
    jobDeadline,
    quotaPatience,
    outagePatience,
    throttlePatience,
    ledger,
    journal: open,
    records: records(journal?.value ?? "ids")
  })
  const summaryAt = (now: number) => summaryOf(engine, ledger, open?.damage ?? [], now)
  const clock = yield* Clock.Clock
  const millis = Effect.sync(() => Number(clock.monotonicTimeNanosUnsafe()) / 1e6)
  const summary = Effect.map(millis, summaryAt)

  const sample = Effect.fnUntraced(function* (last: { readonly ended: number; readonly at: number }) {
    const { concurrency = 0, inFlight } = yield* places.state(ownKey)
    const now = yield* millis
    const current = summaryAt(now)
    const ended = current.succeeded + current.deadLetters
    const progress: Progress = {
      ...current,
      inFlight,
      concurrency,
      perSecond: now > last.at ? ((ended - last.ended) * 1000) / (now - last.at) : 0,
      ...defined({ pausedFor: engine.gate.cause, pausedBy: engine.gate.error, pausedUntil: engine.gate.closedUntil })
    }
    return { progress, ended, at: now }
  })
  const progress = (interval: Duration.Input = "1 second"): Stream.Stream<Progress> =>
    Stream.unfold({ ended: 0, at: engine.counters.beganAt, over: false }, (last) =>
      Effect.gen(function* () {
        if (last.over) return undefined
        const over = yield* Effect.raceFirst(Effect.as(engine.finished, true), Effect.as(Effect.sleep(interval), false))
        const { at, ended, progress } = yield* sample(last)
        return [progress, { ended, at, over }] as const
      })
    )

  return { results: engine.results, summary, progress, drain: engine.drain }
})

/**
 * Runs items through a route and streams their results as they end, each exactly once, or in the order of the input.
 *
 * Takes no more from the input than can be in flight. Ending the stream early interrupts what is in flight; with a
 * journal, a later run resumes where this one stopped, even after a crash. Fails as {@link start} and its results do,
 * after all results that were ready.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 * import * as Batch from "effect-ai-gateway/Batch"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 *
 * const route = Route.fallback(
 *   Provider.openai.chat("gpt-4.1-mini"),
 *   Provider.anthropic.messages("claude-haiku-4-5")
 * ).pipe(Route.retry({ attempts: 3 }))
 *
 * const questions = [{ key: "q1", text: "What is a fiber?" }, { key: "q2", text: "What is a layer?" }]
 *
 * export const program = Batch.run(questions, {
 *   route,
 *   id: ({ key }) => key,
 *   input: ({ text }) => text
 * }).pipe(
 *   Stream.runForEach((result) =>
 *     result._tag === "Success"
 *       ? Effect.log(result.id, result.value.text)
 *       : Effect.logWarning(result.id, result._tag)
 *   )
 * )
 * ```
 *
 * @category running
 */
export const run = <Item, In, Out, E = never, R = never>(
  items: Stream.Stream<Item, E, R> | Iterable<Item>,
  options: Options<Item, In, Out>
): Stream.Stream<Result<Out>, GatewayError | JournalError | E, Router.Router | R> =>
  Stream.unwrap(Effect.map(start(items, options), ({ results }) => results))

/**
 * Runs items for their summary, and passes each result to `onResult`. Fails as {@link run} does, and with the failures
 * of `onResult`.
 *
 * @example
 * ```ts
 * import * as Console from "effect/Console"
 * import * as Batch from "effect-ai-gateway/Batch"
 * import * as Provider from "effect-ai-gateway/Provider"
 *
 * const questions = [{ id: "q1", text: "What is a fiber?" }, { id: "q2", text: "What is a scope?" }]
 *
 * export const summary = Batch.runWithSummary(questions, {
 *   route: Provider.openai.chat("gpt-4.1-mini"),
 *   input: ({ text }) => text,
 *   id: ({ id }) => id
 * }, (result) => Console.log(result.id, result._tag))
 * ```
 *
 * @category running
 */
export const runWithSummary = <Item, In, Out, E = never, R = never, E2 = never, R2 = never>(
  items: Stream.Stream<Item, E, R> | Iterable<Item>,
  options: Options<Item, In, Out>,
  onResult: (result: Result<Out>) => Effect.Effect<unknown, E2, R2>
): Effect.Effect<Summary, GatewayError | JournalError | E | E2, Router.Router | R | R2> =>
  Effect.scoped(
    Effect.flatMap(start(items, options), ({ results, summary }) =>
      Effect.andThen(Stream.runForEach(results, onResult), summary)
    )
  )

/**
 * Makes a schema of replies without `raw`, the provider's complete body and most of a reply's size. A decoded reply has
 * `raw: null`.
 *
 * @example
 * ```ts
 * import * as Batch from "effect-ai-gateway/Batch"
 * import * as Chat from "effect-ai-gateway/Chat"
 *
 * export const value = Batch.withoutRaw(Chat.ReplySchema)
 * ```
 *
 * @category combinators
 */
export const withoutRaw = <A extends { readonly raw: unknown }>(
  schema: Schema.Codec<A, unknown>
): Schema.Codec<A, unknown> => {
  const strip = (value: A): A => ({ ...value, raw: null })
  const stripped = schema.pipe(
    Schema.decodeTo(
      Schema.toType(schema),
      SchemaTransformation.transform<A, A>({ decode: (value) => value, encode: strip })
    )
  )
  const plain = plainJsonOf(schema)
  return plain === undefined ? stripped : keptAs(stripped, (value) => plain(strip(value)))
}
