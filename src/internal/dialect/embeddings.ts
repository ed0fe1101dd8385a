/**
 * Embeddings in OpenAI's shape, which most providers use, and in that of native Workers AI.
 *
 * Shapes: https://platform.openai.com/docs/api-reference/embeddings and the text embedding types of
 * `@cloudflare/workers-types` (`AiTextEmbeddingsOutput`, `Ai_Cf_Baai_Bge_M3_Output`).
 */
import { defined } from "../data/defined.ts"
import type { Json, Usage } from "./chat.ts"
import { checkLength, checkTexts } from "./checked.ts"
import {
  attempt,
  type Dialect,
  fields,
  isFields,
  list,
  modelOf,
  nonEmptyText,
  optionalText,
  refuse,
  unsupported,
  usageOf
} from "./codec.ts"
import { decodeUsage } from "./openai.ts"
import { unwrap } from "./workersAi.ts"

/** Texts to embed, with options. */
export interface EmbeddingRequest {
  /** One text or several, none of them empty. The provider determines the maximum number. */
  readonly input: string | ReadonlyArray<string>
  /** Length of the vectors, from 1, if the model can shorten them. Workers AI cannot. */
  readonly dimensions?: number | undefined
  /** Fields of the provider's own body, merged last. */
  readonly extra?: { readonly [key: string]: Json } | undefined
}

/** Input of an embedding: a text, several, or a request. */
export type EmbeddingInput = string | ReadonlyArray<string> | EmbeddingRequest

/** Vectors in the order of the texts. */
export interface Embeddings {
  readonly vectors: ReadonlyArray<ReadonlyArray<number>>
  readonly usage: Usage
  readonly model?: string
  /** The provider's complete body. */
  readonly raw: unknown
}

const isTexts = (input: EmbeddingInput): input is string | ReadonlyArray<string> =>
  typeof input === "string" || Array.isArray(input)

const checked = (given: EmbeddingInput): EmbeddingRequest => {
  const request = isTexts(given) ? { input: given } : given
  fields(request, "input")
  const { dimensions, extra, input } = request
  if (typeof input === "string") nonEmptyText(input, "input")
  else if (checkTexts(input, "input") === 0) refuse("input", "at least one text")
  checkLength(dimensions, "dimensions")
  if (extra !== undefined) fields(extra, "extra")
  return request
}

/** See `Chat.openaiEmbeddings`. */
export const openaiEmbeddings: Dialect<EmbeddingInput, Embeddings> = {
  id: "openai-embeddings",
  encode: (given, model) =>
    attempt(() => {
      const { dimensions, extra, input } = checked(given)
      return { model, input, ...defined({ dimensions }), ...extra }
    }),
  decode: (raw) =>
    attempt(() => {
      const body = fields(raw, "body")
      const data = list(body.data, "data")
      if (data.length === 0) refuse("data", "at least one embedding")
      const vectors: Array<ReadonlyArray<number>> = []
      data.forEach((item, i) => {
        const entry = fields(item, `data[${i}]`)
        const { index = i } = entry
        // The index determines the order, and a text without a vector must be noticed.
        if (typeof index !== "number" || !(index in data) || index in vectors) {
          refuse(`data[${i}].index`, `a unique number from 0 to ${data.length - 1}`)
        } else vectors[index] = vector(entry.embedding, `data[${i}].embedding`)
      })
      return {
        vectors,
        usage: decodeUsage(body.usage),
        ...defined({ model: optionalText(body.model) }),
        raw
      }
    }),
  usage: usageOf,
  model: modelOf
}

/** See `Chat.workersAiEmbeddings`. */
export const workersAiEmbeddings: Dialect<EmbeddingInput, Embeddings> = {
  id: "workers-ai-embeddings",
  encode: (given) =>
    attempt(() => {
      const { dimensions, extra, input } = checked(given)
      if (dimensions !== undefined) unsupported("dimensions", "nothing: vectors of Workers AI have a fixed length")
      return { text: input, ...extra }
    }),
  decode: (raw) =>
    attempt(() => {
      const { at, value } = unwrap(raw)
      const body = fields(value, at === "" ? "body" : at.slice(0, -1))
      const data = list(body.data, `${at}data`)
      if (data.length === 0) refuse(`${at}data`, "at least one embedding")
      const rows = Array.isArray(body.shape) ? body.shape[0] : undefined
      if (rows !== undefined && rows !== data.length) refuse(`${at}data`, "as many embeddings as in shape")
      return {
        vectors: data.map((item, i) => vector(item, `${at}data[${i}]`)),
        usage: isFields(body.usage) ? decodeUsage(body.usage) : {},
        ...defined({ model: optionalText(body.model) }),
        raw
      }
    }),
  usage: usageOf,
  model: modelOf
}

const isNumber = (value: unknown): value is number => Number.isFinite(value)

const vector = (value: unknown, field: string): ReadonlyArray<number> =>
  Array.isArray(value) && value.length > 0 && value.every(isNumber) ? value : refuse(field, "an array of numbers")
