/**
 * The response cache: exact match, in memory, bounded.
 */
import * as Base64 from "effect/encoding/Base64"
import { text } from "./http.ts"
import type { Answer, UpstreamRequest } from "./protocol.ts"
import { credentialsOf } from "./providers.ts"

const maxEntries = 1000
/** Largest request that is cached: 25 MB. */
const maxRequest = 25 * 1024 * 1024

interface Entry {
  readonly answer: Answer
  readonly expiresAt: number
}

export interface ResponseCache {
  readonly get: (key: string, now: number) => Answer | undefined
  readonly set: (key: string, answer: Answer, expiresAt: number) => void
  readonly clear: () => void
}

export const make = (): ResponseCache => {
  const entries = new Map<string, Entry>()
  return {
    get: (key, now) => {
      const entry = entries.get(key)
      if (entry === undefined) return undefined
      if (entry.expiresAt > now) return entry.answer
      entries.delete(key)
      return undefined
    },
    set: (key, answer, expiresAt) => {
      entries.delete(key)
      entries.set(key, { answer, expiresAt })
      const oldest = entries.size > maxEntries ? entries.keys().next().value : undefined
      if (oldest !== undefined) entries.delete(oldest)
    },
    clear: () => entries.clear()
  }
}

/**
 * The key of a request: the caller's own, or everything that makes the answer: provider, endpoint, model, credential
 * and body. `undefined` when the request is too large, or has no body to key on.
 */
export const keyOf = (gateway: string, request: UpstreamRequest, custom: string | undefined): string | undefined => {
  if (request.body === undefined || request.body.length > maxRequest) return undefined
  if (custom !== undefined) return JSON.stringify([gateway, custom])
  return JSON.stringify([
    gateway,
    request.provider,
    request.endpoint,
    request.model ?? null,
    credentialsOf(request.headers),
    request.json === undefined ? Base64.encode(request.body) : text(request.body)
  ])
}

/** Only whole successful answers are stored; streams never are. */
export const isCacheable = (answer: Answer): boolean =>
  answer.status >= 200 &&
  answer.status < 300 &&
  !(answer.body instanceof ReadableStream) &&
  !(answer.headers["content-type"] ?? "").startsWith("text/event-stream")
