/**
 * The HTTP transport: the only module of the core that imports `effect/http`.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import type { HttpMethod } from "effect/http/HttpMethod"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { InvalidRequest, InvalidResponse, type Reason, TransportFailure } from "../GatewayError.ts"
import { type Answer, type Body, bodyFailure, joinText, webBody } from "./body.ts"
import { scrub } from "./secrets.ts"

export type { HttpClient } from "effect/http/HttpClient"

/** One HTTP request; header values are final, credentials included. */
export interface Outgoing {
  readonly method: HttpMethod
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** JSON text. */
  readonly body?: string | undefined
  /** Credentials among the headers, to be cut out of what a client says when it fails. */
  readonly secrets: ReadonlyArray<string>
}

/** Sends one request. Interruption aborts it, also while its body is read. */
export type Send = (request: Outgoing) => Effect.Effect<Answer, Reason>

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

const field = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null && name in value
    ? Object.getOwnPropertyDescriptor(value, name)?.value
    : undefined

/**
 * Finds out what broke. A reset before any byte of this answer, on a socket that had served before (or whose past is
 * not told), is what a kept-alive connection looks like that the server closed while the request was on its way.
 */
const transportReason = (cause: unknown, secrets: ReadonlyArray<string>): TransportFailure => {
  for (
    let at: unknown = cause, depth = 0;
    at !== undefined && at !== null && depth < 5;
    at = field(at, "cause"), depth++
  ) {
    const code = field(at, "code")
    if (typeof code !== "string") continue
    if (connectCodes.has(code) || code.startsWith("ERR_TLS") || code.includes("CERT")) {
      return new TransportFailure({ kind: "connect", code })
    }
    if (resetCodes.has(code)) {
      const bytesRead = field(field(at, "socket"), "bytesRead")
      return new TransportFailure({ kind: bytesRead === 0 ? "reset" : "stale", code })
    }
  }
  const detail = cause instanceof Error ? scrub(cause.message, secrets).slice(0, 200) : ""
  return new TransportFailure({ kind: "unknown", detail })
}

const requestReason = ({ reason }: HttpClientError.HttpClientError, { secrets }: Outgoing): Reason => {
  switch (reason._tag) {
    case "InvalidUrlError":
      return new InvalidRequest({ origin: "client", field: "baseUrl", accepted: "a base URL that makes a valid URL" })
    case "EncodeError":
      return new InvalidRequest({ origin: "client", field: "body", accepted: "a body that can be encoded" })
    default:
      return transportReason(reason.cause, secrets)
  }
}

const streamBody = (
  response: HttpClientResponse.HttpClientResponse,
  scope: Scope.Scope,
  abort: Effect.Effect<void>
): Body => {
  const readFrom = <A>(self: Effect.Effect<A, HttpClientError.HttpClientError>): Effect.Effect<A, Reason> =>
    self.pipe(
      Effect.mapError((error) => bodyFailure(error.reason.cause)),
      Effect.onError(() => abort)
    )
  return {
    text: readFrom(response.text),
    bytes: readFrom(Effect.map(response.arrayBuffer, (buffer) => new Uint8Array(buffer))),
    head: (max) =>
      Effect.suspend(() => {
        const chunks: Array<Uint8Array> = []
        let size = 0
        return Stream.runForEachWhile(response.stream, (chunk) => {
          chunks.push(chunk)
          size += chunk.length
          return Effect.succeed(size < max)
        }).pipe(
          Effect.map(() => joinText(chunks, max)),
          readFrom,
          Effect.ensuring(abort)
        )
      }),
    reader: () => {
      let pending: ReadonlyArray<Uint8Array> = []
      let pull: Pull.Pull<ReadonlyArray<Uint8Array>, HttpClientError.HttpClientError> | undefined
      const next = Effect.suspend(() =>
        pull === undefined
          ? Effect.flatMap(Scope.provide(Stream.toPull(response.stream), scope), (opened) => {
              pull = opened
              return opened
            })
          : pull
      )
      const read: Effect.Effect<Uint8Array | undefined, HttpClientError.HttpClientError> = Effect.suspend(() => {
        const [first, ...rest] = pending
        if (first !== undefined) {
          pending = rest
          return Effect.succeed(first)
        }
        return next.pipe(
          Effect.map(([chunk, ...more]): Uint8Array | undefined => {
            pending = more
            return chunk
          }),
          Pull.catchDone(() => Effect.succeed(undefined))
        )
      })
      return { read: readFrom(read), cancel: abort }
    },
    web: (head) => new Response(Stream.toReadableStream(Stream.ensuring(response.stream, abort)), head),
    cancel: abort
  }
}

const isTrue = (): boolean => true

/** Milliseconds within which a broken connection passes for one that had been closed before the request. */
const staleWithin = 1000

/** Makes a sender of any `HttpClient`. Its own spans are switched off: the services open one per call. */
export const makeSend = (client: HttpClient.HttpClient): Send => {
  const scoped = HttpClient.withScope(client)
  const once = (request: Outgoing, resent: boolean): Effect.Effect<Answer, Reason> =>
    Effect.suspend(() => {
      const scope = Scope.makeUnsafe()
      const abort = Scope.close(scope, Exit.void)
      const plain = HttpClientRequest.make(request.method)(request.url)
      const outgoing = HttpClientRequest.setHeaders(
        request.body === undefined ? plain : HttpClientRequest.bodyText(plain, request.body, "application/json"),
        request.headers
      )
      return scoped.execute(outgoing).pipe(
        Scope.provide(scope),
        Effect.mapError((error) => requestReason(error, request)),
        Effect.flatMap((response): Effect.Effect<Answer, Reason> => {
          const web = Option.getOrUndefined(HttpClientResponse.toWeb(response))
          // `fetch` follows redirects unless it is told not to; what is at the other end is not the gateway.
          if (web?.redirected === true) {
            return Effect.fail(new InvalidResponse({ status: web.status, issue: "a redirect to another address" }))
          }
          return Effect.succeed({
            status: response.status,
            headers: response.headers,
            body: web === undefined ? streamBody(response, scope, abort) : webBody(web, abort),
            resent
          })
        }),
        Effect.onError(() => abort)
      )
    })
  return (request) =>
    Effect.flatMap(Clock.currentTimeMillis, (startedAt) =>
      Effect.catch(once(request, false), (reason) => {
        if (reason._tag !== "TransportFailure" || reason.kind !== "stale") return Effect.fail(reason)
        // A socket that was closed before we wrote fails at once; a peer that took its time may have begun to work.
        return Effect.flatMap(Clock.currentTimeMillis, (now) =>
          now - startedAt < staleWithin ? once(request, true) : Effect.fail(reason)
        )
      })
    ).pipe(
      Effect.provideService(HttpClient.TracerDisabledWhen, isTrue),
      Effect.provideService(HttpClient.TracerPropagationEnabled, false)
    )
}

/** A sender over the `HttpClient` of the environment. */
export const sender: Effect.Effect<Send, never, HttpClient.HttpClient> = Effect.map(HttpClient.HttpClient, makeSend)
