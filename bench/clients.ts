/** HTTP clients for this library: its own, or Effect's where a compared checkout (`--base`) has none yet. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import type { HttpClient } from "effect/http/HttpClient"
import * as Layer from "effect/Layer"

type Client = Layer.Layer<HttpClient>

const own = async (load: () => Promise<Client>, otherwise: Client): Promise<Client> => {
  try {
    return await load()
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ERR_PACKAGE_PATH_NOT_EXPORTED") return otherwise
    throw error
  }
}

/** Over global `fetch`. */
export const overFetch = await own(
  async () => (await import("effect-ai-gateway/Transport")).layerFetch,
  FetchHttpClient.layer
)

/** Over undici. */
export const overUndici = await own(
  async () => Layer.orDie((await import("effect-ai-gateway/undici")).layer),
  NodeHttpClient.layerUndici
)
