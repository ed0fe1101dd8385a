/** The promises of every `BreakerStore`, wherever it keeps the phases. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { BreakerAdmission, BreakerReport, BreakerStore, OpenCause } from "../../BreakerStore.ts"
import { type Case, ConformanceError, close, holds, includes, same } from "./check.ts"

/** A store under test. */
export interface BreakerStoreOptions<R = never> {
  /** A store without phases. */
  readonly make: Effect.Effect<BreakerStore, unknown, R>
  /** Lets a number of milliseconds pass, as the store measures time: up to an hour, so use `TestClock`. */
  readonly pass: (millis: number) => Effect.Effect<void>
  /** Milliseconds by which the store's times may be off. Default 0. */
  readonly tolerance?: number | undefined
}

const key = "a target and its numbers"
const opened = (openFor: number, cause: OpenCause = "failing"): BreakerReport => ({
  _tag: "Opened",
  cause,
  openFor: Duration.millis(openFor)
})

const generationOf = (admission: BreakerAdmission): Effect.Effect<number, ConformanceError> =>
  admission._tag === "Refused"
    ? Effect.fail(new ConformanceError({ expected: "an admission", actual: admission }))
    : Effect.succeed(admission.generation)

const refusedFor = (admission: BreakerAdmission): Effect.Effect<number, ConformanceError> =>
  admission._tag === "Refused"
    ? Effect.succeed(Duration.toMillis(admission.retryAfter))
    : Effect.fail(new ConformanceError({ expected: "a refusal", actual: admission }))

const admitted = (store: BreakerStore) => Effect.flatMap(store.admit(key), generationOf)

/** Lists the promises of a store, each as its own case. */
export const breakerStore = <R>({ make, pass, tolerance = 0 }: BreakerStoreOptions<R>): ReadonlyArray<Case<R>> => {
  const promise = (name: string, check: (store: BreakerStore) => Effect.Effect<void, unknown>): Case<R> => ({
    name,
    run: Effect.flatMap(make, check)
  })
  return [
    promise("admits every call at first", (store) =>
      Effect.gen(function* () {
        const [a, b] = [yield* store.admit(key), yield* store.admit(key)]
        yield* same(a._tag, "Closed")
        yield* same(a, b)
        yield* same(yield* store.state(key), { _tag: "Closed" })
      })
    ),

    promise("refuses calls until the open time is up, and no other key's", (store) =>
      Effect.gen(function* () {
        yield* store.report(key, yield* admitted(store), opened(10_000))
        yield* pass(4_000)
        const refused = yield* store.admit(key)
        yield* includes(refused, { _tag: "Refused", cause: "failing" })
        yield* close(yield* refusedFor(refused), 6_000, tolerance)
        yield* includes(yield* store.state(key), { _tag: "Open", cause: "failing" })
        yield* same((yield* store.admit("another"))._tag, "Closed")
      })
    ),

    promise("admits one probe, also of many that ask at once, and refuses the others with a hint", (store) =>
      Effect.gen(function* () {
        yield* store.report(key, yield* admitted(store), opened(10_000))
        yield* pass(10_000 + tolerance)
        yield* includes(yield* store.state(key), { _tag: "HalfOpen" })
        const all = yield* Effect.all(
          Array.from({ length: 20 }, () => store.admit(key)),
          { concurrency: "unbounded" }
        )
        const probes = all.filter(({ _tag }) => _tag === "Probe")
        yield* same(probes.length, 1)
        yield* includes(probes[0] ?? {}, { openings: 1 })
        for (const one of all) {
          if (one._tag !== "Probe") yield* holds((yield* refusedFor(one)) > 0, "a hint of more than 0", one)
        }
      })
    ),

    promise("closes with the probe's success, and counts openings from none again", (store) =>
      Effect.gen(function* () {
        yield* store.report(key, yield* admitted(store), opened(1_000))
        yield* pass(1_000 + tolerance)
        yield* store.report(key, yield* admitted(store), { _tag: "Closed" })
        const closed = yield* store.admit(key)
        yield* same(closed._tag, "Closed")
        yield* store.report(key, yield* generationOf(closed), opened(1_000))
        yield* pass(1_000 + tolerance)
        yield* includes(yield* store.admit(key), { _tag: "Probe", openings: 1 })
      })
    ),

    promise("opens again with the probe's failure, and counts that", (store) =>
      Effect.gen(function* () {
        yield* store.report(key, yield* admitted(store), opened(1_000))
        for (const openings of [1, 2, 3]) {
          yield* pass(1_000 + tolerance)
          const probe = yield* store.admit(key)
          yield* includes(probe, { _tag: "Probe", openings })
          yield* store.report(key, yield* generationOf(probe), opened(1_000))
          yield* same((yield* store.admit(key))._tag, "Refused")
        }
      })
    ),

    promise("gives the probe to the next call when it ended without a verdict", (store) =>
      Effect.gen(function* () {
        yield* store.report(key, yield* admitted(store), opened(1_000))
        yield* pass(1_000 + tolerance)
        const first = yield* admitted(store)
        yield* store.report(key, first, { _tag: "Released" })
        const second = yield* store.admit(key)
        yield* includes(second, { _tag: "Probe", openings: 1 })
        // The first one is over.
        yield* store.report(key, first, { _tag: "Closed" })
        yield* same((yield* store.admit(key))._tag, "Refused")
        yield* store.report(key, yield* generationOf(second), { _tag: "Closed" })
        yield* same((yield* store.admit(key))._tag, "Closed")
      })
    ),

    promise("ignores reports of calls that began before it opened", (store) =>
      Effect.gen(function* () {
        const early = yield* admitted(store)
        yield* store.report(key, early, opened(10_000))
        yield* pass(5_000)
        yield* store.report(key, early, opened(10_000))
        yield* store.report(key, early, { _tag: "Closed" })
        yield* store.report(key, early, { _tag: "Released" })
        yield* close(yield* refusedFor(yield* store.admit(key)), 5_000, tolerance)
        yield* pass(5_000 + tolerance)
        const probe = yield* admitted(store)
        yield* store.report(key, early, { _tag: "Closed" })
        yield* same((yield* store.admit(key))._tag, "Refused")
        yield* store.report(key, probe, { _tag: "Closed" })
        yield* store.report(key, early, opened(10_000))
        yield* same((yield* store.admit(key))._tag, "Closed")
      })
    ),

    promise("takes notice of exhaustion in every phase, and of the longest", (store) =>
      Effect.gen(function* () {
        const early = yield* admitted(store)
        yield* store.report(key, early, opened(10_000))
        yield* store.report(key, early, opened(60_000, "exhausted"))
        yield* includes(yield* store.admit(key), { _tag: "Refused", cause: "exhausted" })
        yield* pass(5_000)
        yield* store.report(key, early, opened(60_000, "exhausted"))
        yield* close(yield* refusedFor(yield* store.admit(key)), 60_000, tolerance)
        yield* store.report(key, early, opened(30_000, "exhausted"))
        yield* close(yield* refusedFor(yield* store.admit(key)), 60_000, tolerance)
      })
    ),

    promise("gives a probe that is never reported up in the end", (store) =>
      Effect.gen(function* () {
        yield* store.report(key, yield* admitted(store), opened(1_000))
        yield* pass(1_000 + tolerance)
        yield* admitted(store)
        yield* pass(3_600_000)
        yield* same((yield* store.admit(key))._tag, "Probe")
      })
    )
  ]
}
