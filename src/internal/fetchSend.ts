/**
 * Requests over `fetch`, with nothing between.
 */
import * as Effect from "effect/Effect"
import type { Reason } from "../GatewayError.ts"
import { type Answer, webBody } from "./body.ts"
import { requested } from "./promised.ts"
import { redirected, resending, type Send, transportReason, wireHeaders } from "./send.ts"

/** Statuses that point elsewhere; 0 is what browsers make of them. */
const isRedirect = (status: number): boolean => status === 0 || (status >= 300 && status < 400 && status !== 304)

/**
 * Makes a sender of a `fetch`. Redirects are never followed: `fetch` would take the credentials of a 307 along to whoever it
 * names, and what comes from there would be refused.
 */
export const makeFetchSend = (fetch: typeof globalThis.fetch, init: RequestInit): Send => {
  const own = Object.fromEntries(new Headers(init.headers))
  return resending((request, resent) =>
    requested(
      (signal) =>
        fetch(request.url, {
          ...init,
          redirect: init.redirect === "error" ? "error" : "manual",
          method: request.method,
          headers: { ...own, ...wireHeaders(request) },
          signal,
          ...(request.body !== undefined && { body: request.body })
        }),
      (response, abort): Effect.Effect<Answer, Reason> => {
        const { headers, status } = response
        if (response.redirected || isRedirect(status)) {
          return Effect.flatMap(abort, () => Effect.fail(redirected(status)))
        }
        return Effect.succeed({ status, headers: Object.fromEntries(headers), body: webBody(response, abort), resent })
      },
      (cause) => transportReason(cause, request.secrets)
    )
  )
}
