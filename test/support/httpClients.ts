/**
 * All HTTP clients that the documentation names.
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import type { HttpClient } from "effect/http/HttpClient"
import type * as Layer from "effect/Layer"
import type { GatewayError } from "../../src/GatewayError.ts"
import * as Transport from "../../src/Transport.ts"
import * as Undici from "../../src/undici/Undici.ts"

/** The clients, with names that tell what they are based on. */
export const clients: ReadonlyArray<readonly [name: string, layer: Layer.Layer<HttpClient, GatewayError>]> = [
  ["fetch", FetchHttpClient.layer],
  ["undici", NodeHttpClient.layerUndici],
  ["node:http", NodeHttpClient.layerNodeHttpOptions({ keepAlive: true })],
  ["fetch, the short way", Transport.layerFetch],
  ["undici, the short way", Undici.layer]
]
