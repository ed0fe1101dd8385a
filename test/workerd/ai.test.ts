/**
 * A program of `effect/ai` in workerd, over the genuine AI binding.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { serve } from "../../src/local/node.ts"
import { completion } from "../support/scripted.ts"
import { json } from "../support/streamRuns.ts"
import * as S from "../support/streamScript.ts"
import { bundle } from "./support/bundle.ts"
import * as Workerd from "./support/workerd.ts"

const { code } = await bundle(new URL("workers/ai.ts", import.meta.url))

const setting = (script: S.Script) =>
  Effect.gen(function* () {
    const provider = S.scripted(script)
    const { url } = yield* Effect.orDie(serve({ port: 0, gateway: "gw", upstreams: provider.upstreams }))
    const worker = yield* Workerd.start({ code, ai: { AI: { url } }, outbound: url })
    const ask = (path: string, prompt: string) =>
      Effect.flatMap(worker.fetch(path, { method: "POST", body: prompt }), (response) =>
        Effect.promise(async () => {
          const text = await response.text()
          assert.strictEqual(response.status, 200, `${text} ${worker.output()}`)
          return JSON.parse(text) as Record<string, unknown>
        })
      )
    return { ask, provider }
  })

const call = (a: number, b: number) => ({
  id: "c1",
  model: "m",
  choices: [
    {
      index: 0,
      message: {
        role: "assistant",
        content: null,
        tool_calls: [{ id: "t1", type: "function", function: { name: "add", arguments: JSON.stringify({ a, b }) } }]
      },
      finish_reason: "tool_calls"
    }
  ]
})

describe("effect/ai in workerd", () => {
  it.live("answers, calls tools, decodes objects and streams, each with its log id", () =>
    Effect.gen(function* () {
      const first = [
        json(completion("hello")),
        json(call(2, 3)),
        { status: 503 },
        { ...json(completion("not an object")) },
        { status: 503 }
      ]
      const { ask } = yield* setting({
        openai: first,
        groq: [json(completion('{"city":"Graz"}')), json(completion('{"city":"Linz"}'))]
      })
      const text = yield* ask("/text", "hi")
      assert.deepInclude(text, { text: "hello", target: "openai/gpt-4.1-mini", attempts: 1 })
      const tool = yield* ask("/tool", "2 + 3")
      assert.deepInclude(tool, { results: [5], attempts: 1 })
      const failedOver = yield* ask("/object", "where?")
      assert.deepInclude(failedOver, { value: { city: "Graz" }, target: "groq/other", attempts: 2 })
      const badJson = yield* ask("/object", "where?")
      assert.deepInclude(badJson, { value: { city: "Linz" }, target: "groq/other", attempts: 2 })
      const streamed = yield* ask("/stream", "hi")
      assert.deepInclude(streamed, { target: "groq/other", attempts: 2 })
      const logIds = [text, tool, failedOver, badJson, streamed].map(({ logId }) => logId)
      assert.strictEqual(new Set(logIds).size, 5, JSON.stringify(logIds))
      assert.isTrue(logIds.every((logId) => typeof logId === "string"))
    }).pipe(Effect.scoped)
  )

  it.live("lets the client of a single provider through, by the URL that the binding tells", () =>
    Effect.gen(function* () {
      const { ask } = yield* setting({ openai: [json(completion("hello"))] })
      const { attempts, logId, value } = yield* ask("/client", "hi")
      assert.strictEqual(attempts, 1)
      assert.isString(logId)
      assert.include(JSON.stringify(value), "hello")
    }).pipe(Effect.scoped)
  )
})
