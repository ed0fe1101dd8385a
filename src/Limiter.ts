/**
 * Admission by key: requests and tokens per minute and how many at once, as one reservation.
 *
 * A reservation is taken before a request is sent, with an estimate of its tokens. It is corrected when the answer says what was used, and
 * given back as far as the other side cannot have counted it. What is allowed for a minute holds for **every** window of a minute, not
 * only for those that begin on the minute; and a request counts from the moment it is admitted until a minute after it was answered (at most
 * `skew` after its admission), so that the other side, which counts it somewhere in between, never counts more.
 *
 * State is kept for each key that was used, in constant memory: give it keys of which there are few, such as targets. For limits that several
 * processes share, implement {@link Limiter} over a store.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { GatewayError, invalid, isGatewayError, type Reason, Rejected } from "./GatewayError.ts"
import { AdaptiveLimit } from "./internal/admission/adaptiveConcurrency.ts"
import { RateBudget, type Taken } from "./internal/admission/slidingWindow.ts"
import { defined } from "./internal/data/defined.ts"
import { millisOf } from "./internal/data/duration.ts"

/** A number of requests at once that is found out from the answers. */
export interface AdaptiveConcurrency {
  /** Where to begin, `min` to `max`. Default 8, within the bounds. */
  readonly initial?: number | undefined
  /** At least 1. Default 1. */
  readonly min?: number | undefined
  /** At most 100,000. Default 512. */
  readonly max?: number | undefined
  /** Mean latency, as a multiple of its baseline, from which the number goes down. More than 1, default 2. */
  readonly tolerance?: number | undefined
}

/** What is allowed for one key. What is left out is not limited. */
export interface Limits {
  /** Requests in any window of 60 seconds, at least 1. */
  readonly requestsPerMinute?: number | undefined
  /** Tokens in any window of 60 seconds, at least 1. Exact as far as the estimates are not too low. */
  readonly tokensPerMinute?: number | undefined
  /** Requests at once: a whole number of at least 1, or found out. */
  readonly concurrency?: number | "adaptive" | AdaptiveConcurrency | undefined
  /** The share of a minute's allowance that may be used at once; more than 0, at most 1. Default 1/6. */
  readonly burst?: number | undefined
  /** How long a request may take from its admission until the other side counts it. 0 to 30 seconds, default 2 seconds. */
  readonly skew?: Duration.Input | undefined
}

/** What is reserved. */
export interface Reservation {
  /** Whole number. Default 1. */
  readonly requests?: number | undefined
  /** Estimate of the tokens in and out; too high costs speed until it is corrected, too low may exceed the limit. Default 0. */
  readonly tokens?: number | undefined
  /** Whether it takes one of the places of `concurrency`. Default `true`. */
  readonly place?: boolean | undefined
  /** Before all who wait without it. For a retry of something that was admitted before. Default `false`. */
  readonly urgent?: boolean | undefined
  /** Longest wait. Default: as long as it takes. */
  readonly maxWait?: Duration.Input | undefined
}

/** How a request ended. What is left out: it was sent, and used the tokens that were reserved. */
export interface Outcome {
  /** `false`: the other side has not seen it; everything is given back. */
  readonly sent?: boolean | undefined
  /** Tokens that were used. */
  readonly tokens?: number | undefined
  /** The other side is at its limit: adaptive concurrency goes down. */
  readonly throttled?: boolean | undefined
  /** How long the answer took, for adaptive concurrency. */
  readonly latency?: Duration.Input | undefined
}

/** An admission. */
export interface Permit {
  /** How long it was waited for. */
  readonly waited: Duration.Duration
  /** Ends it; only the first call counts. A permit that is not settled keeps its place for ever. */
  readonly settle: (outcome?: Outcome) => Effect.Effect<void>
}

/** How things stand for a key. */
export interface State {
  /** Permits that hold a place. */
  readonly inFlight: number
  readonly waiting: number
  /** The present limit of concurrency, when there is one. */
  readonly concurrency?: number
  /** Requests and tokens that count in the window that ends now. */
  readonly requests: number
  readonly tokens: number
}

/** Admits requests. */
export interface Limiter {
  /**
   * Waits until the reservation fits. First come, first served, also when a smaller one would fit earlier. Fails with `Rejected`
   * (`limiter`): without `retryAfter` when it can never fit, with an estimate when `maxWait` does not suffice.
   *
   * Call it in an uninterruptible region, as {@link limit} does: only its waiting is interruptible.
   */
  readonly acquire: (key: string, reservation?: Reservation) => Effect.Effect<Permit, GatewayError>
  readonly state: (key: string) => Effect.Effect<State>
}

/** See {@link Limits}. */
export const defaultSkew: Duration.Input = "2 seconds"

/** The window of all limits. */
const windowMillis = 60_000

interface Waiter {
  readonly needs: Needs
  readonly urgent: boolean
  /** Something has changed since it looked. */
  signalled: boolean
  wake: (() => void) | undefined
}

interface Needs {
  readonly requests: number
  readonly tokens: number
  readonly place: boolean
}

interface KeyState {
  readonly requests: RateBudget | undefined
  readonly tokens: RateBudget | undefined
  readonly concurrency: (() => number) | undefined
  readonly adaptive: AdaptiveLimit | undefined
  readonly urgent: Set<Waiter>
  readonly waiting: Set<Waiter>
  inFlight: number
}

const isCount = (value: number, max = Number.MAX_SAFE_INTEGER): boolean =>
  Number.isSafeInteger(value) && value >= 1 && value <= max

interface Problem {
  readonly field: string
  readonly accepted: string
}

/** What is wrong with limits: each field and what would have been accepted. */
export const problems = (limits: Limits): ReadonlyArray<Problem> => {
  const { burst, concurrency, requestsPerMinute, skew, tokensPerMinute } = limits
  const out: Array<Problem> = []
  const check = (ok: boolean, field: string, accepted: string): void => {
    if (!ok) out.push({ field, accepted })
  }
  const count = "a whole number of at least 1"
  check(requestsPerMinute === undefined || isCount(requestsPerMinute), "requestsPerMinute", count)
  check(tokensPerMinute === undefined || isCount(tokensPerMinute), "tokensPerMinute", count)
  check(burst === undefined || (burst > 0 && burst <= 1), "burst", "more than 0, at most 1")
  const skewMillis = skew === undefined ? 0 : millisOf(skew)
  check(skewMillis >= 0 && skewMillis <= 30_000, "skew", "0 to 30 seconds")
  if (typeof concurrency === "number") check(isCount(concurrency), "concurrency", `${count}, or "adaptive"`)
  if (typeof concurrency === "object") {
    const { initial, max = 512, min = 1, tolerance } = concurrency
    check(isCount(max, 100_000), "concurrency.max", "a whole number from 1 to 100000")
    check(isCount(min, max), "concurrency.min", "a whole number from 1 to concurrency.max")
    check(
      initial === undefined || (isCount(initial, max) && initial >= min),
      "concurrency.initial",
      "a whole number from concurrency.min to concurrency.max"
    )
    check(
      tolerance === undefined || (tolerance > 1 && Number.isFinite(tolerance)),
      "concurrency.tolerance",
      "more than 1"
    )
  } else if (typeof concurrency === "string") {
    check(concurrency === "adaptive", "concurrency", `${count}, or "adaptive"`)
  }
  return out
}

const makeState = (limits: Limits): KeyState => {
  const { burst = 1 / 6, concurrency, requestsPerMinute, skew = defaultSkew, tokensPerMinute } = limits
  const budget = (limit: number | undefined): RateBudget | undefined =>
    limit === undefined ? undefined : new RateBudget(limit, windowMillis, millisOf(skew), Math.max(1, limit * burst))
  const make = ({ initial, max = 512, min = 1, tolerance = 2 }: AdaptiveConcurrency): AdaptiveLimit =>
    new AdaptiveLimit({ min, max, tolerance, initial: initial ?? Math.max(min, Math.min(max, 8)) })
  const adaptive =
    concurrency === undefined || typeof concurrency === "number"
      ? undefined
      : make(concurrency === "adaptive" ? {} : concurrency)
  return {
    requests: budget(requestsPerMinute),
    tokens: budget(tokensPerMinute),
    adaptive,
    concurrency:
      adaptive !== undefined ? () => adaptive.current : typeof concurrency === "number" ? () => concurrency : undefined,
    urgent: new Set(),
    waiting: new Set(),
    inFlight: 0
  }
}

const millisNow = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

/** Milliseconds until something fits; infinity: not before something else ends. */
const delayOf = (state: KeyState, now: number, { place, requests, tokens }: Needs): number =>
  place && state.concurrency !== undefined && state.inFlight >= state.concurrency()
    ? Number.POSITIVE_INFINITY
    : Math.max(state.requests?.delay(now, requests) ?? 0, state.tokens?.delay(now, tokens) ?? 0)

const headOf = (state: KeyState): Waiter | undefined => {
  for (const waiter of state.urgent) return waiter
  for (const waiter of state.waiting) return waiter
  return undefined
}

const wakeHead = (state: KeyState): void => {
  const head = headOf(state)
  if (head === undefined) return
  head.signalled = true
  head.wake?.()
}

const leave = (state: KeyState, waiter: Waiter): void => {
  ;(waiter.urgent ? state.urgent : state.waiting).delete(waiter)
  wakeHead(state)
}

const settle = (
  state: KeyState,
  needs: Needs,
  admittedAt: number,
  requests: Taken | undefined,
  tokens: Taken | undefined,
  clock: Clock.Clock,
  { latency, sent = true, throttled = false, tokens: used }: Outcome
): void => {
  if (requests !== undefined) state.requests?.settle(millisNow(clock), requests, sent ? needs.requests : 0)
  if (tokens !== undefined) {
    state.tokens?.settle(millisNow(clock), tokens, sent ? Math.max(0, Math.ceil(used ?? needs.tokens)) : 0)
  }
  if (state.adaptive !== undefined) {
    const now = millisNow(clock)
    const busy = state.inFlight >= state.adaptive.current * 0.8
    if (throttled) state.adaptive.answered(now, admittedAt, undefined, busy)
    else if (sent && latency !== undefined) state.adaptive.answered(now, admittedAt, millisOf(latency), busy)
  }
  if (needs.place) state.inFlight--
  wakeHead(state)
}

const admit = (state: KeyState, needs: Needs, now: number, waitedFrom: number): Permit => {
  const requests = state.requests?.take(now, needs.requests)
  const tokens = state.tokens?.take(now, needs.tokens)
  if (needs.place) state.inFlight++
  let settled = false
  return {
    waited: Duration.millis(now - waitedFrom),
    settle: (outcome = {}) =>
      Effect.withFiber((fiber) => {
        if (settled) return Effect.void
        settled = true
        settle(state, needs, now, requests, tokens, fiber.getRef(Clock.Clock), outcome)
        return Effect.void
      })
  }
}

const rejected = (millis: number | undefined, detail: string): GatewayError =>
  new GatewayError({
    method: "Limiter.acquire",
    reason: new Rejected({
      by: "limiter",
      detail,
      ...(millis !== undefined && Number.isFinite(millis) && { retryAfter: Duration.millis(millis) })
    })
  })

/** Why a reservation can never fit. */
const impossible = (state: KeyState, { requests, tokens }: Needs): GatewayError | undefined => {
  if (state.requests !== undefined && requests > state.requests.limit) {
    return rejected(undefined, `${requests} requests are more than ${state.requests.limit} a minute`)
  }
  if (state.tokens !== undefined && tokens > state.tokens.limit) {
    return rejected(undefined, `${tokens} tokens are more than ${state.tokens.limit} a minute`)
  }
  return undefined
}

/** Waits for a signal, at most so long. The only place where an acquisition can be interrupted: what is admitted is never lost. */
const pause = (waiter: Waiter, millis: number): Effect.Effect<void> => {
  const woken = Effect.callback<void>((resume) => {
    // When all that ends in this turn has ended: then as many are let in one after the other.
    waiter.wake = () => resume(Effect.yieldNow)
    if (waiter.signalled) waiter.wake()
  })
  return Effect.interruptible(Number.isFinite(millis) ? Effect.raceFirst(woken, Effect.sleep(millis)) : woken)
}

const wait = (
  state: KeyState,
  waiter: Waiter,
  clock: Clock.Clock,
  from: number,
  until: number
): Effect.Effect<Permit, GatewayError> =>
  Effect.suspend(() => {
    waiter.signalled = false
    const now = millisNow(clock)
    const isHead = headOf(state) === waiter
    const delay = isHead ? delayOf(state, now, waiter.needs) : Number.POSITIVE_INFINITY
    if (delay === 0) {
      const permit = admit(state, waiter.needs, now, from)
      leave(state, waiter)
      return Effect.succeed(permit)
    }
    if (now >= until) {
      leave(state, waiter)
      return Effect.fail(rejected(delayOf(state, now, waiter.needs), "the limit is reached"))
    }
    // Rounded up, as timers are: else it would wake before its time, and again.
    return Effect.flatMap(pause(waiter, Math.min(delay, Math.ceil(until - now))), () =>
      wait(state, waiter, clock, from, until)
    )
  })

const make_ = (limitsOf: (key: string) => Effect.Effect<KeyState, GatewayError>): Limiter => {
  const states = new Map<string, KeyState>()

  const acquireIn = (state: KeyState, reservation: Reservation): Effect.Effect<Permit, GatewayError> =>
    Effect.withFiber((fiber) => {
      const { maxWait, place = true, requests = 1, tokens = 0, urgent = false } = reservation
      if (!(Number.isSafeInteger(requests) && requests >= 0)) {
        return Effect.fail(invalid("Limiter.acquire", "requests", "a whole number of at least 0"))
      }
      if (!(tokens >= 0 && Number.isFinite(tokens))) {
        return Effect.fail(invalid("Limiter.acquire", "tokens", "a finite number of at least 0"))
      }
      const limit = maxWait === undefined ? undefined : millisOf(maxWait)
      if (limit !== undefined && !(limit >= 0)) {
        return Effect.fail(invalid("Limiter.acquire", "maxWait", "a duration of 0 or more"))
      }
      const needs: Needs = { requests, tokens: Math.ceil(tokens), place: place && state.concurrency !== undefined }
      const never = impossible(state, needs)
      if (never !== undefined) return Effect.fail(never)
      const clock = fiber.getRef(Clock.Clock)
      const now = millisNow(clock)
      const ahead = urgent ? state.urgent.size : state.urgent.size + state.waiting.size
      const delay = delayOf(state, now, needs)
      if (ahead === 0 && delay === 0) return Effect.succeed(admit(state, needs, now, now))
      // With a place to wait for, nobody knows how long.
      if (limit !== undefined && (limit === 0 || (Number.isFinite(delay) && delay > limit))) {
        return Effect.fail(rejected(delay, "the limit is reached"))
      }
      const waiter: Waiter = { needs, urgent, signalled: false, wake: undefined }
      ;(urgent ? state.urgent : state.waiting).add(waiter)
      const until = limit === undefined ? Number.POSITIVE_INFINITY : now + limit
      return Effect.onInterrupt(wait(state, waiter, clock, now, until), () => Effect.sync(() => leave(state, waiter)))
    })

  return {
    acquire: (key, reservation = {}) => {
      const state = states.get(key)
      if (state !== undefined) return acquireIn(state, reservation)
      return Effect.flatMap(limitsOf(key), (made) => {
        // Another fiber may have come in between.
        const own = states.get(key) ?? made
        states.set(key, own)
        return acquireIn(own, reservation)
      })
    },
    state: (key) =>
      Effect.map(Clock.monotonicTimeNanos, (nanos) => {
        const now = Number(nanos) / 1e6
        const state = states.get(key)
        return {
          inFlight: state?.inFlight ?? 0,
          waiting: (state?.urgent.size ?? 0) + (state?.waiting.size ?? 0),
          requests: state?.requests?.used(now) ?? 0,
          tokens: state?.tokens?.used(now) ?? 0,
          ...defined({ concurrency: state?.concurrency?.() })
        }
      })
  }
}

/**
 * Makes a limiter in the memory of this process: the same limits for each key, or limits by key, which are asked for once. Fails with
 * `InvalidRequest` naming the field; with limits by key, `acquire` does.
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
 */
export const make = (limits: Limits | ((key: string) => Limits)): Effect.Effect<Limiter, GatewayError> =>
  Effect.suspend(() => {
    const checked = (limits: Limits): Effect.Effect<KeyState, GatewayError> => {
      const [problem] = problems(limits)
      return problem === undefined
        ? Effect.sync(() => makeState(limits))
        : Effect.fail(invalid("Limiter.make", problem.field, problem.accepted))
    }
    if (typeof limits === "function") return Effect.succeed(make_((key) => checked(limits(key))))
    return Effect.as(
      checked(limits),
      make_(() => checked(limits))
    )
  })

/** Whether a reason says that the other side is at its limit: `RateLimited`, and 529 of whoever is overloaded. */
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
 * How a failure counts. Nothing: it never reached the other side (no connection, refused here). The request but no tokens: it was turned
 * away. Both: anything else, as nobody knows how far a timeout or a 5xx has come.
 */
export const failed = (reason: Reason): Outcome =>
  unseen(reason)
    ? { sent: false }
    : { throttled: isThrottle(reason), ...(unprocessed.includes(reason._tag) && { tokens: 0 }) }

/** What {@link limit} takes beside a reservation. */
export interface LimitOptions<A> extends Reservation {
  /** Tokens that an answer says it used. Default: as reserved. */
  readonly used?: ((value: A) => number | undefined) | undefined
}

/**
 * Runs an effect under a permit and settles it: with what the answer used, or as {@link failed} says; an interrupted request keeps what it reserved. Latency
 * is that of the effect.
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
