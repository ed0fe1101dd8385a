/** Processes a request from any surface: cache, rate limit, then leg after leg, each with its log entry. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Faults from "../upstream/faults.ts"
import { code, dataPlaneError, Refusal, refuse } from "../wire/errors.ts"
import type { Answer, Disconnect, Handler } from "../wire/protocol.ts"
import * as Cache from "./cache.ts"
import type { GatewayJob, LegPlan } from "./job.ts"
import { type AttemptOutcome, decide, type LegResult, runLeg } from "./leg.ts"
import { entryOf, type LegRecord, streamObserver, unobserved } from "./logEntry.ts"
import { isCredential } from "./providers.ts"
import type { GatewayState } from "./state.ts"

type Headers = Readonly<Record<string, string>>

/** A leg in progress. */
interface Step {
  readonly core: GatewayState
  readonly job: GatewayJob
  readonly plan: LegPlan
  readonly index: number
  readonly requestId: string
  /** `undefined` when nothing is cached. */
  readonly cacheKey: string | undefined
  readonly now: () => number
}

/** Status in the log for a leg whose client left. */
const clientClosed = 499

// Headers of one connection, and the gateway's own.
const dropped = /^(connection|keep-alive|transfer-encoding|content-length|content-encoding|trailer|upgrade|cf-aig-.*)$/

const passed = (answer: Answer): Answer => ({
  ...answer,
  headers: Object.fromEntries(Object.entries(answer.headers).filter(([name]) => !dropped.test(name)))
})

const refusalOf = (outcome: Exclude<AttemptOutcome, { readonly _tag: "Answered" }>): Refusal => {
  switch (outcome._tag) {
    case "Refused":
      return outcome.refusal
    case "TimedOut":
      return refuse(408, code.timeout, "The provider did not answer within the request timeout")
    case "Failed":
      return refuse(400, code.upstreamFailed, "Failed to get response from provider")
  }
}

const eventIdOf = ({ plan, requestId }: Step): string => plan.options.eventId ?? requestId

const cacheKeyOf = (
  { gateway }: GatewayJob,
  { options, refusal, request }: LegPlan
): Effect.Effect<string | undefined> =>
  gateway === undefined || options.cacheTtl === undefined || refusal !== undefined
    ? Effect.succeed(undefined)
    : Cache.keyOf(gateway.id, request, options.cacheKey)

const metaHeaders = (step: Step, logId: string | undefined, hit: boolean): Headers => {
  const { cacheKey, index, job, plan, requestId } = step
  if (job.gateway === undefined) return {}
  return {
    "cf-aig-request-id": requestId,
    "cf-aig-event-id": eventIdOf(step),
    "cf-aig-step": String(index),
    ...(logId === undefined ? {} : { "cf-aig-log-id": logId }),
    ...(cacheKey === undefined ? {} : { "cf-aig-cache-status": hit ? "HIT" : "MISS" }),
    ...(plan.routing === undefined
      ? {}
      : {
          "cf-aig-routed-model": plan.routing.model,
          "cf-aig-routing-decision-id": requestId,
          "cf-aig-routing-reason": plan.routing.reason
        }),
    ...(plan.dynamic ? { "cf-aig-model": plan.request.model ?? "", "cf-aig-provider": plan.request.provider } : {})
  }
}

const withHeaders = (answer: Answer, headers: Headers): Answer => ({
  ...answer,
  headers: { ...answer.headers, ...headers }
})

/** The id of the leg's log entry; the id of the request when there is only one leg. */
const newLogId = ({ core, job, plan, requestId }: Step): Effect.Effect<string | undefined> => {
  if (job.gateway === undefined || !plan.options.collectLog) return Effect.succeed(undefined)
  return job.legs.length === 1 ? Effect.succeed(requestId) : core.nextId
}

const log = (
  step: Step,
  id: string | undefined,
  result: Pick<LegRecord, "startedAt" | "status" | "cached" | "answer">
): void => {
  const { core, index, job, now, plan } = step
  if (id === undefined || job.gateway === undefined) return
  const endedAt = now()
  // The entry of a stream appears when the stream has ended.
  const streams = result.answer?.body instanceof ReadableStream
  const visibleAt = streams ? Number.POSITIVE_INFINITY : endedAt + core.settings.freshLogDelay
  const facts: LegRecord = { ...result, id, eventId: eventIdOf(step), endedAt, visibleAt }
  core.logs.add(entryOf(job.gateway, job, plan, index, facts))
}

/** The stored answer of a leg, if there is one. */
const fromCache = Effect.fnUntraced(function* (step: Step) {
  const { cacheKey, core, now, plan } = step
  const answer = cacheKey === undefined || plan.options.skipCache ? undefined : core.cache.get(cacheKey, now())
  if (answer === undefined) return undefined
  const logId = yield* newLogId(step)
  log(step, logId, { startedAt: now(), status: answer.status, cached: true, answer })
  return withHeaders(answer, metaHeaders(step, logId, true))
})

const credentialMissing = ({ options, request }: LegPlan): boolean =>
  options.noWholesale &&
  options.byokAlias === undefined &&
  request.provider !== "workers-ai" &&
  !Object.keys(request.headers).some(isCredential)

const handlerOf = (core: GatewayState, plan: LegPlan): Handler | Refusal => {
  const { model, provider } = plan.request
  if (plan.refusal !== undefined) return plan.refusal
  const handler = core.handler(provider, model)
  if (handler === undefined) return refuse(400, code.unknownProvider, "Invalid provider")
  if (credentialMissing(plan)) {
    return refuse(400, code.noStoredKey, "No credential for this provider, and Unified Billing is ruled out")
  }
  const { faults } = plan
  if (faults === undefined) return handler
  return (request) => Faults.react(faults.next(), request, handler)
}

const statusOf = (exit: Exit.Exit<LegResult, Disconnect>): Pick<LegRecord, "status" | "answer"> => {
  if (Exit.isFailure(exit)) return { status: clientClosed, answer: undefined }
  const { outcome } = exit.value
  if (outcome._tag === "Answered") return { status: outcome.answer.status, answer: outcome.answer }
  const answer = dataPlaneError(refusalOf(outcome))
  return { status: answer.status, answer: outcome._tag === "Refused" ? answer : undefined }
}

const execute = (step: Step, logId: string | undefined): Effect.Effect<LegResult, Disconnect> => {
  const { core, index, now, plan } = step
  const handler = handlerOf(core, plan)
  if (handler instanceof Refusal) {
    const outcome: AttemptOutcome = { _tag: "Refused", refusal: handler }
    return Effect.succeed({ outcome, success: false, next: decide(outcome, now()).next })
  }
  const observer =
    logId === undefined ? unobserved : streamObserver(core.logs, logId, plan.options, now, core.settings.freshLogDelay)
  const leg = { calls: core.calls, bodies: core.bodies, handler, request: plan.request, observer }
  return runLeg(leg, plan.options, { leg: index, eventId: eventIdOf(step), logId })
}

const store = ({ cacheKey, core, now, plan }: Step, answer: Answer): void => {
  const { cacheTtl } = plan.options
  if (cacheKey === undefined || cacheTtl === undefined || !Cache.isCacheable(answer)) return
  // Cookies belong to the first caller.
  const { cookies: _, ...kept } = answer
  core.cache.set(cacheKey, kept, now() + cacheTtl * 1000)
}

/** Runs a leg and logs it, however it ends. `undefined` means that the next leg is tried. */
const runStep = Effect.fnUntraced(function* (
  step: Step,
  isLast: boolean
): Effect.fn.Return<Answer | undefined, Refusal | Disconnect> {
  const startedAt = step.now()
  const logId = yield* newLogId(step)
  const { next, outcome, success } = yield* execute(step, logId).pipe(
    Effect.onExit((exit) => Effect.sync(() => log(step, logId, { startedAt, cached: false, ...statusOf(exit) })))
  )
  if (!success && next && !isLast) return undefined
  const headers = metaHeaders(step, logId, false)
  if (outcome._tag !== "Answered") {
    const { code, message, status } = refusalOf(outcome)
    return yield* new Refusal({ status, code, message, headers })
  }
  const answer = passed(outcome.answer)
  store(step, answer)
  return withHeaders(answer, headers)
})

const limited = ({ gateway }: GatewayJob, step: Step): boolean =>
  gateway?.rateLimit !== undefined && !step.core.rateLimit.take(gateway.id, gateway.rateLimit, step.now())

/** Runs a request. Fails with a refusal, which the surface formats. */
export const run = Effect.fnUntraced(function* (
  core: GatewayState,
  job: GatewayJob
): Effect.fn.Return<Answer, Refusal | Disconnect> {
  const clock = yield* Clock.Clock
  const requestId = yield* core.nextId
  const now = (): number => clock.currentTimeMillisUnsafe()
  for (const [index, plan] of job.legs.entries()) {
    const step: Step = { core, job, plan, index, requestId, now, cacheKey: yield* cacheKeyOf(job, plan) }
    // A hit is served before any limit applies.
    const hit = yield* fromCache(step)
    if (hit !== undefined) return hit
    if (index === 0 && limited(job, step)) {
      const headers = { "cf-aig-request-id": requestId, "cf-aig-event-id": eventIdOf(step) }
      return yield* refuse(429, code.rateLimited, "Rate limited", headers)
    }
    const answer = yield* runStep(step, index === job.legs.length - 1)
    if (answer !== undefined) return answer
  }
  return yield* refuse(400, code.upstreamFailed, "Failed to get response from provider")
})
