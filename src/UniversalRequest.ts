/**
 * The unit that the gateway executes: one leg (provider, endpoint, headers, body, config), or a non-empty array of legs
 * of which the first that succeeds answers.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import { type GatewayError, invalid } from "./GatewayError.ts"
import * as GatewayOptions from "./GatewayOptions.ts"
import type { Mutable } from "./internal/data/defined.ts"
import { headerValueAccepted, isHeaderName, isHeaderValue, isPath, pathAccepted } from "./internal/data/headers.ts"
import { isObject } from "./internal/data/json.ts"
import { isWhole } from "./internal/data/numbers.ts"
import { textOf } from "./internal/data/secrets.ts"

/**
 * Headers of a leg: lower-case names; credentials stay `Redacted` until they are written.
 *
 * @category models
 */
export type Headers = Readonly<Record<string, string | Redacted.Redacted<string>>>

/**
 * One leg of a universal request.
 *
 * @category models
 */
export interface Leg {
  /** Provider slug, `compat`, or `custom-{slug}`. */
  readonly provider: string
  /** Path (and query) at the provider, without a leading slash. */
  readonly endpoint: string
  readonly headers: Headers
  /** The provider's own request body. */
  readonly query: unknown
  /** Timeout and retries of this leg; absent leaves the gateway's settings. */
  readonly config?: GatewayOptions.LegConfig | undefined
}

/**
 * One leg or more, tried in order.
 *
 * @category models
 */
export type UniversalRequest = readonly [Leg, ...ReadonlyArray<Leg>]

/**
 * Input of {@link make} for one leg.
 *
 * @category models
 */
export interface LegInput {
  readonly provider: string
  readonly endpoint: string
  readonly headers?: Headers | undefined
  readonly query: unknown
  readonly config?: GatewayOptions.LegConfig | undefined
}

/**
 * Whether a text is a valid provider slug; the slug becomes part of a URL.
 *
 * @example
 * ```ts
 * import * as UniversalRequest from "effect-ai-gateway/UniversalRequest"
 *
 * console.log(UniversalRequest.isProvider("google-ai-studio"), UniversalRequest.isProvider("../logs")) // true false
 * ```
 *
 * @category checks
 */
export const isProvider = (provider: string): boolean =>
  typeof provider === "string" && /^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$/.test(provider)

/**
 * Description of the texts that {@link isProvider} accepts, for error messages.
 *
 * @category checks
 */
export const providerAccepted = "a provider slug: up to 64 lower-case letters, digits and inner hyphens"

/** `field` is the path within a leg, with a leading dot. */
type Problem = readonly [field: string, accepted: string]

const isNonEmpty = (legs: ReadonlyArray<Leg>): legs is UniversalRequest => legs.length > 0

// The same bounds as in `GatewayOptions`; the numbers here have the units of the wire.
const checkConfig = (config: GatewayOptions.LegConfig): Problem | undefined => {
  const { backoff, maxAttempts, requestTimeout, retryDelay } = config
  const maxDelay = Duration.toMillis(GatewayOptions.maxRetryDelay)
  if (!isWhole(requestTimeout, 1, Number.MAX_SAFE_INTEGER)) {
    return [".config.requestTimeout", "whole milliseconds, 1 or more"]
  }
  if (!isWhole(maxAttempts, 1, GatewayOptions.maxAttempts)) {
    return [".config.maxAttempts", `a whole number from 1 to ${GatewayOptions.maxAttempts}`]
  }
  if (!isWhole(retryDelay, 0, maxDelay)) return [".config.retryDelay", `whole milliseconds from 0 to ${maxDelay}`]
  if (backoff !== undefined && !GatewayOptions.backoffs.includes(backoff)) {
    return [".config.backoff", GatewayOptions.backoffs.join(", ")]
  }
  return undefined
}

const check = (leg: LegInput): Problem | undefined => {
  if (!isObject(leg)) return ["", "an object with provider, endpoint and query"]
  if (!isProvider(leg.provider)) {
    return [".provider", providerAccepted]
  }
  if (!isPath(leg.endpoint)) return [".endpoint", pathAccepted]
  if (leg.headers !== undefined && !isObject(leg.headers)) return [".headers", "an object of header values"]
  // JSON has no such value: one transport would drop it, another would send `null`.
  if (leg.query === undefined) return [".query", "a JSON value"]
  for (const [name, value] of Object.entries(leg.headers ?? {})) {
    if (!isHeaderName(name)) return [".headers", "lower-case header names"]
    if (!isHeaderValue(textOf(value))) {
      return [`.headers.${name}`, headerValueAccepted]
    }
  }
  if (leg.config === undefined) return undefined
  return isObject(leg.config) ? checkConfig(leg.config) : [".config", "an object"]
}

/**
 * Validates legs: slug, endpoint, header names and values, timeout and retries. Fails with `InvalidRequest` naming the
 * leg and the field, or when the array is empty.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as UniversalRequest from "effect-ai-gateway/UniversalRequest"
 *
 * const request = Effect.runSync(
 *   UniversalRequest.make([
 *     { provider: "openai", endpoint: "chat/completions", query: { model: "gpt-4.1-mini", messages: [] } }
 *   ])
 * )
 * console.log(request.length) // 1
 * ```
 *
 * @category constructors
 */
export const make = (legs: ReadonlyArray<LegInput>): Effect.Effect<UniversalRequest, GatewayError> =>
  makeFor("UniversalRequest.make", legs)

/**
 * {@link make} on behalf of another method, which its failures name.
 *
 * @category constructors
 */
export const makeFor = (
  method: string,
  legs: ReadonlyArray<LegInput>
): Effect.Effect<UniversalRequest, GatewayError> => {
  const out: Array<Leg> = []
  for (const leg of legs) {
    const problem = check(leg)
    if (problem !== undefined) {
      const [field, accepted] = problem
      return Effect.fail(invalid(method, `legs[${out.length}]${field}`, accepted))
    }
    const { config, endpoint, headers, provider, query } = leg
    const made: Mutable<Leg> = { provider, endpoint, headers: { ...headers }, query }
    if (config) made.config = { ...config }
    out.push(made)
  }
  return isNonEmpty(out) ? Effect.succeed(out) : Effect.fail(invalid(method, "legs", "at least one leg"))
}
