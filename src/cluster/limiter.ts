/**
 * Rate limits that all workers share.
 *
 * A `Limiter` over PostgreSQL instead of a store for Effect's `RateLimiter`: a fixed window admits twice the limit
 * where two windows meet, and a token bucket a burst beyond the limit, while a provider counts any 60 seconds. Here the
 * database keeps the same log of slots as the limiter in memory, one row for each 100 ms, and one function admits,
 * settles and expires under the row lock of the key. The database's clock is the only one.
 *
 * A request counts from its admission until a minute after its answer, or after `skew` plus one second for the answer
 * of the database: an admission that took longer than that second to arrive is returned, and requested again. A worker
 * that dies leaves its reservations in the log, which then expires.
 *
 * All callers in a process that wait for a key share one statement, so that the number of statements does not grow with
 * the rate. Within a process it is first come, first served; between processes, the first to request when there is
 * room.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { GatewayError, invalid, Rejected } from "../GatewayError.ts"
import { millisOf } from "../internal/data/duration.ts"
import * as Limiter from "../Limiter.ts"

/** Limits over all workers, which must all use the same. Concurrency is per worker. */
export type SharedLimits = Pick<Limiter.Limits, "requestsPerMinute" | "tokensPerMinute" | "burst" | "skew">

const windowMillis = 60_000
const slotsPerWindow = 600
/** Longest time for an admission to arrive, in milliseconds. */
const transit = 1000
/** How long a settlement waits for others, or for a caller, when none is waiting, in milliseconds. */
const gathering = 50
/** Longest pause between requests, in milliseconds, as other processes may have returned something. */
const longest = 500
/** Reservations in one statement. */
const most = 256

interface Waiter {
  readonly requests: number
  readonly tokens: number
  readonly urgent: boolean
  readonly from: number
  readonly outcome: Deferred.Deferred<Limiter.Permit, GatewayError>
  /** Whether it stops waiting after the first answer. */
  readonly once: boolean
}

interface Settled {
  readonly slot: number
  readonly requests: number
  readonly tokens: number
  readonly used_requests: number
  readonly used_tokens: number
}

interface KeyState {
  readonly urgent: Set<Waiter>
  readonly waiting: Set<Waiter>
  settled: Array<Settled>
  /** A caller requests, or a settlement may make room for waiting callers. */
  readonly changed: Latch.Latch
  /** There is a settlement. */
  readonly pending: Latch.Latch
  requests: number
  tokens: number
  /** Milliseconds, from the database's last answer. */
  wait: number
}

interface LimiterAnswer {
  readonly admitted: number
  readonly slot: number
  readonly wait: number
  readonly requests: number
  readonly tokens: number
}

const rejected = (detail: string, millis?: number): GatewayError =>
  new GatewayError({
    method: "Limiter.acquire",
    reason: new Rejected({
      by: "limiter",
      detail,
      ...(millis !== undefined && { retryAfter: Duration.millis(millis) })
    })
  })

/**
 * Settlements of a statement whose answer was lost may or may not have happened, and nothing may be returned twice:
 * unused amounts count until they expire, and amounts beyond the reservation are added.
 */
const inDoubt = ({ requests, slot, tokens, used_requests, used_tokens }: Settled): ReadonlyArray<Settled> => {
  const more = { used_requests: Math.max(0, used_requests - requests), used_tokens: Math.max(0, used_tokens - tokens) }
  return more.used_requests + more.used_tokens > 0 ? [{ slot, requests: 0, tokens: 0, ...more }] : []
}

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0

/** Makes the limiter over a client whose tables exist. The scope ends it. `window`: in milliseconds, for tests. */
export const make = Effect.fnUntraced(function* (
  sql: SqlClient,
  limits: SharedLimits,
  window: number = windowMillis
): Effect.fn.Return<Limiter.Limiter, GatewayError, Scope.Scope> {
  const [problem] = Limiter.problems(limits)
  if (problem !== undefined) return yield* invalid("Cluster.limiter", problem.field, problem.accepted)
  const { burst = 1 / 6, requestsPerMinute, skew = 4000, tokensPerMinute } = limits
  const hold = millisOf(skew) + transit
  const scope = yield* Effect.scope
  const clock = yield* Clock.Clock
  const millis = (): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  const states = new Map<string, KeyState>()

  const ask = (
    key: string,
    settled: ReadonlyArray<Settled>,
    asked: ReadonlyArray<Waiter>
  ): Effect.Effect<LimiterAnswer, SqlError> =>
    Effect.map(
      sql<LimiterAnswer>`
        SELECT admitted, slot_number AS slot, wait, requests_used AS requests, tokens_used AS tokens
        FROM gateway_batch_rate(
          ${key}, ${JSON.stringify(settled)}::json,
          ${JSON.stringify(asked.map(({ requests, tokens }) => ({ requests, tokens })))}::json,
          ${requestsPerMinute ?? null}::float8, ${tokensPerMinute ?? null}::float8, ${burst}::float8,
          ${hold}::float8, ${window}::float8, ${window / slotsPerWindow}::float8)`,
      ([answer]) => answer ?? { admitted: 0, slot: 0, wait: 100, requests: 0, tokens: 0 }
    )

  const settle = (state: KeyState, entry: Settled): void => {
    state.settled.push(entry)
    state.pending.openUnsafe()
    if (state.urgent.size + state.waiting.size > 0) state.changed.openUnsafe()
  }

  const admit = (state: KeyState, waiter: Waiter, slot: number, now: number): void => {
    const { requests, tokens } = waiter
    let isSettled = false
    const permit: Limiter.Permit = {
      waited: Duration.millis(now - waiter.from),
      settle: ({ sent = true, tokens: used } = {}) =>
        Effect.sync(() => {
          if (isSettled) return
          isSettled = true
          settle(state, {
            slot,
            requests,
            tokens,
            used_requests: sent ? requests : 0,
            used_tokens: sent ? Math.max(0, Math.ceil(used ?? tokens)) : 0
          })
        })
    }
    Deferred.doneUnsafe(waiter.outcome, Effect.succeed(permit))
  }

  const leave = (state: KeyState, waiter: Waiter): boolean =>
    (waiter.urgent ? state.urgent : state.waiting).delete(waiter)

  const giveBack = (state: KeyState, { requests, tokens }: Waiter, slot: number): void =>
    settle(state, { slot, requests, tokens, used_requests: 0, used_tokens: 0 })

  const round = Effect.fnUntraced(function* (key: string, state: KeyState): Effect.fn.Return<void, SqlError> {
    state.changed.closeUnsafe()
    state.pending.closeUnsafe()
    const settled = state.settled
    state.settled = []
    const asked = [...state.urgent, ...state.waiting].slice(0, most)
    const startedAt = millis()
    const answer = yield* Effect.onError(ask(key, settled, asked), () =>
      Effect.sync(() => {
        state.settled = [...settled.flatMap(inDoubt), ...state.settled]
      })
    )
    const now = millis()
    state.requests = answer.requests
    state.tokens = answer.tokens
    state.wait = answer.wait
    for (const [index, waiter] of asked.entries()) {
      const isAdmitted = index < answer.admitted
      if (isAdmitted && now - startedAt > transit) giveBack(state, waiter, answer.slot)
      // A caller that was interrupted in the meantime has left.
      else if (isAdmitted && !leave(state, waiter)) giveBack(state, waiter, answer.slot)
      else if (isAdmitted) admit(state, waiter, answer.slot, now)
      else if (waiter.once && leave(state, waiter)) {
        Deferred.doneUnsafe(waiter.outcome, Effect.fail(rejected("the limit is reached", answer.wait)))
      }
    }
    if (state.urgent.size + state.waiting.size === 0) {
      const settled = Effect.andThen(state.pending.await, Effect.sleep(gathering))
      return yield* Effect.raceFirst(state.changed.await, settled)
    }
    // A settlement may make room; a new caller has to wait behind the others.
    const wait = Math.min(longest, Math.max(1, answer.wait))
    yield* Effect.raceFirst(Effect.sleep(wait), state.changed.await)
  })

  const loop = (key: string, state: KeyState): Effect.Effect<void> =>
    Effect.forever(
      Effect.catchCause(round(key, state), (cause) =>
        Effect.andThen(Effect.logWarning("the shared limits are unreachable, trying again", cause), Effect.sleep(500))
      )
    )

  const stateOf = (key: string): Effect.Effect<KeyState> =>
    Effect.suspend(() => {
      const known = states.get(key)
      if (known !== undefined) return Effect.succeed(known)
      const state: KeyState = {
        urgent: new Set(),
        waiting: new Set(),
        settled: [],
        changed: Latch.makeUnsafe(false),
        pending: Latch.makeUnsafe(false),
        requests: 0,
        tokens: 0,
        wait: 0
      }
      states.set(key, state)
      return Effect.as(
        Effect.forkIn(Effect.interruptible(Effect.andThen(state.changed.await, loop(key, state))), scope),
        state
      )
    })

  const wait = (
    state: KeyState,
    waiter: Waiter,
    limit: number | undefined
  ): Effect.Effect<Limiter.Permit, GatewayError> => {
    const woken = Deferred.await(waiter.outcome)
    const limited =
      limit === undefined || waiter.once
        ? woken
        : Effect.raceFirst(
            woken,
            Effect.andThen(
              Effect.sleep(limit),
              Effect.suspend(() => Effect.fail(rejected("the limit is reached", state.wait)))
            )
          )
    return Effect.onError(Effect.interruptible(limited), () =>
      Effect.suspend(() => {
        leave(state, waiter)
        // It may have been admitted at the same moment.
        return Deferred.isDoneUnsafe(waiter.outcome)
          ? Effect.ignore(Effect.flatMap(Deferred.await(waiter.outcome), (permit) => permit.settle({ sent: false })))
          : Effect.void
      })
    )
  }

  const acquire: Limiter.Limiter["acquire"] = (key, { maxWait, requests = 1, tokens = 0, urgent = false } = {}) =>
    Effect.suspend(() => {
      if (!isCount(requests)) return Effect.fail(invalid("Limiter.acquire", "requests", "a whole number of at least 0"))
      if (!(tokens >= 0 && Number.isFinite(tokens))) {
        return Effect.fail(invalid("Limiter.acquire", "tokens", "a finite number of at least 0"))
      }
      const limit = maxWait === undefined ? undefined : millisOf(maxWait)
      if (limit !== undefined && !(limit >= 0)) {
        return Effect.fail(invalid("Limiter.acquire", "maxWait", "a duration of 0 or more"))
      }
      const most = {
        requests: requestsPerMinute ?? Number.POSITIVE_INFINITY,
        tokens: tokensPerMinute ?? Number.POSITIVE_INFINITY
      }
      if (requests > most.requests)
        return Effect.fail(rejected(`${requests} requests are more than ${most.requests} a minute`))
      if (tokens > most.tokens) return Effect.fail(rejected(`${tokens} tokens are more than ${most.tokens} a minute`))
      return Effect.flatMap(stateOf(key), (state) => {
        const waiter: Waiter = {
          requests,
          tokens: Math.ceil(tokens),
          urgent,
          from: millis(),
          outcome: Deferred.makeUnsafe(),
          once: limit === 0
        }
        // A caller behind others has nothing to request yet, unless it precedes them.
        const isFirst = state.urgent.size === 0 && (urgent || state.waiting.size === 0)
        ;(urgent ? state.urgent : state.waiting).add(waiter)
        if (isFirst || waiter.once) state.changed.openUnsafe()
        return wait(state, waiter, limit)
      })
    })

  return {
    acquire,
    state: (key) =>
      Effect.sync(() => {
        const state = states.get(key)
        return {
          inFlight: 0,
          waiting: state === undefined ? 0 : state.urgent.size + state.waiting.size,
          requests: state?.requests ?? 0,
          tokens: state?.tokens ?? 0
        }
      })
  }
})
