/** Replaces `@effect/vitest` where there is no test runner: it records the tests instead of running them. */
import { assert } from "chai"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"

export { assert }

/** Every test that was declared, by its full name. */
export const tests = new Map<string, Effect.Effect<unknown, unknown>>()

const path: Array<string> = []

/** As in vitest. */
export const describe = (name: string, body: () => void): void => {
  path.push(name)
  body()
  path.pop()
}

/** The part of `it` that the suites use. */
export const it = {
  effect: <A, E>(name: string, body: () => Effect.Effect<A, E, Scope.Scope>): void => {
    tests.set([...path, name].join(" > "), Effect.provide(Effect.scoped(Effect.suspend(body)), TestClock.layer()))
  }
}
