/**
 * Leaves made from a dialect: the only ones that can be stored, because they are data.
 */
import * as Result from "effect/Result"
import type { Headers } from "../../UniversalRequest.ts"
import { leastTokens } from "../admission/estimate.ts"
import { defined } from "../data/defined.ts"
import type { Dialect } from "../dialect/codec.ts"
import type { Leaf, LeafSpec } from "./node.ts"

/** Makes the leaf of a spec. `headers` includes the credentials. */
export const dialectLeaf = <In, Out>(spec: LeafSpec, dialect: Dialect<In, Out>, headers: Headers): Leaf<In, Out> => ({
  _tag: "Leaf",
  provider: spec.provider,
  label: spec.endpoint,
  model: spec.model,
  key: spec.key,
  headers,
  accept: "json",
  build: (input) => {
    let dropped: Array<string> | undefined
    const onDropped = (field: string): void => {
      dropped = [...(dropped ?? []), field]
    }
    if (spec.contextWindow !== undefined) {
      const tokens = leastTokens(input)
      if (tokens > spec.contextWindow) {
        const accepted = `a conversation of at most ${spec.contextWindow} tokens, and not of ${tokens} or more`
        return Result.fail({ field: "messages", accepted, isUnsupported: true })
      }
    }
    return Result.map(dialect.encode(input, spec.model, { onDropped }), (body) => ({
      endpoint: spec.endpoint,
      query: spec.body === undefined ? body : { ...spec.body, ...body },
      ...(dropped && { dropped })
    }))
  },
  decode: (body) =>
    Result.map(dialect.decode(body, spec), (value) => ({
      value,
      usage: dialect.usage(value),
      model: dialect.model(value)
    })),
  ...defined({ ofReply: dialect.ofReply }),
  ...(dialect.reply && {
    chat: {
      dialect: dialect.id,
      reply: dialect.reply,
      ...defined({ streaming: dialect.streaming, allowEmpty: spec.allowEmpty })
    }
  }),
  spec
})
