/**
 * Options of the local gateway, checked once and with every default filled in.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { type GatewayError, invalid } from "../../GatewayError.ts"
import { maxAttempts, maxCacheTtl, maxRetryDelay } from "../../GatewayOptions.ts"
import { baseUrlAccepted, isBaseUrl } from "../../internal/data/baseUrl.ts"
import { isHeaderValue } from "../../internal/data/headers.ts"
import { isObject } from "../../internal/data/json.ts"
import { isWhole } from "../../internal/data/numbers.ts"
import * as Upstream from "../Upstream.ts"
import { type Allowed, hostname, isOrigin } from "../wire/origins.ts"
import { type DynamicRoute, faultOf, fromElements, fromModels } from "./dynamicRoute.ts"
import type { GatewaySettings, Model, Options, RouteElement } from "./options.ts"
import { defaultModels, isGatewaySlug, knownSlugs, runOnlySlugs, slugOfAuthor } from "./providers.ts"

/** One gateway with its defaults. */
export interface Gateway {
  readonly id: string
  /** Seconds; 0 is off. */
  readonly cacheTtl: number
  readonly collectLogs: boolean
  readonly rateLimit: GatewaySettings["rateLimit"]
  readonly authentication: boolean
  readonly maxAttempts: number
  /** Milliseconds. */
  readonly retryDelay: number
  readonly backoff: "constant" | "linear" | "exponential"
  readonly byokAliases: ReadonlyArray<string> | undefined
  readonly aliases: ReadonlyMap<string, ReadonlyArray<string>>
  readonly bufferStreams: boolean
}

/** Limits of what is kept: entries, and bytes of memory. */
export interface Keep {
  readonly logs: number
  readonly calls: number
  readonly logBytes: number
  readonly callBytes: number
  readonly cacheBytes: number
  readonly runBytes: number
}

const mebibyte = 1024 * 1024

/** Default limits. Everything that they keep, together with requests in flight, fits into a heap of 700 MB. */
export const defaultKeep: Keep = {
  logs: 10_000,
  calls: 10_000,
  logBytes: 64 * mebibyte,
  callBytes: 64 * mebibyte,
  cacheBytes: 64 * mebibyte,
  runBytes: 64 * mebibyte
}

/** Default limit for the bytes of all requests in flight, with their answers. */
const defaultInFlightBytes = 320 * mebibyte

/** The checked options, as {@link resolve} returns them. */
export interface Settings {
  /** Account in answers. */
  readonly account: string
  /** Whether paths with another account are rejected. */
  readonly fixedAccount: boolean
  readonly defaultGateway: string
  readonly gateways: ReadonlyMap<string, Gateway>
  readonly token: Redacted.Redacted<string> | undefined
  readonly adminToken: Redacted.Redacted<string> | undefined
  /** Further hosts and origins, besides those of this machine. */
  readonly allowed: Allowed
  readonly upstreams: ReadonlyMap<string, Upstream.Upstream>
  readonly routes: ReadonlyMap<string, DynamicRoute>
  readonly autoModels: ReadonlyArray<string>
  readonly models: ReadonlyArray<Model>
  readonly envelope: Options["envelope"]
  /** Milliseconds. */
  readonly freshLogDelay: number
  readonly resumableRuns: boolean
  readonly keep: Keep
  /** Bytes. */
  readonly inFlightBytes: number
}

const method = "LocalGateway.make"
const idPattern = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,63})$/
const idAccepted = "1 to 64 letters, digits, `.`, `_` or `-`, starting with a letter or digit"

export const isGatewayId = (id: string): boolean => idPattern.test(id)

type Check = (ok: boolean, field: string, accepted: string) => void

const aliases = (at: string, named: GatewaySettings["aliases"], check: Check): Gateway["aliases"] => {
  const entries = Object.entries(named ?? {})
  for (const [name, models] of entries) {
    check(idPattern.test(name), `${at}.${name}`, `a name of ${idAccepted}`)
    check(models.length > 0, `${at}.${name}`, "at least one model")
    for (const [index, model] of models.entries()) {
      const author = model.slice(0, model.indexOf("/"))
      check(
        isHeaderValue(model) && (/^@[a-z]+\/./.test(model) || slugOfAuthor(author) !== undefined),
        `${at}.${name}[${index}]`,
        "author/model or @cf/author/model of the run catalogue, in printable ASCII"
      )
    }
  }
  return new Map(entries)
}

const gateway = (id: string, settings: GatewaySettings, hasToken: boolean, check: Check): Gateway => {
  const at = `gateways.${id}`
  const { cacheTtl = 0, rateLimit, retry } = settings
  const maxTtl = Duration.toSeconds(maxCacheTtl)
  check(cacheTtl === 0 || isWhole(cacheTtl, 60, maxTtl), `${at}.cacheTtl`, `0, or 60 to ${maxTtl} seconds`)
  if (rateLimit !== undefined) {
    check(isWhole(rateLimit.limit, 1, Number.MAX_SAFE_INTEGER), `${at}.rateLimit.limit`, "a whole number from 1")
    check(
      isWhole(rateLimit.intervalSeconds, 1, Number.MAX_SAFE_INTEGER),
      `${at}.rateLimit.intervalSeconds`,
      "a whole number from 1"
    )
  }
  const attempts = retry?.maxAttempts ?? 1
  check(isWhole(attempts, 1, maxAttempts), `${at}.retry.maxAttempts`, `1 to ${maxAttempts}`)
  const delay = retry?.delay ?? 0
  const maxDelay = Duration.toMillis(maxRetryDelay)
  check(isWhole(delay, 0, maxDelay), `${at}.retry.delay`, `0 to ${maxDelay} milliseconds`)
  const authentication = settings.authentication ?? hasToken
  check(!authentication || hasToken, `${at}.authentication`, "false, unless `token` is set")
  return {
    id,
    cacheTtl,
    collectLogs: settings.collectLogs ?? true,
    rateLimit,
    authentication,
    maxAttempts: attempts,
    retryDelay: delay,
    backoff: retry?.backoff ?? "constant",
    byokAliases: settings.byokAliases,
    aliases: aliases(`${at}.aliases`, settings.aliases, check),
    bufferStreams: settings.bufferStreams ?? false
  }
}

const customSlug = /^custom-[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/

const upstreams = (options: Options, check: Check): ReadonlyMap<string, Upstream.Upstream> => {
  const known = [...knownSlugs, ...runOnlySlugs]
  const out = new Map<string, Upstream.Upstream>(known.map((slug) => [slug, Upstream.echo()]))
  for (const [slug, upstream] of Object.entries(options.upstreams ?? {})) {
    check(
      out.has(slug) || customSlug.test(slug),
      `upstreams.${slug}`,
      "a provider slug of AI Gateway, or custom-{slug} in lower-case letters, digits and inner hyphens"
    )
    if (upstream.problem !== undefined) {
      check(false, `upstreams.${slug}.${upstream.problem.field}`, upstream.problem.accepted)
    }
    out.set(slug, upstream)
  }
  return out
}

const defaultAutoModels = [
  "openai/gpt-4.1-mini",
  "anthropic/claude-haiku-4-5",
  "google-ai-studio/gemini-2.5-flash"
] as const

const isNames = (route: ReadonlyArray<string> | ReadonlyArray<RouteElement>): route is ReadonlyArray<string> =>
  route.every((one: string | RouteElement) => typeof one === "string")

const routes = (options: Options, slugs: ReadonlyMap<string, unknown>, check: Check): Settings["routes"] => {
  const out = new Map<string, DynamicRoute>()
  for (const [name, route] of Object.entries(options.routes ?? {})) {
    const at = `routes.${name}`
    check(idPattern.test(name), at, `a name of ${idAccepted}`)
    if (isNames(route)) out.set(name, fromModels(pool(at, route, slugs, check)))
    else {
      const isObjects = route.every(isObject)
      check(isObjects, at, "models alone, or elements alone")
      const fault = isObjects
        ? faultOf(route, (model) => (isPooled(model, slugs) ? undefined : poolAccepted))
        : undefined
      if (fault !== undefined) check(false, `${at}${fault[0]}`, fault[1])
      else if (isObjects) out.set(name, fromElements(route))
    }
  }
  return out
}

const poolAccepted = "provider-slug/model with a known provider, in printable ASCII"

const isPooled = (model: string, slugs: ReadonlyMap<string, unknown>): boolean => {
  const slash = model.indexOf("/")
  const slug = model.slice(0, slash)
  // An answer has the model in a header.
  return slash > 0 && slash < model.length - 1 && slugs.has(slug) && isGatewaySlug(slug) && isHeaderValue(model)
}

/** Checks a list of models. */
const pool = (
  at: string,
  models: ReadonlyArray<string>,
  slugs: ReadonlyMap<string, unknown>,
  check: Check
): ReadonlyArray<string> => {
  check(models.length > 0, at, "at least one model")
  for (const [index, model] of models.entries()) {
    check(isPooled(model, slugs), `${at}[${index}]`, poolAccepted)
  }
  return models
}

const allowed = (options: Options, check: Check): Allowed => {
  const names = (options.allowHosts ?? []).map((host, index) => {
    const name = hostname(host)
    // A bare IPv6 address has colons but no brackets.
    const normal = name === undefined || /^[^[].*:/.test(host) ? hostname(`[${host}]`) : name
    check(
      normal !== undefined,
      `allowHosts[${index}]`,
      "a host name or IP address, without scheme, port or path; wildcards are not supported"
    )
    return normal ?? ""
  })
  const origins = options.allowOrigins ?? []
  for (const [index, origin] of origins.entries()) {
    check(
      isOrigin(origin),
      `allowOrigins[${index}]`,
      "scheme://host or scheme://host:port in lower case, without a path or a default port; neither * nor null"
    )
  }
  // Clients may use the address of this gateway's URLs.
  const own = options.baseUrl !== undefined && URL.canParse(options.baseUrl) ? [new URL(options.baseUrl).hostname] : []
  return { hosts: new Set([...names, ...own]), origins: new Set(origins) }
}

const keep = (options: Options, check: Check): Keep => {
  const stray = Object.keys(options.keep ?? {}).find((name) => !Object.hasOwn(defaultKeep, name))
  check(stray === undefined, `keep.${stray}`, `one of ${Object.keys(defaultKeep).join(", ")}`)
  const read = (name: keyof Keep): number => {
    const value = options.keep?.[name] ?? defaultKeep[name]
    const unit = name.endsWith("Bytes") ? "a whole number of bytes" : "a whole number"
    check(isWhole(value, 0, Number.MAX_SAFE_INTEGER), `keep.${name}`, `${unit} from 0`)
    return value
  }
  return {
    logs: read("logs"),
    calls: read("calls"),
    logBytes: read("logBytes"),
    callBytes: read("callBytes"),
    cacheBytes: read("cacheBytes"),
    runBytes: read("runBytes")
  }
}

/** Checks options; fails with the first invalid field. */
export const resolve = (options: Options): Effect.Effect<Settings, GatewayError> => {
  let problem: GatewayError | undefined
  const check: Check = (ok, field, accepted) => {
    if (!ok) problem ??= invalid(method, field, accepted)
  }
  const account = options.account ?? "local"
  check(idPattern.test(account), "account", idAccepted)
  const defaultGateway = options.gateway ?? "default"
  check(idPattern.test(defaultGateway), "gateway", idAccepted)
  const token = options.token
  const hasToken = token !== undefined
  for (const [field, secret] of [
    ["token", token],
    ["adminToken", options.adminToken]
  ] as const) {
    check(
      secret === undefined || /^[\x21-\x7e]+$/.test(Redacted.value(secret)),
      field,
      "printable ASCII without spaces"
    )
  }
  const gateways = new Map<string, Gateway>()
  for (const [id, settings] of Object.entries({ [defaultGateway]: {}, ...options.gateways })) {
    check(idPattern.test(id), `gateways.${id}`, `an id of ${idAccepted}`)
    gateways.set(id, gateway(id, settings, hasToken, check))
  }
  const reachable = allowed(options, check)
  check(options.baseUrl === undefined || isBaseUrl(options.baseUrl), "baseUrl", `an absolute ${baseUrlAccepted}`)
  const all = upstreams(options, check)
  const named = routes(options, all, check)
  const autoModels = pool("autoModels", options.autoModels ?? defaultAutoModels, all, check)
  const freshLogDelay = options.freshLogDelay ?? 0
  check(Number.isFinite(freshLogDelay) && freshLogDelay >= 0, "freshLogDelay", "0 or more milliseconds")
  const kept = keep(options, check)
  const inFlightBytes = options.inFlightBytes ?? defaultInFlightBytes
  check(isWhole(inFlightBytes, 1, Number.MAX_SAFE_INTEGER), "inFlightBytes", "a whole number of bytes from 1")
  if (problem !== undefined) return Effect.fail(problem)
  return Effect.succeed({
    account,
    fixedAccount: options.account !== undefined,
    defaultGateway,
    gateways,
    token,
    adminToken: options.adminToken,
    allowed: reachable,
    upstreams: all,
    routes: named,
    autoModels,
    models: options.models ?? defaultModels,
    envelope: options.envelope,
    freshLogDelay,
    resumableRuns: options.resumableRuns ?? true,
    keep: kept,
    inFlightBytes
  })
}
