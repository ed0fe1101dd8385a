/**
 * Leaves for any body, made of functions.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Problem } from "../../GatewayOptions.ts"
import type { Headers } from "../../UniversalRequest.ts"
import type { Reply } from "../dialect/chat.ts"
import type { DeltaDecoder } from "../dialect/delta.ts"
import { type DecodedAnswer, type Leaf, withoutValues } from "./node.ts"

/** Options of `Route.make`. */
export interface MakeOptions<In, Body, Out> {
  /** Provider slug, `compat`, or `custom-{slug}`. */
  readonly provider: string
  /** Path at the provider without a leading slash, or a function of the input. */
  readonly endpoint: string | ((input: In) => string)
  /** Name of the model, for records and pictures. */
  readonly model?: string | undefined
  /** Explicit key of the target. Default: everything that distinguishes it, except the credential. */
  readonly key?: string | undefined
  /** Headers with lower-case names; credentials as `Redacted`. */
  readonly headers?: Headers | undefined
  /** The provider's request body. */
  readonly query: (input: In) => Body
  /** Decodes the answer. */
  readonly success: Schema.ConstraintDecoder<Out>
  /** Form of the body that `success` decodes: parsed JSON (default), text, or bytes. */
  readonly accept?: "json" | "text" | "bytes" | undefined
  /**
   * Whether the request may be made twice at once, as `Route.hedge` and `Route.race` do. Default `false`, because the
   * library knows nothing about the body.
   */
  readonly idempotent?: boolean | undefined
  /** How the target streams chat deltas; without it the target only works in `Router.run`. */
  readonly stream?: StreamOptions | undefined
}

/** How a target of `Route.make` streams. */
export interface StreamOptions {
  /** Turns the request body into that of a stream. Default: adds `stream: true`. */
  readonly query?: ((query: Record<string, unknown>) => Record<string, unknown>) | undefined
  /** The path for a stream. Default: the same. */
  readonly endpoint?: ((endpoint: string) => string) | undefined
  /** Makes a decoder for one stream. */
  readonly decoder: () => DeltaDecoder
  /** Reads an answer that arrived complete although a stream was requested. */
  readonly reply: (body: unknown) => Result.Result<Reply, Problem>
}

/** Makes the leaf of `Route.make`, about which only its functions are known. */
export const customLeaf = <In, Body, Out>(options: MakeOptions<In, Body, Out>): Leaf<In, Out> => {
  const decode = Schema.decodeUnknownResult(options.success)
  const { endpoint, query, stream } = options
  return {
    _tag: "Leaf",
    provider: options.provider,
    label: typeof endpoint === "string" ? endpoint : "endpoint by input",
    model: options.model,
    key: options.key,
    headers: { ...options.headers },
    accept: options.accept ?? "json",
    idempotent: options.idempotent === true,
    build: (input) =>
      Result.succeed({ endpoint: typeof endpoint === "string" ? endpoint : endpoint(input), query: query(input) }),
    decode: (body) =>
      Result.mapBoth(decode(body), {
        onSuccess: (value): DecodedAnswer<Out> => ({ value }),
        // Schema's messages state the expected value and its place; they do not print the value.
        onFailure: (error) => ({
          field: "body",
          accepted: withoutValues(error.message)
        })
      }),
    ...(stream !== undefined && {
      chat: {
        dialect: "custom",
        reply: stream.reply,
        streaming: {
          query: stream.query ?? ((body) => ({ ...body, stream: true })),
          endpoint: stream.endpoint ?? ((path) => path),
          decoder: stream.decoder
        }
      }
    }),
    spec: undefined
  }
}
