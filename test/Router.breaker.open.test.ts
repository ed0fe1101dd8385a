/**
 * Breakers inside other nodes, when all of them are open, for streams, with a shared store, and under callers that are
 * interrupted.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as BreakerStore from "effect-ai-gateway/BreakerStore"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { TargetState } from "../src/internal/router/state.ts"
import { tick } from "./batch/support.ts"
import * as scripted from "./support/scripted.ts"
import { consume, deepseek, groq, openai, overHttp } from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

const quick = { minimumCalls: 2, openFor: "20 seconds" } as const
const breaker = <In, Out>(route: Route.Route<In, Out>): Route.Route<In, Out> => Route.circuitBreaker(route, quick)

const told = (route: Route.Route<string, unknown>, options?: Router.RunOptions) =>
  Effect.map(Effect.result(Router.run(route, "hi", options)), (result) => {
    const { attempts = [], skipped = [] } = Result.isSuccess(result) ? result.success : result.failure
    return {
      answer: Result.isSuccess(result) ? result.success.target : result.failure.reason._tag,
      skipped: skipped.map(({ reason, target }) => `${target} ${reason._tag}`),
      attempts: attempts.map(({ cause, outcome, target }) => `${target} ${cause} ${outcome}`),
      ended: Result.isSuccess(result) ? undefined : result.failure.ended,
      hint: Result.isSuccess(result)
        ? undefined
        : result.failure.retryAfter && Duration.toMillis(result.failure.retryAfter)
    }
  })

/** Providers that are down until they are restored. */
const world = (
  down: ReadonlyArray<string>,
  line: (provider: string) => scripted.Line | undefined = () => undefined
) => {
  const broken = new Set(down)
  const made = scripted.make(({ provider }) => line(provider) ?? (broken.has(provider) ? { status: 503 } : undefined))
  return { ...made, broken, times: (provider: string) => made.seen.filter((one) => one.provider === provider).length }
}

/** Opens the breakers of targets that are down. */
const open = (...routes: ReadonlyArray<Route.Route<string, unknown>>) =>
  Effect.forEach([...routes, ...routes], (route) => Effect.exit(Router.run(breaker(route), "hi")), { discard: true })

describe("an open target", () => {
  it.effect("is skipped whatever reasons fall back", () =>
    Effect.gen(function* () {
      const { layer } = world(["openai"])
      const route = breaker(Route.fallback(openai, groq))
      yield* Effect.gen(function* () {
        yield* open(openai)
        for (const on of [["ProviderUnavailable"], [], () => false] as const) {
          const ran = yield* told(Route.fallbackOn(route, on))
          assert.deepInclude(ran, { answer: "groq/m", skipped: ["openai/m Rejected"] })
        }
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("does not end a race that has another branch, wherever it stands", () =>
    Effect.gen(function* () {
      const { layer, times } = world(["openai"], (provider) =>
        provider === "groq" ? { delay: 50, body: scripted.completion("slow") } : undefined
      )
      yield* Effect.gen(function* () {
        yield* open(openai)
        for (const route of [Route.race(openai, groq), Route.race(groq, openai)]) {
          const fiber = yield* Effect.forkChild(told(breaker(route)))
          yield* tick(50)
          assert.deepInclude(yield* Fiber.join(fiber), { answer: "groq/m", skipped: ["openai/m Rejected"] })
        }
      }).pipe(Effect.provide(layer))
      assert.strictEqual(times("openai"), 2)
    })
  )

  it.effect.each([
    ["a fallback", Route.fallback(openai, groq)],
    ["a fallback that begins with it", Route.fallback(groq, openai)],
    ["nested fallbacks", Route.fallback(openai, Route.fallback(groq, groq))],
    ["a hedge", Route.hedge(Route.fallback(openai, groq), { after: 10 })],
    ["a hedge that begins with it", Route.hedge(Route.fallback(groq, openai), { after: 10 })],
    ["a race", Route.race(openai, groq)],
    ["a race that begins with it", Route.race(groq, openai)]
  ] as const)("leaves the error to the target that was called, in %s", ([, route]) =>
    Effect.gen(function* () {
      const { layer } = world(["openai", "groq"])
      yield* Effect.gen(function* () {
        yield* open(groq)
        const ran = yield* told(breaker(route))
        assert.deepInclude(ran, { answer: "ProviderUnavailable", ended: "attempts" })
        assert.deepStrictEqual(ran.attempts.length, 1)
        assert.include(ran.skipped, "groq/m Rejected")
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("pays nothing for a retry that it does not make, and reports that it is open", () =>
    Effect.gen(function* () {
      const { layer, times } = world(["openai"])
      const route = openai.pipe(Route.retry({ attempts: 5, delay: 1_000 }), breaker)
      yield* Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(told(route))
        yield* tick(1_000)
        assert.deepInclude(yield* Fiber.join(fiber), { answer: "ProviderUnavailable", ended: "open" })
      }).pipe(Effect.provide(layer))
      assert.strictEqual(times("openai"), 2)
    })
  )
})

const nested = [
  ["a fallback", Route.fallback(openai, groq)],
  ["nested fallbacks", Route.fallback(Route.fallback(openai, groq), openai)],
  ["a hedge", Route.hedge(Route.fallback(openai, groq), { after: 10 })],
  ["a fallback of hedges", Route.fallback(Route.hedge(openai, { after: 10 }), Route.hedge(groq, { after: 10 }))],
  ["a race", Route.race(openai, groq)],
  ["a balance", Route.balance([openai, groq], { by: "roundRobin" })],
  ["a race of fallbacks", Route.race(Route.fallback(openai, groq), Route.fallback(groq, openai))]
] as const

describe("a probe that never became an attempt", () => {
  it.effect("is returned: its caller stopped before it was admitted, or its request could not be built", () =>
    Effect.gen(function* () {
      const { broken, layer } = world(["openai"])
      const route = breaker(openai)
      yield* Effect.gen(function* () {
        yield* open(openai)
        broken.clear()
        yield* TestClock.adjust("20 seconds")
        const waiting = yield* Effect.forkChild(told(route, { admission: () => Effect.never }))
        yield* tick(10)
        assert.deepInclude(yield* told(route), { answer: "Rejected", ended: "open" })
        yield* Fiber.interrupt(waiting)
        const unmade = Route.mapInput(route, (_: string) => ({ messages: [], seed: 0.5 }) as never)
        assert.deepInclude(yield* told(unmade), { answer: "InvalidRequest", attempts: [] })
        assert.deepInclude(yield* told(route), { answer: "openai/m" })
      }).pipe(Effect.provide(layer))
    })
  )
})

describe("when all breakers are open, a run", () => {
  it.effect.each(nested)("makes exactly one attempt at once, in %s", ([, route]) =>
    Effect.gen(function* () {
      const { broken, layer, seen } = world(["openai", "groq"])
      const retried = route.pipe(Route.retry({ attempts: 3, delay: 0 }), breaker)
      yield* Effect.gen(function* () {
        yield* open(openai)
        yield* TestClock.adjust("1 second")
        yield* open(groq)
        const before = seen.length
        const failed = yield* told(retried)
        assert.deepInclude(failed, { answer: "ProviderUnavailable", ended: "attempts" })
        // OpenAI returns first, and was called after all.
        assert.deepStrictEqual(failed.attempts, ["openai/m first failure"])
        assert.notInclude(failed.skipped, "openai/m Rejected")
        assert.strictEqual(seen.length, before + 1)
        broken.clear()
        assert.deepInclude(yield* told(retried), { answer: "openai/m", attempts: ["openai/m first success"] })
        assert.strictEqual(seen.length, before + 2)
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect.each(nested)("waits for the first that returns within five seconds, and is its probe, in %s", ([, route]) =>
    Effect.gen(function* () {
      const { broken, layer } = world(["openai", "groq"])
      yield* Effect.gen(function* () {
        yield* open(groq)
        yield* TestClock.adjust("1 second")
        yield* open(openai)
        yield* TestClock.adjust("14 seconds")
        broken.clear()
        const fiber = yield* Effect.forkChild(told(breaker(route)))
        yield* tick(4_999)
        assert.isUndefined(fiber.pollUnsafe())
        yield* tick(1)
        assert.deepInclude(yield* Fiber.join(fiber), { answer: "groq/m", attempts: ["groq/m first success"] })
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("does not begin a wait that its deadline would cut short", () =>
    Effect.gen(function* () {
      const { layer, seen } = world(["openai", "groq"])
      const route = Route.deadline(breaker(Route.fallback(openai, groq)), "3 seconds")
      yield* Effect.gen(function* () {
        yield* open(openai, groq)
        yield* TestClock.adjust("17 seconds")
        const before = seen.length
        assert.deepInclude(yield* told(route), { answer: "ProviderUnavailable", ended: "attempts" })
        assert.strictEqual(seen.length, before + 1)
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("sends one probe among many runs, which resume as soon as it has succeeded", () =>
    Effect.gen(function* () {
      const delay = 300
      const { broken, layer, seen } = world(["openai", "groq"], (provider) =>
        broken.size === 0 ? { delay, body: scripted.completion(provider) } : undefined
      )
      yield* Effect.gen(function* () {
        yield* open(openai)
        yield* TestClock.adjust("10 seconds")
        yield* open(groq)
        yield* TestClock.adjust("8 seconds")
        broken.clear()
        const before = seen.length
        const fiber = yield* Effect.forkChild(
          Effect.all(
            Array.from({ length: 20 }, () => told(breaker(Route.fallback(openai, groq)))),
            { concurrency: "unbounded" }
          )
        )
        yield* tick(2_000)
        assert.strictEqual(seen.length, before + 1)
        for (let i = 0; i < 20; i++) yield* tick(100)
        const all = yield* Fiber.join(fiber)
        assert.deepStrictEqual(new Set(all.map(({ answer }) => answer)), new Set(["openai/m"]))
        assert.strictEqual(seen.length, before + 20)
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect(
    "fails at once with the earliest hint when no target has credit, and otherwise calls one that is only failing",
    () =>
      Effect.gen(function* () {
        const spent: scripted.Line = {
          status: 429,
          body: { error: { message: "no credit", code: "insufficient_quota" } }
        }
        const { layer, seen, times } = world(["groq"], (provider) => (provider === "groq" ? undefined : spent))
        yield* Effect.gen(function* () {
          yield* open(openai)
          yield* TestClock.adjust("10 seconds")
          yield* open(deepseek)
          const before = seen.length
          const ran = yield* told(breaker(Route.fallback(deepseek, openai)))
          assert.deepInclude(ran, { answer: "Rejected", ended: "open", attempts: [], hint: 50_000 })
          assert.strictEqual(seen.length, before)
          yield* open(groq)
          const counts = times("groq")
          assert.deepInclude(yield* told(breaker(Route.fallback(deepseek, groq, openai))), {
            answer: "ProviderUnavailable",
            attempts: ["groq/m first failure"]
          })
          assert.strictEqual(times("groq"), counts + 1)
          assert.strictEqual(times("openai") + times("deepseek"), 2)
        }).pipe(Effect.provide(layer))
      })
  )

  it.effect("frees everything when its caller is interrupted while it waits or probes", () =>
    Effect.gen(function* () {
      const { broken, layer } = world(["openai", "groq"], () =>
        broken.size === 0 ? { delay: 1_000, body: scripted.completion("x") } : undefined
      )
      const route = breaker(Route.fallback(openai, groq))
      yield* Effect.gen(function* () {
        yield* open(openai, groq)
        yield* TestClock.adjust("18 seconds")
        broken.clear()
        for (const millis of [500, 2_100, 2_500]) {
          const fiber = yield* Effect.forkChild(told(route))
          yield* tick(millis)
          yield* Fiber.interrupt(fiber)
        }
        const fiber = yield* Effect.forkChild(told(route))
        yield* tick(1_000)
        assert.deepInclude(yield* Fiber.join(fiber), { answer: "openai/m", skipped: [] })
      }).pipe(Effect.provide(layer))
    })
  )
})

describe("a stream", () => {
  const serve = (script: S.Script) => {
    const provider = S.scripted(script)
    return { layer: overHttp.layer(provider.upstreams), bodies: provider.bodies }
  }
  const play = (route: Route.Route<string, unknown>) =>
    Effect.map(consume(route, "hi", { execution: "client" }), ({ error, summary, text }) => ({
      text,
      error: error?.reason._tag,
      skipped: (error?.skipped ?? summary?.skipped ?? []).map(({ target }) => target)
    }))
  const breaks: S.Reply = { steps: [S.role, S.say("half"), S.reset] }

  it.effect("counts as a failure when it breaks after its first delta, also for a probe", () =>
    Effect.gen(function* () {
      const good: S.Reply = { steps: S.words("good") }
      const { layer } = serve({ openai: [breaks, breaks, breaks, good], groq: Array.from({ length: 9 }, () => good) })
      const route = breaker(Route.fallback(openai, groq))
      yield* Effect.gen(function* () {
        for (let i = 0; i < 2; i++) assert.deepInclude(yield* play(route), { error: "StreamInterrupted" })
        assert.deepInclude(yield* play(route), { text: "good", skipped: ["openai/m"] })
        yield* TestClock.adjust("20 seconds")
        assert.deepInclude(yield* play(route), { error: "StreamInterrupted", skipped: [] })
        yield* TestClock.adjust("39 seconds")
        assert.deepInclude(yield* play(route), { text: "good", skipped: ["openai/m"] })
        yield* TestClock.adjust("1 second")
        assert.deepInclude(yield* play(route), { text: "good", skipped: [] })
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("counts for nothing when its consumer stops, and returns the probe", () =>
    Effect.gen(function* () {
      const good: S.Reply = { steps: S.words("one", "two") }
      const { layer } = serve({ openai: [breaks, breaks, good, good] })
      const route = breaker(Route.fallback(openai, groq))
      yield* Effect.gen(function* () {
        for (let i = 0; i < 2; i++) yield* play(route)
        yield* TestClock.adjust("20 seconds")
        const first = yield* Router.stream(route, "hi", { execution: "client" }).pipe(
          Stream.filter(({ type }) => type === "text"),
          Stream.take(1),
          // The probe is in flight: other runs move on.
          Stream.mapEffect(() => play(route)),
          Stream.runCollect
        )
        assert.deepStrictEqual(
          first.map(({ skipped }) => skipped),
          [["openai/m"]]
        )
        assert.deepInclude(yield* play(route), { text: "onetwo", skipped: [] })
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("is slow by the time to its first delta, not by its length", () =>
    Effect.gen(function* () {
      const late: S.Reply = { steps: [{ wait: 600 }, ...S.words("late")] }
      const long: S.Reply = { steps: [S.role, S.say("long"), { wait: 5_000 }, ...S.words("")] }
      const { layer } = serve({ openai: [long, long, late, late], groq: [] })
      const route = Route.circuitBreaker(Route.fallback(openai, groq), {
        ...quick,
        minimumCalls: 2,
        slowCalls: { after: 500, rate: 0.5 }
      })
      yield* Effect.gen(function* () {
        for (const wait of [5_000, 5_000, 600, 600]) {
          const fiber = yield* Effect.forkChild(play(route))
          for (let i = 0; i < 10; i++) yield* tick(wait / 10)
          assert.deepInclude(yield* Fiber.join(fiber), { skipped: [] })
        }
        assert.deepInclude(yield* play(route), { skipped: ["openai/m"] })
      }).pipe(Effect.provide(layer))
    })
  )
})

describe("outcomes of a route that the gateway executes", () => {
  it.effect("belong to the leg that answered or failed", () =>
    Effect.gen(function* () {
      const provider = S.scripted(() => ({
        status: 503,
        headers: { "content-type": "application/json" },
        steps: ["{}"]
      }))
      yield* Effect.gen(function* () {
        for (let i = 0; i < 2; i++) {
          yield* Effect.flip(Router.run(Route.fallback(openai, groq), "hi", { execution: "gateway" }))
        }
        assert.deepInclude(yield* told(breaker(groq), { execution: "client" }), { answer: "Rejected", attempts: [] })
        assert.deepInclude(yield* told(breaker(openai), { execution: "client" }), { answer: "ProviderUnavailable" })
      }).pipe(Effect.provide(overHttp.layer(provider.upstreams)))
    })
  )
})

describe("a store", () => {
  /** A separate router over the gateway of a world. */
  const router = ({ layer }: Pick<ReturnType<typeof world>, "layer">, breakerStore: BreakerStore.BreakerStore) =>
    Router.layerWith({ execution: "client", breakerStore }).pipe(Layer.provide(layer))

  it.effect("is shared by routers: one opens the breaker, the other skips the target and then probes it", () =>
    Effect.gen(function* () {
      const shared = world(["openai"])
      const { broken, seen } = shared
      const breakerStore = BreakerStore.memory()
      const [one, other] = [
        yield* Layer.build(router(shared, breakerStore)),
        yield* Layer.build(router(shared, breakerStore))
      ]
      const route = breaker(openai)
      yield* Effect.forEach([1, 2], () => told(route)).pipe(Effect.provide(one))
      assert.deepInclude(yield* told(route).pipe(Effect.provide(other)), { answer: "Rejected", hint: 20_000 })
      assert.strictEqual(seen.length, 2)
      broken.clear()
      yield* TestClock.adjust("20 seconds")
      assert.deepInclude(yield* told(route).pipe(Effect.provide(other)), { answer: "openai/m" })
      assert.deepInclude(yield* told(route).pipe(Effect.provide(one)), { answer: "openai/m" })
    })
  )

  it.effect("is shared for targets with headers that are not secret, and sees no credential", () =>
    Effect.gen(function* () {
      const shared = world(["anthropic"])
      const keys: Array<string> = []
      const memory = BreakerStore.memory()
      const breakerStore: BreakerStore.BreakerStore = {
        ...memory,
        admit: (key) => {
          keys.push(key)
          return memory.admit(key)
        }
      }
      const [one, other] = [
        yield* Layer.build(router(shared, breakerStore)),
        yield* Layer.build(router(shared, breakerStore))
      ]
      // Its dialect sends its version in a header.
      const route = breaker(Provider.anthropic.messages("m"))
      yield* Effect.forEach([1, 2], () => told(route)).pipe(Effect.provide(one))
      assert.deepInclude(yield* told(route).pipe(Effect.provide(other)), { answer: "Rejected" })
      const before = keys.length
      yield* told(breaker(Provider.openai.chat("m", { apiKey: Redacted.make("sk-secret") }))).pipe(Effect.provide(one))
      const own = Route.make({
        provider: "custom-own",
        endpoint: "x",
        headers: { authorization: "Bearer plain-secret" },
        query: (text: string) => ({ text }),
        success: Schema.Unknown
      })
      yield* told(breaker(Route.map(own, () => ({ text: "" })))).pipe(Effect.provide(one))
      assert.strictEqual(keys.length, before + 2)
      assert.notMatch(keys.join(), /secret/)
    })
  )

  it.effect("is asked again for five seconds when it rejects without a hint, and then one attempt is made", () =>
    Effect.gen(function* () {
      const refusing: BreakerStore.BreakerStore = {
        admit: () => Effect.succeed({ _tag: "Refused", cause: "failing", retryAfter: Duration.zero }),
        report: () => Effect.void,
        state: () => Effect.succeed({ _tag: "HalfOpen", cause: "failing" })
      }
      const fiber = yield* Effect.forkChild(
        told(breaker(Route.fallback(openai, groq))).pipe(Effect.provide(router(world([]), refusing)))
      )
      for (let i = 0; i < 60; i++) yield* tick(100)
      const { attempts, skipped } = yield* Fiber.join(fiber)
      assert.deepStrictEqual([attempts.length, skipped.length], [1, 1])
      const alone = yield* told(breaker(Route.fallback(openai, openai))).pipe(
        Effect.provide(router(world([]), refusing))
      )
      assert.deepInclude(alone, { answer: "Rejected", ended: "open" })
    })
  )

  it.effect("lets calls through when it fails or does not respond", () =>
    Effect.gen(function* () {
      const failing: BreakerStore.BreakerStore = {
        admit: () => Effect.fail("no connection"),
        report: () => Effect.fail("no connection"),
        state: () => Effect.fail("no connection")
      }
      const silent: BreakerStore.BreakerStore = { ...failing, admit: () => Effect.never, report: () => Effect.never }
      for (const store of [failing, silent]) {
        const fiber = yield* Effect.forkChild(
          Effect.forEach([1, 2, 3], () => told(breaker(openai))).pipe(Effect.provide(router(world(["openai"]), store)))
        )
        for (let i = 0; i < 6; i++) yield* tick(1_000)
        const all = yield* Fiber.join(fiber)
        assert.deepStrictEqual(
          all.map(({ answer }) => answer),
          Array(3).fill("ProviderUnavailable")
        )
      }
    })
  )
})

describe("a thousand callers that are interrupted at any time", () => {
  it.effect("leave nothing in flight, and the probe free", () =>
    Effect.gen(function* () {
      let seed = 7
      const next = (below: number): number => {
        seed = (seed * 1664525 + 1013904223) % 2 ** 32
        return Math.floor((seed / 2 ** 32) * below)
      }
      const states = new Set<TargetState>()
      const { begin } = TargetState.prototype
      TargetState.prototype.begin = function (...args) {
        states.add(this)
        return begin.apply(this, args)
      }
      let isOver = false
      const { layer } = world([], () =>
        isOver
          ? undefined
          : { delay: 1 + next(60), ...(next(2) === 0 ? { status: 503 } : { body: scripted.completion("x") }) }
      )
      const routes = [
        Route.fallback(openai, groq, deepseek),
        Route.hedge(Route.fallback(openai, groq), { after: 10 }),
        Route.race(openai, groq),
        Route.retry(Route.fallback(openai, groq), { attempts: 3, delay: 5 }),
        Route.balance([openai, groq, deepseek], { by: "leastInFlight" })
      ].map((route) => Route.circuitBreaker(route, { minimumCalls: 2, openFor: 40, maxOpenFor: 40 }))
      yield* Effect.gen(function* () {
        const open = new Set<Fiber.Fiber<unknown, unknown>>()
        for (let i = 0; i < 1_000; i++) {
          const route = routes[i % routes.length] ?? openai
          const ask =
            next(3) === 0
              ? Stream.runDrain(Router.stream(route, "hi", { budget: "none" }))
              : Router.run(route, "hi", { budget: "none" })
          open.add(yield* Effect.forkChild(Effect.exit(ask)))
          if (i % 4 === 0) yield* TestClock.adjust(next(15))
          for (const fiber of open) {
            if (next(12) > 0) continue
            open.delete(fiber)
            yield* Fiber.interrupt(fiber)
          }
        }
        yield* Fiber.interruptAll(open)
        assert.isAtLeast(states.size, 3)
        for (const { inFlight } of states) assert.strictEqual(inFlight, 0)
        isOver = true
        yield* TestClock.adjust(40)
        for (const target of [openai, groq, deepseek]) {
          const alone = Route.circuitBreaker(target, { minimumCalls: 2, openFor: 40, maxOpenFor: 40 })
          assert.strictEqual((yield* told(alone)).ended, undefined)
        }
      }).pipe(
        Effect.provide(layer),
        Effect.ensuring(
          Effect.sync(() => {
            TargetState.prototype.begin = begin
          })
        )
      )
    })
  )
})
