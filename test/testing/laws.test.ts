/**
 * Laws of a router's guards under traffic, by simulation.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import * as BreakerStore from "effect-ai-gateway/BreakerStore"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { ScriptedPeer, Simulation } from "effect-ai-gateway/testing"
import { excessOf } from "../support/storm.ts"

const openai = Provider.openai.chat("m")
const groq = Provider.groq.chat("m")
const deepseek = Provider.deepseek.chat("m")

describe("the storm law", () => {
  for (const [name, budget] of Object.entries({
    default: { ratio: 0.2, perSecond: 3 },
    "without a floor": { ratio: 0.1, perSecond: 0 },
    "of a floor alone, nearly": { ratio: 0.001, perSecond: 10 }
  })) {
    it.effect(`holds in any 10 seconds for the budget ${name}, with every target failing`, () =>
      Effect.gen(function* () {
        const sent = new Map<string, Array<{ readonly at: number; readonly isFirst: boolean }>>()
        // Without delays, because a retry is paid for before it waits. A retry, a fallback to the same provider, and
        // hedges: everything that a purse pays for.
        const same = Route.retry(Route.fallback(openai, Provider.openai.chat("n")), { attempts: 4, delay: 0 })
        const route = Route.hedge(Route.fallback(same, Route.retry(groq, { attempts: 3, delay: 0 })), {
          after: 20,
          max: 2
        })
        const seen = new Set<string>()
        const peer = ScriptedPeer.make(({ at, headers, provider }) => {
          const key = `${provider} ${headers["cf-aig-event-id"]}`
          const list = sent.get(provider) ?? []
          sent.set(provider, list)
          list.push({ at, isFirst: !seen.has(key) })
          seen.add(key)
          return { status: 503, delay: 30 }
        })
        const router = Router.layerWith({ execution: "client", budget })
        yield* Effect.gen(function* () {
          const runs = Effect.gen(function* () {
            for (let i = 0; i < 900; i++) {
              // Waves, so that deposits of a busy time meet withdrawals of a calm one.
              yield* Effect.sleep(Math.floor(i / 150) % 2 === 0 ? 10 : 60)
              yield* Effect.forkChild(Effect.exit(Router.run(route, "hi", { quiet: true })))
            }
            yield* Effect.sleep("10 seconds")
          })
          const fiber = yield* Effect.forkChild(runs)
          yield* TestClock.adjust("2 minutes")
          yield* Fiber.join(fiber)
        }).pipe(Effect.provide(router), Effect.provide(peer.layer))
        assert.sameMembers([...sent.keys()], ["openai", "groq"])
        for (const [provider, requests] of sent) {
          assert.isAtMost(excessOf(requests, budget), 0, provider)
          assert.isAbove(requests.filter(({ isFirst }) => !isFirst).length, 5, provider)
        }
      })
    )
  }

  it("is violated by one retry too many, which the test detects", () => {
    const budget = { ratio: 0.2, perSecond: 1 }
    const first = Array.from({ length: 50 }, (_, i) => ({ at: i * 100, isFirst: true }))
    const again = Array.from({ length: 20 }, (_, i) => ({ at: 5_000 + i, isFirst: false }))
    assert.isAtMost(excessOf([...first, ...again], budget), 0)
    assert.strictEqual(excessOf([...first, ...again, { at: 5_100, isFirst: false }], budget), 1)
    assert.isAtMost(excessOf([...first, ...again, { at: 15_020, isFirst: false }], budget), 0)
  })
})

describe("a hedge", () => {
  for (const seed of [1, 2, 3]) {
    it.effect(`halves the tail for 6 % of extra load when 4 % of calls are ten times slower (seed ${seed})`, () =>
      Effect.gen(function* () {
        const plain = Route.fallback(openai, groq)
        const latency = { p50: "200 millis", p99: "300 millis", slower: { share: 0.04, times: 10 } } as const
        const results = yield* Simulation.compare({
          seed,
          duration: "40 seconds",
          arrivals: { perSecond: 60 },
          routes: { plain, hedged: Route.hedge(plain, { after: { percentile: 0.95 } }) },
          router: { budget: { ratio: 0.06, perSecond: 0 } },
          input: "hi",
          targets: { openai: { latency }, groq: { latency } }
        })
        const [without, hedged] = [results["plain"], results["hedged"]]
        assert.strictEqual(without?.requestsPerRun, 1)
        assert.isBelow(hedged?.p99 ?? Number.POSITIVE_INFINITY, (without?.p99 ?? 0) / 2)
        assert.isAtMost(hedged?.requestsPerRun ?? 2, 1.06)
        assert.isAbove(hedged?.requestsPerRun ?? 0, 1.02)
      })
    )
  }
})

describe("all guards at once", () => {
  it.effect("leave every counter at zero after 10,000 calls that are interrupted at random", () =>
    Effect.gen(function* () {
      /** Probes that were granted, but not ended. */
      let probes = 0
      const memory = BreakerStore.memory()
      const generations = new Set<string>()
      const breakerStore: BreakerStore.BreakerStore = {
        ...memory,
        admit: (key) =>
          Effect.map(memory.admit(key), (admission) => {
            if (admission._tag === "Probe") {
              generations.add(`${key} ${admission.generation}`)
              probes++
            }
            return admission
          }),
        report: (key, generation, report) =>
          Effect.andThen(
            Effect.sync(() => {
              if (generations.delete(`${key} ${generation}`)) probes--
            }),
            memory.report(key, generation, report)
          )
      }

      let state = 7
      const random = () => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0
        return state / 2 ** 32
      }
      let open = 0
      const held = (millis: number) =>
        Effect.acquireUseRelease(
          Effect.sync(() => open++),
          () => Effect.sleep(millis),
          () => Effect.sync(() => open--)
        )
      const peer = ScriptedPeer.make(() => {
        const dice = random()
        const after = held(20 + random() * 200)
        if (dice < 0.7) return { after, answer: "yes" }
        if (dice < 0.85) return { after, status: 503 }
        if (dice < 0.9) return { after, reset: true }
        if (dice < 0.901) return { after, status: 429, headers: { "retry-after": "6" } }
        return dice < 0.95 ? { after, status: 429 } : { after: held(3_000), status: 500 }
      })
      const route = Route.balance([openai, groq, deepseek], { by: "leastInFlight" }).pipe(
        Route.retry({ attempts: 2, delay: 20 }),
        Route.timeout("400 millis"),
        Route.limits({ concurrency: 40, requestsPerMinute: 20_000, queue: { size: 50, maxWait: "2 seconds" } }),
        Route.circuitBreaker({ window: "2 seconds", failureRate: 0.4, openFor: "1 second" }),
        Route.hedge({ after: { percentile: 0.9, atMost: 150 } }),
        Route.deadline("5 seconds")
      )
      const router = Router.layerWith({ execution: "client", breakerStore })
      const targets = yield* Effect.gen(function* () {
        const calls = Effect.gen(function* () {
          for (let i = 0; i < 10_000; i++) {
            if (i % 4 === 0) yield* Effect.sleep(1 + random() * 20)
            const call = yield* Effect.forkChild(Effect.exit(Router.run(route, "hi", { quiet: true })))
            // A third of the callers is interrupted: at once, in the queue, or while a request, a probe or a hedge is
            // in flight.
            if (random() < 0.33) {
              yield* Effect.forkChild(Effect.delay(Fiber.interrupt(call), random() < 0.2 ? 0 : random() * 300))
            }
          }
        })
        const fiber = yield* Effect.forkChild(calls)
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(fiber)
        return yield* Router.snapshot
      }).pipe(Effect.provide(Layer.provideMerge(router, peer.layer)))

      assert.strictEqual(open, 0)
      assert.strictEqual(probes, 0)
      assert.strictEqual(targets.length, 3)
      for (const { inFlight, limits, target, waiting } of targets) {
        assert.deepStrictEqual([inFlight, waiting], [0, 0], target)
        assert.strictEqual(limits.length, 1)
        for (const limit of limits) assert.deepInclude(limit, { inFlight: 0, waiting: 0 }, target)
      }
      for (const { state: end } of peer.seen) assert.include(["answered", "failed", "interrupted"], end)
      assert.isAbove(peer.seen.length, 5_000)
      assert.isAbove(peer.interrupted.length, 500)
    })
  )
})
