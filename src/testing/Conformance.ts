/**
 * Suites for implementations of the library's interfaces, without a test framework: each promise is a named effect that
 * fails where the promise is broken.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as TestClock from "effect/testing/TestClock"
 * import * as BreakerStore from "effect-ai-gateway/BreakerStore"
 * import { Conformance } from "effect-ai-gateway/testing"
 *
 * const cases = Conformance.breakerStore({ make: Effect.sync(BreakerStore.memory), pass: TestClock.adjust })
 *
 * // In a test file: for (const { name, run } of cases) it.effect(name, () => run)
 * await Effect.runPromise(
 *   Effect.forEach(cases, ({ run }) => run, { discard: true }).pipe(Effect.provide(TestClock.layer()))
 * )
 * console.log(cases[0]?.name) // admits every call at first
 * ```
 */
export { type BatchJournalOptions, batchJournal } from "./conformance/batchJournal.ts"
export { type BreakerStoreOptions, breakerStore } from "./conformance/breakerStore.ts"
export { type Case, ConformanceError } from "./conformance/check.ts"
export { type LimiterOptions, limiter } from "./conformance/limiter.ts"
