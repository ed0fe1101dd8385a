/**
 * Translates a plan for one input into a form that the gateway can execute. Whatever that form cannot express is a
 * loss; nothing is clamped.
 */
import * as Duration from "effect/Duration"
import * as Result from "effect/Result"
import { type Skipped, Unsupported } from "../../GatewayError.ts"
import * as GatewayOptions from "../../GatewayOptions.ts"
import type { Leg, UniversalRequest } from "../../UniversalRequest.ts"
import { defined } from "../data/defined.ts"
import { balanceLoss, type Flow, flowOf } from "./dynamicFlow.ts"
import { type Built, isSchedule, type Policy, type Unbuildable, uncappedMillis } from "./node.ts"
import type { Plan, Planned, Target } from "./plan.ts"

/** The kind of a loss: a feature that the compiled route lacks. */
export type LossKind =
  /** The route itself is invalid, or the input does not encode. */
  | "invalid"
  /** The wait between attempts would not be random. */
  | "jitter"
  /** A server's hint would be ignored. */
  | "retryAfter"
  /** Nothing would bound the complete run. */
  | "deadline"
  /** An Effect schedule is a program. */
  | "schedule"
  /** More than five attempts. */
  | "attempts"
  /** A delay of more than five seconds, or one that the policy would have capped. */
  | "delay"
  /** The gateway's last attempt waits for the provider without a limit. */
  | "lastAttemptTimeout"
  /** The gateway cannot choose which reasons are retried. */
  | "retryOn"
  /** The gateway cannot choose which reasons move on to the next target. */
  | "fallbackOn"
  /** No target would be called before its turn. */
  | "hedge"
  /** The targets would be called one after the other. */
  | "race"
  /** Failing targets would be called nevertheless. */
  | "breaker"
  /** A request would be sent at once, whatever the limits of its target. */
  | "limits"
  /** Nothing would check an answer (dynamic routes only: the router checks the answer of a universal request). */
  | "validate"
  /**
   * The targets would be called in the declared order; in a dynamic route, weights would choose only the first of three
   * or more.
   */
  | "balance"
  /** A condition on the input (dynamic routes only: a universal request is compiled for one input). */
  | "predicate"
  /** Gateway options that a dynamic route takes from its gateway or from the request. */
  | "options"
  /** The target is not an OpenAI-shaped chat with stored keys. */
  | "dialect"

/** A feature that the compiled route lacks. */
export interface Loss {
  readonly kind: LossKind
  /** Key of the target that it concerns; absent if it concerns none in particular. */
  readonly target?: string
  readonly detail: string
}

/** A universal request: `GatewayService.run(legs, options)` executes it. */
export interface CompiledUniversal {
  readonly target: "universal"
  readonly legs: UniversalRequest
  readonly options: GatewayOptions.Input
  /** Keys of the targets, by leg. */
  readonly keys: ReadonlyArray<string>
  /** Losses that were allowed. */
  readonly losses: ReadonlyArray<Loss>
}

/** An element of a dynamic route, in the form of Cloudflare's API. */
export type DynamicElement =
  | { readonly id: string; readonly type: "start"; readonly outputs: { readonly next: { readonly elementId: string } } }
  | {
      readonly id: string
      readonly type: "model"
      readonly properties: {
        readonly provider: string
        readonly model: string
        readonly timeout: number
        readonly retries: number
      }
      readonly outputs: {
        readonly success: { readonly elementId: string }
        readonly fallback: { readonly elementId: string }
      }
    }
  | {
      readonly id: string
      readonly type: "percentage"
      /** Shares such as `"75%"`, and `else` for the rest. */
      readonly outputs: Readonly<Record<string, { readonly elementId: string }>>
    }
  | { readonly id: string; readonly type: "end"; readonly outputs: Readonly<Record<string, never>> }

/** A Cloudflare dynamic route: the `elements` to create it with. */
export interface CompiledDynamic {
  readonly target: "dynamic"
  readonly elements: ReadonlyArray<DynamicElement>
  readonly losses: ReadonlyArray<Loss>
}

const loss = (kind: LossKind, detail: string, target?: string): Loss => ({ kind, detail, ...defined({ target }) })

/** Lists the targets that an input can reach, in order, and the losses of the nodes around them. */
const linearize = <In, Out>(
  plan: Plan<In, Out>,
  input: In | undefined,
  losses: Array<Loss>,
  // Not imported here: a router carries this code, and makes no dynamic routes.
  dynamic?: typeof balanceLoss
) => {
  const out: Array<Target<In, Out>> = []
  const fallbackLoss = (child: { readonly on: unknown; readonly plans: ReadonlyArray<unknown> }): void => {
    if (child.on !== undefined && child.plans.length > 1) {
      losses.push(loss("fallbackOn", "the gateway decides which failures move on"))
    }
  }
  const go = (child: Plan<In, Out>, isBalanced = false): void => {
    switch (child._tag) {
      case "Target":
        if (child.breaker !== undefined) losses.push(loss("breaker", "the gateway skips no target", child.key))
        if (child.limits !== undefined) losses.push(loss("limits", "the gateway does not apply limits", child.key))
        out.push(child)
        return
      case "Fallback":
        fallbackLoss(child)
        for (const one of child.plans) go(one, isBalanced)
        return
      case "Race":
        losses.push(loss("race", "the gateway calls one target after the other"))
        for (const one of child.plans) go(one, isBalanced)
        return
      case "Balance": {
        fallbackLoss(child)
        const lost = dynamic === undefined ? "the gateway keeps the declared order" : dynamic(child, isBalanced)
        if (lost !== undefined) losses.push(loss("balance", lost))
        for (const one of child.plans) go(one, true)
        return
      }
      case "Hedge":
        if (child.hedge !== undefined)
          losses.push(loss("hedge", "the gateway calls a target after the one before failed"))
        go(child.plan, isBalanced)
        return
      case "Deadline":
        losses.push(loss("deadline", `${child.millis} ms can only be kept on the client`))
        go(child.plan, isBalanced)
        return
      case "When":
        if (dynamic !== undefined || input === undefined) {
          losses.push(loss("predicate", `"${child.label}" is a function of the input`))
          go(child.onTrue, isBalanced)
        } else {
          go(child.predicate(input) ? child.onTrue : child.onFalse, isBalanced)
        }
    }
  }
  go(plan)
  return out
}

const retryLosses = (target: Target<never, unknown>, losses: Array<Loss>): Policy | undefined => {
  const { key, retry, timeout } = target
  if (retry === undefined) return undefined
  if (isSchedule(retry)) {
    losses.push(loss("schedule", "a schedule is a program", key))
    return undefined
  }
  if (retry.attempts === 1) return retry
  if (retry.attempts > GatewayOptions.maxAttempts) {
    losses.push(loss("attempts", `${retry.attempts}; the gateway makes at most ${GatewayOptions.maxAttempts}`, key))
  }
  const limit = Duration.toMillis(GatewayOptions.maxRetryDelay)
  if (retry.delay > limit || !Number.isInteger(retry.delay)) {
    losses.push(loss("delay", `${retry.delay} ms; the gateway takes whole milliseconds up to ${limit}`, key))
  } else if (uncappedMillis(retry, retry.attempts - 1) > retry.maxDelay) {
    losses.push(loss("delay", `capped at ${retry.maxDelay} ms; the gateway has no cap`, key))
  }
  if (retry.jitter > 0) losses.push(loss("jitter", "the gateway's delays are fixed", key))
  if (retry.retryAfter)
    losses.push(loss("retryAfter", "the gateway does not heed a server's hint (`retryAfter: false` accepts that)", key))
  if (retry.on !== undefined) losses.push(loss("retryOn", "the gateway decides which failures are retried", key))
  if (timeout !== undefined) {
    losses.push(loss("lastAttemptTimeout", "the gateway's last attempt ignores the timeout", key))
  }
  return retry
}

/** Fails with the losses that `allow` does not list, if there are any. */
const settle = <A>(
  losses: ReadonlyArray<Loss>,
  allow: ReadonlyArray<LossKind>,
  make: () => A | undefined
): Result.Result<A, ReadonlyArray<Loss>> => {
  const refused = losses.filter(({ kind }) => kind === "invalid" || !allow.includes(kind))
  const made = refused.length === 0 ? make() : undefined
  return made === undefined ? Result.fail(refused) : Result.succeed(made)
}

const invalidLosses = (planned: Planned<never, unknown>): Array<Loss> =>
  planned.problems.map(({ accepted, field }) => loss("invalid", `${field}: expected ${accepted}`))

/** Builds the request of a target for one input. */
export type Building<In> = (target: Target<In, unknown>, input: In) => Result.Result<Built, Unbuildable>

/** Options for making a universal request. */
export interface UniversalOptions<In> {
  readonly build?: Building<In> | undefined
  /** Builds bodies only when there is no other loss, and reports only that there are losses. */
  readonly isBrief?: boolean
  /** Receives the targets that cannot express the input; without it they are losses. */
  readonly skipped?: Array<Skipped>
}

const buildWhole = <In>(target: Target<In, unknown>, input: In) => target.leaf.build(input)

/** Builds the legs of targets for one input. A leg's own options are in its headers and `config`. */
const toLegs = <In, Out>(
  targets: ReadonlyArray<Target<In, Out>>,
  input: In,
  losses: Array<Loss>,
  { build = buildWhole, skipped }: UniversalOptions<In>
): ReadonlyArray<{ readonly leg: Leg; readonly target: Target<In, Out> }> =>
  targets.flatMap((target) => {
    const built = build(target, input)
    if (Result.isFailure(built)) {
      const { accepted, field, isUnsupported } = built.failure
      if (isUnsupported && skipped !== undefined) {
        skipped.push({ target: target.key, reason: new Unsupported({ field, accepted }) })
        return []
      }
      losses.push(loss("invalid", `${built.failure.field}: expected ${built.failure.accepted}`, target.key))
      return []
    }
    const policy = target.retry === undefined || isSchedule(target.retry) ? undefined : target.retry
    const timeout = target.timeout === undefined ? target.options.timeout : Duration.millis(target.timeout)
    // One logical request has one event id, which belongs to the request and not to its legs.
    const { eventId: _, ...options } = target.options
    const { config, headers } = GatewayOptions.toLeg({ ...options, ...defined({ timeout }) })
    const retries =
      policy === undefined || policy.attempts === 1
        ? // Stated explicitly, because the gateway may have its own defaults.
          { maxAttempts: target.options.retries?.attempts ?? 1 }
        : // More is a loss; if it is allowed, the gateway gets its maximum.
          {
            maxAttempts: Math.min(policy.attempts, GatewayOptions.maxAttempts),
            retryDelay: Math.min(Math.round(policy.delay), Duration.toMillis(GatewayOptions.maxRetryDelay)),
            backoff: policy.backoff
          }
    const leg: Leg = {
      provider: target.leaf.provider,
      endpoint: built.success.endpoint,
      headers: { ...headers, ...target.leaf.headers },
      query: built.success.query,
      config: { ...config, ...retries }
    }
    return [{ leg, target }]
  })

/** The legs of a universal request, the target of each, and the losses that were allowed. */
export interface Universal<In, Out> {
  readonly legs: UniversalRequest
  readonly targets: ReadonlyArray<Target<In, Out>>
  readonly losses: ReadonlyArray<Loss>
}

/** Plans with losses for every input. */
const lossy = new WeakSet<object>()

const hasWhen = (plan: Plan<never, unknown>): boolean =>
  plan._tag === "When" || ("plan" in plan ? hasWhen(plan.plan) : "plans" in plan && plan.plans.some(hasWhen))

/** Translates a plan into one universal request. */
export const toUniversal = <In, Out>(
  planned: Planned<In, Out>,
  input: In,
  allow: ReadonlyArray<LossKind>,
  options: UniversalOptions<In> = {}
): Result.Result<Universal<In, Out>, ReadonlyArray<Loss>> => {
  // Most routes have a deadline or heed hints; without the cache every run would compute these losses again.
  const { isBrief = false, skipped } = options
  if (isBrief && lossy.has(planned.plan)) return Result.fail([])
  const losses = invalidLosses(planned)
  const targets = linearize(planned.plan, input, losses)
  for (const target of targets) retryLosses(target, losses)
  if (isBrief && losses.length > 0) {
    if (!hasWhen(planned.plan)) lossy.add(planned.plan)
    return Result.fail(losses)
  }
  const made = toLegs(targets, input, losses, options)
  const [first, ...rest] = made.map(({ leg }) => leg)
  if (first === undefined) {
    for (const { reason, target } of skipped ?? []) losses.push(loss("invalid", reason.message, target))
  }
  return settle(losses, allow, () =>
    first === undefined ? undefined : { legs: [first, ...rest], targets: made.map(({ target }) => target), losses }
  )
}

/** Compiles a plan to one universal request. */
export const compileUniversal = <In, Out>(
  planned: Planned<In, Out>,
  input: In,
  allow: ReadonlyArray<LossKind>
): Result.Result<CompiledUniversal, ReadonlyArray<Loss>> =>
  Result.map(toUniversal(planned, input, allow), ({ legs, losses, targets }) => ({
    target: "universal",
    legs,
    options: defined({ eventId: targets[0]?.options.eventId }),
    keys: targets.map(({ key }) => key),
    losses
  }))

/** Timeout of a model element, in milliseconds, when the route sets none. */
export const defaultDynamicTimeout = 30_000

/**
 * Compiles a plan to the elements of a Cloudflare dynamic route. `retries` of a `model` element does not count the
 * first attempt.
 */
export const toDynamic = <In, Out>(
  planned: Planned<In, Out>,
  allow: ReadonlyArray<LossKind>
): Result.Result<CompiledDynamic, ReadonlyArray<Loss>> => {
  const losses = invalidLosses(planned)
  const targets = linearize(planned.plan, undefined, losses, balanceLoss)
  for (const target of targets) {
    const { key, leaf, options } = target
    const policy = retryLosses(target, losses)
    if (leaf.isValidated === true) {
      losses.push(loss("validate", "a dynamic route does not judge answers", key))
    }
    if (leaf.spec?.kind !== "chat") {
      losses.push(loss("dialect", "only chat targets have a place in a dynamic route", key))
    }
    if (Object.keys(leaf.headers).length > 0 || leaf.spec?.body !== undefined) {
      losses.push(
        loss(
          "dialect",
          "headers, credentials and extra fields of a target are not part of a dynamic route; keys must be stored",
          key
        )
      )
    }
    if (Object.keys(options).length > 0) {
      losses.push(loss("options", "cache, metadata and the like belong to the request or to the gateway", key))
    }
    if (policy !== undefined && policy.attempts > 1) {
      losses.push(loss("delay", "a dynamic route has no delay between attempts", key))
    }
    if (target.timeout === undefined) {
      losses.push(
        loss("lastAttemptTimeout", `a dynamic route needs a timeout; ${defaultDynamicTimeout} ms would be set`, key)
      )
    }
  }
  return settle(losses, allow, () =>
    targets.length === 0
      ? undefined
      : { target: "dynamic", elements: elementsOf(flowOf(planned.plan, { _tag: "End" })), losses }
  )
}

/**
 * Returns the elements of a flow, in the order in which a request can reach them. Two branches share their common
 * elements.
 */
const elementsOf = (flow: Flow<never, unknown>): ReadonlyArray<DynamicElement> => {
  const ids = new Map<Flow<never, unknown>, string>()
  const flows: Array<Flow<never, unknown>> = []
  const count = { Model: 0, Percentage: 0 }
  const visit = (one: Flow<never, unknown>): void => {
    if (ids.has(one)) return
    if (one._tag === "End") {
      ids.set(one, "end")
      return
    }
    ids.set(one, `${one._tag === "Model" ? "target" : "split"}-${++count[one._tag]}`)
    flows.push(one)
    if (one._tag === "Model") visit(one.next)
    else one.branches.forEach(visit)
  }
  visit(flow)
  const to = (one: Flow<never, unknown>) => ({ elementId: ids.get(one) ?? "end" })
  const elements = flows.flatMap((one): ReadonlyArray<DynamicElement> => {
    const { elementId: id } = to(one)
    if (one._tag === "End") return []
    if (one._tag === "Model") {
      const { leaf, retry, timeout = defaultDynamicTimeout } = one.target
      const attempts = retry === undefined || isSchedule(retry) ? 1 : retry.attempts
      const properties = {
        provider: leaf.provider,
        model: leaf.model ?? leaf.label,
        timeout,
        retries: attempts - 1
      }
      return [{ id, type: "model", properties, outputs: { success: { elementId: "end" }, fallback: to(one.next) } }]
    }
    const outputs = one.branches.map((branch, index) => {
      const share = one.shares[index]
      return [share === undefined ? "else" : `${share}%`, to(branch)] as const
    })
    return [{ id, type: "percentage", outputs: Object.fromEntries(outputs) }]
  })
  return [
    { id: "start", type: "start", outputs: { next: to(flow) } },
    ...elements,
    { id: "end", type: "end", outputs: {} }
  ]
}
