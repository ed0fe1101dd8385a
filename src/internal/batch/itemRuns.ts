/**
 * Runs items, from their admission to their end. Only their waiting can be interrupted. Most items succeed at once, so
 * the steps after a failure are set up only when there is one.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import type { Entry } from "../../BatchJournal.ts"
import { type Attempt, type GatewayError, type QuotaExhausted, retryAfter } from "../../GatewayError.ts"
import * as Limiter from "../../Limiter.ts"
import { withFacts } from "../data/attempts.ts"
import type { Entrance } from "./entrance.ts"
import type { Admission, EngineOptions, ItemAttempt, Next, Shared, WorkItem } from "./job.ts"
import type { JournalWriter } from "./journalWriter.ts"
import type { Output } from "./output.ts"
import type { InDoubt } from "./record.ts"
import { answeredBy, sharedFault } from "./sharedFault.ts"

/** Sends items. */
export interface ItemRuns<Item> {
  /** Sends an item after that has been written down. */
  readonly begin: (work: WorkItem<Item>, admission: Admission, inDoubt: InDoubt | undefined) => void
  /**
   * Sends an item that may already have been answered, because an earlier run sent it without learning the outcome.
   * During the look into the logs it has only a place; it is admitted like any other item when it is sent.
   */
  readonly beginInDoubt: (work: WorkItem<Item>, place: Limiter.Permit, eventId: string) => void
  /**
   * Ends an item that was not admitted: the batch ends, or it needs more tokens than a minute allows, so that no wait
   * helps. Nothing was sent.
   */
  readonly reject: (
    work: WorkItem<Item>,
    inDoubt: InDoubt | undefined,
    cause: Cause.Cause<GatewayError>
  ) => Effect.Effect<void, GatewayError>
  /** Ends when everything noted so far is written; `false`: nothing may be sent any more. */
  readonly flushed: Effect.Effect<boolean>
}

/** The parts of the batch that item runs use. */
export interface Around<Item, Out> {
  readonly entrance: Entrance
  readonly output: Pick<Output<Item, Out, unknown>, "succeed" | "deadLetter">
  readonly writer: JournalWriter | undefined
  readonly makeId: () => string
  /** Fails the job. */
  readonly fail: (cause: Cause.Cause<GatewayError>) => void
  /** Runs an effect in a fiber of the batch. */
  readonly spawn: (self: Effect.Effect<void>) => void
}

/** A throttled item waits half a second at first, doubling up to half a minute. */
const backoff = (times: number, jitter: number): number => Math.min(30_000, 500 * 2 ** times) * (0.8 + 0.4 * jitter)

const isQuota = (error: GatewayError): error is GatewayError & { readonly reason: QuotaExhausted } =>
  error.reason._tag === "QuotaExhausted"

const isThrottled = (attempts: ReadonlyArray<Attempt>): boolean =>
  attempts.some(({ error }) => error !== undefined && Limiter.isThrottle(error))

/** The outcome of an item for adaptive concurrency: that of the answered request. */
const outcomeOf = (attempts: ReadonlyArray<Attempt>): Limiter.Outcome => ({
  throttled: isThrottled(attempts),
  latency: attempts.findLast(({ outcome }) => outcome === "success")?.duration
})

/** Joins the attempts of an item that was tried several times, which count as one run. */
const joined = (before: ReadonlyArray<Attempt>, more: ReadonlyArray<Attempt>): ReadonlyArray<Attempt> =>
  before.length === 0
    ? more
    : [
        ...before,
        ...more.map(
          (made, index): Attempt => ({
            ...made,
            number: before.length + index + 1,
            ...(made.cause !== undefined && { cause: made.cause === "first" ? "retry" : made.cause })
          })
        )
      ]

/** Makes the runs of a batch's items. */
export const make = <Item, Out>(
  options: EngineOptions<Item, Out, unknown, unknown>,
  { counters, drained, gate, millis, tally }: Shared,
  { entrance, fail, makeId, output, spawn, writer }: Around<Item, Out>
): ItemRuns<Item> => {
  const failJob = (cause: Cause.Cause<GatewayError>): Effect.Effect<void> => Effect.sync(() => fail(cause))

  /** Uninterruptible except while it waits; a defect fails the job. */
  const fork = (self: Effect.Effect<void, GatewayError>): void =>
    spawn(Effect.uninterruptible(Effect.catchCause(self, failJob)))

  /** Decides about a failure. While the batch drains, an item that would have to wait stays for the next run. */
  const decide = Effect.fnUntraced(function* (
    { since, struck, times }: ItemAttempt,
    error: GatewayError,
    startedAt: number
  ): Effect.fn.Return<Next> {
    if (isQuota(error)) return { _tag: "verdict", verdict: Effect.succeed(gate.exhausted(error, startedAt)) }
    const isThrottled = Limiter.isThrottle(error.reason)
    if (isThrottled && gate.cause !== "outage") {
      gate.answered(startedAt, "gateway", false)
      const hint = retryAfter(error.reason)
      const wait = Math.max(hint === undefined ? 0 : Duration.toMillis(hint), backoff(times, yield* Random.next))
      const limit = Math.min(options.throttlePatience, options.itemDeadline ?? Number.POSITIVE_INFINITY)
      if (millis() - since + wait <= limit) {
        counters.requeued++
        return { _tag: "again", wait }
      }
    }
    // The limits of a route held it back, and it was not sent: others use its place until then.
    if (error.reason._tag === "Rejected" && error.reason.by === "limiter" && error.reason.retryAfter !== undefined) {
      gate.abandon(startedAt)
      const wait = Duration.toMillis(error.reason.retryAfter)
      if (millis() - since + wait <= (options.itemDeadline ?? Number.POSITIVE_INFINITY)) {
        counters.requeued++
        return { _tag: "again", wait }
      }
      return { _tag: "deadLetter" }
    }
    const fault = sharedFault(error)
    if (fault !== undefined) return { _tag: "verdict", verdict: gate.failed(error, fault, startedAt, struck) }
    const by = answeredBy(error)
    if (by === undefined) gate.abandon(startedAt)
    else gate.answered(startedAt, by, false)
    return { _tag: "deadLetter" }
  })

  const flushed: Effect.Effect<boolean> =
    writer === undefined
      ? Effect.succeed(true)
      : Effect.callback((resume) => {
          const go = (): void => resume(Effect.succeed(true))
          const stay = (): void => resume(Effect.succeed(false))
          if (!writer.offer({ _tag: "beginning", entry: undefined, go, letGo: Effect.sync(stay) })) stay()
        })

  const ask = (work: WorkItem<Item>, attempt: ItemAttempt): Effect.Effect<void> => {
    const { admission, eventId, inDoubt, since, times } = attempt
    const startedAt = millis()
    const left =
      times === 0 || options.itemDeadline === undefined ? undefined : options.itemDeadline - startedAt + since
    const { permits, release } = admission
    return Effect.matchCauseEffect(Effect.interruptible(options.run(work.item, eventId, permits, left)), {
      onFailure: (cause) => overcome(work, attempt, startedAt, cause),
      onSuccess: (answer) => {
        gate.answered(startedAt, answer.cacheStatus === "HIT" ? "gateway" : "provider", true)
        const made = answer.attempts
        return output.succeed(work, answer, joined(attempt.attempts, made), inDoubt, release(outcomeOf(made)))
      }
    })
  }

  const overcome = Effect.fnUntraced(function* (
    work: WorkItem<Item>,
    attempt: ItemAttempt,
    startedAt: number,
    cause: Cause.Cause<GatewayError>
  ) {
    const { admission, inDoubt, times } = attempt
    const { release } = admission
    const error = Cause.findErrorOption(cause)
    const made = error._tag === "None" ? [] : (error.value.attempts ?? [])
    const attempts = joined(attempt.attempts, made)
    /** The item does not end in this run, although its requests were made. */
    const leave = (): void => {
      tally.addRequests(attempts)
      if (error._tag === "Some") counters.firstProblem ??= { id: work.id, error: error.value }
    }
    if (error._tag === "None" || options.isFatal(error.value)) {
      gate.abandon()
      leave()
      yield* release({})
      // An interruption ends the batch, and says nothing about the item.
      return yield* error._tag === "None" && Cause.hasInterruptsOnly(cause) ? Effect.void : failJob(cause)
    }
    const outcome = { throttled: Limiter.isThrottle(error.value.reason) || isThrottled(made) }
    const bury = () => output.deadLetter(work, withFacts(error.value, { attempts }), inDoubt, release(outcome))
    const { openings } = gate
    const next = yield* decide(attempt, error.value, startedAt)
    if (next._tag === "deadLetter") return yield* bury()
    // Others use the place while this one waits.
    yield* release(outcome)
    if (next._tag === "verdict") {
      const drains = Effect.as(Deferred.await(drained), undefined)
      const verdict = yield* Effect.exit(Effect.interruptible(Effect.raceFirst(next.verdict, drains)))
      if (Exit.isFailure(verdict) || verdict.value === undefined) return leave()
      if (verdict.value === "deadLetter") return yield* bury()
      if (verdict.value === "giveUp") {
        leave()
        return yield* failJob(Cause.fail(error.value))
      }
    }
    const isHeld = next._tag === "verdict"
    const entered = yield* Effect.exit(entrance.reenter(work.tokens, isHeld ? 0 : next.wait))
    if (Exit.isFailure(entered) || entered.value === undefined) return leave()
    const again = { ...attempt, admission: entered.value, times: times + 1, attempts }
    // Its place was another item's, whose result is not written yet.
    if (yield* flushed) {
      const struck = attempt.struck + (gate.openings > openings ? 1 : 0)
      yield* ask(work, isHeld ? { ...again, since: millis(), struck } : again)
    } else {
      leave()
      yield* entered.value.release({ sent: false })
    }
  })

  const begin: ItemRuns<Item>["begin"] = (work, admission, inDoubt) => {
    const attempt: ItemAttempt = {
      eventId: makeId(),
      admission,
      inDoubt,
      times: 0,
      attempts: [],
      since: work.startedAt,
      struck: 0
    }
    const go = (): void => fork(ask(work, attempt))
    const entry: Entry = { _tag: "sent", id: work.id, eventId: attempt.eventId }
    if (writer === undefined) go()
    else writer.offer({ _tag: "beginning", entry, go, letGo: admission.release({ sent: false }) })
  }

  const reject: ItemRuns<Item>["reject"] = (work, inDoubt, cause) => {
    const error = Cause.findErrorOption(cause)
    if (error._tag === "None") return Effect.void
    return error.value.reason._tag === "Rejected"
      ? Effect.catchCause(output.deadLetter(work, error.value, inDoubt, Effect.void), failJob)
      : Effect.fail(error.value)
  }

  const beginInDoubt: ItemRuns<Item>["beginInDoubt"] = (work, place, eventId) =>
    fork(
      Effect.gen(function* () {
        counters.entering++
        const asked = yield* Effect.exit(Effect.interruptible(options.reconcile(eventId)))
        counters.entering--
        yield* place.settle({ sent: false })
        if (Exit.isFailure(asked)) return
        const inDoubt = asked.value
        yield* Effect.matchCauseEffect(entrance.enter(work.tokens, true), {
          onFailure: (cause) => reject(work, inDoubt, cause),
          onSuccess: (admission) =>
            Effect.sync(() => {
              if (admission === undefined) return
              counters.inDoubt++
              if (inDoubt.found === "success") counters.resent++
              begin({ ...work, startedAt: millis() }, admission, inDoubt)
            })
        })
      })
    )

  return { begin, beginInDoubt, reject, flushed }
}
