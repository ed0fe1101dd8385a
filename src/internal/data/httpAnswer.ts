/** A server's answer to its client about a failure, as parts and in the shape of Effect's `HttpServerResponse`. */
import { Prototype } from "effect/Pipeable"

/** Parts of the answer about a failure. */
export interface HttpFailure {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** JSON: `{ "error": { "reason", "retryable" } }`. */
  readonly body: string
}

/** Makes the parts of a failure's answer, without message, prompt, provider or credentials. */
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
 * Worker's bundle, so this has only the fields that servers, `toWeb` and middleware read. Tests compare it with them.
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
