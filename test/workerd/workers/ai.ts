/**
 * A Worker that was written for `effect/ai`: a toolkit, an object and a stream over the AI binding.
 */
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as Response_ from "effect/ai/Response"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type * as AiService from "effect-ai-gateway/AiService"
import { GatewayLanguageModel } from "effect-ai-gateway/ai"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as Worker from "effect-ai-gateway/worker"

interface Env {
  readonly AI: AiService.AiBinding
}

const Add = Tool.make("add", {
  parameters: Schema.Struct({ a: Schema.Int, b: Schema.Int }),
  success: Schema.Int
})
const kit = Toolkit.make(Add)

const route = Route.fallback(Provider.openai.chat("gpt-4.1-mini"), Provider.groq.chat("other"))

const facts = (parts: ReadonlyArray<Response_.AnyPart>) => {
  const gateway = parts.find((part) => part.type === "finish")?.metadata.gateway
  return { target: gateway?.target, logId: gateway?.logId, attempts: gateway?.attempts.length }
}

export default Worker.make({
  layer: (env: Env) =>
    Layer.merge(GatewayLanguageModel.layer(route), kit.toLayer({ add: ({ a, b }) => Effect.succeed(a + b) })).pipe(
      Layer.provide(Router.layerWith({ execution: "client" })),
      Layer.provide(GatewayService.layerBinding(env.AI, { gateway: "gw" }))
    ),
  fetch: Effect.fnUntraced(function* (request) {
    const prompt = yield* Effect.promise(() => request.text())
    switch (new URL(request.url).pathname) {
      case "/text": {
        const { content, text } = yield* Effect.orDie(LanguageModel.generateText({ prompt }))
        return Response.json({ text, ...facts(content) })
      }
      case "/tool": {
        const answer = yield* Effect.orDie(LanguageModel.generateText({ prompt, toolkit: kit }))
        return Response.json({ results: answer.toolResults.map(({ result }) => result), ...facts(answer.content) })
      }
      case "/object": {
        const schema = Schema.Struct({ city: Schema.String })
        const { content, value } = yield* Effect.orDie(LanguageModel.generateObject({ prompt, schema }))
        return Response.json({ value, ...facts(content) })
      }
      default: {
        const parts = yield* Effect.orDie(Stream.runCollect(LanguageModel.streamText({ prompt })))
        const text = parts.map((part) => (part.type === "text-delta" ? part.delta : "")).join("")
        return Response.json({ text, ...facts(parts) })
      }
    }
  })
})
