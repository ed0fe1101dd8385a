/** Embeddings: numbers derived from the text alone, in the dialects of OpenAI, Google and Workers AI. */
import * as Base64 from "effect/encoding/Base64"
import * as Hash from "effect/Hash"
import * as Result from "effect/Result"
import { isRecord } from "../../internal/data/json.ts"
import type { Issue } from "../../internal/dialect/codec.ts"
import { contentText, items, words } from "./prompts.ts"
import type { Fields } from "./schemaCheck.ts"

type Embedded = Result.Result<unknown, Issue>

// Unit-length numbers from the text alone; similar texts do not get similar vectors. The text is hashed once.
const vector = (text: string, dimensions: number): ReadonlyArray<number> => {
  const seed = Hash.string(text)
  const raw = Array.from({ length: dimensions }, (_, i) => ((Hash.string(`${i}:${seed}`) >>> 0) % 2001) / 1000 - 1)
  const length = Math.hypot(...raw) || 1
  return raw.map((x) => x / length)
}

const texts = (u: unknown): ReadonlyArray<string> =>
  typeof u === "string" ? [u] : items(u).filter((text): text is string => typeof text === "string")

// The official SDK requests base64 (little-endian 32-bit floats) by default.
const encodeVector = (values: ReadonlyArray<number>, format: unknown): unknown => {
  if (format !== "base64") return values
  const view = new DataView(new ArrayBuffer(values.length * 4))
  for (const [i, value] of values.entries()) view.setFloat32(i * 4, value, true)
  return Base64.encode(new Uint8Array(view.buffer))
}

/** Limits of what an embeddings request makes the echo compute. */
const maxDimensions = 4096
const maxInputs = 2048
const maxNumbers = 4_194_304

/** The field that exceeds a limit, and its accepted values. */
const tooMuch = (
  inputs: number,
  dimensions: number,
  inputField: string,
  dimensionsField: string
): Issue | undefined => {
  if (!(Number.isInteger(dimensions) && dimensions >= 1 && dimensions <= maxDimensions)) {
    return { field: dimensionsField, accepted: `a whole number from 1 to ${maxDimensions}` }
  }
  return inputs > maxInputs || inputs * dimensions > maxNumbers
    ? { field: inputField, accepted: `at most ${maxInputs} texts, and ${maxNumbers} numbers in all vectors` }
    : undefined
}

const vectors = (
  input: ReadonlyArray<string>,
  dimensions: number,
  inputField: string,
  dimensionsField: string
): Result.Result<ReadonlyArray<ReadonlyArray<number>>, Issue> => {
  const wrong = tooMuch(input.length, dimensions, inputField, dimensionsField)
  return wrong === undefined ? Result.succeed(input.map((text) => vector(text, dimensions))) : Result.fail(wrong)
}

/** OpenAI's tokens are texts too: `[1, 2]` is one text, `[[1], [2]]` are two. Anything else would be lost. */
const openAiTexts = (input: unknown): Result.Result<ReadonlyArray<string>, Issue> => {
  if (typeof input === "string") return Result.succeed([input])
  const all = items(input)
  if (all.length > 0) {
    if (all.every((one) => typeof one === "number")) return Result.succeed([all.join(" ")])
    if (all.every((one) => typeof one === "string")) return Result.succeed(all)
    if (all.every((one) => Array.isArray(one))) return Result.succeed(all.map((one) => one.join(" ")))
  }
  return Result.fail({ field: "input", accepted: "a text, or a list of texts or of tokens that is not empty" })
}

const sum = (texts: ReadonlyArray<string>): number => texts.reduce((total, text) => total + words(text), 0)

export const openAiEmbeddings = (body: Fields, model: string, dimensions: number): Embedded =>
  Result.flatMap(openAiTexts(body["input"]), (input) => ofTexts(input, body, model, dimensions))

const ofTexts = (input: ReadonlyArray<string>, body: Fields, model: string, dimensions: number): Embedded => {
  const size = typeof body["dimensions"] === "number" ? body["dimensions"] : dimensions
  return Result.map(vectors(input, size, "input", "dimensions"), (all) => ({
    // Answers of Mistral, OpenRouter and others have one, and their clients require it.
    id: `embd-${(Hash.string(input.join("\n")) >>> 0).toString(16).padStart(8, "0")}`,
    object: "list",
    data: all.map((one, index) => ({
      object: "embedding",
      index,
      embedding: encodeVector(one, body["encoding_format"])
    })),
    model,
    usage: { prompt_tokens: sum(input), total_tokens: sum(input) }
  }))
}

/** Value of Workers AI's `result`. */
export const workersAiEmbeddings = (body: Fields, dimensions: number): Embedded => {
  // Qwen's model uses its own names, and batches are lists of `{ text }`.
  const { documents, queries, requests, text } = body
  const written =
    text ?? queries ?? documents ?? items(requests).map((one) => (isRecord(one) ? one["text"] : undefined))
  const input = texts(written)
  if (input.length === 0 || (Array.isArray(written) && input.length < written.length)) {
    return Result.fail({ field: "text", accepted: "a text, or a list of texts that is not empty" })
  }
  return Result.map(vectors(input, dimensions, "text", "dimensions"), (data) => ({
    shape: [data.length, dimensions],
    data,
    pooling: body["pooling"] === "cls" ? "cls" : "mean"
  }))
}

/** `bge-m3` also embeds contexts, and answers with them under another name. */
export const workersAiContexts = (body: Fields, dimensions: number): Embedded => {
  const input = items(body["contexts"]).map((one) => (isRecord(one) ? String(one["text"] ?? "") : ""))
  return Result.map(vectors(input, dimensions, "contexts", "dimensions"), (response) => ({
    response,
    shape: [response.length, dimensions],
    pooling: "cls"
  }))
}

const googleText = (request: unknown): string => {
  const content = isRecord(request) ? request["content"] : undefined
  return isRecord(content) ? contentText(content["parts"]) : ""
}

const googleSize = (request: unknown, dimensions: number): number => {
  const size = isRecord(request) ? (request["outputDimensionality"] ?? request["output_dimensionality"]) : undefined
  return typeof size === "number" ? size : dimensions
}

/** `embedContent`. */
export const googleEmbedding = (body: Fields, dimensions: number): Embedded =>
  Result.map(
    vectors([googleText(body)], googleSize(body, dimensions), "content", "outputDimensionality"),
    ([values = []]) => ({ embedding: { values } })
  )

/** `batchEmbedContents`: every request has its own size. */
export const googleEmbeddings = (body: Fields, dimensions: number): Embedded => {
  const requests = items(body["requests"])
  const largest = Math.max(dimensions, ...requests.slice(0, maxInputs).map((one) => googleSize(one, dimensions)))
  const wrong = tooMuch(requests.length, largest, "requests", "requests[].outputDimensionality")
  if (wrong !== undefined) return Result.fail(wrong)
  return Result.gen(function* () {
    const embeddings: Array<unknown> = []
    for (const [i, request] of requests.entries()) {
      const field = `requests[${i}]`
      const size = googleSize(request, dimensions)
      const [values = []] = yield* vectors([googleText(request)], size, field, `${field}.outputDimensionality`)
      embeddings.push({ values })
    }
    return { embeddings }
  })
}
