/** A typical Worker, for the local runtime. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as AiService from "effect-ai-gateway/AiService"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as Worker from "effect-ai-gateway/worker"

interface Env {
  readonly MODELS: AiService.AiBinding
}

const ask = Route.fallback(Provider.openai.chat("m"), Provider.groq.chat("m"))

export default Worker.make({
  layer: (env: Env) =>
    Layer.mergeAll(
      AiService.layerBinding(env.MODELS),
      Layer.provideMerge(Router.layer, GatewayService.layerBinding(env.MODELS, { gateway: "gw" }))
    ),
  fetch: Effect.fnUntraced(function* (request) {
    const prompt = yield* Effect.promise(() => request.text())
    switch (new URL(request.url).pathname) {
      case "/ask": {
        const { logId, provider } = yield* Router.run(ask, prompt)
        return Response.json({ logId, provider })
      }
      case "/everything": {
        const ai = yield* AiService.AiService
        const gateway = yield* GatewayService.GatewayService
        const response = yield* ai.run("@cf/meta/llama-3.1-8b-instruct", { prompt }, { gateway: "gw" })
        const id = response.meta.logId ?? ""
        yield* gateway.patchLog(id, { feedback: 1 })
        const { provider } = yield* gateway.getLog(id)
        const models = yield* ai.models()
        return Response.json({
          result: yield* response.result,
          provider,
          models: models.length,
          url: yield* gateway.getUrl("openai"),
          limit: yield* Config.Int("LIMIT"),
          team: yield* Config.String("TEAM")
        })
      }
    }
    return new Response(null, { status: 404 })
  })
})
