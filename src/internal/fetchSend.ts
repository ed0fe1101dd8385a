/**
 * Requests over `fetch`, with nothing between.
 */
import * as Effect from "effect/Effect"
import type { Reason } from "../GatewayError.ts"
import type { Answer } from "./body.ts"
import { webAnswer } from "./encoding.ts"
import { requested } from "./promised.ts"
import { isRedirect, isRefusal, redirected, resending, type Send, transportReason, wireHeaders } from "./send.ts"

/** Whether a runtime has the mode in which a redirect is an error. That of Workers does not, and says so. */
const mayRefuse = (): boolean => {
  try {
    return new Request("http://localhost", { redirect: "error" }).redirect === "error"
  } catch {
    return false
  }
}

/**
 * Whether this is the `fetch` of Node. It copies every request, with its body as a stream of two branches, as a redirect may need it again; only where a redirect
 * is an error it does not, which spares much of its time and memory. Others pass for Node, and are not.
 */
const isOfNode = (fetch: typeof globalThis.fetch): boolean => {
  const { versions } = globalThis.process ?? {}
  return (
    fetch === globalThis.fetch &&
    versions?.["undici"] !== undefined &&
    !("deno" in versions || "bun" in versions) &&
    mayRefuse()
  )
}

/**
 * Makes a sender of a `fetch`. Redirects are never followed: `fetch` would take the credentials of a 307 along to whoever it
 * names, and what comes from there would be refused.
 */
export const makeFetchSend = (fetch: typeof globalThis.fetch, init: RequestInit): Send => {
  const own = Object.fromEntries(new Headers(init.headers))
  const redirect = init.redirect === "error" || isOfNode(fetch) ? "error" : "manual"
  return resending((request, resent) =>
    requested(
      (signal) =>
        fetch(request.url, {
          ...init,
          redirect,
          method: request.method,
          headers: { ...own, ...wireHeaders(request) },
          signal,
          ...(request.body !== undefined && { body: request.body })
        }),
      (response, abort): Effect.Effect<Answer, Reason> => {
        const { status } = response
        if (response.redirected || isRedirect(status)) {
          return Effect.flatMap(abort, () => Effect.fail(redirected(status)))
        }
        return Effect.succeed(webAnswer(response, abort, resent))
      },
      (cause) =>
        redirect === "error" && isRefusal(cause) ? redirected(undefined) : transportReason(cause, request.secrets)
    )
  )
}
