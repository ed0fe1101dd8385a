/**
 * The work with the library.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as Worker from "effect-ai-gateway/worker"
import { type Env, reply } from "./hand.ts"

const ask = Route.fallback(
  Provider.openai.chat("gpt-4.1-mini"),
  Provider.groq.chat("llama-3.3-70b-versatile"),
  Provider.mistral.chat("mistral-small-latest")
).pipe(Route.timeout("5 seconds"))

export const library = Worker.make({
  layer: (env: Env) =>
    Layer.provideMerge(
      Router.layerWith({ execution: "client" }),
      GatewayService.layerBinding(env.AI, { gateway: "gw" })
    ),
  fetch: Effect.fnUntraced(function* (request) {
    const { logId, value } = yield* Router.run(ask, yield* Effect.promise(() => request.text()))
    return reply(value.text, logId)
  })
})

export default library
