/**
 * Web responses of a server: an answer as server-sent events, as it is generated.
 *
 * A response pulls from the model only what its client reads, keeps the connection open with comments while the model
 * is silent, and stops the request to the model when the client leaves. It ends with `data: [DONE]` after a complete
 * answer only. An answer that breaks off ends with an `error` event instead. An aborted response does not end: its body
 * breaks.
 *
 * **Gotchas**
 *
 * Send the response, or cancel its body: only then is the request to the model released. When the client leaves, the
 * body must be cancelled too. Workers do so, and so does Node when the stream made of the body is destroyed together
 * with its client's connection. On other servers use the option `signal`.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { type GatewayError, invalid } from "./GatewayError.ts"
import { type GatewayResponse, toWeb } from "./GatewayResponse.ts"
import { millisOf } from "./internal/data/duration.ts"
import { headerValueAccepted, isHeaderName, isHeaderValue } from "./internal/data/headers.ts"
import type { Delta } from "./internal/dialect/delta.ts"
import { errorOf, errorStatus } from "./internal/dialect/server/openaiErrorWriter.ts"
import { failureResponse, failureStatus, leftResponse } from "./internal/server/failureResponse.ts"
import { passedHeaders } from "./internal/server/responseHeaders.ts"
import {
  type DeltaSource,
  type Served,
  type ServedEnding,
  type ServedFacts,
  serve
} from "./internal/server/serveDeltas.ts"
import type * as Route from "./Route.ts"
import * as Router from "./Router.ts"

/**
 * The format of the events.
 *
 * `deltas`: each `Chat.Delta` as JSON in its own `data` field. `openai`: chunks of a chat completion, as OpenAI's API
 * streams them, for front ends that read those. Reasoning is in `reasoning_content`, and after the chunk with the
 * finish reason, a chunk without a choice has the usage. OpenAI's format cannot express that another answer begins, so
 * a stream breaks off where `Route.restart` would begin one.
 *
 * @category models
 */
export type Format = "deltas" | "openai"

/**
 * How a response ended, with the part of `Router.StreamSummary` that is known.
 *
 * @category models
 */
export interface Summary extends ServedFacts, ServedEnding {}

/**
 * Options of every streamed response. An invalid option is a defect: a `GatewayError` that names the field.
 *
 * @category models
 */
export interface Options<R = never> {
  /** Default: `deltas`. */
  readonly format?: Format | undefined
  /**
   * Whether the format `openai` has the chunk with the usage, whose `choices` are empty. OpenAI sends it to clients
   * that set `stream_options.include_usage`. The format `deltas` always has the usage. Default: `true`.
   */
  readonly includeUsage?: boolean | undefined
  /**
   * Longest silence before the client receives a comment, so that proxies keep the connection open. Above zero;
   * `Duration.infinity` disables comments. Default: 15 seconds.
   */
  readonly heartbeat?: Duration.Input | undefined
  /** Further response headers with lower-case names, for example for CORS. They cannot replace the content type. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /**
   * Aborted when the client has left. The body then breaks with the signal's reason, so that no copy or cache takes
   * half an answer for a complete one. Cancelling the body ends the answer too.
   */
  readonly signal?: AbortSignal | undefined
  /**
   * Called exactly once, however the response ends: before the body ends or breaks, or before the error response. It is
   * uninterruptible, so keep it short. Its own failure is logged and changes nothing. In a Worker whose client has left
   * there is little time: pass long work to `Worker.waitUntil`.
   */
  readonly onEnd?: ((summary: Summary) => Effect.Effect<unknown, unknown, R>) | undefined
}

/**
 * Options of {@link fromDeltas}.
 *
 * @category models
 */
export interface DeltasOptions<R = never> extends Options<R> {
  /** Sent as `cf-aig-log-id`. */
  readonly logId?: string | undefined
}

/**
 * Options of {@link fromRoute}: those of the response and those of the run. `headers` are response headers.
 *
 * @category models
 */
export interface RouteOptions<R = never> extends Options<R>, Omit<Router.RunOptions, "headers"> {}

/**
 * Options of {@link fromBytes}.
 *
 * @category models
 */
export type BytesOptions = Pick<Options, "headers">

type Problem = readonly [field: string, accepted: string]

const headersProblem = ({ headers = {} }: BytesOptions): Problem | undefined => {
  for (const [name, value] of Object.entries(headers)) {
    if (!isHeaderName(name)) return ["headers", "lower-case header names"]
    if (!isHeaderValue(value)) return [`headers.${name}`, headerValueAccepted]
  }
  return undefined
}

const heartbeatMillis = ({ heartbeat = "15 seconds" }: Pick<Options, "heartbeat">): number => millisOf(heartbeat)

const problemOf = (options: Omit<DeltasOptions, "onEnd">): Problem | undefined => {
  const { format, includeUsage, logId } = options
  if (includeUsage !== undefined && typeof includeUsage !== "boolean") return ["includeUsage", "a boolean"]
  if (format !== undefined && format !== "deltas" && format !== "openai") return ["format", "`deltas` or `openai`"]
  if (!(heartbeatMillis(options) > 0)) return ["heartbeat", "a duration above zero, or Duration.infinity"]
  if (logId !== undefined && !isHeaderValue(logId)) return ["logId", headerValueAccepted]
  return headersProblem(options)
}

const eventHeaders = (logId: string | undefined, headers: Options["headers"]): Record<string, string> => ({
  "cache-control": "no-store",
  // Keeps proxies from buffering the events.
  "x-accel-buffering": "no",
  ...(logId !== undefined && isHeaderValue(logId) && { "cf-aig-log-id": logId }),
  ...headers,
  "content-type": "text/event-stream; charset=utf-8"
})

/** The same headers, with the status and the body that OpenAI's clients expect. */
const openaiFailure = (error: GatewayError): Response => {
  const { headers } = failureResponse(error)
  const { _tag: reason } = error.reason
  return Response.json(
    { error: { ...errorOf(reason, reason), reason, retryable: error.isRetryable } },
    { status: errorStatus(reason), headers }
  )
}

const failed = (error: GatewayError, { format, headers = {} }: Pick<Options, "format" | "headers">): Response => {
  const response = format === "openai" ? openaiFailure(error) : failureResponse(error)
  for (const [name, value] of Object.entries(headers)) {
    if (name !== "content-type") response.headers.set(name, value)
  }
  return response
}

const respond = <R, R2>(
  method: string,
  open: Effect.Effect<DeltaSource<R>, GatewayError, R | Scope.Scope>,
  options: DeltasOptions<R2>
): Effect.Effect<Response, never, Exclude<R, Scope.Scope> | R2> => {
  const problem = problemOf(options)
  if (problem !== undefined) return Effect.die(invalid(method, ...problem))
  const { format = "deltas", headers, includeUsage = true, onEnd, signal } = options
  return Effect.map(
    serve(open, { method, format, includeUsage, heartbeat: heartbeatMillis(options), signal, onEnd }),
    ({ body, head }: Served): Response => {
      switch (head._tag) {
        case "Opened":
          return new Response(body, { headers: eventHeaders(head.logId, headers) })
        case "Failed":
          return failed(head.error, options)
        case "Left":
          return leftResponse()
      }
    }
  )
}

/**
 * Makes a response of deltas. It begins at once, so any failure is reported inside it. For a route's deltas prefer
 * {@link fromRoute}.
 *
 * The response has status 200, `text/event-stream`, `cache-control: no-store` and `x-accel-buffering: no`. The deltas
 * are pulled with the services of this effect, and continue after it until the stream ends, the client leaves or the
 * signal is aborted. The last event of a failed stream is `event: error` with `{ reason, message, events }`, in the
 * format `openai` inside `error`: the tag of the reason, and how many deltas came before. A stream that ends without
 * its finish delta has failed; do not filter that delta out.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 * import type * as Chat from "effect-ai-gateway/Chat"
 * import * as StreamResponse from "effect-ai-gateway/StreamResponse"
 *
 * const deltas = Stream.make<ReadonlyArray<Chat.Delta>>(
 *   { type: "text", text: "Hello" },
 *   { type: "finish", reason: "stop" }
 * )
 * const response = await Effect.runPromise(StreamResponse.fromDeltas(deltas))
 * const events = (await response.text()).split("\n\n")
 * console.log(events[0]) // data: {"type":"text","text":"Hello"}
 * console.log(events[2]) // data: [DONE]
 * ```
 *
 * @category constructors
 */
export const fromDeltas = <R, R2 = never>(
  stream: Stream.Stream<Delta, GatewayError, R>,
  options: DeltasOptions<R2> = {}
): Effect.Effect<Response, never, Exclude<R, Scope.Scope> | R2> =>
  respond(
    "StreamResponse.fromDeltas",
    Effect.succeed<DeltaSource<R>>({ deltas: stream, logId: options.logId, facts: undefined }),
    options
  )

/**
 * Streams a route's answer as a response.
 *
 * It begins with the answer's first delta, and with `cf-aig-log-id` where that is known; until then failing targets are
 * replaced as in `Router.stream`. When no target answers, the response is an error with
 * `{ "error": { "reason", "retryable" } }`, a status from {@link failureStatus}, and a `retry-after` header where
 * waiting helps. In the format `openai` the error also has `message`, `type`, `param` and `code`, and the status is the
 * one that OpenAI's clients expect: 400 for a prompt that is too long or was blocked, 404 for an unknown model, 429 for
 * a spent quota. After the first delta the response behaves like {@link fromDeltas}.
 *
 * `onEnd` is called in all of these cases, with the summary of the run. When the signal is aborted before the first
 * delta, the status is 499, which no client receives.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 * import * as StreamResponse from "effect-ai-gateway/StreamResponse"
 *
 * const ask = Route.fallback(
 *   Provider.openai.chat("gpt-4.1-mini"),
 *   Provider.anthropic.messages("claude-haiku-4-5")
 * ).pipe(Route.firstTokenTimeout("3 seconds"), Route.idleTimeout("10 seconds"))
 *
 * export const answer = (prompt: string, signal: AbortSignal) =>
 *   StreamResponse.fromRoute(ask, prompt, {
 *     format: "openai",
 *     signal,
 *     onEnd: ({ attempts, logId, outcome, usage }) =>
 *       Effect.logInfo("answered", { outcome, logId, usage, attempts: attempts.length })
 *   })
 * ```
 *
 * @category constructors
 */
export const fromRoute = Effect.fn("StreamResponse.fromRoute")(
  <In, Out, R = never>(
    route: Route.Route<In, Out>,
    input: In,
    options: RouteOptions<R> = {}
  ): Effect.Effect<Response, never, Router.Router | R> => {
    const { format, headers, heartbeat, includeUsage, onEnd, signal, ...run } = options
    const open = Effect.map(
      // The remaining options are the run's, which rejects unknown names.
      Router.open(route, input, run),
      ({ deltas, logId, summary }): DeltaSource<Router.Router> => ({ deltas, logId: logId(), facts: summary })
    )
    return respond("StreamResponse.fromRoute", open, { format, headers, heartbeat, includeUsage, onEnd, signal })
  }
)

/**
 * Passes a gateway's answer through as the response, byte for byte.
 *
 * Nothing is parsed or copied, so there are no heartbeats, and the client itself determines whether the answer is
 * complete. A client that leaves stops the request, as the platform cancels the body.
 *
 * The response omits headers of the connection, cookies, credentials, the provider's account, rules for browsers (CORS,
 * HSTS and the like) and the encoding, which is already decoded; `cf-aig-*` stays. Use it instead of reading the answer
 * here, not in addition. A malformed header in the options throws a `GatewayError` that names it.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as AiService from "effect-ai-gateway/AiService"
 * import * as StreamResponse from "effect-ai-gateway/StreamResponse"
 *
 * export const pass = Effect.gen(function*() {
 *   const ai = yield* AiService.AiService
 *   const messages = [{ role: "user", content: "Hello" }]
 *   return StreamResponse.fromBytes(yield* ai.run("openai/gpt-4.1-mini", { messages, stream: true }))
 * })
 * ```
 *
 * @category constructors
 */
export const fromBytes = (response: GatewayResponse, options: BytesOptions = {}): Response => {
  const problem = headersProblem(options)
  if (problem !== undefined) throw invalid("StreamResponse.fromBytes", ...problem)
  const { body, status } = toWeb(response)
  const passed = passedHeaders(response.headers)
  const streams = /^text\/event-stream\b/i.test(passed["content-type"] ?? "")
  return new Response(body, {
    status,
    headers: {
      ...passed,
      ...(streams && { "cache-control": "no-store", "x-accel-buffering": "no" }),
      ...options.headers
    }
  })
}

export { failureStatus }
