/** The promises of every `Limiter`, wherever it counts. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { type GatewayError, retryAfter } from "../../GatewayError.ts"
import * as Limiter from "../../Limiter.ts"
import { type Case, holds, includes, same } from "./check.ts"

/** A limiter under test. */
export interface LimiterOptions<R = never> {
  /** A new limiter with the same limits for every key. */
  readonly make: (limits: Limiter.Limits) => Effect.Effect<Limiter.Limiter, unknown, R>
  /** Lets a number of milliseconds pass, as the limiter measures time: minutes, so use `TestClock`. */
  readonly pass: (millis: number) => Effect.Effect<void>
}

const refused = (self: Effect.Effect<unknown, GatewayError>) =>
  Effect.flatMap(Effect.flip(self), ({ reason }) =>
    Effect.as(includes(reason, { _tag: "Rejected", by: "limiter" }), reason)
  )

const soon = { startImmediately: true } as const

/** Lists the promises of a limiter, each as its own case. */
export const limiter = <R>({ make, pass }: LimiterOptions<R>): ReadonlyArray<Case<R>> => {
  const promise = (
    name: string,
    limits: Limiter.Limits,
    check: (limiter: Limiter.Limiter) => Effect.Effect<unknown, unknown>
  ): Case<R> => ({ name, run: Effect.asVoid(Effect.flatMap(make(limits), check)) })
  return [
    promise("admits a minute's requests and no more, by key", { requestsPerMinute: 5, burst: 1, skew: 0 }, (limiter) =>
      Effect.gen(function* () {
        for (let i = 0; i < 5; i++) {
          yield* Effect.flatMap(limiter.acquire("a", { maxWait: 0 }), (permit) => permit.settle())
        }
        const reason = yield* refused(limiter.acquire("a", { maxWait: 0 }))
        yield* holds(retryAfter(reason) !== undefined, "an estimate of the wait", reason)
        yield* limiter.acquire("b", { maxWait: 0 })
        yield* pass(125_000)
        yield* limiter.acquire("a", { maxWait: 0 })
      })
    ),
    promise(
      "counts the tokens that were used, once, and nothing of what was not sent",
      { tokensPerMinute: 1_000, burst: 1 },
      (limiter) =>
        Effect.gen(function* () {
          const permit = yield* limiter.acquire("a", { tokens: 800 })
          yield* permit.settle({ tokens: 90 })
          yield* permit.settle({ tokens: 1 })
          yield* includes(yield* limiter.state("a"), { tokens: 90 })
          const unsent = yield* limiter.acquire("a", { tokens: 900, maxWait: 0 })
          yield* unsent.settle({ sent: false })
          yield* includes(yield* limiter.state("a"), { tokens: 90, requests: 0 })
        })
    ),
    promise("refuses at once what can never fit, without an estimate", { tokensPerMinute: 1_000 }, (limiter) =>
      Effect.gen(function* () {
        const reason = yield* refused(limiter.acquire("a", { tokens: 1_001 }))
        yield* same(retryAfter(reason), undefined)
      })
    ),
    promise("gives places in order, and urgent ones first", { concurrency: 1 }, (limiter) =>
      Effect.gen(function* () {
        const order: Array<string> = []
        const job = (name: string, urgent: boolean) =>
          Effect.sync(() => order.push(name)).pipe(
            Effect.andThen(Effect.sleep(1_000)),
            Limiter.limit(limiter, "a", { urgent })
          )
        const fibers = yield* Effect.forEach(
          [job("first", false), job("second", false), job("third", false), job("urgent", true)],
          (one) => Effect.forkChild(one, soon)
        )
        for (let i = 0; i < 40; i++) yield* pass(250)
        yield* Effect.forEach(fibers, Fiber.join)
        yield* same(order, ["first", "urgent", "second", "third"])
      })
    ),
    promise(
      "gives places back after failures, interruptions, and those who stopped waiting",
      { concurrency: 1 },
      (limiter) =>
        Effect.gen(function* () {
          const limited = Limiter.limit(limiter, "a")
          const holder = yield* Effect.forkChild(limited(Effect.never), soon)
          const left = yield* Effect.forkChild(limited(Effect.void), soon)
          const stays = yield* Effect.forkChild(limited(Effect.succeed("in")), soon)
          yield* includes(yield* limiter.state("a"), { inFlight: 1, waiting: 2 })
          yield* Fiber.interrupt(left)
          yield* Fiber.interrupt(holder)
          yield* pass(1_000)
          yield* same(yield* Fiber.join(stays), "in")
          yield* Effect.exit(limited(Effect.fail("no")))
          yield* includes(yield* limiter.state("a"), { inFlight: 0, waiting: 0 })
        })
    ),
    promise("refuses bad reservations by field", { concurrency: 1 }, (limiter) =>
      Effect.gen(function* () {
        for (const [field, reservation] of Object.entries({
          requests: { requests: -1 },
          tokens: { tokens: Number.NaN },
          maxWait: { maxWait: "-1 seconds" }
        } as const)) {
          const { reason } = yield* Effect.flip(limiter.acquire("a", reservation))
          yield* includes(reason, { _tag: "InvalidRequest", field })
        }
      })
    )
  ]
}
