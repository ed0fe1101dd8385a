/**
 * The response cache: exact match, in memory, bounded.
 */
import * as Effect from "effect/Effect"
import * as Hex from "effect/encoding/Hex"
import type { Answer, UpstreamRequest } from "../wire/protocol.ts"
import * as Bounded from "./bounded.ts"
import { credentialsOf } from "./providers.ts"

const maxEntries = 1000
/** Largest request that is cached: 25 MB. */
const maxRequest = 25 * 1024 * 1024

interface CacheEntry {
  readonly answer: Answer
  readonly expiresAt: number
}

export interface ResponseCache {
  readonly get: (key: string, now: number) => Answer | undefined
  /** An answer that is larger than the limit is not stored. */
  readonly set: (key: string, answer: Answer, expiresAt: number) => void
  readonly clear: () => void
}

const bodyBytes = ({ body }: Answer): number =>
  typeof body === "string" ? Bounded.textBytes(body) : body instanceof Uint8Array ? body.length : 0

const sizeOf = ({ answer }: CacheEntry): number =>
  Bounded.overhead + Bounded.headerBytes(answer.headers) + bodyBytes(answer)

export const make = (keepBytes: number): ResponseCache => {
  const entries = Bounded.make<string, CacheEntry>({ entries: maxEntries, bytes: keepBytes, sizeOf })
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
    },
    clear: entries.clear
  }
}

const sha256 = (bytes: Uint8Array<ArrayBuffer>): Effect.Effect<string> =>
  Effect.map(
    Effect.promise(() => crypto.subtle.digest("SHA-256", bytes)),
    (digest) => Hex.encode(new Uint8Array(digest))
  )

const encoder = new TextEncoder()

/** Hashes a list of parts as JSON, so that different lists never collide by concatenation. */
const hashOf = (parts: ReadonlyArray<unknown>): Effect.Effect<string> => sha256(encoder.encode(JSON.stringify(parts)))

/**
 * The key of a request: the caller's own, or everything that determines the answer: method, provider, endpoint, model,
 * credentials and body. It is a SHA-256, because requests are large and contain secrets. `undefined` when the request
 * is too large or has no body.
 */
export const keyOf = (
  gateway: string,
  request: UpstreamRequest,
  custom: string | undefined
): Effect.Effect<string | undefined> => {
  const { body } = request
  if (body === undefined || body.length > maxRequest) return Effect.succeed(undefined)
  if (custom !== undefined) return hashOf([gateway, custom])
  return Effect.flatMap(sha256(body), (digest) =>
    hashOf([
      gateway,
      request.method,
      request.provider,
      request.endpoint,
      request.model ?? null,
      request.stream ?? null,
      credentialsOf(request.headers),
      digest
    ])
  )
}

/** Whether an answer is stored: only complete successful answers, never streams. */
export const isCacheable = (answer: Answer): boolean =>
  answer.status >= 200 &&
  answer.status < 300 &&
  !(answer.body instanceof ReadableStream) &&
  !(answer.headers["content-type"] ?? "").startsWith("text/event-stream")
