/** Sends requests directly over `fetch`. */
import * as Effect from "effect/Effect"
import type { Reason } from "../../GatewayError.ts"
import { tryRequest } from "../hotpath/promise.ts"
import type { RawResponse } from "./body.ts"
import { webAnswer } from "./contentEncoding.ts"
import { isRedirect, type Outgoing, redirected, resending, type Send, transportReason, wireHeaders } from "./request.ts"
import { withheld } from "./withheld.ts"

/** Whether a runtime supports `redirect: "error"`. Workers do not, and throw. */
const mayRefuse = (): boolean => {
  try {
    return new Request("http://localhost", { redirect: "error" }).redirect === "error"
  } catch {
    return false
  }
}

/**
 * Whether this is Node's `fetch`. It copies every request, with its body as a stream of two branches, because a
 * redirect may need it again, unless redirects are errors; that saves much time and memory. Other implementations claim
 * to be Node's and are not; a stub in its place has another shape.
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
 * A body for Node's `fetch`, which resends a text or bytes after a 421 by itself, and fails when redirects are errors.
 * It cannot repeat a stream. With its length in the headers, a stream is sent like a text.
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
 * Makes a sender of a `fetch`. Redirects are never followed: `fetch` would send credentials to the target of a 307, and
 * its answer would be rejected anyway.
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
