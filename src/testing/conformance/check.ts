/**
 * Checks of conformance suites, without a test framework.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"

/** An implementation broke a promise of its interface. */
export class ConformanceError extends Data.TaggedError("ConformanceError")<{
  /** The expectation in words. */
  readonly expected: string
  readonly actual: unknown
}> {
  override get message(): string {
    return `expected ${this.expected}, got ${JSON.stringify(this.actual)}`
  }
}

/** One promise of an interface. */
export interface Case<R = never> {
  /** A sentence: `breakers are closed at first`. */
  readonly name: string
  /** Fails with `ConformanceError` where the promise is broken, and with the implementation's own failures. */
  readonly run: Effect.Effect<void, unknown, R>
}

/** Fails unless something holds. */
export const holds = (condition: boolean, expected: string, actual: unknown): Effect.Effect<void, ConformanceError> =>
  condition ? Effect.void : Effect.fail(new ConformanceError({ expected, actual }))

/** Fails unless two values are equal by value. */
export const same = (actual: unknown, expected: unknown): Effect.Effect<void, ConformanceError> =>
  holds(Equal.equals(actual, expected), JSON.stringify(expected), actual)

/** Fails unless an object has the given fields, equal by value. */
export const includes = (actual: object, expected: object): Effect.Effect<void, ConformanceError> =>
  holds(
    Object.entries(expected).every(([name, value]) => Equal.equals(Reflect.get(actual, name), value)),
    `at least ${JSON.stringify(expected)}`,
    actual
  )

/** Fails unless a number is near another one. */
export const close = (actual: number, expected: number, tolerance: number): Effect.Effect<void, ConformanceError> =>
  holds(Math.abs(actual - expected) <= tolerance, `${expected} ± ${tolerance}`, actual)
