/**
 * Admission by key: requests per minute, tokens per minute and concurrency, in one reservation.
 *
 * A reservation is taken before a request is sent, with an estimate of its tokens. The answer's usage corrects it, and
 * whatever the other side cannot have counted is given back. The allowance for a minute holds for **every** window of
 * 60 seconds, not only for those that begin on the minute. A request counts from its admission until a minute after its
 * answer (at most `skew` after its admission); the other side counts it at some moment in between, so its count never
 * exceeds ours.
 *
 * **Gotchas**
 *
 * - State is kept for each key forever, in constant memory: use few keys, such as targets, not users.
 * - Estimates that are too low can exceed the limit of tokens. Those that are too high cost speed until the answer
 *   corrects them.
 * - A permit that is not settled keeps its place forever. {@link limit} settles it for you.
 * - Without `queue`, any number of requests waits as long as it takes.
 * - The limits hold for one process. For limits that several processes share, implement {@link Limiter} over a store.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { type GatewayError, invalid, isGatewayError, type Reason } from "./GatewayError.ts"
import { HeldPermit, permitOf } from "./internal/admission/heldPermit.ts"
import { KeyLimits, noFacts } from "./internal/admission/keyLimits.ts"
import { type Limits, problems } from "./internal/admission/limits.ts"
import { type Outcome, type Permit, priorities, type Reservation, type State } from "./internal/admission/permit.ts"
import type { Needs, WaitClass } from "./internal/admission/waitQueue.ts"
import { millisOf } from "./internal/data/duration.ts"
import { monotonicMillis } from "./internal/data/monotonic.ts"

export type { RemainingUnits, ToldLimits } from "./internal/admission/learntLimits.ts"
export {
  type AdaptiveConcurrency,
  defaultSkew,
  type Limits,
  problems,
  type QueueOptions
} from "./internal/admission/limits.ts"
export type { Outcome, Permit, Priority, Reservation, State } from "./internal/admission/permit.ts"

/**
 * Admits requests under limits by key.
 *
 * @category models
 */
export interface Limiter {
  /**
   * Waits until the reservation fits. First come, first served, even when a smaller one would fit earlier. Fails with
   * `Rejected` (`limiter`): without `retryAfter` when it can never fit, with an estimate when `maxWait` does not
   * suffice or the queue is full.
   *
   * Call it in an uninterruptible region, as {@link limit} does: only its waiting is interruptible.
   */
  readonly acquire: (key: string, reservation?: Reservation) => Effect.Effect<Permit, GatewayError>
  /** Permits, waits and counts of a key at this moment. */
  readonly state: (key: string) => Effect.Effect<State>
}

const make_ = (limitsOf: (key: string) => Effect.Effect<KeyLimits, GatewayError>): Limiter => {
  const states = new Map<string, KeyLimits>()

  const acquireIn = (state: KeyLimits, reservation: Reservation): Effect.Effect<Permit, GatewayError> =>
    Effect.withFiber((fiber) => {
      const { maxWait, place = true, priority = "interactive", requests = 1, tokens = 0, urgent = false } = reservation
      if (!(Number.isSafeInteger(requests) && requests >= 0)) {
        return Effect.fail(invalid("Limiter.acquire", "requests", "a whole number of at least 0"))
      }
      if (!(tokens >= 0 && Number.isFinite(tokens))) {
        return Effect.fail(invalid("Limiter.acquire", "tokens", "a finite number of at least 0"))
      }
      if (!priorities.includes(priority))
        return Effect.fail(invalid("Limiter.acquire", "priority", priorities.join(", ")))
      const limit = maxWait === undefined ? undefined : millisOf(maxWait)
      if (limit !== undefined && !(limit >= 0)) {
        return Effect.fail(invalid("Limiter.acquire", "maxWait", "a duration of 0 or more"))
      }
      const needs: Needs = { requests, tokens: Math.ceil(tokens), place }
      const own: WaitClass = urgent ? "urgent" : priority
      const clock = fiber.getRef(Clock.Clock)
      return state.acquire(clock, { class: own, needs, maxWait: limit }, (now, since) =>
        permitOf(new HeldPermit([state], state.facts, needs, now, now - since))
      )
    })

  return {
    acquire: (key, reservation = {}) => {
      const state = states.get(key)
      if (state !== undefined) return acquireIn(state, reservation)
      return Effect.flatMap(limitsOf(key), (made) => {
        // Another fiber may have made the key's limits in the meantime.
        const own = states.get(key) ?? made
        states.set(key, own)
        return acquireIn(own, reservation)
      })
    },
    state: (key) =>
      Effect.map(
        monotonicMillis,
        (now) => states.get(key)?.look(now) ?? { inFlight: 0, waiting: 0, requests: 0, tokens: 0 }
      )
  }
}

/**
 * Makes a limiter in the memory of this process, with the same limits for each key, or with a function that is called
 * once for each key. Fails with `InvalidRequest` naming the field; with limits by key, `acquire` does.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Limiter from "effect-ai-gateway/Limiter"
 * import * as Router from "effect-ai-gateway/Router"
 * import type * as Chat from "effect-ai-gateway/Chat"
 * import type * as Route from "effect-ai-gateway/Route"
 *
 * export const program = Effect.fnUntraced(function* (ask: Route.Route<Chat.Input, Chat.Reply>, inputs: Array<Chat.Input>) {
 *   const limiter = yield* Limiter.make({ requestsPerMinute: 500, tokensPerMinute: 200_000, concurrency: "adaptive" })
 *   const limited = Limiter.limit(limiter, "openai", {
 *     tokens: 1_500,
 *     used: ({ usage }: Router.Routed<Chat.Reply>) => usage?.totalTokens
 *   })
 *   return yield* Effect.forEach(inputs, (input) => limited(Router.run(ask, input)), { concurrency: "unbounded" })
 * })
 * ```
 *
 * @category constructors
 */
export const make = (limits: Limits | ((key: string) => Limits)): Effect.Effect<Limiter, GatewayError> =>
  Effect.suspend(() => {
    const checked = (limits: Limits): Effect.Effect<KeyLimits, GatewayError> => {
      const [problem] = problems(limits)
      return problem === undefined
        ? Effect.sync(() => new KeyLimits(limits, noFacts()))
        : Effect.fail(invalid("Limiter.make", problem.field, problem.accepted))
    }
    if (typeof limits === "function") return Effect.succeed(make_((key) => checked(limits(key))))
    return Effect.as(
      checked(limits),
      make_(() => checked(limits))
    )
  })

/**
 * Whether a reason means that the other side is at its limit: `RateLimited`, or status 529 (overloaded).
 *
 * @category checks
 */
export const isThrottle = (reason: Reason): boolean => reason._tag === "RateLimited" || reason.status === 529

const unseen = (reason: Reason): boolean =>
  (reason._tag === "TransportFailure" && reason.kind === "connect" && reason.code !== "network_error") ||
  (reason._tag === "InvalidRequest" && reason.origin === "client") ||
  reason._tag === "Unsupported" ||
  reason._tag === "Rejected" ||
  reason._tag === "BindingMissing"

const unprocessed: ReadonlyArray<Reason["_tag"]> = [
  "RateLimited",
  "QuotaExhausted",
  "Unauthorized",
  "InvalidRequest",
  "ContextLengthExceeded",
  "NotFound"
]

/**
 * Determines how a failure counts.
 *
 * Nothing, when it never reached the other side (no connection, rejected here). The request without tokens, when it was
 * turned away. Both in all other cases, because the progress of a timeout or a 5xx is unknown.
 *
 * @category checks
 */
export const failed = (reason: Reason): Outcome =>
  unseen(reason)
    ? { sent: false }
    : { throttled: isThrottle(reason), ...(unprocessed.includes(reason._tag) && { tokens: 0 }) }

/**
 * Options of {@link limit}: a reservation, and how to read the usage.
 *
 * @category models
 */
export interface LimitOptions<A> extends Reservation {
  /** Reads the tokens that an answer used. Default: as reserved. */
  readonly used?: ((value: A) => number | undefined) | undefined
}

/**
 * Runs an effect under a permit and settles it with the answer's usage, or as {@link failed} determines. An interrupted
 * request keeps its reservation. The effect's duration is its latency.
 *
 * @category combinators
 */
export const limit =
  <A = unknown>(limiter: Limiter, key: string, options: LimitOptions<A> = {}) =>
  <B extends A, E, R>(self: Effect.Effect<B, E, R>): Effect.Effect<B, E | GatewayError, R> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(limiter.acquire(key, options), (permit) =>
        Effect.flatMap(Clock.monotonicTimeNanos, (startedAt) =>
          Effect.onExit(restore(self), (exit) => {
            if (Exit.isSuccess(exit)) {
              return Effect.flatMap(Clock.monotonicTimeNanos, (now) =>
                permit.settle({ tokens: options.used?.(exit.value), latency: Duration.nanos(now - startedAt) })
              )
            }
            const error = Exit.findErrorOption(exit)
            return permit.settle(
              error._tag === "Some" && isGatewayError(error.value) ? failed(error.value.reason) : undefined
            )
          })
        )
      )
    )
