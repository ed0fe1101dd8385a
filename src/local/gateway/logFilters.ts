/**
 * Search in the log: filters, free text, order and page, as query parameters.
 */
import * as Result from "effect/Result"
import { isRecord } from "../../internal/data/json.ts"
import { badRequest, type Refusal } from "../wire/errors.ts"
import { parseBoundedJson } from "../wire/message.ts"
import type { LogEntry } from "./logStore.ts"

type Value = string | number | boolean | null
type Read = (entry: LogEntry) => ReadonlyArray<Value | undefined>

const tokens = (entry: LogEntry): number | null =>
  entry.tokens_in === null && entry.tokens_out === null ? null : (entry.tokens_in ?? 0) + (entry.tokens_out ?? 0)

// `metadata.key` and `metadata.value` match independently of each other, as the service does.
const keys: Readonly<Record<string, Read>> = {
  id: (entry) => [entry.id],
  created_at: (entry) => [entry.created_at],
  request_content_type: (entry) => [entry.request_content_type],
  response_content_type: (entry) => [entry.response_content_type],
  request_type: (entry) => [entry.request_type],
  success: (entry) => [entry.success],
  cached: (entry) => [entry.cached],
  provider: (entry) => [entry.provider],
  model: (entry) => [entry.model],
  model_type: (entry) => [entry.model_type],
  cost: (entry) => [entry.cost],
  tokens: (entry) => [tokens(entry)],
  tokens_in: (entry) => [entry.tokens_in],
  tokens_out: (entry) => [entry.tokens_out],
  duration: (entry) => [entry.duration],
  feedback: (entry) => [entry.feedback],
  event_id: (entry) => [entry.event_id],
  "metadata.key": (entry) => Object.keys(entry.metadata ?? {}),
  "metadata.value": (entry) => Object.values(entry.metadata ?? {}),
  authentication: (entry) => [entry.authentication],
  wholesale: () => [false],
  compatibilityMode: (entry) => [entry.compatibilityMode],
  dlp_action: () => [null],
  user_agent: (entry) => [entry.user_agent]
}

const operators = ["eq", "neq", "contains", "lt", "gt"] as const
type Operator = (typeof operators)[number]

type Predicate = (entry: LogEntry) => boolean

// A date is compared by its instant, whatever its notation.
const instant = (value: Value): number => (typeof value === "number" ? value : Date.parse(String(value)))

const equals = (key: string, actual: Value | undefined, wanted: Value): boolean => {
  if (key === "created_at" && actual !== undefined) return actual === instant(wanted)
  return String(actual ?? null).toLowerCase() === String(wanted).toLowerCase()
}

const compare = (key: string, actual: Value | undefined, wanted: Value): number => {
  if (actual === undefined || actual === null) return Number.NaN
  const limit = key === "created_at" ? instant(wanted) : Number(wanted)
  if (typeof actual === "number") return actual - limit
  const numeric = Number(actual)
  if (!Number.isNaN(numeric) && !Number.isNaN(limit)) return numeric - limit
  return String(actual) < String(wanted) ? -1 : String(actual) > String(wanted) ? 1 : 0
}

const predicate = (key: string, read: Read, operator: Operator, wanted: ReadonlyArray<Value>): Predicate => {
  const some =
    (test: (actual: Value | undefined, value: Value) => boolean): Predicate =>
    (entry) =>
      read(entry).some((actual) => wanted.some((value) => test(actual, value)))
  switch (operator) {
    case "eq":
      return some((actual, value) => equals(key, actual, value))
    case "neq": {
      const found = some((actual, value) => equals(key, actual, value))
      return (entry) => !found(entry)
    }
    case "contains":
      return some((actual, value) =>
        String(actual ?? "")
          .toLowerCase()
          .includes(String(value).toLowerCase())
      )
    case "lt":
      return some((actual, value) => compare(key, actual, value) < 0)
    case "gt":
      return some((actual, value) => compare(key, actual, value) > 0)
  }
}

const isOperator = (u: unknown): u is Operator => operators.some((operator) => operator === u)

const isValue = (u: unknown): u is Value =>
  u === null || typeof u === "string" || typeof u === "number" || typeof u === "boolean"

const filterOf = (u: unknown): Result.Result<Predicate, Refusal> => {
  if (!isRecord(u)) return Result.fail(badRequest("filters: expected objects with key, operator and value"))
  const { key, operator, value } = u
  const read = typeof key === "string" && Object.hasOwn(keys, key) ? keys[key] : undefined
  if (typeof key !== "string" || read === undefined) {
    return Result.fail(badRequest(`filters: expected a key of ${Object.keys(keys).join(", ")}`))
  }
  if (!isOperator(operator)) return Result.fail(badRequest(`filters: expected an operator of ${operators.join(", ")}`))
  const wanted: ReadonlyArray<unknown> = Array.isArray(value) ? value : [value]
  if (wanted.length === 0 || !wanted.every(isValue)) {
    return Result.fail(
      badRequest("filters: expected value to be a non-empty array of strings, numbers, booleans or null")
    )
  }
  return Result.succeed(predicate(key, read, operator, wanted.filter(isValue)))
}

// Parameters that the reference calls deprecated, as the filters that replaced them.
const equalParams = [
  "success",
  "cached",
  "provider",
  "model",
  "model_type",
  "request_content_type",
  "response_content_type"
]
const rangeParams = ["cost", "duration", "tokens_in", "tokens_out", "total_tokens"]

const legacy = (name: string, value: string): Predicate | undefined => {
  if (equalParams.includes(name))
    return (entry) => keys[name]?.(entry).some((actual) => equals(name, actual, value)) ?? false
  if (name === "feedback") return (entry) => entry.feedback === (value === "1" ? 1 : -1)
  if (name === "start_date") return (entry) => entry.created_at >= instant(value)
  if (name === "end_date") return (entry) => entry.created_at <= instant(value)
  const [, side, field] = /^(min|max)_(.+)$/.exec(name) ?? []
  if (field === undefined || !rangeParams.includes(field)) return undefined
  const read = field === "total_tokens" ? keys["tokens"] : keys[field]
  return (entry) => {
    const difference = compare(field, read?.(entry)[0], value)
    return side === "min" ? difference >= 0 : difference <= 0
  }
}

const orderable = ["created_at", "provider", "model", "model_type", "success", "cached"]
const orderableForDelete = [...orderable, "cost", "tokens_in", "tokens_out", "duration", "feedback"]

/** A parsed query. */
export interface LogQuery {
  readonly matches: Predicate
  readonly sort: (entries: ReadonlyArray<LogEntry>) => ReadonlyArray<LogEntry>
  readonly page: number
  readonly perPage: number
  readonly metaInfo: boolean
  /** Only for bulk deletion. */
  readonly limit: number | undefined
}

const searchable = (entry: LogEntry): string =>
  [
    entry.id,
    entry.event_id,
    entry.provider,
    entry.model,
    entry.path,
    JSON.stringify(entry.metadata),
    entry.request ?? "",
    entry.response ?? ""
  ]
    .join("\n")
    .toLowerCase()

const sorter =
  (key: string, descending: boolean): LogQuery["sort"] =>
  (entries) => {
    const read = keys[key]
    const rank = (entry: LogEntry): Value => read?.(entry)[0] ?? null
    const order = (a: Value, b: Value): number => {
      if (a === b) return 0
      if (a === null || b === null) return a === null ? -1 : 1
      return a < b ? -1 : 1
    }
    // Stable, so that entries of one instant keep their order of insertion, or its reverse.
    const ascending = Array.from(entries).sort((a, b) => order(rank(a), rank(b)))
    return descending ? ascending.reverse() : ascending
  }

const whole = (
  params: URLSearchParams,
  name: string,
  fallback: number,
  min: number,
  max: number
): Result.Result<number, Refusal> => {
  const value = params.get(name)
  if (value === null) return Result.succeed(fallback)
  const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN
  return number >= min && number <= max
    ? Result.succeed(number)
    : Result.fail(badRequest(`${name}: expected ${min} to ${max === Number.MAX_SAFE_INTEGER ? "any higher" : max}`))
}

const oneOf = (
  params: URLSearchParams,
  name: string,
  accepted: ReadonlyArray<string>,
  fallback: string
): Result.Result<string, Refusal> => {
  const value = params.get(name) ?? fallback
  return accepted.includes(value)
    ? Result.succeed(value)
    : Result.fail(badRequest(`${name}: expected one of ${accepted.join(", ")}`))
}

const own = [
  "page",
  "per_page",
  "search",
  "order_by",
  "order_by_direction",
  "direction",
  "filters",
  "meta_info",
  "limit"
]

const filterFields = ["key", "operator", "value"]

/**
 * Filters as Cloudflare's SDKs write them: `filters.key=…&filters.operator=…&filters.value=…`, one after the other,
 * with `value` once for each. A repeated field starts the next filter.
 */
const dotted = (params: URLSearchParams): ReadonlyArray<unknown> => {
  const out: Array<Record<string, unknown> & { value?: Array<string> }> = []
  let before: string | undefined
  for (const [name, text] of params) {
    const field = /^filters\.(\w+)$/.exec(name)?.[1]
    if (field === undefined || !filterFields.includes(field)) continue
    let current = out.at(-1)
    if (current === undefined || (Object.hasOwn(current, field) && !(field === "value" && before === "value"))) {
      current = {}
      out.push(current)
    }
    if (field === "value") current.value = [...(current.value ?? []), text]
    else current[field] = text
    before = field
  }
  return out
}

const predicates = (params: URLSearchParams): Result.Result<ReadonlyArray<Predicate>, Refusal> => {
  const out: Array<Predicate> = []
  const written: Array<unknown> = [...dotted(params)]
  const filters = params.get("filters")
  if (filters !== null) {
    const parsed = parseBoundedJson(filters)
    if (!Array.isArray(parsed)) return Result.fail(badRequest("filters: expected a JSON array"))
    written.push(...parsed)
  }
  for (const item of written) {
    const filter = filterOf(item)
    if (Result.isFailure(filter)) return Result.fail(filter.failure)
    out.push(filter.success)
  }
  const search = params.get("search")?.toLowerCase()
  if (search !== undefined && search !== "") out.push((entry) => searchable(entry).includes(search))
  for (const [name, value] of params) {
    if (own.includes(name) || filterFields.some((field) => name === `filters.${field}`)) continue
    const test = legacy(name, value)
    if (test === undefined) return Result.fail(badRequest(`unknown query parameter ${JSON.stringify(name)}`))
    out.push(test)
  }
  return Result.succeed(out)
}

/** Parses a query; `use` determines which order keys and page parameters are allowed. */
export const parse = (params: URLSearchParams, use: "list" | "delete"): Result.Result<LogQuery, Refusal> =>
  Result.gen(function* () {
    const tests = yield* predicates(params)
    const orderBy = yield* oneOf(params, "order_by", use === "list" ? orderable : orderableForDelete, "created_at")
    const fallback = yield* oneOf(params, "direction", ["asc", "desc"], "desc")
    const direction = yield* oneOf(params, "order_by_direction", ["asc", "desc"], fallback)
    const page = yield* whole(params, "page", 1, 1, Number.MAX_SAFE_INTEGER)
    const perPage = yield* whole(params, "per_page", 20, 1, 50)
    const limit = yield* whole(params, "limit", Number.MAX_SAFE_INTEGER, 1, Number.MAX_SAFE_INTEGER)
    const metaInfo = yield* oneOf(params, "meta_info", ["true", "false"], "false")
    return {
      matches: (entry: LogEntry) => tests.every((test) => test(entry)),
      sort: sorter(orderBy, direction === "desc"),
      page,
      perPage,
      metaInfo: metaInfo === "true",
      limit
    }
  })

const rangeOf = (name: string, values: ReadonlyArray<number | null>): Record<string, number | null> => {
  const numbers = values.filter((value): value is number => value !== null)
  return {
    [`min_${name}`]: numbers.length === 0 ? null : numbers.reduce((a, b) => Math.min(a, b)),
    [`max_${name}`]: numbers.length === 0 ? null : numbers.reduce((a, b) => Math.max(a, b))
  }
}

/** Fields that `meta_info=true` adds to `result_info`. */
export const metaInfo = (entries: ReadonlyArray<LogEntry>): Record<string, number | null> => ({
  ...rangeOf(
    "cost",
    entries.map((entry) => entry.cost)
  ),
  ...rangeOf(
    "duration",
    entries.map((entry) => entry.duration)
  ),
  ...rangeOf(
    "tokens_in",
    entries.map((entry) => entry.tokens_in)
  ),
  ...rangeOf(
    "tokens_out",
    entries.map((entry) => entry.tokens_out)
  ),
  ...rangeOf("total_tokens", entries.map(tokens))
})
