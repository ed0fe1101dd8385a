/**
 * What comes before a route is run, whole or streamed: checks, the event id, and who executes it.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import { type Attempt, GatewayError, InvalidRequest, invalid } from "../../GatewayError.ts"
import * as GatewayOptions from "../../GatewayOptions.ts"
import { withAttempts } from "../data/attempts.ts"
import { refusal } from "../gateway/backend.ts"
import { logWithLevel } from "../hotpath/logWithLevel.ts"
import { withoutStack } from "../hotpath/stackless.ts"
import { type Building, type Loss, toUniversal } from "../route/compile.ts"
import type { Node } from "../route/node.ts"
import { makePlan, type Plan, type Planned } from "../route/plan.ts"
import { method, type Run, type SendLegs } from "./attempt.ts"
import type { Compiled } from "./gateway.ts"
import type { Execution, RunOptions } from "./options.ts"

const executions: ReadonlyArray<Execution> = ["auto", "client", "gateway"]

/** A run that is about to begin. */
export interface Prepared<In, Out> {
  readonly run: Run<In>
  readonly plan: Plan<In, Out>
  /** There when the gateway executes the route. */
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
  // Of the third group 4 bits say "version 4", of the fourth 2 bits "variant 1".
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

/** The failure of a run, with all its attempts. */
export const runFailure = (error: GatewayError, attempts: ReadonlyArray<Attempt>): GatewayError =>
  withoutStack(() => withAttempts(error, attempts, method))

/** One target that is asked once: the same request either way, so nothing needs compiling. */
const isPlain = (plan: Plan<never, unknown>): boolean => plan._tag === "Target" && plan.retry === undefined

/** The limit of the whole. Deadlines further inside cannot be kept when the gateway executes. */
const deadlineOf = <In>(plan: Plan<In, unknown>, input: In): number | undefined =>
  plan._tag === "Deadline"
    ? Math.min(plan.millis, deadlineOf(plan.plan, input) ?? plan.millis)
    : plan._tag === "When"
      ? deadlineOf(plan.predicate(input) ? plan.onTrue : plan.onFalse, input)
      : undefined

/** A failure that was overcome is worth one line, and no more than names. */
export const logRecovery = (
  { quiet }: Pick<Run<never>, "quiet">,
  target: string,
  failed: ReadonlyArray<Attempt>
): Effect.Effect<void> =>
  quiet || failed.length === 0
    ? Effect.void
    : logWithLevel(
        "Warn",
        `answered by ${target} after ${failed.length} failed attempts: ${failed
          .map(({ error, target }) => `${target}: ${error?.message ?? "interrupted"}`)
          .join("; ")}`
      )

const isEventIdOnly = (options: GatewayOptions.GatewayOptions): boolean =>
  options.eventId !== undefined && Object.keys(options).length === 1

/** Prepares a run. Fails with `InvalidRequest` before anything is sent. */
export const prepare = <In, Out>(
  send: SendLegs,
  route: { readonly node: Node<In, Out>; readonly planned: Planned<In, Out> },
  input: In,
  options: RunOptions & { readonly execution: Execution },
  build?: Building<In>
): Effect.Effect<Prepared<In, Out>, GatewayError> =>
  Effect.withFiber((fiber) => {
    const { admission, options: given } = options
    const misgiven = given && refusal(method, GatewayOptions.problems(given))
    if (misgiven !== undefined) return misgiven
    const own = given && GatewayOptions.normalize(given)
    // Options of the run are the outer-most ones, and what they do to the route is checked like everything else.
    // An event id is the run's, and no plan's.
    const planned =
      own === undefined || isEventIdOnly(own)
        ? route.planned
        : makePlan<In, Out>({ _tag: "Options", options: own, route: route.node })
    const { plan, problems, targets } = planned
    const misplanned = refusal(method, problems)
    if (misplanned !== undefined) return misplanned
    const eventId = own?.eventId ?? targets[0]?.options.eventId ?? makeEventId(fiber)
    const run: Run<In> = { send, input, eventId, slots: [], quiet: options.quiet === true, admission }
    const { execution } = options
    if (!executions.includes(execution)) return Effect.fail(invalid(method, "execution", executions.join(", ")))
    if (admission !== undefined && execution === "gateway") {
      return Effect.fail(invalid(method, "execution", `"client" or "auto" with admission`))
    }
    const isAuto = execution === "auto"
    const onClient: Prepared<In, Out> = { run, plan, compiled: undefined }
    if (execution === "client" || admission !== undefined || (isAuto && isPlain(plan))) return Effect.succeed(onClient)
    const universal = toUniversal(planned, input, isAuto ? [] : (options.allow ?? []), build, isAuto)
    if (Result.isFailure(universal)) {
      return isAuto ? Effect.succeed(onClient) : Effect.fail(refused(universal.failure))
    }
    const { legs, targets: asked } = universal.success
    return Effect.succeed({ run, plan, compiled: { legs, targets: asked, deadline: deadlineOf(plan, input) } })
  })
