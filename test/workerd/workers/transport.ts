/** The gateway over HTTP from a Worker, through the runtime's `fetch`: the outcome of one call. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Transport from "effect-ai-gateway/Transport"
import * as Worker from "effect-ai-gateway/worker"

const leg = { provider: "openai", endpoint: "chat/completions", query: { model: "m", messages: [] } }

export default Worker.make({
  layer: () =>
    GatewayService.layerHttp({ accountId: "acc", gateway: "gw", baseUrl: "http://gateway.test" }).pipe(
      Layer.provide(Transport.layerFetch)
    ),
  fetch: () =>
    Effect.flatMap(GatewayService.GatewayService, (gateway) => gateway.run(leg)).pipe(
      Effect.flatMap(({ json }) => json),
      Effect.match({
        onSuccess: (value) => ({ value }),
        onFailure: ({ reason }) => ({ reason: { ...reason, _tag: reason._tag } })
      }),
      Effect.map((outcome) => Response.json(outcome))
    )
})
