/**
 * Answers and errors of an `HttpClient` with another request in them: the request that was sent has the gateway's token
 * among its headers, and Effect does not know that this header is a secret.
 */
import * as Effect from "effect/Effect"
import * as HttpClientError from "effect/http/HttpClientError"
import type { HttpClientRequest } from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import * as Stream from "effect/Stream"

/** Returns the error with the given request, and with the given response where it has one. */
export const errorWithRequest = (
  { reason }: HttpClientError.HttpClientError,
  request: HttpClientRequest,
  response?: HttpClientResponse.HttpClientResponse
): HttpClientError.HttpClientError => {
  const { cause, description } = reason
  const fields = { request, cause, ...(description !== undefined && { description }) }
  switch (reason._tag) {
    case "TransportError":
      return new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError(fields) })
    case "EncodeError":
      return new HttpClientError.HttpClientError({ reason: new HttpClientError.EncodeError(fields) })
    case "InvalidUrlError":
      return new HttpClientError.HttpClientError({ reason: new HttpClientError.InvalidUrlError(fields) })
  }
  const answered = { ...fields, response: response ?? new ResponseWithRequest(reason.response, request) }
  switch (reason._tag) {
    case "StatusCodeError":
      return new HttpClientError.HttpClientError({ reason: new HttpClientError.StatusCodeError(answered) })
    case "DecodeError":
      return new HttpClientError.HttpClientError({ reason: new HttpClientError.DecodeError(answered) })
    case "EmptyBodyError":
      return new HttpClientError.HttpClientError({ reason: new HttpClientError.EmptyBodyError(answered) })
  }
}

/** A response with the given request. Everything else is the original's. */
export class ResponseWithRequest extends Inspectable.Class implements HttpClientResponse.HttpClientResponse, Pipeable {
  readonly [HttpClientResponse.TypeId] = HttpClientResponse.TypeId
  readonly [HttpIncomingMessage.TypeId] = HttpIncomingMessage.TypeId
  readonly #original: HttpClientResponse.HttpClientResponse
  readonly request: HttpClientRequest

  constructor(original: HttpClientResponse.HttpClientResponse, request: HttpClientRequest) {
    super()
    this.#original = original
    this.request = request
  }

  #read<A>(self: Effect.Effect<A, HttpClientError.HttpClientError>): Effect.Effect<A, HttpClientError.HttpClientError> {
    return Effect.mapError(self, (error) => errorWithRequest(error, this.request, this))
  }

  /** Effect's name for where `HttpClientResponse.toWeb` looks. */
  "~effect/http/HttpClientResponse/WebSource"(): Response | undefined {
    return Option.getOrUndefined(HttpClientResponse.toWeb(this.#original))
  }
  get url() {
    return this.#original.url
  }
  get status() {
    return this.#original.status
  }
  get headers() {
    return this.#original.headers
  }
  get cookies() {
    return this.#original.cookies
  }
  get remoteAddress() {
    return this.#original.remoteAddress
  }
  get json() {
    return this.#read(this.#original.json)
  }
  get text() {
    return this.#read(this.#original.text)
  }
  get formData() {
    return this.#read(this.#original.formData)
  }
  get urlParamsBody() {
    return this.#read(this.#original.urlParamsBody)
  }
  get arrayBuffer() {
    return this.#read(this.#original.arrayBuffer)
  }
  get upgrade() {
    return this.#read(this.#original.upgrade)
  }
  get stream(): Stream.Stream<Uint8Array, HttpClientError.HttpClientError> {
    return Stream.mapError(this.#original.stream, (error) => errorWithRequest(error, this.request, this))
  }
  toJSON(): unknown {
    return HttpIncomingMessage.inspect(this, {
      _id: "HttpClientResponse",
      request: this.request.toJSON(),
      status: this.status
    })
  }
  pipe() {
    // biome-ignore lint/complexity/noArguments: Effect's helper takes the arguments object.
    return pipeArguments(this, arguments)
  }
}
