// The gateway over the binding without routes: one target, with Effect's own retries and time limit.
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as GatewayService from "effect-ai-gateway/GatewayService"

interface Env {
  readonly AI: GatewayService.AiBinding
}

export default {
  fetch: async (request: Request, env: Env): Promise<Response> => {
    const content = await request.text()
    const query = { model: "gpt-4.1-mini", messages: [{ role: "user", content }] }
    return Effect.flatMap(GatewayService.GatewayService, (gateway) =>
      gateway.run({ provider: "openai", endpoint: "chat/completions", query })
    ).pipe(
      Effect.retry(Schedule.recurs(2)),
      Effect.timeout("5 seconds"),
      Effect.flatMap((response) => response.text),
      Effect.map((text) => new Response(text)),
      Effect.provide(GatewayService.layerBinding(env.AI, { gateway: "my-gateway" })),
      Effect.runPromise
    )
  }
}
