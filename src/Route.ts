/**
 * Routes: which targets to call, in which order, and how to treat their failures.
 *
 * A `Route<In, Out>` is an immutable value: its targets and their order, retries, time limits and gateway options, and
 * how it reads answers. Because it is data, you can print it, draw it, store it, compute its worst case, compile it to
 * one gateway request, or run it on the client with `Router`.
 *
 * Settings apply to the targets below them: `retry` around a fallback retries each target, it does not run the chain
 * again. The innermost of nested settings wins, so attempts never multiply within a route.
 *
 * Nothing here throws. A route made of invalid parts is still a value: {@link problems} lists the faults, and running
 * it fails with `InvalidRequest` before anything is sent.
 *
 * **Gotchas**
 *
 * Retries outside a route do multiply: `Effect.retry` around `Router.run` repeats all attempts of the run. A
 * {@link deadline} includes every wait, whether for limits or between retries; a {@link timeout} starts with its
 * attempt. After {@link restart}, a stream can deliver text that it later withdraws.
 */
import * as Duration from "effect/Duration"
import { dual } from "effect/Function"
import * as Pipeable from "effect/Pipeable"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import * as GatewayOptions from "./GatewayOptions.ts"
import { makeFacts } from "./internal/admission/breaker.ts"
import { Latency } from "./internal/admission/latency.ts"
import { millisOf } from "./internal/data/duration.ts"
import { strayField } from "./internal/data/json.ts"
import type { Input, Reply } from "./internal/dialect/chat.ts"
import type { EmbeddingInput, Embeddings } from "./internal/dialect/embeddings.ts"
import { balancingOf } from "./internal/route/balancing.ts"
import * as Bounds from "./internal/route/bounds.ts"
import { type BreakerOptions, breakerOf } from "./internal/route/breaking.ts"
import * as Compile from "./internal/route/compile.ts"
import { type HedgeOptions, hedgingOf } from "./internal/route/hedging.ts"
import * as Json from "./internal/route/json.ts"
import * as JsonRead from "./internal/route/jsonReader.ts"
import { type LimitsOptions, limitsOf } from "./internal/route/limiting.ts"
import { customLeaf, type MakeOptions } from "./internal/route/making.ts"
import { type BalanceOptions, type FallbackOn, type Node, type RetrySchedule, rebuild } from "./internal/route/node.ts"
import { type ObjectOptions, objected } from "./internal/route/objects.ts"
import { makePlan, type Planned } from "./internal/route/plan.ts"
import * as Render from "./internal/route/render.ts"
import { isReasons, policyOf, type RetryOptions, reasonsAccepted } from "./internal/route/retryPolicy.ts"
import { type Check, validated } from "./internal/route/validating.ts"
import { ordered } from "./internal/router/balance.ts"
import { needs } from "./internal/router/engines.ts"
import { guarded, isOpen, unlessAllOpen } from "./internal/router/guard.ts"
import { hedgeProblems, runHedge } from "./internal/router/hedge.ts"
import { admissionOf, isFull } from "./internal/router/limits.ts"
import { runRace } from "./internal/router/race.ts"
import { setAside } from "./internal/router/setAside.ts"

export type { Strategy } from "./internal/admission/choice.ts"
export type { Bounds, TargetBounds } from "./internal/route/bounds.ts"
export type { BreakerOptions, SlowCallsOptions } from "./internal/route/breaking.ts"
export type { CompiledDynamic, CompiledUniversal, DynamicElement, Loss, LossKind } from "./internal/route/compile.ts"
export type { HedgeOptions, HedgePercentile } from "./internal/route/hedging.ts"
export type { LimitsOptions } from "./internal/route/limiting.ts"
export type { MakeOptions, StreamOptions } from "./internal/route/making.ts"
export type { BalanceOptions, FallbackOn, Node, RetrySchedule } from "./internal/route/node.ts"
export type { ObjectOptions } from "./internal/route/objects.ts"
export { defaultMaxDelay, defaultRetryDelay, type RetryOptions } from "./internal/route/retryPolicy.ts"
export type { Check, Predicate } from "./internal/route/validating.ts"

const TypeId = "~effect-ai-gateway/Route"

/**
 * A description of how to get from an input to an answer.
 *
 * @category models
 */
export interface Route<in In, out Out> extends Pipeable.Pipeable {
  readonly [TypeId]: { readonly _In: (_: In) => void; readonly _Out: (_: never) => Out }
  readonly node: Node<In, Out>
  /** The plan, made once per route and then cached. */
  readonly planned: Planned<In, Out>
}

class RouteImpl<In, Out> extends Pipeable.Class implements Route<In, Out> {
  readonly [TypeId]: Route<In, Out>[typeof TypeId] = { _In: (_: In) => {}, _Out: (value: never) => value }
  readonly node: Node<In, Out>
  #planned: Planned<In, Out> | undefined
  constructor(node: Node<In, Out>) {
    super()
    this.node = node
  }
  get planned(): Planned<In, Out> {
    this.#planned ??= makePlan(this.node)
    return this.#planned
  }
  toJSON(): unknown {
    return { _id: "Route", targets: this.planned.targets.map(({ key }) => key) }
  }
}

/**
 * Makes a route from a node, for modules that define their own leaves.
 *
 * @category constructors
 */
export const fromNode = <In, Out>(node: Node<In, Out>): Route<In, Out> => new RouteImpl(node)

/**
 * Whether `u` is a route.
 *
 * @category guards
 */
export const isRoute = (u: unknown): u is Route<never, unknown> => typeof u === "object" && u !== null && TypeId in u

/**
 * Makes a route to one target with any request body. An answer that `success` cannot decode is an `InvalidResponse`,
 * and the router calls the next target.
 *
 * @example
 * ```ts
 * import * as Schema from "effect/Schema"
 * import * as Route from "effect-ai-gateway/Route"
 *
 * export const moderate = Route.make({
 *   provider: "openai",
 *   endpoint: "moderations",
 *   query: (input: string) => ({ input }),
 *   success: Schema.Struct({ results: Schema.Array(Schema.Struct({ flagged: Schema.Boolean })) })
 * })
 * ```
 *
 * @category constructors
 */
export const make = <In, Body, Out>(options: MakeOptions<In, Body, Out>): Route<In, Out> =>
  fromNode(customLeaf(options))

/**
 * Calls the routes in order, and moves to the next one after failures that allow it: see the decision table of
 * `GatewayError`, and {@link fallbackOn}.
 *
 * @example
 * ```ts
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 *
 * export const ask = Route.fallback(
 *   Provider.openai.chat("gpt-4.1-mini"),
 *   Provider.anthropic.chat("claude-haiku-4-5")
 * )
 * ```
 *
 * @category targets and their order
 */
export const fallback = <In, Out>(
  ...routes: readonly [Route<In, Out>, ...ReadonlyArray<Route<In, Out>>]
): Route<In, Out> =>
  // A caller without types can pass no routes, or other values; the plan then names the problem.
  fromNode({ _tag: "Fallback", routes: nodesOf("fallback", routes) })

/** The nodes of routes, from callers that may not use types. */
const nodesOf = <In, Out>(field: string, routes: ReadonlyArray<Route<In, Out>>): ReadonlyArray<Node<In, Out>> =>
  routes.map((route, i) =>
    isRoute(route)
      ? route.node
      : { _tag: "Invalid", problem: { field: `${field}[${i}]`, accepted: "a route" }, route: undefined }
  )

/**
 * Options of {@link race}.
 *
 * @category models
 */
export interface RaceOptions {
  /**
   * Also races requests that change something at the provider (see {@link HedgeOptions}). Default `false`: the routes
   * are called in order for such requests.
   */
  readonly sideEffects?: boolean | undefined
}

/**
 * Calls all routes at once and uses the first output: an answer, or the first delta of a stream. The others are
 * interrupted, down to their sockets. A failure that stops a fallback also ends the race. If every route fails, the
 * race fails with the last failure. Every run costs one request per route.
 *
 * @example
 * ```ts
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 *
 * export const ask = Route.race(
 *   Provider.groq.chat("llama-3.3-70b-versatile"),
 *   Provider.cerebras.chat("llama-3.3-70b")
 * )
 * ```
 *
 * @category targets and their order
 */
export const race: {
  /** Calls all routes at once and uses the first output. */
  <In, Out>(...routes: readonly [Route<In, Out>, ...ReadonlyArray<Route<In, Out>>]): Route<In, Out>
  /** Calls all routes at once and uses the first output. */
  <In, Out>(routes: readonly [Route<In, Out>, ...ReadonlyArray<Route<In, Out>>], options: RaceOptions): Route<In, Out>
} = <In, Out>(
  ...args: ReadonlyArray<Route<In, Out>> | readonly [ReadonlyArray<Route<In, Out>>, RaceOptions]
): Route<In, Out> => {
  const isList = (given: typeof args): given is readonly [ReadonlyArray<Route<In, Out>>, RaceOptions] =>
    Array.isArray(given[0])
  if (!isList(args)) return raceOf(nodesOf("race", args))
  const options = args[1] ?? {}
  const stray = strayField(options, ["sideEffects"])
  const made = raceOf(nodesOf("race", args[0]), options.sideEffects)
  if (stray !== undefined) return invalid(made, { field: `race.${stray}`, accepted: "only sideEffects" })
  return typeof (options.sideEffects ?? false) === "boolean"
    ? made
    : invalid(made, { field: "race.sideEffects", accepted: "true or false" })
}

const raceOf = /* @__PURE__ */ needs(
  { Race: runRace },
  <In, Out>(routes: ReadonlyArray<Node<In, Out>>, sideEffects = false): Route<In, Out> =>
    fromNode({ _tag: "Race", sideEffects, routes })
)

/**
 * Skips any target below it whose failure rate is too high. After a while one attempt, the probe, tests whether the
 * target is back. The breaker also opens for a hint of more than 5 seconds and for exhausted credit, until either ends.
 *
 * When all targets of a run are open, the run waits up to 5 seconds for the first to return. Otherwise it makes one
 * attempt at once. A lone target fails with `Rejected` (`breaker`). `"off"` exempts targets from an outer breaker. All
 * routes of a router share a target's record; each applies its own thresholds.
 *
 * @example
 * ```ts
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 *
 * export const ask = Route.fallback(
 *   Provider.openai.chat("gpt-4.1-mini"),
 *   Provider.anthropic.messages("claude-haiku-4-5")
 * ).pipe(Route.circuitBreaker({ failureRate: 0.5, openFor: "15 seconds" }))
 * ```
 *
 * @category protection
 */
export const circuitBreaker: {
  /** Skips any target below it whose failure rate is too high. */
  (options?: BreakerOptions | "off"): <In, Out>(self: Route<In, Out>) => Route<In, Out>
  /** Skips any target below it whose failure rate is too high. */
  <In, Out>(self: Route<In, Out>, options?: BreakerOptions | "off"): Route<In, Out>
} = /* @__PURE__ */ needs(
  { breakers: { guarded, isOpen, unlessAllOpen }, makeFacts },
  /* @__PURE__ */ dual(
    (args) => isRoute(args[0]),
    <In, Out>(self: Route<In, Out>, options?: BreakerOptions | "off"): Route<In, Out> => {
      const made = breakerOf(options)
      return typeof made === "object" && "field" in made
        ? invalid(self, made)
        : fromNode({ _tag: "CircuitBreaker", breaker: made, route: self.node })
    }
  )
)

/**
 * Limits the requests and tokens per minute, and the requests at once, of each target below.
 *
 * An attempt waits for its turn, for `queue.maxWait` at most. Its timeouts and the clock of a hedge start when it is
 * admitted; a deadline keeps running. An attempt that would wait longer is not sent: it fails at once with `Rejected`
 * (`limiter`), the router calls the next target, and returns to this one when all others have failed. `"off"` exempts
 * targets from outer limits.
 *
 * The router counts what it sends to a target across all routes and batches; each route applies its own numbers. Tokens
 * are estimated from the input and corrected by the usage that the answer reports. Limits that the provider reports can
 * only tighten these.
 *
 * @example
 * ```ts
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 *
 * export const ask = Route.fallback(
 *   Provider.openai.chat("gpt-4.1-mini").pipe(Route.limits({ requestsPerMinute: 500, tokensPerMinute: 200_000 })),
 *   Provider.anthropic.messages("claude-haiku-4-5").pipe(Route.limits({ concurrency: "adaptive" }))
 * )
 * ```
 *
 * @category protection
 */
export const limits: {
  /** Limits the requests and tokens per minute, and the requests at once, of each target below. */
  (options: LimitsOptions | "off"): <In, Out>(self: Route<In, Out>) => Route<In, Out>
  /** Limits the requests and tokens per minute, and the requests at once, of each target below. */
  <In, Out>(self: Route<In, Out>, options: LimitsOptions | "off"): Route<In, Out>
} = /* @__PURE__ */ needs(
  { admissionOf, isFull, setAside },
  /* @__PURE__ */ dual(2, <In, Out>(self: Route<In, Out>, options: LimitsOptions | "off"): Route<In, Out> => {
    const made = limitsOf(options)
    return typeof made === "object" && "field" in made
      ? invalid(self, made)
      : fromNode({ _tag: "Limits", limits: made, route: self.node })
  })
)

/**
 * Chooses the first of several routes by a strategy. The others are its fallbacks, in the strategy's own order. The
 * router chooses the order once per run, and a retry repeats the same target. It also keeps the state: attempts in
 * flight, recent latency, and whose turn it is.
 *
 * @example
 * ```ts
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 *
 * export const ask = Route.balance(
 *   [Provider.openai.chat("gpt-4.1-mini"), Provider.anthropic.messages("claude-haiku-4-5")],
 *   { by: "weight", weights: [3, 1] }
 * )
 * ```
 *
 * @category targets and their order
 */
export const balance = <In, Out>(
  routes: readonly [Route<In, Out>, ...ReadonlyArray<Route<In, Out>>],
  options: BalanceOptions
): Route<In, Out> => balanceOf(Array.isArray(routes) ? nodesOf("balance", routes) : [], options)

const balanceOf = /* @__PURE__ */ needs(
  { Balance: ordered, makeLatency: () => new Latency() },
  <In, Out>(routes: ReadonlyArray<Node<In, Out>>, options: BalanceOptions): Route<In, Out> => {
    const { by, problems, weights } = balancingOf(options, routes.length)
    return fromNode(
      problems.reduceRight<Node<In, Out>>((route, problem) => ({ _tag: "Invalid", problem, route }), {
        _tag: "Balance",
        by,
        weights,
        routes
      })
    )
  }
)

/**
 * Also calls the next target when one is late: after a fixed delay, or after a percentile of its own recent times. The
 * first output wins, for a stream its first delta, and the others are interrupted, down to their sockets. A failure
 * calls the next target at once, as in a fallback. The clock starts when the attempt starts; time in the library's own
 * queue does not count. A lone target is called a second time. `"off"` exempts targets from an outer hedge.
 *
 * **Gotchas**
 *
 * A hedge helps against a slow tail. If a provider is slow for every request, nothing gets faster, and only the budget
 * bounds the added load.
 *
 * @example
 * ```ts
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 *
 * export const ask = Route.fallback(
 *   Provider.openai.chat("gpt-4.1-mini"),
 *   Provider.anthropic.messages("claude-haiku-4-5")
 * ).pipe(Route.hedge({ after: "2 seconds" }))
 * ```
 *
 * @category targets and their order
 */
export const hedge: {
  /**
   * Also calls the next target when one is late: after a fixed delay, or after a percentile of its own recent times.
   */
  (options: HedgeOptions | "off"): <In, Out>(self: Route<In, Out>) => Route<In, Out>
  /**
   * Also calls the next target when one is late: after a fixed delay, or after a percentile of its own recent times.
   */
  <In, Out>(self: Route<In, Out>, options: HedgeOptions | "off"): Route<In, Out>
} = /* @__PURE__ */ needs(
  { Hedge: runHedge, hedgeProblems, makeLatency: () => new Latency() },
  /* @__PURE__ */ dual(2, <In, Out>(self: Route<In, Out>, options: HedgeOptions | "off"): Route<In, Out> => {
    const made = hedgingOf(options)
    return typeof made === "object" && "field" in made
      ? invalid(self, made)
      : fromNode({ _tag: "Hedge", hedge: made, route: self.node })
  })
)

/**
 * Retries each target below. A wait hint of the server is a lower bound of the wait; if the wait does not fit into the
 * deadline, the router moves on at once instead of sleeping. An Effect `Schedule` works too, but cannot be compiled or
 * stored; the decision table still decides which failures are retried.
 *
 * @example
 * ```ts
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 *
 * export const ask = Provider.openai.chat("gpt-4.1-mini").pipe(
 *   Route.retry({ attempts: 3, delay: "200 millis", backoff: "exponential", jitter: 0.5 })
 * )
 * ```
 *
 * @category attempts and time
 */
export const retry: {
  /** Retries each target below. */
  (policy: RetryOptions | RetrySchedule): <In, Out>(self: Route<In, Out>) => Route<In, Out>
  /** Retries each target below. */
  <In, Out>(self: Route<In, Out>, policy: RetryOptions | RetrySchedule): Route<In, Out>
} = dual(2, <In, Out>(self: Route<In, Out>, policy: RetryOptions | RetrySchedule): Route<In, Out> => {
  if (Schedule.isSchedule(policy)) return fromNode({ _tag: "Retry", policy, route: self.node })
  const made = policyOf(policy)
  return "field" in made ? invalid(self, made) : fromNode({ _tag: "Retry", policy: made, route: self.node })
})

const invalid = <In, Out>(self: Route<In, Out>, problem: GatewayOptions.Problem): Route<In, Out> =>
  fromNode({ _tag: "Invalid", problem, route: self.node })

type Limit = "Timeout" | "FirstTokenTimeout" | "IdleTimeout" | "Deadline"

const limited = <In, Out>(self: Route<In, Out>, tag: Limit, input: Duration.Input): Route<In, Out> => {
  const millis = millisOf(input)
  const field = tag.charAt(0).toLowerCase() + tag.slice(1)
  return Number.isInteger(millis) && millis >= 1
    ? fromNode({ _tag: tag, duration: Duration.millis(millis), route: self.node })
    : invalid(self, { field, accepted: "1 millisecond or more, finite, in whole milliseconds" })
}

/**
 * Limits the time to the first byte of each attempt's answer, for each target below: whole milliseconds, at least 1. At
 * the limit the attempt is interrupted and fails with `Timeout` (`firstByte`).
 *
 * @category attempts and time
 */
export const timeout: {
  /**
   * Limits the time to the first byte of each attempt's answer, for each target below: whole milliseconds, at least 1.
   */
  (duration: Duration.Input): <In, Out>(self: Route<In, Out>) => Route<In, Out>
  /**
   * Limits the time to the first byte of each attempt's answer, for each target below: whole milliseconds, at least 1.
   */
  <In, Out>(self: Route<In, Out>, duration: Duration.Input): Route<In, Out>
} = dual(2, <In, Out>(self: Route<In, Out>, duration: Duration.Input) => limited(self, "Timeout", duration))

/**
 * Limits the time to the first delta that a consumer can act on (text, reasoning or a tool call), for each streamed
 * attempt: whole milliseconds, at least 1. At the limit the attempt fails with `Timeout` (`firstToken`), and another
 * target can take over unnoticed.
 *
 * @category attempts and time
 */
export const firstTokenTimeout: {
  /**
   * Limits the time to the first delta that a consumer can act on (text, reasoning or a tool call), for each streamed
   * attempt: whole milliseconds, at least 1.
   */
  (duration: Duration.Input): <In, Out>(self: Route<In, Out>) => Route<In, Out>
  /**
   * Limits the time to the first delta that a consumer can act on (text, reasoning or a tool call), for each streamed
   * attempt: whole milliseconds, at least 1.
   */
  <In, Out>(self: Route<In, Out>, duration: Duration.Input): Route<In, Out>
} = dual(2, <In, Out>(self: Route<In, Out>, duration: Duration.Input) => limited(self, "FirstTokenTimeout", duration))

/**
 * Limits the gap between two chunks of a stream, while the consumer waits for the next one: whole milliseconds, at
 * least 1. Fails with `Timeout` (`idle`); after the first delta, with a `StreamInterrupted` that holds it.
 *
 * @category attempts and time
 */
export const idleTimeout: {
  /**
   * Limits the gap between two chunks of a stream, while the consumer waits for the next one: whole milliseconds, at
   * least 1.
   */
  (duration: Duration.Input): <In, Out>(self: Route<In, Out>) => Route<In, Out>
  /**
   * Limits the gap between two chunks of a stream, while the consumer waits for the next one: whole milliseconds, at
   * least 1.
   */
  <In, Out>(self: Route<In, Out>, duration: Duration.Input): Route<In, Out>
} = dual(2, <In, Out>(self: Route<In, Out>, duration: Duration.Input) => limited(self, "IdleTimeout", duration))

/**
 * Restarts a stream that broke after its first delta, up to `times` (1 to 10): with the next target, or with the same
 * one if it was the last.
 *
 * **Gotchas**
 *
 * The consumer gets a `restart` delta and must discard everything before it. Each restart can make as many attempts as
 * the run before it.
 *
 * @category attempts and time
 */
export const restart: {
  /**
   * Restarts a stream that broke after its first delta, up to `times` (1 to 10): with the next target, or with the same
   * one if it was the last.
   */
  (times: number): <In, Out>(self: Route<In, Out>) => Route<In, Out>
  /**
   * Restarts a stream that broke after its first delta, up to `times` (1 to 10): with the next target, or with the same
   * one if it was the last.
   */
  <In, Out>(self: Route<In, Out>, times: number): Route<In, Out>
} = dual(
  2,
  <In, Out>(self: Route<In, Out>, times: number): Route<In, Out> =>
    Number.isInteger(times) && times >= 1 && times <= 10
      ? fromNode({ _tag: "Restart", times, route: self.node })
      : invalid(self, { field: "restart", accepted: "a whole number from 1 to 10" })
)

/**
 * Limits everything below it: attempts, waits and bodies; whole milliseconds, at least 1. At the limit, the running
 * attempt is interrupted and fails with `Timeout` (`deadline`); an outer fallback with time left continues.
 *
 * @category attempts and time
 */
export const deadline: {
  /** Limits everything below it: attempts, waits and bodies; whole milliseconds, at least 1. */
  (duration: Duration.Input): <In, Out>(self: Route<In, Out>) => Route<In, Out>
  /** Limits everything below it: attempts, waits and bodies; whole milliseconds, at least 1. */
  <In, Out>(self: Route<In, Out>, duration: Duration.Input): Route<In, Out>
} = dual(2, <In, Out>(self: Route<In, Out>, duration: Duration.Input) => limited(self, "Deadline", duration))

/**
 * Sets gateway options for each target below; inner options win field by field.
 *
 * @example
 * ```ts
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 *
 * export const ask = Provider.openai.chat("gpt-4.1-mini").pipe(
 *   Route.options({ noWholesale: true, log: { payload: false } })
 * )
 * ```
 *
 * @category requests and answers
 */
export const options: {
  /** Sets gateway options for each target below; inner options win field by field. */
  (input: GatewayOptions.Input): <In, Out>(self: Route<In, Out>) => Route<In, Out>
  /** Sets gateway options for each target below; inner options win field by field. */
  <In, Out>(self: Route<In, Out>, input: GatewayOptions.Input): Route<In, Out>
} = dual(2, <In, Out>(self: Route<In, Out>, input: GatewayOptions.Input): Route<In, Out> => {
  const [problem] = GatewayOptions.problems(input)
  return problem === undefined
    ? fromNode({ _tag: "Options", options: GatewayOptions.normalize(input), route: self.node })
    : invalid(self, problem)
})

/**
 * Sets cache options for each target below: a lifetime of 60 seconds to 30 days or `"off"`, a key, or `skip`.
 *
 * @category requests and answers
 */
export const cache: {
  /** Sets cache options for each target below: a lifetime of 60 seconds to 30 days or `"off"`, a key, or `skip`. */
  (input: NonNullable<GatewayOptions.Input["cache"]>): <In, Out>(self: Route<In, Out>) => Route<In, Out>
  /** Sets cache options for each target below: a lifetime of 60 seconds to 30 days or `"off"`, a key, or `skip`. */
  <In, Out>(self: Route<In, Out>, input: NonNullable<GatewayOptions.Input["cache"]>): Route<In, Out>
} = dual(2, <In, Out>(self: Route<In, Out>, input: NonNullable<GatewayOptions.Input["cache"]>) =>
  options(self, { cache: input })
)

/**
 * Sets metadata for the logs of each target below: at most five flat entries after merging.
 *
 * @category requests and answers
 */
export const metadata: {
  /** Sets metadata for the logs of each target below: at most five flat entries after merging. */
  (input: GatewayOptions.Metadata): <In, Out>(self: Route<In, Out>) => Route<In, Out>
  /** Sets metadata for the logs of each target below: at most five flat entries after merging. */
  <In, Out>(self: Route<In, Out>, input: GatewayOptions.Metadata): Route<In, Out>
} = dual(2, <In, Out>(self: Route<In, Out>, input: GatewayOptions.Metadata) => options(self, { metadata: input }))

/**
 * Chooses the failures after which fallbacks below call the next target: a list of reasons that replaces the decision
 * table, or a function of the error, which cannot be compiled or stored.
 *
 * @example
 * ```ts
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 *
 * export const ask = Route.fallback(
 *   Provider.openai.chat("gpt-4.1"),
 *   Provider.openai.chat("gpt-4.1-mini")
 * ).pipe(Route.fallbackOn(["RateLimited", "ProviderUnavailable", "Timeout"]))
 * ```
 *
 * @category targets and their order
 */
export const fallbackOn: {
  /** Chooses the failures after which fallbacks below call the next target. */
  (on: FallbackOn): <In, Out>(self: Route<In, Out>) => Route<In, Out>
  /** Chooses the failures after which fallbacks below call the next target. */
  <In, Out>(self: Route<In, Out>, on: FallbackOn): Route<In, Out>
} = dual(2, <In, Out>(self: Route<In, Out>, on: FallbackOn) =>
  typeof on === "function" || isReasons(on)
    ? fromNode({ _tag: "FallbackOn", on, route: self.node })
    : invalid(self, { field: "fallbackOn", accepted: `${reasonsAccepted}, or a function of the error` })
)

/**
 * Checks every answer of the targets below. A rejected answer fails with `InvalidResponse` (`by: "validate"`), and the
 * router calls the next target. A predicate returns `true` to accept, and `false` or a reason to reject; the reason
 * becomes part of the error's message. A Schema decodes the answer and discards the result, so the answer stays as it
 * is. Nested checks must all accept, the inner one first.
 *
 * A streamed answer is checked when it is complete, before its finish is delivered. A rejected one fails with
 * `StreamInterrupted`, or restarts where {@link restart} allows it. The answer is the one that `Router.run` decodes,
 * except that `raw` is `null`. Targets of {@link make} cannot be checked in a stream: opening one fails with
 * `InvalidRequest`.
 *
 * **Gotchas**
 *
 * A predicate that throws or returns anything else is a defect and ends the run, as in {@link map}. Do not call
 * `JSON.parse` in it: use a Schema (`Schema.fromJsonString`). Breakers ignore rejected answers. An empty answer fails
 * before it is checked, unless the target has `allowEmpty`.
 *
 * @example
 * ```ts
 * import * as Schema from "effect/Schema"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 *
 * export const ask = Route.fallback(
 *   Provider.openai.chat("gpt-4.1-mini"),
 *   Provider.anthropic.messages("claude-haiku-4-5")
 * ).pipe(
 *   Route.validate((reply) => reply.finishReason !== "length" || "cut off"),
 *   Route.validate(Schema.Struct({ text: Schema.fromJsonString(Schema.Struct({ answer: Schema.String })) }))
 * )
 * ```
 *
 * @category requests and answers
 */
export const validate: {
  /** Checks every answer of the targets below. */
  <Out>(check: Check<NoInfer<Out>>): <In>(self: Route<In, Out>) => Route<In, Out>
  /** Checks every answer of the targets below. */
  <In, Out>(self: Route<In, Out>, check: Check<NoInfer<Out>>): Route<In, Out>
} = /* @__PURE__ */ dual(2, <In, Out>(self: Route<In, Out>, check: Check<Out>): Route<In, Out> => {
  const made = validated(self.node, check)
  return "field" in made ? invalid(self, made) : fromNode(made)
})

/**
 * Requests JSON of a schema from every target, and answers with the decoded value. A value that does not decode fails
 * with `InvalidResponse`, and the router calls the next target. The schema is fitted to each provider: Anthropic gets
 * closed objects without the keywords that it rejects, OpenAI gets `strict` where the schema allows it; a target that
 * cannot take the schema at all is skipped (`Unsupported`). JSON between code fences is accepted.
 *
 * Inputs with `output` or `tools` are rejected (`InvalidRequest`). The root of the schema must be an object. Its JSON
 * form is the one of `Schema.toCodecJson`, so a `Date` is a string. A stream delivers the text as it arrives; the
 * router checks it when it is complete, as with {@link validate}. Apply it before {@link map} and {@link mapInput}. The
 * route no longer answers with a `Chat.Reply`: for `GatewayLanguageModel`, use the route without it and call
 * `generateObject`.
 *
 * **Gotchas**
 *
 * The schema must decode at once: a transformation that waits or throws is a defect and ends the run.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 * import * as Router from "effect-ai-gateway/Router"
 *
 * const City = Schema.Struct({ name: Schema.String, inhabitants: Schema.Number })
 *
 * const ask = Route.fallback(
 *   Provider.openai.chat("gpt-4.1-mini"),
 *   Provider.anthropic.messages("claude-haiku-4-5")
 * ).pipe(Route.object(City))
 *
 * export const inhabitants = Effect.map(Router.run(ask, "The largest city of France"), ({ value }) => value.inhabitants)
 * ```
 *
 * @category requests and answers
 */
export const object: {
  /** Requests JSON of a schema from every target, and answers with the decoded value. */
  <A>(schema: Schema.Codec<A, unknown>, options?: ObjectOptions): (self: Route<Input, Reply>) => Route<Input, A>
  /** Requests JSON of a schema from every target, and answers with the decoded value. */
  <A>(self: Route<Input, Reply>, schema: Schema.Codec<A, unknown>, options?: ObjectOptions): Route<Input, A>
} = /* @__PURE__ */ dual(
  (args) => isRoute(args[0]),
  <A>(self: Route<Input, Reply>, schema: Schema.Codec<A, unknown>, options: ObjectOptions = {}): Route<Input, A> =>
    fromNode(objected(self.node, schema, options))
)

/**
 * Options of {@link when}.
 *
 * @category models
 */
export interface WhenOptions<In, Out> {
  /** Name of the condition in pictures. Default `"condition"`. */
  readonly label?: string | undefined
  readonly predicate: (input: In) => boolean
  readonly onTrue: Route<In, Out>
  readonly onFalse: Route<In, Out>
}

/**
 * Chooses between two routes by input: `when(predicate, onTrue, onFalse)`, or with a label for pictures.
 *
 * @example
 * ```ts
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 * import type * as Chat from "effect-ai-gateway/Chat"
 *
 * export const ask = Route.when(
 *   (input: Chat.Input) => JSON.stringify(input).length > 20_000,
 *   Provider.googleAiStudio.chat("gemini-2.5-flash"),
 *   Provider.openai.chat("gpt-4.1-mini")
 * )
 * ```
 *
 * @category targets and their order
 */
export const when: {
  /** Chooses between two routes by input. */
  <In, Out>(options: WhenOptions<In, Out>): Route<In, Out>
  /** Chooses between two routes by input. */
  <In, Out>(predicate: (input: In) => boolean, onTrue: Route<In, Out>, onFalse: Route<In, Out>): Route<In, Out>
} = <In, Out>(
  first: WhenOptions<In, Out> | ((input: In) => boolean),
  ...branches: ReadonlyArray<Route<In, Out>>
): Route<In, Out> => {
  const [onTrue, onFalse] = typeof first === "function" ? branches : [first.onTrue, first.onFalse]
  if (onTrue === undefined || onFalse === undefined) {
    return fromNode({ _tag: "Invalid", problem: { field: "when", accepted: "two routes" }, route: undefined })
  }
  const condition =
    typeof first === "function"
      ? { label: "condition", predicate: first }
      : { label: first.label ?? "condition", predicate: first.predicate }
  return fromNode({ _tag: "When", ...condition, onTrue: onTrue.node, onFalse: onFalse.node })
}

/**
 * Maps the answer of every target. A mapped route cannot be stored.
 *
 * @category requests and answers
 */
export const map: {
  /** Maps the answer of every target. */
  <Out, Out2>(f: (value: Out) => Out2): <In>(self: Route<In, Out>) => Route<In, Out2>
  /** Maps the answer of every target. */
  <In, Out, Out2>(self: Route<In, Out>, f: (value: Out) => Out2): Route<In, Out2>
} = dual(
  2,
  <In, Out, Out2>(self: Route<In, Out>, f: (value: Out) => Out2): Route<In, Out2> =>
    fromNode(
      rebuild<In, Out, In, Out2>(
        self.node,
        ({ decode, ofReply, ...leaf }, again) => ({
          ...leaf,
          spec: undefined,
          unchecked: leaf.unchecked && again(leaf.unchecked),
          ofReply: ofReply && ((reply) => f(ofReply(reply))),
          decode: (body) => Result.map(decode(body), (decoded) => ({ ...decoded, value: f(decoded.value) }))
        }),
        (predicate) => predicate
      )
    )
)

/**
 * Maps the input of every target and condition. A mapped route cannot be stored.
 *
 * @category requests and answers
 */
export const mapInput: {
  /** Maps the input of every target and condition. */
  <In, In2>(f: (input: In2) => In): <Out>(self: Route<In, Out>) => Route<In2, Out>
  /** Maps the input of every target and condition. */
  <In, Out, In2>(self: Route<In, Out>, f: (input: In2) => In): Route<In2, Out>
} = dual(
  2,
  <In, Out, In2>(self: Route<In, Out>, f: (input: In2) => In): Route<In2, Out> =>
    fromNode(
      rebuild<In, Out, In2, Out>(
        self.node,
        ({ build, ...leaf }, again) => ({
          ...leaf,
          spec: undefined,
          unchecked: leaf.unchecked && again(leaf.unchecked),
          build: (input) => build(f(input))
        }),
        (predicate) => (input) => predicate(f(input))
      )
    )
)

/**
 * Lists everything that is wrong with a route: each field, and what it accepts. Empty when the route can run.
 *
 * @category inspection
 */
export const problems = (self: Route<never, unknown>): ReadonlyArray<GatewayOptions.Problem> => self.planned.problems

/**
 * Lists the keys of the targets in the order in which they would be called. Different targets that would share a key
 * are numbered: the second one ends in `#2`.
 *
 * @category inspection
 */
export const targets = (self: Route<never, unknown>): ReadonlyArray<string> =>
  self.planned.targets.map(({ key }) => key)

/**
 * Prints a route as an indented tree, without credentials.
 *
 * @category inspection
 */
export const describe = (self: Route<never, unknown>): string => Render.describe(self.node)

/**
 * Draws a route as a Mermaid flow chart: solid arrows lead down the tree, dotted ones follow a failure.
 *
 * @category inspection
 */
export const toMermaid = (self: Route<never, unknown>): string => Render.toMermaid(self.planned)

/**
 * Computes the worst case of a route without running it: attempts, requests, waits, targets that cannot be reached,
 * timeouts that a deadline cuts short. Assert it in a test. Restarts of streams are not included: each can make as many
 * attempts again.
 *
 * @example
 * ```ts
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 *
 * const ask = Route.fallback(Provider.openai.chat("gpt-4.1"), Provider.openai.chat("gpt-4.1-mini")).pipe(
 *   Route.retry({ attempts: 3 })
 * )
 * console.log(Route.bounds(ask).attempts) // 6
 * ```
 *
 * @category inspection
 */
export const bounds = (self: Route<never, unknown>): Bounds.Bounds => Bounds.boundsOf(self.planned)

/**
 * Options of {@link compile}.
 *
 * @category models
 */
export interface CompileOptions {
  /** Accepted losses. Default: none. */
  readonly allow?: ReadonlyArray<Compile.LossKind> | undefined
}

/**
 * Translates a route for the gateway to execute: to one universal request for one input (default), or to the elements
 * of a Cloudflare dynamic route. Whatever the target form cannot express is a loss; the call fails with all losses that
 * `allow` does not list.
 *
 * @example
 * ```ts
 * import * as Result from "effect/Result"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 *
 * const ask = Route.fallback(Provider.openai.chat("gpt-4.1"), Provider.groq.chat("llama-3.3-70b-versatile"))
 * const compiled = Route.compile(ask, "Hello", "universal")
 * console.log(Result.isSuccess(compiled) && compiled.success.legs.length) // 2
 * ```
 *
 * @category stored forms
 */
export function compile<In, Out>(
  self: Route<In, Out>,
  input: In,
  target?: "universal",
  options?: CompileOptions
): Result.Result<Compile.CompiledUniversal, ReadonlyArray<Compile.Loss>>
/**
 * Translates a route to the elements of a Cloudflare dynamic route, which the gateway executes.
 *
 * @category stored forms
 */
export function compile<In, Out>(
  self: Route<In, Out>,
  input: In,
  target: "dynamic",
  options?: CompileOptions
): Result.Result<Compile.CompiledDynamic, ReadonlyArray<Compile.Loss>>
export function compile<In, Out>(
  self: Route<In, Out>,
  input: In,
  target: "universal" | "dynamic" = "universal",
  options: CompileOptions = {}
): Result.Result<Compile.CompiledUniversal | Compile.CompiledDynamic, ReadonlyArray<Compile.Loss>> {
  const allow = options.allow ?? []
  return target === "universal"
    ? Compile.compileUniversal(self.planned, input, allow)
    : Compile.toDynamic(self.planned, allow)
}

/**
 * A stored route, version 1.
 *
 * A node holds settings (`options`, `deadline`, `hedge`, `circuitBreaker`, `limits`, `timeout`, `firstTokenTimeout`,
 * `idleTimeout`, `restart`, `retry`, `fallbackOn`, `validate`) and exactly one of: `fallback`, `race` or `balance`
 * (with `by`), a list of nodes; `route`, one node, for settings around settings; or `provider` and `model`, a target.
 * Settings apply in the order of this list, the first is the outermost. Durations are strings (`"5 seconds"`) or
 * milliseconds.
 *
 * A target with only `provider` (the slug) and `model` is that provider's chat. It may also have `endpoint`, `dialect`
 * (the `id` of a `Chat.Dialect`), `key`, `headers`, `body`, and where the provider needs them `resource`, `deployment`,
 * `apiVersion`, `project`, `region`, `version`. `credentials` lists the headers whose values are not stored.
 *
 * @category models
 */
export type RouteJson = Json.RouteJson
/**
 * A node of a {@link RouteJson}.
 *
 * @category models
 */
export type RouteNodeJson = Json.RouteNodeJson

/**
 * Writes a route as plain data without its credentials. It keeps only the names of their headers, and target keys that
 * contain a credential's label.
 *
 * Parts that cannot be stored come back as problems, each with its place in the file: targets with functions in them
 * (`make`, `request`, `map`, `mapInput`), conditions, schedules, functions in `fallbackOn`, and everything that
 * {@link problems} lists.
 *
 * @example
 * ```ts
 * import * as Result from "effect/Result"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 *
 * const ask = Route.fallback(
 *   Provider.openai.chat("gpt-4.1-mini"),
 *   Provider.anthropic.messages("claude-haiku-4-5")
 * ).pipe(Route.timeout("5 seconds"))
 * console.log(JSON.stringify(Result.getOrThrow(Route.toJson(ask))))
 * // {"version":1,"route":{"timeout":"5 seconds","fallback":[{"provider":"openai","model":"gpt-4.1-mini"},…]}}
 * ```
 *
 * @category stored forms
 */
export const toJson = (self: Route<never, unknown>): Result.Result<RouteJson, ReadonlyArray<GatewayOptions.Problem>> =>
  Json.write(self.node, self.planned)

/**
 * Options of {@link fromJson}.
 *
 * @category models
 */
export interface FromJsonOptions {
  /**
   * Credentials for targets whose `credentials` name a header, by target key (as in {@link targets}) or by provider
   * slug; the key takes precedence. A `Redacted` alone is the provider's API key, sent in the form that the provider
   * expects (`Bearer …`). A record of `Redacted` gives complete header values by name, for other headers. Credentials
   * that no target needs are not used.
   */
  readonly credentials?: JsonRead.Credentials | undefined
}

const algebra: JsonRead.Algebra = {
  options: (node, input) => options(fromNode(node), input).node,
  deadline: (node, duration) => deadline(fromNode(node), duration).node,
  firstTokenTimeout: (node, duration) => firstTokenTimeout(fromNode(node), duration).node,
  idleTimeout: (node, duration) => idleTimeout(fromNode(node), duration).node,
  restart: (node, times) => restart(fromNode(node), times).node,
  limits: (node, options) => limits(fromNode(node), options).node,
  circuitBreaker: (node, options) => circuitBreaker(fromNode(node), options).node,
  hedge: (node, options) => hedge(fromNode(node), options).node,
  balance: (nodes, options) => balanceOf(nodes, options).node,
  race: (nodes, sideEffects) => raceOf(nodes, sideEffects).node,
  timeout: (node, duration) => timeout(fromNode(node), duration).node,
  validate: (node, check) => validate(fromNode(node), check).node,
  retry: (node, policy) => retry(fromNode(node), policy).node
}

/**
 * Reads a chat route (see {@link RouteJson}) from parsed JSON, for example a configuration file. The limits of the
 * combinators apply. All faults come back at once, each with its path in the file and the accepted values: unknown
 * fields, values out of range, credentials that the file names and the options lack.
 *
 * @example
 * ```ts
 * import * as Redacted from "effect/Redacted"
 * import * as Result from "effect/Result"
 * import * as Route from "effect-ai-gateway/Route"
 *
 * const file = `{
 *   "version": 1,
 *   "route": {
 *     "deadline": "20 seconds",
 *     "retry": { "attempts": 3, "delay": "200 millis" },
 *     "fallback": [
 *       { "provider": "openai", "model": "gpt-4.1-mini", "credentials": ["authorization"] },
 *       { "provider": "workers-ai", "model": "@cf/meta/llama-3.1-8b-instruct" }
 *     ]
 *   }
 * }`
 * const ask = Route.fromJson(JSON.parse(file), { credentials: { openai: Redacted.make("sk-1") } })
 * console.log(Result.isSuccess(ask) && Route.describe(ask.success))
 * ```
 *
 * @category stored forms
 */
export const fromJson = (
  json: unknown,
  options: FromJsonOptions = {}
): Result.Result<Route<Input, Reply>, ReadonlyArray<GatewayOptions.Problem>> =>
  Result.map(JsonRead.read(JsonRead.chats, json, options.credentials ?? {}, algebra), (node) => fromNode(node))

/**
 * Like {@link fromJson}, for a route of embeddings: `provider` and `model` stand for that provider's embeddings.
 *
 * @category stored forms
 */
export const embeddingsFromJson = (
  json: unknown,
  options: FromJsonOptions = {}
): Result.Result<Route<EmbeddingInput, Embeddings>, ReadonlyArray<GatewayOptions.Problem>> =>
  Result.map(JsonRead.read(JsonRead.embeddings, json, options.credentials ?? {}, algebra), (node) => fromNode(node))
