/** Sends requests over Effect's `HttpClient`. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { InvalidRequest, type Reason } from "../../GatewayError.ts"
import { joinBytes } from "../data/bytes.ts"
import { type Body, bodyFailure, type RawResponse, textOf, tooLarge, webOf } from "./body.ts"
import { watchConnections } from "./connectionReuse.ts"
import { webAnswer } from "./contentEncoding.ts"
import { decoded } from "./decompressed.ts"
import { isRedirect, type Outgoing, redirected, resending, type Send, transportReason } from "./request.ts"
import { withheld } from "./withheld.ts"

export type { HttpClient } from "effect/http/HttpClient"

const requestReason = ({ reason }: HttpClientError.HttpClientError, { secrets }: Outgoing): Reason => {
  switch (reason._tag) {
    case "InvalidUrlError":
      return new InvalidRequest({ origin: "client", field: "baseUrl", accepted: "a base URL that makes a valid URL" })
    case "EncodeError":
      return new InvalidRequest({ origin: "client", field: "body", accepted: "a body that can be encoded" })
    default:
      return withheld(reason.cause) ?? transportReason(reason.cause, secrets)
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
  /** Collects chunks until there are enough, or no more. */
  const chunksTo = (isEnough: (size: number) => boolean) =>
    Effect.suspend(() => {
      const chunks: Array<Uint8Array> = []
      let size = 0
      return Effect.map(
        Stream.runForEachWhile(response.stream, (chunk) => {
          chunks.push(chunk)
          size += chunk.length
          return Effect.succeed(!isEnough(size))
        }),
        () => ({ chunks, size })
      )
    })
  const whole = <A>(max: number, of: (chunks: ReadonlyArray<Uint8Array>) => A): Effect.Effect<A, Reason> =>
    Effect.flatMap(readFrom(chunksTo((size) => size > max)), ({ chunks, size }) =>
      size > max ? Effect.flatMap(abort, () => Effect.fail(tooLarge(max))) : Effect.sync(() => of(chunks))
    )
  return {
    text: (max) => whole(max, textOf),
    bytes: (max) => whole(max, joinBytes),
    head: (max) =>
      readFrom(chunksTo((size) => size >= max)).pipe(
        Effect.map(({ chunks }) => textOf(chunks, max)),
        Effect.ensuring(abort)
      ),
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
      // A stream that was destroyed before it is read neither ends nor fails.
      const isOver = (): boolean => pull === undefined && scope.state._tag === "Closed"
      return {
        read: Effect.suspend(() => (isOver() ? Effect.fail(bodyFailure(new Error("aborted"))) : readFrom(read))),
        cancel: abort
      }
    },
    web: (head) => webOf(Stream.toReadableStream(Stream.ensuring(response.stream, abort)), head),
    cancel: abort
  }
}

/**
 * Whether a response is from one of Node's clients, which never decompress. Others may have decompressed the body and
 * left the headers unchanged.
 */
const isRaw = (response: object): boolean => {
  const source = "source" in response ? response.source : undefined
  return typeof source === "object" && source !== null && "statusCode" in source
}

/** Makes a client over `fetch` not follow redirects, unless the application has chosen a mode. */
const refuseRedirects = (fiber: Fiber.Fiber<unknown, unknown> | undefined): void => {
  if (fiber === undefined) return
  const init = Context.getOrUndefined(fiber.context, FetchHttpClient.RequestInit)
  if (init?.redirect !== undefined) return
  // Lasts for this request only: the code that provided the context restores the previous one.
  fiber.setContext(Context.add(fiber.context, FetchHttpClient.RequestInit, { ...init, redirect: "manual" }))
}

/**
 * Keeps `fetch` from following a redirect, on which it would send along all headers except `authorization`, and with a
 * 307 the body too. Every client reads the hash right before it sends: the only moment when the `RequestInit` of its
 * layer and of all middleware is visible. Set earlier, ours would replace it. Code that reads the hash earlier loses
 * that `RequestInit`, but not the protection.
 */
export const guarded = (request: HttpClientRequest.HttpClientRequest): HttpClientRequest.HttpClientRequest =>
  Object.defineProperty(HttpClientRequest.setHeaders(request, {}), "hash", {
    enumerable: true,
    get: () => {
      refuseRedirects(Fiber.getCurrent())
      return request.hash
    }
  })

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
      // Not `mapRequest`: `hash` must be guarded after middleware has copied the request for the last time.
      return scoped.postprocess(Effect.map(scoped.preprocess(outgoing), guarded)).pipe(
        Scope.provide(scope),
        Effect.mapError((error) => requestReason(error, request)),
        Effect.flatMap((response): Effect.Effect<RawResponse, Reason> => {
          const { headers, status } = response
          const web = Option.getOrUndefined(HttpClientResponse.toWeb(response))
          // The target of a redirect is not the gateway.
          if (web?.redirected === true || isRedirect(status)) return Effect.fail(redirected(status))
          if (web !== undefined) return Effect.succeed(webAnswer(web, abort, resent))
          const answer = { status, headers, body: streamBody(response, scope, abort), resent }
          return Effect.succeed(isRaw(response) ? decoded(answer) : answer)
        }),
        Effect.onError(() => abort)
      )
    })
  )
  return (request) =>
    send(request).pipe(
      Effect.provideService(HttpClient.TracerDisabledWhen, () => true),
      Effect.provideService(HttpClient.TracerPropagationEnabled, false)
    )
}

const direct = new WeakMap<HttpClient.HttpClient, Send>()

/**
 * Gives a client a shorter path for our own requests. A client that is derived from it (`HttpClient.mapRequest`, …) has
 * no short path: the application's middleware must see every request.
 */
export const withDirectSend = (client: HttpClient.HttpClient, send: Send): HttpClient.HttpClient => {
  const copy = HttpClient.makeWith(client.postprocess, client.preprocess)
  direct.set(copy, send)
  return copy
}

/** Makes a sender of any `HttpClient`. Its own spans are turned off: the services open one per call. */
export const makeSend = (client: HttpClient.HttpClient): Send => direct.get(client) ?? overClient(client)

/** A sender over the `HttpClient` of the environment, while the scope is open. */
export const sender: Effect.Effect<Send, never, HttpClient.HttpClient | Scope.Scope> = Effect.andThen(
  watchConnections,
  Effect.map(HttpClient.HttpClient, makeSend)
)
