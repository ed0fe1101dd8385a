/**
 * Timers of hedges, lanes of races, probes of breakers and queues of limits in workerd, with clients that leave while
 * they wait, lose or probe.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { serve } from "../../src/local/node.ts"
import { completion } from "../support/scripted.ts"
import { json } from "../support/streamRuns.ts"
import * as S from "../support/streamScript.ts"
import { bundle } from "./support/bundle.ts"
import * as Workerd from "./support/workerd.ts"

const { code } = await bundle(new URL("workers/resilience.ts", import.meta.url))

const setting = (script: S.Script) =>
  Effect.gen(function* () {
    const provider = S.scripted(script)
    const { url } = yield* Effect.orDie(serve({ port: 0, gateway: "gw", upstreams: provider.upstreams }))
    const worker = yield* Workerd.start({ code, ai: { AI: { url } } })
    const ask = (path: string, prompt: string) =>
      Effect.flatMap(worker.fetch(path, { method: "POST", body: prompt }), (response) =>
        Effect.map(
          Effect.promise(() => response.text()),
          (text) => ({ status: response.status, text })
        )
      )
    return { provider, worker, ask }
  })

const until = (holds: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => (holds() ? Effect.void : Effect.andThen(Effect.sleep(5), until(holds))))

interface Answer {
  readonly prompt: string
  readonly text: string
  readonly target: string
  readonly logId: string
  readonly attempts: ReadonlyArray<string>
  readonly skipped: ReadonlyArray<string>
}

const prompts = Array.from({ length: 12 }, (_, i) => `prompt ${i}`)
const late: S.Reply = { ...json(completion("late")), delay: 20_000 }

describe("in workerd", () => {
  for (const path of ["/hedge", "/race"]) {
    it.live(`${path.slice(1)}s of many concurrent requests give each its own answer, and stop the losers`, () =>
      Effect.gen(function* () {
        const { ask, provider, worker } = yield* setting((name) =>
          name === "openai" ? late : json(completion("quick"))
        )
        const answers = yield* Effect.forEach(prompts, (prompt) => ask(path, prompt), { concurrency: "unbounded" })
        const logIds = new Set<string>()
        for (const [i, { status, text }] of answers.entries()) {
          assert.strictEqual(status, 200, `${text} ${worker.output()}`)
          const answer: Answer = JSON.parse(text)
          assert.deepInclude(answer, { prompt: `prompt ${i}`, text: "quick", target: "groq/m" })
          assert.strictEqual(answer.attempts[0], "openai/m first interrupted")
          logIds.add(answer.logId)
        }
        assert.strictEqual(logIds.size, prompts.length)
        yield* until(() => provider.states().filter((one) => one === "openai cancelled").length === prompts.length)
      }).pipe(Effect.scoped)
    )

    it.live(`${path.slice(1)}s end with a client that leaves, and the next request succeeds`, () =>
      Effect.gen(function* () {
        let isSlow = true
        const { ask, provider } = yield* setting(() => (isSlow ? late : json(completion("quick"))))
        const leaving = yield* Effect.forkChild(ask(path, "leaving"))
        const other = yield* Effect.forkChild(ask(path, "other"))
        yield* until(() => provider.bodies.length === 4)
        yield* Fiber.interrupt(leaving)
        yield* until(() => provider.states().filter((one) => one.endsWith("cancelled")).length === 2)
        isSlow = false
        assert.strictEqual((yield* ask(path, "next")).status, 200)
        yield* Fiber.interrupt(other)
        yield* until(() => provider.states().filter((one) => one.endsWith("cancelled")).length >= 4)
      }).pipe(Effect.scoped)
    )
  }

  it.live("a stream is hedged until its first delta", () =>
    Effect.gen(function* () {
      const { ask, provider } = yield* setting((name) =>
        name === "openai" ? { steps: [S.role, S.stall] } : { steps: S.words("quick") }
      )
      const { status, text } = yield* ask("/hedge?stream", "hi")
      assert.deepInclude({ status, ...JSON.parse(text) }, { status: 200, text: "quick" })
      yield* until(() => provider.states().includes("openai cancelled"))
    }).pipe(Effect.scoped)
  )

  it.live("a breaker is shared by requests, and a client that leaves during a probe frees the probe", () =>
    Effect.gen(function* () {
      let openai: S.Reply = { status: 503 }
      const { ask, provider } = yield* setting((name) => (name === "openai" ? openai : json(completion("groq"))))
      const told = (prompt: string) => Effect.map(ask("/breaker", prompt), ({ text }): Answer => JSON.parse(text))
      const calls = () => provider.bodies.filter(({ provider }) => provider === "openai").length
      for (const prompt of ["a", "b"]) assert.strictEqual((yield* told(prompt)).attempts.length, 2)
      assert.deepInclude(yield* told("c"), { target: "groq/m", skipped: ["openai/m"] })
      openai = late
      yield* Effect.sleep(400)
      const before = calls()
      const probe = yield* Effect.forkChild(ask("/breaker", "probe"))
      yield* until(() => calls() === before + 1)
      // While the probe is in flight, others skip the target.
      assert.deepInclude(yield* told("d"), { skipped: ["openai/m"] })
      yield* Fiber.interrupt(probe)
      yield* until(() => provider.states().includes("openai cancelled"))
      openai = json(completion("openai"))
      assert.deepInclude(yield* told("e"), { target: "openai/m", text: "openai" })
      assert.deepInclude(yield* told("f"), { target: "openai/m" })
    }).pipe(Effect.scoped)
  )

  it.live("a queue continues when a client leaves that waits in it, or that holds the place", () =>
    Effect.gen(function* () {
      let openai: S.Reply = late
      const { ask, provider } = yield* setting(() => openai)
      const calls = () => provider.bodies.length
      const holding = yield* Effect.forkChild(ask("/limits", "holds"))
      yield* until(() => calls() === 1)
      const leaving = yield* Effect.forkChild(ask("/limits", "leaves"))
      yield* Effect.sleep(100)
      const staying = yield* Effect.forkChild(ask("/limits", "stays"))
      yield* Effect.sleep(100)
      assert.strictEqual(calls(), 1)
      yield* Fiber.interrupt(leaving)
      openai = json(completion("openai"))
      yield* Fiber.interrupt(holding)
      yield* until(() => provider.states().includes("openai cancelled"))
      const { status, text } = yield* Fiber.join(staying)
      assert.deepInclude({ status, ...JSON.parse(text) }, { status: 200, prompt: "stays", text: "openai" })
      assert.strictEqual(calls(), 2)
    }).pipe(Effect.scoped)
  )

  it.live("a queued request is admitted in the context of another one", () =>
    Effect.gen(function* () {
      const { ask, provider } = yield* setting(() => ({ ...json(completion("openai")), delay: 30 }))
      const answers = yield* Effect.forEach(prompts, (prompt) => ask("/limits", prompt), { concurrency: "unbounded" })
      for (const [i, { status, text }] of answers.entries()) {
        assert.deepInclude({ status, ...JSON.parse(text) }, { status: 200, prompt: `prompt ${i}` })
      }
      assert.strictEqual(provider.bodies.length, prompts.length)
    }).pipe(Effect.scoped)
  )
})
