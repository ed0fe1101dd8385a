/** Names of a job's options. A test compares them with the types of `Batch`. */
import * as Effect from "effect/Effect"
import { type GatewayError, invalid } from "../../GatewayError.ts"
import { strayField } from "../data/json.ts"
import { method } from "./job.ts"

const job =
  "route, input, id, concurrency, limits, itemDeadline, jobDeadline, ordered, buffer, journal, duplicates, quotaPatience, outagePatience, throttlePatience, isFatal, options, execution, cost"
const limits = "requestsPerMinute, tokensPerMinute, burst, skew, tokens, limiter, key"
const journal = "store, value, retryFailed, fingerprint, force, replay"

const check = (path: string, given: object, names: string): Effect.Effect<void, GatewayError> => {
  const stray = strayField(given, names.split(", "))
  return stray === undefined ? Effect.void : Effect.fail(invalid(method, path + stray, `one of ${names}`))
}

/** Fails for an unknown option, which would have no effect. */
export const checkNames = (options: {
  readonly limits?: object | undefined
  readonly journal?: object | undefined
}): Effect.Effect<void, GatewayError> =>
  Effect.andThen(
    check("", options, job),
    Effect.andThen(check("limits.", options.limits ?? {}, limits), check("journal.", options.journal ?? {}, journal))
  )
