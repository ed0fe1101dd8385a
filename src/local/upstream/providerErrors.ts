/** Error bodies in each provider's form. */
import { errorOfStatus } from "../../internal/dialect/server/openaiErrorWriter.ts"
import type { UpstreamRequest } from "../wire/protocol.ts"
import { dialectOf } from "./dialect.ts"

const anthropicType: Readonly<Record<number, string>> = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  529: "overloaded_error"
}

const googleStatus: Readonly<Record<number, string>> = {
  400: "INVALID_ARGUMENT",
  401: "UNAUTHENTICATED",
  403: "PERMISSION_DENIED",
  404: "NOT_FOUND",
  429: "RESOURCE_EXHAUSTED",
  503: "UNAVAILABLE",
  504: "DEADLINE_EXCEEDED"
}

/** Codes of Workers AI by status; programs behind the binding see no status. */
const workersAiCode: Readonly<Record<number, number>> = {
  401: 10000,
  403: 5018,
  404: 3042,
  405: 5019,
  408: 3007,
  413: 3006,
  429: 3040,
  504: 3046
}

/** Workers AI's code for a status: 5004 (invalid data) and 3043 (internal error) stand for the rest. */
const codeOf = (status: number): number => workersAiCode[status] ?? (status >= 500 ? 3043 : 5004)

/** Codes of Cloudflare's API by status; the logs of a gateway are part of it. */
const apiCode: Readonly<Record<number, number>> = { 401: 10000, 403: 9109, 404: 7002, 429: 971 }

type Family = "anthropic" | "api" | "google" | "openai" | "workers-ai"

/** Whose form of errors a request gets. At Workers AI, paths of other dialects also answer with its own. */
const familyOf = ({ endpoint, provider }: UpstreamRequest): Family => {
  if (provider === "workers-ai") return "workers-ai"
  if (provider === "logs") return "api"
  switch (dialectOf(provider, endpoint)) {
    case "anthropic":
    case "anthropic-count":
      return "anthropic"
    case "google":
    case "google-count":
    case "google-embedding":
    case "google-embeddings":
    case "google-stream":
      return "google"
    case "other":
      if (provider === "anthropic") return "anthropic"
      return provider.startsWith("google-") ? "google" : "openai"
    default:
      return "openai"
  }
}

/**
 * An error body as the provider of this request writes it. `field` is the invalid field, where the form has room for
 * it.
 */
export const providerError = (request: UpstreamRequest, status: number, message: string, field?: string): unknown => {
  switch (familyOf(request)) {
    case "anthropic":
      return {
        type: "error",
        error: { type: anthropicType[status] ?? (status >= 500 ? "api_error" : "invalid_request_error"), message }
      }
    case "google":
      return {
        error: {
          code: status,
          message,
          status: googleStatus[status] ?? (status >= 500 ? "INTERNAL" : "INVALID_ARGUMENT")
        }
      }
    case "api": {
      const code = apiCode[status] ?? (status >= 500 ? 10013 : 7001)
      return { success: false, errors: [{ code, message }], messages: [], result: null }
    }
    case "workers-ai":
      return { errors: [{ code: codeOf(status), message }], success: false, result: null, messages: [] }
    case "openai":
      // OpenRouter's code is the status, and its client rejects an error without one.
      if (request.provider === "openrouter") return { error: { code: status, message } }
      // Mistral's form is flat.
      if (request.provider === "mistral") return { object: "error", ...errorOfStatus(status, message, field) }
      return { error: errorOfStatus(status, message, field) }
  }
}
