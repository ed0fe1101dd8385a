/**
 * How many tokens a request will take, before its provider has counted them.
 */
import { isRecord } from "../data/json.ts"

const encoder = new TextEncoder()

/** Bytes of UTF-8 for each token: fewer than texts have on average, so that an estimate is rather too high. */
const bytesPerToken = 3

/** The output that is expected of a request without `maxTokens`. */
const defaultOutput = 1024

const textTokens = (text: string): number => Math.ceil(encoder.encode(text).length / bytesPerToken)

/**
 * Tokens of an input, by its JSON. `undefined` for one that cannot be written as JSON: it is not sent, and the encoding
 * of its request says why.
 */
export const inputTokens = (input: unknown): number | undefined => {
  try {
    return textTokens(JSON.stringify(input) ?? "")
  } catch {
    return undefined
  }
}

/** More bytes than texts have for each token on average, so that the estimate is rather too low. */
const mostBytesPerToken = 5

/** Fields of parts and calls that the model does not read, or that only their maker is sent. */
const unread = new Set(["opaque", "citations"])

/** Base64 says nothing about the tokens of an image or a file, and thinking stays behind at most targets. */
const withoutData = (key: string, value: unknown): unknown => {
  if (typeof value === "string") return key === "data" || key === "signature" || /^data:/i.test(value) ? "" : value
  return unread.has(key) || (isRecord(value) && value.type === "reasoning") ? undefined : value
}

/** The fewest tokens that a chat input takes with the answer that it asks for; 0 for what cannot be written as JSON. */
export const leastTokens = (input: unknown): number => {
  try {
    const bytes = encoder.encode(JSON.stringify(input, withoutData) ?? "").length
    return Math.ceil(bytes / mostBytesPerToken) + (isRecord(input) && isCount(input.maxTokens) ? input.maxTokens : 0)
  } catch {
    return 0
  }
}

const isCount = (value: unknown): value is number => typeof value === "number" && value > 0

/** The most output tokens that an input allows, as far as it says so. */
const outputTokens = (input: unknown): number =>
  typeof input === "object" && input !== null && "maxTokens" in input && typeof input.maxTokens === "number"
    ? input.maxTokens
    : defaultOutput

const outputFields = ["max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens"]

/**
 * The most output tokens that a provider's request body allows, for all answers that it asks for; as far as it says so.
 */
export const mostOutputTokens = (body: unknown): number => {
  if (!isRecord(body)) return defaultOutput
  const { generationConfig = {} } = body
  const places = isRecord(generationConfig) ? [body, generationConfig] : [body]
  const largest = (names: ReadonlyArray<string>): number =>
    Math.max(0, ...places.flatMap((place) => names.flatMap((name) => (isCount(place[name]) ? [place[name]] : []))))
  return (largest(outputFields) || defaultOutput) * (largest(["n", "candidateCount"]) || 1)
}

/** Tokens that a request may take in all; 0 where {@link inputTokens} knows nothing. */
export const requestTokens = (input: unknown): number => {
  const tokens = inputTokens(input)
  return tokens === undefined ? 0 : tokens + outputTokens(input)
}
