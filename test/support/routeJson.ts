/**
 * Shared parts of the tests of stored routes.
 */
import { inspect } from "node:util"
import { assert } from "@effect/vitest"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Route from "effect-ai-gateway/Route"

/** The losses of a compilation that these tests accept. */
export const allow: ReadonlyArray<Route.LossKind> = [
  "jitter",
  "retryAfter",
  "deadline",
  "attempts",
  "delay",
  "lastAttemptTimeout",
  "retryOn",
  "fallbackOn"
]

/** The success, or the test fails. */
export const success = <A, E>(result: Result.Result<A, E>): A =>
  Result.isSuccess(result) ? result.success : assert.fail(JSON.stringify(result.failure))

/** The failure, or the test fails. */
export const failure = <A, E>(result: Result.Result<A, E>): E =>
  Result.isFailure(result) ? result.failure : assert.fail(inspect(result.success))

/** Everything that can be seen of a route, with its credentials. */
export const seen = <In, Out>(route: Route.Route<In, Out>, input: In) => {
  const compiled = Route.compile(route, input, "universal", { allow })
  return {
    tree: Route.describe(route),
    picture: Route.toMermaid(route),
    targets: Route.targets(route),
    bounds: Route.bounds(route),
    compiled: Result.isFailure(compiled)
      ? compiled.failure
      : {
          ...compiled.success,
          legs: compiled.success.legs.map((leg) => ({
            ...leg,
            headers: Object.fromEntries(
              Object.entries(leg.headers).map(([name, value]) => [
                name,
                Redacted.isRedacted(value) ? Redacted.value(value) : value
              ])
            )
          }))
        }
  }
}

/** Through a file and back. */
export const throughFile = (json: Route.RouteJson): unknown => JSON.parse(JSON.stringify(json))
