/** Log entries of all gateways, in memory and bounded, with the search of the logs API. */
import * as Bounded from "./bounded.ts"
import type { LogMetadata } from "./headerValues.ts"

/** One leg of one request. Names are those of the logs API. */
export interface LogEntry {
  readonly id: string
  readonly gateway: string
  readonly created_at: number
  readonly provider: string
  readonly model: string
  readonly model_type: string | undefined
  readonly path: string
  readonly request_type: string
  readonly request_content_type: string
  readonly response_content_type: string | undefined
  readonly status_code: number
  readonly success: boolean
  readonly cached: boolean
  /** Milliseconds. */
  readonly duration: number
  readonly tokens_in: number | null
  readonly tokens_out: number | null
  readonly cost: number
  readonly custom_cost: boolean
  readonly step: number
  readonly metadata: LogMetadata | null
  readonly event_id: string
  readonly user_agent: string | undefined
  readonly authentication: boolean
  readonly compatibilityMode: boolean
  readonly feedback: number | null
  readonly score: number | null
  readonly request_size: number
  readonly response_size: number
  /** Absent when bodies are not collected. */
  readonly request: string | undefined
  readonly request_complete: boolean
  readonly response: string | undefined
  readonly response_complete: boolean
  /** When the entry becomes readable. */
  readonly visible_at: number
}

export interface LogStore {
  readonly add: (entry: LogEntry) => void
  /** Replaces an entry if it still exists. */
  readonly update: (id: string, change: (entry: LogEntry) => LogEntry) => void
  readonly get: (gateway: string, id: string, now: number) => LogEntry | undefined
  /** In order of insertion. */
  readonly all: (gateway: string, now: number) => ReadonlyArray<LogEntry>
  readonly remove: (ids: ReadonlyArray<string>) => void
  readonly clear: () => void
}

const headLimit = 1000

const sizeOf = (entry: LogEntry): number =>
  Bounded.overhead +
  Bounded.textBytes(
    entry.provider,
    entry.model,
    entry.path,
    entry.request_content_type,
    entry.response_content_type,
    entry.event_id,
    entry.user_agent,
    entry.request,
    entry.response,
    ...Object.entries(entry.metadata ?? {}).flatMap(([key, value]) => [key, String(value)])
  )

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** The beginning of a text. `slice` alone would keep the complete text in V8's memory. */
const beginning = (body: string | undefined): string | undefined =>
  body === undefined || body.length <= headLimit ? body : decoder.decode(encoder.encode(body.slice(0, headLimit)))

/** Cuts the bodies of an entry that is too large. */
const fitting = (entry: LogEntry, keepBytes: number): LogEntry =>
  sizeOf(entry) <= keepBytes
    ? entry
    : {
        ...entry,
        request: beginning(entry.request),
        request_complete: entry.request_complete && (entry.request?.length ?? 0) <= headLimit,
        response: beginning(entry.response),
        response_complete: entry.response_complete && (entry.response?.length ?? 0) <= headLimit
      }

export const make = (keep: number, keepBytes: number): LogStore => {
  const entries = Bounded.make<string, LogEntry>({ entries: keep, bytes: keepBytes, sizeOf })
  const visible = (entry: LogEntry, gateway: string, now: number): boolean =>
    entry.gateway === gateway && entry.visible_at <= now
  return {
    add: (entry) => entries.set(entry.id, fitting(entry, keepBytes)),
    update: (id, change) => {
      const entry = entries.get(id)
      if (entry !== undefined) entries.set(id, fitting(change(entry), keepBytes))
    },
    get: (gateway, id, now) => {
      const entry = entries.get(id)
      return entry !== undefined && visible(entry, gateway, now) ? entry : undefined
    },
    all: (gateway, now) => entries.values().filter((entry) => visible(entry, gateway, now)),
    remove: (ids) => {
      for (const id of ids) entries.delete(id)
    },
    clear: entries.clear
  }
}

const head = (body: string | undefined): { readonly head: string; readonly complete: boolean } =>
  body === undefined
    ? { head: "", complete: false }
    : { head: body.slice(0, headLimit), complete: body.length <= headLimit }

/** An entry as it appears in a list. */
export const listItem = (entry: LogEntry): Record<string, unknown> => ({
  id: entry.id,
  created_at: new Date(entry.created_at).toISOString(),
  provider: entry.provider,
  model: entry.model,
  ...(entry.model_type === undefined ? {} : { model_type: entry.model_type }),
  path: entry.path,
  request_type: entry.request_type,
  request_content_type: entry.request_content_type,
  ...(entry.response_content_type === undefined ? {} : { response_content_type: entry.response_content_type }),
  status_code: entry.status_code,
  success: entry.success,
  cached: entry.cached,
  duration: entry.duration,
  tokens_in: entry.tokens_in,
  tokens_out: entry.tokens_out,
  cost: entry.cost,
  custom_cost: entry.custom_cost,
  step: entry.step,
  metadata: entry.metadata,
  event_id: entry.event_id,
  ...(entry.user_agent === undefined ? {} : { user_agent: entry.user_agent }),
  authentication: entry.authentication,
  wholesale: false,
  feedback: entry.feedback,
  score: entry.score
})

/** An entry as a single read returns it. */
export const single = (entry: LogEntry): Record<string, unknown> => {
  const request = head(entry.request)
  const response = head(entry.response)
  return {
    ...listItem(entry),
    request_size: entry.request_size,
    response_size: entry.response_size,
    request_head: request.head,
    request_head_complete: request.complete && entry.request_complete,
    response_head: response.head,
    response_head_complete: response.complete && entry.response_complete
  }
}
