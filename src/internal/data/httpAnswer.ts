/**
 * The answer of a server to its client about a failure, as parts and in the shape of Effect's `HttpServerResponse`.
 */
import { Prototype } from "effect/Pipeable"

/** Parts of the answer about a failure. */
export interface HttpFailure {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** JSON: `{ "error": { "reason", "retryable" } }`. */
  readonly body: string
}

/** Nothing of the message, the prompt, the provider or the credentials is in it. */
export const failureOf = (status: number, reason: string, retryable: boolean, retryAfter?: number): HttpFailure => ({
  status,
  headers: {
    "content-type": "application/json",
    "cache-control": "no-store",
    ...(retryAfter !== undefined && { "retry-after": `${retryAfter}` })
  },
  body: JSON.stringify({ error: { reason, retryable } })
})

/**
 * A failure as a response of Effect's servers. The module of such responses is unstable, and would be a large part of a
 * Worker's bundle; here is what servers, `toWeb` and middlewares read of one. Tests hold it against them.
 */
export const httpAnswer = ({ body: text, headers, status }: HttpFailure) => {
  const body = new TextEncoder().encode(text)
  return {
    ...Prototype,
    "~effect/http/HttpServerResponse": true,
    status,
    headers,
    cookies: { "~effect/http/Cookies": true, cookies: {} },
    body: { _tag: "Uint8Array", body, contentLength: body.length }
  }
}
