/**
 * The common part of all HTTP transports: requests, the meaning of their failures, and when a request may be sent a
 * second time.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { HttpMethod } from "effect/http/HttpMethod"
import { InvalidRequest, InvalidResponse, type Reason, Timeout, TransportFailure } from "../../GatewayError.ts"
import { defined } from "../data/defined.ts"
import { overPlatformLimit, platformLimit } from "../data/platform.ts"
import { scrub } from "../data/secrets.ts"
import { withoutStack } from "../hotpath/stackless.ts"
import type { RawResponse } from "./body.ts"
import { causesOf, codeOf, isTimeout } from "./causes.ts"
import { isSilent } from "./connectionReuse.ts"

/** One HTTP request; header values are final, credentials included. */
export interface Outgoing {
  readonly method: HttpMethod
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** JSON text. */
  readonly body?: string | undefined
  /** Credentials among the headers, to be cut out of a client's error messages. */
  readonly secrets: ReadonlyArray<string>
  /** Runs before the request is sent a second time; if it fails, the request is not sent. */
  readonly beforeResend?: Effect.Effect<void, unknown> | undefined
}

/** Sends one request. Interruption aborts it, even while its body is read. */
export type Send = (request: Outgoing) => Effect.Effect<RawResponse, Reason>

const connectCodes = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ETIMEDOUT",
  "UND_ERR_CONNECT_TIMEOUT"
])
const resetCodes = new Set(["ECONNRESET", "EPIPE", "UND_ERR_SOCKET"])

/** Reasons that a client's error can have before the answer. */
type BreakReason = TransportFailure | Timeout | InvalidRequest

/** Deno sets no code. */
const denoConnect = /\bclient error \(Connect\)/
/**
 * Messages of workerd and browsers for a refused connection, and equally for one that broke before the answer. The
 * request may therefore have been sent, and counts.
 */
const noAnswer = /^(Network connection lost|Failed to fetch|Load failed|NetworkError when attempting)/

const platform = new RegExp(platformLimit, "i")

/**
 * Classifies a break before the answer. A reset before any byte of the answer, on a connection that is known to have
 * served before, means that the server closed the kept-alive connection while the request was on its way. A time limit
 * of the client is a `Timeout`.
 */
export const transportReason = (cause: unknown, secrets: ReadonlyArray<string>): BreakReason =>
  withoutStack(() => reasonOf(cause, secrets))

const reasonOf = (thrown: unknown, secrets: ReadonlyArray<string>): BreakReason => {
  const detail = thrown instanceof Error ? scrub(thrown.message, secrets).slice(0, 200) : ""
  for (const cause of causesOf(thrown)) {
    if (isTimeout(cause)) return new Timeout({ phase: "firstByte", detail })
    const code = codeOf(cause)
    if (code !== undefined) {
      if (connectCodes.has(code) || code.startsWith("ERR_TLS") || code.includes("CERT")) {
        return new TransportFailure({ kind: "connect", code })
      }
      if (resetCodes.has(code)) return new TransportFailure({ kind: isSilent(cause) ? "stale" : "reset", code })
    }
    const message = cause instanceof Error ? cause.message : ""
    if (platform.test(message)) return new InvalidRequest({ ...overPlatformLimit, detail })
    if (denoConnect.test(message)) return new TransportFailure({ kind: "connect", detail })
    if (noAnswer.test(message)) return new TransportFailure({ kind: "connect", code: "network_error", detail })
  }
  return new TransportFailure({ kind: "unknown", detail })
}

/**
 * The failure of a redirect, whose target is not the gateway. The status is unknown where a client itself rejects
 * redirects.
 */
export const redirected = (status: number | undefined): InvalidResponse =>
  new InvalidResponse({ ...defined({ status }), issue: "a redirect to another address" })

/** Whether a status is a redirect. Browsers report 0 instead. */
export const isRedirect = (status: number): boolean => status === 0 || (status >= 300 && status < 400 && status !== 304)

const tellsOfRedirect = (thrown: unknown): boolean =>
  thrown instanceof Error && /unexpected ?redirect|redirect mode/i.test(thrown.message)

/** Whether an error, or its cause, is the one that `fetch` throws when redirects are errors. */
export const isRefusal = (thrown: unknown): boolean =>
  tellsOfRedirect(thrown) || (thrown instanceof Error && tellsOfRedirect(thrown.cause))

/** Headers of a request, with the content type of its body. */
export const wireHeaders = ({ body, headers }: Outgoing): Record<string, string> =>
  body === undefined ? { ...headers } : { "content-type": "application/json", ...headers }

/** Milliseconds within which a broken connection counts as one that had been closed before the request. */
const staleWithin = 1000

/** Resends a request at once when a kept-alive connection had been closed before the request. */
export const resending =
  (once: (request: Outgoing, resent: boolean) => Effect.Effect<RawResponse, Reason>): Send =>
  (request) =>
    Effect.withFiber((fiber) => {
      const clock = fiber.getRef(Clock.Clock)
      const startedAt = clock.currentTimeMillisUnsafe()
      return Effect.catch(once(request, false), (reason) =>
        // A socket that was closed before we wrote fails at once; a peer that took its time may have begun to work.
        reason._tag === "TransportFailure" &&
        reason.kind === "stale" &&
        clock.currentTimeMillisUnsafe() - startedAt < staleWithin
          ? Effect.matchEffect(request.beforeResend ?? Effect.void, {
              onFailure: () => Effect.fail(reason),
              onSuccess: () => once(request, true)
            })
          : Effect.fail(reason)
      )
    })
