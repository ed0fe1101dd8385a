/**
 * Metrics from events that are made by hand: names, units and buckets of the conventions, and labels with few values.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import { type Attempt, RateLimited } from "effect-ai-gateway/GatewayError"
import type { AttemptEnded, AttemptStarted, BreakerPhase, RouterEvent } from "effect-ai-gateway/RouterEvent"
import * as RouterMetrics from "effect-ai-gateway/RouterMetrics"

const at = 0
const eventId = "event-1"
const target = "tenant-7"

const started = (facts: Partial<AttemptStarted> = {}): RouterEvent => ({
  _tag: "AttemptStarted",
  at,
  eventId,
  target,
  number: 1,
  cause: "first",
  provider: "grok",
  model: "grok-4",
  ...facts
})

const ended = (facts: Partial<Attempt> = {}, rest: Partial<AttemptEnded> = {}): RouterEvent => ({
  _tag: "AttemptEnded",
  at,
  eventId,
  target,
  mode: "run",
  attempt: {
    target,
    number: 1,
    cause: "first",
    provider: "grok",
    model: "answered-by-whom",
    endpoint: "v1/chat/completions",
    outcome: "success",
    startedAt: 0,
    duration: Duration.millis(1500),
    ...facts
  },
  ...rest
})

const breaker = (from: BreakerPhase, to: BreakerPhase, key = target): RouterEvent => ({
  _tag: "BreakerChanged",
  at,
  target: key,
  provider: "grok",
  model: "grok-4",
  from,
  to
})

/** The series of the events: a line for each, with its labels in order of name. */
const seriesOf = (events: ReadonlyArray<RouterEvent>) =>
  Effect.gen(function* () {
    const record = yield* RouterMetrics.make
    events.forEach(record)
    return (yield* Metric.snapshot).map((series) => {
      const { unit, ...labels } = series.attributes ?? {}
      const { state } = series
      const value =
        "count" in state && "sum" in state
          ? `${state.count} of ${state.sum}`
          : "count" in state
            ? `${state.count}`
            : "value" in state
              ? `${state.value}`
              : "?"
      const shown = Object.keys(labels)
        .sort()
        .map((name) => `${name}=${labels[name]}`)
      return `${series.id} ${unit} [${shown.join(" ")}] ${value}`
    })
  }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))

const model = "gen_ai.provider.name=x_ai gen_ai.request.model=grok-4"
const first = "ai_gateway.attempt.cause=first"
const chat = "gen_ai.operation.name=chat"

describe("the metrics of a router", () => {
  it.effect("count an attempt, its time and its tokens under the requested model", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* seriesOf([started(), ended({ usage: { inputTokens: 10, outputTokens: 20 } })]), [
        `ai_gateway.client.attempts {attempt} [${first} ai_gateway.attempt.outcome=success ${model}] 1`,
        `gen_ai.client.operation.duration s [${chat} ${model}] 1 of 1.5`,
        `gen_ai.client.token.usage {token} [${chat} ${model} gen_ai.token.type=input] 1 of 10`,
        `gen_ai.client.token.usage {token} [${chat} ${model} gen_ai.token.type=output] 1 of 20`
      ])
    })
  )

  it.effect("name the reason of a failure", () =>
    Effect.gen(function* () {
      const error = new RateLimited({ origin: "provider", detail: "user 17 asked: tell me a secret" })
      assert.deepStrictEqual(yield* seriesOf([started(), ended({ outcome: "failure", error })]), [
        `ai_gateway.client.attempts {attempt} [${first} ai_gateway.attempt.outcome=failure error.type=RateLimited ${model}] 1`,
        `gen_ai.client.operation.duration s [error.type=RateLimited ${chat} ${model}] 1 of 1.5`
      ])
      const [unknown] = yield* seriesOf([started(), ended({ outcome: "failure" })])
      assert.include(unknown, "error.type=_OTHER")
    })
  )

  it.effect("count a loser of a hedge, but not its time", () =>
    Effect.gen(function* () {
      const events = [
        started(),
        started({ number: 2, cause: "hedge" }),
        ended({ number: 2, cause: "hedge", outcome: "interrupted", superseded: true })
      ]
      assert.deepStrictEqual(yield* seriesOf(events), [
        `ai_gateway.client.hedges {hedge} [${model}] 1`,
        `ai_gateway.client.attempts {attempt} [ai_gateway.attempt.cause=hedge ai_gateway.attempt.outcome=interrupted ${model}] 1`
      ])
    })
  )

  it.effect("measure the first chunk of streams, and of nothing else", () =>
    Effect.gen(function* () {
      const toOutput = Duration.millis(250)
      const streamed = yield* seriesOf([started(), ended({}, { mode: "stream", toOutput })])
      assert.include(streamed, `gen_ai.client.operation.time_to_first_chunk s [${chat} ${model}] 1 of 0.25`)
      const whole = yield* seriesOf([started(), ended({}, { toOutput })])
      assert.isFalse(whole.some((line) => line.includes("time_to_first_chunk")))
    })
  )

  it.effect("count no tokens of answers out of the gateway's cache", () =>
    Effect.gen(function* () {
      const usage = { inputTokens: 10, outputTokens: 20 }
      const lines = yield* seriesOf([started(), ended({ usage, cacheStatus: "HIT" })])
      assert.isFalse(lines.some((line) => line.includes("token.usage")))
    })
  )

  it.effect("count waits in queues, attempts that were withheld, and cost", () =>
    Effect.gen(function* () {
      const cost = { usd: 0.5, estimatedUsd: 0.25, unpriced: 0 }
      const lines = yield* seriesOf([
        started(),
        ended({ waited: Duration.millis(500), cost }),
        ended({ waited: Duration.micros(20n) }),
        { _tag: "Withheld", at, eventId, target, by: "budget", attempt: "retry" },
        { _tag: "Withheld", at, eventId, target: "never seen", by: "breaker", attempt: "hedge" }
      ])
      assert.includeMembers(lines, [
        `ai_gateway.client.queue.duration s [${model}] 1 of 0.5`,
        `ai_gateway.client.cost {USD} [ai_gateway.cost.basis=reported ${model}] 0.5`,
        `ai_gateway.client.cost {USD} [ai_gateway.cost.basis=estimated ${model}] 0.25`,
        `ai_gateway.client.withheld {attempt} [ai_gateway.withheld.attempt=retry ai_gateway.withheld.by=budget ${model}] 1`,
        "ai_gateway.client.withheld {attempt} [ai_gateway.withheld.attempt=hedge ai_gateway.withheld.by=breaker] 1"
      ])
    })
  )

  it.effect("count the targets whose breaker is not closed", () =>
    Effect.gen(function* () {
      const lines = yield* seriesOf([
        breaker("closed", "open"),
        breaker("closed", "open", "tenant-8"),
        breaker("open", "halfOpen"),
        breaker("open", "closed", "another that had opened before anyone listened")
      ])
      assert.deepStrictEqual(lines, [
        `ai_gateway.client.breaker.state {target} [ai_gateway.breaker.state=open ${model}] 1`,
        `ai_gateway.client.breaker.state {target} [ai_gateway.breaker.state=halfOpen ${model}] 1`
      ])
    })
  )

  it.effect("forget the breaker of a target that the router forgets", () =>
    Effect.gen(function* () {
      const lines = yield* seriesOf([
        breaker("closed", "open"),
        breaker("closed", "exhausted", "tenant-8"),
        { _tag: "StateDropped", at, target: "tenant-8" },
        { _tag: "StateDropped", at, target: "never seen" },
        breaker("open", "halfOpen"),
        breaker("halfOpen", "closed")
      ])
      assert.deepStrictEqual(
        lines.map((line) => line.slice(-2)),
        [" 0", " 0", " 0"]
      )
    })
  )

  it.effect("name the leg that an attempt of the gateway ended with", () =>
    Effect.gen(function* () {
      const of = { target: "second", provider: "groq", model: "whatever the answer says", step: 1 }
      const unseen = yield* seriesOf([started(), ended(of, { target: "second" })])
      assert.include(unseen[1], `[${chat} gen_ai.provider.name=groq] 1`)
      const before = started({ eventId: "event-0", target: "second", provider: "groq", model: "m" })
      const seen = yield* seriesOf([before, started(), ended(of, { target: "second" })])
      assert.include(seen[1], `[${chat} gen_ai.provider.name=groq gen_ai.request.model=m] 1`)
    })
  )

  it.effect("have labels with few values, whatever runs: no key of a target, id, answered model or text", () =>
    Effect.gen(function* () {
      const events = Array.from({ length: 2_000 }, (_, n) => {
        const of = { eventId: `event-${n}`, target: `tenant-${n}` }
        const error = new RateLimited({ origin: "provider", detail: `prompt ${n}`, code: `code-${n}` })
        const facts = {
          target: of.target,
          model: `answered-${n}`,
          logId: `log-${n}`,
          error,
          outcome: "failure" as const
        }
        return [
          started({ ...of, model: `model-${n % 1_500}` }),
          ended(facts, of),
          { _tag: "StateDropped" as const, at, target: of.target }
        ]
      }).flat()
      const lines = yield* seriesOf(events)
      assert.strictEqual(lines.filter((line) => line.startsWith("ai_gateway.client.attempts")).length, 1_001)
      assert.strictEqual(lines.filter((line) => line.includes("gen_ai.request.model=_OTHER]")).length, 2)
      for (const word of ["event-", "tenant-", "answered-", "log-", "prompt", "code-"]) {
        assert.isFalse(
          lines.some((line) => line.includes(word)),
          word
        )
      }
    })
  )

  it.effect("have the buckets of the conventions", () =>
    Effect.gen(function* () {
      yield* Metric.update(RouterMetrics.operationDuration, 1)
      yield* Metric.update(RouterMetrics.timeToFirstChunk, 1)
      yield* Metric.update(RouterMetrics.tokenUsage, 1)
      const bounds = (yield* Metric.snapshot).map(({ state }) =>
        "buckets" in state ? state.buckets.map(([bound]) => bound) : []
      )
      const seconds = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
      const tokens = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864]
      assert.deepStrictEqual(bounds, [seconds, seconds, tokens])
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  )
})
