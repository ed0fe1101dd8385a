/**
 * Keeps web pages away from the gateway: checks `Host`, `Origin` and `Sec-Fetch-Site` before anything else is read,
 * answers preflights, and makes sure that no answer is a document on the gateway's own origin.
 */
import * as Result from "effect/Result"
import { code, type Refusal, refuse } from "../wire/errors.ts"
import type { HeaderMap } from "../wire/message.ts"
import { type Allowed, hostname } from "../wire/origins.ts"
import type { Answer } from "../wire/protocol.ts"

/** The sender of a request, as far as its headers show. */
export interface Caller {
  /** Origin of the page that may read the answer; absent for clients that are not pages. */
  readonly origin: string | undefined
  /**
   * Whether a page made the browser send the request; false for a typed address, and for clients that are not browsers.
   */
  readonly isPage: boolean
  /** Whether the request names the host of the Workers binding, which calls the binding's own paths and no others. */
  readonly isBinding: boolean
}

/** The host that the genuine Workers binding names in every request. */
const bindingHost = "workers-binding.ai"
/** Whether a normal host name is one of this machine's loopback interface. */
const isLoopback = (name: string): boolean =>
  name === "localhost" || name === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(name)
const forbid = (message: string): Result.Result<never, Refusal> => Result.fail(refuse(403, code.forbidden, message))

const isForeignSite = (site: string | undefined): boolean =>
  site !== undefined && site !== "none" && site !== "same-origin"

/** Identifies the caller, or rejects it with a reason. Only a request made in this process has no `Host`. */
export const identify = (allowed: Allowed, headers: HeaderMap): Result.Result<Caller, Refusal> => {
  const { host, origin } = headers
  const site = headers["sec-fetch-site"]
  const name = host === undefined ? undefined : hostname(host)
  const isBinding = name === bindingHost
  if (host !== undefined) {
    const isKnown = name !== undefined && (isLoopback(name) || isBinding || allowed.hosts.has(name))
    if (!isKnown) {
      return forbid("Host: expected a loopback name or address, or one that is listed (allowHosts, --allow-host)")
    }
  }
  // Whoever controls DNS in this network can serve a page under this name; the binding is not a browser.
  if (isBinding && (origin !== undefined || site !== undefined)) {
    return forbid("Host: web pages have no access under the host of the Workers binding")
  }
  const isListed = origin !== undefined && allowed.origins.has(origin)
  const isOwn = origin === undefined || (host !== undefined && [`http://${host}`, `https://${host}`].includes(origin))
  if (!isListed && !isOwn) {
    return forbid("Origin: expected an origin that is listed (allowOrigins, --allow-origin); web pages have no access")
  }
  if (!isListed && isForeignSite(site)) {
    return forbid("Sec-Fetch-Site: expected none or same-origin; other web pages have no access, not even by a link")
  }
  const isPage = origin !== undefined || (site !== undefined && site !== "none")
  return Result.succeed({ origin, isPage, isBinding })
}

/** Whether a browser asks for permission to send a request. */
export const isPreflight = (method: string, headers: HeaderMap): boolean =>
  method === "OPTIONS" && headers["access-control-request-method"] !== undefined

/** Seconds for which a browser remembers the answer to a preflight. */
const preflightMaxAge = 600

/**
 * Headers of every answer. With them, no body of any type becomes a document, a script or a style of the gateway's
 * origin.
 */
export const sealing: HeaderMap = {
  "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
  "cross-origin-resource-policy": "same-origin",
  "x-content-type-options": "nosniff"
}

/** The answer to a preflight of an accepted page, which permits the requested method and headers. */
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

/**
 * Whether an upstream's header would affect the gateway's own origin: open it to pages, or send a browser elsewhere.
 */
const actsOnOrigin = (name: string): boolean =>
  name.startsWith("access-control-") || ["clear-site-data", "refresh", "service-worker-allowed"].includes(name)

/**
 * Adds the sealing headers to an answer, and makes it readable with all its headers by the page of `origin`, if there
 * is one.
 */
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
