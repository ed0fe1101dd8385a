/**
 * Per-request settings of the gateway itself: cache, metadata, logging, event id, timeout, retries, stored keys, cost.
 *
 * Values are validated once, in {@link make}, because the gateway does not complain: it discards all metadata when one
 * value is bad, cuts a sixth entry, and the binding drops `cacheTtl: 0`. There are three encodings: request headers,
 * options of the Workers binding, and `config` plus headers of one leg of a universal request.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type GatewayError, invalid } from "./GatewayError.ts"
import { defined } from "./internal/data/defined.ts"
import { durationOf } from "./internal/data/duration.ts"
import { headerValueAccepted, isHeaderValue } from "./internal/data/headers.ts"
import { isObject, strayField } from "./internal/data/json.ts"
import * as Encoding from "./internal/options/encoding.ts"

/**
 * Shortest cache lifetime that the gateway accepts.
 *
 * @category constants
 */
export const minCacheTtl = Duration.seconds(60)
/**
 * Longest cache lifetime that the gateway accepts (one month, taken as 30 days).
 *
 * @category constants
 */
export const maxCacheTtl = Duration.days(30)
/**
 * Largest number of metadata entries that the gateway keeps.
 *
 * @category constants
 */
export const maxMetadataEntries = 5
/**
 * Largest number of attempts per leg that the gateway makes, including the first.
 *
 * @category constants
 */
export const maxAttempts = 5
/**
 * Longest delay between the gateway's own attempts.
 *
 * @category constants
 */
export const maxRetryDelay = Duration.seconds(5)

/**
 * All values of {@link Backoff}.
 *
 * @category constants
 */
export const backoffs = ["constant", "linear", "exponential"] as const
/**
 * How the gateway spaces its own attempts.
 *
 * @category models
 */
export type Backoff = (typeof backoffs)[number]
/**
 * Flat metadata; keys must not start with `cf.`.
 *
 * @category models
 */
export type Metadata = Readonly<Record<string, string | number | boolean>>

/**
 * Input of {@link make}.
 *
 * @category models
 */
export interface Input {
  readonly cache?:
    | {
        /** 60 seconds to 30 days in whole seconds, or `"off"`. */
        readonly ttl?: Duration.Input | "off" | undefined
        /** Replaces the key that the gateway computes. */
        readonly key?: string | undefined
        /** Do not read the cache. `ttl: "off"` implies it. */
        readonly skip?: boolean | undefined
      }
    | undefined
  /** At most five entries of string, finite number or boolean. */
  readonly metadata?: Metadata | undefined
  readonly log?:
    | {
        /** Whether the call is logged; overrides the gateway's setting. */
        readonly collect?: boolean | undefined
        /** Whether bodies are stored with the log. */
        readonly payload?: boolean | undefined
      }
    | undefined
  /** The caller's correlation id. Default: the router makes one per logical request. */
  readonly eventId?: string | undefined
  /** The gateway's limit until the first part of the provider's response, in whole milliseconds. */
  readonly timeout?: Duration.Input | undefined
  /** The gateway's own retries. Leave them out when a router retries, so that retries have one owner. */
  readonly retries?:
    | {
        /** 1 to 5, including the first. */
        readonly attempts?: number | undefined
        /** Up to 5 seconds in whole milliseconds. */
        readonly delay?: Duration.Input | undefined
        readonly backoff?: Backoff | undefined
      }
    | undefined
  /** Alias of the stored provider key to use. */
  readonly byokAlias?: string | undefined
  /** Unified Billing only: requests zero data retention. */
  readonly zeroDataRetention?: boolean | undefined
  /** `true` forbids the silent fallback to Cloudflare's own credentials and billing when no provider key is found. */
  readonly noWholesale?: boolean | undefined
  /** Cost that replaces the gateway's own estimate, in US dollars. */
  readonly customCost?:
    | {
        readonly perTokenIn?: number | undefined
        readonly perTokenOut?: number | undefined
        readonly perCacheReadToken?: number | undefined
        readonly perCacheWriteToken?: number | undefined
        readonly totalCost?: number | undefined
      }
    | undefined
}

/**
 * Validated options; make them with {@link make}. Absent fields keep the gateway's settings.
 *
 * @category models
 */
export interface GatewayOptions {
  readonly cache?: { readonly ttl?: Duration.Duration; readonly key?: string; readonly skip?: boolean }
  readonly metadata?: Metadata
  readonly log?: { readonly collect?: boolean; readonly payload?: boolean }
  readonly eventId?: string
  readonly timeout?: Duration.Duration
  readonly retries?: { readonly attempts?: number; readonly delay?: Duration.Duration; readonly backoff?: Backoff }
  readonly byokAlias?: string
  readonly zeroDataRetention?: boolean
  readonly noWholesale?: boolean
  readonly customCost?: {
    readonly perTokenIn?: number
    readonly perTokenOut?: number
    readonly perCacheReadToken?: number
    readonly perCacheWriteToken?: number
    readonly totalCost?: number
  }
}

/**
 * One invalid field: its path and the accepted values.
 *
 * @category models
 */
export interface Problem {
  readonly field: string
  readonly accepted: string
}

/**
 * No options: the gateway's settings apply.
 *
 * @category constructors
 */
export const empty: GatewayOptions = {}

const names: ReadonlyArray<string> = [
  "cache",
  "metadata",
  "log",
  "eventId",
  "timeout",
  "retries",
  "byokAlias",
  "zeroDataRetention",
  "noWholesale",
  "customCost"
] satisfies ReadonlyArray<keyof Input>
const backoffsAccepted = backoffs.join(", ")
const cacheNames = ["ttl", "key", "skip"]
const logNames = ["collect", "payload"]
const retryNames = ["attempts", "delay", "backoff"]
const ttlAccepted = `60 seconds to 30 days in whole seconds, or "off"`

const isWholeDuration = (duration: Duration.Duration | undefined, unit: number, min: number, max: number): boolean => {
  if (duration === undefined) return false
  const millis = Duration.toMillis(duration)
  return Number.isFinite(millis) && millis % unit === 0 && millis >= min && millis <= max
}

const metadataProblems = (metadata: Metadata): ReadonlyArray<Problem> => {
  if (!isObject(metadata)) return [{ field: "metadata", accepted: "an object of strings, finite numbers and booleans" }]
  const problems: Array<Problem> = []
  const entries = Object.entries(metadata)
  if (entries.length > maxMetadataEntries) {
    problems.push({ field: "metadata", accepted: `at most ${maxMetadataEntries} entries (got ${entries.length})` })
  }
  for (const [key, value] of entries) {
    if (key === "" || key.startsWith("cf.")) {
      problems.push({
        field: `metadata key ${JSON.stringify(key)}`,
        accepted: "a name that is not empty and not reserved (`cf.`)"
      })
    }
    const type = typeof value
    if (!(type === "string" || type === "boolean" || (type === "number" && Number.isFinite(value)))) {
      problems.push({ field: `metadata.${key}`, accepted: "a string, a finite number or a boolean" })
    }
  }
  return problems
}

/**
 * Lists the problems of an input, without failing.
 *
 * @example
 * ```ts
 * import * as GatewayOptions from "effect-ai-gateway/GatewayOptions"
 *
 * console.log(GatewayOptions.problems({ cache: { ttl: "1 second" } }))
 * // [{ field: "cache.ttl", accepted: "60 seconds to 30 days in whole seconds, or \"off\"" }]
 * ```
 *
 * @category checks
 */
export const problems = (input: Input): ReadonlyArray<Problem> => {
  const out: Array<Problem> = []
  const check = (ok: boolean, field: string, accepted: string): void => {
    if (!ok) out.push({ field, accepted })
  }
  const text = (value: string | undefined, field: string): void =>
    check(value === undefined || isHeaderValue(value), field, headerValueAccepted)
  const flag = (value: boolean | undefined, field: string): void =>
    check(value === undefined || typeof value === "boolean", field, "true or false")
  // TypeScript rules these mistakes out; JSON and JavaScript do not.
  const group = <A extends object>(
    value: A | undefined,
    field: string,
    names: ReadonlyArray<string>
  ): A | undefined => {
    if (value === undefined) return undefined
    if (!isObject(value)) {
      check(false, field, `an object with ${names.join(", ")}`)
      return undefined
    }
    const stray = strayField(value, names)
    if (stray !== undefined) check(false, `${field}.${stray}`, `one of ${names.join(", ")}`)
    return value
  }
  if (group(input, "options", names) === undefined) return out
  const cache = group(input.cache, "cache", cacheNames)
  const log = group(input.log, "log", logNames)
  const retries = group(input.retries, "retries", retryNames)
  const customCost = group(input.customCost, "customCost", Encoding.costNames)
  if (cache !== undefined) {
    check(
      cache.ttl === undefined ||
        cache.ttl === "off" ||
        isWholeDuration(durationOf(cache.ttl), 1000, Duration.toMillis(minCacheTtl), Duration.toMillis(maxCacheTtl)),
      "cache.ttl",
      ttlAccepted
    )
    text(cache.key, "cache.key")
    flag(cache.skip, "cache.skip")
    check(!(cache.ttl === "off" && cache.skip === false), "cache.skip", `true or absent when cache.ttl is "off"`)
  }
  if (input.metadata !== undefined) out.push(...metadataProblems(input.metadata))
  flag(log?.collect, "log.collect")
  flag(log?.payload, "log.payload")
  text(input.eventId, "eventId")
  check(
    input.timeout === undefined || isWholeDuration(durationOf(input.timeout), 1, 1, Number.MAX_SAFE_INTEGER),
    "timeout",
    "1 millisecond or more, finite, in whole milliseconds"
  )
  if (retries !== undefined) {
    const { attempts, delay, backoff } = retries
    check(
      attempts === undefined || (Number.isInteger(attempts) && attempts >= 1 && attempts <= maxAttempts),
      "retries.attempts",
      `a whole number from 1 to ${maxAttempts}`
    )
    check(
      delay === undefined || isWholeDuration(durationOf(delay), 1, 0, Duration.toMillis(maxRetryDelay)),
      "retries.delay",
      "0 to 5 seconds in whole milliseconds"
    )
    check(backoff === undefined || backoffs.includes(backoff), "retries.backoff", backoffsAccepted)
  }
  text(input.byokAlias, "byokAlias")
  flag(input.zeroDataRetention, "zeroDataRetention")
  flag(input.noWholesale, "noWholesale")
  if (customCost !== undefined) {
    const costs = Encoding.costNames.filter((name) => customCost[name] !== undefined)
    check(costs.length > 0, "customCost", "at least one cost")
    for (const name of costs) {
      const cost = customCost[name]
      check(
        typeof cost === "number" && Number.isFinite(cost) && cost >= 0,
        `customCost.${name}`,
        "a finite number of 0 or more"
      )
    }
  }
  return out
}

const normalizeCache = (cache: NonNullable<Input["cache"]>): NonNullable<GatewayOptions["cache"]> => {
  if (cache.ttl === "off") return defined({ key: cache.key, skip: true })
  // A lifetime implies that caching is wanted, so it also undoes an outer "off" when options are merged.
  if (cache.ttl !== undefined) return defined({ ttl: durationOf(cache.ttl), key: cache.key, skip: cache.skip ?? false })
  return defined({ key: cache.key, skip: cache.skip })
}

/** Drops objects without fields, so that equal options have one form. */
const nonEmpty = <A extends object>(value: A): A | undefined => (Object.keys(value).length === 0 ? undefined : value)

/**
 * Brings a valid input into its normal form. Total: check the fields with {@link problems} first.
 *
 * @category combinators
 */
export const normalize = (input: Input): GatewayOptions =>
  defined({
    cache: input.cache && nonEmpty(normalizeCache(input.cache)),
    metadata: input.metadata && nonEmpty({ ...input.metadata }),
    log: input.log && nonEmpty(defined(input.log)),
    eventId: input.eventId,
    timeout: durationOf(input.timeout),
    retries:
      input.retries &&
      nonEmpty(
        defined({
          attempts: input.retries.attempts,
          delay: durationOf(input.retries.delay),
          backoff: input.retries.backoff
        })
      ),
    byokAlias: input.byokAlias,
    zeroDataRetention: input.zeroDataRetention,
    noWholesale: input.noWholesale,
    customCost: input.customCost && nonEmpty(defined(input.customCost))
  })

const makeFor = (method: string, input: Input): Effect.Effect<GatewayOptions, GatewayError> => {
  const [problem] = problems(input)
  return problem === undefined
    ? Effect.succeed(normalize(input))
    : Effect.fail(invalid(method, problem.field, problem.accepted))
}

/**
 * Validates options: cache lifetime 60 seconds to 30 days or `"off"`, at most five flat metadata entries, one to five
 * attempts, a delay up to five seconds, ids and texts in printable ASCII. Fails with `InvalidRequest` naming the field.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as GatewayOptions from "effect-ai-gateway/GatewayOptions"
 *
 * const options = Effect.runSync(
 *   GatewayOptions.make({ cache: { ttl: "1 hour" }, metadata: { team: "support" } })
 * )
 * console.log(GatewayOptions.toHeaders(options)["cf-aig-cache-ttl"]) // "3600"
 * ```
 *
 * @category constructors
 */
export const make = (input: Input): Effect.Effect<GatewayOptions, GatewayError> => makeFor("GatewayOptions.make", input)

/** Merges two groups of fields, either of which may be absent. */
const both = <A extends object>(outer: A | undefined, inner: A | undefined): A | undefined =>
  outer && inner && { ...outer, ...inner }

/**
 * Combines two sets of options; `inner` wins, field by field. Associative. Merged metadata may have more entries than
 * the gateway keeps, so validate the result ({@link make}) before it is sent; the router does.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as GatewayOptions from "effect-ai-gateway/GatewayOptions"
 *
 * const outer = Effect.runSync(GatewayOptions.make({ cache: { ttl: "1 hour" }, metadata: { team: "search" } }))
 * const inner = Effect.runSync(GatewayOptions.make({ metadata: { user: "u-1" } }))
 * console.log(GatewayOptions.merge(outer, inner).metadata) // { team: "search", user: "u-1" }
 * ```
 *
 * @category combinators
 */
export const merge = (outer: GatewayOptions, inner: GatewayOptions): GatewayOptions => ({
  ...outer,
  ...inner,
  ...defined({
    cache: both(outer.cache, inner.cache),
    metadata: both(outer.metadata, inner.metadata),
    log: both(outer.log, inner.log),
    retries: both(outer.retries, inner.retries)
  })
})

/**
 * Options of the Workers binding: fields of its `gateway` object, and headers for the rest.
 *
 * @category models
 */
export interface BindingOptions {
  readonly gateway: {
    readonly cacheKey?: string
    readonly cacheTtl?: number
    readonly skipCache?: boolean
    readonly metadata?: Metadata
    readonly collectLog?: boolean
    readonly eventId?: string
    readonly requestTimeoutMs?: number
    readonly retries?: { readonly maxAttempts?: number; readonly retryDelayMs?: number; readonly backoff?: Backoff }
  }
  readonly extraHeaders: Readonly<Record<string, string>>
}

/**
 * `config` of one leg of a universal request; times in milliseconds.
 *
 * @category models
 */
export interface LegConfig {
  readonly requestTimeout?: number
  readonly maxAttempts?: number
  readonly retryDelay?: number
  readonly backoff?: Backoff
}

/**
 * One leg's share of the options: timeout and retries in `config`, everything else as headers.
 *
 * @category models
 */
export interface LegOptions {
  readonly config: LegConfig
  readonly headers: Readonly<Record<string, string>>
}

/**
 * Encodes options as request headers (names and units of the AI Gateway documentation). Metadata is ASCII-safe JSON,
 * because it is unknown whether other characters survive the edge.
 *
 * @category conversions
 */
export const toHeaders = (options: GatewayOptions): Record<string, string> => Encoding.toHeaders(options)

/**
 * Decodes request headers with lower-case names, the deprecated `cf-cache-ttl` and `cf-skip-cache` included; a lifetime
 * of 0 is `"off"`. Fails with `InvalidRequest` naming the unreadable header, or the field (such as `cache.ttl`) whose
 * value is out of range.
 *
 * @category conversions
 */
export const fromHeaders = (
  headers: Readonly<Record<string, string | undefined>>
): Effect.Effect<GatewayOptions, GatewayError> => decode("GatewayOptions.fromHeaders", Encoding.fromHeaders(headers))

/**
 * Encodes options for the Workers binding. Options without a field in its `gateway` object travel in `extraHeaders`, in
 * lower case; so does metadata with non-ASCII text, which the binding would write into a header unescaped.
 *
 * @category conversions
 */
export const toBinding = (options: GatewayOptions): BindingOptions => Encoding.toBinding(options)

/**
 * Decodes the output of {@link toBinding}. Fails with `InvalidRequest` naming the field at fault.
 *
 * @category conversions
 */
export const fromBinding = (options: BindingOptions): Effect.Effect<GatewayOptions, GatewayError> =>
  decode("GatewayOptions.fromBinding", Encoding.fromBinding(options))

/**
 * Encodes options for one leg of a universal request.
 *
 * @category conversions
 */
export const toLeg = (options: GatewayOptions): LegOptions => Encoding.toLeg(options)

/**
 * Decodes the output of {@link toLeg}. Fails with `InvalidRequest` naming the field at fault.
 *
 * @category conversions
 */
export const fromLeg = (leg: LegOptions): Effect.Effect<GatewayOptions, GatewayError> =>
  decode("GatewayOptions.fromLeg", Encoding.fromLeg(leg))

const decode = (method: string, decoded: Encoding.DecodedOptions): Effect.Effect<GatewayOptions, GatewayError> => {
  const [problem] = decoded.problems
  return problem === undefined
    ? makeFor(method, decoded.input)
    : Effect.fail(invalid(method, problem.field, problem.accepted))
}
