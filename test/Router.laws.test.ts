import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import type { Attempt, GatewayError } from "effect-ai-gateway/GatewayError"
import * as GatewayOptions from "effect-ai-gateway/GatewayOptions"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { drive } from "./support/drive.ts"
import { assertSilent, traced } from "./support/leaks.ts"
import {
  build,
  type Input,
  inputs,
  leafOf,
  listOf,
  odd,
  oneOf,
  type Palette,
  randomSpecs,
  type Spec
} from "./support/randomRoutes.ts"
import { model, type Says } from "./support/routeModel.ts"
import { completion, type Line, make, providersOf } from "./support/scripted.ts"

/** One line of a random script: the outcome, its time, and the wait that it asks for. */
interface Event {
  readonly tag: Says["tag"]
  readonly millis: number
  readonly hint: number
}

// Durations of attempts never add up to a limit of a route, so that no two timers end at once.
const events = (
  hints: readonly [number, ...ReadonlyArray<number>],
  tags: readonly [Event["tag"], ...ReadonlyArray<Event["tag"]>]
) =>
  listOf(
    Arbitrary.all({ tag: oneOf(...tags), millis: oneOf(0, 0, 37, 911, 2903, 60_013), hint: oneOf(...hints) }),
    6,
    14
  )

const failing = [
  "ProviderUnavailable",
  "RateLimited",
  "RateLimited",
  "TransportFailure",
  "Unauthorized",
  "InvalidResponse"
] as const

const lineOf = ({ hint, millis, tag }: Event): Line => {
  const delay = millis === 0 ? {} : { delay: millis }
  switch (tag) {
    case "ok":
      return { ...delay, body: completion("an answer") }
    case "odd":
      return { ...delay, body: completion(odd) }
    case "RateLimited":
      return { ...delay, status: 429, ...(hint > 0 && { headers: { "retry-after": String(hint / 1000) } }) }
    case "TransportFailure":
      return { ...delay, reset: true }
    case "Unauthorized":
      return { ...delay, status: 401 }
    case "InvalidRequest":
      return { ...delay, status: 413 }
    case "InvalidResponse":
      return { ...delay, text: "<html>no</html>" }
    default:
      return { ...delay, status: 503 }
  }
}

const saysOf = ({ hint, millis, tag }: Event): Says => ({
  tag,
  millis,
  hint: tag === "RateLimited" && hint > 0 ? hint : undefined
})

const after: Event = { tag: "ProviderUnavailable", millis: 0, hint: 0 }

const palette: Palette = {
  attempts: [1, 2, 3],
  delays: [0, 100, 1000, 3000],
  jitters: [0],
  timeouts: [undefined, undefined, 1000, 5000],
  deadlines: [undefined, undefined, undefined, 4000, 20_000, 90_000],
  depth: 3,
  leaves: 4
}

const hasRepeats = ({ shape }: Spec): boolean =>
  (shape._tag === "Leaf" && shape.repeated) ||
  (shape._tag === "Fallback" && shape.routes.some(hasRepeats)) ||
  (shape._tag === "When" && [shape.onTrue, shape.onFalse].some(hasRepeats))

/** Routes whose targets are all different. */
const distinct = (palette: Palette) => Arbitrary.filter(randomSpecs(palette), (spec) => !hasRepeats(spec))

/** A gateway that answers by a list of events, for any target. */
const peer = (script: ReadonlyArray<Event>) => {
  let at = 0
  return make(() => lineOf(script[at++] ?? after))
}

const attemptsOf = (result: Result.Result<Router.Routed<unknown>, GatewayError>): ReadonlyArray<Attempt> =>
  Result.isSuccess(result) ? result.success.attempts : (result.failure.attempts ?? [])

/** Runs a route to its end, and returns all of its traces. */
const runAll = (route: Route.Route<Input, string>, input: Input, script: ReadonlyArray<Event>, seed = "s") => {
  const { interrupted, layer, seen } = peer(script)
  return Effect.gen(function* () {
    const { attempts: trail, value: driven } = yield* LogTrail.collect(drive(Effect.result(Router.run(route, input))))
    const { exit, millis, startedAt } = driven
    if (Exit.isFailure(exit)) return assert.fail(`a defect: ${Cause.pretty(exit.cause)}`)
    return { result: exit.value, attempts: attemptsOf(exit.value), trail, millis, startedAt, seen, interrupted }
  }).pipe(Effect.provide(layer), Random.withSeed(seed))
}

const endOf = ({ duration, startedAt }: Attempt): number => startedAt + Duration.toMillis(duration)

describe("laws of a run", () => {
  it.effect.prop(
    "attempts, waits and the answer match the model",
    {
      spec: distinct(palette),
      input: inputs,
      script: events([0, 1000, 2000, 4500], [...failing, ...failing, "odd", "odd", "InvalidRequest", "ok"])
    },
    ({ input, script, spec }) =>
      Effect.gen(function* () {
        const { route } = build(spec)
        let at = 0
        const expected = model(spec, input, () => saysOf(script[at++] ?? after))
        const { attempts, millis, result, startedAt } = yield* runAll(route, input, script)
        assert.deepStrictEqual(
          attempts.map((one) => ({
            key: one.target,
            startedAt: one.startedAt - startedAt,
            millis: Duration.toMillis(one.duration),
            outcome: one.error?._tag ?? "ok"
          })),
          [...expected.made]
        )
        assert.strictEqual(Result.isSuccess(result) ? result.success.target : undefined, expected.answeredBy)
        assert.strictEqual(millis, expected.millis)
      }),
    { arbitrary: { runs: 250, seed: 11 } }
  )

  it.effect.prop(
    "with long hints and random waits, policies, hints and deadlines hold, and every attempt is reported",
    {
      spec: randomSpecs({ ...palette, jitters: [0, 0.5, 1] }),
      input: inputs,
      script: events([0, 2000, 8000, 30_000], [...failing, ...failing, "odd", "odd", "InvalidRequest", "ok"])
    },
    ({ input, script, spec }) =>
      Effect.gen(function* () {
        const { facts, route } = build(spec)
        const { attempts, interrupted, millis, result, seen, trail } = yield* runAll(route, input, script)
        const bounds = Route.bounds(route)

        // Never more than the policies allow, also after returning to a target.
        assert.isAtMost(attempts.length, bounds.attempts)
        for (const { attempts: most, key } of bounds.targets) {
          assert.isAtMost(attempts.filter(({ target }) => target === key).length, most)
        }
        // Never past the deadline.
        if (spec.deadline !== undefined) assert.isAtMost(millis, spec.deadline)
        assert.isAtMost(
          millis,
          attempts.reduce((sum, one) => sum + Duration.toMillis(one.duration), 0) +
            Duration.toMillis(bounds.waitingWithHints)
        )
        // Never before the hint is over, on a target whose policy heeds it.
        for (const [index, one] of attempts.entries()) {
          const places = facts.filter(({ key }) => key === one.target)
          const heeds = places.length === 1 && places[0]?.policy?.retryAfter !== false
          const next = attempts.slice(index + 1).find(({ target }) => target === one.target)
          if (!heeds || next === undefined || one.error?._tag !== "RateLimited" || one.error.retryAfter === undefined)
            continue
          // Random waits are fractions, and their sums are rounded.
          assert.isAtLeast(next.startedAt - endOf(one), Duration.toMillis(one.error.retryAfter) - 1e-6)
        }
        // One at a time, in order, each reported once, by the result and by the trail.
        for (const [index, one] of attempts.slice(1).entries()) {
          const before = attempts[index]
          // Durations are reported in whole milliseconds, and starts after random waits are fractions.
          if (before !== undefined) assert.isAtLeast(one.startedAt, endOf(before) - 0.5)
        }
        assert.deepStrictEqual(trail, attempts)
        for (const [index, { cause, number, target }] of attempts.entries()) {
          assert.strictEqual(number, index + 1)
          const isAgain = attempts.slice(0, index).some((earlier) => earlier.target === target)
          // A target that is in the route twice may be a fallback of itself.
          if (isAgain && facts.filter(({ key }) => key === target).length > 1) continue
          assert.strictEqual(cause, index === 0 ? "first" : isAgain ? "retry" : "fallback")
        }
        assert.deepStrictEqual(
          seen.map(({ provider }) => `${provider}/m`),
          attempts.map(({ target }) => target)
        )
        const cut = attempts.filter(({ error }) => error?._tag === "Timeout").map(({ provider }) => provider)
        assert.deepStrictEqual(providersOf(interrupted), cut)
        // The last attempt decides.
        const last = attempts.at(-1)
        const failures = attempts.filter(({ outcome }) => outcome === "failure").length
        assert.strictEqual(failures, attempts.length - (Result.isSuccess(result) ? 1 : 0))
        if (Result.isSuccess(result)) {
          assert.strictEqual(last?.outcome, "success")
          assert.strictEqual(result.success.target, last?.target)
          assert.strictEqual(result.success.logId, last?.logId)
        } else {
          assert.strictEqual(result.failure.reason, last?.error)
          assert.strictEqual(result.failure.provider, last?.provider)
        }
        // One event id, and one owner of retries.
        const eventId = Result.isSuccess(result) ? result.success.eventId : result.failure.eventId
        for (const { headers } of seen) {
          assert.strictEqual(headers["cf-aig-event-id"], eventId)
          assert.strictEqual(headers["cf-aig-max-attempts"], "1")
        }
        assert.deepStrictEqual(new Set(attempts.map((one) => one.eventId)), new Set([eventId]))
      }),
    { arbitrary: { runs: 300, seed: 12 } }
  )

  it.effect.prop(
    "an interruption makes no further request, and the attempt in flight is reported as interrupted",
    {
      spec: randomSpecs(palette),
      input: inputs,
      script: events([0, 2000, 30_000], [...failing, ...failing, "ok"]),
      share: oneOf(0, 0.1, 0.25, 0.4, 0.5, 0.7, 0.9, 0.999)
    },
    ({ input, script, share, spec }) =>
      Effect.gen(function* () {
        const { route } = build(spec)
        const whole = yield* runAll(route, input, script)
        const at = Math.floor(whole.millis * share)
        if (whole.millis === 0) return
        const until = whole.startedAt + at
        const before = whole.attempts.filter(({ startedAt }) => startedAt <= until)
        const { interrupted, layer, seen } = peer(script)
        yield* Effect.gen(function* () {
          const { attempts, value } = yield* LogTrail.collect(drive(Router.run(route, input), { interruptAt: at }))
          assert.isTrue(Exit.isFailure(value.exit) && Cause.hasInterruptsOnly(value.exit.cause))
          assert.strictEqual(value.millis, at)
          assert.strictEqual(seen.length, before.length)
          yield* TestClock.adjust("1 hour")
          assert.strictEqual(seen.length, before.length)
          const moved = value.startedAt - whole.startedAt
          const told = (one: Attempt) => [one.target, one.outcome, one.startedAt, endOf(one), one.error?._tag]
          const expected = before.map((one) =>
            endOf(one) <= until
              ? [one.target, one.outcome, one.startedAt + moved, endOf(one) + moved, one.error?._tag]
              : [one.target, "interrupted", one.startedAt + moved, until + moved, undefined]
          )
          assert.deepStrictEqual(attempts.map(told), expected)
          const inFlight = before.filter((one) => endOf(one) > until).map(({ provider }) => provider)
          assert.deepStrictEqual(providersOf(interrupted.slice(interrupted.length - inFlight.length)), inFlight)
        }).pipe(Effect.provide(layer), Random.withSeed("s"))
      }),
    { arbitrary: { runs: 200, seed: 13 } }
  )
})

/** The waits between the attempts of a route that always fails. */
const waits = (route: Route.Route<Input, string>, script: ReadonlyArray<Event>, seed: string) =>
  Effect.map(runAll(route, { prompt: "a prompt", bits: [] }, script, seed), ({ attempts }) =>
    attempts.slice(1).map((one, index) => {
      const before = attempts[index]
      return before === undefined ? Number.NaN : one.startedAt - endOf(before)
    })
  )

const unavailable: Event = { tag: "ProviderUnavailable", millis: 0, hint: 0 }
const limited = (hint: number): Event => ({ tag: "RateLimited", millis: 0, hint })

describe("waits", () => {
  it.effect.prop(
    "a schedule decides how often and how long, and a hint is a lower bound",
    {
      base: oneOf(100, 250, 1000),
      times: oneOf(0, 1, 3, 6),
      kind: oneOf<"exponential" | "spaced" | "fibonacci">("exponential", "spaced", "fibonacci"),
      hints: listOf(oneOf(0, 0, 1000, 7000), 6, 6)
    },
    ({ base, hints, kind, times }) =>
      Effect.gen(function* () {
        const growing = {
          exponential: Schedule.exponential(base),
          spaced: Schedule.spaced(base),
          fibonacci: Schedule.fibonacci(base)
        }[kind]
        const schedule = Schedule.max([growing, Schedule.recurs(times)])
        const delays = {
          exponential: [1, 2, 4, 8, 16, 32],
          spaced: [1, 1, 1, 1, 1, 1],
          fibonacci: [1, 1, 2, 3, 5, 8]
        }[kind].map((factor) => factor * base)
        const script = hints.map((hint) => (hint === 0 ? unavailable : limited(hint)))
        const measured = yield* waits(Route.retry(leafOf("p0"), schedule), script, "s")
        assert.deepStrictEqual(
          measured,
          delays.slice(0, times).map((delay, index) => Math.max(delay, hints[index] ?? 0))
        )
      }),
    { arbitrary: { runs: 60, seed: 21 } }
  )

  it.effect("a schedule resumes where it was when its target was deferred because of a long hint", () =>
    Effect.gen(function* () {
      const route = Route.fallback(leafOf("p0"), leafOf("p1")).pipe(Route.retry(Schedule.recurs(2)))
      const script = [limited(30_000), ...Array.from({ length: 9 }, () => unavailable)]
      const { attempts } = yield* runAll(route, { prompt: "a prompt", bits: [] }, script)
      assert.deepStrictEqual(
        attempts.map(({ target }) => target),
        ["p0/m", "p1/m", "p1/m", "p1/m", "p0/m", "p0/m"]
      )
    })
  )

  it.effect("a long hint is waited for when no outer fallback continues after it", () =>
    Effect.gen(function* () {
      const inner = Route.fallback(leafOf("p0")).pipe(Route.fallbackOn(["RateLimited"]), Route.retry({ attempts: 2 }))
      const route = Route.fallback(inner, leafOf("p1")).pipe(Route.fallbackOn([]))
      const { attempts, millis } = yield* runAll(route, { prompt: "a prompt", bits: [] }, [
        limited(30_000),
        { tag: "ok", millis: 0, hint: 0 }
      ])
      assert.deepStrictEqual(
        attempts.map(({ outcome, target }) => [target, outcome]),
        [
          ["p0/m", "failure"],
          ["p0/m", "success"]
        ]
      )
      assert.strictEqual(millis, 30_000)
    })
  )

  it.effect("a long hint moves on when an outer fallback continues after it", () =>
    Effect.gen(function* () {
      const inner = Route.fallback(leafOf("p0"), leafOf("p1")).pipe(Route.fallbackOn([]), Route.retry({ attempts: 2 }))
      const { attempts, millis } = yield* runAll(
        Route.fallback(inner, leafOf("p2")),
        { prompt: "a prompt", bits: [] },
        [limited(30_000), { tag: "ok", millis: 0, hint: 0 }]
      )
      assert.deepStrictEqual(
        attempts.map(({ target }) => target),
        ["p0/m", "p2/m"]
      )
      assert.strictEqual(millis, 0)
    })
  )

  it.effect("targets that are cooling down are called after those that are ready, the first to be ready first", () =>
    Effect.gen(function* () {
      const inner = Route.fallback(leafOf("p0"), leafOf("p1"), leafOf("p2"))
      const route = Route.fallback(inner, leafOf("p3")).pipe(Route.retry({ attempts: 2, delay: 0 }))
      const script = [40_000, 20_000, 30_000].map(limited)
      const { attempts, startedAt } = yield* runAll(route, { prompt: "a prompt", bits: [] }, script)
      assert.deepStrictEqual(
        attempts.slice(3).map((one) => [one.target, one.startedAt - startedAt]),
        [
          ["p3/m", 0],
          ["p3/m", 0],
          ["p1/m", 20_000],
          ["p2/m", 30_000],
          ["p0/m", 40_000]
        ]
      )
    })
  )

  it.effect.prop(
    "jitter shortens a wait by at most its share, and never lengthens it",
    {
      jitter: oneOf(0.1, 0.5, 1),
      delay: oneOf(100, 1000),
      backoff: oneOf<"constant" | "linear" | "exponential">("constant", "linear", "exponential"),
      seed: oneOf("a", "b", "c", "d", "e")
    },
    ({ backoff, delay, jitter, seed }) =>
      Effect.gen(function* () {
        const route = Route.retry(leafOf("p0"), { attempts: 9, delay, backoff, jitter })
        const measured = yield* waits(route, [], seed)
        const full = yield* waits(Route.retry(leafOf("p0"), { attempts: 9, delay, backoff }), [], seed)
        assert.strictEqual(measured.length, 8)
        const shares = measured.map((wait, index) => wait / (full[index] ?? Number.NaN))
        for (const share of shares) {
          assert.isAtMost(share, 1 + 1e-9)
          assert.isAtLeast(share, 1 - jitter - 1e-9)
        }
        // Random for each wait, over the full width.
        assert.isAtLeast(new Set(shares).size, 7)
        assert.isAbove(Math.max(...shares) - Math.min(...shares), jitter / 4)
      }),
    { arbitrary: { runs: 30, seed: 22 } }
  )
})

const someOptions: Arbitrary.Arbitrary<GatewayOptions.Input> = Arbitrary.all({
  metadata: oneOf<GatewayOptions.Metadata | undefined>(undefined, { a: 1 }, { a: 2, b: "x" }, { b: "y", c: true }),
  cache: oneOf<GatewayOptions.Input["cache"]>(
    undefined,
    { ttl: "1 hour" },
    { ttl: "off" },
    { key: "k" },
    { skip: false }
  ),
  log: oneOf<GatewayOptions.Input["log"]>(undefined, { collect: true }, { payload: false }, { collect: false }),
  retries: oneOf<GatewayOptions.Input["retries"]>(
    undefined,
    undefined,
    { attempts: 3 },
    { delay: 200 },
    { backoff: "linear" }
  ),
  timeout: oneOf<GatewayOptions.Input["timeout"]>(undefined, 1000, 2000),
  byokAlias: oneOf(undefined, "one", "two"),
  noWholesale: oneOf(undefined, true, false),
  customCost: oneOf<GatewayOptions.Input["customCost"]>(undefined, { totalCost: 1 }, { perTokenIn: 2 })
})

describe("options of a run", () => {
  it.effect.prop(
    "merge outermost, and reach every request",
    { own: someOptions, outer: someOptions, inner: someOptions },
    ({ inner, outer, own }) => {
      const { layer, seen } = peer([unavailable])
      return Effect.gen(function* () {
        const route = Route.fallback(leafOf("p0").pipe(Route.options(inner)), leafOf("p1")).pipe(Route.options(outer))
        const { exit } = yield* drive(Router.run(route, { prompt: "a prompt", bits: [] }, { options: own }))
        assert.isTrue(Exit.isFailure(exit))
        const all = GatewayOptions.merge(GatewayOptions.normalize(own), GatewayOptions.normalize(outer))
        const expected = [GatewayOptions.merge(all, GatewayOptions.normalize(inner)), all]
        for (const [index, { headers }] of seen.entries()) {
          const eventId = headers["cf-aig-event-id"] ?? ""
          const options = { ...expected[index], eventId, retries: { attempts: 1, ...expected[index]?.retries } }
          const sent = Object.entries(headers).filter(([name]) => name.startsWith("cf-aig-"))
          assert.deepStrictEqual(Object.fromEntries(sent), GatewayOptions.toHeaders(options))
        }
        assert.strictEqual(seen.length, 2)
      }).pipe(Effect.provide(layer))
    },
    { arbitrary: { runs: 100, seed: 31 } }
  )

  it.effect("one event id for all requests of a run: the run's own, the route's, or a new one", () => {
    const { layer, seen } = peer([])
    return Effect.gen(function* () {
      const named = leafOf("p0").pipe(Route.options({ eventId: "route" }))
      const run = (route: Route.Route<Input, string>, options?: GatewayOptions.Input) =>
        Effect.gen(function* () {
          const before = seen.length
          yield* drive(Router.run(route, { prompt: "a prompt", bits: [] }, { options }))
          const own = seen.slice(before)
          const ids = new Set(own.map(({ headers }) => headers["cf-aig-event-id"]))
          assert.strictEqual(own.length, 4)
          assert.strictEqual(ids.size, 1)
          return [...ids][0]
        })
      const both = Route.fallback(named, leafOf("p1")).pipe(Route.retry({ attempts: 2 }))
      assert.strictEqual(yield* run(both), "route")
      assert.strictEqual(yield* run(both, { eventId: "run" }), "run")
      const plain = Route.fallback(leafOf("p0"), leafOf("p1")).pipe(Route.retry({ attempts: 2 }))
      const made = [yield* run(plain), yield* run(plain), yield* run(plain)]
      assert.strictEqual(new Set(made).size, 3)
    }).pipe(Effect.provide(layer))
  })
})

const prompt = "the prompt of a patient"
const answer = "the answer for a patient"
const secrets = {
  bearer: "tok.4f9a8b7c6d5e4f3a2b1c",
  plain: "0a1b2c3d4e5f60718293a4b5",
  gateway: "gw~7766554433221100aabb"
}
const said = `no access with Bearer ${secrets.bearer}, ${secrets.plain} or ${secrets.gateway} for: ${prompt}`

/** The failure text of a careless provider. */
const echoes: ReadonlyArray<Line> = [
  { body: { error: { message: said } } },
  { body: { error: { message: said, type: secrets.plain, code: secrets.bearer } } },
  { body: [{ error: { message: said, status: secrets.gateway, details: [{ reason: secrets.plain }] } }] },
  { body: { success: false, errors: [{ code: 2005, message: said }] } },
  { body: { success: false, error: [{ code: 2009, message: said }], result: { key: secrets.plain } } },
  { body: { error: { message: JSON.stringify({ error: { message: said } }), metadata: { raw: said } } } },
  { body: { choices: said } },
  { body: { choices: [{ message: { content: { key: secrets.bearer } } }] } },
  { body: said },
  { text: said },
  { text: `<html><title>${said}</title>${said}</html>` },
  { text: `{"error": "${said}` },
  { text: "" }
]

const withKeys = (provider: string) =>
  leafOf(provider, {
    headers: { authorization: Redacted.make(`Bearer ${secrets.bearer}`), "x-api-key": Redacted.make(secrets.plain) }
  })

const rendered = (value: unknown): string =>
  [JSON.stringify(value), inspect(value, { depth: 10, showHidden: true, maxStringLength: null })].join("\n")

const echoing = Arbitrary.all({
  echo: oneOf<Line>({ body: { error: { message: "no" } } }, ...echoes),
  status: oneOf(200, 400, 401, 402, 403, 404, 408, 413, 418, 422, 429, 500, 503, 529)
})

describe("the traces of a run", () => {
  it.effect.prop(
    "hold no credential, whatever the provider echoes, and one warning for recovered failures, without prompt or answer",
    { spec: randomSpecs(palette), input: inputs, script: listOf(echoing, 1, 8), recovers: oneOf(true, true, false) },
    ({ input, recovers, script, spec }) => {
      let at = 0
      const { layer, seen } = make(
        () => {
          const one = script[at++]
          if (one === undefined) return recovers ? { body: completion(answer) } : { status: 503, text: said }
          return { ...one.echo, status: one.status }
        },
        "client",
        { token: Redacted.make(secrets.gateway) }
      )
      const { route } = build(spec, withKeys)
      return Effect.gen(function* () {
        const logs: Array<{ readonly level: string; readonly text: string }> = []
        const logger = Logger.make((options) => {
          const text = Logger.formatJson.log(options) + Logger.formatLogFmt.log(options)
          logs.push({ level: options.logLevel, text })
        })
        let attempts: ReadonlyArray<Attempt> = []
        const program = Effect.gen(function* () {
          const collected = yield* LogTrail.collect(drive(Router.run(route, { ...input, prompt })))
          attempts = collected.attempts
          return yield* collected.value.exit
        })
        const traces = yield* traced(
          program.pipe(
            Effect.provide(Logger.layer([logger])),
            Effect.provideService(References.MinimumLogLevel, "All"),
            Effect.ensuring(Effect.suspend(() => Effect.logInfo("what an application prints", attempts)))
          )
        )
        assertSilent(traces, Object.values(secrets))
        assertSilent({ ...traces, text: rendered(attempts) }, Object.values(secrets))
        // They were sent, so the assertions above are meaningful.
        for (const { headers } of seen) {
          assert.strictEqual(headers["authorization"], `Bearer ${secrets.bearer}`)
          assert.strictEqual(headers["x-api-key"], secrets.plain)
          assert.strictEqual(headers["cf-aig-authorization"], `Bearer ${secrets.gateway}`)
        }
        const routed = Exit.isSuccess(traces.exit) ? traces.exit.value : undefined
        const failed = Exit.isFailure(traces.exit) ? Option.getOrThrow(Exit.findErrorOption(traces.exit)) : undefined
        const warnings = logs.filter(({ level }) => level !== "Debug" && level !== "Trace")
        assert.deepStrictEqual(
          warnings.map(({ level }) => level),
          routed !== undefined && attempts.length > 1 ? ["Warn"] : []
        )
        for (const { text } of logs) {
          for (const word of [prompt, answer, "patient", ...Object.values(secrets)]) assert.notInclude(text, word)
        }
        for (const { error } of attempts) assert.notInclude(error?.message ?? "", "patient")
        assert.notInclude(failed?.message ?? "", "patient")
        if (routed !== undefined) assert.strictEqual(routed.value, answer)
      }).pipe(Effect.provide(layer))
    },
    { arbitrary: { runs: 200, seed: 41 } }
  )

  it.effect("name each target that failed and why in a warning", () => {
    const lines: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => {
      lines.push(`${logLevel} ${JSON.stringify(message)}`)
    })
    const { layer } = peer([
      unavailable,
      { ...unavailable, tag: "TransportFailure" },
      { tag: "ok", millis: 0, hint: 0 },
      unavailable,
      { tag: "ok", millis: 0, hint: 0 }
    ])
    const route = Route.fallback(leafOf("p0"), leafOf("p1").pipe(Route.retry({ attempts: 2 })))
    return Effect.gen(function* () {
      yield* drive(Router.run(route, { prompt, bits: [] }))
      assert.deepStrictEqual(lines, [
        `Warn ["answered by p1/m after 2 failed attempts: p0/m: provider unavailable; p1/m: transport failed (reset)"]`
      ])
      yield* drive(Router.run(route, { prompt, bits: [] }, { quiet: true }))
      assert.strictEqual(lines.length, 1)
    }).pipe(Effect.provide(layer), Effect.provide(Logger.layer([logger])))
  })
})
