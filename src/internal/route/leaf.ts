/**
 * Leaves made from a dialect: the only ones that can be stored, because they are data.
 */
import * as Result from "effect/Result"
import type { Headers } from "../../UniversalRequest.ts"
import { defined } from "../data/defined.ts"
import type { Dialect, Json } from "../dialect/codec.ts"
import type { Leaf } from "./node.ts"

/** A leaf as plain data. Credentials are not in it. */
export interface LeafSpec {
  readonly kind: "chat" | "embeddings"
  /** Id of the dialect. */
  readonly dialect: string
  readonly provider: string
  readonly model: string
  /** Path at the provider. */
  readonly endpoint: string
  readonly key?: string
  /** Headers that are not credentials. */
  readonly headers?: Readonly<Record<string, string>>
  /** Names of the headers that carry a credential; their values are given again when the route is loaded. */
  readonly credentials?: ReadonlyArray<string>
  /** Fields merged into every request body, below the request's own `extra`. */
  readonly body?: Readonly<Record<string, Json>>
}

/** Makes the leaf of a spec. `headers` holds plain headers and credentials together. */
export const dialectLeaf = <In, Out>(spec: LeafSpec, dialect: Dialect<In, Out>, headers: Headers): Leaf<In, Out> => ({
  _tag: "Leaf",
  provider: spec.provider,
  label: spec.endpoint,
  model: spec.model,
  key: spec.key,
  headers,
  accept: "json",
  build: (input) =>
    Result.map(dialect.encode(input, spec.model), (body) => ({
      endpoint: spec.endpoint,
      query: spec.body === undefined ? body : { ...spec.body, ...body }
    })),
  decode: (body) =>
    Result.map(dialect.decode(body), (value) => ({
      value,
      usage: dialect.usage(value),
      model: dialect.model(value)
    })),
  ...(dialect.reply && {
    chat: { dialect: dialect.id, reply: dialect.reply, ...defined({ streaming: dialect.streaming }) }
  }),
  spec
})
