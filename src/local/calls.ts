/**
 * The record of everything that was sent to upstreams, for tests and for a look at what a client really does.
 */
import { parseJson, text } from "./http.ts"
import type { UpstreamRequest } from "./protocol.ts"
import { redactEndpoint, redactHeaders } from "./providers.ts"

/** One attempt at an upstream. */
export interface UpstreamCall {
  readonly provider: string
  /** Path and query; values of query parameters that carry a key are replaced by `<redacted>`. */
  readonly endpoint: string
  readonly model?: string
  /** Index of the leg. */
  readonly leg: number
  /** Within the leg, from 1. */
  readonly attempt: number
  /** Lower-case names; values of headers that carry a credential are replaced by `<redacted>`. */
  readonly headers: Readonly<Record<string, string>>
  /** The JSON that was sent; text that is not JSON as text. */
  readonly body: unknown
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  /** Absent while the attempt runs. */
  readonly endedAt?: number
  /**
   * Absent while the attempt runs. `answered` with any status; `failed` without one; `timeout` when the gateway no
   * longer waited; `interrupted` when the client left.
   */
  readonly outcome?: "answered" | "failed" | "timeout" | "interrupted"
  /** Status of the upstream's answer. */
  readonly status?: number
  /**
   * Bytes of the answer's body that went on towards the client so far. Grows while a stream is read; of any other
   * answer it is the size of the body, also when another attempt followed.
   */
  readonly bytes: number
  readonly eventId: string
  /** Absent when the request is not logged. */
  readonly logId?: string
}

/** One recorded call on its way. */
export interface Progress {
  readonly sent: (bytes: number) => void
  /** The last report wins: a timeout first looks like an interruption. */
  readonly end: (outcome: NonNullable<UpstreamCall["outcome"]>, at: number, status?: number) => void
}

export interface Calls {
  readonly all: () => ReadonlyArray<UpstreamCall>
  readonly start: (
    request: UpstreamRequest,
    facts: Pick<UpstreamCall, "leg" | "attempt" | "startedAt" | "eventId" | "logId">
  ) => Progress
  readonly clear: () => void
}

interface Entry {
  call: Omit<UpstreamCall, "bytes">
  bytes: number
}

export const make = (keep: number): Calls => {
  const entries = new Set<Entry>()
  return {
    all: () => Array.from(entries, ({ bytes, call }) => ({ ...call, bytes })),
    start: (request, facts) => {
      const source = text(request.body)
      const entry: Entry = {
        call: {
          provider: request.provider,
          endpoint: redactEndpoint(request.endpoint),
          ...(request.model === undefined ? {} : { model: request.model }),
          headers: redactHeaders(request.headers),
          body: source === "" ? null : (parseJson(source) ?? source),
          ...facts
        },
        bytes: 0
      }
      entries.add(entry)
      const oldest = entries.size > keep ? entries.values().next().value : undefined
      if (oldest !== undefined) entries.delete(oldest)
      return {
        sent: (bytes) => {
          entry.bytes += bytes
        },
        end: (outcome, at, status) => {
          entry.call = { ...entry.call, outcome, endedAt: at, ...(status === undefined ? {} : { status }) }
        }
      }
    },
    clear: () => entries.clear()
  }
}
