// A complete Worker: three providers of one dialect behind the binding, with fallback, retry and timeout, run by the
// router.
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"

const ask = Route.fallback(
  Provider.openai.chat("gpt-4.1-mini"),
  Provider.groq.chat("llama-3.3-70b-versatile"),
  Provider.mistral.chat("mistral-small-latest")
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
