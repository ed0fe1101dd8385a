/**
 * A route as data: a tree of nodes over leaves. Types and normal forms; the combinators are in `Route`.
 */
import type * as Duration from "effect/Duration"
import type * as Result from "effect/Result"
import type * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import type { GatewayError, ReasonTag } from "../../GatewayError.ts"
import type { Backoff, GatewayOptions, Problem } from "../../GatewayOptions.ts"
import type { Headers } from "../../UniversalRequest.ts"
import type { BreakerSettings } from "../admission/breaker.ts"
import type { Strategy } from "../admission/choice.ts"
import type { LimitSettings } from "../admission/limits.ts"
import type { DecodeOptions, Json, Reply, Usage } from "../dialect/chat.ts"
import type { Streaming } from "../dialect/delta.ts"
import type { Pump } from "../dialect/deltaPump.ts"

/** An answer that a leaf has decoded. */
export interface DecodedAnswer<Out> {
  readonly value: Out
  readonly usage?: Usage | undefined
  readonly model?: string | undefined
}

/** The reason why `Route.validate` rejected an answer that could be read. */
export interface Rejection {
  readonly issue: string
  /** The tokens of the answer, which was paid for. */
  readonly usage?: Usage | undefined
}

/** The reason why a leaf has no request for an input. */
export interface Unbuildable extends Problem {
  /** The input is valid, and another target may accept it. */
  readonly isUnsupported?: boolean
}

/** The request of a leaf for one input. */
export interface Built {
  readonly endpoint: string
  readonly query: unknown
  /** Hints that are not sent in full; absent if all are. */
  readonly dropped?: ReadonlyArray<string>
}

/** One way to call one target: it builds the request and reads the answer. */
export interface Leaf<in In, out Out> {
  readonly _tag: "Leaf"
  readonly provider: string
  /** Name for people and telemetry, because the endpoint may depend on the input. */
  readonly label: string
  readonly model: string | undefined
  /** Explicit key of the target. */
  readonly key: string | undefined
  readonly headers: Headers
  readonly build: (input: In) => Result.Result<Built, Unbuildable>
  /** Form of the body that `decode` gets. */
  readonly accept: "json" | "text" | "bytes"
  readonly decode: (body: unknown) => Result.Result<DecodedAnswer<Out>, Problem | Rejection>
  /** The answer for a streamed reply. Absent: unknown. */
  readonly ofReply?: ((reply: Reply) => Out) | undefined
  /** How the answer streams, for chat answers. */
  readonly chat?: ChatLeaf | undefined
  /** A `Route.validate` above the leaf makes `decode` reject answers. */
  readonly isValidated?: boolean
  /** The same leaf without `Route.validate`, which identifies its target. */
  readonly unchecked?: Leaf<In, Out> | undefined
  /**
   * Declares that the request may be made twice at once although its body is unknown. Only leaves of `Route.make` need
   * it.
   */
  readonly idempotent?: boolean
  /** The leaf as plain data, if it was made from a dialect and no function has adapted it since. */
  readonly spec: LeafSpec | undefined
}

/** How a leaf streams its answer. */
export interface ChatLeaf {
  /** Id of the dialect, which determines how it streams unless `streaming` does. */
  readonly dialect: string
  readonly streaming?: Streaming
  /** See `Provider.ChatOptions`. */
  readonly allowEmpty?: boolean
  /** Reads an answer that arrived complete although a stream was requested. */
  readonly reply: (body: unknown, options?: DecodeOptions) => Result.Result<Reply, Problem>
  /** Checks streamed answers below a `Route.validate`. */
  readonly judge?: Judge | undefined
}

/** Checks the complete answer of a stream. */
export interface Judge {
  /** Returns the rejection of an answer; `undefined` accepts it. */
  readonly reply: (reply: Reply) => Rejection | undefined
  /** Withholds the finish of a rejected answer; the pump then fails. */
  readonly pump: (pump: Pump, reject: (rejection: Rejection, answer: Reply) => GatewayError) => Pump
}

/** The check of a `Route.validate`, for pictures and files. The leaves below it have it in `decode`. */
export interface Validation {
  /** It is a `Route.object`, whose schema is sent and decodes the answer. */
  readonly isObject?: boolean
  /** Absent: the check is a function. */
  readonly schema: Schema.ConstraintDecoder<unknown> | undefined
}

/** A declarative retry policy in its normal form; times in milliseconds. */
export interface Policy {
  readonly attempts: number
  readonly delay: number
  readonly backoff: Backoff
  readonly maxDelay: number
  /** Share of the delay that is random, 0 to 1. */
  readonly jitter: number
  /** Whether a server's hint is a lower bound of the wait. */
  readonly retryAfter: boolean
  /** Reasons after which the same target is retried. Absent: those of the decision table. */
  readonly on: ReadonlyArray<ReasonTag> | undefined
}

/** Any Effect schedule; it cannot be compiled or stored. */
export type RetrySchedule = Schedule.Schedule<unknown, GatewayError>

/** Options of `Route.balance`. */
export interface BalanceOptions {
  /**
   * Strategy. `weight`: at random, in proportion to the weights. `roundRobin`: in turn. `leastInFlight`: the target
   * with the fewest open attempts. `latency`: of two random targets, the one likely to answer sooner. `session`: the
   * same target for the same `RunOptions.session`, unless its load is far above its share; without a session, as
   * `weight`.
   */
  readonly by: Strategy
  /**
   * One number per route, 0 to 1,000,000, not all 0. Default: all equal. A route with weight 0 is never first, and last
   * in order.
   */
  readonly weights?: ReadonlyArray<number> | undefined
}

/** When and how often a hedge calls another target, in its normal form. */
export interface Hedging {
  /** Milliseconds, or learned for each target. */
  readonly after: number | LearntDelay
  /** Maximum number of further targets that the clock starts in one run, 1 to 4. */
  readonly max: number
  /** Whether requests that change something at the provider are hedged too. */
  readonly sideEffects: boolean
}

/** A delay that the router learns from times to the first output. */
export interface LearntDelay {
  /** A fraction, 0.5 to 0.999. */
  readonly percentile: number
  /** Milliseconds. */
  readonly atLeast: number | undefined
  /** Milliseconds. Also the delay while too few times are known. */
  readonly atMost: number | undefined
}

/** Argument of `fallbackOn`: the reasons that move on to the next target, or a function. */
export type FallbackOn = ReadonlyArray<ReasonTag> | ((error: GatewayError) => boolean)

/** A node of the tree. */
export type Node<In, Out> =
  | Leaf<In, Out>
  | { readonly _tag: "Fallback"; readonly routes: ReadonlyArray<Node<In, Out>> }
  | { readonly _tag: "Race"; readonly sideEffects: boolean; readonly routes: ReadonlyArray<Node<In, Out>> }
  | {
      readonly _tag: "Balance"
      readonly by: Strategy
      readonly weights: ReadonlyArray<number>
      readonly routes: ReadonlyArray<Node<In, Out>>
    }
  | { readonly _tag: "Hedge"; readonly hedge: Hedging | "off"; readonly route: Node<In, Out> }
  | { readonly _tag: "Retry"; readonly policy: Policy | RetrySchedule; readonly route: Node<In, Out> }
  | { readonly _tag: "Timeout"; readonly duration: Duration.Duration; readonly route: Node<In, Out> }
  | { readonly _tag: "FirstTokenTimeout"; readonly duration: Duration.Duration; readonly route: Node<In, Out> }
  | { readonly _tag: "IdleTimeout"; readonly duration: Duration.Duration; readonly route: Node<In, Out> }
  | { readonly _tag: "Restart"; readonly times: number; readonly route: Node<In, Out> }
  | { readonly _tag: "CircuitBreaker"; readonly breaker: BreakerSettings | "off"; readonly route: Node<In, Out> }
  | { readonly _tag: "Limits"; readonly limits: LimitSettings | "off"; readonly route: Node<In, Out> }
  | { readonly _tag: "Deadline"; readonly duration: Duration.Duration; readonly route: Node<In, Out> }
  | { readonly _tag: "Options"; readonly options: GatewayOptions; readonly route: Node<In, Out> }
  | { readonly _tag: "Validate"; readonly validation: Validation; readonly route: Node<In, Out> }
  | { readonly _tag: "FallbackOn"; readonly on: FallbackOn; readonly route: Node<In, Out> }
  | When<In, Out>
  /** A node that got an invalid argument. It can be printed; running it fails before anything is sent. */
  | { readonly _tag: "Invalid"; readonly problem: Problem; readonly route: Node<In, Out> | undefined }

/** A choice by input. */
export interface When<in In, out Out> {
  readonly _tag: "When"
  /** Name of the condition in pictures. */
  readonly label: string
  readonly predicate: (input: In) => boolean
  readonly onTrue: Node<In, Out>
  readonly onFalse: Node<In, Out>
}

/**
 * Reduces a Schema's message to the expected value and its place. Keys of a record come from the answer, so only those
 * that look like field names are kept.
 */
export const withoutValues = (message: string): string =>
  message
    .replace(/^Expected /, "")
    .replace(/\[("(?:[^"\\]|\\.)*")\]/g, (_, key: string) => (/^"[\w$-]{1,40}"$/.test(key) ? `[${key}]` : '["…"]'))
    .replace(/\s+/g, " ")
    .slice(0, 500)

/** Whether a policy is a schedule. */
export const isSchedule = (policy: Policy | RetrySchedule): policy is RetrySchedule => !("attempts" in policy)

/** The same as {@link backoffMillis} without `maxDelay`. */
export const uncappedMillis = ({ backoff, delay }: Policy, attempt: number): number =>
  delay * (backoff === "constant" ? 1 : backoff === "linear" ? attempt : 2 ** (attempt - 1))

/** Milliseconds before the attempt after number `attempt` (1 is the first), without jitter. */
export const backoffMillis = (policy: Policy, attempt: number): number =>
  Math.min(uncappedMillis(policy, attempt), policy.maxDelay)

/** Rebuilds a tree with other leaves and predicates, for `map` and `mapInput`. */
export const rebuild = <In, Out, In2, Out2>(
  node: Node<In, Out>,
  /** Maps a leaf. `again` maps another leaf, once. */
  onLeaf: (leaf: Leaf<In, Out>, again: (leaf: Leaf<In, Out>) => Leaf<In2, Out2>) => Leaf<In2, Out2>,
  onPredicate: (predicate: (input: In) => boolean) => (input: In2) => boolean
): Node<In2, Out2> => {
  // A leaf in two places is one target, and remains one.
  const leaves = new Map<Leaf<In, Out>, Leaf<In2, Out2>>()
  const leafOf = (child: Leaf<In, Out>): Leaf<In2, Out2> => {
    const leaf = leaves.get(child) ?? onLeaf(child, leafOf)
    leaves.set(child, leaf)
    return leaf
  }
  const go = (child: Node<In, Out>): Node<In2, Out2> => {
    switch (child._tag) {
      case "Leaf":
        return leafOf(child)
      case "Fallback":
      case "Race":
      case "Balance":
        return { ...child, routes: child.routes.map(go) }
      case "When":
        return {
          ...child,
          predicate: onPredicate(child.predicate),
          onTrue: go(child.onTrue),
          onFalse: go(child.onFalse)
        }
      case "Invalid":
        return { ...child, route: child.route && go(child.route) }
      default:
        return { ...child, route: go(child.route) }
    }
  }
  return go(node)
}

/** A leaf as plain data, without credentials. */
export interface LeafSpec {
  readonly kind: "chat" | "embeddings"
  /** Id of the dialect. */
  readonly dialect: string
  readonly provider: string
  readonly model: string
  /** Path at the provider. */
  readonly endpoint: string
  readonly key?: string
  /** Headers that are not credentials. */
  readonly headers?: Readonly<Record<string, string>>
  /** Names of the headers that carry a credential. Their values are supplied when the route is loaded. */
  readonly credentials?: ReadonlyArray<string>
  /** Fields merged into every request body, below the request's own `extra`. */
  readonly body?: Readonly<Record<string, Json>>
  /** See `Provider.ChatOptions`. */
  readonly allowEmpty?: boolean
  /** See `Provider.ChatOptions`. */
  readonly contextWindow?: number
}
