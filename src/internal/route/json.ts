/**
 * Routes as JSON: the format, and the writer. The reader is in `jsonReader`.
 */
import * as Duration from "effect/Duration"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { ReasonTag } from "../../GatewayError.ts"
import type { Backoff, GatewayOptions, Metadata, Problem } from "../../GatewayOptions.ts"
import type { BreakerSettings } from "../admission/breaker.ts"
import type { Strategy } from "../admission/choice.ts"
import type { LimitSettings } from "../admission/limits.ts"
import { defined } from "../data/defined.ts"
import { millisOf } from "../data/duration.ts"
import { counted } from "../data/numbers.ts"
import type { Json } from "../dialect/chat.ts"
import { type JsonSchemaJson, toJsonSchema } from "./jsonSchema.ts"
import { type Hedging, isSchedule, type Leaf, type Node, type Policy, type Validation } from "./node.ts"

import type { Planned } from "./plan.ts"
import { defaultsOf, definitionOf, type Kind } from "./providers.ts"

/** A duration: milliseconds, or a string such as `"5 seconds"`. */
export type DurationJson = number | `${number} ${Duration.Unit}`

/** A retry policy; see `Route.RetryOptions`. */
export interface RetryJson {
  readonly attempts?: number
  readonly delay?: DurationJson
  readonly backoff?: Backoff
  readonly maxDelay?: DurationJson
  readonly jitter?: number
  readonly retryAfter?: boolean
  readonly on?: ReadonlyArray<ReasonTag>
}

/** A breaker; see `Route.BreakerOptions`. */
export interface BreakerJson {
  readonly window?: DurationJson
  readonly minimumCalls?: number
  readonly failureRate?: number
  readonly slowCalls?: { readonly after: DurationJson; readonly rate?: number } | "off"
  readonly openFor?: DurationJson
  readonly maxOpenFor?: DurationJson
}

/** Limits; see `Route.LimitsOptions`. */
export interface LimitsJson {
  readonly requestsPerMinute?: number
  readonly tokensPerMinute?: number
  readonly concurrency?:
    | number
    | "adaptive"
    | { readonly initial?: number; readonly min?: number; readonly max?: number; readonly tolerance?: number }
  readonly burst?: number
  readonly skew?: DurationJson
  readonly queue?: { readonly size?: number; readonly maxWait?: DurationJson }
}

/** A hedge; see `Route.HedgeOptions`. */
export interface HedgeJson {
  readonly after:
    | DurationJson
    | { readonly percentile: number; readonly atLeast?: DurationJson; readonly atMost?: DurationJson }
  readonly max?: number
  readonly sideEffects?: boolean
}

/** Gateway options; see `GatewayOptions.Input`. */
export interface OptionsJson {
  readonly cache?: { readonly ttl?: DurationJson | "off"; readonly key?: string; readonly skip?: boolean }
  readonly metadata?: Metadata
  readonly log?: { readonly collect?: boolean; readonly payload?: boolean }
  readonly eventId?: string
  readonly timeout?: DurationJson
  readonly retries?: { readonly attempts?: number; readonly delay?: DurationJson; readonly backoff?: Backoff }
  readonly byokAlias?: string
  readonly zeroDataRetention?: boolean
  readonly noWholesale?: boolean
  readonly customCost?: Readonly<
    Partial<Record<"perTokenIn" | "perTokenOut" | "perCacheReadToken" | "perCacheWriteToken" | "totalCost", number>>
  >
}

/**
 * A node of a stored route: settings, and exactly one of `fallback`, `race`, `balance`, `route` and `provider`.
 * Settings apply in the order of this list, whatever their order in the file: the first is the outermost.
 */
export interface RouteNodeJson {
  readonly options?: OptionsJson
  readonly deadline?: DurationJson
  readonly hedge?: HedgeJson | "off"
  readonly circuitBreaker?: BreakerJson | "off"
  readonly limits?: LimitsJson | "off"
  readonly timeout?: DurationJson
  readonly firstTokenTimeout?: DurationJson
  readonly idleTimeout?: DurationJson
  readonly restart?: number
  readonly retry?: RetryJson
  readonly fallbackOn?: ReadonlyArray<ReasonTag>
  /** A JSON Schema (draft 2020-12) of the answer. */
  readonly validate?: JsonSchemaJson

  /** Routes that are called in order. */
  readonly fallback?: ReadonlyArray<RouteNodeJson>
  /** Routes that are called at once. */
  readonly race?: ReadonlyArray<RouteNodeJson>
  /** For a race: whether requests that change something at the provider are raced too. */
  readonly sideEffects?: boolean
  /** Routes in an order that each run chooses, with `by` and `weights`. */
  readonly balance?: ReadonlyArray<RouteNodeJson>
  readonly by?: Strategy
  readonly weights?: ReadonlyArray<number>
  /** One route, for settings around settings. */
  readonly route?: RouteNodeJson

  /** Provider slug. With only `model` beside it, the target is that provider's chat (or embeddings). */
  readonly provider?: string
  readonly model?: string
  readonly kind?: Kind
  readonly endpoint?: string
  /** Id of the dialect. */
  readonly dialect?: string
  readonly key?: string
  /** Headers that are not credentials. */
  readonly headers?: Readonly<Record<string, string>>
  /** Names of headers whose values the caller supplies when the route is read. */
  readonly credentials?: ReadonlyArray<string>
  readonly body?: Readonly<Record<string, Json>>
  /** See `Provider.ChatOptions`; chat only. */
  readonly allowEmpty?: boolean
  /** See `Provider.ChatOptions`; chat only. */
  readonly contextWindow?: number
  readonly resource?: string
  readonly deployment?: string
  readonly apiVersion?: string
  readonly project?: string
  readonly region?: string
  readonly version?: string
}

/** A stored route. */
export interface RouteJson {
  readonly version: 1
  readonly route: RouteNodeJson
}

/** Order of settings from the outside to the inside, by tag of the node. */
const settings = [
  "Options",
  "Deadline",
  "Hedge",
  "CircuitBreaker",
  "Limits",
  "Timeout",
  "FirstTokenTimeout",
  "IdleTimeout",
  "Restart",
  "Retry",
  "FallbackOn",
  "Validate"
]

const seconds = 1000
const minutes = 60 * seconds

const durationJson = (millis: number): DurationJson => {
  // A number in such a string may have neither a fraction nor an exponent.
  if (!Number.isSafeInteger(millis)) return millis
  if (millis >= minutes && millis % minutes === 0) return counted(millis / minutes, "minute")
  return millis >= seconds && millis % seconds === 0 ? counted(millis / seconds, "second") : counted(millis, "milli")
}

const optionalDuration = (duration: Duration.Duration | undefined): DurationJson | undefined =>
  duration && durationJson(Duration.toMillis(duration))

const optionsJson = ({ cache, retries, timeout, ...rest }: GatewayOptions): OptionsJson => ({
  ...rest,
  ...defined({
    // A lifetime implies that the cache is read.
    cache:
      cache &&
      defined({ ...cache, ttl: optionalDuration(cache.ttl), skip: cache.ttl && !cache.skip ? undefined : cache.skip }),
    timeout: optionalDuration(timeout),
    retries: retries && defined({ ...retries, delay: optionalDuration(retries.delay) })
  })
})

const retryJson = ({ delay, maxDelay, on, ...rest }: Policy): RetryJson => ({
  ...rest,
  delay: durationJson(delay),
  maxDelay: durationJson(maxDelay),
  ...defined({ on })
})

const hedgeJson = ({ after, max, sideEffects }: Hedging): HedgeJson => ({
  after:
    typeof after === "number"
      ? durationJson(after)
      : {
          percentile: after.percentile,
          ...defined({
            atLeast: after.atLeast === undefined ? undefined : durationJson(after.atLeast),
            atMost: after.atMost === undefined ? undefined : durationJson(after.atMost)
          })
        },
  max,
  ...(sideEffects && { sideEffects })
})

const breakerJson = ({ maxOpenFor, openFor, slowCalls, window, ...rest }: BreakerSettings): BreakerJson => ({
  ...rest,
  ...(slowCalls && { slowCalls: { ...slowCalls, after: durationJson(slowCalls.after) } }),
  window: durationJson(window),
  openFor: durationJson(openFor),
  maxOpenFor: durationJson(maxOpenFor)
})

const limitsJson = ({ limits, maxWait }: LimitSettings): LimitsJson => {
  const { burst, concurrency, queue, requestsPerMinute, skew, tokensPerMinute } = limits
  return defined({
    requestsPerMinute,
    tokensPerMinute,
    concurrency: typeof concurrency === "object" ? defined(concurrency) : concurrency,
    burst,
    skew: skew === undefined ? undefined : durationJson(millisOf(skew)),
    queue: defined({ size: queue?.size, maxWait: durationJson(maxWait) })
  })
}

const leafJson = (leaf: Leaf<never, unknown>, key: string): RouteNodeJson | undefined => {
  const { spec } = leaf
  if (spec === undefined) return undefined
  const definition = definitionOf(spec.provider)
  const usual = definition && defaultsOf(definition, spec.kind, spec.model)
  const headers = Object.entries(spec.headers ?? {}).filter(([name, value]) => usual?.headers[name] !== value)
  const labelled = Object.values(leaf.headers).some((value) => Redacted.isRedacted(value) && value.label !== undefined)
  return {
    provider: spec.provider,
    model: spec.model,
    ...defined({
      kind: spec.kind === "chat" ? undefined : spec.kind,
      endpoint: spec.endpoint === usual?.endpoint ? undefined : spec.endpoint,
      dialect: spec.dialect === usual?.dialect ? undefined : spec.dialect,
      // Without the label of its credential a target could not be told from another with equal words, so its key is
      // written.
      key: spec.key ?? (labelled || /#\d+$/.test(key) ? key : undefined),
      headers: headers.length === 0 ? undefined : Object.fromEntries(headers),
      credentials: spec.credentials,
      body: spec.body,
      allowEmpty: spec.allowEmpty,
      contextWindow: spec.contextWindow
    })
  }
}

/** Writes a route, or lists every node that is not data. */
export const write = (
  node: Node<never, unknown>,
  planned: Planned<never, unknown>
): Result.Result<RouteJson, ReadonlyArray<Problem>> => {
  const problems: Array<Problem> = []
  // Targets stand in the plan in the order of the tree.
  let leaves = 0
  const refuse = (field: string, accepted: string): RouteNodeJson => {
    problems.push({ field, accepted })
    return {}
  }
  const validationJson = ({ isObject, schema }: Validation, path: string): RouteNodeJson => {
    if (isObject === true) return refuse(`${path}.object`, "a route without Route.object: its schema is code")
    const validate = schema && toJsonSchema(schema)
    return validate === undefined
      ? refuse(`${path}.validate`, "a Schema that JSON Schema can express: a function cannot be stored")
      : { validate }
  }
  const go = (node: Node<never, unknown>, path: string, outer: number): RouteNodeJson => {
    const rank = settings.indexOf(node._tag)
    if (rank >= 0 && rank <= outer) return { route: go(node, `${path}.route`, -1) }
    switch (node._tag) {
      case "Options":
        return { options: optionsJson(node.options), ...go(node.route, path, rank) }
      case "Deadline":
        return { deadline: durationJson(Duration.toMillis(node.duration)), ...go(node.route, path, rank) }
      case "Hedge":
        return { hedge: node.hedge === "off" ? "off" : hedgeJson(node.hedge), ...go(node.route, path, rank) }
      case "CircuitBreaker":
        return {
          circuitBreaker: node.breaker === "off" ? "off" : breakerJson(node.breaker),
          ...go(node.route, path, rank)
        }
      case "Limits":
        return { limits: node.limits === "off" ? "off" : limitsJson(node.limits), ...go(node.route, path, rank) }
      case "Timeout":
        return { timeout: durationJson(Duration.toMillis(node.duration)), ...go(node.route, path, rank) }
      case "FirstTokenTimeout":
        return { firstTokenTimeout: durationJson(Duration.toMillis(node.duration)), ...go(node.route, path, rank) }
      case "IdleTimeout":
        return { idleTimeout: durationJson(Duration.toMillis(node.duration)), ...go(node.route, path, rank) }
      case "Restart":
        return { restart: node.times, ...go(node.route, path, rank) }
      case "Retry":
        return {
          ...(isSchedule(node.policy)
            ? refuse(`${path}.retry`, "a policy as data: a schedule is a program")
            : { retry: retryJson(node.policy) }),
          ...go(node.route, path, rank)
        }
      case "FallbackOn":
        return {
          ...(typeof node.on === "function"
            ? refuse(`${path}.fallbackOn`, "a list of reasons: a function cannot be stored")
            : { fallbackOn: node.on }),
          ...go(node.route, path, rank)
        }
      case "Validate":
        return {
          ...validationJson(node.validation, path),
          ...go(node.route, path, rank)
        }
      case "Fallback":
        return { fallback: node.routes.map((route, i) => go(route, `${path}.fallback[${i}]`, -1)) }
      case "Race":
        return {
          race: node.routes.map((route, i) => go(route, `${path}.race[${i}]`, -1)),
          ...(node.sideEffects && { sideEffects: true })
        }
      case "Balance":
        return {
          balance: node.routes.map((route, i) => go(route, `${path}.balance[${i}]`, -1)),
          by: node.by,
          ...(node.weights.some((weight) => weight !== 1) && { weights: node.weights })
        }
      case "Leaf":
        return (
          leafJson(node, planned.targets[leaves++]?.key ?? "") ??
          refuse(path, "a target of `Provider` as it was made: `make`, `request`, `map` and `mapInput` hold functions")
        )
      case "When":
        refuse(path, "no condition: a predicate is a function")
        go(node.onTrue, `${path}.onTrue`, -1)
        return go(node.onFalse, `${path}.onFalse`, -1)
      case "Invalid":
        refuse(`${path}.${node.problem.field}`, node.problem.accepted)
        return node.route === undefined ? {} : go(node.route, path, outer)
    }
  }
  const route = go(node, "route", -1)
  // Parts that could not be read again are not written.
  const all = problems.length > 0 ? problems : planned.problems
  return all.length > 0 ? Result.fail(all) : Result.succeed({ version: 1, route })
}
