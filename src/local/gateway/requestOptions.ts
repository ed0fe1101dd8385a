/**
 * The `cf-aig-*` options of a leg: read from several layers of headers, nearest first, then from the gateway.
 */
import * as Result from "effect/Result"
import { headerValueAccepted, isHeaderValue } from "../../internal/data/headers.ts"
import { isRecord } from "../../internal/data/json.ts"
import { badRequest, code, type Refusal, refuse } from "../wire/errors.ts"
import type { HeaderMap } from "../wire/message.ts"
import type { CustomCost, LogMetadata } from "./headerValues.ts"
import type { JsonHeaders } from "./jsonHeaders.ts"
import type { Gateway } from "./settings.ts"

/** Effective options of one leg. */
export interface ResolvedOptions {
  readonly skipCache: boolean
  /** Seconds, or `undefined` when caching is off. */
  readonly cacheTtl: number | undefined
  readonly cacheKey: string | undefined
  readonly collectLog: boolean
  readonly collectPayload: boolean
  readonly metadata: LogMetadata | null
  readonly customCost: CustomCost | undefined
  readonly eventId: string | undefined
  /** Milliseconds until the first part of the answer, or `undefined` for no limit. */
  readonly requestTimeout: number | undefined
  readonly maxAttempts: number
  /** Milliseconds. */
  readonly retryDelay: number
  readonly backoff: "constant" | "linear" | "exponential"
  readonly byokAlias: string | undefined
  readonly noWholesale: boolean
  /** Whether a request for a stream gets a complete answer. */
  readonly bufferStreams: boolean
}

/** Lifetime of an entry with a custom key while caching is off: five minutes. */
const keyedTtl = 300
const minTtl = 60
const maxTtl = 30 * 24 * 60 * 60

/** Longest event id, in characters. Every answer has it in a header. */
const maxEventId = 4096
/** Header names of a leg's `config`. */
export const configHeaders: Readonly<Record<string, string>> = {
  requestTimeout: "cf-aig-request-timeout",
  maxAttempts: "cf-aig-max-attempts",
  retryDelay: "cf-aig-retry-delay",
  backoff: "cf-aig-backoff"
}

/** Header names of the binding's `options.gateway`. */
const bindingHeaders: Readonly<Record<string, string>> = {
  cacheKey: "cf-aig-cache-key",
  cacheTtl: "cf-aig-cache-ttl",
  skipCache: "cf-aig-skip-cache",
  metadata: "cf-aig-metadata",
  collectLog: "cf-aig-collect-log",
  eventId: "cf-aig-event-id",
  requestTimeoutMs: "cf-aig-request-timeout"
}

const bindingRetries: Readonly<Record<string, string>> = {
  maxAttempts: "cf-aig-max-attempts",
  retryDelayMs: "cf-aig-retry-delay",
  backoff: "cf-aig-backoff"
}

const translate = (values: unknown, names: Readonly<Record<string, string>>): Record<string, string> => {
  const out: Record<string, string> = {}
  if (!isRecord(values)) return out
  for (const [field, name] of Object.entries(names)) {
    const value = values[field]
    if (value !== undefined && value !== null)
      out[name] = typeof value === "object" ? JSON.stringify(value) : String(value)
  }
  return out
}

/** Converts a leg's `config` to headers. */
export const fromConfig = (config: unknown): HeaderMap => translate(config, configHeaders)

/** Converts the binding's `options.gateway` to headers. */
export const fromBinding = (gateway: unknown): HeaderMap => ({
  ...translate(gateway, bindingHeaders),
  ...translate(isRecord(gateway) ? gateway["retries"] : undefined, bindingRetries)
})
/** Reads single headers and remembers the first invalid one. */
const reader = (layers: ReadonlyArray<HeaderMap>) => {
  let problem: Refusal | undefined
  const raw = (...names: ReadonlyArray<string>): string | undefined => {
    for (const layer of layers) {
      for (const name of names) {
        const value = layer[name]
        if (value !== undefined) return value
      }
    }
    return undefined
  }
  const fail = (name: string, accepted: string): undefined => {
    problem ??= badRequest(`${name}: expected ${accepted}`)
    return undefined
  }
  return {
    raw,
    fail,
    json: <A>(name: string, read: (source: string) => Result.Result<A, Refusal>): A | undefined => {
      const source = raw(name)
      const value = source === undefined ? undefined : read(source)
      if (value === undefined || Result.isSuccess(value)) return value?.success
      problem ??= value.failure
      return undefined
    },
    problem: () => problem,
    flag: (...names: ReadonlyArray<string>): boolean | undefined => {
      const value = raw(...names)?.toLowerCase()
      if (value === undefined || value === "true" || value === "false")
        return value === undefined ? undefined : value === "true"
      return fail(names[0] ?? "", "true or false")
    },
    whole: (names: ReadonlyArray<string>, accepts: (n: number) => boolean, accepted: string): number | undefined => {
      const value = raw(...names)
      if (value === undefined) return undefined
      const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN
      return accepts(number) ? number : fail(names[0] ?? "", accepted)
    }
  }
}

const isBackoff = (value: string): value is ResolvedOptions["backoff"] =>
  value === "constant" || value === "linear" || value === "exponential"

/** Header that turns a request for a stream into one for a complete answer, or prevents the gateway from doing so. */
export const bufferHeader = "cf-aig-local-buffer"

/** The options of one leg. `layers` are headers, nearest first. */
export const resolve = (
  layers: ReadonlyArray<HeaderMap>,
  gateway: Gateway,
  json: JsonHeaders
): Result.Result<ResolvedOptions, Refusal> => {
  const read = reader(layers)
  const ttl =
    read.whole(
      ["cf-aig-cache-ttl", "cf-cache-ttl"],
      (n) => n === 0 || (n >= minTtl && n <= maxTtl),
      `0, or ${minTtl} to ${maxTtl} seconds`
    ) ?? gateway.cacheTtl
  const cacheKey = read.raw("cf-aig-cache-key")
  const timeout = read.whole(["cf-aig-request-timeout"], (n) => n >= 0, "whole milliseconds")
  const backoff = read.raw("cf-aig-backoff") ?? gateway.backoff
  if (!isBackoff(backoff)) read.fail("cf-aig-backoff", "constant, linear or exponential")
  const customCost = read.json("cf-aig-custom-cost", json.customCost)
  const byokAlias = read.raw("cf-aig-byok-alias")
  const eventId = read.raw("cf-aig-event-id")
  if (eventId !== undefined && !(isHeaderValue(eventId) && eventId.length <= maxEventId)) {
    read.fail("cf-aig-event-id", `${headerValueAccepted}, 1 to ${maxEventId} characters`)
  }
  const metadata = read.json("cf-aig-metadata", json.metadata)
  const options: ResolvedOptions = {
    skipCache: read.flag("cf-aig-skip-cache", "cf-skip-cache") ?? false,
    cacheTtl: ttl > 0 ? ttl : cacheKey === undefined ? undefined : keyedTtl,
    cacheKey,
    collectLog: read.flag("cf-aig-collect-log") ?? gateway.collectLogs,
    collectPayload: read.flag("cf-aig-collect-log-payload") ?? true,
    metadata: metadata ?? null,
    customCost,
    eventId,
    requestTimeout: timeout === 0 ? undefined : timeout,
    maxAttempts: read.whole(["cf-aig-max-attempts"], (n) => n >= 1 && n <= 5, "1 to 5") ?? gateway.maxAttempts,
    retryDelay: read.whole(["cf-aig-retry-delay"], (n) => n <= 5000, "0 to 5000 milliseconds") ?? gateway.retryDelay,
    backoff: isBackoff(backoff) ? backoff : "constant",
    byokAlias,
    noWholesale: read.flag("cf-aig-no-wholesale") ?? false,
    bufferStreams: read.flag(bufferHeader) ?? gateway.bufferStreams
  }
  read.flag("cf-aig-zdr")
  const problem = read.problem()
  if (problem !== undefined) return Result.fail(problem)
  if (byokAlias !== undefined && gateway.byokAliases !== undefined && !gateway.byokAliases.includes(byokAlias)) {
    return Result.fail(refuse(400, code.noStoredKey, `no stored key with the alias ${JSON.stringify(byokAlias)}`))
  }
  return Result.succeed(options)
}

/** The wait before attempt number `attempt + 1`, in milliseconds; `attempt` counts from 1. */
export const delayAfter = (attempt: number, options: ResolvedOptions): number => {
  switch (options.backoff) {
    case "constant":
      return options.retryDelay
    case "linear":
      return options.retryDelay * attempt
    case "exponential":
      return options.retryDelay * 2 ** (attempt - 1)
  }
}
