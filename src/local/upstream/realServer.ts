/**
 * An upstream that is a real server, reached with `fetch`.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { baseUrlAccepted, isBaseUrl } from "../../internal/data/baseUrl.ts"
import { trimSlashes } from "../../internal/data/trimSlashes.ts"
import { insideAccepted, isInside } from "../wire/endpoints.ts"
import { badRequest, dataPlaneError } from "../wire/errors.ts"
import { type Handler, UpstreamFailure } from "../wire/protocol.ts"

// `fetch` frames its own requests; the other headers concern one connection only.
const notForwarded = new Set([
  "accept-encoding",
  "connection",
  "content-length",
  "expect",
  "host",
  "keep-alive",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade"
])

/** Headers of an answer that are not forwarded: `fetch` has decoded its body, and cookies travel separately. */
const notReturned = new Set([...notForwarded, "content-encoding", "set-cookie"])

/** Joins a base URL and an endpoint; a version segment that both have appears once. */
export const join = (baseUrl: string, endpoint: string): string => {
  const base = trimSlashes(baseUrl)
  const path = base.endsWith("/v1") && endpoint.startsWith("v1/") ? endpoint.slice(3) : endpoint
  return `${base}/${path}`
}

/** The URL of an endpoint; `undefined` when it is not below the base, however it is written. */
const below = (baseUrl: string, endpoint: string): URL | undefined => {
  const [base, url] = [new URL(baseUrl), new URL(join(baseUrl, endpoint))]
  const inside = url.origin === base.origin && url.pathname.startsWith(`${trimSlashes(base.pathname)}/`)
  return isInside(endpoint) && inside ? url : undefined
}

export const problem = (options: ProxyOptions): { readonly field: string; readonly accepted: string } | undefined =>
  isBaseUrl(options.baseUrl) ? undefined : { field: "baseUrl", accepted: `an absolute ${baseUrlAccepted}` }

export const handler = (options: ProxyOptions): Handler => {
  const fetch = options.fetch ?? globalThis.fetch
  return (request) => {
    const url = below(options.baseUrl, request.endpoint)
    if (url === undefined) {
      return Effect.succeed(dataPlaneError(badRequest(`endpoint: expected ${insideAccepted}`)))
    }
    return Effect.tryPromise({
      try: (signal) => {
        const headers = new Headers()
        for (const [name, value] of Object.entries(request.headers)) {
          if (!notForwarded.has(name)) headers.set(name, value)
        }
        for (const [name, value] of Object.entries(options.headers ?? {})) {
          headers.set(name, Redacted.isRedacted(value) ? Redacted.value(value) : value)
        }
        return fetch(url.href, {
          method: request.method,
          headers,
          body: request.body ?? null,
          redirect: "manual",
          signal
        })
      },
      catch: () => new UpstreamFailure({ kind: "connect" })
    }).pipe(
      Effect.map((response) => {
        const headers: Record<string, string> = {}
        for (const [name, value] of response.headers) {
          if (!notReturned.has(name)) headers[name] = value
        }
        return { status: response.status, headers, cookies: response.headers.getSetCookie(), body: response.body }
      })
    )
  }
}

/** Options of {@link proxy}. */
export interface ProxyOptions {
  /** Absolute `http` or `https` URL; the endpoint is appended. `…/v1` followed by an endpoint `v1/…` is joined once. */
  readonly baseUrl: string
  /** Headers to add or replace, for example the real credential. */
  readonly headers?: Readonly<Record<string, string | Redacted.Redacted<string>>> | undefined
  /** Default: the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch | undefined
}
