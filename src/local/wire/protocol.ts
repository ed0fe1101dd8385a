/** Types that the gateway and its upstreams share. */
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type { StreamShape } from "./streamShape.ts"

/** One attempt as the gateway sends it to a provider. */
export interface UpstreamRequest {
  /** Slug of the provider; for `compat` the one that the model's name selects. */
  readonly provider: string
  /** Path and query at the provider, without a leading slash. */
  readonly endpoint: string
  readonly method: string
  /** From the body, or from the path where the provider puts it there. */
  readonly model: string | undefined
  /** Lower-case names; credentials included, `cf-aig-*` headers removed. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array<ArrayBuffer> | undefined
  /** The body when it is JSON, otherwise `undefined`. */
  readonly json: unknown
  /** Stream shape from the header `cf-aig-local-stream`, for upstreams that make their own streams. */
  readonly stream?: StreamShape | undefined
}

/** An upstream's answer. A body of text or bytes is complete; a stream is read as it arrives. */
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
  /** Position in the body where the *client's* connection breaks, in bytes; unknown until the body reaches it. */
  readonly drop?: { readonly at: number | undefined }
}

/** The connection to the provider failed: never made, reset, or cut inside the body. */
export class UpstreamFailure extends Data.TaggedError("UpstreamFailure")<{
  readonly kind: "connect" | "reset" | "truncated"
}> {}

/** The gateway drops the client's connection without an answer. */
export class Disconnect extends Data.TaggedError("Disconnect") {}

/** Answers attempts. Interruption means that the gateway stopped waiting: a timeout, or the client left. */
export type Handler = (request: UpstreamRequest) => Effect.Effect<Answer, UpstreamFailure | Disconnect>
