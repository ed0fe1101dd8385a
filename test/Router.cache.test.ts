import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Attempt } from "effect-ai-gateway/GatewayError"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { drive } from "./batch/support.ts"
import * as scripted from "./support/scripted.ts"
import { backends, consume, groq, json, openai, play } from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

const broken = json({ choices: [] })
const good = json(scripted.completion("an answer"))

const told = (attempts: ReadonlyArray<Attempt>) =>
  attempts.map(({ cacheStatus, cause, outcome }) => `${cause} ${outcome} ${cacheStatus}`)

describe.each(backends)("the gateway's cache, $name", (backend) => {
  const cached = Route.cache(openai, { ttl: "1 hour" })
  const again = Route.retry(cached, { attempts: 3, delay: 10, on: ["InvalidResponse"] })

  it.live("is skipped by a repeat after a broken answer, which others get until it expires", () =>
    Effect.gen(function* () {
      const provider = S.scripted({ openai: [broken, broken, good] })
      yield* Effect.gen(function* () {
        const first = yield* Effect.flip(Router.run(cached, "hi"))
        assert.deepStrictEqual(told(first.attempts ?? []), ["first failure MISS"])
        const { attempts, value } = yield* Router.run(again, "hi")
        assert.deepStrictEqual(told(attempts), ["first failure HIT", "retry failure MISS", "retry success MISS"])
        assert.strictEqual(value.text, "an answer")
        // The repeat has written its answer, so the broken one is gone.
        const last = yield* Router.run(cached, "hi")
        assert.deepStrictEqual(told(last.attempts), ["first success HIT"])
      }).pipe(Effect.provide(backend.layer(provider.upstreams)))
    })
  )

  it.live("is skipped by the repeat of a stream too", () =>
    Effect.gen(function* () {
      const { attempts, error, text } = yield* play({ openai: [broken, { steps: S.words("words") }] }, again, "hi", {
        backend,
        execution: "client"
      })
      assert.isUndefined(error)
      assert.strictEqual(text, "words")
      assert.deepStrictEqual(told(attempts), ["first failure MISS", "retry success MISS"])
    })
  )

  it.live("shows in the attempts of a route that the gateway executes", () =>
    Effect.gen(function* () {
      const provider = S.scripted({ openai: [broken], groq: [good] })
      const route = Route.cache(Route.fallback(openai, groq), { ttl: "1 hour" })
      const run = Router.run(route, "hi", { execution: "gateway" })
      yield* Effect.gen(function* () {
        const miss = yield* run
        const hit = yield* run
        assert.deepStrictEqual(told(miss.attempts), ["first failure MISS", "fallback success MISS"])
        assert.deepStrictEqual(told(hit.attempts), ["first failure HIT", "fallback success HIT"])
      }).pipe(Effect.provide(backend.layer(provider.upstreams)))
    })
  )
})

it.effect("is skipped when a restart calls the broken target again", () => {
  const provider = S.scripted({ openai: [{ steps: [S.say("ha"), S.error()] }, { steps: S.words("words") }] })
  return Effect.gen(function* () {
    const { text } = yield* consume(Route.restart(Route.cache(openai, { ttl: "1 hour" }), 1), "hi")
    assert.strictEqual(text, "words")
    const skips = provider.bodies.map(({ headers }) => headers["cf-aig-skip-cache"])
    assert.deepStrictEqual(skips, ["false", "true"])
  }).pipe(Effect.provide(provider.direct))
})

it.effect("a repeat after a failure that is not cached reads the cache, and so does a fallback", () =>
  Effect.gen(function* () {
    const { layer, seen } = scripted.make({ openai: [{ status: 503 }, { text: "no JSON" }] })
    const route = Route.fallback(openai, groq).pipe(
      Route.retry({ attempts: 2, delay: 10, on: ["ProviderUnavailable"] }),
      Route.cache({ ttl: "1 hour" })
    )
    yield* drive(Effect.provide(Router.run(route, "hi"), layer))
    assert.deepStrictEqual(
      seen.map(({ headers, provider }) => [provider, headers["cf-aig-skip-cache"]]),
      [
        ["openai", "false"],
        ["openai", "false"],
        ["groq", "false"]
      ]
    )
  })
)
