/**
 * Cloudflare's providers for the AI SDK outside of Workers, against a local gateway: `ai-gateway-provider` takes
 * `bindingTo` as its `binding`, `workers-ai-provider` takes `fetchTo` as its `fetch`. Neither package has an option for
 * a base URL.
 */

/**
 * Binding that sends universal requests to `url`, which is `getUrl()`. `token` is that of the gateway, if it needs one.
 */
export const bindingTo = (url: string, token?: string) => ({
  run: (requests: unknown, options?: { readonly signal?: AbortSignal }): Promise<Response> => {
    const headers = new Headers({ "content-type": "application/json" })
    if (token !== undefined) headers.set("cf-aig-authorization", `Bearer ${token}`)
    return fetch(url, { method: "POST", headers, body: JSON.stringify(requests), signal: options?.signal ?? null })
  }
})

/** A `fetch` that sends requests for Cloudflare to the server at `base`, for example `http://127.0.0.1:8790`. */
export const fetchTo =
  (base: string, token?: string): typeof fetch =>
  (input, init) => {
    const { pathname, search } = new URL(input instanceof Request ? input.url : input)
    const headers = new Headers(init?.headers)
    if (token !== undefined) headers.set("cf-aig-authorization", `Bearer ${token}`)
    return fetch(base + pathname + search, { ...init, headers })
  }
