/** Lists of models in each provider's form. The echo accepts any name; these are examples of each provider's own. */
import { json } from "../wire/errors.ts"
import type { Answer, UpstreamRequest } from "../wire/protocol.ts"

const names: Readonly<Record<string, ReadonlyArray<string>>> = {
  anthropic: ["claude-haiku-4-5", "claude-sonnet-4-5"],
  "google-ai-studio": ["gemini-2.5-flash", "gemini-embedding-001"],
  openai: ["gpt-4.1-mini", "text-embedding-3-small"]
}

const created = "2026-01-01T00:00:00Z"

const googleModel = (name: string) => ({
  name: `models/${name}`,
  version: "001",
  displayName: name,
  inputTokenLimit: 1_048_576,
  outputTokenLimit: 65_536,
  supportedGenerationMethods: name.includes("embedding")
    ? ["embedContent", "batchEmbedContents", "countTokens"]
    : ["generateContent", "streamGenerateContent", "countTokens"]
})

const anthropicModel = (id: string) => ({ type: "model", id, display_name: id, created_at: created })

/** Fields that the clients of two providers require. */
const ownFields = (id: string, provider: string): object => {
  if (provider === "mistral") {
    const capabilities = { completion_chat: true, completion_fim: true, function_calling: true, vision: false }
    return { type: "base", name: id, max_context_length: 131_072, capabilities }
  }
  if (provider !== "openrouter") return {}
  return {
    canonical_slug: id,
    name: id,
    description: id,
    context_length: 131_072,
    architecture: {
      modality: "text->text",
      input_modalities: ["text"],
      output_modalities: ["text"],
      instruct_type: null
    },
    pricing: { prompt: "0", completion: "0" },
    top_provider: { context_length: 131_072, max_completion_tokens: null, is_moderated: false },
    per_request_limits: null,
    supported_parameters: ["tools", "tool_choice", "response_format", "max_tokens", "temperature"],
    supported_voices: null,
    default_parameters: null,
    links: { details: `/api/v1/models/${id}/endpoints` }
  }
}

const openAiModel = (id: string, provider: string) => ({
  id,
  object: "model",
  created: Date.parse(created) / 1000,
  owned_by: provider,
  ...ownFields(id, provider)
})

const list = (provider: string, all: ReadonlyArray<string>): unknown => {
  switch (provider) {
    case "anthropic":
      return { data: all.map(anthropicModel), has_more: false, first_id: all[0] ?? null, last_id: all.at(-1) ?? null }
    case "google-ai-studio":
      return { models: all.map(googleModel) }
    default: {
      const data = all.map((id) => openAiModel(id, provider))
      const pages = provider === "openrouter" ? { links: { next: null }, total_count: data.length } : {}
      return { object: "list", data, ...pages }
    }
  }
}

const single = (provider: string, id: string): unknown => {
  if (provider === "anthropic") return anthropicModel(id)
  return provider === "google-ai-studio" ? googleModel(id) : openAiModel(id, provider)
}

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

const path = /(?:^|\/)models(?:\/([^?]+))?(?:\?|$)/

/** Answers `GET models` and `GET models/{id}`, or `undefined` for another request. */
export const modelsAnswer = ({ endpoint, method, provider }: UpstreamRequest): Answer | undefined => {
  const found = method === "GET" && provider !== "workers-ai" ? path.exec(endpoint) : null
  if (found === null) return undefined
  const [, id] = found
  return json(200, id === undefined ? list(provider, names[provider] ?? ["echo"]) : single(provider, decoded(id)))
}
