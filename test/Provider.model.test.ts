import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Router from "effect-ai-gateway/Router"
import * as scripted from "./support/scripted.ts"

/** Where each provider has its model: in the body, or in the path. */
const targets = [
  ["openai", Provider.openai.chat("gpt-4.1-mini"), "gpt-4.1-mini"],
  ["anthropic", Provider.anthropic.messages("claude-haiku-4-5"), "claude-haiku-4-5"],
  ["google", Provider.googleAiStudio.chat("gemini-2.5-flash"), "gemini-2.5-flash"],
  [
    "vertex",
    Provider.googleVertexAi.chat("gemini-2.5-flash", { project: "p", region: "europe-west1" }),
    "gemini-2.5-flash"
  ],
  ["workers-ai", Provider.workersAi.chat("@cf/meta/llama-3.1-8b-instruct"), "@cf/meta/llama-3.1-8b-instruct"]
] as const

describe("an error names the model of its target", () => {
  for (const [name, route, model] of targets) {
    it.effect(name, () =>
      Effect.gen(function* () {
        const { layer } = scripted.make(() => ({ status: 500 }))
        const whole = yield* Effect.flip(Effect.provide(Router.run(route, "hi"), layer))
        const streamed = yield* Effect.flip(Effect.provide(Stream.runDrain(Router.stream(route, "hi")), layer))
        assert.deepStrictEqual([whole.model, streamed.model], [model, model])
        assert.include(whole.message, model)
      })
    )
  }

  it.effect("of a request without a route too", () =>
    Effect.gen(function* () {
      const { layer } = scripted.make(() => ({ status: 500 }))
      const ask = (provider: string, endpoint: string) =>
        Effect.flip(
          Effect.flatMap(GatewayService.GatewayService, (gateway) => gateway.run({ provider, endpoint, query: {} }))
        )
      const models = yield* Effect.forEach(
        [
          ["google-ai-studio", "v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"],
          ["workers-ai", "@cf/meta/llama-3.1-8b-instruct"],
          ["openai", "chat/completions"],
          ["openai", "models/gpt-4.1"]
        ] as const,
        ([provider, endpoint]) => Effect.map(ask(provider, endpoint), ({ model }) => model)
      ).pipe(Effect.provide(layer))
      assert.deepStrictEqual(models, ["gemini-2.5-flash", "@cf/meta/llama-3.1-8b-instruct", undefined, undefined])
    })
  )
})
