/**
 * Routes as text for people: an indented tree, and a Mermaid flow chart.
 */
import * as Duration from "effect/Duration"
import * as GatewayOptions from "../../GatewayOptions.ts"
import type { BreakerSettings } from "../admission/breaker.ts"
import { defaultBurst, defaultSkew, type LimitSettings } from "../admission/limits.ts"
import { millisOf } from "../data/duration.ts"
import { counted } from "../data/numbers.ts"
import {
  type FallbackOn,
  type Hedging,
  isSchedule,
  type Leaf,
  type Node,
  type Policy,
  type RetrySchedule
} from "./node.ts"
import { attemptsOf, type Plan, type Planned, type Target } from "./plan.ts"

const time = (millis: number): string => Duration.format(Duration.millis(millis))

const policyText = (policy: Policy | RetrySchedule): string => {
  if (isSchedule(policy)) return "by a schedule"
  const { attempts, backoff, delay, jitter, maxDelay, on, retryAfter } = policy
  return [
    counted(attempts, "attempt"),
    `${backoff} from ${time(delay)} up to ${time(maxDelay)}`,
    ...(jitter > 0 ? [`jitter ${jitter}`] : []),
    ...(retryAfter ? [] : ["ignoring hints"]),
    ...(on === undefined ? [] : [`on ${on.join(", ") || "nothing"}`])
  ].join(", ")
}

const onText = (on: FallbackOn): string => (typeof on === "function" ? "a function" : on.join(", ") || "nothing")

const percent = (rate: number): string => `${Number((rate * 100).toFixed(1))} %`

const hedgeText = ({ after, max, sideEffects }: Hedging): string => {
  const when =
    typeof after === "number"
      ? time(after)
      : [
          `the time of ${percent(after.percentile)} of answers`,
          ...(after.atLeast === undefined ? [] : [`at least ${time(after.atLeast)}`]),
          ...(after.atMost === undefined ? [] : [`at most ${time(after.atMost)}`])
        ].join(", ")
  return `after ${when}, up to ${max} more${sideEffects ? ", side effects too" : ""}`
}

const weightsText = (weights: ReadonlyArray<number>): string =>
  weights.every((weight) => weight === weights[0]) ? "" : `, weights ${weights.join(", ")}`

const slowText = ({ after, rate }: NonNullable<BreakerSettings["slowCalls"]>): string =>
  ` or ${percent(rate)} slower than ${time(after)}`

const breakerText = ({ failureRate, maxOpenFor, minimumCalls, openFor, slowCalls, window }: BreakerSettings): string =>
  `at ${percent(failureRate)} failures${slowCalls === undefined ? "" : slowText(slowCalls)} of at least ${minimumCalls} attempts in ${time(window)}, open for ${time(openFor)} up to ${time(maxOpenFor)}`

const limitsText = ({ limits, maxWait }: LimitSettings): string => {
  const { burst, concurrency, queue, requestsPerMinute, skew, tokensPerMinute } = limits
  return [
    ...(requestsPerMinute === undefined ? [] : [`${requestsPerMinute} requests a minute`]),
    ...(tokensPerMinute === undefined ? [] : [`${tokensPerMinute} tokens a minute`]),
    ...(burst === undefined || burst === defaultBurst ? [] : [`bursts of ${Number((burst * 100).toFixed(1))} %`]),
    ...(skew === undefined || millisOf(skew) === millisOf(defaultSkew)
      ? []
      : [`counted within ${time(millisOf(skew))}`]),
    ...(concurrency === undefined
      ? []
      : typeof concurrency === "object"
        ? [`${concurrency.min} to ${concurrency.max} at once by the answers`]
        : [`${concurrency} at once`]),
    `a queue of ${queue?.size} up to ${time(maxWait)}`
  ].join(", ")
}

const optionsText = (options: GatewayOptions.GatewayOptions): string =>
  Object.entries(GatewayOptions.toHeaders(options))
    .map(([name, value]) => `${name.replace("cf-aig-", "")}=${value}`)
    .join(", ")

const leafText = (leaf: Leaf<never, unknown>): string =>
  leaf.model === undefined ? `${leaf.provider} ${leaf.label}` : `${leaf.provider} ${leaf.model} (${leaf.label})`

/** Prints a route as an indented tree. */
export const describe = (node: Node<never, unknown>): string => {
  const lines: Array<string> = []
  const go = (child: Node<never, unknown>, indent: string): void => {
    const put = (text: string): void => {
      lines.push(indent + text)
    }
    const below = `${indent}  `
    switch (child._tag) {
      case "Leaf":
        put(leafText(child))
        return
      case "Fallback":
        put("fallback")
        for (const route of child.routes) go(route, below)
        return
      case "Race":
        put(`race${child.sideEffects ? ", side effects too" : ""}`)
        for (const route of child.routes) go(route, below)
        return
      case "Balance":
        put(`balance by ${child.by}${weightsText(child.weights)}`)
        for (const route of child.routes) go(route, below)
        return
      case "Hedge":
        put(child.hedge === "off" ? "no hedge" : `hedge ${hedgeText(child.hedge)}`)
        break
      case "When":
        put(`when ${child.label}`)
        go(child.onTrue, below)
        put("otherwise")
        go(child.onFalse, below)
        return
      case "Retry":
        put(`retry ${policyText(child.policy)}`)
        break
      case "CircuitBreaker":
        put(child.breaker === "off" ? "no circuit breaker" : `circuit breaker ${breakerText(child.breaker)}`)
        break
      case "Limits":
        put(child.limits === "off" ? "no limits" : `limits ${limitsText(child.limits)}`)
        break
      case "Timeout":
        put(`timeout ${Duration.format(child.duration)} until the first byte of each attempt`)
        break
      case "FirstTokenTimeout":
        put(`first token within ${Duration.format(child.duration)} of each streamed attempt`)
        break
      case "IdleTimeout":
        put(`idle timeout ${Duration.format(child.duration)} between the chunks of a stream`)
        break
      case "Restart":
        put(`restart a broken stream up to ${child.times} times`)
        break
      case "Deadline":
        put(`deadline ${Duration.format(child.duration)}`)
        break
      case "Options":
        put(`options ${optionsText(child.options)}`)
        break
      case "Validate":
        put(
          child.validation.isObject === true
            ? "an object by a schema"
            : `validate by a ${child.validation.schema === undefined ? "function" : "schema"}`
        )
        break
      case "FallbackOn":
        put(`fall back on ${onText(child.on)}`)
        break
      case "Invalid":
        put(`INVALID ${child.problem.field}: expected ${child.problem.accepted}`)
        if (child.route !== undefined) go(child.route, below)
        return
    }
    go(child.route, below)
  }
  go(node, "")
  return lines.join("\n")
}

// Mermaid accepts numeric character codes in quoted labels. Unescaped, these would end or style a label, or (`%`)
// configure the chart.
const escaped = (text: string): string =>
  text.replace(/[&<>"#`%]/g, (c) => `#${c.charCodeAt(0)};`).replace(/[\r\n\u2028\u2029]+/g, " ")

const targetText = (target: Target<never, unknown>): string => {
  const { breaker, leaf, limits, retry, timeout } = target
  const attempts = attemptsOf(retry)
  return [
    escaped(target.key),
    ...(retry === undefined || attempts === 1
      ? []
      : [isSchedule(retry) ? "retried by a schedule" : `up to ${attempts} attempts`]),
    ...(breaker === undefined ? [] : ["circuit breaker"]),
    ...(limits === undefined ? [] : [escaped(`limits ${limitsText(limits)}`)]),
    ...(leaf.isValidated === true ? ["validated"] : []),
    ...(timeout === undefined ? [] : [`first byte within ${time(timeout)}`])
  ].join("<br/>")
}

/** Draws a plan as a Mermaid flow chart. */
export const toMermaid = ({ plan, problems }: Planned<never, unknown>): string => {
  const nodes: Array<string> = []
  // An arrow inside a subgraph would draw both of its ends into it, so all arrows come after the nodes.
  const arrows: Array<string> = []
  let count = 0
  const id = (): string => `n${++count}`
  const within = (title: string, plan: Plan<never, unknown>, onFailure: string, indent: string): string => {
    const name = id()
    nodes.push(`${indent}subgraph ${name}["${escaped(title)}"]`)
    const entry = go(plan, onFailure, `${indent}  `)
    nodes.push(`${indent}end`)
    return entry
  }
  // Each returns the node that a call enters first; `onFailure` is the node after a failure of all of it.
  const go = (child: Plan<never, unknown>, onFailure: string, indent: string): string => {
    switch (child._tag) {
      case "Target": {
        const name = id()
        nodes.push(`${indent}${name}["${targetText(child)}"]`)
        arrows.push(`${name} --> answer`, `${name} -.-> ${onFailure}`)
        return name
      }
      case "Fallback": {
        // Drawn from last to first, because each points to the next.
        let next = onFailure
        for (const one of child.plans.toReversed()) next = go(one, next, indent)
        return next
      }
      case "Race": {
        const name = id()
        nodes.push(`${indent}${name}{{"all at once"}}`)
        for (const one of child.plans) arrows.push(`${name} --> ${go(one, onFailure, indent)}`)
        return name
      }
      case "Balance": {
        const name = id()
        nodes.push(`${indent}${name}{{"${escaped(`by ${child.by}${weightsText(child.weights)}`)}"}}`)
        for (const one of child.plans) arrows.push(`${name} --> ${go(one, onFailure, indent)}`)
        return name
      }
      case "Hedge":
        return within(
          child.hedge === undefined ? "no hedge" : `hedge ${hedgeText(child.hedge)}`,
          child.plan,
          onFailure,
          indent
        )
      case "Deadline":
        return within(`deadline ${time(child.millis)}`, child.plan, onFailure, indent)
      case "When": {
        const name = id()
        nodes.push(`${indent}${name}{"${escaped(child.label)}"}`)
        arrows.push(`${name} -- yes --> ${go(child.onTrue, onFailure, indent)}`)
        arrows.push(`${name} -- no --> ${go(child.onFalse, onFailure, indent)}`)
        return name
      }
    }
  }
  const entry = go(plan, "failure", "  ")
  return [
    "flowchart TD",
    '  request(["request"])',
    '  answer(["answer"])',
    '  failure(["failure"])',
    ...nodes,
    `  request --> ${entry}`,
    ...arrows.map((arrow) => `  ${arrow}`),
    ...problems.map(({ accepted, field }) => `  %% INVALID ${escaped(field)}: expected ${escaped(accepted)}`)
  ].join("\n")
}
