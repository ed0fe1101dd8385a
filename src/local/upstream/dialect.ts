/** Derives dialect, model and token counts from an endpoint and a body. */
import { isRecord } from "../../internal/data/json.ts"
import * as Anthropic from "../../internal/dialect/anthropic.ts"
import * as Google from "../../internal/dialect/google.ts"
import * as OpenAi from "../../internal/dialect/openai.ts"
import { parseBoundedJson } from "../wire/message.ts"

/** The request's protocol, by endpoint. */
export type WireDialect =
  | "openai-chat"
  | "openai-completions"
  | "openai-responses"
  | "openai-embeddings"
  | "anthropic"
  | "anthropic-count"
  | "google"
  | "google-stream"
  | "google-count"
  | "google-embedding"
  | "google-embeddings"
  | "workers-ai"
  | "other"

const pathOf = (endpoint: string): string => endpoint.split("?", 1)[0] ?? ""

export const dialectOf = (provider: string, endpoint: string): WireDialect => {
  const path = pathOf(endpoint)
  // The binding's documentation writes `chat/completion` for dynamic routes. Mistral answers `fim/completions` like a
  // chat.
  if (/(^|\/)(chat\/completions?|fim\/completions)$/.test(path)) return "openai-chat"
  if (/(^|\/)responses$/.test(path)) return "openai-responses"
  if (/(^|\/)messages$/.test(path)) return "anthropic"
  if (/(^|\/)messages\/count_tokens$/.test(path)) return "anthropic-count"
  if (/(^|\/)completions$/.test(path)) return "openai-completions"
  if (path.endsWith(":countTokens")) return "google-count"
  if (path.endsWith(":embedContent")) return "google-embedding"
  if (path.endsWith(":batchEmbedContents")) return "google-embeddings"
  if (path.endsWith(":generateContent")) return "google"
  if (path.endsWith(":streamGenerateContent")) return "google-stream"
  if (provider === "workers-ai" && /^(run\/)?@/.test(path)) return "workers-ai"
  if (/(^|\/)embeddings$/.test(path)) return "openai-embeddings"
  return "other"
}

const decodePart = (part: string): string => {
  const text = part.replaceAll("%40", "@")
  return text.replaceAll("%3A", ":").replaceAll("%3a", ":")
}

/** The model, from the body or from the path where the provider puts it there. */
export const modelOf = (provider: string, endpoint: string, body: unknown): string | undefined => {
  const path = decodePart(pathOf(endpoint))
  if (provider === "workers-ai") {
    const inPath = /^(?:run\/)?(@.+)$/.exec(path)?.[1]
    if (inPath !== undefined) return inPath
  }
  const inPath = /(?:^|\/)models?\/([^/:]+)(?::|\/|$)/.exec(path)?.[1]
  if (inPath !== undefined) return inPath
  if (isRecord(body) && typeof body["model"] === "string") return body["model"]
  return provider === "azure-openai" ? path.split("/")[1] : undefined
}

/** A coarse kind for the log's `model_type`. */
export const modelType = (dialect: WireDialect, model: string | undefined): string | undefined => {
  if (dialect === "openai-embeddings" || dialect.startsWith("google-embedding")) return "embeddings"
  if (dialect === "other" || dialect.endsWith("-count")) return undefined
  return dialect === "workers-ai" && model !== undefined && isEmbeddingModel(model) ? "embeddings" : "chat"
}

/** Workers AI puts embeddings and text generation on one path; only the name tells them apart. */
export const isEmbeddingModel = (model: string): boolean =>
  /(^|[/-])(bge|embedding|embeddinggemma)/.test(model) && !model.includes("reranker")

/** Whether a body requests a stream. */
export const wantsStream = (body: unknown): boolean => isRecord(body) && body["stream"] === true

/** Whether an endpoint requests events: Google streams them only with `alt=sse`, and a JSON array otherwise. */
export const asksForEvents = (endpoint: string): boolean => /[?&]alt=sse(&|$)/.test(endpoint)

interface WireUsage {
  readonly input: number | null
  readonly output: number | null
}

const noUsage: WireUsage = { input: null, output: null }

type Counts = Readonly<Record<string, unknown>>

/** The token counts in an answer, or in one of its events, in their original form. */
const countsIn = (body: unknown): Counts | undefined => {
  if (!isRecord(body)) return undefined
  const inner = isRecord(body["result"]) ? body["result"] : body
  const usage = inner["usage"] ?? inner["usageMetadata"]
  return isRecord(usage) ? usage : undefined
}

/** Reads counts as a client reads them, so that a log has the same numbers as a reply. */
const wireUsage = (counts: Counts): WireUsage => {
  // Anthropic counts its cache beside the input; OpenAI's responses have no such fields.
  const dialect = "prompt_tokens" in counts ? OpenAi : "input_tokens" in counts ? Anthropic : Google
  const { inputTokens, outputTokens } = dialect.decodeUsage(counts)
  return { input: inputTokens ?? null, output: outputTokens ?? null }
}

/** Input and output tokens that an answer reports, in any of the dialects. */
export const usageOf = (body: unknown): WireUsage => {
  const counts = countsIn(body)
  return counts === undefined ? noUsage : wireUsage(counts)
}

/** Combines counts of a later event with those of an earlier one: counts grow, and `null` adds nothing. */
const later = (before: Counts, after: Counts): Counts => {
  const merged = { ...before }
  for (const [name, value] of Object.entries(after)) {
    const known = merged[name]
    if (value === null || (typeof value === "number" && typeof known === "number" && known > value)) continue
    merged[name] = value
  }
  return merged
}

/** Longest line that is examined, in characters; longer lines are skipped. */
const maxLine = 4 * 1024 * 1024

/** Reads usage from a stream's text as it arrives. Counts may be spread over events. */
export const usageScanner = (): { readonly push: (text: string) => void; readonly end: () => WireUsage } => {
  let counts: Counts | undefined
  let line = ""
  const read = (): void => {
    if (line.startsWith("data:") && line.length <= maxLine && line.includes('"usage')) {
      const event = parseBoundedJson(line.slice("data:".length))
      if (isRecord(event)) {
        for (const part of [event, event["response"], event["message"]]) {
          const found = countsIn(part)
          if (found !== undefined) counts = later(counts ?? {}, found)
        }
      }
    }
    line = ""
  }
  const add = (text: string): void => {
    if (line.length <= maxLine) line += text
  }
  return {
    push: (text) => {
      // Complete lines without the word need no closer look.
      if (line === "" && text.endsWith("\n") && !text.includes('"usage')) return
      let from = 0
      for (const { index } of text.matchAll(/[\r\n]/g)) {
        add(text.slice(from, index))
        read()
        from = index + 1
      }
      add(text.slice(from))
    },
    end: () => {
      read()
      return counts === undefined ? noUsage : wireUsage(counts)
    }
  }
}

/** Reads usage from a complete text of events. */
export const usageOfEvents = (events: string): WireUsage => {
  const scanner = usageScanner()
  scanner.push(events)
  return scanner.end()
}
