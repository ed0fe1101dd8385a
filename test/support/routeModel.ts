/**
 * A second implementation of routes on the client, as simple as possible: without gateways, fibers and clocks.
 * Random waits and hints beyond the patience of a policy are not in it.
 */
import type { ReasonTag } from "effect-ai-gateway/GatewayError"
import type { Input, Policy, Spec } from "./randomRoutes.ts"

/** The answer of a target, and its delay. `hint` asks for a wait. */
export interface Says {
  /** `odd`: an answer that checks reject. */
  readonly tag: ReasonTag | "ok" | "odd"
  readonly millis: number
  readonly hint?: number | undefined
}

/** One attempt, in milliseconds since the start of the run. */
export interface Made {
  readonly key: string
  readonly startedAt: number
  readonly millis: number
  readonly outcome: ReasonTag | "ok"
}

export interface Modelled {
  readonly made: ReadonlyArray<Made>
  readonly answeredBy: string | undefined
  readonly millis: number
}

type Failure = ReasonTag | "Timeout of the deadline"

/** After these the same target is asked again, unless the policy says otherwise. */
const again: ReadonlyArray<Failure> = ["ProviderUnavailable", "RateLimited", "Timeout", "TransportFailure"]
/** After these no further target is called, unless `fallbackOn` lists them. */
const stops: ReadonlyArray<Failure> = ["InvalidRequest"]

const tagOf = (failure: Failure): ReasonTag => (failure === "Timeout of the deadline" ? "Timeout" : failure)

const backoff = ({ backoff, delay }: Policy, made: number): number => {
  const grown = { constant: delay, linear: delay * made, exponential: delay * 2 ** (made - 1) }[backoff]
  return Math.min(grown, Math.max(5000, delay))
}

interface Env {
  readonly isChecked: boolean
  readonly policy: Policy | undefined
  readonly timeout: number
  readonly on: ReadonlyArray<ReasonTag> | undefined
  readonly deadline: number
}

/** Runs a spec. `says` is asked once per attempt. */
export const model = (spec: Spec, input: Input, says: () => Says): Modelled => {
  const made: Array<Made> = []
  let now = 0
  let leaves = 0
  let conditions = 0

  const ask = (key: string, { deadline, isChecked, policy, timeout }: Env): Failure | undefined => {
    for (let attempt = 1; ; attempt++) {
      const startedAt = now
      const { hint, millis, tag: said } = says()
      const tag = said !== "odd" ? said : isChecked ? "InvalidResponse" : "ok"
      const limit = Math.min(timeout, deadline - now)
      const late = millis > limit
      now += late ? limit : millis
      const failure: Failure = late
        ? timeout <= deadline - startedAt
          ? "Timeout"
          : "Timeout of the deadline"
        : tag === "ok"
          ? "Unknown"
          : tag
      made.push({ key, startedAt, millis: now - startedAt, outcome: late ? "Timeout" : tag })
      if (!late && tag === "ok") return undefined
      if (policy === undefined || attempt >= policy.attempts) return failure
      if (policy.on === undefined ? !again.includes(failure) : !policy.on.includes(tagOf(failure))) return failure
      const wait = Math.max(backoff(policy, attempt), late || policy.retryAfter === false ? 0 : (hint ?? 0))
      if (now + wait >= deadline) return failure
      now += wait
    }
  }

  /** The names of leaves and conditions go by the text of a route, also where it is not run. */
  const skip = ({ shape }: Spec): void => {
    if (shape._tag === "Leaf") leaves++
    else if (shape._tag === "Fallback") shape.routes.forEach(skip)
    else {
      conditions++
      skip(shape.onTrue)
      skip(shape.onFalse)
    }
  }

  const go = (node: Spec, outer: Env): { readonly answeredBy: string } | Failure => {
    const { shape } = node
    const env: Env = {
      policy: node.retry ?? outer.policy,
      timeout: node.timeout ?? outer.timeout,
      on: node.on ?? outer.on,
      isChecked: outer.isChecked || node.isChecked === true,
      deadline: Math.min(outer.deadline, now + (node.deadline ?? Number.POSITIVE_INFINITY))
    }
    switch (shape._tag) {
      case "Leaf": {
        const key = `p${leaves++}/m`
        return ask(key, env) ?? { answeredBy: key }
      }
      case "When": {
        const answer = input.bits[conditions++] ?? false
        if (!answer) skip(shape.onTrue)
        const result = go(answer ? shape.onTrue : shape.onFalse, env)
        if (answer) skip(shape.onFalse)
        return result
      }
      case "Fallback": {
        let last: ReturnType<typeof go> = "Unknown"
        let over = false
        for (const route of shape.routes) {
          if (over) {
            skip(route)
            continue
          }
          last = go(route, env)
          over =
            typeof last !== "string" ||
            (env.on === undefined ? stops.includes(last) : !env.on.includes(tagOf(last))) ||
            now >= env.deadline
        }
        return last
      }
    }
  }

  const unlimited = Number.POSITIVE_INFINITY
  const result = go(spec, {
    policy: undefined,
    timeout: unlimited,
    on: undefined,
    isChecked: false,
    deadline: unlimited
  })
  return { made, answeredBy: typeof result === "string" ? undefined : result.answeredBy, millis: now }
}
