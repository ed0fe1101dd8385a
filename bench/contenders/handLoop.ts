/** The hand-written solution without a library: two loops around `fetch`. */
import { callOf, type Job, type Make, promptOf, targetsOf } from "../contender.ts"

const pause = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))

export const overFetch: Make = (job: Job) => {
  const call = callOf(job)
  const targets = targetsOf(job)
  return {
    ask: async (prompt) => {
      let failure: unknown
      for (const target of targets) {
        for (let attempt = 0; attempt < job.attempts; attempt++) {
          if (attempt > 0) await pause(job.delay * 2 ** (attempt - 1))
          try {
            return await call(target, prompt, AbortSignal.timeout(job.timeout))
          } catch (error) {
            failure = error
          }
        }
      }
      throw failure
    },
    bare: () => call(0, promptOf(0))
  }
}
