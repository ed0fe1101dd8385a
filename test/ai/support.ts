/**
 * A model over a route whose providers answer by a script.
 */
import type * as LanguageModel from "effect/ai/LanguageModel"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import type { HttpClient } from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { GatewayHttpClient, GatewayLanguageModel } from "effect-ai-gateway/ai"
import type { GatewayError } from "effect-ai-gateway/GatewayError"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import type * as Router from "effect-ai-gateway/Router"
import type { ScriptedPeer } from "effect-ai-gateway/testing"
import { make } from "../support/scripted.ts"

export const openai = Provider.openai.chat("m")

export const scripted = (
  script: ScriptedPeer.Script,
  route: GatewayLanguageModel.ChatRoute = openai,
  router: Router.Options = {}
) => {
  const peer = make(script, "client", { router })
  const { interrupted, seen } = peer
  return { interrupted, seen, layer: GatewayLanguageModel.layer(route).pipe(Layer.provide(peer.layer)) }
}

export const reply = (message: object, finish: string, more: object = {}) => ({
  body: {
    id: "c1",
    model: "m-1",
    choices: [{ index: 0, message: { role: "assistant", ...message }, finish_reason: finish }],
    ...more
  }
})

/** A tool that finds everything. */
const Lookup = Tool.make("lookup", { parameters: Schema.Struct({ id: Schema.String }), success: Schema.String })
export const kit = Toolkit.make(Lookup)
const KitLive = kit.toLayer({ lookup: ({ id }) => Effect.succeed(`found ${id}`) })

/** A call of a tool, as OpenAI writes it. */
export const call = (id: string, name: string, args: string) => ({
  id,
  type: "function",
  function: { name, arguments: args }
})

/** Provides a model, and the handler of the tool. */
export const runs = <A, E>(
  effect: Effect.Effect<A, E, LanguageModel.LanguageModel | Tool.HandlersFor<typeof kit.tools>>,
  layer: Layer.Layer<LanguageModel.LanguageModel, GatewayError>
) => Effect.provide(effect, Layer.merge(layer, KitLive))

/** The token of the gateway behind {@link to}. */
export const token = Redacted.make("gateway-token-1")

/** The layer for clients of single providers, over a gateway that is only a base URL. */
export const to = (
  baseUrl: string,
  client: Layer.Layer<HttpClient, GatewayError>,
  given: GatewayHttpClient.Options = { token }
) =>
  GatewayHttpClient.layer(given).pipe(
    Layer.provideMerge(GatewayService.layerHttp({ accountId: "acc", gateway: "gw", baseUrl })),
    Layer.provide(client)
  )
