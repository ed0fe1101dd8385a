/**
 * Laws of every run that calls several targets at once, for random routes and scripts.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Attempt, ReasonTag } from "effect-ai-gateway/GatewayError"
import { decide } from "effect-ai-gateway/GatewayError"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { drive as driven, tick } from "./batch/support.ts"
import * as scripted from "./support/scripted.ts"

const drive = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(driven(self, 5), ({ exit }) => exit)

type Chat = Route.Route<string, { readonly text: string }>

const providers = [Provider.openai, Provider.groq, Provider.deepseek, Provider.mistral]

interface Drawn {
  readonly route: Chat
  readonly script: scripted.Script
}

/** A route of one to six targets, and the outcome of each request. */
const draw = (random: () => number): Drawn => {
  const pick = <A>(...choices: readonly [A, ...ReadonlyArray<A>]): A =>
    choices[Math.floor(random() * choices.length)] ?? choices[0]
  let leaves = 0
  const leaf = (): Chat => {
    const one = providers[leaves++ % providers.length] ?? Provider.openai
    const target: Chat = one.chat(`m${leaves}`)
    return random() < 0.4 ? Route.retry(target, { attempts: pick(2, 3), delay: pick(0, 10, 40) }) : target
  }
  const node = (depth: number): Chat => {
    if (depth === 0 || leaves > 4 || random() < 0.25) return leaf()
    const [a, b, c] = [node(depth - 1), node(depth - 1), random() < 0.3 ? node(depth - 1) : undefined]
    const of = random() < 0.4 ? Route.race : Route.fallback
    const body = c === undefined ? of(a, b) : of(a, b, c)
    const dice = random()
    if (dice < 0.5) return Route.hedge(body, { after: pick(10, 25, 60), max: pick(1, 2, 4) })
    if (dice < 0.6) return Route.deadline(body, pick(30, 100))
    if (dice < 0.65) return Route.hedge(body, "off")
    return dice < 0.75 ? Route.fallbackOn(body, pick<ReadonlyArray<ReasonTag>>([], ["ProviderUnavailable"])) : body
  }
  const route = node(3)
  const script = (): scripted.Line => {
    const delay = pick(0, 5, 20, 50, 120)
    const dice = random()
    if (dice < 0.35) return { delay, body: scripted.completion("yes") }
    if (dice < 0.7) return { delay, status: pick(500, 503, 404) }
    if (dice < 0.8) return { delay, status: 429, headers: { "retry-after": pick("0", "1", "30") } }
    if (dice < 0.85) return { delay, status: 400, body: { error: { message: "no such field" } } }
    return { delay: 500, body: scripted.completion("late") }
  }
  return { route, script }
}

const endOf = ({ duration, startedAt }: Attempt): number => startedAt + Duration.toMillis(duration)

/** The maximum number of open requests at one time. */
const mostOpen = (attempts: ReadonlyArray<Attempt>): number =>
  Math.max(
    0,
    ...attempts.map(
      (one) => attempts.filter((other) => other.startedAt <= one.startedAt && endOf(other) > one.startedAt).length
    )
  )

const runs = Number(process.env["CONCURRENT_RUNS"] ?? 160)

describe("every run", () => {
  it.effect(
    "has one winner, keeps its order and its bounds, starts nothing after a stop, and leaves nothing open",
    () =>
      Effect.gen(function* () {
        let won = 0
        let superseded = 0
        let stopped = 0
        for (let seed = 1; seed <= runs; seed++) {
          let state = seed * 2654435761
          const random = () => {
            state = (Math.imul(state, 1664525) + 1013904223) >>> 0
            return state / 2 ** 32
          }
          const { route, script } = draw(random)
          const { layer, seen } = scripted.make(script)
          const exit = yield* Effect.result(
            drive(Router.run(route, "hi", { budget: "none" }).pipe(Effect.provide(layer)))
          )
          yield* tick(0)
          const at = `seed ${seed}\n${Route.describe(route)}`
          const attempts = exit._tag === "Success" ? exit.success.attempts : (exit.failure.attempts ?? [])
          const { attempts: most, concurrent } = Route.bounds(route)
          assert.strictEqual(attempts.length, seen.length, at)
          assert.isAtMost(attempts.length, most, at)
          assert.isAtMost(mostOpen(attempts), concurrent, at)
          assert.deepStrictEqual(
            attempts.map(({ number }) => number),
            attempts.map((_, i) => i + 1),
            at
          )
          for (const [i, { startedAt }] of attempts.entries())
            assert.isAtLeast(startedAt, attempts[i - 1]?.startedAt ?? 0, at)
          const successes = attempts.filter(({ outcome }) => outcome === "success")
          assert.strictEqual(successes.length, exit._tag === "Success" ? 1 : 0, at)
          if (exit._tag === "Success") {
            won++
            assert.strictEqual(successes[0]?.logId, exit.success.logId, at)
            assert.strictEqual(successes[0]?.target, exit.success.target, at)
            for (const one of attempts) {
              if (one.superseded === true) superseded++
              // Nothing of the run continues after its answer.
              assert.isAtMost(one.startedAt, endOf(successes[0] ?? one), at)
              assert.isAtMost(endOf(one), endOf(successes[0] ?? one), at)
            }
          } else {
            const stop = attempts.find(
              ({ error }) => error !== undefined && !decide(error).next && !decide(error).again
            )
            if (stop !== undefined) {
              stopped++
              assert.strictEqual(exit.failure.ended, "stop", at)
              for (const one of attempts) assert.isAtMost(one.startedAt, endOf(stop), at)
            }
          }
        }
        // The relevant cases occurred.
        assert.isAbove(won, runs / 4)
        assert.isAbove(superseded, runs / 8)
        assert.isAbove(stopped, runs / 50)
      })
  )

  it.effect("can be interrupted at any moment, and every request is", () =>
    Effect.gen(function* () {
      for (let seed = 1; seed <= runs / 2; seed++) {
        let state = seed * 40503
        const random = () => {
          state = (Math.imul(state, 1664525) + 1013904223) >>> 0
          return state / 2 ** 32
        }
        const { route, script } = draw(random)
        let open = 0
        const { layer } = scripted.make((request) => {
          const line = typeof script === "function" ? script(request) : undefined
          return {
            ...line,
            delay: 0,
            after: Effect.acquireUseRelease(
              Effect.sync(() => open++),
              () => Effect.sleep(line?.delay ?? 0),
              () => Effect.sync(() => open--)
            )
          }
        })
        const fiber = yield* Effect.forkChild(Effect.exit(Router.run(route, "hi").pipe(Effect.provide(layer))))
        for (let step = random() * 12; step > 0; step--) yield* tick(5)
        yield* Fiber.interrupt(fiber)
        yield* tick(0)
        assert.strictEqual(open, 0, `seed ${seed}\n${Route.describe(route)}`)
      }
    })
  )
})
