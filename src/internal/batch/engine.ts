/**
 * The pipeline of a batch: takes items in, admits them, runs them, writes down their results, and delivers these. It
 * receives functions for its items and knows no routes.
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { JournalError } from "../../BatchJournal.ts"
import { GatewayError, Timeout } from "../../GatewayError.ts"
import * as Entrance from "./entrance.ts"
import { Gate } from "./gate.ts"
import * as Intake from "./intake.ts"
import * as ItemRuns from "./itemRuns.ts"
import { type Counters, type Engine, type EngineOptions, method, type Shared } from "./job.ts"
import * as JournalWriter from "./journalWriter.ts"
import * as Output from "./output.ts"
import { Tally } from "./tally.ts"

/** Unique ids: a random text for the batch, and a number. */
const makeIds: Effect.Effect<() => string> = Effect.withFiber((fiber) => {
  const random = fiber.getRef(Random.Random)
  const part = () =>
    Math.floor(random.nextDoubleUnsafe() * 0x1_0000_0000)
      .toString(16)
      .padStart(8, "0")
  const prefix = part() + part() + part() + part()
  let number = 0
  return Effect.succeed(() => `${prefix}-${(number++).toString(36)}`)
})

const countersFrom = (startedAt: number, beganAt: number): Counters => ({
  state: "running",
  items: 0,
  replayedDone: 0,
  replayedDead: 0,
  duplicates: 0,
  inDoubt: 0,
  resent: 0,
  requeued: 0,
  inFlight: 0,
  entering: 0,
  firstProblem: undefined,
  startedAt,
  beganAt,
  endedAt: undefined
})

/** Ends an effect with the job's deadline, in milliseconds. */
const limited = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  millis: number | undefined
): Effect.Effect<A, E | GatewayError, R> =>
  millis === undefined
    ? self
    : Effect.timeoutOrElse(self, {
        duration: millis,
        orElse: () =>
          Effect.fail(
            new GatewayError({ method, reason: new Timeout({ phase: "deadline", limit: Duration.millis(millis) }) })
          )
      })

/** Starts a batch. It runs in the scope, and the consumer of the results sets its pace. */
export const start = Effect.fnUntraced(function* <Item, Out, E, R>(
  options: EngineOptions<Item, Out, E, R>
): Effect.fn.Return<Engine<Out, E>, never, R | Scope.Scope> {
  type Failure = E | GatewayError | JournalError
  const clock = yield* Clock.Clock
  const millis = (): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  const counters = countersFrom(clock.currentTimeMillisUnsafe(), millis())
  const tally = new Tally()
  const gate = new Gate(clock, counters, { quota: options.quotaPatience, outage: options.outagePatience })
  const drained = Deferred.makeUnsafe<void>()
  const shared: Shared = {
    clock,
    counters,
    drained,
    gate,
    tally,
    millis
  }
  const failed = Deferred.makeUnsafe<never, Failure>()
  const fail = (cause: Cause.Cause<Failure>): void => void Deferred.doneUnsafe(failed, Exit.failCause(cause))
  /** Whether nothing more is sent. */
  let stopped = false
  const stop = Effect.sync(() => {
    stopped = true
  })
  // The scope ends these in reverse order: requests in flight end, and then their results are written down.
  const { journal } = options
  const writer = journal === undefined ? undefined : yield* JournalWriter.start(journal, () => stopped, fail)
  const output = yield* Output.make<Item, Out, Failure>(options, shared, writer)
  const workers = yield* FiberSet.make<void>()
  const finished = Deferred.makeUnsafe<void>()
  const makeId = yield* makeIds
  const fork = yield* FiberSet.runtime(workers)()
  const spawn = (self: Effect.Effect<void>): void => void fork(self)
  yield* Effect.addFinalizer(() => stop)
  const entrance = Entrance.make(options, shared)
  const runs = ItemRuns.make(options, shared, { entrance, fail, makeId, output, spawn, writer })
  const take = Intake.make(options, shared, entrance, output, runs)

  /** Ends when everything that was admitted has ended, has been written down and delivered. */
  const settled: Effect.Effect<void> = Effect.gen(function* () {
    // A written entry may begin an item, and an item in doubt is written late.
    do {
      yield* FiberSet.awaitEmpty(workers)
      yield* runs.flushed
    } while ((yield* FiberSet.size(workers)) > 0)
    if (writer !== undefined) yield* writer.close
  })
  const whole = Effect.gen(function* () {
    const fed = yield* Effect.exit(Effect.raceFirst(Stream.runForEach(options.items, take), Deferred.await(drained)))
    gate.end()
    // Whatever ended the input, items in flight end too.
    yield* settled
    return yield* fed
  })
  const main = Effect.gen(function* () {
    const timed = limited(whole, options.jobDeadline)
    const exit = yield* Effect.exit(Effect.raceFirst(timed, Deferred.await(failed)))
    if (Exit.isFailure(exit)) {
      yield* stop
      yield* FiberSet.clear(workers)
      yield* settled
    }
    counters.state = Exit.isFailure(exit) ? "failed" : Deferred.isDoneUnsafe(drained) ? "drained" : "complete"
    yield* output.end(exit)
  }).pipe(
    Effect.ensuring(
      Effect.sync(() => {
        if (counters.endedAt === undefined) counters.endedAt = millis()
        if (counters.state === "running" || counters.state === "draining") counters.state = "failed"
        Deferred.doneUnsafe(finished, Effect.void)
      })
    )
  )
  yield* Effect.forkScoped(main)

  return {
    results: output.results,
    drain: Effect.suspend(() => {
      if (counters.state === "running") counters.state = "draining"
      return Effect.asVoid(Deferred.succeed(drained, undefined))
    }),
    finished: Deferred.await(finished),
    tally,
    gate,
    counters
  }
})
