/**
 * Time limits, back-pressure and sizes of streams, on the test clock.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Reason } from "effect-ai-gateway/GatewayError"
import * as Route from "effect-ai-gateway/Route"
import { type Driven, drive } from "./support/drive.ts"
import {
  client,
  consume,
  deepseek,
  gateway,
  groq,
  interruption,
  lines,
  millis,
  openai,
  play,
  ways
} from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

const both = Route.fallback(openai, groq)

/** The result of a program, and the milliseconds that it took. */
const timed = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<readonly [A, number], E, R> =>
  Effect.flatMap(drive(self), ({ exit, millis }: Driven<A, E>) =>
    Effect.map(Exit.match(exit, { onFailure: Effect.failCause, onSuccess: Effect.succeed }), (value) => [value, millis])
  )

const limitOf = (reason: Reason | undefined) =>
  reason?._tag === "Timeout" ? [reason.phase, reason.limit && Duration.toMillis(reason.limit)] : reason?._tag

/** One stream of a script by a route, without a gateway in between. */
const direct = <In, Out>(script: S.Script, route: Route.Route<In, Out>, input: In) =>
  Effect.suspend(() => {
    const provider = S.scripted(script)
    return Effect.map(Effect.provide(consume(route, input), provider.direct), (seen) => ({ ...seen, provider }))
  })

const endless = (gap: number): S.Reply => ({ steps: [S.say("on "), { wait: gap }], endless: true })

describe("timeout", () => {
  it.effect.each(ways)("$name: until the headers", (way) =>
    Effect.gen(function* () {
      const route = Route.timeout(both, "1 second")
      const [seen, took] = yield* timed(play({ openai: [{ silent: true }] }, route, "hi", way))
      assert.deepStrictEqual([seen.text, took], ["from groq", 1000])
      if (way.execution === "client") assert.deepStrictEqual(limitOf(seen.attempts[0]?.error), ["firstByte", 1000])
      assert.deepStrictEqual(seen.provider.states(), ["openai cancelled", "groq ended"])
      const steps = [S.role, { wait: 5000 }, S.say("late"), { wait: 5000 }, S.finish]
      const [slow] = yield* timed(play({ openai: [{ delay: 900, steps }] }, route, "hi", way))
      assert.deepStrictEqual([slow.text, slow.attempts.length], ["late", 1])
    })
  )
})

describe("firstTokenTimeout", () => {
  const route = Route.firstTokenTimeout(both, "1 second")
  const openings: ReadonlyArray<readonly [name: string, reply: S.Reply]> = [
    ["no headers", { silent: true }],
    ["headers alone", { steps: [S.role, S.stall] }],
    ["pings", { steps: [S.ping, { wait: 300 }], endless: true }],
    ["roles", { steps: [S.role, { wait: 300 }], endless: true }],
    ["late headers", { delay: 600, steps: [S.role, { wait: 600 }, ...S.words("late")] }]
  ]

  it.effect.each(openings)("on the client %s do not count, from the start of the attempt", ([, reply]) =>
    Effect.gen(function* () {
      const [seen, took] = yield* timed(play({ openai: [reply] }, route, "hi", client))
      assert.deepStrictEqual([seen.text, took], ["from groq", 1000])
      assert.deepStrictEqual(limitOf(seen.attempts[0]?.error), ["firstToken", 1000])
      assert.deepStrictEqual(millis(seen.attempts), [1000, 0])
      assert.deepStrictEqual(seen.provider.states(), ["openai cancelled", "groq ended"])
    })
  )

  it.effect.each(openings.slice(0, -1))("in the gateway %s do not count", ([, reply]) =>
    Effect.gen(function* () {
      const [seen, took] = yield* timed(play({ openai: [reply] }, route, "hi", gateway))
      assert.deepStrictEqual([seen.text, took], ["from groq", 1000])
      assert.deepStrictEqual(seen.provider.states(), ["openai cancelled", "groq ended"])
      if (reply.silent === true) return assert.strictEqual(seen.attempts.length, 1)
      assert.deepStrictEqual(limitOf(seen.attempts[0]?.error), ["firstToken", 1000])
    })
  )

  it.effect("an answer in one piece must arrive in time too", () =>
    Effect.gen(function* () {
      const slow = { headers: { "content-type": "application/json" }, steps: ["{", { wait: 2000 }, "}"] }
      const [seen, took] = yield* timed(direct({ openai: [slow] }, route, "hi"))
      assert.deepStrictEqual([seen.text, took], ["from groq", 1000])
      assert.deepStrictEqual(limitOf(seen.attempts[0]?.error), ["firstToken", 1000])
      assert.strictEqual(seen.provider.open(), 0)
    })
  )

  it.effect.each(ways)("$name: ends with the first delta", (way) =>
    Effect.gen(function* () {
      const steps = [S.role, { wait: 900 }, S.say("first"), { wait: 5000 }, S.finish]
      const [seen, took] = yield* timed(play({ openai: [{ steps }] }, route, "hi", way))
      assert.deepStrictEqual([seen.text, took, seen.attempts.length], ["first", 5900, 1])
    })
  )

  it.effect("is not a loss in the gateway, unless a last attempt would ignore it", () =>
    Effect.gen(function* () {
      const retried = Route.retry(route, { attempts: 2, delay: 0, retryAfter: false })
      const auto = { ...client, execution: "auto" } as const
      const plain = yield* play({ openai: [{ status: 500 }] }, route, "hi", auto)
      assert.strictEqual(plain.attempts.length, 1)
      const [own, took] = yield* timed(play({ openai: [{ silent: true }, { silent: true }] }, retried, "hi", auto))
      assert.deepStrictEqual(lines(own.attempts), [
        "openai/m failure Timeout",
        "openai/m failure Timeout",
        "groq/m success"
      ])
      assert.strictEqual(took, 2000)
      const refused = yield* play({}, retried, "hi", gateway)
      assert.include(refused.error?.message, "Router.stream: invalid execution")
      assert.include(refused.error?.message, "lastAttemptTimeout (openai/m, groq/m)")
      assert.deepStrictEqual(refused.provider.bodies, [])
      const allowed = yield* play({ openai: [{ status: 500 }] }, retried, "hi", gateway, {
        allow: ["lastAttemptTimeout"]
      })
      assert.strictEqual(allowed.text, "from openai")
    })
  )
})

describe("idleTimeout", () => {
  const route = Route.idleTimeout(both, "1 second")

  it.effect.each(ways)("$name: before the first delta the next target answers", (way) =>
    Effect.gen(function* () {
      const [seen, took] = yield* timed(play({ openai: [{ steps: [S.role, S.stall] }] }, route, "hi", way))
      assert.deepStrictEqual([seen.text, took], ["from groq", 1000])
      assert.deepStrictEqual(limitOf(seen.attempts[0]?.error), ["idle", 1000])
      assert.deepStrictEqual(seen.provider.states(), ["openai cancelled", "groq ended"])
    })
  )

  it.effect.each(ways)("$name: after it the stream is interrupted", (way) =>
    Effect.gen(function* () {
      const steps = [S.role, { wait: 999 }, S.say("half"), { wait: 999 }, S.say(" an"), S.stall]
      const [seen, took] = yield* timed(play({ openai: [{ steps }] }, route, "hi", way))
      assert.deepInclude({ ...interruption(seen) }, { partial: "half an", events: 3, failure: "Timeout" })
      assert.strictEqual(took, 2998)
      assert.deepStrictEqual(limitOf(seen.attempts[0]?.error), ["idle", 1000])
      assert.strictEqual(seen.error?.logId, seen.attempts[0]?.logId)
      assert.isString(seen.error?.logId)
      assert.deepStrictEqual(seen.trail, seen.attempts)
      assert.deepStrictEqual(seen.provider.states(), ["openai cancelled"])
    })
  )

  it.effect("applies per target after a restart", () =>
    Effect.gen(function* () {
      const again = Route.restart(Route.fallback(openai, Route.idleTimeout(groq, "500 millis")), 1)
      const script = { openai: [{ steps: [S.say("a"), S.error()] }], groq: [{ steps: [S.say("b"), S.stall] }] }
      const [seen, took] = yield* timed(play(script, again, "hi", client))
      assert.deepInclude({ ...interruption(seen) }, { partial: "b", failure: "Timeout" })
      assert.strictEqual(took, 500)
    })
  )

  it.effect("restarts with any bytes", () =>
    Effect.gen(function* () {
      const wait = { wait: 999 }
      const steps = [S.ping, wait, S.ping, wait, S.role, wait, S.say("a"), wait, S.ping, wait, S.ping, wait, S.finish]
      const [seen, took] = yield* timed(play({ openai: [{ steps }] }, route, "hi", client))
      assert.deepStrictEqual([seen.text, took, seen.error], ["a", 6 * 999, undefined])
      const body = ["{", wait, `"choices":[{"message":{"content":"b"},`, wait, `"finish_reason":"stop"}]}`]
      const whole = { headers: { "content-type": "application/json" }, steps: body }
      const [pieces] = yield* timed(direct({ openai: [whole] }, route, "hi"))
      assert.deepStrictEqual([pieces.text, pieces.attempts.length], ["b", 1])
      const stalled = { ...whole, steps: ["{", S.stall] }
      const [moved, at] = yield* timed(direct({ openai: [stalled] }, route, "hi"))
      assert.deepStrictEqual([moved.text, at], ["from groq", 1000])
    })
  )

  it.effect("does not count while a slow consumer pauses", () =>
    Effect.gen(function* () {
      const script = { openai: [{ steps: [...S.words("a", "b", "c")] }] }
      const provider = S.scripted(script)
      const slow = consume(route, "hi", {}, () => Effect.sleep("1 hour")).pipe(Effect.provide(provider.direct))
      const [seen] = yield* timed(slow)
      assert.deepStrictEqual([seen.text, seen.error], ["abc", undefined])
    })
  )
})

describe("deadline", () => {
  const route = Route.deadline(both, "1 second")
  const lossy = { allow: ["deadline"] } as const

  it.effect.each(ways)("$name: over everything before the first delta", (way) =>
    Effect.gen(function* () {
      const script = { openai: [{ steps: [S.role, { wait: 600 }, S.error()] }], groq: [{ steps: [S.role, S.stall] }] }
      const [seen, took] = yield* timed(play(script, route, "hi", way, lossy))
      assert.deepStrictEqual([limitOf(seen.error?.reason)?.[0], took], ["deadline", 1000])
      assert.deepStrictEqual(seen.deltas, [])
      assert.deepStrictEqual(lines(seen.attempts), ["openai/m failure ProviderUnavailable", "groq/m failure Timeout"])
      assert.deepStrictEqual(seen.trail, seen.attempts)
      assert.strictEqual(seen.provider.open(), 0)
      const silent = yield* timed(play({ openai: [{ silent: true }] }, route, "hi", way, lossy))
      assert.deepStrictEqual([lines(silent[0].attempts), silent[1]], [["openai/m failure Timeout"], 1000])
      assert.deepStrictEqual(silent[0].provider.states(), ["openai cancelled"])
    })
  )

  it.effect.each(ways)("$name: and after it, from the start of the run", (way) =>
    Effect.gen(function* () {
      const script = { openai: [{ steps: [S.role, { wait: 550 }, S.error()] }], groq: [endless(100)] }
      const [seen, took] = yield* timed(play(script, route, "hi", way, lossy))
      assert.deepInclude({ ...interruption(seen) }, { failure: "Timeout", partial: "on on on on on " })
      assert.strictEqual(took, 1000)
      assert.deepStrictEqual(lines(seen.attempts), ["openai/m failure ProviderUnavailable", "groq/m failure Timeout"])
      assert.strictEqual(limitOf(seen.attempts[1]?.error)?.[0], "deadline")
      assert.deepStrictEqual(seen.trail, seen.attempts)
      assert.deepStrictEqual(seen.provider.states(), ["openai cancelled", "groq cancelled"])
    })
  )

  it.effect("the idle timeout or the deadline, whichever comes first", () =>
    Effect.gen(function* () {
      for (const [idle, phase] of [
        ["300 millis", "idle"],
        ["3 seconds", "deadline"]
      ] as const) {
        const limited = Route.idleTimeout(route, idle)
        const steps = [S.say("a"), { wait: 200 }, S.say("b"), S.stall]
        const [seen, took] = yield* timed(play({ openai: [{ steps }] }, limited, "hi", client))
        assert.strictEqual(limitOf(seen.attempts[0]?.error)?.[0], phase)
        assert.strictEqual(took, phase === "idle" ? 500 : 1000)
      }
    })
  )

  it.effect("leaves no time for a restart once it has passed, and the rest of it before", () =>
    Effect.gen(function* () {
      const again = Route.deadline(Route.restart(Route.fallback(openai, groq, deepseek), 3), "1 second")
      const [late] = yield* timed(play({ openai: [endless(100)] }, again, "hi", client))
      assert.strictEqual(interruption(late).failure, "Timeout")
      assert.strictEqual(late.provider.bodies.length, 1)
      const half = { steps: [S.say("half"), { wait: 600 }, S.error()] }
      const [seen, took] = yield* timed(
        play({ openai: [half], groq: [{ steps: [S.role, S.stall] }] }, again, "hi", client)
      )
      assert.deepInclude({ ...interruption(seen) }, { failure: "ProviderUnavailable", partial: "half" })
      assert.strictEqual(took, 1000)
      assert.deepStrictEqual(millis(seen.attempts), [600, 400])
    })
  )

  it.effect("inside a fallback ends there: the next target of a restart has its own or none", () =>
    Effect.gen(function* () {
      const half = { steps: [S.say("half"), { wait: 600 }, S.error()] }
      const slow = { steps: [S.role, { wait: 800 }, ...S.words("late")] }
      const within = Route.deadline("1 second")
      const first = Route.restart(Route.fallback(within(openai), groq), 1)
      const [free, took] = yield* timed(play({ openai: [half], groq: [slow] }, first, "hi", client))
      assert.deepStrictEqual([free.text, took], ["late", 1400])
      const second = Route.restart(Route.fallback(openai, Route.deadline(groq, "500 millis")), 1)
      const [cut, until] = yield* timed(play({ openai: [half], groq: [slow] }, second, "hi", client))
      assert.deepInclude({ ...interruption(cut) }, { failure: "ProviderUnavailable", partial: "half" })
      assert.strictEqual(until, 1100)
      assert.deepStrictEqual(millis(cut.attempts), [600, 500])
    })
  )

  it.effect("keeps its end for a target that restarts", () =>
    Effect.gen(function* () {
      const half = { steps: [S.say("half"), { wait: 600 }, S.error()] }
      const alone = Route.deadline(Route.restart(openai, 5), "1 second")
      const [seen, took] = yield* timed(play({ openai: [half, half, half] }, alone, "hi", client))
      assert.deepInclude({ ...interruption(seen) }, { failure: "Timeout", partial: "half" })
      assert.strictEqual(took, 1000)
    })
  )

  it.effect("ends the deltas for a consumer that returns after it", () =>
    Effect.gen(function* () {
      const provider = S.scripted({ openai: [{ steps: [...S.words("a", "b")] }] })
      const slow = consume(route, "hi", {}, () => Effect.sleep("400 millis")).pipe(Effect.provide(provider.direct))
      const [seen] = yield* timed(slow)
      assert.deepInclude({ ...interruption(seen) }, { failure: "Timeout", partial: "ab" })
    })
  )
})

describe("a complete answer", () => {
  it.effect.each(ways)("$name: is kept when the connection stays open", (way) =>
    Effect.gen(function* () {
      for (const limit of [Route.idleTimeout("50 millis"), Route.deadline("50 millis")]) {
        const steps = [...S.words("all"), S.stall]
        const [seen, took] = yield* timed(
          play({ openai: [{ steps }] }, limit(both), "hi", way, { allow: ["deadline"] })
        )
        assert.deepStrictEqual([seen.text, seen.error], ["all", undefined])
        assert.deepStrictEqual(lines(seen.attempts), ["openai/m success"])
        assert.isAtMost(took, 100)
        assert.deepStrictEqual(seen.provider.states(), ["openai cancelled"])
      }
    })
  )

  it.effect("waits for its usage as long as its limits allow", () =>
    Effect.gen(function* () {
      for (const limit of [Route.idleTimeout("1 second"), Route.deadline("1 second")]) {
        const late = { steps: [S.role, S.say("all"), S.finish, { wait: 900 }, S.usage, S.doneMark] }
        const [seen] = yield* timed(play({ openai: [late] }, limit(both), "hi", client))
        assert.deepStrictEqual([seen.error, seen.summary?.usage?.totalTokens], [undefined, 7])
        const never = { steps: [S.role, S.say("all"), S.finish, S.stall] }
        const [ended, took] = yield* timed(play({ openai: [never] }, limit(both), "hi", client))
        assert.deepStrictEqual([ended.text, ended.error, took], ["all", undefined, 1000])
        assert.deepStrictEqual(lines(ended.attempts), ["openai/m success"])
        assert.strictEqual(ended.provider.open(), 0)
      }
    })
  )
})

describe("back-pressure", () => {
  it.effect.each(ways)("$name: reads a piece when the one before it is consumed", (way) =>
    Effect.gen(function* () {
      const provider = S.scripted(() => ({ steps: [S.say("more ")], endless: true }))
      const ahead: Array<number> = []
      let taken = 0
      const each = (delta: { readonly type: string }) =>
        Effect.gen(function* () {
          if (delta.type !== "text") return
          taken++
          // Any read ahead would have time to happen.
          yield* Effect.sleep("1 minute")
          ahead.push((provider.bodies[0]?.pulled ?? 0) - taken)
          if (taken === 50) yield* Effect.interrupt
        })
      const { exit } = yield* drive(
        consume(openai, "hi", { execution: way.execution }, each).pipe(
          Effect.provide(way.backend.layer(provider.upstreams))
        )
      )
      assert.isTrue(Exit.isFailure(exit))
      assert.strictEqual(ahead.length, 50)
      assert.isAtMost(Math.max(...ahead), 1)
      assert.deepStrictEqual(provider.states(), ["openai cancelled"])
    })
  )
})

describe("sizes", () => {
  const big = (bytes: number): S.Reply => {
    const piece = new Uint8Array(1024 * 1024).fill(120)
    const head = S.say("HERE")
    const [before = "", after = ""] = head.split("HERE")
    return { steps: [S.role, before, ...Array.from({ length: bytes / piece.length }, () => piece), after, S.finish] }
  }

  it.effect("an event of 20 MiB is an event", () =>
    Effect.gen(function* () {
      const seen = yield* direct({ openai: [big(20 * 1024 * 1024)] }, both, "hi")
      assert.deepStrictEqual([seen.text.length, seen.error], [20 * 1024 * 1024, undefined])
    })
  )

  it.effect("an event without an end is a failure, before and after the first delta", () =>
    Effect.gen(function* () {
      const endless = big(65 * 1024 * 1024)
      const before = yield* direct({ openai: [endless] }, both, "hi")
      assert.strictEqual(before.text, "from groq")
      assert.strictEqual(
        before.attempts[0]?.error?.message,
        "invalid response: an event of more than 67108864 characters"
      )
      const after = yield* direct({ openai: [{ steps: [S.say("half"), ...(endless.steps ?? [])] }] }, both, "hi")
      assert.deepInclude({ ...interruption(after) }, { partial: "half", failure: "InvalidResponse" })
      assert.strictEqual(before.provider.open() + after.provider.open(), 0)
    })
  )
})
