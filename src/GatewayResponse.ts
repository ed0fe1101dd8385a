/** A successful answer of the gateway: status, headers, the body, and the facts in its headers. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Stream from "effect/Stream"
import * as Classifier from "./Classifier.ts"
import { type GatewayError, InvalidRequest, InvalidResponse, type Reason, TransportFailure } from "./GatewayError.ts"
import { hasError } from "./internal/classifier/errorBody.ts"
import { answerError } from "./internal/data/attempts.ts"
import { defined } from "./internal/data/defined.ts"
import { isRecord, parseJson } from "./internal/data/json.ts"
import { scrub } from "./internal/data/secrets.ts"
import type { Delta, DeltaDecoder } from "./internal/dialect/delta.ts"
import { makePump, unlimited } from "./internal/dialect/deltaPump.ts"
import { fromPuller } from "./internal/hotpath/pullStream.ts"
import type { Body, RawResponse } from "./internal/transport/body.ts"
import { makeFeed, oversized, type ServerEvent } from "./internal/transport/sse.ts"

/**
 * Facts about a call from its response headers. All fields are optional: the endpoint, the transport and the provider
 * determine which are present. A log id belongs to this answer; an uncertain one is absent.
 *
 * @category models
 */
export interface Meta {
  /** `cf-aig-log-id`, an opaque string. */
  readonly logId?: string
  /** `cf-aig-event-id`: the caller's correlation id. */
  readonly eventId?: string
  /** `cf-aig-request-id`. */
  readonly requestId?: string
  /** `cf-aig-step`: index of the leg that answered. Absent is not 0. */
  readonly step?: number
  /** `cf-aig-cache-status`: `HIT` or `MISS`; absent when caching does not apply. */
  readonly cacheStatus?: string
  /** `cf-aig-provider`, set by dynamic routes. */
  readonly provider?: string
  /** `cf-aig-model`, set by dynamic routes. */
  readonly model?: string
  /** `cf-aig-run-id`, the key for resuming a streamed run. */
  readonly runId?: string
  /** `cf-aig-dlp` as JSON, or as text when it is not JSON. */
  readonly dlp?: unknown
}

/**
 * A header that occurs once. A header that occurs twice arrives as one text with a comma, which does not tell which
 * value is right.
 */
const one = (value: string | undefined): string | undefined =>
  value === undefined || value === "" || value.includes(",") ? undefined : value

/**
 * Reads {@link Meta} from response headers (names in lower case).
 *
 * @category conversions
 */
export const metaFromHeaders = (headers: Readonly<Record<string, string | undefined>>): Meta => {
  const step = headers["cf-aig-step"]
  const dlp = headers["cf-aig-dlp"]
  return defined({
    logId: one(headers["cf-aig-log-id"]),
    eventId: headers["cf-aig-event-id"] || undefined,
    requestId: one(headers["cf-aig-request-id"]),
    step: step !== undefined && /^\d+$/.test(step) ? Number(step) : undefined,
    cacheStatus: one(headers["cf-aig-cache-status"]),
    provider: one(headers["cf-aig-provider"]),
    model: one(headers["cf-aig-model"]),
    runId: one(headers["cf-aig-run-id"]),
    dlp: dlp === undefined ? undefined : (parseJson(dlp) ?? dlp)
  })
}

/**
 * Longest excerpt of a body in an error, in characters.
 *
 * @category constants
 */
export const maxExcerpt = 500

/** Longest part of a failure's body that is examined, in characters. */
const maxErrorBody = 65_536

/** Ways to consume a body; each excludes the others. */
type Form = "text" | "bytes" | "reader" | "web" | "cancel"

/**
 * Unwraps Cloudflare's envelopes of a JSON body: `{ success, result }`, `{ state, result }`, or both nested. Anything
 * else is returned unchanged.
 *
 * @example
 * ```ts
 * import * as GatewayResponse from "effect-ai-gateway/GatewayResponse"
 *
 * console.log(GatewayResponse.unwrap({ success: true, errors: [], messages: [], result: { response: "Hi" } }))
 * // { response: "Hi" }
 * ```
 *
 * @category conversions
 */
export const unwrap = (json: unknown): unknown => {
  let value = json
  if (isRecord(value) && value["success"] === true && "result" in value) value = value["result"]
  if (isRecord(value) && value["state"] === "Completed" && "result" in value) value = value["result"]
  return value
}

/**
 * Facts about the call that failures of its response carry.
 *
 * @category models
 */
export interface ResponseOptions {
  readonly method: string
  /** Interface that answered; default `gateway`. */
  readonly surface?: Classifier.FailureInput["surface"]
  /** Credentials of the request, removed from everything that is shown. */
  readonly secrets?: ReadonlyArray<string>
  readonly provider?: string | undefined
  readonly model?: string | undefined
  readonly logId?: string | undefined
  readonly eventId?: string | undefined
  /** See {@link GatewayResponse.maxBytes}. */
  readonly maxBytes?: number | undefined
}

/**
 * Default size limit of an answer in bytes: 64 MiB, which leaves room for images.
 *
 * @category constants
 */
export const defaultMaxBytes = 67_108_864

/**
 * A body that is being read.
 *
 * @category models
 */
export interface ResponseReader {
  /** The next chunk, or `undefined` at the end. Fails with `TransportFailure` when the connection breaks. */
  readonly read: Effect.Effect<Uint8Array | undefined, GatewayError>
  /** Releases the rest of the body and its connection. */
  readonly cancel: Effect.Effect<void>
}

/**
 * A 2xx answer. Its body is read at most once, on demand.
 *
 * Readers of `text`, `json` and `result` share one read, even concurrently; so do readers of `bytes`. After the body
 * was consumed in one form, another form fails with `InvalidRequest` (field `body`). Interrupting a read that others
 * wait for ends it for them too, with `TransportFailure`.
 *
 * **Gotchas**
 *
 * Read the body or call `cancel`: an unread body keeps its connection busy.
 *
 * @category models
 */
export class GatewayResponse {
  readonly status: number
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly meta: Meta
  /** Whether the transport sent the request twice, because the server had closed a kept-alive socket. */
  readonly resent: boolean
  /**
   * Size limit of a body that is read as `text`, `bytes`, `json` or `result`, in bytes, and of one event of a stream,
   * in characters; both after decompression. A larger one is an `InvalidResponse`, and the rest is not read.
   */
  readonly maxBytes: number
  // Hard-private, so that printing a response shows neither its body nor the credentials of its request.
  readonly #body: Body
  readonly #options: ResponseOptions
  // Made on demand: usually only one of them is used.
  #text: Effect.Effect<string, GatewayError> | undefined
  #bytes: Effect.Effect<Uint8Array, GatewayError> | undefined
  #taken: Form | undefined

  constructor(answer: RawResponse, options: ResponseOptions) {
    this.status = answer.status
    this.headers = answer.headers
    this.meta = metaFromHeaders(answer.headers)
    this.resent = answer.resent
    this.maxBytes = options.maxBytes ?? defaultMaxBytes
    this.#body = answer.body
    this.#options = options
  }

  /**
   * The body as text. A second read returns the same text. Fails with `TransportFailure` when the body breaks off, and
   * with `InvalidResponse` when it exceeds `maxBytes` or cannot be decompressed.
   */
  get text(): Effect.Effect<string, GatewayError> {
    this.#text ??= this.#shared("text", this.#body.text(this.maxBytes))
    return this.#text
  }

  /** The body as bytes; an alternative to `text`. A second read returns the same bytes. */
  get bytes(): Effect.Effect<Uint8Array, GatewayError> {
    this.#bytes ??= this.#shared("bytes", this.#body.bytes(this.maxBytes))
    return this.#bytes
  }

  /**
   * The body as JSON, regardless of its content type. Fails with `InvalidResponse` (with a bounded excerpt in `detail`)
   * when it is not JSON, and with the failure's own reason when a failure has a 2xx status (`{ state: "Failed" }`,
   * `{ success: false }`).
   */
  get json(): Effect.Effect<unknown, GatewayError> {
    return Effect.flatMap(this.text, (text) => this.parse(text))
  }

  /** {@link json} for a body that was read in another way. */
  parse(text: string): Effect.Effect<unknown, GatewayError> {
    const json = parseJson(text)
    if (json === undefined) return Effect.fail(this.invalid("not JSON", text))
    if (!Classifier.isFailureBody(this.status, json)) return Effect.succeed(json)
    return Effect.fail(this.fault(text))
  }

  /** {@link json} without Cloudflare's envelopes ({@link unwrap}). */
  get result(): Effect.Effect<unknown, GatewayError> {
    return Effect.map(this.json, unwrap)
  }

  /**
   * Takes the body over, to read it chunk by chunk; only once, and instead of `text` and `bytes`. Interrupting a read
   * aborts the request.
   */
  reader(): ResponseReader {
    const late = this.#take("reader")
    if (late !== undefined) return { read: Effect.fail(late), cancel: Effect.void }
    const { cancel, read } = this.#body.reader()
    return { read: this.#fallible(read), cancel }
  }

  /** See {@link toWeb}. */
  web(): Response {
    const late = this.#take("web")
    // A partial body must not pass for a complete one.
    if (late !== undefined) throw late
    return this.#body.web({ status: this.status, headers: this.headers })
  }

  /** Releases an unread body. */
  get cancel(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#take("cancel")
      return this.#body.cancel
    })
  }

  /** The failure that a body, or one of its events, describes despite a 2xx status. */
  fault(body: string): GatewayError {
    const { reason } = Classifier.classify({
      status: this.status,
      headers: this.headers,
      body: body.slice(0, maxErrorBody),
      surface: this.#options.surface ?? "gateway",
      secrets: this.#options.secrets
    })
    return this.#error(reason)
  }

  /**
   * An `InvalidResponse` about this answer, with a bounded excerpt of its body and without credentials; or the failure
   * that an unreadable body itself describes. `by`: the validator that rejected a readable answer.
   */
  invalid(issue: string, text: string, by?: InvalidResponse["by"]): GatewayError {
    if (by === undefined && hasError(parseJson(text))) return this.fault(text)
    return this.#error(
      new InvalidResponse({
        status: this.status,
        // A decoder's path can hold keys of the body, and a body can echo anything.
        issue: scrub(issue, this.#options.secrets ?? []),
        ...defined({ by }),
        detail: scrub(text.slice(0, maxErrorBody), this.#options.secrets ?? []).slice(0, maxExcerpt)
      })
    )
  }

  #error(reason: Reason): GatewayError {
    return answerError(reason, this.#options, this.meta)
  }

  #fallible<A>(self: Effect.Effect<A, Reason>): Effect.Effect<A, GatewayError> {
    return Effect.mapError(self, (reason) => this.#error(reason))
  }

  /** Takes the body, or returns why it is too late. */
  #take(form: Form): GatewayError | undefined {
    const taken = this.#taken
    this.#taken ??= form
    return taken === undefined
      ? undefined
      : this.#error(
          new InvalidRequest({
            origin: "client",
            field: "body",
            accepted: `one way of reading it, which was ${taken}`
          })
        )
  }

  /** Reads once; concurrent and later readers get the same result. */
  #shared<A>(form: Form, read: Effect.Effect<A, Reason>): Effect.Effect<A, GatewayError> {
    let outcome: Effect.Effect<A, GatewayError> | undefined
    return Effect.suspend(() => {
      if (outcome !== undefined) return outcome
      const late = this.#take(form)
      if (late !== undefined) return Effect.fail(late)
      let waiting: Deferred.Deferred<A, GatewayError> | undefined
      outcome = Effect.suspend(() => {
        waiting ??= Deferred.makeUnsafe()
        return Deferred.await(waiting)
      })
      return Effect.onExit(this.#fallible(read), (exit) => {
        const settled =
          Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
            ? Exit.fail(this.#error(new TransportFailure({ kind: "reset", detail: "interrupted" })))
            : exit
        outcome = settled
        if (waiting !== undefined) Deferred.doneUnsafe(waiting, settled)
        return Effect.void
      })
    })
  }
}

/**
 * Converts a response to a web `Response`, to pass it through. Nothing is copied when it arrived as a web response: the
 * result is the same object. A response that arrived compressed over HTTP loses `content-encoding`, because its body
 * has been decompressed. Works once, and instead of reading the body here; otherwise it throws a `GatewayError`
 * (`InvalidRequest`, field `body`), as there is no effect to fail.
 *
 * @category conversions
 */
export const toWeb = (self: GatewayResponse): Response => self.web()

/**
 * The body as chunks of bytes. Pulls only what is consumed; ending early, failing or being interrupted aborts the
 * request. Over a network a chunk contains what arrived within one turn of the event loop, up to 64 KiB; over `fetch`
 * the library reads at most one piece ahead. Fails with `TransportFailure` when the connection breaks. Only the dialect
 * can tell whether the bytes are a complete answer.
 *
 * @category streams
 */
export const bytes = (self: GatewayResponse): Stream.Stream<Uint8Array, GatewayError> =>
  fromPuller(() => {
    const { cancel, read } = self.reader()
    return { cancel, next: Effect.map(read, (chunk) => (chunk === undefined ? undefined : [chunk])) }
  })

/**
 * The body as server-sent events, independent of chunk boundaries and line endings. Comments, ids and `retry` fields
 * are skipped; an event of more than `maxBytes` characters is an `InvalidResponse`.
 *
 * @category streams
 */
export const events = (self: GatewayResponse): Stream.Stream<ServerEvent, GatewayError> =>
  fromPuller(() => {
    const { cancel, read } = self.reader()
    const feed = makeFeed(self.maxBytes)
    let ended = false
    const next: Effect.Effect<ReadonlyArray<ServerEvent> | undefined, GatewayError> = Effect.suspend(() => {
      if (feed.overflowed()) return Effect.fail(self.invalid(oversized(self.maxBytes), ""))
      if (ended) return Effect.succeed(undefined)
      return Effect.flatMap(read, (chunk) => {
        ended = chunk === undefined
        const found = chunk === undefined ? feed.end() : feed.push(chunk)
        return found.length > 0 ? Effect.succeed(found) : next
      })
    })
    return { cancel, next }
  })

/**
 * The body as deltas of a chat answer. Ends only after the dialect's finish event; an error event, a broken connection
 * and an end without a finish are failures. `Router.stream` adds fallbacks, time limits and records.
 *
 * @category streams
 */
export const deltas = (self: GatewayResponse, decoder: DeltaDecoder): Stream.Stream<Delta, GatewayError> =>
  fromPuller(() => {
    const { cancel, next } = makePump(self, decoder)
    return { cancel, next: next(unlimited) }
  })
