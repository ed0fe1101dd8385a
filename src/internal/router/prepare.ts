/**
 * Prepares a run, complete or streamed: checks, the event id, and the place of execution.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import { type Attempt, GatewayError, InvalidRequest, invalid } from "../../GatewayError.ts"
import * as GatewayOptions from "../../GatewayOptions.ts"
import type { Pricing } from "../../Pricing.ts"
import type { Leg } from "../../UniversalRequest.ts"
import { priorities } from "../admission/permit.ts"
import { withFacts } from "../data/attempts.ts"
import { refusal } from "../gateway/backend.ts"
import { logWithLevel } from "../hotpath/logWithLevel.ts"
import { withoutStack } from "../hotpath/stackless.ts"
import { type Building, type Loss, toUniversal } from "../route/compile.ts"
import type { Node } from "../route/node.ts"
import { makePlan, type Plan, type Planned, type Target } from "../route/plan.ts"
import { type Additions, add, additionsOf } from "./additions.ts"
import { factsOf, method, type Run, requestedOf, type SendLegs } from "./attempt.ts"
import { hedgesIn } from "./engines.ts"
import type { Compiled } from "./gateway.ts"
import { type Execution, optionProblem, type RunSettings } from "./options.ts"
import type { RouterState } from "./state.ts"

const executions: ReadonlyArray<Execution> = ["auto", "client", "gateway"]

/** A run that is about to begin. */
export interface Prepared<In, Out> {
  readonly run: Run<In>
  readonly plan: Plan<In, Out>
  /** Present if the gateway executes the route. */
  readonly compiled: Compiled<In, Out> | undefined
}

const byteTexts = Array.from({ length: 256 }, (_, byte) => (byte + 256).toString(16).slice(1))

/** The lower 16 bits in four digits. */
const hex16 = (bits: number): string => `${byteTexts[(bits >>> 8) & 255]}${byteTexts[bits & 255]}`

/** A random id in the form of a UUID, from Effect's `Random`, so that tests can fix it. */
const makeEventId = (fiber: Fiber.Fiber<unknown, unknown>): string => {
  const random = fiber.getRef(Random.Random)
  const bits = (): number => (random.nextDoubleUnsafe() * 2 ** 32) >>> 0
  const [a, b, c, d] = [bits(), bits(), bits(), bits()]
  // In a UUID, 4 bits of the third group mean "version 4", and 2 bits of the fourth "variant 1".
  return `${hex16(a >>> 16)}${hex16(a)}-${hex16(b >>> 16)}-${hex16((b & 0x0fff) | 0x4000)}-${hex16(((c >>> 16) & 0x3fff) | 0x8000)}-${hex16(c)}${hex16(d >>> 16)}${hex16(d)}`
}

const lossText = (losses: ReadonlyArray<Loss>): string =>
  losses.map(({ detail, kind, target }) => `${kind}${target === undefined ? "" : ` (${target})`}: ${detail}`).join("; ")

const refused = (losses: ReadonlyArray<Loss>): GatewayError =>
  new GatewayError({
    method,
    reason: new InvalidRequest({
      origin: "client",
      field: "execution",
      accepted: `"client", or a route without losses: ${lossText(losses)}`
    })
  })

/** The failure of a run, with all of its attempts. */
export const runFailure = (error: GatewayError, run: Run<unknown>): GatewayError =>
  withoutStack(() => withFacts(error, factsOf(error, run), method))

/** Whether a plan is one target that is called once: its request is the same either way, so nothing needs compiling. */
const isPlain = (plan: Plan<never, unknown>): boolean => plan._tag === "Target" && plan.retry === undefined

/** The deadline of the complete run. Inner deadlines cannot be kept when the gateway executes. */
const deadlineOf = <In>(plan: Plan<In, unknown>, input: In): number | undefined =>
  plan._tag === "Deadline"
    ? Math.min(plan.millis, deadlineOf(plan.plan, input) ?? plan.millis)
    : plan._tag === "When"
      ? deadlineOf(plan.predicate(input) ? plan.onTrue : plan.onFalse, input)
      : plan._tag === "Hedge"
        ? deadlineOf(plan.plan, input)
        : undefined

/** Logs a recovered failure in one line that holds only names. */
export const logRecovery = (
  { quiet }: Pick<Run<unknown>, "quiet">,
  target: string,
  attempts: ReadonlyArray<Attempt>
): Effect.Effect<void> => {
  if (quiet || attempts.length === 0) return Effect.void
  const failed = attempts.filter(({ outcome, superseded }) => outcome !== "success" && superseded !== true)
  return failed.length === 0
    ? Effect.void
    : logWithLevel(
        "Warn",
        `answered by ${target} after ${failed.length} failed attempt${failed.length === 1 ? "" : "s"}: ${failed
          .map(({ error, target }) => `${target}: ${error?.message ?? "interrupted"}`)
          .join("; ")}`
      )
}

const isEventIdOnly = (options: GatewayOptions.GatewayOptions): boolean =>
  options.eventId !== undefined && Object.keys(options).length === 1

/** Parts that all runs of a router share. */
export interface RouterCore {
  readonly send: SendLegs
  readonly state: RouterState
  /** Settings of runs without options. */
  readonly own: RunSettings
  readonly pricing: Pricing | undefined
  /** Problems of the router's options; while there are any, no run begins. */
  readonly problems: ReadonlyArray<GatewayOptions.Problem>
}

/** Prepares a run. Fails with `InvalidRequest` before anything is sent. */
export const prepare = <In, Out>(
  core: RouterCore,
  route: { readonly node: Node<In, Out>; readonly planned: Planned<In, Out> },
  input: In,
  options: RunSettings,
  build?: Building<In>
): Effect.Effect<Prepared<In, Out>, GatewayError> => {
  const bare = prepareBare(core, route, input, options, build)
  // Most runs have no additions.
  if (options.headers === undefined && options.session === undefined) return bare
  return Effect.flatMap(additionsOf(method, options), (additions) =>
    Effect.map(bare, ({ compiled, plan, run }) => ({
      run: { ...run, additions },
      plan,
      compiled: compiled && { ...compiled, legs: compiled.legs.map(adding(additions, compiled.targets)) }
    }))
  )
}

const adding =
  (additions: Additions, targets: ReadonlyArray<Target<never, unknown>>) =>
  (leg: Leg, index: number): Leg => {
    const target = targets[index]
    return target === undefined ? leg : add(additions, target, leg)
  }

const prepareBare = <In, Out>(
  { own, pricing, problems: wrong, send, state }: RouterCore,
  route: { readonly node: Node<In, Out>; readonly planned: Planned<In, Out> },
  input: In,
  options: RunSettings,
  build: Building<In> | undefined
): Effect.Effect<Prepared<In, Out>, GatewayError> =>
  Effect.withFiber((fiber) => {
    const misnamed = options === own ? undefined : optionProblem(options)
    if (misnamed !== undefined) return Effect.fail(invalid(method, misnamed.field, misnamed.accepted))
    const { admission, options: given, priority = "interactive" } = options
    const misgiven = given && refusal(method, GatewayOptions.problems(given))
    if (misgiven !== undefined) return misgiven
    const settings = given && GatewayOptions.normalize(given)
    // Options of the run are the outermost ones, and the resulting route is checked as a whole. An event id belongs to
    // the run, and not to a plan.
    const planned =
      settings === undefined || isEventIdOnly(settings)
        ? route.planned
        : makePlan<In, Out>({ _tag: "Options", options: settings, route: route.node })
    const { plan, problems, targets } = planned
    const budget = options.budget === "none" ? undefined : state.budget
    if (options.budget !== undefined && options.budget !== "none") {
      return Effect.fail(invalid(method, "budget", `"none", or nothing for the router's own`))
    }
    if (!priorities.includes(priority)) return Effect.fail(invalid(method, "priority", priorities.join(", ")))
    const misplanned =
      refusal("Router.layerWith", wrong) ??
      refusal(method, problems) ??
      refusal(method, hedgesIn(planned.percentiles, budget))
    if (misplanned !== undefined) return misplanned
    const { maxCost } = options
    if (maxCost !== undefined) {
      const unlimited = pricing
        ? pricing.limitProblems(maxCost, targets.map(requestedOf))
        : [{ field: "maxCost", accepted: "a router with pricing" }]
      const misspent = refusal(method, unlimited)
      if (misspent !== undefined) return misspent
    }
    const eventId = settings?.eventId ?? targets[0]?.options.eventId ?? makeEventId(fiber)
    const run: Run<In> = {
      send,
      input,
      eventId,
      mode: "run",
      priority,
      session: options.session,
      state,
      purses: budget === undefined ? undefined : [],
      slots: [],
      skipped: [],
      ending: {},
      quiet: options.quiet === true,
      admission,
      additions: undefined,
      isGuarded: planned.isGuarded,
      meter: pricing?.meter(maxCost)
    }
    const { execution } = options
    if (!executions.includes(execution)) return Effect.fail(invalid(method, "execution", executions.join(", ")))
    const needsClient = admission !== undefined ? "admission" : maxCost !== undefined ? "maxCost" : undefined
    if (needsClient !== undefined && execution === "gateway") {
      return Effect.fail(invalid(method, "execution", `"client" or "auto" with ${needsClient}`))
    }
    const isAuto = execution === "auto"
    const onClient: Prepared<In, Out> = { run, plan, compiled: undefined }
    if (execution === "client" || needsClient !== undefined || (isAuto && isPlain(plan)))
      return Effect.succeed(onClient)
    const { skipped } = run
    const universal = toUniversal(planned, input, isAuto ? [] : (options.allow ?? []), {
      build,
      isBrief: isAuto,
      skipped
    })
    if (Result.isFailure(universal)) {
      skipped.length = 0
      return isAuto ? Effect.succeed(onClient) : Effect.fail(refused(universal.failure))
    }
    const { legs, targets: asked } = universal.success
    for (const one of skipped) state.tell?.({ _tag: "Skipped", eventId, ...one })
    return Effect.succeed({ run, plan, compiled: { legs, targets: asked, deadline: deadlineOf(plan, input) } })
  })
