// The Worker of `worker.ts` with three dialects instead of one: what two more codecs cost.
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"

const ask = Route.fallback(
  Provider.openai.chat("gpt-4.1-mini"),
  Provider.anthropic.messages("claude-haiku-4-5"),
  Provider.workersAi.chat("@cf/meta/llama-3.1-8b-instruct")
).pipe(Route.retry({ attempts: 3, delay: "200 millis", backoff: "exponential" }), Route.timeout("5 seconds"))

interface Env {
  readonly AI: GatewayService.AiBinding
}

export default {
  fetch: async (request: Request, env: Env): Promise<Response> => {
    const live = Router.layer.pipe(Layer.provide(GatewayService.layerBinding(env.AI, { gateway: "my-gateway" })))
    const { logId, value } = await Effect.runPromise(Router.run(ask, await request.text()).pipe(Effect.provide(live)))
    return new Response(value.text, logId === undefined ? {} : { headers: { "x-log-id": logId } })
  }
}
