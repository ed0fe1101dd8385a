/**
 * A Worker that was written for `effect/ai`: a toolkit, an object and a stream over the AI binding.
 */
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as Response_ from "effect/ai/Response"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type * as AiService from "effect-ai-gateway/AiService"
import { GatewayHttpClient, GatewayLanguageModel } from "effect-ai-gateway/ai"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as LogTrail from "effect-ai-gateway/LogTrail"
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
    Layer.mergeAll(
      GatewayLanguageModel.layer(route),
      kit.toLayer({ add: ({ a, b }) => Effect.succeed(a + b) }),
      // As Effect's client for OpenAI would use it.
      GatewayHttpClient.layer().pipe(Layer.provide(FetchHttpClient.layer))
    ).pipe(
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
      case "/client": {
        const client = yield* HttpClient.HttpClient
        const body = HttpBody.jsonUnsafe({ model: "gpt-4.1-mini", messages: [{ role: "user", content: prompt }] })
        const sent = client.post("https://api.openai.com/v1/chat/completions", { body })
        const { attempts, value } = yield* Effect.orDie(
          LogTrail.collect(Effect.flatMap(sent, (response) => response.json))
        )
        return Response.json({ value, logId: attempts[0]?.logId, attempts: attempts.length })
      }
      default: {
        const parts = yield* Effect.orDie(Stream.runCollect(LanguageModel.streamText({ prompt })))
        const text = parts.map((part) => (part.type === "text-delta" ? part.delta : "")).join("")
        return Response.json({ text, ...facts(parts) })
      }
    }
  })
})
