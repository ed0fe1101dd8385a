import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as SqlClient from "effect/sql/SqlClient"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import * as Cluster from "effect-ai-gateway/cluster"
import { make } from "../../src/cluster/limiter.ts"
import { reasonIn } from "../batch/support.ts"
import { missing } from "./postgres.ts"
import { Live, text, until } from "./support.ts"

/** The largest sum of units within any window. */
const peak = (seen: ReadonlyArray<{ readonly at: number; readonly units: number }>, window: number): number => {
  const sorted = [...seen].sort((a, b) => a.at - b.at)
  let [from, sum, most] = [0, 0, 0]
  for (const { at, units } of sorted) {
    sum += units
    for (let first = sorted[from]; first !== undefined && first.at <= at - window; first = sorted[++from])
      sum -= first.units
    most = Math.max(most, sum)
  }
  return most
}

const setUp = Cluster.submit({ job: "tables", items: [], ...text })

describe.skipIf(missing !== undefined)(missing ?? "the shared limiter", () => {
  layer(Live, { excludeTestServices: true, timeout: 120_000 })((it) => {
    it.effect("keeps two processes under the limits in every window, and uses most of them", () =>
      Effect.gen(function* () {
        yield* setUp
        const sql = yield* SqlClient.SqlClient
        const window = 2000
        // The skew exceeds the time that a busy machine takes from an admission to its count.
        const limits = { requestsPerMinute: 60, tokensPerMinute: 400, burst: 0.5, skew: 1500 }
        const counted: Array<{ readonly at: number; readonly units: number }> = []
        const tokens: Array<{ readonly at: number; readonly units: number }> = []
        let number = 0
        // The other side counts a request somewhere between its admission and its answer.
        const one = (limiter: Effect.Success<ReturnType<typeof make>>) =>
          Effect.uninterruptible(
            Effect.gen(function* () {
              const n = number++
              const used = 2 + (n % 7)
              const permit = yield* limiter.acquire("k", { tokens: 8, urgent: n % 5 === 0 })
              yield* Effect.sleep(n % 40)
              const at = performance.now()
              counted.push({ at, units: 1 })
              tokens.push({ at, units: used })
              yield* Effect.sleep(n % 3 === 0 ? 150 : 5)
              yield* permit.settle({ tokens: used })
            })
          )
        const startedAt = performance.now()
        // A slow machine waits longer until most is used, and never exceeds the limit.
        const goesOn = () => {
          const elapsed = performance.now() - startedAt
          return elapsed < 4500 || (counted.length < 80 && elapsed < 30_000)
        }
        const run = Effect.scoped(
          Effect.flatMap(make(sql, limits, window), (limiter) =>
            Effect.forEach(Array.from({ length: 8 }), () => Effect.repeat(one(limiter), { while: goesOn }), {
              concurrency: "unbounded",
              discard: true
            })
          )
        )
        yield* Effect.all([run, run], { concurrency: 2 })
        assert.isAtMost(peak(counted, window), 60)
        assert.isAtMost(peak(tokens, window), 400)
        assert.isAtLeast(counted.length, 80)
      })
    )

    it.effect("returns unsent and interrupted requests", () =>
      Effect.gen(function* () {
        yield* setUp
        const sql = yield* SqlClient.SqlClient
        const first = yield* make(sql, { requestsPerMinute: 2, burst: 1 })
        const second = yield* make(sql, { requestsPerMinute: 2, burst: 1 })
        const permit = yield* first.acquire("back")
        yield* second.acquire("back")
        const full = yield* Effect.exit(second.acquire("back", { maxWait: 0 }))
        const reason = reasonIn(full)
        assert.isTrue(reason?._tag === "Rejected" && reason.retryAfter !== undefined)
        const waiting = yield* Effect.forkChild(first.acquire("back"))
        yield* Effect.sleep(300)
        yield* Fiber.interrupt(waiting)
        const late = yield* Effect.exit(first.acquire("back", { maxWait: 300 }))
        assert.strictEqual(reasonIn(late)?._tag, "Rejected")
        yield* permit.settle({ sent: false })
        yield* permit.settle({ sent: false })
        // No rejected or interrupted caller holds it.
        yield* Effect.timeout(second.acquire("back"), 15_000)
        assert.strictEqual((yield* second.state("back")).requests, 2)
        assert.strictEqual(reasonIn(yield* Effect.exit(second.acquire("back", { maxWait: 0 })))?._tag, "Rejected")
      }).pipe(Effect.scoped)
    )

    it.effect("returns nothing twice when an answer is lost", () =>
      Effect.gen(function* () {
        yield* setUp
        const sql = yield* SqlClient.SqlClient
        const cause = new ConnectionError({ cause: new Error("lost") })
        let [losing, lost] = [false, 0]
        const lossy = new Proxy(sql, {
          apply: (target, self, args) => {
            const answer = Reflect.apply(target, self, args)
            if (!losing) return answer
            losing = false
            return Effect.andThen(
              answer,
              Effect.suspend(() => {
                lost++
                return Effect.fail(new SqlError({ reason: cause }))
              })
            )
          }
        })
        const limiter = yield* make(lossy, { requestsPerMinute: 10, tokensPerMinute: 100, burst: 1 })
        const first = yield* limiter.acquire("lost", { tokens: 10 })
        const second = yield* limiter.acquire("lost", { tokens: 10 })
        yield* Effect.sleep(100)
        losing = true
        yield* first.settle({ sent: false })
        yield* second.settle({ tokens: 15 })
        yield* until(Effect.sync(() => lost === 1))
        yield* limiter.acquire("lost")
        const { requests, tokens } = yield* limiter.state("lost")
        // The first is returned once. The second's usage beyond its reservation counts at least once.
        assert.deepStrictEqual([requests, tokens], [2, 20])
      }).pipe(Effect.scoped)
    )

    it.effect("rejects at once what can never fit", () =>
      Effect.gen(function* () {
        yield* setUp
        const limiter = yield* Cluster.limiter({ requestsPerMinute: 2, tokensPerMinute: 10 })
        for (const asked of [{ requests: 3 }, { tokens: 11 }]) {
          const reason = reasonIn(yield* Effect.exit(limiter.acquire("never", asked)))
          assert.isTrue(reason?._tag === "Rejected" && reason.retryAfter === undefined)
        }
        for (const asked of [{ requests: -1 }, { tokens: Number.NaN }, { maxWait: -1 }]) {
          assert.strictEqual(reasonIn(yield* Effect.exit(limiter.acquire("never", asked)))?._tag, "InvalidRequest")
        }
        const refused = yield* Effect.exit(Cluster.limiter({ burst: 2 }))
        assert.strictEqual(reasonIn(refused)?._tag, "InvalidRequest")
      }).pipe(Effect.scoped)
    )
  })
})
