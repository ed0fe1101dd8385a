/**
 * The record of everything that was sent to upstreams, for tests and for a look at what a client really does.
 */
import * as Bounded from "./bounded.ts"
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
  /** The JSON that was sent; text that is not JSON as text. Parsed when you read it. */
  readonly body: unknown
  /** The call was larger than `keep.callBytes`: `body` is the beginning of its text, up to 1,000 bytes. */
  readonly cut?: true
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
  /** All calls as JSON text, made without parsing a body. */
  readonly json: () => string
  readonly start: (
    request: UpstreamRequest,
    facts: Pick<UpstreamCall, "leg" | "attempt" | "startedAt" | "eventId" | "logId">
  ) => Progress
  readonly clear: () => void
}

type Facts = Omit<UpstreamCall, "body" | "bytes">

interface Entry {
  facts: Facts
  bytes: number
  /** Kept as sent, because parsed JSON may take many times the memory of its text. */
  readonly body: Uint8Array | undefined
  readonly isJson: boolean
}

/** Bytes that are kept of a body that is too large. */
const headBytes = 1000

const sizeOf = ({ body, facts }: Entry): number =>
  Bounded.overhead +
  (body?.length ?? 0) +
  Bounded.headerBytes(facts.headers) +
  Bounded.textBytes(facts.provider, facts.endpoint, facts.model, facts.eventId, facts.logId)

/** Cuts the body of an entry that does not fit. */
const fitting = (entry: Entry, keepBytes: number): Entry =>
  sizeOf(entry) <= keepBytes
    ? entry
    : { ...entry, facts: { ...entry.facts, cut: true }, body: entry.body?.slice(0, headBytes), isJson: false }

const shown = ({ body, bytes, facts, isJson }: Entry): UpstreamCall => {
  let parsed: unknown
  return {
    ...facts,
    get body() {
      if (parsed === undefined) {
        const source = text(body)
        parsed = source === "" ? null : isJson ? parseJson(source) : source
      }
      return parsed
    },
    bytes
  }
}

const written = ({ body, bytes, facts, isJson }: Entry): string => {
  const source = text(body)
  const json = source === "" ? "null" : isJson ? source : JSON.stringify(source)
  return `${JSON.stringify({ ...facts, bytes }).slice(0, -1)},"body":${json}}`
}

export const make = (keep: number, keepBytes: number): Calls => {
  const entries = Bounded.make<number, Entry>({ entries: keep, bytes: keepBytes, sizeOf })
  let count = 0
  return {
    all: () => entries.values().map(shown),
    json: () => `[${entries.values().map(written).join(",")}]`,
    start: (request, facts) => {
      const entry = fitting(
        {
          facts: {
            provider: request.provider,
            endpoint: redactEndpoint(request.endpoint),
            ...(request.model === undefined ? {} : { model: request.model }),
            headers: redactHeaders(request.headers),
            ...facts
          },
          bytes: 0,
          body: request.body,
          isJson: request.json !== undefined
        },
        keepBytes
      )
      entries.set(count++, entry)
      return {
        sent: (bytes) => {
          entry.bytes += bytes
        },
        end: (outcome, at, status) => {
          entry.facts = { ...entry.facts, outcome, endedAt: at, ...(status === undefined ? {} : { status }) }
        }
      }
    },
    clear: entries.clear
  }
}
