/** The progress of a job, as shown to a person at a terminal, and in a log file. */
import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as PlatformError from "effect/PlatformError"
import * as Schema from "effect/Schema"
import * as Sink from "effect/Sink"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Terminal from "effect/Terminal"
import * as TestClock from "effect/testing/TestClock"
import { GatewayError, TransportFailure } from "effect-ai-gateway/GatewayError"
import type * as Batch from "../../src/Batch.ts"
import { frame, line, repaint, show, smooth } from "../../src/cli/report/progress.ts"
import * as Figures from "../../src/cli/shared/format.ts"

const startedAt = Date.UTC(2026, 0, 31, 14, 0, 0)
const latency = (p50: number, p99: number) => ({ count: 10, mean: p50, p50, p90: p50, p99, max: p99 })

const nothing: Batch.Progress = {
  state: "running",
  items: 0,
  succeeded: 0,
  deadLetters: 0,
  replayed: { succeeded: 0, deadLetters: 0 },
  duplicates: 0,
  unmet: 0,
  inDoubt: 0,
  resent: 0,
  requests: 0,
  retries: 0,
  fallbacks: 0,
  cacheHits: 0,
  requeued: 0,
  pauses: 0,
  tokensIn: 0,
  tokensOut: 0,
  cost: 0,
  costKnown: 0,
  reasons: {},
  targets: {},
  damage: [],
  startedAt,
  duration: Duration.zero,
  inFlight: 0,
  concurrency: 16,
  perSecond: 0
}

const openai = {
  requests: 420_500,
  failures: { RateLimited: 1200, Timeout: 50 },
  answered: 406_000,
  tokensIn: 12_000_000,
  tokensOut: 4_000_000,
  cost: 12,
  latency: latency(812, 3210)
}
const anthropic = { ...openai, requests: 20_000, failures: {}, answered: 12_000, latency: latency(1100, 4500) }
const silent = { requests: 3, failures: { Timeout: 3 }, answered: 0, tokensIn: 0, tokensOut: 0, cost: 0 }

const busy: Batch.Progress = {
  ...nothing,
  items: 432_000,
  succeeded: 418_000,
  deadLetters: 2000,
  replayed: { succeeded: 11_000, deadLetters: 1000 },
  retries: 1,
  fallbacks: 12_000,
  cacheHits: 3,
  requeued: 7,
  tokensIn: 12_345_678,
  tokensOut: 4_500_000,
  cost: 12.344,
  costKnown: 418_000,
  reasons: { Timeout: 800, RateLimited: 1200 },
  targets: { "anthropic/claude-haiku-4-5": anthropic, "openai/gpt-4.1-mini": openai, "groq/x": silent },
  duration: Duration.seconds(350),
  inFlight: 62,
  concurrency: 64,
  perSecond: 1234.5
}

const view = { total: 1_000_000, perSecond: 1200 }
const wide = { columns: 80, rows: 24, color: false }

describe("figures", () => {
  const cases: ReadonlyArray<readonly [string, string]> = [
    [Figures.whole(0), "0"],
    [Figures.whole(999.6), "1,000"],
    [Figures.whole(1_234_567), "1,234,567"],
    [Figures.short(950), "950"],
    [Figures.short(999.7), "1.00k"],
    [Figures.short(12_345), "12.3k"],
    [Figures.short(999_960), "1.00M"],
    [Figures.rate(0.25), "0.25"],
    [Figures.rate(12.34), "12.3"],
    [Figures.rate(1234.4), "1,234"],
    [Figures.span(0), "0 ms"],
    [Figures.span(0.5), "0.50 ms"],
    [Figures.span(812.4), "812 ms"],
    [Figures.span(999.7), "1.0 s"],
    [Figures.span(59_940), "59.9 s"],
    [Figures.span(59_990), "1 m"],
    [Figures.span(130_000), "2 m 10 s"],
    [Figures.span(3_900_000), "1 h 5 m"],
    [Figures.span(270_000_000), "3 d 3 h"],
    [Figures.dollars(0), "$0.00"],
    [Figures.dollars(1234.5), "$1,234.50"],
    [Figures.dollars(0.00123), "$0.0012"],
    [Figures.dollars(0.5), "$0.50"],
    [Figures.percent(999_999, 1_000_000), "99.9%"],
    [Figures.percent(0, 0), "100%"],
    [Figures.moment(startedAt), "2026-01-31 14:00:00 UTC"],
    [Figures.plain("a\u001b[2Jb\nc\u202ed"), "a\ufffd[2Jb\ufffdc\ufffdd"]
  ]
  for (const [written, expected] of cases) it(expected, () => assert.strictEqual(written, expected))
})

describe("line", () => {
  it("shows all values that are not zero", () => {
    assert.strictEqual(
      line(busy, view),
      "5 m 50 s: 432,000 of 1,000,000 done (43.2%), 1,200/s, 7 m 53 s left, 62 in flight, 12,000 from earlier runs, " +
        "2,000 dead letters (RateLimited 1,200, Timeout 800), 1 retry, 12,000 fallbacks, 3 cache hits, 7 put back, " +
        "12.3M tokens in, 4.50M out, $12.34"
    )
  })
  it("of nothing says so", () => {
    assert.strictEqual(line(nothing, { total: 0, perSecond: 0 }), "0 ms: 0 of 0 done (100%), 0/s")
    assert.strictEqual(line(nothing, { total: undefined, perSecond: 0 }), "0 ms: 0 done, 0/s")
  })
  it("counts items of the journal neither as done nor as remaining", () => {
    const resumed = { ...nothing, succeeded: 100, unmet: 800, duration: Duration.seconds(10) }
    assert.include(line(resumed, { total: 1000, perSecond: 10 }), "100 of 1,000 done (10.0%), 10.0/s, 10.0 s left")
  })
  it("shows until when a quota is exhausted, and no time left", () => {
    const paused: Batch.Progress = { ...busy, state: "paused", pausedUntil: startedAt + 470_000 }
    const said = "paused: a quota is exhausted, next try in 2 m (2026-01-31 14:07:50 UTC)"
    assert.include(line(paused, view), `(43.2%), ${said}, 1,200/s, 62 in flight`)
    assert.include(line({ ...paused, pausedUntil: startedAt }, view), "next try now (")
    assert.include(frame(paused, view, wide), `\n${said}\n`)
    const pausedBy = new GatewayError({ method: "Router.run", reason: new TransportFailure({ kind: "connect" }) })
    assert.include(
      line({ ...paused, pausedFor: "outage", pausedBy }, view),
      "paused: nothing gets through (transport failed (connect)), next try in 2 m"
    )
  })
  it("shows for how many answers the cost is known", () => {
    assert.include(line({ ...busy, costKnown: 209_000 }, view), "$12.34 for 50.0% of the answers")
  })
})

describe("frame", () => {
  it("draws all values that are not zero", () => {
    assert.strictEqual(
      frame(busy, view, wide),
      [
        "█████████████████░░░░░░░░░░░░░░░░░░░░░░░ 43.2% 432,000 of 1,000,000",
        "1,200/s · 7 m 53 s left · 5 m 50 s so far · 62 of 64 in flight",
        "418,000 answered · 2,000 dead letters · 12,000 from earlier runs · 1 retry",
        "  12,000 fallbacks · 3 cache hits · 7 put back",
        "12.3M tokens in · 4.50M tokens out · $12.34",
        "dead letters: RateLimited 1,200 · Timeout 800",
        "target                      answered  failed     p50    p99",
        "openai/gpt-4.1-mini          406,000   1,250  812 ms  3.2 s",
        "anthropic/claude-haiku-4-5    12,000       0   1.1 s  4.5 s",
        "groq/x                             0       3"
      ].join("\n")
    )
  })
  it("of nothing is short", () => {
    assert.strictEqual(
      frame(nothing, { total: undefined, perSecond: 0 }, wide),
      "0 done\n0/s · 0 ms so far · 0 of 16 in flight\n0 answered"
    )
  })
  it("is full only when all is done", () => {
    const almost = frame({ ...nothing, succeeded: 999_999 }, view, wide)
    assert.include(almost, "░ 99.9% 999,999 of 1,000,000")
    const more = frame({ ...nothing, succeeded: 12 }, { total: 10, perSecond: 0 }, wide)
    assert.isTrue(more.startsWith(`${"█".repeat(40)} 100% 12 of 10`))
  })
  it("drops columns and shortens names on a narrow terminal", () => {
    const narrow = frame(busy, view, { columns: 40, rows: 24, color: false }).split("\n")
    assert.deepStrictEqual(narrow.slice(-4), [
      "target                  answered  failed",
      "openai/gpt-4.1-mini      406,000   1,250",
      "anthropic/claude-haik…    12,000       0",
      "groq/x                         0       3"
    ])
  })
  it("shows how many targets have no room", () => {
    const lines = frame(busy, view, { ...wide, rows: 10 }).split("\n")
    assert.strictEqual(lines.length, 9)
    assert.deepStrictEqual(
      lines.slice(-2).map((line) => line.slice(0, 20)),
      ["openai/gpt-4.1-mini ", "and 2 more targets"]
    )
  })
  it("escapes control characters in a target's name", () => {
    const hostile = { "evil\u001b[2J\nname": openai }
    const text = frame({ ...busy, targets: hostile }, view, wide)
    assert.include(text, "evil\ufffd[2J\ufffdname")
    assert.notInclude(text, "\u001b")
  })
  it("has colours only on request", () => {
    const painted = frame(busy, view, { ...wide, color: true })
    assert.include(painted, "\u001b[31m2,000 dead letters\u001b[0m")
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what is looked for
    assert.strictEqual(painted.replace(/\u001b\[\d+m/g, ""), frame(busy, view, wide))
  })

  const Name = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(40))
  it.prop(
    "is never wider or higher than the terminal",
    {
      columns: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 120 })),
      rows: Schema.Int.check(Schema.isBetween({ minimum: 2, maximum: 40 })),
      names: Schema.Array(Name)
    },
    ({ columns, names, rows }) => {
      const targets = Object.fromEntries(names.map((name) => [`${name}宽`, openai]))
      const lines = frame({ ...busy, targets }, view, { columns, rows, color: false }).split("\n")
      assert.isAtMost(lines.length, rows - 1)
      for (const line of lines) {
        const wide = [...line].filter((character) => character === "宽").length
        assert.isAtMost([...line].length + wide, columns, line)
      }
    }
  )
})

describe("smooth", () => {
  const at = (seconds: number, perSecond: number): Batch.Progress => ({
    ...nothing,
    duration: Duration.seconds(seconds),
    perSecond
  })
  it("is the mean at first, and follows a change within a minute", () => {
    let pace = smooth(undefined, at(1, 0))
    for (const second of [2, 3, 4]) pace = smooth(pace, at(second, 100))
    assert.closeTo(pace.perSecond, 75, 0.001)
    for (let second = 5; second <= 100; second++) pace = smooth(pace, at(second, 100))
    assert.closeTo(pace.perSecond, 100, 1)
    pace = smooth(pace, at(101, 1000))
    assert.isBelow(pace.perSecond, 170)
    for (let second = 102; second <= 160; second++) pace = smooth(pace, at(second, 1000))
    assert.closeTo(pace.perSecond, 1000, 50)
  })
  it("survives an event without time", () => {
    const pace = smooth(smooth(undefined, at(0, 5)), at(0, 7))
    assert.isTrue(Number.isFinite(pace.perSecond))
  })
})

describe("repaint", () => {
  it("moves back over the rows that the previous frame now takes", () => {
    assert.strictEqual(repaint(undefined, "a\nb", 10), "a\u001b[K\nb\u001b[K\n")
    assert.strictEqual(repaint("a\nb", "c", 10), "\u001b[2Fc\u001b[K\n\u001b[J")
    // 12 columns that are wrapped into 5 are three rows; colours and empty lines are not counted as text.
    assert.isTrue(repaint("\u001b[32m123456789012\u001b[0m\n\nx", "c", 5).startsWith("\u001b[5F"))
  })
})

/** The text on standard error, and a job whose progress is a list. */
const world = (columns: number, env: Record<string, string> = {}, rows = 24) => {
  const written: Array<string> = []
  const write = (text: string | Uint8Array) =>
    Effect.sync(() => {
      written.push(String(text))
    })
  const stdio = Stdio.layerTest({ stderr: () => Sink.forEach(write) })
  const terminal = Layer.succeed(
    Terminal.Terminal,
    Terminal.make({
      columns: Effect.succeed(columns),
      rows: Effect.succeed(rows),
      size: Effect.die("not asked for"),
      readInput: Effect.die("not asked for"),
      readLine: Effect.die("not asked for"),
      display: () => Effect.die("standard output is the results'")
    })
  )
  return { written, layer: Layer.mergeAll(stdio, terminal, ConfigProvider.layer(ConfigProvider.fromUnknown(env))) }
}

const jobOf = (progress: Batch.Job<unknown, unknown>["progress"]): Batch.Job<unknown, unknown> => ({
  results: Stream.never,
  summary: Effect.never,
  progress,
  drain: Effect.void
})

const atSecond = (seconds: number): Batch.Progress => ({
  ...nothing,
  succeeded: seconds * 2,
  perSecond: 2,
  duration: Duration.seconds(seconds)
})

describe("show", () => {
  it.effect("writes plain lines every ten seconds without a terminal", () =>
    Effect.gen(function* () {
      const { layer, written } = world(80)
      const asked: Array<Duration.Input | undefined> = []
      const job = jobOf((interval) => {
        asked.push(interval)
        return Stream.fromIterable([atSecond(10), { ...atSecond(12), state: "complete" }])
      })
      yield* Effect.provide(show(job, { total: 24, interactive: false }), layer)
      assert.deepStrictEqual(asked, ["10 seconds"])
      assert.deepStrictEqual(written, [
        "10.0 s: 20 of 24 done (83.3%), 2.0/s, 2.0 s left\n",
        "12.0 s: 24 of 24 done (100%), complete, 2.0/s\n"
      ])
    })
  )

  it.effect("redraws the previous frame, and restores the cursor at the end", () =>
    Effect.gen(function* () {
      const { layer, written } = world(60, { NO_COLOR: "1" })
      const states = [atSecond(1), atSecond(2)]
      yield* Effect.provide(
        show(
          jobOf(() => Stream.fromIterable(states)),
          { total: 4, interactive: true }
        ),
        layer
      )
      const frames = states.map((state) =>
        frame(state, { total: 4, perSecond: 2 }, { columns: 60, rows: 24, color: false })
      )
      const [first = "", second = ""] = frames
      assert.deepStrictEqual(written, [
        "\u001b[?25l",
        repaint(undefined, first, 60),
        repaint(first, second, 60),
        "\u001b[?25h"
      ])
    })
  )

  it.effect("restores the cursor on interruption, and has colours unless NO_COLOR is set", () =>
    Effect.gen(function* () {
      const { layer, written } = world(60, { NO_COLOR: "" })
      const job = jobOf(() => Stream.concat(Stream.succeed({ ...atSecond(1), deadLetters: 1 }), Stream.never))
      const fiber = yield* Effect.forkChild(Effect.provide(show(job, { total: 4, interactive: true }), layer))
      yield* TestClock.adjust("1 second")
      assert.include(written[1], "\u001b[31m1 dead letter\u001b[0m")
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(written.at(-1), "\u001b[?25h")
    })
  )

  it.effect("does not block the job when standard error is closed", () =>
    Effect.gen(function* () {
      const { layer } = world(80)
      const failure = PlatformError.systemError({ _tag: "Unknown", module: "Stdio", method: "stderr" })
      const broken = Stdio.layerTest({ stderr: () => Sink.fail(failure) })
      let seen = 0
      const job = jobOf(() =>
        Stream.tap(Stream.fromIterable([atSecond(1), atSecond(2)]), () => Effect.sync(() => void seen++))
      )
      for (const interactive of [false, true]) {
        yield* Effect.provide(show(job, { total: 4, interactive }), Layer.merge(layer, broken))
      }
      assert.strictEqual(seen, 4)
    })
  )
})

describe("show on a terminal without room", () => {
  it.effect.each([
    ["is dumb", 80, 24, { TERM: "dumb" }],
    ["is unknown", 80, 24, { TERM: "unknown" }],
    ["has size 0", 0, 0, {}],
    ["has no rows", 80, -1, {}],
    ["has a few columns", 5, 24, {}],
    ["has a size that is no number", Number.NaN, Number.POSITIVE_INFINITY, {}]
  ] as const)("writes plain lines when it %s", ([, columns, rows, env]) =>
    Effect.gen(function* () {
      const { layer, written } = world(columns, env, rows)
      const job = jobOf(() => Stream.fromIterable([atSecond(1), { ...atSecond(2), state: "complete" }]))
      yield* Effect.provide(show(job, { total: 4, interactive: true }), layer)
      assert.deepStrictEqual(
        written.map((text) => /^\d\.0 s: .* done .*\n$/.test(text)),
        [true, true]
      )
    })
  )
})
