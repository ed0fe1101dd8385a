/**
 * The pipeline of a batch: takes items in, admits them, runs them, writes down what they came to, and hands it out. It knows items by what
 * it is told to do with them, and no routes.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { Entry, JournalError } from "../../BatchJournal.ts"
import { type Attempt, GatewayError, invalid, type QuotaExhausted, retryAfter, Timeout } from "../../GatewayError.ts"
import * as Limiter from "../../Limiter.ts"
import { defined } from "../data/defined.ts"
import { maxIdLength } from "../data/idIndex.ts"
import { CurrentItemPermits, type ItemPermits, settle } from "./admission.ts"
import type { Admission, Counters, Engine, EngineOptions, ItemAnswer, ItemAttempt, Next, WorkItem } from "./job.ts"
import * as Keeper from "./journalWriter.ts"
import { QuotaGate } from "./quotaGate.ts"
import type { InDoubt } from "./record.ts"
import type { DeadLetter, Result, Success } from "./result.ts"
import { type ItemOutcome, Tally } from "./tally.ts"
import { isUnkept, unkeptAnswer, unkeptError } from "./unkept.ts"

/** The one key of a batch's own limiters. */
export const ownKey = "batch"
/** What errors of a batch itself name. */
export const method = "Batch.run"

/** A throttled item waits a half second at first, and doubles that up to half a minute. */
const backoff = (times: number, jitter: number): number => Math.min(30_000, 500 * 2 ** times) * (0.8 + 0.4 * jitter)

/** Ids that nobody else makes: a random text for the batch, and a number. */
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

const isQuota = (error: GatewayError): error is GatewayError & { readonly reason: QuotaExhausted } =>
  error.reason._tag === "QuotaExhausted"

const isThrottled = (attempts: ReadonlyArray<Attempt>): boolean =>
  attempts.some(({ error }) => error !== undefined && Limiter.isThrottle(error))

/** How the requests of an item speak to adaptive concurrency: by the one that was answered. */
const outcomeOf = (attempts: ReadonlyArray<Attempt>): Limiter.Outcome => ({
  throttled: isThrottled(attempts),
  latency: attempts.findLast(({ outcome }) => outcome === "success")?.duration
})

const withAttempts = (error: GatewayError, attempts: ReadonlyArray<Attempt>): GatewayError => {
  const { eventId, logId, method, model, provider, reason, step } = error
  return new GatewayError({ method, reason, attempts, ...defined({ eventId, logId, model, provider, step }) })
}

const joined = <A>(before: ReadonlyArray<A>, more: ReadonlyArray<A>): ReadonlyArray<A> =>
  before.length === 0 ? more : [...before, ...more]

const isNonEmpty = <A>(all: ReadonlyArray<A>): all is readonly [A, ...Array<A>] => all.length > 0

/** Starts a batch. It runs in the scope, and is held back by whoever takes the results. */
export const start = Effect.fnUntraced(function* <Item, Out, E, R>(
  plan: EngineOptions<Item, Out, E, R>
): Effect.fn.Return<Engine<Out, E>, never, R | Scope.Scope> {
  type Failure = E | GatewayError | JournalError
  const clock = yield* Clock.Clock
  const millis = (): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  const { journal, ledger, places, rates } = plan
  const tally = new Tally()
  const gate = new QuotaGate(clock, plan.quotaPatience)
  const counters: Counters = {
    state: "running",
    items: 0,
    replayedDone: 0,
    replayedDead: 0,
    duplicates: 0,
    inDoubt: 0,
    resent: 0,
    requeued: 0,
    inFlight: 0,
    startedAt: clock.currentTimeMillisUnsafe(),
    endedAt: undefined
  }
  // Holds no more than the window lets in.
  const ready = yield* Queue.unbounded<{ readonly order: number; readonly result: Result<Out> }, Failure | Cause.Done>()
  const window = Semaphore.makeUnsafe(plan.buffer)
  const failed = Deferred.makeUnsafe<never, Failure>()
  const fail = (cause: Cause.Cause<Failure>): void => void Deferred.doneUnsafe(failed, Exit.failCause(cause))
  const failJob = (cause: Cause.Cause<Failure>): Effect.Effect<void> => Effect.sync(() => fail(cause))
  /** Nothing more is sent. */
  let stopped = false
  // The scope ends these in the reverse order: what was sent ends, and what has ended is written down.
  const keeper = journal === undefined ? undefined : yield* Keeper.start(journal, () => stopped, fail)
  const workers = yield* FiberSet.make<void>()
  const drained = Deferred.makeUnsafe<void>()
  const finished = Deferred.makeUnsafe<void>()
  const makeId = yield* makeIds
  const spawn = yield* FiberSet.runtime(workers)()
  const stop = Effect.sync(() => {
    stopped = true
  })
  yield* Effect.addFinalizer(() => stop)
  let orders = 0

  const hold = (place: Limiter.Permit, sending: ItemPermits | undefined): Admission => {
    let held = true
    counters.inFlight++
    return {
      sending,
      release: (outcome, answer) =>
        Effect.suspend(() => {
          if (!held) return Effect.void
          held = false
          counters.inFlight--
          const given = place.settle(outcome)
          return sending === undefined
            ? given
            : Effect.andThen(settle(sending, answer?.usage, answer?.cacheStatus), given)
        })
    }
  }

  /** Takes a place, and what the rates ask for. */
  const admit = (tokens: number, urgent: boolean): Effect.Effect<Admission, GatewayError> => {
    const place = places.acquire(ownKey, { requests: 0, urgent })
    if (rates === undefined) return Effect.map(place, (place) => hold(place, undefined))
    const rate = rates.limiter.acquire(rates.key, { tokens, place: false, urgent })
    return Effect.flatMap(place, (place) =>
      Effect.map(
        Effect.onError(rate, () => place.settle({ sent: false })),
        (admitted) => hold(place, { admitted, reading: undefined, tokens })
      )
    )
  }

  /**
   * Lets an item in: past the gate, and to a place. While it waited for the place the gate may have closed, and then it is let
   * in again. `undefined`: the batch drains. Only its waiting can be interrupted.
   */
  const enter = (tokens: number, urgent: boolean): Effect.Effect<Admission | undefined, GatewayError> => {
    const as = (isProbe: boolean): Effect.Effect<Admission | undefined, GatewayError> => {
      const admitted = admit(tokens, urgent)
      const abandon = () => Effect.sync(() => gate.abandon())
      return Effect.flatMap(isProbe ? Effect.onError(admitted, abandon) : admitted, (admission) =>
        isProbe || gate.closedUntil === undefined
          ? Effect.succeed(admission)
          : Effect.andThen(admission.release({ sent: false }), enter(tokens, urgent))
      )
    }
    return Effect.suspend(() => {
      if (gate.closedUntil === undefined) return as(false)
      const passed = Effect.raceFirst(gate.pass, Effect.as(Deferred.await(drained), undefined))
      return Effect.flatMap(Effect.interruptible(passed), (isProbe) =>
        isProbe === undefined ? Effect.succeed(undefined) : as(isProbe)
      )
    })
  }

  /** Gives the place back, writes a result down, and hands it out when it is durable. */
  const settleAs = (id: string, end: Keeper.ItemEnd, release: Effect.Effect<void>): Effect.Effect<void> =>
    Effect.map(release, keeper === undefined ? end.hand : () => void keeper.offer({ _tag: "ending", id, end }))

  const handOut = (order: number, result: Success<Out> | DeadLetter, outcome: () => ItemOutcome): void => {
    Queue.offerUnsafe(ready, { order, result })
    // Asks the application what it cost, which may fail: by now the answer is safe.
    tally.add(outcome())
  }

  const succeed = (
    { id, index, order, startedAt }: WorkItem<Item>,
    answer: ItemAnswer<Out>,
    attempts: ReadonlyArray<Attempt>,
    inDoubt: InDoubt | undefined,
    release: Effect.Effect<void>
  ): Effect.Effect<void> => {
    const latency = millis() - startedAt
    const common = { id, index, latency: Duration.millis(latency), replayed: false, ...defined({ inDoubt }) }
    const { cacheStatus, step, target, usage } = answer
    const end: Keeper.ItemEnd = {
      as: "done",
      record: () => plan.records.done({ value: answer, facts: answer, attempts, latency, inDoubt }),
      hand: () =>
        handOut(order, { ...answer, ...common, _tag: "Success", attempts }, () => ({
          target,
          reason: undefined,
          attempts,
          usage,
          cacheStatus,
          step,
          cost: plan.costOf(answer),
          latency
        })),
      instead: (cause) => buried(order, common, latency, unkeptAnswer(method, answer, attempts, cause))
    }
    return settleAs(id, end, release)
  }

  /** The end of an item that is given up. */
  const buried = (
    order: number,
    common: Omit<DeadLetter, "_tag" | "error" | "attempts">,
    latency: number,
    error: GatewayError
  ): Keeper.ItemEnd => {
    const { attempts = [], reason } = error
    const { inDoubt } = common
    const none = { target: undefined, usage: undefined, cacheStatus: undefined, step: undefined, cost: undefined }
    return {
      as: "dead",
      record: () => plan.records.dead({ error, latency, inDoubt }),
      hand: () =>
        handOut(order, { ...common, _tag: "DeadLetter", error, attempts }, () => ({
          ...none,
          reason: reason._tag,
          attempts,
          latency
        })),
      // The replacement can always be kept.
      instead: isUnkept(error) ? undefined : () => buried(order, common, latency, unkeptError(error))
    }
  }

  const bury = (
    { id, index, order, startedAt }: WorkItem<Item>,
    error: GatewayError,
    inDoubt: InDoubt | undefined,
    release: Effect.Effect<void>
  ): Effect.Effect<void> => {
    const latency = millis() - startedAt
    const common = { id, index, latency: Duration.millis(latency), replayed: false, ...defined({ inDoubt }) }
    return settleAs(id, buried(order, common, latency, error), release)
  }

  /** What to do about a failure. While the batch drains an item that would have to wait is left to the next run. */
  const decide = Effect.fnUntraced(function* (
    job: WorkItem<Item>,
    error: GatewayError,
    times: number,
    startedAt: number
  ): Effect.fn.Return<Next> {
    if (isQuota(error)) {
      if (gate.exhausted(error, startedAt) === "wait") return { _tag: "again", wait: 0 }
      yield* failJob(Cause.fail(error))
      return { _tag: "leave" }
    }
    gate.open(startedAt)
    if (!Limiter.isThrottle(error.reason)) return { _tag: "bury" }
    const hint = retryAfter(error.reason)
    const wait = Math.max(hint === undefined ? 0 : Duration.toMillis(hint), backoff(times, yield* Random.next))
    const limit = Math.min(plan.throttlePatience, plan.itemDeadline ?? Number.POSITIVE_INFINITY)
    if (millis() - job.startedAt + wait > limit) return { _tag: "bury" }
    counters.requeued++
    return { _tag: "again", wait }
  })

  /** Waits, and is let in again; `undefined` when the batch drains. */
  const reenter = (tokens: number, wait: number): Effect.Effect<Admission | undefined, GatewayError> => {
    if (wait === 0) return enter(tokens, true)
    const slept = Effect.raceFirst(Effect.as(Effect.sleep(wait), true), Effect.as(Deferred.await(drained), false))
    return Effect.flatMap(Effect.interruptible(slept), (goOn) =>
      goOn ? enter(tokens, true) : Effect.succeed(undefined)
    )
  }

  // From an admission to an end, uninterruptibly but for the waiting. Most items succeed at once, so what comes after a failure is only set up
  // when there is one.

  /** Sends an item, once that is written down. */
  const begin = (job: WorkItem<Item>, admission: Admission, inDoubt: InDoubt | undefined): void => {
    const turn: ItemAttempt = { eventId: makeId(), admission, inDoubt, times: 0, attempts: [] }
    const go = (): void => fork(ask(job, turn))
    const entry: Entry = { _tag: "sent", id: job.id, eventId: turn.eventId }
    if (keeper === undefined) go()
    else keeper.offer({ _tag: "beginning", entry, go, letGo: admission.release({ sent: false }) })
  }

  /** An item that was not let in: the batch ends, or it needs more tokens than a minute has, so that no wait helps. Nothing was sent. */
  const refused = (
    job: WorkItem<Item>,
    inDoubt: InDoubt | undefined,
    cause: Cause.Cause<GatewayError>
  ): Effect.Effect<void, GatewayError> => {
    const error = Cause.findErrorOption(cause)
    if (error._tag === "None") return Effect.void
    return error.value.reason._tag === "Rejected"
      ? Effect.catchCause(bury(job, error.value, inDoubt, Effect.void), failJob)
      : Effect.fail(error.value)
  }

  /**
   * Sends an item that may have been answered already: an earlier run sent it, and does not know more. While the logs are asked it has a place
   * and nothing else; it is let in when it is to be sent, like any other.
   */
  const beginInDoubt = (job: WorkItem<Item>, place: Limiter.Permit, eventId: string): void =>
    fork(
      Effect.gen(function* () {
        const asked = yield* Effect.exit(Effect.interruptible(plan.reconcile(eventId)))
        yield* place.settle({ sent: false })
        if (Exit.isFailure(asked)) return
        const inDoubt = asked.value
        yield* Effect.matchCauseEffect(enter(job.tokens, true), {
          onFailure: (cause) => refused(job, inDoubt, cause),
          onSuccess: (admission) =>
            Effect.sync(() => {
              if (admission === undefined) return
              counters.inDoubt++
              if (inDoubt.found === "success") counters.resent++
              begin({ ...job, startedAt: millis() }, admission, inDoubt)
            })
        })
      })
    )

  /** Ends when all that was noted so far is written; `false`: nothing is to be sent any more. */
  const flushed: Effect.Effect<boolean> =
    keeper === undefined
      ? Effect.succeed(true)
      : Effect.callback((resume) => {
          const go = (): void => resume(Effect.succeed(true))
          const stay = (): void => resume(Effect.succeed(false))
          if (!keeper.offer({ _tag: "beginning", entry: undefined, go, letGo: Effect.sync(stay) })) stay()
        })

  const ask = (job: WorkItem<Item>, turn: ItemAttempt): Effect.Effect<void> => {
    const { admission, eventId, inDoubt, times } = turn
    const startedAt = clock.currentTimeMillisUnsafe()
    const left =
      times === 0 || plan.itemDeadline === undefined ? undefined : plan.itemDeadline - millis() + job.startedAt
    const running = plan.run(job.item, eventId, left)
    const { release, sending } = admission
    return Effect.matchCauseEffect(
      Effect.interruptible(
        sending === undefined ? running : Effect.provideService(running, CurrentItemPermits, sending)
      ),
      {
        onFailure: (cause) => overcome(job, turn, startedAt, cause),
        onSuccess: (answer) => {
          gate.open(startedAt)
          const made = answer.attempts
          return succeed(job, answer, joined(turn.attempts, made), inDoubt, release(outcomeOf(made), answer))
        }
      }
    )
  }

  const overcome = Effect.fnUntraced(function* (
    job: WorkItem<Item>,
    turn: ItemAttempt,
    startedAt: number,
    cause: Cause.Cause<GatewayError>
  ) {
    const { inDoubt, times } = turn
    const { release } = turn.admission
    const error = Cause.findErrorOption(cause)
    if (error._tag === "None" || plan.isFatal(error.value)) {
      gate.abandon()
      yield* release({})
      // An interruption is the end of the batch, and nothing of the item's.
      return yield* error._tag === "None" && Cause.hasInterruptsOnly(cause) ? Effect.void : failJob(cause)
    }
    const made = error.value.attempts ?? []
    const attempts = joined(turn.attempts, made)
    const outcome = { throttled: Limiter.isThrottle(error.value.reason) || isThrottled(made) }
    const next = yield* decide(job, error.value, times, startedAt)
    if (next._tag === "bury") {
      return yield* bury(job, withAttempts(error.value, attempts), inDoubt, release(outcome))
    }
    // Others have the place while this one waits.
    yield* release(outcome)
    if (next._tag === "leave") return
    const entered = yield* Effect.exit(reenter(job.tokens, next.wait))
    if (Exit.isFailure(entered) || entered.value === undefined) return
    const admission = entered.value
    // Its place was another item's, whose result is not written yet.
    if (yield* flushed) yield* ask(job, { ...turn, admission, times: times + 1, attempts })
    else yield* admission.release({ sent: false })
  })

  /** Nothing interrupts it but its own waiting; a defect is the job's. */
  const fork = (self: Effect.Effect<void, GatewayError>): void =>
    void spawn(Effect.uninterruptible(Effect.catchCause(self, failJob)))

  /** Hands out again what an earlier run has done. */
  const replay = Effect.fnUntraced(function* (id: string, index: number, kind: "done" | "dead", location: number) {
    if (kind === "done") counters.replayedDone++
    else counters.replayedDead++
    if (journal === undefined || !plan.replay(id)) return
    yield* window.take(1)
    const common = { id, index, replayed: true } as const
    const stored = yield* journal.read(location)
    let result: Result<Out>
    if (kind === "dead") {
      const { error, inDoubt, latency } = yield* plan.records.readDead(stored)
      const ran = { attempts: error.attempts ?? [], latency: Duration.millis(latency), ...defined({ inDoubt }) }
      result = { _tag: "DeadLetter", ...common, error, ...ran }
    } else {
      const { attempts, facts, inDoubt, latency, value } = yield* plan.records.readDone(stored)
      const ran = { ...facts, attempts, latency: Duration.millis(latency), ...defined({ inDoubt }) }
      result =
        value === undefined
          ? { _tag: "DoneBefore", ...common, ...ran }
          : { _tag: "Success", ...common, value: value.value, ...ran }
    }
    Queue.offerUnsafe(ready, { order: orders++, result })
  })

  const launch = (
    item: Item,
    id: string,
    index: number,
    doubtful: string | undefined
  ): Effect.Effect<void, GatewayError> => {
    const tokens = rates === undefined ? 0 : plan.tokensOf(item)
    const jobOf = (): WorkItem<Item> => ({ item, id, index, order: orders++, tokens, startedAt: millis() })
    if (doubtful !== undefined) {
      return Effect.map(places.acquire(ownKey, { requests: 0 }), (place) => beginInDoubt(jobOf(), place, doubtful))
    }
    return Effect.matchCauseEffect(enter(tokens, false), {
      onFailure: (cause) => refused(jobOf(), undefined, cause),
      onSuccess: (admission) => {
        const job = jobOf()
        return admission === undefined ? Effect.void : Effect.sync(() => begin(job, admission, undefined))
      }
    })
  }

  const take = (item: Item): Effect.Effect<void, GatewayError | JournalError> => {
    const index = counters.items++
    const id = plan.idOf(item, index)
    if (typeof id !== "string" || id === "" || id.length > maxIdLength) {
      return Effect.fail(invalid(method, `id of item ${index}`, `a text of 1 to ${maxIdLength} characters`))
    }
    const standing =
      plan.duplicates === "unchecked" ? ledger.meetOnce(id, plan.retryFailed) : ledger.meet(id, index, plan.retryFailed)
    switch (standing._tag) {
      case "duplicate": {
        counters.duplicates++
        if (plan.duplicates === "skip") return Effect.void
        const accepted = `one that no other item has; item ${standing.firstIndex} has the same`
        return Effect.fail(invalid(method, `id of item ${index}`, accepted))
      }
      case "done":
      case "dead":
        return replay(id, index, standing._tag, standing.location)
      default: {
        const doubtful = standing._tag === "inDoubt" ? standing.eventId : undefined
        return Effect.flatMap(window.take(1), () => Effect.uninterruptible(launch(item, id, index, doubtful)))
      }
    }
  }

  /** Ends when everything that was admitted has ended, and is written down and handed out. */
  const settled: Effect.Effect<void> = Effect.gen(function* () {
    // What is noted may begin an item, and an item that is in doubt is noted late.
    do {
      yield* FiberSet.awaitEmpty(workers)
      yield* flushed
    } while ((yield* FiberSet.size(workers)) > 0)
    if (keeper !== undefined) yield* keeper.close
  })
  const whole = Effect.gen(function* () {
    const fed = yield* Effect.exit(Effect.raceFirst(Stream.runForEach(plan.items, take), Deferred.await(drained)))
    // Whatever ended the input, what is in flight ends too.
    yield* settled
    return yield* fed
  })
  const timed =
    plan.jobDeadline === undefined
      ? whole
      : Effect.timeoutOrElse(whole, {
          duration: plan.jobDeadline,
          orElse: () =>
            Effect.fail(
              new GatewayError({
                method,
                reason: new Timeout({ phase: "deadline", limit: Duration.millis(plan.jobDeadline ?? 0) })
              })
            )
        })
  const main = Effect.gen(function* () {
    const exit = yield* Effect.exit(Effect.raceFirst(timed, Deferred.await(failed)))
    if (Exit.isFailure(exit)) {
      yield* stop
      yield* FiberSet.clear(workers)
      yield* settled
    }
    counters.state = Exit.isFailure(exit) ? "failed" : Deferred.isDoneUnsafe(drained) ? "drained" : "complete"
    yield* Exit.isFailure(exit) ? Queue.failCause(ready, exit.cause) : Queue.end(ready)
  }).pipe(
    Effect.ensuring(
      Effect.sync(() => {
        if (counters.endedAt === undefined) counters.endedAt = clock.currentTimeMillisUnsafe()
        if (counters.state === "running" || counters.state === "draining") counters.state = "failed"
        Deferred.doneUnsafe(finished, Effect.void)
      })
    )
  )
  yield* Effect.forkScoped(main)

  const held = new Map<number, Result<Out>>()
  let due = 0
  const inOrder = (all: ReadonlyArray<{ readonly order: number; readonly result: Result<Out> }>) => {
    for (const { order, result } of all) held.set(order, result)
    const out: Array<Result<Out>> = []
    for (let result = held.get(due); result !== undefined; result = held.get(due)) {
      out.push(result)
      held.delete(due++)
    }
    return out
  }
  type Batch = readonly [Result<Out>, ...Array<Result<Out>>]
  const pull: Effect.Effect<Batch, Failure | Cause.Done> = Effect.flatMap(Queue.takeAll(ready), (all) => {
    const out = plan.ordered ? inOrder(all) : all.map(({ result }) => result)
    return isNonEmpty(out) ? Effect.as(window.release(out.length), out) : pull
  })
  // At the end nobody fills the gaps any more, which items left behind that were interrupted or put off.
  const pullOrRest = Effect.catchCause(pull, (cause): Effect.Effect<Batch, Failure | Cause.Done> => {
    const rest = [...held].sort(([a], [b]) => a - b).map(([, result]) => result)
    held.clear()
    return isNonEmpty(rest) ? Effect.succeed(rest) : Effect.failCause(cause)
  })

  return {
    results: Stream.fromPull(Effect.succeed(pullOrRest)),
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
