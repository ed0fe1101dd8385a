/**
 * A model over a route whose providers answer by a script.
 */
import * as Layer from "effect/Layer"
import { GatewayLanguageModel } from "effect-ai-gateway/ai"
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
