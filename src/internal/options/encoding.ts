/**
 * The three encodings of gateway options, with their decoders. Encoders are total: the values were validated before.
 */
import * as Duration from "effect/Duration"
import type * as GO from "../../GatewayOptions.ts"
import { defined } from "../data/defined.ts"
import { asciiJson } from "../data/headers.ts"
import { isRecord, parseJson, wireName } from "../data/json.ts"

const h = {
  cacheTtl: "cf-aig-cache-ttl",
  cacheKey: "cf-aig-cache-key",
  skipCache: "cf-aig-skip-cache",
  metadata: "cf-aig-metadata",
  collectLog: "cf-aig-collect-log",
  collectLogPayload: "cf-aig-collect-log-payload",
  eventId: "cf-aig-event-id",
  timeout: "cf-aig-request-timeout",
  maxAttempts: "cf-aig-max-attempts",
  retryDelay: "cf-aig-retry-delay",
  backoff: "cf-aig-backoff",
  byokAlias: "cf-aig-byok-alias",
  zeroDataRetention: "cf-aig-zdr",
  noWholesale: "cf-aig-no-wholesale",
  customCost: "cf-aig-custom-cost"
} as const

/** Names of the headers that carry options, including older ones and that of the gateway's id. */
export const optionHeaders: ReadonlyArray<string> = /*#__PURE__*/ Object.values<string>(h).concat(
  "cf-cache-ttl",
  "cf-skip-cache",
  "cf-aig-gateway-id"
)

/** Fields of a custom cost. */
export const costNames = ["perTokenIn", "perTokenOut", "perCacheReadToken", "perCacheWriteToken", "totalCost"] as const

const costJson = (cost: NonNullable<GO.GatewayOptions["customCost"]>): string => {
  const out: Record<string, number> = {}
  for (const name of costNames) {
    const value = cost[name]
    if (value !== undefined) out[wireName(name)] = value
  }
  return JSON.stringify(out)
}

export const toHeaders = (options: GO.GatewayOptions): Record<string, string> => {
  const out: Record<string, string> = {}
  const put = (name: string, value: string | number | boolean | undefined): void => {
    if (value !== undefined) out[name] = String(value)
  }
  const { cache, customCost, log, metadata, retries } = options
  put(h.cacheTtl, cache?.ttl && Duration.toMillis(cache.ttl) / 1000)
  put(h.cacheKey, cache?.key)
  put(h.skipCache, cache?.skip)
  put(h.metadata, metadata && asciiJson(metadata))
  put(h.collectLog, log?.collect)
  put(h.collectLogPayload, log?.payload)
  put(h.eventId, options.eventId)
  put(h.timeout, options.timeout && Duration.toMillis(options.timeout))
  put(h.maxAttempts, retries?.attempts)
  put(h.retryDelay, retries?.delay && Duration.toMillis(retries.delay))
  put(h.backoff, retries?.backoff)
  put(h.byokAlias, options.byokAlias)
  put(h.zeroDataRetention, options.zeroDataRetention)
  put(h.noWholesale, options.noWholesale)
  put(h.customCost, customCost && costJson(customCost))
  return out
}

/** Retries in the binding's form. */
const bindingRetries = (retries: NonNullable<GO.GatewayOptions["retries"]>) =>
  defined({
    maxAttempts: retries.attempts,
    retryDelayMs: retries.delay && Duration.toMillis(retries.delay),
    backoff: retries.backoff
  })

export const toBinding = (options: GO.GatewayOptions): GO.BindingOptions => {
  const { cache, eventId, log, metadata, retries } = options
  // A router's own options; most of its requests have no others.
  if (eventId !== undefined && retries !== undefined && Object.keys(options).length === 2) {
    return { gateway: { eventId, retries: bindingRetries(retries) }, extraHeaders: {} }
  }
  const unsafe = metadata !== undefined && asciiJson(metadata) !== JSON.stringify(metadata)
  return {
    gateway: defined({
      cacheKey: cache?.key,
      cacheTtl: cache?.ttl && Duration.toMillis(cache.ttl) / 1000,
      skipCache: cache?.skip,
      metadata: metadata && { ...metadata },
      collectLog: log?.collect,
      eventId,
      requestTimeoutMs: options.timeout && Duration.toMillis(options.timeout),
      retries: retries && bindingRetries(retries)
    }),
    extraHeaders: toHeaders(
      defined({
        ...(unsafe ? { metadata } : undefined),
        ...(log?.payload === undefined ? undefined : { log: { payload: log.payload } }),
        byokAlias: options.byokAlias,
        zeroDataRetention: options.zeroDataRetention,
        noWholesale: options.noWholesale,
        customCost: options.customCost
      })
    )
  }
}

export const toLeg = (
  options: GO.GatewayOptions
): { readonly config: GO.LegConfig; readonly headers: Record<string, string> } => {
  const { retries, timeout, ...rest } = options
  return {
    config: defined({
      requestTimeout: timeout && Duration.toMillis(timeout),
      maxAttempts: retries?.attempts,
      retryDelay: retries?.delay && Duration.toMillis(retries.delay),
      backoff: retries?.backoff
    }),
    headers: toHeaders(rest)
  }
}

/** An input for `GatewayOptions.make`, and the unreadable parts. */
export interface DecodedOptions {
  readonly input: GO.Input
  readonly problems: ReadonlyArray<GO.Problem>
}

const backoffs: ReadonlyArray<GO.Backoff> = ["constant", "linear", "exponential"]

/** Reads texts from `get` and remembers the names of invalid ones. */
class HeaderReader {
  readonly problems: Array<GO.Problem> = []
  readonly get: (name: string) => string | undefined
  constructor(get: (name: string) => string | undefined) {
    this.get = get
  }
  private parse<A>(name: string, accepted: string, f: (text: string) => A | undefined): A | undefined {
    const text = this.get(name)
    if (text === undefined) return undefined
    const value = f(text)
    if (value === undefined) this.problems.push({ field: name, accepted })
    return value
  }
  number(name: string): number | undefined {
    return this.parse(name, "a decimal number", (text) => (/^\d+(?:\.\d+)?$/.test(text) ? Number(text) : undefined))
  }
  flag(name: string): boolean | undefined {
    return this.parse(name, "true or false", (text) => (text === "true" ? true : text === "false" ? false : undefined))
  }
  backoff(name: string): GO.Backoff | undefined {
    return this.parse(name, backoffs.join(", "), (text) => backoffs.find((backoff) => backoff === text))
  }
  metadata(name: string): GO.Metadata | undefined {
    return this.parse(name, "a flat JSON object of strings, numbers and booleans", (text) => {
      const json = parseJson(text)
      if (!isRecord(json)) return undefined
      const entries: Array<[string, string | number | boolean]> = []
      for (const [key, value] of Object.entries(json)) {
        if (typeof value !== "string" && typeof value !== "number" && typeof value !== "boolean") return undefined
        entries.push([key, value])
      }
      // Not by assignment: a key may be `__proto__`.
      return Object.fromEntries(entries)
    })
  }
  cost(name: string): GO.Input["customCost"] {
    return this.parse(name, "a JSON object of numbers", (text) => {
      const json = parseJson(text)
      if (!isRecord(json)) return undefined
      const out: Record<string, number> = {}
      for (const [key, value] of Object.entries(json)) {
        const known = costNames.find((name) => wireName(name) === key)
        if (known === undefined || typeof value !== "number") return undefined
        out[known] = value
      }
      return out
    })
  }
}

const cacheInput = (
  ttlSeconds: number | undefined,
  key: string | undefined,
  skip: boolean | undefined
): GO.Input["cache"] =>
  ttlSeconds === undefined && key === undefined && skip === undefined
    ? undefined
    : { ttl: ttlSeconds === undefined ? undefined : ttlSeconds === 0 ? "off" : ttlSeconds * 1000, key, skip }

const readHeaders = (reader: HeaderReader): GO.Input => {
  const retries = {
    attempts: reader.number(h.maxAttempts),
    delay: reader.number(h.retryDelay),
    backoff: reader.backoff(h.backoff)
  }
  const log = { collect: reader.flag(h.collectLog), payload: reader.flag(h.collectLogPayload) }
  const isSet = (fields: object): boolean => Object.values(fields).some((value) => value !== undefined)
  return {
    cache: cacheInput(
      reader.number(h.cacheTtl) ?? reader.number("cf-cache-ttl"),
      reader.get(h.cacheKey),
      reader.flag(h.skipCache) ?? reader.flag("cf-skip-cache")
    ),
    metadata: reader.metadata(h.metadata),
    log: isSet(log) ? log : undefined,
    eventId: reader.get(h.eventId),
    timeout: reader.number(h.timeout),
    retries: isSet(retries) ? retries : undefined,
    byokAlias: reader.get(h.byokAlias),
    zeroDataRetention: reader.flag(h.zeroDataRetention),
    noWholesale: reader.flag(h.noWholesale),
    customCost: reader.cost(h.customCost)
  }
}

export const fromHeaders = (headers: Readonly<Record<string, string | undefined>>): DecodedOptions => {
  const reader = new HeaderReader((name) => headers[name])
  return { input: readHeaders(reader), problems: reader.problems }
}

export const fromBinding = ({ extraHeaders, gateway }: GO.BindingOptions): DecodedOptions => {
  const rest = fromHeaders(extraHeaders)
  const log = defined({ collect: gateway.collectLog, payload: rest.input.log?.payload })
  return {
    problems: rest.problems,
    input: {
      ...rest.input,
      cache: cacheInput(gateway.cacheTtl, gateway.cacheKey, gateway.skipCache),
      metadata: rest.input.metadata ?? gateway.metadata,
      log: Object.keys(log).length === 0 ? undefined : log,
      eventId: gateway.eventId,
      timeout: gateway.requestTimeoutMs,
      retries: gateway.retries && {
        attempts: gateway.retries.maxAttempts,
        delay: gateway.retries.retryDelayMs,
        backoff: gateway.retries.backoff
      }
    }
  }
}

export const fromLeg = ({ config, headers }: GO.LegOptions): DecodedOptions => {
  const rest = fromHeaders(headers)
  const retries = { attempts: config.maxAttempts, delay: config.retryDelay, backoff: config.backoff }
  return {
    problems: rest.problems,
    input: {
      ...rest.input,
      // A leg's config overrides its headers.
      timeout: config.requestTimeout ?? rest.input.timeout,
      retries: Object.values(retries).some((value) => value !== undefined)
        ? { ...rest.input.retries, ...defined(retries) }
        : rest.input.retries
    }
  }
}
