/**
 * Errors in OpenAI's form. SDKs choose their error class by the status, and programs read `type` and `code`.
 *
 * Shapes: https://platform.openai.com/docs/guides/error-codes.
 */
import type { ReasonTag } from "../../../GatewayError.ts"

/** The `error` of a body, or of the last event of a stream. */
export interface OpenAiError {
  readonly message: string
  readonly type: string
  readonly param: string | null
  readonly code: string | null
}

type Kind = readonly [status: number, type: string, code: string | null]

const request = "invalid_request_error"
const server = "server_error"
const badGateway: Kind = [502, server, "bad_gateway"]

const kinds: Readonly<Record<ReasonTag, Kind>> = {
  TransportFailure: badGateway,
  Timeout: [504, server, "timeout"],
  RateLimited: [429, "rate_limit_error", "rate_limit_exceeded"],
  QuotaExhausted: [429, "insufficient_quota", "insufficient_quota"],
  // The rejected credential is the server's own: 401 would mean the client's.
  Unauthorized: [502, server, "provider_unauthorized"],
  InvalidRequest: [400, request, null],
  Unsupported: [400, request, "unsupported_parameter"],
  ContextLengthExceeded: [400, request, "context_length_exceeded"],
  ContentBlocked: [400, request, "content_filter"],
  NotFound: [404, request, "model_not_found"],
  ProviderUnavailable: [503, server, server],
  InvalidResponse: badGateway,
  StreamInterrupted: [502, server, "stream_interrupted"],
  Rejected: [503, server, "gateway_rejected"],
  BindingMissing: [500, server, server],
  Unknown: badGateway
}

/** Returns the status of an answer to a client that uses OpenAI's dialect. */
export const errorStatus = (tag: ReasonTag): number => kinds[tag][0]

/** Returns the error of a reason. The caller writes the message, because it decides how much a client may read. */
export const errorOf = (tag: ReasonTag, message: string, param?: string): OpenAiError => {
  const [, type, code] = kinds[tag]
  return { message, type, param: param ?? null, code }
}

const byStatus: Readonly<Record<number, ReasonTag>> = {
  404: "NotFound",
  429: "RateLimited"
}

/** Returns the error of a status, as OpenAI itself answers. */
export const errorOfStatus = (status: number, message: string, param?: string): OpenAiError => {
  const tag = byStatus[status]
  if (tag !== undefined) return errorOf(tag, message, param)
  const own = { message, param: param ?? null }
  if (status === 401) return { ...own, type: request, code: "invalid_api_key" }
  return status >= 500 ? { ...own, type: server, code: null } : { ...own, type: request, code: null }
}
