/**
 * Recordings: the decisions of a run as JSON, as a story, and as the past of another route.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { GatewayError } from "effect-ai-gateway/GatewayError"
import * as Recording from "effect-ai-gateway/Recording"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { drive as driven } from "./batch/support.ts"
import * as scripted from "./support/scripted.ts"
import { anthropic, client, groq, openai } from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

const drive = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(driven(self, 5), ({ exit }) => exit)

const down: scripted.Line = { status: 503 }
const late = (delay: number): scripted.Line => ({ delay, body: scripted.completion("late") })

type Asking = Route.Route<string, { readonly text: string }>

/** Records one run. */
const recorded = (route: Asking, script: scripted.Script) =>
  Effect.map(
    drive(
      Effect.provide(
        Recording.record(Router.run(route, "my prompt", { quiet: true, budget: "none" })),
        scripted.make(script).layer
      )
    ),
    ({ recordings }) => {
      const [recording] = recordings
      assert.isDefined(recording)
      assert.strictEqual(recordings.length, 1)
      return recording
    }
  )

const told = ({ attempts, duration, outcome, target }: Recording.Replayed) => ({
  outcome,
  target,
  millis: Duration.toMillis(duration),
  attempts: attempts.map(({ cause, outcome, target }) => `${target} ${cause} ${outcome}`)
})

const retried = Route.retry(openai, { attempts: 2, delay: 100, jitter: 0 })

describe("Recording.record", () => {
  it.effect("gives the exit of the effect and its runs, and not those of others", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make({ openai: [down] })
      const other = Effect.forkChild(Router.run(groq, "hi"))
      const program = Effect.gen(function* () {
        yield* other
        const result = yield* Recording.record(
          Effect.all([Router.run(Route.fallback(openai, groq), "hi", { quiet: true }), Router.run(groq, "hi")])
        )
        yield* Effect.yieldNow
        return result
      })
      const { exit, recordings } = yield* Effect.provide(program, layer)
      assert.isTrue(Exit.isSuccess(exit))
      const ids = Exit.isSuccess(exit) ? exit.value.map(({ eventId }) => eventId) : []
      assert.deepStrictEqual(
        recordings.map(({ eventId }) => eventId),
        ids
      )
      assert.deepStrictEqual(
        recordings.map(({ attempts }) => attempts.length),
        [2, 1]
      )
    })
  )

  it.effect("records a run that fails, and one in which nothing was sent", () =>
    Effect.gen(function* () {
      const failed = yield* recorded(openai, { openai: [down] })
      assert.deepInclude(failed.end, { outcome: "failure" })
      const { layer } = scripted.make({ openai: [down] })
      const open = Route.circuitBreaker(openai, { minimumCalls: 1 })
      const program = Effect.andThen(
        Effect.exit(Router.run(open, "hi", { quiet: true })),
        Recording.record(Router.run(open, "hi", { quiet: true }))
      )
      const { recordings } = yield* Effect.provide(program, layer)
      assert.strictEqual(recordings.length, 1)
      assert.strictEqual(recordings[0]?.attempts.length, 0)
    })
  )

  it.effect("records runs in which nothing was sent, also where their failure was handled or their caller left", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make({ openai: [late(100)] })
      const busy = Route.limits(openai, { concurrency: 1 })
      const tiny = Route.limits(groq, { tokensPerMinute: 1 })
      const program = Effect.gen(function* () {
        const holder = yield* Effect.forkChild(Router.run(busy, "hi"), { startImmediately: true })
        const outer = yield* Recording.record(
          Effect.gen(function* () {
            yield* Effect.exit(Router.run(tiny, "hi"))
            const waiting = yield* Effect.forkChild(Router.run(busy, "hi"), { startImmediately: true })
            const inner = yield* Recording.record(Effect.ignore(Effect.scoped(Router.open(tiny, "hi"))))
            yield* Fiber.interrupt(waiting)
            return inner.recordings.length
          })
        )
        yield* Fiber.join(holder)
        return outer
      })
      const { exit, recordings } = yield* drive(Effect.provide(program, layer))
      assert.deepStrictEqual(exit, Exit.succeed(1))
      assert.deepStrictEqual(
        recordings.map(({ attempts, end, mode }) => `${mode} ${attempts.length} ${end?.outcome}`),
        ["run 0 failure", "run 0 interrupted", "stream 0 failure"]
      )
    })
  )

  it.effect("is JSON without the prompt and the answer, and comes back from it", () =>
    Effect.gen(function* () {
      const recording = yield* recorded(Route.fallback(anthropic, openai), { openai: [late(5)] })
      const text = JSON.stringify(recording)
      assert.notMatch(text, /my prompt|late|answer of/)
      assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(Recording.schema)(JSON.parse(text)), recording)
    })
  )
})

describe("Recording.fromEvents", () => {
  it.effect("keeps runs that follow each other under one event id", () =>
    Effect.gen(function* () {
      const options = { quiet: true, options: { eventId: "a-conversation" } }
      const both = Effect.andThen(Effect.exit(Router.run(openai, "hi", options)), Router.run(openai, "hi", options))
      const { recordings } = yield* Effect.provide(Recording.record(both), scripted.make({ openai: [down] }).layer)
      assert.deepStrictEqual(
        recordings.map(({ end }) => end?.outcome),
        ["failure", "success"]
      )
    })
  )
})

describe("Recording.explain", () => {
  it.effect("tells the story of a run with its times", () =>
    Effect.gen(function* () {
      const recording = yield* recorded(Route.fallback(retried, groq), { openai: [down, down], groq: [late(20)] })
      const [first, ...rest] = Recording.explain(recording).split("\n")
      assert.match(first ?? "", /^run [\da-f-]{36}: answered by groq\/m after 120 ms, 3 attempts$/)
      assert.deepStrictEqual(rest, [
        "    0 ms  RunStarted: run, executed by the client",
        "    0 ms  AttemptStarted openai/m: number 1, first",
        "    0 ms  AttemptEnded openai/m: failure after 0 ms: provider unavailable",
        "    0 ms  Waiting openai/m: for 100 ms",
        "  100 ms  AttemptStarted openai/m: number 2, retry",
        "  100 ms  AttemptEnded openai/m: failure after 0 ms: provider unavailable",
        "  100 ms  AttemptStarted groq/m: number 3, fallback",
        "  120 ms  AttemptEnded groq/m: success after 20 ms",
        "  120 ms  RunEnded groq/m: success after 120 ms"
      ])
    })
  )
})

describe("Recording.replay", () => {
  const yesterday = Effect.suspend(() => recorded(Route.fallback(retried, groq), { openai: [down, late(300)] }))

  it.effect("runs the same route to the same end in the same time", () =>
    Effect.gen(function* () {
      const recording = yield* yesterday
      assert.deepStrictEqual(told(yield* Recording.replay(recording, Route.fallback(retried, groq), "hi")), {
        outcome: "success",
        target: "openai/m",
        millis: 400,
        attempts: ["openai/m first failure", "openai/m retry success"]
      })
    })
  )

  it.effect("gives a target that was called twice at once its outcomes in the order of the calls", () =>
    Effect.gen(function* () {
      const hedged = Route.hedge(openai, { after: 50 })
      const recording = yield* recorded(hedged, { openai: [late(200), { ...down, delay: 10 }] })
      const { attempts, outcome } = yield* Recording.replay(recording, hedged, "hi")
      assert.strictEqual(outcome, "success")
      assert.deepStrictEqual(
        attempts.map(({ cause, outcome }) => `${cause} ${outcome}`),
        ["first success", "hedge failure"]
      )
    })
  )

  it.effect("gives failures with their reasons, so that breakers open as they did", () =>
    Effect.gen(function* () {
      const guarded = Route.circuitBreaker(Route.retry(openai, { attempts: 3, delay: 10, jitter: 0 }), {
        minimumCalls: 2
      })
      const route = Route.fallback(guarded, groq)
      const recording = yield* recorded(route, { openai: [down, down, down] })
      const { attempts } = yield* Recording.replay(recording, route, "hi")
      assert.deepStrictEqual(
        attempts.map(({ error, status, target }) => [target, error?._tag, status]),
        [
          ["openai/m", "ProviderUnavailable", 503],
          ["openai/m", "ProviderUnavailable", 503],
          ["groq/m", undefined, 200]
        ]
      )
    })
  )

  it.effect("tells what a changed route would have done, and repeats the last outcome", () =>
    Effect.gen(function* () {
      const recording = yield* yesterday
      const impatient = Route.timeout(Route.retry(openai, { attempts: 3, delay: 50, jitter: 0 }), 200)
      assert.deepStrictEqual(told(yield* Recording.replay(recording, impatient, "hi")), {
        outcome: "failure",
        target: undefined,
        millis: 550,
        attempts: ["openai/m first failure", "openai/m retry failure", "openai/m retry failure"]
      })
    })
  )

  it.effect("ends at a target without outcomes, and at one that was interrupted", () =>
    Effect.gen(function* () {
      const recording = yield* yesterday
      assert.deepInclude(told(yield* Recording.replay(recording, Route.fallback(openai, groq), "hi")), {
        outcome: "unknown",
        target: "groq/m"
      })
      const hedged = Route.hedge(Route.fallback(openai, groq), { after: 50 })
      const lost = yield* recorded(hedged, { openai: [late(500)], groq: [late(100)] })
      assert.deepInclude(told(yield* Recording.replay(lost, hedged, "hi")), {
        outcome: "success",
        target: "groq/m",
        millis: 150
      })
      // It had been called for 150 ms, and no longer.
      assert.deepInclude(told(yield* Recording.replay(lost, openai, "hi")), { outcome: "unknown", target: "openai/m" })
    })
  )

  it.effect("keeps the hints of failures, and needs no gateway for days of waiting", () =>
    Effect.gen(function* () {
      const throttled = { status: 429, headers: { "retry-after": "7200" } }
      const recording = yield* recorded(openai, { openai: [throttled] })
      const patient = Route.retry(openai, { attempts: 2, maxDelay: "3 hours" })
      const { attempts, duration } = yield* Recording.replay(recording, patient, "hi")
      assert.strictEqual(attempts.length, 2)
      assert.strictEqual(Duration.toMillis(duration), 7_200_000)
    })
  )

  it.effect("replays a recording that was stored", () =>
    Effect.gen(function* () {
      const recording = yield* yesterday
      const stored = yield* Schema.decodeUnknownEffect(Recording.schema)(JSON.parse(JSON.stringify(recording)))
      const direct = told(yield* Recording.replay(recording, retried, "hi"))
      assert.deepStrictEqual(told(yield* Recording.replay(stored, retried, "hi")), direct)
    })
  )

  it.effect("takes a stream as answered by its first delta", () =>
    Effect.gen(function* () {
      const provider = S.scripted({ openai: [{ steps: S.words("all ", "of it") }] })
      const { recordings } = yield* Effect.provide(
        Recording.record(Stream.runDrain(Router.stream(openai, "hi", { execution: "client" }))),
        client.backend.layer(provider.upstreams)
      )
      const [recording] = recordings
      assert.isDefined(recording)
      assert.strictEqual(recording.mode, "stream")
      assert.deepInclude(told(yield* Recording.replay(recording, openai, "hi")), { outcome: "success" })
    })
  )

  it.effect("refuses what is no recording, a bad route and bad options, and names the field", () =>
    Effect.gen(function* () {
      const recording = yield* yesterday
      const field = (self: Effect.Effect<unknown, GatewayError>) =>
        Effect.map(Effect.flip(self), ({ reason }) => (reason._tag === "InvalidRequest" ? reason.field : reason._tag))
      const broken = { ...recording, attempts: [{ attempt: { target: "openai/m" } }] }
      // @ts-expect-error: not an attempt
      assert.strictEqual(yield* field(Recording.replay(broken, openai, "hi")), "recording")
      assert.strictEqual(
        yield* field(Recording.replay(recording, Route.retry(openai, { attempts: 0 }), "hi")),
        "retry.attempts"
      )
      const budget = { routerBudget: { ratio: 7 } }
      assert.strictEqual(yield* field(Recording.replay(recording, openai, "hi", budget)), "budget.ratio")
    })
  )
})
