/**
 * The fiber-local record of attempts.
 *
 * A result of `Router.run` carries its own attempts. The trail is for code that does not hold the result: middleware,
 * request loggers, feedback buttons. It is a `Context.Reference` whose default records nothing, because a mutable
 * default would be one list for the complete process.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type { Attempt, GatewayError } from "./GatewayError.ts"
import { defined, type Mutable } from "./internal/data/defined.ts"
import { shownEndpoint } from "./internal/data/secrets.ts"

export type { Attempt } from "./GatewayError.ts"

/** A place in the list, taken when an attempt starts and filled when it ends. */
interface TrailSlot {
  attempt: Attempt | undefined
}

interface Trail {
  readonly slots: Array<TrailSlot>
  readonly parent: Trail | undefined
}

/** The collection that the current fiber reports to; forked children inherit it. */
const CurrentTrail = Context.Reference<Trail | undefined>("effect-ai-gateway/LogTrail", {
  defaultValue: () => undefined
})

const attemptsOf = (trail: Trail | undefined): ReadonlyArray<Attempt> => {
  const out: Array<Attempt> = []
  for (const { attempt } of trail?.slots ?? []) {
    if (attempt !== undefined) out.push(attempt)
  }
  return out
}

/**
 * Result of {@link collect}.
 *
 * @category models
 */
export interface Collected<A> {
  readonly value: A
  /** In order of start, without attempts that were still running when the effect ended. */
  readonly attempts: ReadonlyArray<Attempt>
}

/**
 * Runs an effect and returns its value with the attempts made inside it, in order of start, those of child fibers
 * included.
 *
 * Nested collections also report to the outer one; siblings never see each other's attempts. To keep the attempts of an
 * effect that may fail, collect its exit: `LogTrail.collect(Effect.exit(effect))`.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as LogTrail from "effect-ai-gateway/LogTrail"
 *
 * const program = LogTrail.collect(Effect.succeed("no attempt was made"))
 * console.log(Effect.runSync(program).attempts.length) // 0
 * ```
 *
 * @category recording
 */
export const collect = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<Collected<A>, E, R> =>
  Effect.flatMap(CurrentTrail, (parent) => {
    const trail: Trail = { slots: [], parent }
    return Effect.map(Effect.provideService(self, CurrentTrail, trail), (value) => ({
      value,
      attempts: attemptsOf(trail)
    }))
  })

/**
 * The attempts of the current collection so far; empty outside a collection.
 *
 * @category getters
 */
export const current: Effect.Effect<ReadonlyArray<Attempt>> = Effect.map(CurrentTrail, attemptsOf)

/**
 * The log id for feedback: that of the latest attempt, by start, that succeeded and has one; otherwise the last log id;
 * `undefined` when there is none.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as GatewayService from "effect-ai-gateway/GatewayService"
 * import * as LogTrail from "effect-ai-gateway/LogTrail"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Router from "effect-ai-gateway/Router"
 *
 * export const rated = LogTrail.collect(
 *   Effect.gen(function* () {
 *     const { value } = yield* Router.run(Provider.openai.chat("gpt-4.1-mini"), "What is a fiber?")
 *     const logId = yield* LogTrail.lastLogId
 *     const { patchLog } = yield* GatewayService.GatewayService
 *     if (logId !== undefined) yield* patchLog(logId, { feedback: 1 })
 *     return value.text
 *   })
 * )
 * ```
 *
 * @category getters
 */
export const lastLogId: Effect.Effect<string | undefined> = Effect.map(
  current,
  (attempts) =>
    // After a hedge, the last attempt to start may be the loser.
    (
      attempts.findLast(({ logId, outcome }) => outcome === "success" && logId !== undefined) ??
      attempts.findLast(({ logId }) => logId !== undefined)
    )?.logId
)

/**
 * An attempt before its outcome is known.
 *
 * @category models
 */
export type Started = Omit<Attempt, "outcome" | "duration" | "startedAt" | "error">
/**
 * Fields that an outcome adds to an attempt.
 *
 * @category models
 */
export type Ended = Partial<
  Omit<Attempt, "outcome" | "duration" | "startedAt" | "number" | "cause" | "waited" | "dropped">
> & {
  /** The delivered part of an answer, as JSON. It is not recorded; its length gives an estimate of its tokens. */
  readonly delivered?: unknown
}

/**
 * Fields that a failure adds to an attempt; none for a success.
 *
 * @category getters
 */
export const failed = (exit: Exit.Exit<unknown, GatewayError>): Ended => {
  const error = Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isFailReason)?.error : undefined
  if (error === undefined) return {}
  const { eventId, logId, model, provider, reason, step } = error
  return { error: reason, ...defined({ eventId, logId, model, provider, step, status: reason.status }) }
}

// A defect counts as a failure, although no reason describes it.
const outcomeOf = (exit: Exit.Exit<unknown, unknown>, ended: Ended): Attempt["outcome"] =>
  Exit.isSuccess(exit)
    ? "success"
    : ended.error === undefined && Cause.hasInterruptsOnly(exit.cause)
      ? "interrupted"
      : "failure"

/**
 * An attempt that has begun.
 *
 * @category models
 */
export interface Running {
  /** Records the outcome; only the first call counts, and returns `true`. */
  readonly end: (exit: Exit.Exit<unknown, unknown>, ended: Ended) => boolean
}

/**
 * Receives an attempt when it has ended, and may add to its record.
 *
 * @category models
 */
export type OnAttempt = (attempt: Mutable<Attempt>, ended: Ended) => void

/** An attempt and the places that it occupies. */
class BegunAttempt implements Running {
  private readonly clock: Clock.Clock
  private readonly started: Started
  private readonly onAttempt: OnAttempt | undefined
  private readonly startedAt: number
  private readonly startedNanos: bigint
  private readonly slot: TrailSlot = { attempt: undefined }

  constructor(fiber: Fiber.Fiber<unknown, unknown>, started: Started, onAttempt: OnAttempt | undefined) {
    this.clock = fiber.getRef(Clock.Clock)
    this.started = started
    this.onAttempt = onAttempt
    this.startedAt = this.clock.currentTimeMillisUnsafe()
    this.startedNanos = this.clock.monotonicTimeNanosUnsafe()
    for (let trail = fiber.getRef(CurrentTrail); trail !== undefined; trail = trail.parent) trail.slots.push(this.slot)
  }

  end(exit: Exit.Exit<unknown, unknown>, ended: Ended): boolean {
    const { clock, slot, started, startedAt, startedNanos } = this
    if (slot.attempt !== undefined) return false
    const attempt: Mutable<Attempt> = {
      target: ended.target ?? started.target,
      provider: ended.provider ?? started.provider,
      endpoint: shownEndpoint(ended.endpoint ?? started.endpoint),
      outcome: outcomeOf(exit, ended),
      startedAt,
      // The wall clock may be set in the meantime.
      duration: Duration.millis(Math.round(Number(clock.monotonicTimeNanosUnsafe() - startedNanos) / 1e6))
    }
    const { cause, dropped, number, waited } = started
    if (number !== undefined) attempt.number = number
    if (cause !== undefined) attempt.cause = cause
    if (waited !== undefined) attempt.waited = waited
    if (dropped !== undefined) attempt.dropped = dropped
    const {
      cacheStatus = started.cacheStatus,
      error,
      eventId = started.eventId,
      logId = started.logId,
      model = started.model,
      resent = started.resent,
      status = started.status,
      step = started.step,
      superseded,
      usage
    } = ended
    if (model !== undefined) attempt.model = model
    if (logId !== undefined) attempt.logId = logId
    if (eventId !== undefined) attempt.eventId = eventId
    if (step !== undefined) attempt.step = step
    if (cacheStatus !== undefined) attempt.cacheStatus = cacheStatus
    if (status !== undefined) attempt.status = status
    if (resent !== undefined) attempt.resent = resent
    if (superseded !== undefined) attempt.superseded = superseded
    if (usage !== undefined) attempt.usage = usage
    if (error !== undefined) attempt.error = error
    slot.attempt = attempt
    this.onAttempt?.(attempt, ended)
    return true
  }
}

/**
 * Takes the attempt's place in the trail. Use it for attempts that outlive an effect, such as streams; {@link record}
 * is simpler.
 *
 * @category recording
 */
export const begin = (started: Started, onAttempt?: OnAttempt): Effect.Effect<Running> =>
  Effect.withFiber((fiber) => Effect.succeed(beginUnsafe(fiber, started, onAttempt)))

/**
 * {@link begin} for code that already has the fiber.
 *
 * @category recording
 */
export const beginUnsafe = (fiber: Fiber.Fiber<unknown, unknown>, started: Started, onAttempt?: OnAttempt): Running =>
  new BegunAttempt(fiber, started, onAttempt)

/**
 * Runs one attempt and records it in the trail, including failures and interruptions. `describe` reads the facts of an
 * outcome. `Router` and the services use it; it is also for routers of your own.
 *
 * @category recording
 */
export const record = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  started: Started,
  describe: (exit: Exit.Exit<A, E>) => Ended,
  onAttempt?: OnAttempt
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    let running: Running | undefined
    const begun = Effect.withFiber((fiber) => {
      running = beginUnsafe(fiber, started, onAttempt)
      return self
    })
    // Covers the beginning too: a fiber may be interrupted between any two steps, and whatever began must end.
    return Effect.onExit(begun, (exit) => {
      running?.end(exit, describe(exit))
      return Effect.void
    })
  })
