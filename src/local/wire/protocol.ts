/**
 * The words that the gateway and its upstreams share.
 */
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type { StreamShape } from "./streamShape.ts"

/** One attempt as the gateway sends it to a provider. */
export interface UpstreamRequest {
  /** Slug of the provider; for `compat` the one that the model name picked. */
  readonly provider: string
  /** Path and query at the provider, without a leading slash. */
  readonly endpoint: string
  readonly method: string
  /** From the body, or from the path where the provider puts it there. */
  readonly model: string | undefined
  /** Lower-case names; credentials included, `cf-aig-*` headers removed. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array<ArrayBuffer> | undefined
  /** The body when it is JSON, else `undefined`. */
  readonly json: unknown
  /** What the header `cf-aig-local-stream` asks of an upstream that makes its own streams. */
  readonly stream?: StreamShape | undefined
}

/** What an upstream answers. A body that is text or bytes is complete; a stream is read as it comes. */
export interface Answer {
  /** 200 to 599. */
  readonly status: number
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  /** Values of `set-cookie`, the one header that cannot be joined. */
  readonly cookies?: ReadonlyArray<string>
  readonly body: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | null
  /** The connection breaks after the body. */
  readonly broken?: boolean
  /** Where in the body the *client's* connection breaks, in bytes; unknown until the body gets there. */
  readonly drop?: { readonly at: number | undefined }
}

/** The connection to the provider failed: never made, reset, or cut inside the body. */
export class UpstreamFailure extends Data.TaggedError("UpstreamFailure")<{
  readonly kind: "connect" | "reset" | "truncated"
}> {}

/** The gateway drops the client's connection without an answer. */
export class Disconnect extends Data.TaggedError("Disconnect") {}

/** Answers attempts. Interruption means that the gateway no longer waits: a timeout, or the client left. */
export type Handler = (request: UpstreamRequest) => Effect.Effect<Answer, UpstreamFailure | Disconnect>
