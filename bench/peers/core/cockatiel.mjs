import {
  ExponentialBackoff,
  fallback,
  handleAll,
  noJitterGenerator,
  retry,
  TimeoutStrategy,
  timeout,
  wrap
} from "cockatiel"
import { callOf, promptOf } from "../../contender.ts"

/** @type {import("../../contender.ts").Make} */
export const overFetch = (job) => {
  const call = callOf(job)
  const limit = timeout(job.timeout, TimeoutStrategy.Aggressive)
  const backoff = new ExponentialBackoff({ initialDelay: job.delay, generator: noJitterGenerator })
  const policy = job.attempts > 1 ? wrap(retry(handleAll, { maxAttempts: job.attempts - 1, backoff }), limit) : limit
  const ask = (target, prompt) => policy.execute(({ signal }) => call(target, prompt, signal))
  // A fallback is not told what it stands in for, so it is made per call.
  const from = (target, prompt) =>
    target === job.targets - 1
      ? ask(target, prompt)
      : fallback(handleAll, () => from(target + 1, prompt)).execute(() => ask(target, prompt))
  return { ask: (prompt) => from(0, prompt), bare: () => call(0, promptOf(0)) }
}
