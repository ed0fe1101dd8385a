/**
 * Upstreams behind the provider slugs of the local gateway: deterministic echoes, scripted faults, or real servers.
 *
 * An upstream is a description. Each gateway starts its own copy, so a script's position is never shared.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Echo from "./upstream/echo.ts"
import * as Faults from "./upstream/faults.ts"
import type { ProxyOptions } from "./upstream/realServer.ts"
import * as RealServer from "./upstream/realServer.ts"
import type { StreamFault as InStream } from "./upstream/streamFaultSchema.ts"
import type { Handler } from "./wire/protocol.ts"
import * as Shape from "./wire/streamShape.ts"

export {
  type Answer,
  Disconnect,
  type Handler,
  UpstreamFailure,
  type UpstreamRequest
} from "./wire/protocol.ts"

/**
 * Description of an upstream.
 *
 * @category models
 */
export interface Upstream {
  /** Makes a handler with fresh state. */
  readonly start: Effect.Effect<Handler>
  /** The problem of the description; a gateway with such an upstream fails to start. */
  readonly problem?: { readonly field: string; readonly accepted: string } | undefined
}

/**
 * Makes an upstream from a function.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Upstream from "effect-ai-gateway/local/Upstream"
 *
 * export const teapot = Upstream.make(() =>
 *   Effect.succeed({ status: 418, headers: { "content-type": "text/plain" }, body: "short and stout" })
 * )
 * ```
 *
 * @category constructors
 */
export const make = (handler: Handler): Upstream => ({ start: Effect.succeed(handler) })

/**
 * Number, size and pace of {@link echo}'s stream events. The request header `cf-aig-local-stream` takes the same fields
 * as JSON; they override the upstream's, field by field.
 *
 * - `events`: number of text deltas, 1 to 1,000,000. The words of the text are repeated, or cut off, for exactly that
 *   number, and may have 16,777,216 characters in total; the answer that is not streamed then has the same text.
 *   Default: as many as the text has.
 * - `words`: words per delta, 1 to 1,000; in all events together at most 1,000,000. Default: 1.
 * - `delayFirst`: before the first event, in milliseconds or as text such as `"2 seconds"`. Default: none.
 * - `delay`: between two events, likewise. Default: none.
 *
 * @category models
 */
export type StreamShape = Shape.StreamShape

/**
 * Options of {@link echo}.
 *
 * @category models
 */
export interface EchoOptions {
  /** The answer's text. Default: `{provider}/{model}: {last user text}`. */
  readonly text?:
    | ((request: { readonly provider: string; readonly model: string; readonly prompt: string }) => string)
    | undefined
  /** Length of embedding vectors, 1 to 4096. Default: 8. */
  readonly dimensions?: number | undefined
  /** Number, size and pace of the events of a stream. */
  readonly stream?: StreamShape | undefined
}

/**
 * Answers at once and deterministically, in the dialect of the endpoint.
 *
 * It supports chat, embeddings, token counts and lists of models of OpenAI, Anthropic and Google, and all tasks of
 * Workers AI; an unknown endpoint is a 404. It calls a tool when the request demands it, and satisfies JSON schemas.
 * Streams consist of server-sent events, one at a time and only as fast as they are read. Token counts are word counts.
 *
 * @category constructors
 */
export const echo = (options: EchoOptions = {}): Upstream => {
  const { dimensions = 8, stream = {}, text = Echo.defaultText } = options
  const shape = Shape.decode(stream)
  return {
    start: Effect.sync(() => Echo.handler({ text, dimensions, stream })),
    problem:
      Number.isInteger(dimensions) && dimensions >= 1 && dimensions <= 4096
        ? Result.match(shape, {
            onSuccess: () => undefined,
            onFailure: ({ accepted, field }) => ({ field: field === "" ? "stream" : `stream.${field}`, accepted })
          })
        : { field: "dimensions", accepted: "a whole number from 1 to 4096" }
  }
}

/**
 * One scripted reaction; see {@link script}. Plain JSON, so that it can be sent to another process.
 *
 * @category models
 */
export type Fault = Faults.Fault

/**
 * Value of a fault `{ stream: … }`; see {@link script}.
 *
 * @category models
 */
export type StreamFault = InStream

/**
 * Schema of {@link Fault}.
 *
 * @category schemas
 */
export const Fault = Faults.Fault

/**
 * Reacts to each attempt with the next fault of a list, then hands over to `then` (default: {@link echo}).
 *
 * | fault | reaction |
 * | --- | --- |
 * | `{ status, body?, headers?, retryAfter? }` | that answer; without `body` an error body in the provider's dialect |
 * | `{ ok: true }` | the answer of `then` |
 * | `{ stall: true }` | never answers |
 * | `{ reset: true }` | the connection to the provider is reset |
 * | `{ truncate: n }` | the answer is cut after n bytes |
 * | `{ garble: true }` | status 200 with broken JSON |
 * | `{ html: true, status? }` | a page instead of JSON; status 502 unless given |
 * | `{ drop: true }` | the *client's* connection is dropped without an answer |
 * | `{ stream: { … } }` | something happens inside the stream of events |
 *
 * `stream` has one or more of the following fields. A place is `{ bytes: n }`, `{ events: n }` or `{ deltas: n }`:
 * right after that number; `{ deltas: 0 }` is just before the first delta, and a place past the end is the end.
 *
 * | field | what happens |
 * | --- | --- |
 * | `stallAfter`, `resetAfter`, `endAfter` (one of them): place | stalls forever; the connection breaks; a clean end |
 * | `dropAfter`: place | the *client's* connection breaks |
 * | `errorAfter`: `{ events }` or `{ deltas }`, and `body`? | an error event in the provider's dialect, or `body`; then the end |
 * | `noFinish: true` | no event finishes the answer |
 * | `bigEvent`: bytes, to 256 MiB | one more text delta of that size after the first |
 * | `retryField`: milliseconds, `comments`: true or a text, `pings: true` | before the first event, before each, between them |
 * | `crlf: true`, `bom: true` | CR LF at the end of lines, a byte order mark at the start |
 * | `chunkSize`: bytes to 16 MiB, or `eventsPerChunk` | pieces of that size; default: one event, at most 64 KiB |
 * | `delayFirst`, `delayBetween` | before the first piece, between pieces: milliseconds or text |
 *
 * With `stream`, an answer that is not a stream of events becomes a 400 with code 7001; an error answer passes.
 *
 * Each fault may have `delay` (milliseconds, or text such as `"2 seconds"`) before the reaction, and `repeat` (a whole
 * number from 1, or `"forever"`; default 1). `retryAfter` is in seconds, or an HTTP date.
 *
 * @example
 * ```ts
 * import * as LocalGateway from "effect-ai-gateway/local"
 * import * as Upstream from "effect-ai-gateway/local/Upstream"
 *
 * export const gateway = LocalGateway.make({
 *   upstreams: { openai: Upstream.script([{ status: 503, repeat: 2 }, { stall: true }]) }
 * })
 * ```
 *
 * @category constructors
 */
export const script = (faults: ReadonlyArray<Fault>, then: Upstream = echo()): Upstream => ({
  start: Effect.map(then.start, (handler) => {
    const queue = Faults.makeQueue(faults)
    return (request) => Faults.react(queue.next(), request, handler)
  }),
  problem: Faults.problem(faults) ?? then.problem
})
/**
 * Sends attempts to a real server: a provider, an OpenAI-compatible server, another gateway. Redirects are not
 * followed. Streams pass through, and are cancelled when the client leaves.
 *
 * @example
 * ```ts
 * import * as LocalGateway from "effect-ai-gateway/local"
 * import * as Upstream from "effect-ai-gateway/local/Upstream"
 *
 * export const gateway = LocalGateway.make({
 *   upstreams: { openai: Upstream.proxy({ baseUrl: "http://127.0.0.1:11434/v1" }) }
 * })
 * ```
 *
 * @category constructors
 */
export const proxy = (options: ProxyOptions): Upstream => ({
  start: Effect.succeed(RealServer.handler(options)),
  problem: RealServer.problem(options)
})

export type { ProxyOptions } from "./upstream/realServer.ts"
