/**
 * Keeps web pages away from the gateway: looks at `Host`, `Origin` and `Sec-Fetch-Site` before anything else is read,
 * answers preflights, and makes sure that no answer is a document on the gateway's own origin.
 */
import * as Result from "effect/Result"
import { code, type Refusal, refuse } from "./errors.ts"
import type { HeaderMap } from "./http.ts"
import type { Answer } from "./protocol.ts"

/** Names and origins beside those of this machine. */
export interface Allowed {
  /** As {@link hostname} writes them. */
  readonly hosts: ReadonlySet<string>
  readonly origins: ReadonlySet<string>
}

/** Who sent a request, as far as its headers show. */
export interface Caller {
  /** Origin of the page that may read the answer; absent for clients that are no pages. */
  readonly origin: string | undefined
  /** Whether a page made the browser send it; false for an address that was typed, and for clients that are no browsers. */
  readonly isPage: boolean
}

/** The host that the genuine Workers binding names in every request. It is Cloudflare's, so no page can be served from it. */
const bindingHost = "workers-binding.ai"

/** The name or address of a `Host` header in its one normal form, without the port; `undefined` when it is malformed. */
export const hostname = (host: string): string | undefined => {
  // Only what a browser can send: an URL parser would also take a user name, a path or a query.
  if (!/^[^\s/?#@\\,*]+$/.test(host) || !URL.canParse(`http://${host}`)) return undefined
  return new URL(`http://${host}`).hostname
}

/** Whether a normal host name is one of this machine's loopback interface. */
const isLoopback = (name: string): boolean =>
  name === "localhost" || name === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(name)

/** Whether a text is an origin as browsers send it. `null` is none: every sandboxed page has it. */
export const isOrigin = (text: string): boolean => {
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^\s/?#@\\,*]+$/.test(text) || !URL.canParse(text)) return false
  const { origin, protocol } = new URL(text)
  return protocol === "http:" || protocol === "https:" ? origin === text : true
}

const forbid = (message: string): Result.Result<never, Refusal> => Result.fail(refuse(403, code.forbidden, message))

const isForeignSite = (site: string | undefined): boolean =>
  site !== undefined && site !== "none" && site !== "same-origin"

/** Tells who calls, or why the caller is rejected. Only a request made in this process has no `Host`. */
export const identify = (allowed: Allowed, headers: HeaderMap): Result.Result<Caller, Refusal> => {
  const { host, origin } = headers
  const site = headers["sec-fetch-site"]
  if (host !== undefined) {
    const name = hostname(host)
    const isKnown = name !== undefined && (isLoopback(name) || name === bindingHost || allowed.hosts.has(name))
    if (!isKnown) {
      return forbid("Host: expected a loopback name or address, or one that is listed (allowHosts, --allow-host)")
    }
  }
  const isListed = origin !== undefined && allowed.origins.has(origin)
  const isOwn = origin === undefined || (host !== undefined && [`http://${host}`, `https://${host}`].includes(origin))
  if (!isListed && !isOwn) {
    return forbid("Origin: expected an origin that is listed (allowOrigins, --allow-origin); web pages have no access")
  }
  if (!isListed && isForeignSite(site)) {
    return forbid("Sec-Fetch-Site: expected none or same-origin; other web pages have no access, not even by a link")
  }
  return Result.succeed({ origin, isPage: origin !== undefined || (site !== undefined && site !== "none") })
}

/** Whether a browser asks for permission to send a request. */
export const isPreflight = (method: string, headers: HeaderMap): boolean =>
  method === "OPTIONS" && headers["access-control-request-method"] !== undefined

/** Seconds that a browser remembers a preflight's answer. */
const preflightMaxAge = 600

/** Sent with every answer. No body becomes a document, a script or a style of the gateway's origin, whatever its type. */
export const sealing: HeaderMap = {
  "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
  "cross-origin-resource-policy": "same-origin",
  "x-content-type-options": "nosniff"
}

/** The answer to a preflight of a page that was let in: it may send what it asked for. */
export const preflight = (headers: HeaderMap, { origin }: Caller): Answer => ({
  status: 204,
  headers: {
    ...sealing,
    ...(origin === undefined
      ? {}
      : {
          "access-control-allow-origin": origin,
          "access-control-allow-methods": headers["access-control-request-method"] ?? "",
          "access-control-allow-headers": headers["access-control-request-headers"] ?? "",
          "access-control-allow-private-network": "true",
          "access-control-max-age": String(preflightMaxAge),
          vary: "Origin"
        })
  },
  body: null
})

/** Whether an upstream's header would act on the gateway's own origin: open it to pages, or send a browser elsewhere. */
const actsOnOrigin = (name: string): boolean =>
  name.startsWith("access-control-") || ["clear-site-data", "refresh", "service-worker-allowed"].includes(name)

/** An answer as it leaves: sealed, and readable with all its headers by the page that asked for it, if that one may. */
export const seal = (answer: Answer, origin: string | undefined): Answer => {
  const own = Object.entries(answer.headers).filter(([name]) => !actsOnOrigin(name))
  const headers = { ...Object.fromEntries(own), ...sealing }
  if (origin === undefined) return { ...answer, headers }
  const vary = answer.headers["vary"]
  return {
    ...answer,
    headers: {
      ...headers,
      "access-control-allow-origin": origin,
      "access-control-expose-headers": own.map(([name]) => name).join(", "),
      vary: vary === undefined ? "Origin" : `${vary}, Origin`
    }
  }
}
