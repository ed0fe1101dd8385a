/**
 * Names and values of the OpenTelemetry conventions for generative AI, which spans and metrics share.
 */
import { isRecord } from "./json.ts"

/**
 * `gen_ai.operation.name` of a request: a value of the conventions, or `run` where none fits. A path of Workers AI is
 * only its model's name; without the body the model counts as one that chats.
 */
export const operationOf = (endpoint: string, query?: unknown): string => {
  if (/embed|\/bge-/i.test(endpoint)) return "embeddings"
  if (/generateContent/i.test(endpoint)) return "generate_content"
  if (/(?<!chat\/)completions\b/.test(endpoint)) return "text_completion"
  const isChat =
    /completions|messages|responses|converse/.test(endpoint) ||
    (query === undefined ? endpoint.startsWith("@") : isRecord(query) && "messages" in query)
  return isChat ? "chat" : "run"
}

/** Tokens in a reply. */
interface Tokens {
  readonly inputTokens?: number
  readonly outputTokens?: number
  readonly cachedInputTokens?: number
  readonly cacheWriteTokens?: number
  readonly reasoningTokens?: number
}

/** The attributes of a span for tokens. */
export const usageAttributes = (usage: Tokens | undefined) => ({
  "gen_ai.usage.input_tokens": usage?.inputTokens,
  "gen_ai.usage.output_tokens": usage?.outputTokens,
  "gen_ai.usage.cache_read.input_tokens": usage?.cachedInputTokens,
  "gen_ai.usage.cache_write.input_tokens": usage?.cacheWriteTokens,
  "gen_ai.usage.reasoning.output_tokens": usage?.reasoningTokens
})
