/**
 * A `BreakerStore` over Effect's `CircuitBreakerStore`, so that the routers of several machines share the phases of
 * their breakers, for example in Redis:
 *
 *     const Shared = CircuitBreaker.layerStoreRedis().pipe(Layer.provide(NodeRedis.layer({ url:
 *     "redis://127.0.0.1:6379" })))
 *
 * Effect's store has a phase and an open time, and no cause. Exhausted credit therefore opens a breaker for all
 * machines only while it is closed; a machine that learns of it later keeps that to itself. The store renews the lease
 * of a probe for as long as the probe's scope is open, so the scope is kept until the report.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as Scope from "effect/Scope"
import type { BreakerAdmission, BreakerReport, BreakerState, BreakerStore } from "effect-ai-gateway/BreakerStore"

const probeHint = Duration.seconds(1)

/** A probe that has not been reported by then is given up. */
const longestProbe = Duration.minutes(5)

const admissionOf = ({ consecutiveOpenings, generation, probe }: CircuitBreaker.Admission): BreakerAdmission =>
  probe ? { _tag: "Probe", generation, openings: consecutiveOpenings } : { _tag: "Closed", generation }

const outcomeOf = { Opened: "Failure", Closed: "Success", Released: "Ignored" } as const

/** One report opens it: the router has counted already. */
const tripPolicy = CircuitBreaker.consecutive(1)

const refused = ({ reason }: CircuitBreaker.CircuitBreakerError): Effect.Effect<BreakerAdmission, unknown> =>
  reason._tag === "CircuitOpen"
    ? Effect.succeed({ _tag: "Refused", cause: "failing", retryAfter: reason.retryAfter })
    : reason._tag === "CircuitHalfOpen"
      ? Effect.succeed({ _tag: "Refused", cause: "failing", retryAfter: probeHint })
      : Effect.fail(reason)

const stateOf = (state: CircuitBreaker.State): BreakerState =>
  state._tag === "Closed"
    ? { _tag: "Closed" }
    : state._tag === "Open" && Duration.toMillis(state.retryAfter) > 0
      ? { _tag: "Open", cause: "failing", retryAfter: state.retryAfter }
      : { _tag: "HalfOpen", cause: "failing" }

/** Makes the store. Probes that are open when its scope ends are given up. */
export const make: Effect.Effect<BreakerStore, never, CircuitBreaker.CircuitBreakerStore | Scope.Scope> = Effect.gen(
  function* () {
    const store = yield* CircuitBreaker.CircuitBreakerStore
    const scope = yield* Scope.Scope
    /** Scopes of open probes, by key and generation. */
    const probes = new Map<string, Scope.Closeable>()
    /** Ends of exhaustion that this machine knows of. */
    const exhausted = new Map<string, number>()

    const exhaustedFor = (key: string, now: number): Duration.Duration | undefined => {
      const until = exhausted.get(key)
      if (until !== undefined && until > now) return Duration.millis(until - now)
      exhausted.delete(key)
      return undefined
    }

    /** Ends the probe of a generation, if it is open here. */
    const endProbe = (name: string): Effect.Effect<void> => {
      const probe = probes.get(name)
      probes.delete(name)
      return probe === undefined ? Effect.void : Scope.close(probe, Exit.void)
    }

    const record = (
      key: string,
      generation: number,
      outcome: (typeof outcomeOf)[keyof typeof outcomeOf],
      openFor: Duration.Duration
    ) =>
      Effect.ensuring(store.record({ key, generation, outcome, tripPolicy, openFor }), endProbe(`${key} ${generation}`))

    /** A router that did not wait for the store's answer reports nothing: others must not wait for its probe. */
    const giveUp = (key: string, generation: number): Effect.Effect<void> =>
      Effect.suspend(() =>
        probes.has(`${key} ${generation}`)
          ? Effect.ignore(record(key, generation, outcomeOf.Released, Duration.zero))
          : Effect.void
      ).pipe(Effect.delay(longestProbe))

    const admit = (key: string): Effect.Effect<BreakerAdmission, unknown> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* (): Effect.fn.Return<BreakerAdmission, unknown> {
          const retryAfter = exhaustedFor(key, yield* Clock.currentTimeMillis)
          if (retryAfter !== undefined) return { _tag: "Refused", cause: "exhausted", retryAfter }
          const own = yield* Scope.fork(scope)
          const admitted = yield* Effect.exit(restore(Scope.provide(store.admit(key), own)))
          if (Exit.isSuccess(admitted) && admitted.value.probe) {
            const { generation } = admitted.value
            probes.set(`${key} ${generation}`, own)
            yield* Effect.forkIn(giveUp(key, generation), own)
          } else yield* Scope.close(own, Exit.void)
          return yield* Effect.catch(Effect.map(admitted, admissionOf), refused)
        })
      )

    const report = (key: string, generation: number, told: BreakerReport): Effect.Effect<void, unknown> =>
      Effect.gen(function* () {
        const openFor = told._tag === "Opened" ? told.openFor : Duration.zero
        if (told._tag === "Opened" && told.cause === "exhausted") {
          const until = (yield* Clock.currentTimeMillis) + Duration.toMillis(openFor)
          exhausted.set(key, Math.max(until, exhausted.get(key) ?? 0))
        }
        yield* record(key, generation, outcomeOf[told._tag], openFor)
      })

    const state = (key: string): Effect.Effect<BreakerState, unknown> =>
      Effect.gen(function* (): Effect.fn.Return<BreakerState, unknown> {
        const retryAfter = exhaustedFor(key, yield* Clock.currentTimeMillis)
        if (retryAfter !== undefined) return { _tag: "Open", cause: "exhausted", retryAfter }
        return stateOf(yield* store.state(key))
      })

    return { admit, report, state }
  }
)
