/**
 * What stands behind a provider slug of the local gateway: deterministic echoes, scripted faults, or a real server.
 *
 * An upstream is a description. Each gateway starts its own copy, so a script's position is never shared.
 */
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Echo from "./echo.ts"
import * as Faults from "./faults.ts"
import type { Handler } from "./protocol.ts"
import * as RealServer from "./proxy.ts"

export {
  type Answer,
  Disconnect,
  type Handler,
  UpstreamFailure,
  type UpstreamRequest
} from "./protocol.ts"

/** See the module. */
export interface Upstream {
  /** Makes a handler with fresh state. */
  readonly start: Effect.Effect<Handler>
  /** What is wrong with the description; a gateway that is given it fails to start. */
  readonly problem?: { readonly field: string; readonly accepted: string } | undefined
}

/**
 * An upstream from a function.
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
 */
export const make = (handler: Handler): Upstream => ({ start: Effect.succeed(handler) })

/** Options of {@link echo}. */
export interface EchoOptions {
  /** The answer's text. Default: `{provider}/{model}: {last user text}`. */
  readonly text?:
    | ((request: { readonly provider: string; readonly model: string; readonly prompt: string }) => string)
    | undefined
  /** Length of embedding vectors, 1 to 4096. Default: 8. */
  readonly dimensions?: number | undefined
}

/**
 * Answers at once and deterministically, in the dialect of the endpoint: OpenAI chat, Responses and embeddings,
 * Anthropic messages, Google `generateContent`, Workers AI; anything else as `{ "echo": body }`. Requests for a
 * stream get server-sent events. Token counts are word counts.
 */
export const echo = (options: EchoOptions = {}): Upstream => {
  const dimensions = options.dimensions ?? 8
  return {
    start: Effect.succeed(Echo.handler({ text: options.text ?? Echo.defaultText, dimensions })),
    problem:
      Number.isInteger(dimensions) && dimensions >= 1 && dimensions <= 4096
        ? undefined
        : { field: "dimensions", accepted: "a whole number from 1 to 4096" }
  }
}

/** One scripted reaction; see {@link script}. Plain JSON, so that it can be sent to another process. */
export type Fault = Faults.Fault

/** Schema of {@link Fault}. */
export const Fault = Faults.Fault

/**
 * Reacts to one attempt after the other as listed, then hands over to `then` (default: {@link echo}).
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
 *
 * Each may have `delay` (milliseconds, or text such as `"2 seconds"`) before the reaction, and `repeat` (a whole
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
 */
export const script = (faults: ReadonlyArray<Fault>, then: Upstream = echo()): Upstream => ({
  start: Effect.map(then.start, (handler) => {
    const queue = Faults.makeQueue(faults)
    return (request) => Faults.react(queue.next(), request, handler)
  }),
  problem: Faults.problem(faults) ?? then.problem
})

/** Options of {@link proxy}. */
export interface ProxyOptions {
  /** Absolute `http` or `https` URL; the endpoint is appended. `…/v1` followed by an endpoint `v1/…` is joined once. */
  readonly baseUrl: string
  /** Headers to add or replace, for example the real credential. */
  readonly headers?: Readonly<Record<string, string | Redacted.Redacted<string>>> | undefined
  /** Default: the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch | undefined
}

/**
 * Sends attempts to a real server: a provider, an OpenAI-compatible server, another gateway. Redirects are not
 * followed. Streams pass through, and are cancelled when the client leaves.
 */
export const proxy = (options: ProxyOptions): Upstream => ({
  start: Effect.succeed(RealServer.handler(options)),
  problem: RealServer.problem(options)
})
