/**
 * What every `BreakerStore` must do, wherever it keeps the phases.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { BreakerAdmission, BreakerReport, BreakerStore, OpenCause } from "../../src/BreakerStore.ts"

/** A store under test. */
export interface StoreUnderTest {
  readonly name: string
  /** A store without phases. */
  readonly make: Effect.Effect<BreakerStore>
  /** Lets time pass, as the store measures it. */
  readonly pass: (millis: number) => Effect.Effect<void>
  /** Millis by which its times may be off. */
  readonly tolerance?: number
}

const key = "a target and its numbers"
const opened = (openFor: number, cause: OpenCause = "failing"): BreakerReport => ({
  _tag: "Opened",
  cause,
  openFor: Duration.millis(openFor)
})

const generationOf = (admission: BreakerAdmission): number => {
  if (admission._tag === "Refused") throw new Error("refused")
  return admission.generation
}

/** Runs the suite over one store. */
export const suite = ({ make, name, pass, tolerance = 0 }: StoreUnderTest): void => {
  const test = (title: string, body: (store: BreakerStore) => Effect.Effect<void, unknown>): void =>
    it.effect(title, () => Effect.flatMap(make, body))

  const admitted = (store: BreakerStore) => Effect.map(store.admit(key), generationOf)

  const refusedFor = (admission: BreakerAdmission): number => {
    if (admission._tag !== "Refused") throw new Error(`admitted as ${admission._tag}`)
    return Duration.toMillis(admission.retryAfter)
  }

  describe(`breakers in ${name}`, () => {
    test("are closed at first, and admit every call", (store) =>
      Effect.gen(function* () {
        const [a, b] = [yield* store.admit(key), yield* store.admit(key)]
        assert.strictEqual(a._tag, "Closed")
        assert.deepStrictEqual(a, b)
        assert.deepStrictEqual(yield* store.state(key), { _tag: "Closed" })
      }))

    test("refuse calls until their time is up, and no other key's", (store) =>
      Effect.gen(function* () {
        yield* store.report(key, yield* admitted(store), opened(10_000))
        yield* pass(4_000)
        const refused = yield* store.admit(key)
        assert.deepInclude(refused, { _tag: "Refused", cause: "failing" })
        assert.closeTo(refusedFor(refused), 6_000, tolerance)
        assert.deepInclude(yield* store.state(key), { _tag: "Open", cause: "failing" })
        assert.strictEqual((yield* store.admit("another"))._tag, "Closed")
      }))

    test("admit one probe, also of many that ask at once, and refuse the others with a hint", (store) =>
      Effect.gen(function* () {
        yield* store.report(key, yield* admitted(store), opened(10_000))
        yield* pass(10_000 + tolerance)
        assert.deepInclude(yield* store.state(key), { _tag: "HalfOpen" })
        const all = yield* Effect.all(
          Array.from({ length: 20 }, () => store.admit(key)),
          { concurrency: "unbounded" }
        )
        const probes = all.filter(({ _tag }) => _tag === "Probe")
        assert.strictEqual(probes.length, 1)
        assert.deepInclude(probes[0], { openings: 1 })
        for (const one of all) if (one._tag !== "Probe") assert.isAbove(refusedFor(one), 0)
      }))

    test("close with the probe's success, and count openings from none again", (store) =>
      Effect.gen(function* () {
        yield* store.report(key, yield* admitted(store), opened(1_000))
        yield* pass(1_000 + tolerance)
        yield* store.report(key, yield* admitted(store), { _tag: "Closed" })
        const closed = yield* store.admit(key)
        assert.strictEqual(closed._tag, "Closed")
        yield* store.report(key, generationOf(closed), opened(1_000))
        yield* pass(1_000 + tolerance)
        assert.deepInclude(yield* store.admit(key), { _tag: "Probe", openings: 1 })
      }))

    test("open again with the probe's failure, and count that", (store) =>
      Effect.gen(function* () {
        yield* store.report(key, yield* admitted(store), opened(1_000))
        for (const openings of [1, 2, 3]) {
          yield* pass(1_000 + tolerance)
          const probe = yield* store.admit(key)
          assert.deepInclude(probe, { _tag: "Probe", openings })
          yield* store.report(key, generationOf(probe), opened(1_000))
          assert.strictEqual((yield* store.admit(key))._tag, "Refused")
        }
      }))

    test("give the probe to the next call when it ended without a verdict", (store) =>
      Effect.gen(function* () {
        yield* store.report(key, yield* admitted(store), opened(1_000))
        yield* pass(1_000 + tolerance)
        const first = yield* admitted(store)
        yield* store.report(key, first, { _tag: "Released" })
        const second = yield* store.admit(key)
        assert.deepInclude(second, { _tag: "Probe", openings: 1 })
        // The first one is over.
        yield* store.report(key, first, { _tag: "Closed" })
        assert.strictEqual((yield* store.admit(key))._tag, "Refused")
        yield* store.report(key, generationOf(second), { _tag: "Closed" })
        assert.strictEqual((yield* store.admit(key))._tag, "Closed")
      }))

    test("ignore reports of calls that began before they opened", (store) =>
      Effect.gen(function* () {
        const early = yield* admitted(store)
        yield* store.report(key, early, opened(10_000))
        yield* pass(5_000)
        yield* store.report(key, early, opened(10_000))
        yield* store.report(key, early, { _tag: "Closed" })
        yield* store.report(key, early, { _tag: "Released" })
        assert.closeTo(refusedFor(yield* store.admit(key)), 5_000, tolerance)
        yield* pass(5_000 + tolerance)
        const probe = yield* admitted(store)
        yield* store.report(key, early, { _tag: "Closed" })
        assert.strictEqual((yield* store.admit(key))._tag, "Refused")
        yield* store.report(key, probe, { _tag: "Closed" })
        yield* store.report(key, early, opened(10_000))
        assert.strictEqual((yield* store.admit(key))._tag, "Closed")
      }))

    test("take notice of exhaustion in every phase, and of the longest", (store) =>
      Effect.gen(function* () {
        const early = yield* admitted(store)
        yield* store.report(key, early, opened(10_000))
        yield* store.report(key, early, opened(60_000, "exhausted"))
        assert.deepInclude(yield* store.admit(key), { _tag: "Refused", cause: "exhausted" })
        yield* pass(5_000)
        yield* store.report(key, early, opened(60_000, "exhausted"))
        assert.closeTo(refusedFor(yield* store.admit(key)), 60_000, tolerance)
        yield* store.report(key, early, opened(30_000, "exhausted"))
        assert.closeTo(refusedFor(yield* store.admit(key)), 60_000, tolerance)
      }))

    test("give a probe that is never reported up in the end", (store) =>
      Effect.gen(function* () {
        yield* store.report(key, yield* admitted(store), opened(1_000))
        yield* pass(1_000 + tolerance)
        yield* admitted(store)
        yield* pass(3_600_000)
        assert.strictEqual((yield* store.admit(key))._tag, "Probe")
      }))
  })
}
