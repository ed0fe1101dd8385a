/**
 * A `BreakerStore` over Effect's `CircuitBreakerStore`, so that the routers of several machines share the phases of their breakers, for example in Redis:
 *
 *     const Shared = CircuitBreaker.layerStoreRedis().pipe(Layer.provide(NodeRedis.layer({ url: "redis://127.0.0.1:6379" })))
 *
 * Effect's store has a phase and an open time, and no cause. Exhausted credit therefore opens a breaker for all machines only while it is closed; a machine that learns of it
 * later keeps that to itself. The store renews the lease of a probe for as long as the probe's scope is open, so the scope is kept until the report.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as Scope from "effect/Scope"
import type { BreakerAdmission, BreakerReport, BreakerState, BreakerStore } from "effect-ai-gateway/BreakerStore"

const probeHint = Duration.seconds(1)

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

    const admit = (key: string): Effect.Effect<BreakerAdmission, unknown> =>
      Effect.gen(function* (): Effect.fn.Return<BreakerAdmission, unknown> {
        const retryAfter = exhaustedFor(key, yield* Clock.currentTimeMillis)
        if (retryAfter !== undefined) return { _tag: "Refused", cause: "exhausted", retryAfter }
        const own = yield* Scope.fork(scope)
        const admitted = yield* Effect.exit(Scope.provide(store.admit(key), own))
        if (Exit.isSuccess(admitted) && admitted.value.probe) probes.set(`${key} ${admitted.value.generation}`, own)
        else yield* Scope.close(own, Exit.void)
        return yield* Effect.catch(Effect.map(admitted, admissionOf), refused)
      }).pipe(Effect.uninterruptible)

    const report = (key: string, generation: number, told: BreakerReport): Effect.Effect<void, unknown> =>
      Effect.gen(function* () {
        const openFor = told._tag === "Opened" ? told.openFor : Duration.zero
        if (told._tag === "Opened" && told.cause === "exhausted") {
          const until = (yield* Clock.currentTimeMillis) + Duration.toMillis(openFor)
          exhausted.set(key, Math.max(until, exhausted.get(key) ?? 0))
        }
        const name = `${key} ${generation}`
        const probe = probes.get(name)
        probes.delete(name)
        const recorded = store.record({ key, generation, outcome: outcomeOf[told._tag], tripPolicy, openFor })
        yield* Effect.ensuring(recorded, probe === undefined ? Effect.void : Scope.close(probe, Exit.void))
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
