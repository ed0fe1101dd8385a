/**
 * Routers over a scripted peer.
 */
import * as Layer from "effect/Layer"
import * as Router from "effect-ai-gateway/Router"
import { ScriptedPeer } from "effect-ai-gateway/testing"

export type Line = ScriptedPeer.Line
export type Script = ScriptedPeer.Script
export type Seen = ScriptedPeer.Seen
export const completion = ScriptedPeer.completion

/** A peer, and a router over it. */
export const make = (
  script: Script,
  execution: Router.Execution = "client",
  { router, ...options }: ScriptedPeer.Options & { readonly router?: Router.Options } = {}
) => {
  const peer = ScriptedPeer.make(script, options)
  return { ...peer, layer: Router.layerWith({ execution, ...router }).pipe(Layer.provideMerge(peer.layer)) }
}

/** The providers of requests. */
export const providersOf = (requests: ReadonlyArray<Seen>): ReadonlyArray<string> =>
  requests.map(({ provider }) => provider)
