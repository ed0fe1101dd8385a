/** The record of everything sent to upstreams, for tests and for inspecting a client. */

import { parseBoundedJson, text } from "../wire/message.ts"
import type { UpstreamRequest } from "../wire/protocol.ts"
import * as Bounded from "./bounded.ts"
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
  /** The JSON that was sent; other text as text. Parsed when it is read. */
  readonly body: unknown
  /** The call was larger than `keep.callBytes`: `body` is the beginning of its text, up to 1,000 bytes. */
  readonly cut?: true
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  /** Absent while the attempt runs. */
  readonly endedAt?: number
  /**
   * Absent while the attempt runs. `answered` with any status; `failed` without one; `timeout` when the gateway stopped
   * waiting; `interrupted` when the client left.
   */
  readonly outcome?: "answered" | "failed" | "timeout" | "interrupted"
  /** Status of the upstream's answer. */
  readonly status?: number
  /**
   * Bytes of the answer's body that were passed towards the client so far. Grows while a stream is read; for any other
   * answer it is the size of the body, even when another attempt followed.
   */
  readonly bytes: number
  readonly eventId: string
  /** Absent when the request is not logged. */
  readonly logId?: string
}

/** One recorded call in progress. */
export interface CallProgress {
  readonly sent: (bytes: number) => void
  /** The last report wins: a timeout first looks like an interruption. */
  readonly end: (outcome: NonNullable<UpstreamCall["outcome"]>, at: number, status?: number) => void
}

export interface Calls {
  readonly all: () => ReadonlyArray<UpstreamCall>
  /** The calls as JSON in pieces, without parsing any body. Throws when a call is dropped while it is written. */
  readonly json: () => Iterable<string>
  readonly start: (
    request: UpstreamRequest,
    facts: Pick<UpstreamCall, "leg" | "attempt" | "startedAt" | "eventId" | "logId">
  ) => CallProgress
  readonly clear: () => void
}

type Facts = Omit<UpstreamCall, "body" | "bytes">

interface CallEntry {
  facts: Facts
  bytes: number
  /** Kept as sent, because parsed JSON may take many times the memory of its text. */
  readonly body: Uint8Array | undefined
  readonly isJson: boolean
}

/** Bytes kept of a body that is too large. */
const headBytes = 1000

const sizeOf = ({ body, facts }: CallEntry): number =>
  Bounded.overhead +
  (body?.length ?? 0) +
  Bounded.headerBytes(facts.headers) +
  Bounded.textBytes(facts.provider, facts.endpoint, facts.model, facts.eventId, facts.logId)

/** Cuts the body of an entry that does not fit. */
const fitting = (entry: CallEntry, keepBytes: number): CallEntry =>
  sizeOf(entry) <= keepBytes
    ? entry
    : { ...entry, facts: { ...entry.facts, cut: true }, body: entry.body?.slice(0, headBytes), isJson: false }

const shown = ({ body, bytes, facts, isJson }: CallEntry): UpstreamCall => {
  let parsed: unknown
  return {
    ...facts,
    get body() {
      if (parsed === undefined) {
        const source = text(body)
        parsed = source === "" ? null : isJson ? parseBoundedJson(source) : source
      }
      return parsed
    },
    bytes
  }
}

/**
 * Bytes of a body that are written at a time: JSON may need six times as many, and all of them exceed the longest
 * string.
 */
const sliceBytes = 65_536

function* written({ body, bytes, facts, isJson }: CallEntry): Generator<string> {
  yield `${JSON.stringify({ ...facts, bytes }).slice(0, -1)},"body":`
  if (body === undefined || body.length === 0) return yield "null}"
  const decoder = new TextDecoder()
  const quote = isJson ? "" : '"'
  yield quote
  for (let at = 0; at < body.length; at += sliceBytes) {
    const slice = decoder.decode(body.subarray(at, at + sliceBytes), { stream: at + sliceBytes < body.length })
    yield isJson ? slice : JSON.stringify(slice).slice(1, -1)
  }
  yield `${quote}}`
}

export const make = (keep: number, keepBytes: number): Calls => {
  const entries = Bounded.make<number, CallEntry>({ entries: keep, bytes: keepBytes, sizeOf })
  let count = 0
  return {
    all: () => entries.values().map(shown),
    *json() {
      const end = count
      let separator = "["
      for (const [key, entry] of entries.entries()) {
        if (key >= end) break
        yield separator
        separator = ","
        for (const piece of written(entry)) {
          yield piece
          // An abandoned list would keep what the budget has dropped.
          if (entries.get(key) !== entry) throw new Error("a call was dropped while it was written")
        }
      }
      yield separator === "[" ? "[]" : "]"
    },
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
