import CircuitBreaker from "opossum"
import { callOf, promptOf, targetsOf } from "../../contender.ts"

/** @type {import("../../contender.ts").Make} */
export const overFetch = (job) => {
  const call = callOf(job)
  // A breaker that opened would be faster than anybody, and answer nothing.
  const options = { timeout: job.timeout, errorThresholdPercentage: 100, volumeThreshold: Number.MAX_SAFE_INTEGER }
  const breakers = targetsOf(job).map((target) => new CircuitBreaker((prompt) => call(target, prompt), options))
  for (const [target, breaker] of breakers.entries()) {
    const next = breakers[target + 1]
    if (next !== undefined) breaker.fallback((prompt) => next.fire(prompt))
  }
  return {
    ask: (prompt) => breakers[0].fire(prompt),
    bare: () => call(0, promptOf(0)),
    close: async () => {
      for (const breaker of breakers) breaker.shutdown()
    }
  }
}
