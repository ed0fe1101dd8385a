import pRetry from "p-retry"
import { callOf, promptOf } from "../../contender.ts"

/** @type {import("../../contender.ts").Make} */
export const overFetch = (job) => {
  const call = callOf(job)
  const options = { retries: job.attempts - 1, minTimeout: job.delay, factor: 2 }
  const ask = (target, prompt) => pRetry(() => call(target, prompt, AbortSignal.timeout(job.timeout)), options)
  // It has no fallback.
  const from = (target, prompt) =>
    target === job.targets - 1 ? ask(target, prompt) : ask(target, prompt).catch(() => from(target + 1, prompt))
  return { ask: (prompt) => from(0, prompt), bare: () => call(0, promptOf(0)) }
}
