/**
 * The decisions of a run as a value: stored as JSON, printed as a story, and run again through another route.
 *
 * A recording has no prompt and no answer. A replay therefore needs the input again, and shows which target would have
 * answered and when, but not the answer.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import * as ErrorSchema from "./ErrorSchema.ts"
import { type Attempt, type GatewayError, invalid } from "./GatewayError.ts"
import { budgetOf } from "./internal/admission/retryBudget.ts"
import { defined } from "./internal/data/defined.ts"
import { type KnownOutcome, type Outcomes, replayRun, UnknownOutcome } from "./internal/router/replay.ts"
import type * as Route from "./Route.ts"
import * as Router from "./Router.ts"
import * as RouterEvent from "./RouterEvent.ts"

/**
 * One attempt of a recording: its stored form, and the milliseconds to its first output.
 *
 * @category models
 */
export interface RecordedAttempt {
  readonly attempt: ErrorSchema.AttemptEncoded
  /** Absent when there was no output. */
  readonly toOutput?: number
}

/**
 * One line of a recorded story.
 *
 * @category models
 */
export interface Line {
  /** Milliseconds since the run began. */
  readonly at: number
  /** See `RouterEvent.format`. */
  readonly text: string
}

/**
 * One run as plain JSON, without prompts and answers.
 *
 * @category models
 */
export interface Recording {
  readonly version: 1
  readonly eventId: string
  readonly mode: "run" | "stream"
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  readonly story: ReadonlyArray<Line>
  /** In the order in which they ended. */
  readonly attempts: ReadonlyArray<RecordedAttempt>
  /** Absent if the run had not ended. */
  readonly end?: {
    readonly outcome: "success" | "failure" | "interrupted"
    /** Milliseconds since the run began. */
    readonly at: number
    /** The target that answered. */
    readonly target?: string
  }
}

const millis = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))

/**
 * Schema of stored recordings. `ErrorSchema.Attempt` checks the attempts when they are replayed.
 *
 * @category schemas
 */
export const schema: Schema.Codec<Recording, unknown> = Schema.Struct({
  version: Schema.Literal(1),
  eventId: Schema.String,
  mode: Schema.Literals(["run", "stream"]),
  startedAt: Schema.Finite,
  story: Schema.Array(Schema.Struct({ at: Schema.Finite, text: Schema.String })),
  attempts: Schema.Array(
    Schema.Struct({ attempt: Schema.toEncoded(ErrorSchema.Attempt), toOutput: Schema.optionalKey(millis) })
  ),
  end: Schema.optionalKey(
    Schema.Struct({
      outcome: Schema.Literals(["success", "failure", "interrupted"]),
      at: Schema.Finite,
      target: Schema.optionalKey(Schema.String)
    })
  )
})

/**
 * Groups the events of routers by run, in the order in which the runs began. Runs whose beginning is missing are
 * omitted. Runs that share an event id are distinguished only if they followed each other.
 *
 * @category recording
 */
export const fromEvents = (events: Iterable<RouterEvent.RouterEvent>): ReadonlyArray<Recording> => {
  const all: Array<Building> = []
  const latest = new Map<string, Building>()
  for (const event of events) {
    if (event._tag === "RunStarted") {
      const one = begin(event)
      all.push(one)
      latest.set(event.eventId, one)
    } else if ("eventId" in event) latest.get(event.eventId)?.add(event)
  }
  return all.map((one) => one.made())
}

interface Building {
  readonly add: (event: RouterEvent.RouterEvent) => void
  readonly made: () => Recording
}

const encodeAttempt = Schema.encodeSync(ErrorSchema.Attempt)

const begin = (started: RouterEvent.RunStarted): Building => {
  const { at: startedAt, eventId, mode } = started
  const story: Array<Line> = []
  const attempts: Array<RecordedAttempt> = []
  let end: Recording["end"]
  const add = (event: RouterEvent.RouterEvent): void => {
    const at = event.at - startedAt
    story.push({ at, text: RouterEvent.format(event) })
    if (event._tag === "AttemptEnded") {
      const { attempt, toOutput } = event
      attempts.push({
        attempt: encodeAttempt(attempt),
        ...(toOutput !== undefined && { toOutput: Duration.toMillis(toOutput) })
      })
    } else if (event._tag === "RunEnded") {
      end = { outcome: event.outcome, at, ...defined({ target: event.target }) }
    }
  }
  add(started)
  return {
    add,
    made: () => ({
      version: 1,
      eventId,
      mode,
      startedAt,
      story,
      attempts,
      ...(end !== undefined && { end })
    })
  }
}

/**
 * The exit of a recorded effect, with its runs.
 *
 * @category models
 */
export interface Recorded<A, E> {
  readonly exit: Exit.Exit<A, E>
  readonly recordings: ReadonlyArray<Recording>
}

/** Event ids of the runs that begin within each recording, for every recording around a fiber. */
const Recorders = Context.Reference<ReadonlyArray<Set<string>>>("effect-ai-gateway/Recording/Recorders", {
  defaultValue: () => []
})

/**
 * Runs an effect and records the router's runs inside it, those of child fibers included. Concurrent runs of other
 * fibers are not recorded. Never fails: the exit holds the failure.
 *
 * @example
 * ```ts
 * import * as Console from "effect/Console"
 * import * as Effect from "effect/Effect"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Recording from "effect-ai-gateway/Recording"
 * import * as Route from "effect-ai-gateway/Route"
 * import * as Router from "effect-ai-gateway/Router"
 *
 * const ask = Route.fallback(Provider.openai.chat("gpt-4.1-mini"), Provider.anthropic.messages("claude-haiku-4-5"))
 *
 * export const program = Effect.gen(function* () {
 *   const { exit, recordings } = yield* Recording.record(Router.run(ask, "What is a fiber?"))
 *   for (const recording of recordings) yield* Console.log(Recording.explain(recording))
 *   return yield* exit
 * })
 * ```
 *
 * @category recording
 */
export const record = <A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<Recorded<A, E>, never, R | Router.Router> =>
  Effect.scoped(
    Effect.gen(function* () {
      const events: Array<RouterEvent.RouterEvent> = []
      const own = new Set<string>()
      yield* Router.listen((event) => {
        // The event arrives in the fiber of the run.
        if (event._tag === "RunStarted" && Fiber.getCurrent()?.getRef(Recorders).includes(own)) own.add(event.eventId)
        // Keeps only this recording's runs; there may be many others.
        if ("eventId" in event && own.has(event.eventId)) events.push(event)
      })
      const around = yield* Recorders
      const exit = yield* Effect.provideService(Effect.exit(self), Recorders, [...around, own])
      return { exit, recordings: fromEvents(events) }
    })
  )

/**
 * Formats a run as text: one line for its result, and one for each event with the milliseconds since the run began.
 *
 * @category reading
 */
export const explain = ({ attempts, end, eventId, story }: Recording): string => {
  const count = `${attempts.length} attempt${attempts.length === 1 ? "" : "s"}`
  const result =
    end === undefined
      ? "had not ended"
      : end.target === undefined
        ? `${end.outcome} after ${Math.round(end.at)} ms`
        : `answered by ${end.target} after ${Math.round(end.at)} ms`
  const times = story.map(({ at }) => `${Math.round(at)} ms`)
  const width = times.reduce((most, { length }) => Math.max(most, length), 0)
  const lines = story.map(({ text }, index) => `  ${(times[index] ?? "").padStart(width)}  ${text}`)
  return [`run ${eventId}: ${result}, ${count}`, ...lines].join("\n")
}

/**
 * Outcome of a replay.
 *
 * @category models
 */
export interface Replayed {
  /** `unknown`: the route called a target with no recorded outcome, or too few. */
  readonly outcome: "success" | "failure" | "unknown"
  /** The target that answered, or whose outcome is unknown. */
  readonly target?: string
  /** In virtual time. */
  readonly duration: Duration.Duration
  readonly attempts: ReadonlyArray<Attempt>
  /** Present if the replay failed; with `ended`, `skipped` and `attempts`. */
  readonly error?: GatewayError
}

/**
 * Options of {@link replay}.
 *
 * @category models
 */
export interface ReplayOptions extends Omit<Router.RunOptions, "admission" | "execution" | "maxCost" | "quiet"> {
  /** The budget of the router, as opposed to the run's. Default: that of `Router.layer`. */
  readonly routerBudget?: Router.RetryBudgetOptions | "none" | undefined
}

const outcomeOf = (mode: Recording["mode"], { attempt, toOutput }: RecordedAttempt, made: Attempt): KnownOutcome => {
  const { outcome } = made
  // A stream counts as answered from its first delta, whatever happened afterwards.
  const hasAnswered = outcome === "success" || (mode === "stream" && toOutput !== undefined)
  return {
    attempt: made,
    outcome: hasAnswered ? "success" : outcome,
    millis: hasAnswered ? (toOutput ?? attempt.duration) : attempt.duration
  }
}

const decodeAttempt = Schema.decodeUnknownEffect(ErrorSchema.Attempt)

const outcomesOf = (recording: Recording): Effect.Effect<Outcomes, GatewayError> =>
  Effect.gen(function* () {
    const bad = invalid("Recording.replay", "recording", "a value of Recording.record or Recording.fromEvents")
    const { attempts, mode } = yield* Effect.mapError(Schema.decodeUnknownEffect(schema)(recording), () => bad)
    const known = new Map<string, Array<KnownOutcome>>()
    // Recorded in the order of their ends, called again in the order of their beginnings.
    const called = attempts.toSorted((a, b) => (a.attempt.number ?? 0) - (b.attempt.number ?? 0))
    for (const one of called) {
      const made = yield* Effect.mapError(decodeAttempt(one.attempt), () => bad)
      const outcomes = known.get(made.target) ?? []
      outcomes.push(outcomeOf(mode, one, made))
      known.set(made.target, outcomes)
    }
    return (target) => {
      const outcomes = known.get(target)
      // Repeats the last outcome.
      return outcomes !== undefined && outcomes.length > 1 ? outcomes.shift() : outcomes?.[0]
    }
  })

/** Runs an effect on a clock that jumps to the end of the next sleep. */
const inVirtualTime = <A, E>(self: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(self)
    while (fiber.pollUnsafe() === undefined) yield* TestClock.adjust("1 minute")
    return yield* Fiber.join(fiber)
  }).pipe(Effect.provide(TestClock.layer({ warningDelay: "1 hour" })), Effect.scoped)

/**
 * Runs a route against the outcomes of a recording, in virtual time and without a gateway.
 *
 * Each target answers as it did, in order, and repeats its last outcome. An interrupted attempt is only known to have
 * taken longer. Streams end at their first delta. The timeout of a target is compared with the duration of the complete
 * attempt, and random numbers are always the same. Fails with `InvalidRequest` when the recording, the route or the
 * options are invalid.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Recording from "effect-ai-gateway/Recording"
 * import * as Route from "effect-ai-gateway/Route"
 *
 * const today = Route.fallback(
 *   Provider.anthropic.messages("claude-haiku-4-5"),
 *   Provider.openai.chat("gpt-4.1-mini")
 * ).pipe(Route.hedge({ after: "2 seconds" }))
 *
 * export const replayed = (yesterday: Recording.Recording) =>
 *   Effect.map(Recording.replay(yesterday, today, "any prompt"), ({ duration, outcome, target }) => ({
 *     outcome,
 *     target,
 *     duration
 *   }))
 * ```
 *
 * @category reading
 */
export const replay = <In, Out>(
  recording: Recording,
  route: Route.Route<In, Out>,
  input: In,
  options: ReplayOptions = {}
): Effect.Effect<Replayed, GatewayError> =>
  Effect.gen(function* () {
    const outcomes = yield* outcomesOf(recording)
    const { routerBudget, ...runOptions } = options
    const replayed = replayRun(route, input, runOptions, budgetOf(routerBudget), outcomes)
    const { attempts, duration, exit } = yield* inVirtualTime(Random.withSeed(replayed, "replay"))
    if (Exit.isSuccess(exit)) return { outcome: "success", target: exit.value.target, duration, attempts }
    const error = Option.getOrUndefined(Exit.findErrorOption(exit))
    if (error !== undefined) return { outcome: "failure", duration, attempts, error }
    const unknown = Cause.squash(exit.cause)
    if (unknown instanceof UnknownOutcome) return { outcome: "unknown", target: unknown.target, duration, attempts }
    return yield* Effect.die(unknown)
  })
