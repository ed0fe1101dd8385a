/**
 * Targets that are called at the same time: races and hedges, complete and streamed.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import type { Attempt } from "effect-ai-gateway/GatewayError"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { drive as driven } from "./batch/support.ts"
import * as scripted from "./support/scripted.ts"
import { client, deepseek, groq, openai, play } from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

/** Runs on the test clock, in steps that hit the times of the scripts. */
const drive = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(driven(self, 5), ({ exit }) => exit)

const told = (attempts: ReadonlyArray<Attempt>): ReadonlyArray<string> =>
  attempts.map(({ cause, duration, error, number, outcome, superseded, target }) =>
    [
      `${number} ${target} ${cause} ${outcome}`,
      ...(superseded === true ? ["superseded"] : []),
      ...(error === undefined ? [] : [error._tag]),
      `${Duration.toMillis(duration)} ms`
    ].join(" ")
  )

interface Ran {
  readonly value: string | undefined
  readonly logId: string | undefined
  readonly reason: string | undefined
  readonly attempts: ReadonlyArray<string>
  readonly millis: number
  readonly seen: ReadonlyArray<string>
  readonly interrupted: ReadonlyArray<string>
}

const run = (
  route: Route.Route<string, { readonly text: string }>,
  script: scripted.Script
): Effect.Effect<Ran, unknown> =>
  Effect.suspend(() => {
    const { interrupted, layer, seen } = scripted.make(script)
    return drive(
      Effect.gen(function* () {
        const before = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
        const exit = yield* Effect.result(Router.run(route, "hi"))
        const millis = (yield* Effect.clockWith((clock) => clock.currentTimeMillis)) - before
        // An abandoned attempt ends in the same tick or the next.
        yield* Effect.yieldNow
        const common = {
          millis,
          seen: seen.map(({ provider }) => provider),
          interrupted: scripted.providersOf(interrupted)
        }
        return exit._tag === "Success"
          ? {
              ...common,
              value: exit.success.value.text,
              logId: exit.success.logId,
              reason: undefined,
              attempts: told(exit.success.attempts)
            }
          : {
              ...common,
              value: undefined,
              logId: exit.failure.logId,
              reason: exit.failure.reason._tag,
              attempts: told(exit.failure.attempts ?? [])
            }
      }).pipe(Effect.provide(layer))
    )
  })

const three = [openai, groq, deepseek] as const
const slow = (delay: number): scripted.Line => ({ delay, body: scripted.completion(`after ${delay}`) })
const down = (delay = 0): scripted.Line => ({ delay, status: 503 })
const refused = (delay = 0): scripted.Line => ({ delay, status: 400, body: { error: { message: "no such field" } } })

describe("a race", () => {
  it.effect("is won by the first answer, and interrupts the others in the same tick", () =>
    Effect.gen(function* () {
      const ran = yield* run(Route.race(...three), { openai: [slow(30)], groq: [slow(10)], deepseek: [slow(20)] })
      assert.deepInclude(ran, { value: "after 10", millis: 10, logId: "log-2" })
      assert.deepStrictEqual(ran.attempts, [
        "1 openai/m first interrupted superseded 10 ms",
        "2 groq/m first success 10 ms",
        "3 deepseek/m first interrupted superseded 10 ms"
      ])
      assert.deepStrictEqual(ran.interrupted.toSorted(), ["deepseek", "openai"])
    })
  )

  it.effect("continues while one is running, and fails with the last failure", () =>
    Effect.gen(function* () {
      const won = yield* run(Route.race(...three), { openai: [down(5)], groq: [down(10)], deepseek: [slow(20)] })
      assert.deepInclude(won, { value: "after 20", millis: 20 })
      const lost = yield* run(Route.race(...three), { openai: [down(30)], groq: [down(10)], deepseek: [down(20)] })
      assert.deepInclude(lost, { reason: "ProviderUnavailable", millis: 30, logId: "log-1" })
      assert.strictEqual(lost.attempts.length, 3)
    })
  )

  it.effect("ends with a failure that no other target would fix", () =>
    Effect.gen(function* () {
      const ran = yield* run(Route.race(...three), { openai: [slow(30)], groq: [refused(10)], deepseek: [slow(20)] })
      assert.deepInclude(ran, { reason: "InvalidRequest", millis: 10 })
      assert.deepStrictEqual(ran.attempts, [
        "1 openai/m first interrupted 10 ms",
        "2 groq/m first failure InvalidRequest 10 ms",
        "3 deepseek/m first interrupted 10 ms"
      ])
    })
  )

  it.effect("lets each branch keep its own policy, fallbacks and deadline", () =>
    Effect.gen(function* () {
      const route = Route.race(
        Route.retry(openai, { attempts: 3, delay: 10, backoff: "constant" }),
        Route.deadline(Route.fallback(groq, deepseek), 20)
      )
      const ran = yield* run(route, { openai: [down(), down(), slow(5)], groq: [down(15)], deepseek: [slow(10)] })
      assert.deepInclude(ran, { value: "after 5", millis: 25 })
      assert.deepStrictEqual(ran.attempts, [
        "1 openai/m first failure ProviderUnavailable 0 ms",
        "2 groq/m first failure ProviderUnavailable 15 ms",
        "3 openai/m retry failure ProviderUnavailable 0 ms",
        "4 deepseek/m fallback failure Timeout 5 ms",
        "5 openai/m retry success 5 ms"
      ])
    })
  )

  it.effect("ends when the caller is interrupted, down to every request", () =>
    Effect.gen(function* () {
      const { interrupted, layer } = scripted.make({ openai: [slow(30)], groq: [slow(20)] })
      const running = Route.race(openai, groq).pipe((route) => Router.run(route, "hi"), Effect.provide(layer))
      const fiber = yield* Effect.forkChild(running)
      yield* TestClock.adjust(5)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(scripted.providersOf(interrupted).toSorted(), ["groq", "openai"])
    })
  )

  it.effect("calls targets in order when a request would change something twice, unless sideEffects is set", () =>
    Effect.gen(function* () {
      const raw = (provider: string, idempotent?: boolean) =>
        Route.make({
          provider,
          endpoint: "x",
          idempotent,
          query: (text: string) => ({ text }),
          success: Schema.Struct({ model: Schema.String })
        }).pipe(Route.map(({ model }) => ({ text: model })))
      const script = { openai: [down(10)], groq: [slow(10)] }
      assert.deepInclude(yield* run(Route.race(raw("openai"), raw("groq")), script), { millis: 20 })
      assert.deepInclude(yield* run(Route.race(raw("openai", true), raw("groq", true)), script), { millis: 10 })
      const told = Route.race([raw("openai"), raw("groq")], { sideEffects: true })
      assert.deepInclude(yield* run(told, script), { millis: 10 })
    })
  )
})

const ordered = Route.fallback(...three)

describe("a hedge", () => {
  it.effect("calls the next target when the first is late, and the first to answer wins", () =>
    Effect.gen(function* () {
      const route = Route.hedge(ordered, { after: 50 })
      const ran = yield* run(route, { openai: [slow(200)], groq: [slow(30)] })
      assert.deepInclude(ran, { value: "after 30", millis: 80, logId: "log-2" })
      assert.deepStrictEqual(ran.attempts, [
        "1 openai/m first interrupted superseded 80 ms",
        "2 groq/m hedge success 30 ms"
      ])
      assert.deepStrictEqual(ran.interrupted, ["openai"])
      const quick = yield* run(route, { openai: [slow(45)] })
      assert.deepInclude(quick, { value: "after 45", seen: ["openai"] })
      const first = yield* run(route, { openai: [slow(70)], groq: [slow(30)] })
      assert.deepInclude(first, { value: "after 70", millis: 70, logId: "log-1" })
    })
  )

  it.effect("calls the next target at once after a failure, and restarts its clock", () =>
    Effect.gen(function* () {
      const ran = yield* run(Route.hedge(ordered, { after: 50 }), {
        openai: [down(20)],
        groq: [slow(200)],
        deepseek: [slow(10)]
      })
      assert.deepInclude(ran, { value: "after 10", millis: 80 })
      assert.deepStrictEqual(ran.attempts, [
        "1 openai/m first failure ProviderUnavailable 20 ms",
        "2 groq/m fallback interrupted superseded 60 ms",
        "3 deepseek/m hedge success 10 ms"
      ])
    })
  )

  it.effect("hedges no more than max times in a run", () =>
    Effect.gen(function* () {
      const script = { openai: [slow(500)], groq: [slow(500)], deepseek: [slow(10)] }
      const one = yield* run(Route.hedge(ordered, { after: 50 }), script)
      assert.deepInclude(one, { seen: ["openai", "groq"], millis: 500 })
      const two = yield* run(Route.hedge(ordered, { after: 50, max: 2 }), script)
      assert.deepInclude(two, { value: "after 10", millis: 110 })
    })
  )

  it.effect("keeps running through the back-off of a policy, which opens nothing by itself", () =>
    Effect.gen(function* () {
      const route = ordered.pipe(
        Route.retry({ attempts: 3, delay: 30, backoff: "constant" }),
        Route.hedge({ after: 50 })
      )
      const ran = yield* run(route, { openai: [down(10), down(5), slow(5)], groq: [slow(100)] })
      assert.deepInclude(ran, { value: "after 5", millis: 80 })
      assert.deepStrictEqual(ran.attempts, [
        "1 openai/m first failure ProviderUnavailable 10 ms",
        "2 openai/m retry failure ProviderUnavailable 5 ms",
        "3 groq/m hedge interrupted superseded 30 ms",
        "4 openai/m retry success 5 ms"
      ])
    })
  )

  it.effect("calls a lone target a second time, without its policy", () =>
    Effect.gen(function* () {
      const route = openai.pipe(
        Route.retry({ attempts: 3, delay: 10, backoff: "constant" }),
        Route.hedge({ after: 50 })
      )
      const ran = yield* run(route, { openai: [slow(200), slow(20)] })
      assert.deepInclude(ran, { value: "after 20", millis: 70, logId: "log-2" })
      const failing = yield* run(route, { openai: [slow(200), down(20)] })
      assert.deepInclude(failing, { value: "after 200", millis: 200, seen: ["openai", "openai"] })
    })
  )

  it.effect("waits for the open attempts when no target is left, and fails with the last to end", () =>
    Effect.gen(function* () {
      const route = Route.hedge(Route.fallback(openai, groq), { after: 50 })
      const won = yield* run(route, { openai: [slow(200)], groq: [down(10)] })
      assert.deepInclude(won, { value: "after 200", millis: 200 })
      const lost = yield* run(route, { openai: [down(200)], groq: [down(10)] })
      assert.deepInclude(lost, { reason: "ProviderUnavailable", logId: "log-1", millis: 200 })
    })
  )

  it.effect("ends with a failure that no other target would fix, and starts nothing after it", () =>
    Effect.gen(function* () {
      const ran = yield* run(Route.hedge(ordered, { after: 50, max: 2 }), { openai: [slow(200)], groq: [refused(10)] })
      assert.deepInclude(ran, { reason: "InvalidRequest", millis: 60, seen: ["openai", "groq"] })
    })
  )

  it.effect("respects an inner fallback's rule about failures that move on", () =>
    Effect.gen(function* () {
      const inner = Route.fallbackOn(Route.fallback(openai, groq), ["Timeout"])
      const route = Route.hedge(Route.fallback(inner, deepseek), { after: 50 })
      const ran = yield* run(route, { openai: [down(10)] })
      assert.deepStrictEqual(ran.seen, ["openai", "deepseek"])
    })
  )

  it.effect("keeps the deadlines that lanes have entered", () =>
    Effect.gen(function* () {
      const inner = Route.deadline(Route.fallback(openai, groq), 100)
      const route = Route.hedge(Route.fallback(inner, deepseek), { after: 50 })
      const ran = yield* run(route, { openai: [slow(500)], groq: [slow(500)], deepseek: [slow(10)] })
      assert.deepInclude(ran, { value: "after 10", millis: 110 })
      assert.deepStrictEqual(ran.attempts, [
        "1 openai/m first failure Timeout 100 ms",
        "2 groq/m hedge failure Timeout 50 ms",
        "3 deepseek/m fallback success 10 ms"
      ])
    })
  )

  it.effect("leaves targets below an inner hedge to that one, and does not hedge those below an inner off", () =>
    Effect.gen(function* () {
      const inner = Route.hedge(Route.fallback(openai, groq), { after: 100 })
      const route = Route.hedge(Route.fallback(inner, deepseek), { after: 10 })
      const ran = yield* run(route, { openai: [slow(500)], groq: [slow(20)] })
      assert.deepInclude(ran, { value: "after 20", millis: 120, seen: ["openai", "groq"] })
      const off = Route.hedge(Route.hedge(Route.fallback(openai, groq), "off"), { after: 10 })
      assert.deepInclude(yield* run(off, { openai: [slow(500)] }), { seen: ["openai"], millis: 500 })
    })
  )

  it.effect("comes back to a target that asked for a long wait when all others have failed", () =>
    Effect.gen(function* () {
      const limited: scripted.Line = {
        status: 429,
        headers: { "retry-after": "30" },
        body: { error: { message: "x" } }
      }
      const route = Route.fallback(openai, groq).pipe(
        Route.retry({ attempts: 2, delay: 10 }),
        Route.hedge({ after: 50 })
      )
      const ran = yield* run(route, { openai: [limited, slow(5)], groq: [down(), down()] })
      assert.deepInclude(ran, { value: "after 5", millis: 30_005, seen: ["openai", "groq", "groq", "openai"] })
    })
  )

  it.effect("waits no longer than a fallback after a deadline has passed", () =>
    Effect.gen(function* () {
      const route = Route.deadline(Route.hedge(ordered, { after: 50 }), 70)
      const ran = yield* run(route, { openai: [slow(500)], groq: [slow(500)] })
      assert.deepInclude(ran, { reason: "Timeout", millis: 70, seen: ["openai", "groq"] })
    })
  )

  it.effect("reports the log id of the answer for feedback", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make({ openai: [slow(70)], groq: [slow(100)] })
      const { value } = yield* drive(
        LogTrail.collect(
          Effect.andThen(Router.run(Route.hedge(ordered, { after: 50 }), "hi"), LogTrail.lastLogId)
        ).pipe(Effect.provide(layer))
      )
      assert.strictEqual(value, "log-1")
    })
  )

  it.effect("does not duplicate requests that are stored, run in the background or use server tools", () =>
    Effect.gen(function* () {
      const bodies = [
        { store: true },
        { background: true },
        { previous_response_id: "r" },
        { mcp_servers: [{ type: "url", url: "https://tools.example" }] },
        { tools: [{ type: "web_search" }] }
      ] as const
      for (const extra of bodies) {
        const adapted = Route.hedge(ordered, { after: 50 }).pipe(
          Route.mapInput((text: string) => ({ messages: [{ role: "user" as const, content: text }], extra }))
        )
        const ran = yield* run(adapted, { openai: [slow(100)] })
        assert.deepStrictEqual(ran.seen, ["openai"], JSON.stringify(extra))
      }
      const tools = Route.hedge(ordered, { after: 50 }).pipe(
        Route.mapInput((text: string) => ({
          messages: [{ role: "user" as const, content: text }],
          tools: [{ name: "look", description: "", parameters: { type: "object" } }]
        }))
      )
      assert.deepStrictEqual((yield* run(tools, { openai: [slow(100)] })).seen, ["openai", "groq"])
    })
  )
})

describe("a stream", () => {
  const pieces = S.words("a", "b")

  it.effect("is hedged until its first delta, and the loser's body is cancelled", () =>
    Effect.gen(function* () {
      const route = Route.hedge(Route.fallback(openai, groq), { after: 50 })
      const { attempts, provider, text } = yield* drive(
        play({ openai: [{ steps: [{ wait: 500 }, ...pieces] }], groq: [{ steps: pieces }] }, route, "hi", client)
      )
      assert.strictEqual(text, "ab")
      assert.deepStrictEqual(told(attempts), [
        "1 openai/m first interrupted superseded 50 ms",
        "2 groq/m hedge success 0 ms"
      ])
      assert.deepStrictEqual(
        provider.bodies.map(({ provider, state }) => `${provider} ${state}`),
        ["openai cancelled", "groq ended"]
      )
    })
  )

  it.effect("is not hedged after its first delta, however slow the rest", () =>
    Effect.gen(function* () {
      const route = Route.hedge(Route.fallback(openai, groq), { after: 50 })
      const [head, ...rest] = pieces
      const { provider, text } = yield* drive(
        play({ openai: [{ steps: [head ?? "", rest[0] ?? "", { wait: 500 }, ...rest.slice(1)] }] }, route, "hi", client)
      )
      assert.strictEqual(text, "ab")
      assert.deepStrictEqual(
        provider.bodies.map(({ provider }) => provider),
        ["openai"]
      )
    })
  )

  it.effect("restarts with the target that was abandoned, because it did not fail", () =>
    Effect.gen(function* () {
      const route = Route.fallback(openai, groq).pipe(Route.hedge({ after: 50 }), Route.restart(1))
      const { attempts, provider, text } = yield* drive(
        play(
          {
            openai: [{ steps: [{ wait: 500 }, ...pieces] }, { steps: S.words("again") }],
            groq: [{ steps: [...S.words("x").slice(0, 2), S.reset] }]
          },
          route,
          "hi",
          client
        )
      )
      assert.strictEqual(text, "again")
      assert.deepStrictEqual(
        attempts.map(({ cause, target }) => `${target} ${cause}`),
        ["openai/m first", "groq/m hedge", "openai/m restart"]
      )
      assert.strictEqual(provider.bodies.length, 3)
    })
  )

  it.effect("has one winner when two begin in the same tick, and cancels the other body", () =>
    Effect.gen(function* () {
      const { attempts, provider, text } = yield* drive(
        play(
          { openai: [{ delay: 10, steps: S.words("o") }], groq: [{ delay: 10, steps: S.words("g") }] },
          Route.race(openai, groq),
          "hi",
          client
        )
      )
      assert.include(["o", "g"], text)
      assert.strictEqual(attempts.filter(({ outcome }) => outcome === "success").length, 1)
      assert.strictEqual(provider.open(), 0)
    })
  )

  it.effect("is raced until its first delta", () =>
    Effect.gen(function* () {
      const { provider, text } = yield* drive(
        play(
          { openai: [{ steps: [{ wait: 20 }, ...pieces] }], groq: [{ steps: [{ wait: 10 }, ...S.words("g")] }] },
          Route.race(openai, groq),
          "hi",
          client
        )
      )
      assert.strictEqual(text, "g")
      assert.deepStrictEqual(
        provider.bodies.map(({ provider, state }) => `${provider} ${state}`),
        ["openai cancelled", "groq ended"]
      )
    })
  )
})
