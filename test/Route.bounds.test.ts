import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import type { Attempt } from "effect-ai-gateway/GatewayError"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { drive } from "./support/drive.ts"
import {
  build,
  type Facts,
  type Input,
  inputs,
  leafOf,
  listOf,
  type OutcomeName,
  oneOf,
  outcomeOf,
  outcomes,
  randomSpecs,
  type Spec
} from "./support/randomRoutes.ts"
import { make } from "./support/scripted.ts"

/** A deadline that cuts waits short, so that the worst case may be out of reach. */
const short = 1_500
const long = 600_000

const palette = {
  attempts: [1, 2, 3],
  delays: [0, 1000, 3000],
  jitters: [0],
  timeouts: [undefined],
  deadlines: [undefined, undefined, undefined, long, short]
} as const

const hasShortDeadline = ({ deadline, shape }: Spec): boolean =>
  deadline === short ||
  (shape._tag === "Fallback" && shape.routes.some(hasShortDeadline)) ||
  (shape._tag === "When" && [shape.onTrue, shape.onFalse].some(hasShortDeadline))

/** The record of one run. */
interface Ran {
  readonly attempts: ReadonlyArray<Attempt>
  readonly asked: ReadonlyArray<string>
  readonly millis: number
  readonly hinted: boolean
}

/** A gateway whose answers are chosen while the route runs. */
const makePeer = () => {
  let decide: (provider: string) => OutcomeName = () => "ok"
  let hinted = false
  const { layer, seen } = make(({ provider }) => {
    const name = decide(provider)
    hinted ||= name === "limitedShortly" || name === "limitedLong"
    return outcomes[name]
  })
  const run = (route: Route.Route<Input, string>, input: Input, decisions: (provider: string) => OutcomeName) =>
    Effect.gen(function* () {
      decide = decisions
      hinted = false
      const before = seen.length
      const { exit, millis } = yield* drive(Effect.result(Router.run(route, input)))
      assert.isTrue(Exit.isSuccess(exit))
      const result = Exit.isSuccess(exit) ? exit.value : undefined
      const attempts = result?._tag === "Success" ? result.success.attempts : (result?.failure.attempts ?? [])
      const ran: Ran = { attempts, asked: seen.slice(before).map(({ provider }) => `${provider}/m`), millis, hinted }
      return ran
    })
  return { layer, run }
}

const count = (list: ReadonlyArray<string>, key: string): number => list.filter((one) => one === key).length

/** Checks that no run exceeds the bounds. */
const assertWithin = (route: Route.Route<Input, string>, ran: Ran) => {
  const bounds = Route.bounds(route)
  assert.strictEqual(ran.asked.length, ran.attempts.length)
  assert.isAtMost(ran.attempts.length, bounds.attempts)
  assert.isAtMost(ran.asked.length, bounds.requests)
  const keys = bounds.targets.map(({ key }) => key)
  for (const key of ran.asked) assert.include(keys, key)
  for (const { attempts, key } of bounds.targets) assert.isAtMost(count(ran.asked, key), attempts)
  for (const key of bounds.unreachable) assert.notInclude(ran.asked, key)
  if (!ran.hinted) assert.isAtMost(ran.millis, Duration.toMillis(bounds.waiting))
  assert.isAtMost(ran.millis, Duration.toMillis(bounds.waitingWithHints))
  if (bounds.deadline !== undefined) assert.isAtMost(ran.millis, Duration.toMillis(bounds.deadline))
}

/** Every script, by returning to the last decision with another outcome. */
const everyScript = <E, R>(
  alphabet: ReadonlyArray<OutcomeName>,
  run: (decide: () => OutcomeName) => Effect.Effect<void, E, R>
): Effect.Effect<number, E, R> =>
  Effect.gen(function* () {
    let prefix: ReadonlyArray<number> = []
    for (let runs = 1; ; runs++) {
      const taken: Array<number> = []
      yield* run(() => {
        const choice = prefix[taken.length] ?? 0
        taken.push(choice)
        return alphabet[choice] ?? "ok"
      })
      let last = taken.pop()
      while (last !== undefined && last + 1 >= alphabet.length) last = taken.pop()
      if (last === undefined) return runs
      prefix = [...taken, last + 1]
    }
  })

/** An adversary that knows the route: every target fails as often as possible, and then in a way that moves on. */
const adversary = (facts: ReadonlyArray<Facts>, { bits }: Input): (() => OutcomeName) => {
  const way = facts.filter(
    ({ reachable, when }) => reachable && when.every(([number, answer]) => bits[number] === answer)
  )
  const failures = way.flatMap(({ leadsOn, policy }) => {
    const [again = "ProviderUnavailable"] = policy?.on ?? []
    const [on = "ProviderUnavailable"] = leadsOn ?? []
    const repeats = policy === undefined || policy.on?.length === 0 ? 0 : policy.attempts - 1
    return [...Array.from({ length: repeats }, () => again), on]
  })
  let at = 0
  return () => outcomeOf(failures[at++] ?? "ProviderUnavailable")
}

const allInputs = (conditions: number): ReadonlyArray<Input> =>
  Array.from({ length: 2 ** conditions }, (_, number) => ({
    prompt: "a prompt",
    bits: Array.from({ length: conditions }, (_, bit) => ((number >> bit) & 1) === 1)
  }))

describe("Route.bounds", () => {
  it.effect.prop(
    "are reached, and never exceeded, by the scripts of a tiny route",
    {
      spec: randomSpecs({ ...palette, attempts: [1, 2], depth: 2, leaves: 2 }),
      limited: oneOf<OutcomeName>("limitedShortly", "limitedLong")
    },
    ({ limited, spec }) => {
      const { layer, run } = makePeer()
      return Effect.gen(function* () {
        const { conditions, route } = build(spec)
        const bounds = Route.bounds(route)
        let most = 0
        for (const input of allInputs(conditions)) {
          const alphabet: ReadonlyArray<OutcomeName> = [
            "ok",
            "unavailable",
            limited,
            "unauthorized",
            "tooLarge",
            "garbage"
          ]
          yield* everyScript(alphabet, (decide) =>
            Effect.map(run(route, input, decide), (ran) => {
              assertWithin(route, ran)
              most = Math.max(most, ran.attempts.length)
            })
          )
        }
        if (!hasShortDeadline(spec)) assert.strictEqual(most, bounds.attempts)
      }).pipe(Effect.provide(layer))
    },
    { arbitrary: { runs: 25, seed: 1 } }
  )

  it.effect.prop(
    "are reached by the worst script of a small route, and random ones stay below",
    {
      spec: randomSpecs({ ...palette, depth: 3, leaves: 4 }),
      scripts: listOf(
        listOf(
          oneOf<OutcomeName>(
            "unavailable",
            "limitedShortly",
            "limitedLong",
            "limited",
            "unauthorized",
            "garbage",
            "tooLarge",
            "ok"
          ),
          4,
          12
        ),
        4,
        4
      ),
      input: inputs
    },
    ({ input, scripts, spec }) => {
      const { layer, run } = makePeer()
      return Effect.gen(function* () {
        const { conditions, facts, route } = build(spec)
        const bounds = Route.bounds(route)
        const reached = new Map<string, number>()
        let most = 0
        let longest = 0
        const keys = (wanted: boolean) => facts.flatMap(({ key, reachable }) => (reachable === wanted ? [key] : []))
        const unreachable = new Set(keys(false).filter((key) => !keys(true).includes(key)))
        assert.deepStrictEqual([...bounds.unreachable], [...unreachable])
        for (const one of allInputs(conditions)) {
          const ran = yield* run(route, one, adversary(facts, one))
          assertWithin(route, ran)
          most = Math.max(most, ran.attempts.length)
          longest = Math.max(longest, ran.millis)
          for (const key of ran.asked) reached.set(key, Math.max(reached.get(key) ?? 0, count(ran.asked, key)))
        }
        if (!hasShortDeadline(spec)) {
          assert.strictEqual(most, bounds.attempts)
          assert.strictEqual(longest, Duration.toMillis(bounds.waiting))
          assert.deepStrictEqual(reached, new Map(bounds.targets.map(({ attempts, key }) => [key, attempts])))
        }
        for (const script of scripts) {
          let at = 0
          assertWithin(route, yield* run(route, input, () => script[at++] ?? "unavailable"))
        }
      }).pipe(Effect.provide(layer))
    },
    { arbitrary: { runs: 80, seed: 2 } }
  )

  const millis = (route: Route.Route<Input, string>) => {
    const { waiting, waitingWithHints } = Route.bounds(route)
    return [Duration.toMillis(waiting), Duration.toMillis(waitingWithHints)]
  }

  it("counts waits by the back-off, its cap, hints and deadlines", () => {
    const leaf = leafOf("openai")
    const policy = { attempts: 4, delay: "1 second" } as const
    const ways: ReadonlyArray<readonly [Route.Route<Input, string>, number, number]> = [
      [leaf, 0, 0],
      [Route.retry(leaf, { attempts: 1 }), 0, 0],
      [Route.retry(leaf, policy), 1000 + 2000 + 4000, Number.POSITIVE_INFINITY],
      [Route.retry(leaf, { ...policy, retryAfter: false }), 7000, 7000],
      [Route.retry(leaf, { ...policy, retryAfter: false, jitter: 1 }), 7000, 7000],
      [Route.retry(leaf, { ...policy, retryAfter: false, backoff: "constant" }), 3000, 3000],
      [Route.retry(leaf, { ...policy, retryAfter: false, backoff: "linear" }), 6000, 6000],
      [Route.retry(leaf, { ...policy, retryAfter: false, maxDelay: "3 seconds" }), 6000, 6000],
      // The default cap is five seconds, or the delay when that is longer.
      [Route.retry(leaf, { attempts: 5, delay: "1 second", retryAfter: false }), 12_000, 12_000],
      [Route.retry(leaf, { attempts: 3, delay: "7 seconds", retryAfter: false }), 14_000, 14_000],
      [leaf.pipe(Route.retry(policy), Route.deadline("5 seconds")), 5000, 5000],
      [leaf.pipe(Route.retry(policy), Route.deadline("5 minutes")), 7000, 300_000],
      [leaf.pipe(Route.retry(Schedule.spaced("1 second"))), Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
      [leaf.pipe(Route.retry(Schedule.spaced("1 second")), Route.deadline("9 seconds")), 9000, 9000],
      [Route.fallback(leaf, leafOf("groq")).pipe(Route.retry(policy)), 14_000, Number.POSITIVE_INFINITY],
      [
        Route.fallback(
          leaf.pipe(Route.retry(policy), Route.deadline("5 seconds")),
          leafOf("groq").pipe(Route.retry(policy), Route.deadline("2 seconds"))
        ),
        7000,
        7000
      ]
    ]
    for (const [route, ...expected] of ways) assert.deepStrictEqual(millis(route), expected, Route.describe(route))
  })

  it("counts the requests of retry layers below and above", () => {
    const route = Route.fallback(
      leafOf("openai").pipe(Route.options({ retries: { attempts: 4 } })),
      leafOf("groq").pipe(Route.retry({ attempts: 3 }))
    )
    const bounds = Route.bounds(route)
    assert.deepStrictEqual(bounds.targets, [
      { key: "openai/m", attempts: 1, requests: 4 },
      { key: "groq/m", attempts: 3, requests: 3 }
    ])
    assert.strictEqual(bounds.attempts, 4)
    assert.strictEqual(bounds.requests, 7)
    assert.strictEqual(bounds.requestsUnderSdkRetries, 21)
    assert.deepStrictEqual(bounds.warnings, ["openai/m: the gateway makes up to 4 attempts of its own per request"])
  })

  it("are infinite for the attempts of a schedule", () => {
    const bounds = Route.bounds(leafOf("openai").pipe(Route.retry(Schedule.recurs(2))))
    assert.strictEqual(bounds.attempts, Number.POSITIVE_INFINITY)
    assert.deepStrictEqual(bounds.targets, [
      { key: "openai/m", attempts: Number.POSITIVE_INFINITY, requests: Number.POSITIVE_INFINITY }
    ])
  })

  it("warns of timeouts that a deadline cuts short", () => {
    const route = Route.fallback(
      leafOf("openai").pipe(Route.timeout("4 seconds")),
      leafOf("groq").pipe(Route.timeout("6 seconds")),
      leafOf("mistral").pipe(Route.timeout("4 seconds"), Route.deadline("3 seconds"))
    ).pipe(Route.deadline("5 seconds"))
    const bounds = Route.bounds(route)
    assert.deepStrictEqual(bounds.warnings, [
      "groq/m: the timeout of 6000 ms is longer than the deadline of 5000 ms",
      "mistral/m: the timeout of 4000 ms is longer than the deadline of 3000 ms"
    ])
    assert.deepStrictEqual(bounds.deadline, Duration.seconds(5))
    assert.isUndefined(Route.bounds(leafOf("openai")).deadline)
  })

  it("names targets that nothing leads to, unless they are called elsewhere", () => {
    const groq = leafOf("groq")
    const stopping = Route.fallback(leafOf("openai"), groq, leafOf("mistral")).pipe(Route.fallbackOn([]))
    assert.deepStrictEqual(Route.bounds(stopping).unreachable, ["groq/m", "mistral/m"])
    assert.strictEqual(Route.bounds(stopping).attempts, 1)
    assert.deepStrictEqual(Route.bounds(Route.fallback(stopping, groq)).unreachable, ["mistral/m"])
    assert.deepStrictEqual(Route.bounds(Route.fallbackOn(stopping, ["RateLimited"])).unreachable, [
      "groq/m",
      "mistral/m"
    ])
    assert.deepStrictEqual(Route.bounds(Route.fallback(groq).pipe(Route.fallbackOn([]))).unreachable, [])
    const repeated = Route.fallback(leafOf("openai"), groq, groq).pipe(Route.fallbackOn([]))
    assert.deepStrictEqual(Route.bounds(repeated).unreachable, ["groq/m"])
  })

  it("lists what makes a route invalid", () => {
    const route = leafOf("openai").pipe(Route.timeout(0), Route.retry({ attempts: 101 }))
    assert.deepStrictEqual(Route.bounds(route).problems, Route.problems(route))
    assert.strictEqual(Route.bounds(route).problems.length, 2)
  })
})
