/** Effect without this library: its own policies around a promise, the thinnest transport that it can have. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ExecutionPlan from "effect/ExecutionPlan"
import * as Schedule from "effect/Schedule"
import { type Call, type Contender, callOf, type Job, type Make, promptOf, stubCall, targetsOf } from "../contender.ts"
import { undiciCall } from "./raw.ts"

type Asking = (prompt: string) => Effect.Effect<string, unknown>

const attempt = (call: Call, target: number, prompt: string): Effect.Effect<string, unknown> =>
  Effect.tryPromise({ try: (signal) => call(target, prompt, signal), catch: (error) => error })

/** Runs `self` a number of times in one fiber. */
export const many = <E, R>(self: Effect.Effect<unknown, E, R>, calls: number): Effect.Effect<void, E, R> =>
  Effect.gen(function* () {
    for (let call = 0; call < calls; call++) yield* self
  })

const contender = (call: Call, asking: Asking): Contender => {
  const bare = attempt(call, 0, promptOf(0))
  const asked = asking(promptOf(0))
  return {
    ask: (prompt) => Effect.runPromise(asking(prompt)),
    bare: () => Effect.runPromise(bare),
    askMany: (calls) => Effect.runPromise(many(asked, calls)),
    bareMany: (calls) => Effect.runPromise(many(bare, calls))
  }
}

const schedule = ({ delay }: Job) => Schedule.exponential(delay)

/** `Effect.retry` and `Effect.timeout` on each target; the next target by `Effect.catch`. */
const retrying = (job: Job, call: Call): Asking => {
  const policy = { schedule: schedule(job), times: job.attempts - 1 }
  const ask = (target: number, prompt: string) => {
    const limited = Effect.timeout(attempt(call, target, prompt), job.timeout)
    return job.attempts > 1 ? Effect.retry(limited, policy) : limited
  }
  const [first = 0, ...others] = targetsOf(job)
  return (prompt) =>
    others.reduce<Effect.Effect<string, unknown>>(
      (asked, target) => Effect.catch(asked, () => ask(target, prompt)),
      ask(first, prompt)
    )
}

class Target extends Context.Service<Target, number>()("bench/Target") {}

/** A step of an `ExecutionPlan` per target, with `Effect.timeout` inside. */
const planned = (job: Job, call: Call): Asking => {
  const [first, ...others] = targetsOf(job).map((target) => ({
    provide: Context.make(Target, target),
    attempts: job.attempts,
    ...(job.attempts > 1 && { schedule: schedule(job) })
  }))
  if (first === undefined) throw new Error("no targets")
  const plan = ExecutionPlan.make(first, ...others)
  return (prompt) =>
    Effect.withExecutionPlan(
      Effect.flatMap(Target, (target) => Effect.timeout(attempt(call, target, prompt), job.timeout)),
      plan
    )
}

/** An interruptible request with nothing around it: the minimum for a program in Effect. */
export const onceOverFetch: Make = (job) => {
  const call = callOf(job)
  return contender(call, (prompt) => attempt(call, 0, prompt))
}

export const retryOverFetch: Make = (job) => contender(callOf(job), retrying(job, callOf(job)))

export const planOverFetch: Make = (job) => contender(callOf(job), planned(job, callOf(job)))

export const planOverUndici: Make = (job) => {
  const call = job.stub ? stubCall : undiciCall(job)
  return contender(call, planned(job, call))
}
