import type { Model } from "./options.ts"

/** Every provider slug of AI Gateway. */
export const knownSlugs: ReadonlyArray<string> = [
  "adobe-firefly",
  "anthropic",
  "aws-bedrock",
  "azure-openai",
  "baseten",
  "cartesia",
  "cerebras",
  "cohere",
  "deepgram",
  "deepseek",
  "elevenlabs",
  "fal",
  "fireworks",
  "google-ai-studio",
  "google-vertex-ai",
  "grok",
  "groq",
  "huggingface",
  "ideogram",
  "mistral",
  "openai",
  "openrouter",
  "parallel",
  "perplexity-ai",
  "replicate",
  "workers-ai"
]

/**
 * Authors of the run catalogue (`author/model`), with the slug that answers. All other providers are reached only by a
 * gateway's own paths.
 */
const runAuthors: ReadonlyMap<string, string> = new Map([
  ["alibaba", "alibaba"],
  ["anthropic", "anthropic"],
  ["deepseek", "deepseek"],
  ["google", "google-ai-studio"],
  ["groq", "groq"],
  ["minimax", "minimax"],
  ["moonshotai", "moonshotai"],
  ["openai", "openai"],
  ["xai", "grok"]
])

/** The slug behind an author of the run catalogue, or `undefined` for an unknown author. */
export const slugOfAuthor = (author: string): string | undefined => runAuthors.get(author)

/** Providers that only the run catalogue reaches: no path of a gateway contains their names. */
export const runOnlySlugs: ReadonlyArray<string> = ["alibaba", "minimax", "moonshotai"]

/** Whether paths of a gateway reach a provider. */
export const isGatewaySlug = (slug: string): boolean => !runOnlySlugs.includes(slug)

// Names of credentials differ per provider, but all contain one of these words.
const credential = /authorization|api-?key|token|secret|cookie|signature|password/i

export const redacted = "<redacted>"

/** Whether a header or query parameter carries a credential. */
export const isCredential = (name: string): boolean => credential.test(name)

/** Headers with every credential replaced. */
export const redactHeaders = (headers: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, isCredential(name) ? redacted : value]))

// Too short to be matched inside other names.
const inQuery = /(?:key|sig|auth|credential|jwt|hmac|passwd|pwd)(?:\[\]|%5b%5d)?$|^(?:code|pass)$/i

/** An endpoint without the keys in its query parameters (`?key=…`). */
export const redactEndpoint = (endpoint: string): string => {
  let out = ""
  let shown = 0
  let name = -1
  // One pass without a pattern: the sender of the text could force a pattern to backtrack.
  for (let i = 0; i < endpoint.length; i++) {
    const c = endpoint[i]
    if (c === "?" || c === "&" || c === ";") name = i + 1
    if (c !== "=" || name < 0) continue
    const text = endpoint.slice(name, i)
    name = -1
    if (!isCredential(text) && !inQuery.test(text)) continue
    out += `${endpoint.slice(shown, i + 1)}${redacted}`
    const next = endpoint.indexOf("&", i)
    if (next < 0) return out
    shown = next
    i = next - 1
  }
  return out + endpoint.slice(shown)
}

/** The header values that are part of the cache key, so that two callers with different keys do not share entries. */
export const credentialsOf = (headers: Readonly<Record<string, string>>): ReadonlyArray<string> =>
  Object.keys(headers)
    .filter(isCredential)
    .sort()
    .map((name) => `${name}:${headers[name] ?? ""}`)

const model = (name: string, task: string): Model => ({
  id: name,
  source: 1,
  name,
  description: `Echoed by the local gateway: ${name}`,
  task: { id: task.toLowerCase().replaceAll(" ", "-"), name: task, description: task },
  tags: [],
  properties: []
})

/** Default result of `models`. */
export const defaultModels: ReadonlyArray<Model> = [
  model("@cf/meta/llama-3.1-8b-instruct", "Text Generation"),
  model("@cf/meta/llama-3.3-70b-instruct-fp8-fast", "Text Generation"),
  model("@cf/baai/bge-base-en-v1.5", "Text Embeddings"),
  model("@cf/openai/whisper", "Automatic Speech Recognition")
]
