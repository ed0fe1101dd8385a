/**
 * Consumers that stop, at any place: nothing stays open behind them, and the records show it.
 */
import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import * as Scheduler from "effect/Scheduler"
import * as Stream from "effect/Stream"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import * as LocalGateway from "effect-ai-gateway/local"
import * as Upstream from "effect-ai-gateway/local/Upstream"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { Local } from "./suites/transports.ts"
import { drive } from "./support/drive.ts"
import { assertSilent, traced } from "./support/leaks.ts"
import { consume, deepseek, groq, lines, openai, ways } from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

const limits = (route: typeof openai) =>
  route.pipe(Route.timeout("1 minute"), Route.firstTokenTimeout("1 minute"), Route.idleTimeout("1 minute"))
const route = limits(Route.fallback(openai, groq, deepseek))

/** Counts the live fibers. */
const counting = () => {
  let live = 0
  const service: Metric.FiberRuntimeMetricsService = {
    recordFiberStart: () => {
      live++
    },
    recordFiberEnd: () => {
      live--
    }
  }
  return {
    live: () => live,
    watch: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.provideService(self, Metric.FiberRuntimeMetrics, service)
  }
}

/** A router over a local gateway whose providers repeat the words of the prompt. */
const echo = Router.layerWith({ execution: "client" }).pipe(
  Layer.provideMerge(LocalGateway.layer({ upstreams: { openai: Upstream.echo({ stream: { events: 10 } }) } }))
)

/** Lets promises and scheduled fibers settle. */
const settle = Effect.repeat(Effect.yieldNow, { times: 20 })

describe("a consumer that takes a part", () => {
  const words = ["one ", "two ", "three"]

  it.effect.each(ways)("$name: a given number of deltas", ({ backend, execution }) =>
    Effect.gen(function* () {
      for (let count = 1; count <= 6; count++) {
        const provider = S.scripted({ openai: [{ steps: [...S.words(...words)] }] })
        const fibers = counting()
        const program = Effect.gen(function* () {
          const { attempts, value } = yield* LogTrail.collect(
            Stream.runCollect(Stream.take(Router.stream(route, "hi", { execution }), count))
          )
          yield* settle
          const { openBodies } = yield* Local
          return { attempts, value, open: yield* openBodies }
        })
        const layer = backend.layer(provider.upstreams)
        const { attempts, open, value } = yield* fibers.watch(
          Effect.andThen(Effect.void, Effect.provide(program, layer))
        )
        assert.strictEqual(value.length, count)
        // The finish is the fifth.
        assert.deepStrictEqual(lines(attempts), [`openai/m ${count < 5 ? "interrupted" : "success"}`])
        assert.strictEqual(attempts[0]?.model, "m-1")
        assert.isString(attempts[0]?.logId)
        assert.deepStrictEqual(provider.states(), ["openai cancelled"])
        assert.deepStrictEqual([open, fibers.live()], [0, 0])
      }
    })
  )

  it.effect("up to the finish has the complete answer, and its record is a success", () =>
    Effect.gen(function* () {
      const provider = S.scripted({ openai: [{ steps: [...S.words(...words)] }] })
      const until = (delta: { readonly type: string }) => delta.type === "finish"
      yield* Effect.gen(function* () {
        const { attempts } = yield* LogTrail.collect(
          Stream.runDrain(Stream.takeUntil(Router.stream(route, "hi"), until))
        )
        assert.deepStrictEqual(lines(attempts), ["openai/m success"])
      }).pipe(Effect.provide(provider.direct))
      assert.deepStrictEqual(provider.states(), ["openai cancelled"])
    })
  )

  it.effect("may look at the summary at any time; afterwards it is complete", () =>
    Effect.gen(function* () {
      const provider = S.scripted({ openai: [{ steps: [S.error()] }, {}], groq: [{ steps: [...S.words(...words)] }] })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const streamed = yield* Router.open(route, "hi")
          const opened = yield* streamed.summary
          assert.deepInclude(opened, { target: "groq/m", deltas: 0, text: "", restarts: 0 })
          assert.deepStrictEqual(lines(opened.attempts), ["openai/m failure ProviderUnavailable"])
          assert.strictEqual(streamed.target(), "groq/m")
          assert.strictEqual(streamed.provider(), "groq")
          assert.strictEqual(streamed.execution, "client")
          assert.strictEqual(streamed.response.status, 200)
          yield* Stream.runDrain(Stream.take(streamed.deltas, 3))
          const left = yield* streamed.summary
          assert.deepInclude(left, { deltas: 3, text: "one two ", model: "m-1", eventId: streamed.eventId })
          assert.deepStrictEqual(lines(left.attempts), ["openai/m failure ProviderUnavailable", "groq/m interrupted"])
          assert.strictEqual(opened.attempts.length, 1)
        })
      ).pipe(Effect.provide(provider.direct))
    })
  )

  it.effect("cannot mistake the rest of a consumed stream for an answer", () =>
    Effect.gen(function* () {
      const message = "Router.stream: invalid deltas: expected one consumer, once, inside the scope of the stream"
      const provider = S.scripted({})
      yield* Effect.gen(function* () {
        const { deltas } = yield* Router.open(route, "hi")
        yield* Stream.runDrain(Stream.take(deltas, 2))
        assert.strictEqual((yield* Effect.flip(Stream.runDrain(deltas))).message, message)
        const whole = yield* Router.open(route, "hi")
        yield* Stream.runDrain(whole.deltas)
        assert.strictEqual((yield* Effect.flip(Stream.runDrain(whole.deltas))).message, message)
        const late = yield* Effect.scoped(Router.open(route, "hi"))
        assert.strictEqual((yield* Effect.flip(Stream.runDrain(late.deltas))).message, message)
        // A second consumer does not disturb the first.
        const shared = yield* Router.open(route, "hi")
        const seen: Array<string> = []
        yield* Stream.runForEach(shared.deltas, ({ type }) => {
          seen.push(type)
          return seen.length === 1 ? Effect.ignore(Stream.runDrain(shared.deltas)) : Effect.void
        })
        assert.deepStrictEqual(seen, ["meta", "text", "text", "finish", "usage"])
      }).pipe(Effect.scoped, Effect.provide(provider.direct))
    })
  )
})

describe("a stream that broke", () => {
  it.effect("is released at once, however slow its consumer is", () =>
    Effect.gen(function* () {
      const provider = S.scripted({ openai: [{ steps: [S.role, S.say("a") + S.error(), S.stall] }] })
      const states: Array<string> = []
      const seen = yield* consume(openai, "hi", {}, () =>
        Effect.sync(() => {
          states.push(...provider.states())
        })
      ).pipe(Effect.provide(provider.direct))
      assert.strictEqual(seen.error?.reason._tag, "StreamInterrupted")
      // The target, and its text.
      assert.deepStrictEqual(states, ["openai cancelled", "openai cancelled"])
    })
  )
})

describe("a consumer that is interrupted", () => {
  it.effect.each(ways)("$name: releases the upstream at any time", ({ backend, execution }) =>
    Effect.gen(function* () {
      const pause = { wait: 100 }
      const slow = (...steps: ReadonlyArray<S.Step>): S.Reply => ({
        delay: 100,
        steps: steps.flatMap((step) => [step, pause])
      })
      for (let at = 50; at < 1000; at += 100) {
        const provider = S.scripted({
          openai: [slow(S.role, S.error())],
          groq: [slow(S.role, S.say("a"), S.say("b"), S.finish, S.usage, S.doneMark)]
        })
        const fibers = counting()
        const program = Effect.gen(function* () {
          const local = yield* Local
          const { attempts, value: driven } = yield* LogTrail.collect(
            drive(Stream.runDrain(Router.stream(route, "hi", { execution })), { interruptAt: at, step: 50 })
          )
          yield* settle
          const calls = yield* local.calls
          return { attempts, driven, open: yield* local.openBodies, calls }
        })
        const layer = backend.layer(provider.upstreams)
        const { attempts, calls, driven, open } = yield* fibers.watch(
          Effect.andThen(Effect.void, Effect.provide(program, layer))
        )
        assert.isTrue(at > 900 || Exit.hasInterrupts(driven.exit), `at ${at}`)
        assert.deepStrictEqual([open, provider.open(), fibers.live()], [0, 0, 0], `at ${at}`)
        // Observed by the gateway, and not only by the consumer.
        assert.notInclude(
          calls.map(({ outcome }) => outcome),
          undefined
        )
        const last = lines(attempts.slice(-1))[0] ?? ""
        assert.match(last, at > 600 ? / success$/ : / interrupted$/, `at ${at}`)
        assert.strictEqual(attempts.filter(({ outcome }) => outcome === "interrupted").length, at > 600 ? 0 : 1)
      }
    })
  )

  it.effect("releases the upstream between any two steps of the program", () => {
    const once = (at: number) =>
      Effect.gen(function* () {
        const provider = S.scripted({
          openai: [{ steps: [S.role, S.error()] }],
          groq: [{ steps: [S.role, S.say("half"), S.reset] }]
        })
        const fibers = counting()
        const base = new Scheduler.MixedScheduler()
        let steps = 0
        let root: Fiber.Fiber<unknown, unknown> | undefined
        const scheduler: Scheduler.Scheduler = {
          executionMode: base.executionMode,
          shouldYield: () => {
            if (++steps === at) root?.interruptUnsafe()
            return false
          },
          makeDispatcher: () => base.makeDispatcher()
        }
        const { attempts, value: exit } = yield* LogTrail.collect(
          Effect.gen(function* () {
            const fiber = yield* Route.restart(route, 1).pipe(
              (again) => consume(again, "hi"),
              Effect.provide(provider.direct),
              Effect.provideService(Scheduler.Scheduler, scheduler),
              fibers.watch,
              Effect.forkChild
            )
            root = fiber
            const exit = yield* Fiber.await(fiber)
            yield* settle
            return exit
          })
        )
        return { attempts, exit, provider, steps, live: fibers.live() }
      })
    return Effect.gen(function* () {
      const { exit, provider, steps } = yield* once(-1)
      assert.isTrue(Exit.isSuccess(exit) && exit.value.text === "from deepseek")
      assert.strictEqual(provider.bodies.length, 3)
      for (let at = 1; at <= steps; at += 7) {
        const { attempts, exit, live, provider } = yield* once(at)
        // The last steps release everything, and cannot be interrupted.
        assert.isTrue(Exit.hasInterrupts(exit) || at > steps - 60, `step ${at}`)
        assert.strictEqual(live, 0, `step ${at}`)
        assert.strictEqual(provider.open(), 0, `step ${at}`)
        // Every sent request is on record, and none is in flight forever.
        assert.isAtLeast(attempts.length, provider.bodies.length, `step ${at}`)
        assert.isAtMost(attempts.filter(({ outcome }) => outcome === "interrupted").length, 1, `step ${at}`)
      }
    })
  })

  it.effect("leaves nothing open after a thousand streams, half of them abandoned", () =>
    Effect.gen(function* () {
      const fibers = counting()
      const program = Effect.gen(function* () {
        const local = yield* LocalGateway.Current
        const run = (index: number) => {
          const all = Router.stream(route, `prompt ${index}`)
          return LogTrail.collect(
            index % 2 === 0 ? Stream.runCount(all) : Stream.runCount(Stream.take(all, 1 + (index % 9)))
          )
        }
        const runs = yield* Effect.forEach(
          Array.from({ length: 1000 }, (_, i) => i),
          run,
          { concurrency: 50 }
        )
        yield* settle
        return { runs, open: yield* local.openBodies, calls: yield* local.calls }
      })
      const { calls, open, runs } = yield* fibers.watch(Effect.andThen(Effect.void, Effect.provide(program, echo)))
      assert.strictEqual(open, 0)
      assert.strictEqual(fibers.live(), 0)
      const outcomes = calls.map(({ outcome }) => outcome)
      assert.deepStrictEqual(
        [outcomes.filter((one) => one === "answered").length, outcomes.filter((one) => one === "interrupted").length],
        [500, 500]
      )
      for (const [index, { attempts, value }] of runs.entries()) {
        assert.strictEqual(attempts.length, 1)
        if (index % 2 === 0) assert.strictEqual(attempts[0]?.outcome, "success")
        else assert.strictEqual(value, 1 + (index % 9))
      }
    })
  )
})

describe("the traces of a stream", () => {
  const key = "sk-4f9a8b7c6d5e4f3a2b1c"
  const prompt = "the prompt of a patient"
  const answer = "the answer for a patient"
  const keyed = (provider: { readonly chat: typeof Provider.openai.chat }) =>
    provider.chat("m", { apiKey: Redacted.make(key) })
  const said = `no access with Bearer ${key} for: ${prompt}`
  const scripts: ReadonlyArray<Record<string, ReadonlyArray<S.Reply>>> = [
    { openai: [{ steps: [S.role, S.error(said)] }] },
    { openai: [{ status: 503, headers: { "content-type": "text/plain" }, steps: [said] }] },
    { openai: [{ steps: [S.say(answer), S.error(said)] }] },
    { openai: [{ steps: [S.say(answer), `data: ${said}\n\n`] }] },
    { openai: [{ headers: { "content-type": "text/html" }, steps: [`<html>${said}${answer}`] }] },
    { openai: [{ headers: { "content-type": "application/json" }, steps: [`{"${said}":"${answer}`] }] },
    { openai: [{ steps: [S.say(answer), S.reset] }], groq: [{ steps: [S.say(answer), S.error(said)] }] },
    { openai: [{ steps: [S.say(answer), S.stall] }] }
  ]

  it.effect.each(ways)("$name: no credential anywhere, no text in messages, logs and spans", ({ backend, execution }) =>
    Effect.gen(function* () {
      for (const script of scripts) {
        for (const restarts of [0, 1]) {
          const provider = S.scripted(script)
          const plain = limits(Route.fallback(keyed(Provider.openai), keyed(Provider.groq)))
          const chain = restarts === 0 ? plain : Route.restart(plain, restarts)
          const program = Effect.flatMap(drive(consume(chain, prompt, { execution })), ({ exit }) => exit)
          const traces = yield* traced(Effect.provide(program, backend.layer(provider.upstreams)))
          assertSilent(traces, [key])
          if (Exit.isFailure(traces.exit)) return assert.fail("a defect")
          const { attempts, error, trail } = traces.exit.value
          assertSilent({ ...traces, text: [error, attempts, trail].map((u) => inspect(u, { depth: 9 })).join() }, [key])
          for (const text of [
            ...traces.logs,
            error?.message ?? "",
            ...attempts.map(({ error }) => error?.message ?? ""),
            ...traces.spans.map(({ attributes, name }) => name + JSON.stringify([...attributes]))
          ]) {
            assert.notInclude(text, "patient")
          }
          // They were sent, so the assertions above are meaningful.
          assert.strictEqual(provider.bodies[0]?.headers["authorization"], `Bearer ${key}`)
          assert.include(JSON.stringify(provider.bodies[0]?.json), prompt)
        }
      }
    })
  )
})
