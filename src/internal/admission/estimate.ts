/**
 * Estimates the tokens of a request before its provider has counted them.
 */
import { isRecord } from "../data/json.ts"

const encoder = new TextEncoder()

/** Bytes of UTF-8 per token: fewer than the average of texts, so that an estimate tends to be too high. */
const bytesPerToken = 3

/** Expected output tokens of a request without `maxTokens`. */
const defaultOutput = 1024

const textTokens = (text: string): number => Math.ceil(encoder.encode(text).length / bytesPerToken)

/**
 * Returns the tokens of an input, by its JSON; `undefined` if it has no JSON form: it is not sent, and the encoder
 * reports the reason.
 */
export const inputTokens = (input: unknown): number | undefined => {
  try {
    return textTokens(JSON.stringify(input) ?? "")
  } catch {
    return undefined
  }
}

/** More bytes per token than the average of texts, so that the estimate tends to be too low. */
const mostBytesPerToken = 5

/** Fields of parts and calls that the model does not read, or that only their provider gets. */
const unread = new Set(["opaque", "citations"])

/** Base64 does not show the tokens of an image or a file, and most targets get no thinking. */
const withoutData = (key: string, value: unknown): unknown => {
  if (typeof value === "string") return key === "data" || key === "signature" || /^data:/i.test(value) ? "" : value
  return unread.has(key) || (isRecord(value) && value.type === "reasoning") ? undefined : value
}

/**
 * Returns the minimum number of tokens that a chat input takes, including the requested answer; 0 if it has no JSON
 * form.
 */
export const leastTokens = (input: unknown): number => {
  try {
    const bytes = encoder.encode(JSON.stringify(input, withoutData) ?? "").length
    return Math.ceil(bytes / mostBytesPerToken) + (isRecord(input) && isCount(input.maxTokens) ? input.maxTokens : 0)
  } catch {
    return 0
  }
}

const isCount = (value: unknown): value is number => typeof value === "number" && value > 0

/** Returns the maximum number of output tokens that an input allows, if it states one. */
const outputTokens = (input: unknown): number =>
  typeof input === "object" && input !== null && "maxTokens" in input && typeof input.maxTokens === "number"
    ? input.maxTokens
    : defaultOutput

const outputFields = ["max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens"]

/**
 * Returns the maximum number of output tokens that a provider's request body allows for all requested answers, if it
 * states one.
 */
export const mostOutputTokens = (body: unknown): number => {
  if (!isRecord(body)) return defaultOutput
  const { generationConfig = {} } = body
  const places = isRecord(generationConfig) ? [body, generationConfig] : [body]
  const largest = (names: ReadonlyArray<string>): number =>
    Math.max(0, ...places.flatMap((place) => names.flatMap((name) => (isCount(place[name]) ? [place[name]] : []))))
  return (largest(outputFields) || defaultOutput) * (largest(["n", "candidateCount"]) || 1)
}

/** Returns the maximum number of tokens of a request in total; 0 if {@link inputTokens} is unknown. */
export const requestTokens = (input: unknown): number => {
  const tokens = inputTokens(input)
  return tokens === undefined ? 0 : tokens + outputTokens(input)
}
