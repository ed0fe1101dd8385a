/**
 * Log entries of the gateway, feedback on them, and queries over them.
 *
 * Live logs differ from their published types: metadata is an object and not a string, tokens can be null, cost arrives
 * later, unlisted fields appear. Decoding is therefore tolerant: it requires only the id, and keeps unknown fields in
 * `extra`.
 */
import * as Schema from "effect/Schema"
import * as GatewayOptions from "./GatewayOptions.ts"
import { defined, type Mutable } from "./internal/data/defined.ts"
import { isObject, isRecord, parseJson, strayField, wireName } from "./internal/data/json.ts"
import { isWhole } from "./internal/data/numbers.ts"

// A function, because rolldown (Vite's bundler) treats reading `Schema.String` as an effect and would keep all of
// Schema in bundles that never use it.
const makeSchema = () =>
  Schema.Struct({
    id: Schema.String,
    provider: Schema.optionalKey(Schema.String),
    model: Schema.optionalKey(Schema.String),
    modelType: Schema.optionalKey(Schema.String),
    path: Schema.optionalKey(Schema.String),
    createdAt: Schema.optionalKey(Schema.Date),
    /** Milliseconds. */
    duration: Schema.optionalKey(Schema.Number),
    statusCode: Schema.optionalKey(Schema.Number),
    success: Schema.optionalKey(Schema.Boolean),
    cached: Schema.optionalKey(Schema.Boolean),
    step: Schema.optionalKey(Schema.Number),
    tokensIn: Schema.optionalKey(Schema.Number),
    tokensOut: Schema.optionalKey(Schema.Number),
    /** US dollars; can arrive after the log itself. */
    cost: Schema.optionalKey(Schema.Number),
    customCost: Schema.optionalKey(Schema.Boolean),
    eventId: Schema.optionalKey(Schema.String),
    metadata: Schema.optionalKey(
      Schema.Record(Schema.String, Schema.Union([Schema.String, Schema.Number, Schema.Boolean, Schema.Null]))
    ),
    feedback: Schema.optionalKey(Schema.Number),
    score: Schema.optionalKey(Schema.Number),
    requestType: Schema.optionalKey(Schema.String),
    requestContentType: Schema.optionalKey(Schema.String),
    responseContentType: Schema.optionalKey(Schema.String),
    requestSize: Schema.optionalKey(Schema.Number),
    responseSize: Schema.optionalKey(Schema.Number),
    requestHead: Schema.optionalKey(Schema.String),
    responseHead: Schema.optionalKey(Schema.String),
    requestHeadComplete: Schema.optionalKey(Schema.Boolean),
    responseHeadComplete: Schema.optionalKey(Schema.Boolean),
    /** Every field that is not listed above, under its original name. */
    extra: Schema.Record(Schema.String, Schema.Unknown)
  })

/**
 * Schema of {@link GatewayLog}, for storing and forwarding it.
 *
 * @category schemas
 */
export const GatewayLog = makeSchema()
/**
 * One log entry.
 *
 * @category models
 */
export type GatewayLog = typeof GatewayLog.Type

const text = (u: unknown): string | undefined => (typeof u === "string" ? u : undefined)
const number = (u: unknown): number | undefined => (typeof u === "number" && Number.isFinite(u) ? u : undefined)
const flag = (u: unknown): boolean | undefined => (typeof u === "boolean" ? u : undefined)

const date = (u: unknown): Date | undefined => {
  const value = u instanceof Date ? u : typeof u === "string" || typeof u === "number" ? new Date(u) : undefined
  return value === undefined || Number.isNaN(value.getTime()) ? undefined : value
}

const isFlat = (u: Record<string, unknown>): u is NonNullable<GatewayLog["metadata"]> =>
  Object.values(u).every(
    (entry) => entry === null || typeof entry === "string" || typeof entry === "number" || typeof entry === "boolean"
  )

const metadata = (u: unknown): NonNullable<GatewayLog["metadata"]> | undefined => {
  const value = typeof u === "string" ? parseJson(u) : u
  return isRecord(value) && !(value instanceof Date) && isFlat(value) ? { ...value } : undefined
}

type Fields = Required<Omit<GatewayLog, "id" | "extra">>

/** Readers of each field. */
const readers: { readonly [Name in keyof Fields]: (u: unknown) => Fields[Name] | undefined } = {
  provider: text,
  model: text,
  modelType: text,
  path: text,
  createdAt: date,
  duration: number,
  statusCode: number,
  success: flag,
  cached: flag,
  step: number,
  tokensIn: number,
  tokensOut: number,
  cost: number,
  customCost: flag,
  eventId: text,
  metadata,
  feedback: number,
  score: number,
  requestType: text,
  requestContentType: text,
  responseContentType: text,
  requestSize: number,
  responseSize: number,
  requestHead: text,
  responseHead: text,
  requestHeadComplete: flag,
  responseHeadComplete: flag
}

/**
 * Decodes a log entry from the REST API or the binding. `undefined` when it is not an object with an id. A field whose
 * value has an unexpected type is put into `extra`, unless it is null.
 *
 * @category conversions
 */
export const fromWire = (wire: unknown): GatewayLog | undefined => {
  if (!isRecord(wire)) return undefined
  const { id, ...extra } = wire
  if (typeof id !== "string") return undefined
  const fields: Partial<Mutable<Fields>> = {}
  const read = <Name extends keyof Fields>(name: Name): void => {
    const field = wireName(name)
    const value: Fields[Name] | undefined = readers[name](wire[field])
    if (value !== undefined) fields[name] = value
    if (value !== undefined || wire[field] === null) delete extra[field]
  }
  for (const name in readers) read(name as keyof Fields)
  return { id, ...fields, extra }
}

/**
 * Feedback on a log entry; at least one field is required.
 *
 * @category models
 */
export interface Patch {
  /** 1 is good, -1 is bad, `null` removes it. */
  readonly feedback?: 1 | -1 | null | undefined
  /** A finite number; `null` removes it. */
  readonly score?: number | null | undefined
  /** Replaces the metadata: at most five flat entries; `null` removes it. */
  readonly metadata?: Readonly<Record<string, string | number | boolean>> | null | undefined
}

/**
 * Operators of a filter.
 *
 * @category constants
 */
export const operators = ["eq", "neq", "contains", "lt", "gt"] as const
/**
 * Fields that a filter can name (source: list parameters of Cloudflare's API client).
 *
 * @category constants
 */
export const filterKeys = [
  "id",
  "created_at",
  "request_content_type",
  "response_content_type",
  "request_type",
  "success",
  "cached",
  "provider",
  "model",
  "model_type",
  "cost",
  "tokens",
  "tokens_in",
  "tokens_out",
  "duration",
  "feedback",
  "event_id",
  "metadata.key",
  "metadata.value",
  "authentication",
  "wholesale",
  "compatibilityMode",
  "dlp_action",
  "user_agent"
] as const

/**
 * One condition; its values are alternatives.
 *
 * @category models
 */
export interface Filter {
  readonly key: (typeof filterKeys)[number]
  readonly operator: (typeof operators)[number]
  readonly value: ReadonlyArray<string | number | boolean | null>
}

/**
 * Fields that a list can be ordered by.
 *
 * @category constants
 */
export const orders = ["created_at", "provider", "model", "model_type", "success", "cached"] as const
/**
 * Directions of an order.
 *
 * @category constants
 */
export const directions = ["asc", "desc"] as const

/**
 * A query over the logs of one gateway.
 *
 * @category models
 */
export interface Query {
  /** 1 or more; default 1. */
  readonly page?: number | undefined
  /** 1 to 50. Default: the gateway's. */
  readonly perPage?: number | undefined
  /** Free text. */
  readonly search?: string | undefined
  readonly orderBy?: (typeof orders)[number] | undefined
  readonly direction?: (typeof directions)[number] | undefined
  /**
   * Selects calls with this event id, including the failed legs of a gateway-side fallback, whose log ids no answer
   * carries.
   */
  readonly eventId?: string | undefined
  readonly filters?: ReadonlyArray<Filter> | undefined
}

/**
 * One page of logs.
 *
 * @category models
 */
export interface Page {
  readonly logs: ReadonlyArray<GatewayLog>
  readonly page: number
  readonly perPage: number
  /** Entries on this page. */
  readonly count: number
  /** Number of matching entries on all pages, when the gateway reports it. */
  readonly totalCount?: number
}

const isScalar = (u: unknown): boolean => u === null || ["string", "number", "boolean"].includes(typeof u)

const queryNames: ReadonlyArray<string> = [
  "page",
  "perPage",
  "search",
  "orderBy",
  "direction",
  "eventId",
  "filters"
] satisfies ReadonlyArray<keyof Query>

const isGiven = <A>(value: A): value is NonNullable<A> => value !== undefined && value !== null

/**
 * Lists the problems of feedback.
 *
 * @category checks
 */
export const patchProblems = (patch: Patch): ReadonlyArray<GatewayOptions.Problem> => {
  const problems: Array<GatewayOptions.Problem> = []
  // A caller without types may pass nothing.
  const { feedback, metadata, score }: Patch = patch ?? {}
  if (feedback === undefined && score === undefined && metadata === undefined) {
    return [{ field: "patch", accepted: "at least one of feedback, score and metadata" }]
  }
  if (isGiven(feedback) && feedback !== 1 && feedback !== -1) {
    problems.push({ field: "feedback", accepted: "1, -1 or null" })
  }
  if (isGiven(score) && number(score) === undefined) {
    problems.push({ field: "score", accepted: "a finite number or null" })
  }
  if (isGiven(metadata)) problems.push(...GatewayOptions.problems({ metadata }))
  return problems
}

/**
 * Lists the problems of a query.
 *
 * @category checks
 */
export const queryProblems = (query: Query): ReadonlyArray<GatewayOptions.Problem> => {
  if (!isObject(query)) return [{ field: "query", accepted: `an object with ${queryNames.join(", ")}` }]
  const problems: Array<GatewayOptions.Problem> = []
  const check = (ok: boolean, field: string, accepted: string): void => {
    if (!ok) problems.push({ field, accepted })
  }
  check(isWhole(query.page, 1, Number.MAX_SAFE_INTEGER), "page", "a whole number of 1 or more")
  check(isWhole(query.perPage, 1, 50), "perPage", "a whole number from 1 to 50")
  check(query.orderBy === undefined || orders.includes(query.orderBy), "orderBy", orders.join(", "))
  check(query.direction === undefined || directions.includes(query.direction), "direction", directions.join(", "))
  check(query.search === undefined || typeof query.search === "string", "search", "a text")
  check(
    query.eventId === undefined || (typeof query.eventId === "string" && query.eventId !== ""),
    "eventId",
    "a text that is not empty"
  )
  const stray = strayField(query, queryNames)
  if (stray !== undefined) check(false, stray, `one of ${queryNames.join(", ")}`)
  if (query.filters === undefined) return problems
  if (!Array.isArray(query.filters)) return [...problems, { field: "filters", accepted: "an array of filters" }]
  for (const [index, filter] of query.filters.entries()) {
    if (!isObject(filter)) {
      check(false, `filters[${index}]`, "an object with key, operator and value")
      continue
    }
    check(filterKeys.includes(filter.key), `filters[${index}].key`, filterKeys.join(", "))
    check(operators.includes(filter.operator), `filters[${index}].operator`, operators.join(", "))
    check(
      Array.isArray(filter.value) && filter.value.length > 0 && filter.value.every(isScalar),
      `filters[${index}].value`,
      "an array of at least one text, number, boolean or null"
    )
  }
  return problems
}

/**
 * Converts a valid query to query parameters of the REST API.
 *
 * @category conversions
 */
export const toParams = (query: Query): ReadonlyArray<readonly [string, string]> => {
  const filters: ReadonlyArray<Filter> = [
    ...(query.filters ?? []),
    ...(query.eventId === undefined ? [] : [{ key: "event_id", operator: "eq", value: [query.eventId] } as const])
  ]
  const params: Array<readonly [string, string]> = []
  if (query.page !== undefined) params.push(["page", String(query.page)])
  if (query.perPage !== undefined) params.push(["per_page", String(query.perPage)])
  if (query.search !== undefined) params.push(["search", query.search])
  if (query.orderBy !== undefined) params.push(["order_by", query.orderBy])
  if (query.direction !== undefined) params.push(["order_by_direction", query.direction])
  if (filters.length > 0) params.push(["filters", JSON.stringify(filters)])
  return params
}

/**
 * Decodes one page of the REST API. `undefined` when it has no list of entries with ids.
 *
 * @category conversions
 */
export const pageFromWire = (wire: unknown): Page | undefined => {
  if (!isRecord(wire) || !Array.isArray(wire["result"])) return undefined
  const logs: Array<GatewayLog> = []
  for (const entry of wire["result"]) {
    const log = fromWire(entry)
    if (log === undefined) return undefined
    logs.push(log)
  }
  const info = isRecord(wire["result_info"]) ? wire["result_info"] : {}
  return {
    logs,
    page: number(info["page"]) ?? 1,
    perPage: number(info["per_page"]) ?? logs.length,
    count: number(info["count"]) ?? logs.length,
    ...defined({ totalCount: number(info["total_count"]) })
  }
}
