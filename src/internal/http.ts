/**
 * Requests over Effect's `HttpClient`.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { InvalidRequest, type Reason } from "../GatewayError.ts"
import { type Answer, type Body, bodyFailure, joinText, webBody, webOf } from "./body.ts"
import { type Outgoing, redirected, resending, type Send, transportReason } from "./send.ts"

export type { HttpClient } from "effect/http/HttpClient"

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
    web: (head) => webOf(Stream.toReadableStream(Stream.ensuring(response.stream, abort)), head),
    cancel: abort
  }
}

const isTrue = (): boolean => true

const overClient = (client: HttpClient.HttpClient): Send => {
  const scoped = HttpClient.withScope(client)
  const send = resending((request, resent) =>
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
          if (web?.redirected === true) return Effect.fail(redirected(web.status))
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
  )
  return (request) =>
    send(request).pipe(
      Effect.provideService(HttpClient.TracerDisabledWhen, isTrue),
      Effect.provideService(HttpClient.TracerPropagationEnabled, false)
    )
}

const direct = new WeakMap<HttpClient.HttpClient, Send>()

/**
 * Gives a client a shorter way for our own requests. A client that is derived from it (`HttpClient.mapRequest`, …) is another
 * one, and has no short way: what the application put between must see every request.
 */
export const withDirectSend = (client: HttpClient.HttpClient, send: Send): HttpClient.HttpClient => {
  const copy = HttpClient.makeWith(client.postprocess, client.preprocess)
  direct.set(copy, send)
  return copy
}

/** Makes a sender of any `HttpClient`. Its own spans are switched off: the services open one per call. */
export const makeSend = (client: HttpClient.HttpClient): Send => direct.get(client) ?? overClient(client)

/** A sender over the `HttpClient` of the environment. */
export const sender: Effect.Effect<Send, never, HttpClient.HttpClient> = Effect.map(HttpClient.HttpClient, makeSend)
