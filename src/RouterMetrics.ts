/**
 * Metrics of a router, derived from its events: those of the OpenTelemetry conventions for generative AI, and our own.
 *
 * They are Effect metrics, so every exporter of Effect accepts them. Labels are bounded: providers, models that routes
 * name, causes, outcomes, and tags of reasons. Keys of targets are not labels, because applications name tenants in
 * them; nor are prompts, secrets, sessions and users.
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import type { Attempt } from "./GatewayError.ts"
import { operationOf } from "./internal/data/telemetry.ts"
import { providerName } from "./internal/hotpath/span.ts"
import { listen, type Router } from "./Router.ts"
import type { AttemptEnded, AttemptStarted, BreakerChanged, RouterEvent } from "./RouterEvent.ts"

type Labels = Record<string, string>

// Boundaries of the conventions.
const seconds = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
const tokens = Array.from({ length: 14 }, (_, index) => 4 ** index)

const histogram = (name: string, unit: string, boundaries: ReadonlyArray<number>, description: string) =>
  Metric.histogram(name, { description, boundaries, attributes: { unit } })

const counter = (name: string, unit: string, description: string) =>
  Metric.counter(name, { description, incremental: true, attributes: { unit } })

/**
 * Seconds of each model call that ended by itself. Interrupted calls appear in {@link attempts} only, because their
 * duration does not describe a model.
 *
 * @category metrics
 */
export const operationDuration: Metric.Histogram<number> = /* @__PURE__ */ histogram(
  "gen_ai.client.operation.duration",
  "s",
  seconds,
  "GenAI operation duration."
)

/**
 * Tokens of each model call, as the provider reported them; none for answers from the gateway's cache, which cost
 * nothing.
 *
 * @category metrics
 */
export const tokenUsage: Metric.Histogram<number> = /* @__PURE__ */ histogram(
  "gen_ai.client.token.usage",
  "{token}",
  tokens,
  "Number of input and output tokens used."
)

/**
 * Seconds from the start of a streamed model call to its first delta.
 *
 * @category metrics
 */
export const timeToFirstChunk: Metric.Histogram<number> = /* @__PURE__ */ histogram(
  "gen_ai.client.operation.time_to_first_chunk",
  "s",
  seconds,
  "Time to receive the first chunk of a streamed answer."
)

/**
 * Attempts that ended, by cause and outcome.
 *
 * @category metrics
 */
export const attempts: Metric.Counter<number> = /* @__PURE__ */ counter(
  "ai_gateway.client.attempts",
  "{attempt}",
  "Attempts of routed runs that ended."
)

/**
 * Attempts that began as hedges, including those that have not ended.
 *
 * @category metrics
 */
export const hedges: Metric.Counter<number> = /* @__PURE__ */ counter(
  "ai_gateway.client.hedges",
  "{hedge}",
  "Further attempts that began because no answer had come in time."
)

/**
 * Further attempts that were not made, by the part that withheld them.
 *
 * @category metrics
 */
export const withheld: Metric.Counter<number> = /* @__PURE__ */ counter(
  "ai_gateway.client.withheld",
  "{attempt}",
  "Further attempts that were not made."
)

/**
 * Seconds that attempts waited for a place under the limits of their target; attempts that did not wait are not
 * counted.
 *
 * @category metrics
 */
export const queueDuration: Metric.Histogram<number> = /* @__PURE__ */ histogram(
  "ai_gateway.client.queue.duration",
  "s",
  seconds,
  "Time that attempts waited for a place under limits."
)

/**
 * Targets whose breaker is in a phase; the phase `closed` is not counted.
 *
 * @category metrics
 */
export const breakerState: Metric.Gauge<number> = /* @__PURE__ */ Metric.gauge("ai_gateway.client.breaker.state", {
  description: "Targets whose circuit breaker is open, half open or exhausted.",
  attributes: { unit: "{target}" }
})

/**
 * US dollars of attempts; needs a router with prices.
 *
 * @category metrics
 */
export const cost: Metric.Counter<number> = /* @__PURE__ */ counter(
  "ai_gateway.client.cost",
  "{USD}",
  "Cost of attempts in US dollars."
)

/** Largest number of models in labels. Further models are `_OTHER`. */
const maxModels = 1_000
/** Largest number of open attempts, and of targets, whose model is remembered. Beyond it, labels omit the model. */
const maxOpen = 100_000
const maxTargets = 4_096

/** The model in an event. */
interface Model {
  readonly provider: string
  readonly model?: string
}

class Recorder {
  private readonly context: Context.Context<never>
  private readonly models = new Set<string>()
  /** Models that open attempts requested. An answer may name any other. */
  private readonly asked = new Map<string, Model & { readonly target: string }>()
  private readonly targets = new Map<string, Model>()
  /** Labels of the breakers that are not closed, by target. Several breakers may have equal labels. */
  private readonly phases = new Map<string, Array<Labels>>()
  private readonly counts = new Map<string, number>()

  constructor(context: Context.Context<never>) {
    this.context = context
  }

  private add<A>(metric: Metric.Metric<A, unknown>, value: A, labels: Labels): void {
    Metric.withAttributes(metric, labels).updateUnsafe(value, this.context)
  }

  private labelsOf({ model, provider }: Model): Labels {
    const labels: Labels = { "gen_ai.provider.name": providerName(provider) }
    if (model === undefined) return labels
    const isKnown = this.models.has(model) || this.models.size < maxModels
    if (isKnown) this.models.add(model)
    labels["gen_ai.request.model"] = isKnown ? model : "_OTHER"
    return labels
  }

  private started({ cause, eventId, model, number, provider, target }: AttemptStarted): void {
    const one = model === undefined ? { provider, target } : { provider, target, model }
    if (this.asked.size < maxOpen) this.asked.set(`${eventId} ${number}`, one)
    if (this.targets.size < maxTargets) this.targets.set(target, one)
    if (cause === "hedge") this.add(hedges, 1, this.labelsOf(one))
  }

  /** The requested model. A gateway's attempt may end with a different leg than it started with. */
  private modelOf({ attempt, eventId }: AttemptEnded): Model {
    const key = `${eventId} ${attempt.number}`
    const asked = this.asked.get(key)
    this.asked.delete(key)
    if (asked !== undefined && asked.target === attempt.target) return asked
    return this.targets.get(attempt.target) ?? { provider: attempt.provider }
  }

  private ended(event: AttemptEnded): void {
    const { attempt, mode, toOutput } = event
    const { cause, duration, error, outcome, waited } = attempt
    const of = this.labelsOf(this.modelOf(event))
    const failed: Labels = outcome === "failure" ? { "error.type": error?._tag ?? "_OTHER" } : {}
    const operation = { "gen_ai.operation.name": operationOf(attempt.endpoint), ...of }
    this.add(attempts, 1, {
      ...of,
      ...failed,
      "ai_gateway.attempt.outcome": outcome,
      ...(cause !== undefined && { "ai_gateway.attempt.cause": cause })
    })
    if (outcome !== "interrupted")
      this.add(operationDuration, Duration.toSeconds(duration), { ...operation, ...failed })
    if (mode === "stream" && toOutput !== undefined) this.add(timeToFirstChunk, Duration.toSeconds(toOutput), operation)
    // Even a permit that is free at once takes some microseconds.
    if (waited !== undefined && Duration.toMillis(waited) >= 1) this.add(queueDuration, Duration.toSeconds(waited), of)
    this.spent(attempt, operation, of)
  }

  private spent({ cacheStatus, cost: costs, usage }: Attempt, operation: Labels, of: Labels): void {
    const { inputTokens, outputTokens } = cacheStatus === "HIT" ? {} : (usage ?? {})
    if (inputTokens !== undefined) this.add(tokenUsage, inputTokens, { ...operation, "gen_ai.token.type": "input" })
    if (outputTokens !== undefined) this.add(tokenUsage, outputTokens, { ...operation, "gen_ai.token.type": "output" })
    if (costs === undefined) return
    if (costs.usd > 0) this.add(cost, costs.usd, { ...of, "ai_gateway.cost.basis": "reported" })
    if (costs.estimatedUsd > 0) this.add(cost, costs.estimatedUsd, { ...of, "ai_gateway.cost.basis": "estimated" })
  }

  private count(labels: Labels, by: 1 | -1): void {
    const key = JSON.stringify(labels)
    const count = (this.counts.get(key) ?? 0) + by
    this.counts.set(key, count)
    this.add(breakerState, count, labels)
  }

  private changed(change: BreakerChanged): void {
    const { from, target, to } = change
    const of = this.labelsOf(change)
    const phases = this.phases.get(target) ?? []
    // Openings before anyone listened were not counted. Targets of several routes may share a key.
    const before = { ...of, "ai_gateway.breaker.state": from }
    const index = phases.findIndex((labels) => JSON.stringify(labels) === JSON.stringify(before))
    if (index >= 0) {
      phases.splice(index, 1)
      this.count(before, -1)
    }
    if (to !== "closed" && (this.phases.has(target) || this.phases.size < maxTargets)) {
      const now = { ...of, "ai_gateway.breaker.state": to }
      phases.push(now)
      this.count(now, 1)
    }
    if (phases.length === 0) this.phases.delete(target)
    else this.phases.set(target, phases)
  }

  private dropped(target: string): void {
    this.targets.delete(target)
    for (const labels of this.phases.get(target) ?? []) this.count(labels, -1)
    this.phases.delete(target)
  }

  readonly record = (event: RouterEvent): void => {
    if (event._tag === "AttemptStarted") this.started(event)
    else if (event._tag === "AttemptEnded") this.ended(event)
    else if (event._tag === "BreakerChanged") this.changed(event)
    else if (event._tag === "StateDropped") this.dropped(event.target)
    else if (event._tag === "Withheld") {
      this.add(withheld, 1, {
        ...this.ofTarget(event.target),
        "ai_gateway.withheld.by": event.by,
        "ai_gateway.withheld.attempt": event.attempt
      })
    }
  }

  private ofTarget(target: string): Labels {
    const known = this.targets.get(target)
    return known === undefined ? {} : this.labelsOf(known)
  }
}

/**
 * A function that counts events in the metrics of the context. Use it for events from a router outside this program,
 * and {@link layer} otherwise.
 *
 * @category constructors
 */
export const make: Effect.Effect<(event: RouterEvent) => void> = /* @__PURE__ */ Effect.map(
  /* @__PURE__ */ Effect.context<never>(),
  (context) => new Recorder(context).record
)

/**
 * Counts the events of the router until its scope closes. Build it once, together with the router.
 *
 * @example
 * ```ts
 * import * as Layer from "effect/Layer"
 * import type { GatewayService } from "effect-ai-gateway/GatewayService"
 * import * as Router from "effect-ai-gateway/Router"
 * import * as RouterMetrics from "effect-ai-gateway/RouterMetrics"
 *
 * export const Live: Layer.Layer<Router.Router, never, GatewayService> = RouterMetrics.layer.pipe(
 *   Layer.provideMerge(Router.layer)
 * )
 * ```
 *
 * @category layers
 */
export const layer: Layer.Layer<never, never, Router> = /* @__PURE__ */ Layer.effectDiscard(
  /* @__PURE__ */ Effect.flatMap(make, (record) => listen(record))
)
