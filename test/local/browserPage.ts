/** The library in a web page, as an application bundles it. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as Transport from "effect-ai-gateway/Transport"

const route = Route.fallback(Provider.openai.chat("m"), Provider.groq.chat("m"))

/** Runs a route from the page, and returns the outcome as JSON. */
const ask = (baseUrl: string): Promise<string> => {
  const Gateway = GatewayService.layerHttp({ accountId: "local", gateway: "default", baseUrl })
  const Live = Layer.provideMerge(Router.layer, Layer.provide(Gateway, Transport.layerFetch))
  const program = Effect.gen(function* () {
    const { attempts, logId, value } = yield* Router.run(route, "Hello", { execution: "client" })
    return { text: value.text, logId, attempts: attempts.map(({ logId, status }) => ({ logId, status })) }
  })
  return Effect.runPromise(
    program.pipe(
      Effect.catch((error) => Effect.succeed({ failed: error.reason._tag })),
      Effect.map((outcome) => JSON.stringify(outcome)),
      Effect.provide(Live)
    )
  )
}

Object.assign(globalThis, { ask })
