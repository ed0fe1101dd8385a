/**
 * Requests over `fetch`, with nothing between.
 */
import * as Effect from "effect/Effect"
import type { Reason } from "../../GatewayError.ts"
import { tryRequest } from "../hotpath/promise.ts"
import type { RawResponse } from "./body.ts"
import { webAnswer } from "./contentEncoding.ts"
import { isRedirect, type Outgoing, redirected, resending, type Send, transportReason, wireHeaders } from "./request.ts"
import { withheld } from "./withheld.ts"

/** Whether a runtime has the mode in which a redirect is an error. That of Workers does not, and says so. */
const mayRefuse = (): boolean => {
  try {
    return new Request("http://localhost", { redirect: "error" }).redirect === "error"
  } catch {
    return false
  }
}

/**
 * Whether this is the `fetch` of Node. It copies every request, with its body as a stream of two branches, as a
 * redirect may need it again; only where a redirect is an error it does not, which spares much of its time and memory.
 * Others pass for Node, and are not; a stub in its place has another shape.
 */
const isOfNode = (fetch: typeof globalThis.fetch): boolean => {
  const { versions } = globalThis.process ?? {}
  return (
    fetch === globalThis.fetch &&
    fetch.name === "fetch" &&
    fetch.length === 1 &&
    versions?.["undici"] !== undefined &&
    !("deno" in versions || "bun" in versions) &&
    mayRefuse()
  )
}

const encoder = new TextEncoder()

/**
 * A body for Node's `fetch`. After a 421 that sends a text or bytes a second time by itself, and fails when redirects
 * are errors; a stream it cannot repeat. With the length in the headers it goes out as a text would.
 */
const sentOnce = (body: string, headers: Record<string, string>): RequestInit => {
  const bytes = encoder.encode(body)
  const stream = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      controller.enqueue(bytes)
      controller.close()
    }
  })
  return { headers: { ...headers, "content-length": `${bytes.length}` }, body: stream, ...{ duplex: "half" } }
}

/**
 * Makes a sender of a `fetch`. Redirects are never followed: `fetch` would take the credentials of a 307 along to
 * whoever it names, and what comes from there would be refused.
 */
export const makeFetchSend = (fetch: typeof globalThis.fetch, init: RequestInit): Send => {
  const own = Object.fromEntries(new Headers(init.headers))
  const ofNode = isOfNode(fetch)
  const redirect = init.redirect === "error" || ofNode ? "error" : "manual"
  // `fetch` rejects a stream with `keepalive`.
  const isStreamed = ofNode && init.keepalive !== true
  const carried = (request: Outgoing): RequestInit => {
    const headers = { ...own, ...wireHeaders(request) }
    if (request.body === undefined) return { headers }
    return isStreamed ? sentOnce(request.body, headers) : { headers, body: request.body }
  }
  return resending((request, resent) =>
    tryRequest(
      (signal) => fetch(request.url, { ...init, redirect, method: request.method, signal, ...carried(request) }),
      (response, abort): Effect.Effect<RawResponse, Reason> => {
        const { status } = response
        if (response.redirected || isRedirect(status)) {
          return Effect.flatMap(abort, () => Effect.fail(redirected(status)))
        }
        return Effect.succeed(webAnswer(response, abort, resent))
      },
      (cause) => withheld(cause) ?? transportReason(cause, request.secrets)
    )
  )
}
