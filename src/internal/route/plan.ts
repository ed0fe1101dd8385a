/**
 * A route with its settings handed down to the targets, for the router, the compiler and `bounds`. Retry, timeout,
 * options and `fallbackOn` belong to the targets below them, and the innermost one wins; so attempts never multiply
 * through nesting.
 */
import * as Duration from "effect/Duration"
import * as Redacted from "effect/Redacted"
import * as GatewayOptions from "../../GatewayOptions.ts"
import type { BreakerSettings } from "../admission/breaker.ts"
import type { Strategy } from "../admission/choice.ts"
import type { LimitSettings } from "../admission/limits.ts"
import { providerHeaderAccepted } from "../data/headers.ts"
import {
  type FallbackOn,
  type Hedging,
  isSchedule,
  type Leaf,
  type Node,
  type Policy,
  type RetrySchedule
} from "./node.ts"

/** Settings that are handed down to a target. */
interface PlanSettings {
  readonly options: GatewayOptions.GatewayOptions
  /** Milliseconds until the first byte of one attempt. */
  readonly timeout: number | undefined
  /** For streams: milliseconds until the first delta that a consumer can act on. */
  readonly firstTokenTimeout: number | undefined
  /** For streams: milliseconds between two chunks. */
  readonly idleTimeout: number | undefined
  /** For streams: how often an answer may restart after a part of it was delivered. */
  readonly restarts: number
  readonly retry: Policy | RetrySchedule | undefined
  /** Settings of its breaker. */
  readonly breaker: BreakerSettings | undefined
  /** Settings of its limits. */
  readonly limits: LimitSettings | undefined
}

/** One target with everything that applies to it. */
export interface Target<In, Out> extends PlanSettings {
  readonly _tag: "Target"
  /** Unique within the plan. */
  readonly key: string
  readonly leaf: Leaf<In, Out>
  /**
   * Options of each attempt on the client, without its event id. The gateway makes one attempt, so that retries have a
   * single owner.
   */
  readonly sending: GatewayOptions.GatewayOptions & { readonly record: false }
}

/** A plan: a smaller tree with only the nodes that decide the order of targets. */
export type Plan<In, Out> =
  | Target<In, Out>
  | Fallback<In, Out>
  | Balance<In, Out>
  | Race<In, Out>
  | Hedge<In, Out>
  | { readonly _tag: "Deadline"; readonly millis: number; readonly plan: Plan<In, Out> }
  | {
      readonly _tag: "When"
      readonly label: string
      readonly predicate: (input: In) => boolean
      readonly onTrue: Plan<In, Out>
      readonly onFalse: Plan<In, Out>
    }

/** Targets that are called one after the other. */
export interface Fallback<In, Out> {
  readonly _tag: "Fallback"
  readonly on: FallbackOn | undefined
  readonly plans: ReadonlyArray<Plan<In, Out>>
}

/** Targets that are called one after the other, in an order that each run chooses. */
export interface Balance<In, Out> {
  readonly _tag: "Balance"
  readonly on: FallbackOn | undefined
  readonly by: Strategy
  readonly weights: ReadonlyArray<number>
  readonly plans: ReadonlyArray<Plan<In, Out>>
}

/** Targets that are called at once; the first answer wins. */
export interface Race<In, Out> {
  readonly _tag: "Race"
  readonly on: FallbackOn | undefined
  readonly sideEffects: boolean
  readonly plans: ReadonlyArray<Plan<In, Out>>
}

/** Also calls the next target when the one before it is late. */
export interface Hedge<In, Out> {
  readonly _tag: "Hedge"
  /** Absent: an outer hedge does not apply to these targets. */
  readonly hedge: Hedging | undefined
  readonly plan: Plan<In, Out>
}

/** A plan, its targets in order, and everything that is wrong with it. */
export interface Planned<In, Out> {
  readonly plan: Plan<In, Out>
  readonly targets: ReadonlyArray<Target<In, Out>>
  /** Percentiles of the hedges that learn their delay. */
  readonly percentiles: ReadonlyArray<number>
  readonly problems: ReadonlyArray<GatewayOptions.Problem>
  /** Whether some of the targets have breakers. */
  readonly isGuarded: boolean
}

interface Env extends PlanSettings {
  readonly on: FallbackOn | undefined
}

/** Everything that distinguishes a target, except the credential. */
export const baseKeyOf = (leaf: Leaf<never, unknown>, options: GatewayOptions.GatewayOptions): string => {
  if (leaf.key !== undefined) return leaf.key
  const labels = Object.values(leaf.headers).flatMap((value) =>
    Redacted.isRedacted(value) && value.label !== undefined ? [value.label] : []
  )
  const distinct = [...(options.byokAlias === undefined ? [] : [options.byokAlias]), ...labels]
  return `${leaf.provider}/${leaf.model ?? leaf.label}${distinct.map((label) => `@${label}`).join("")}`
}

/** Hands settings down. Total: it collects problems and does not throw. */
export const makePlan = <In, Out>(node: Node<In, Out>): Planned<In, Out> => {
  const targets: Array<Target<In, Out>> = []
  const percentiles: Array<number> = []
  const problems: Array<GatewayOptions.Problem> = []
  /** Leaves by key; the same leaf in two places is one target. */
  const owners = new Map<string, Leaf<In, Out>>()

  const target = (leaf: Leaf<In, Out>, { on: _, ...settings }: Env): Target<In, Out> => {
    const { options, retry, timeout } = settings
    const base = baseKeyOf(leaf, options)
    const own = leaf.unchecked ?? leaf
    let key = base
    // Equal words for another leaf are another target: its key, region or gateway differs.
    for (let number = 2; (owners.get(key) ?? own) !== own; number++) key = `${base}#${number}`
    owners.set(key, own)
    if (key !== leaf.key && leaf.key !== undefined) {
      problems.push({ field: `key ${leaf.key}`, accepted: "a key that no other target has" })
    }
    for (const { accepted, field } of GatewayOptions.problems(options)) {
      problems.push({ field: `${key}: ${field}`, accepted })
    }
    for (const name of Object.keys(leaf.headers)) {
      // Credentials, event id, attempts and times belong to the router: headers would override it, and `bounds` would
      // be wrong.
      if (/^cf-aig-(?:auth|event|max|retry|back|request)/.test(name))
        problems.push({ field: `${key}: headers.${name}`, accepted: providerHeaderAccepted })
    }
    if (retry !== undefined && (options.retries?.attempts ?? 1) > 1) {
      problems.push({
        field: `${key}: retries.attempts`,
        accepted: "one owner of retries: either `Route.retry` or the option `retries`, not both"
      })
    }
    if (options.timeout !== undefined && timeout !== undefined) {
      problems.push({ field: `${key}: timeout`, accepted: "either `Route.timeout` or the option `timeout`, not both" })
    }
    const sending = { ...options, retries: { attempts: 1, ...options.retries }, record: false } as const
    const made: Target<In, Out> = { _tag: "Target", key, leaf, sending, ...settings }
    targets.push(made)
    return made
  }

  const go = (child: Node<In, Out>, env: Env): Plan<In, Out> => {
    switch (child._tag) {
      case "Leaf":
        return target(child, env)
      case "Fallback":
        if (child.routes.length === 0) problems.push({ field: "fallback", accepted: "at least one route" })
        return { _tag: "Fallback", on: env.on, plans: child.routes.map((route) => go(route, env)) }
      case "Race":
        if (child.routes.length === 0) problems.push({ field: "race", accepted: "at least one route" })
        return {
          _tag: "Race",
          on: env.on,
          sideEffects: child.sideEffects,
          plans: child.routes.map((route) => go(route, env))
        }
      case "Balance": {
        const { by, routes, weights } = child
        if (routes.length === 0) problems.push({ field: "balance", accepted: "at least one route" })
        return { _tag: "Balance", on: env.on, by, weights, plans: routes.map((route) => go(route, env)) }
      }
      case "Hedge": {
        const hedge = child.hedge === "off" ? undefined : child.hedge
        if (typeof hedge?.after === "object") percentiles.push(hedge.after.percentile)
        return { _tag: "Hedge", hedge, plan: go(child.route, env) }
      }
      case "When": {
        const { label, onFalse, onTrue, predicate } = child
        return { _tag: "When", label, predicate, onTrue: go(onTrue, env), onFalse: go(onFalse, env) }
      }
      case "Retry":
        return go(child.route, { ...env, retry: child.policy })
      case "CircuitBreaker":
        return go(child.route, { ...env, breaker: child.breaker === "off" ? undefined : child.breaker })
      case "Limits":
        return go(child.route, { ...env, limits: child.limits === "off" ? undefined : child.limits })
      case "Timeout":
        return go(child.route, { ...env, timeout: Duration.toMillis(child.duration) })
      case "FirstTokenTimeout":
        return go(child.route, { ...env, firstTokenTimeout: Duration.toMillis(child.duration) })
      case "IdleTimeout":
        return go(child.route, { ...env, idleTimeout: Duration.toMillis(child.duration) })
      case "Restart":
        return go(child.route, { ...env, restarts: child.times })
      case "Deadline":
        return { _tag: "Deadline", millis: Duration.toMillis(child.duration), plan: go(child.route, env) }
      case "Options":
        return go(child.route, { ...env, options: GatewayOptions.merge(env.options, child.options) })
      case "Validate":
        return go(child.route, env)
      case "FallbackOn":
        return go(child.route, { ...env, on: child.on })
      case "Invalid":
        problems.push(child.problem)
        return child.route === undefined ? { _tag: "Fallback", on: undefined, plans: [] } : go(child.route, env)
    }
  }

  const plan = go(node, {
    options: GatewayOptions.empty,
    timeout: undefined,
    firstTokenTimeout: undefined,
    idleTimeout: undefined,
    restarts: 0,
    retry: undefined,
    breaker: undefined,
    limits: undefined,
    on: undefined
  })
  return { plan, targets, percentiles, problems, isGuarded: targets.some(({ breaker }) => breaker !== undefined) }
}

/** Number of attempts that a retry setting allows on one target; infinite for a schedule. */
export const attemptsOf = (retry: Policy | RetrySchedule | undefined): number => {
  if (retry === undefined) return 1
  if (isSchedule(retry)) return Number.POSITIVE_INFINITY
  // Retries after no failure at all: the first attempt is the only one.
  return retry.on?.length === 0 ? 1 : retry.attempts
}

/** Lists the targets that an input leads to, in order, each once. */
export const targetsOf = <In, Out>(plan: Plan<In, Out>, input: In): ReadonlyArray<Target<In, Out>> => {
  switch (plan._tag) {
    case "Target":
      return [plan]
    case "Fallback":
    case "Race":
    case "Balance":
      return [...new Set(plan.plans.flatMap((one) => targetsOf(one, input)))]
    case "Hedge":
    case "Deadline":
      return targetsOf(plan.plan, input)
    case "When":
      return targetsOf(plan.predicate(input) ? plan.onTrue : plan.onFalse, input)
  }
}
