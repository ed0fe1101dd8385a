/**
 * What comes before a route is run, whole or streamed: checks, the event id, and who executes it.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import { type Attempt, GatewayError, InvalidRequest, invalid } from "../GatewayError.ts"
import * as GatewayOptions from "../GatewayOptions.ts"
import { method, type Run, type Send } from "./attempt.ts"
import { type Building, type Loss, type LossKind, toUniversal } from "./compile.ts"
import { defined } from "./defined.ts"
import type { Compiled } from "./executeGateway.ts"
import { makePlan, type Plan, type Planned } from "./plan.ts"
import type { Node } from "./routeNode.ts"

/** Who executes a route; see `Router.Execution`. */
export type Execution = "auto" | "client" | "gateway"

/** Options of one run; see `Router.RunOptions`. */
export interface RunOptions {
  readonly execution?: Execution | undefined
  readonly allow?: ReadonlyArray<LossKind> | undefined
  readonly options?: GatewayOptions.Input | undefined
}

/** A run that is about to begin. */
export interface Prepared<In, Out> {
  readonly run: Run<In>
  readonly plan: Plan<In, Out>
  /** There when the gateway executes the route. */
  readonly compiled: Compiled<In, Out> | undefined
}

/** A random id in the form of a UUID, from Effect's `Random`, so that tests can fix it. */
const makeEventId: Effect.Effect<string> = Effect.withFiber((fiber) => {
  const random = fiber.getRef(Random.Random)
  const hex = (): string =>
    Math.floor(random.nextDoubleUnsafe() * 0x1_0000_0000)
      .toString(16)
      .padStart(8, "0")
  const text = hex() + hex() + hex() + hex()
  const variant = "89ab".charAt(Math.floor(random.nextDoubleUnsafe() * 4))
  return Effect.succeed(
    `${text.slice(0, 8)}-${text.slice(8, 12)}-4${text.slice(13, 16)}-${variant}${text.slice(17, 20)}-${text.slice(20)}`
  )
})

const lossText = (losses: ReadonlyArray<Loss>): string =>
  losses.map(({ detail, kind, target }) => `${kind}${target === undefined ? "" : ` (${target})`}: ${detail}`).join("; ")

const refused = (losses: ReadonlyArray<Loss>): GatewayError =>
  new GatewayError({
    method,
    reason: new InvalidRequest({
      origin: "client",
      field: "execution",
      accepted: `"client", or a route that the gateway can execute without loss; lost would be ${lossText(losses)}`
    })
  })

/** The failure of a run, with all its attempts. */
export const withAttempts = (error: GatewayError, attempts: ReadonlyArray<Attempt>): GatewayError => {
  const { eventId, logId, model, provider, reason, step } = error
  return new GatewayError({ method, reason, attempts, ...defined({ eventId, logId, model, provider, step }) })
}

/** One target that is asked once: the same request either way, so nothing needs compiling. */
const isPlain = (plan: Plan<never, unknown>): boolean => plan._tag === "Target" && plan.retry === undefined

/** A failure that was overcome is worth one line, and no more than names. */
export const logRecovery = (target: string, failed: ReadonlyArray<Attempt>): Effect.Effect<void> =>
  failed.length === 0
    ? Effect.void
    : Effect.logWarning(`answered by ${target} after ${failed.length} failed attempts`, {
        failed: failed.map(({ error, target }) => `${target}: ${error?.message ?? "interrupted"}`)
      })

const makeOptions = (input: GatewayOptions.Input): Effect.Effect<GatewayOptions.GatewayOptions, GatewayError> => {
  const [problem] = GatewayOptions.problems(input)
  return problem === undefined
    ? Effect.succeed(GatewayOptions.normalize(input))
    : Effect.fail(invalid(method, problem.field, problem.accepted))
}

/** Prepares a run. Fails with `InvalidRequest` before anything is sent. */
export const prepare = Effect.fnUntraced(function* <In, Out>(
  send: Send,
  route: { readonly node: Node<In, Out>; readonly planned: Planned<In, Out> },
  input: In,
  options: RunOptions & { readonly execution: Execution },
  build?: Building<In>
): Effect.fn.Return<Prepared<In, Out>, GatewayError> {
  const own = options.options === undefined ? undefined : yield* makeOptions(options.options)
  // Options of the run are the outer-most ones, and what they do to the route is checked like everything else.
  const planned =
    own === undefined ? route.planned : makePlan<In, Out>({ _tag: "Options", options: own, route: route.node })
  const { plan, problems, targets } = planned
  const [problem] = problems
  if (problem !== undefined) return yield* invalid(method, problem.field, problem.accepted)
  const eventId = own?.eventId ?? targets[0]?.options.eventId ?? (yield* makeEventId)
  const run: Run<In> = { send, input, eventId, attempts: [] }
  const { execution } = options
  if (execution === "client" || (execution === "auto" && isPlain(plan))) return { run, plan, compiled: undefined }
  const universal = toUniversal(planned, input, execution === "gateway" ? (options.allow ?? []) : [], build)
  if (Result.isFailure(universal)) {
    return execution === "gateway" ? yield* refused(universal.failure) : { run, plan, compiled: undefined }
  }
  const { compiled, targets: asked } = universal.success
  const deadline = plan._tag === "Deadline" ? plan.millis : undefined
  return { run, plan, compiled: { legs: compiled.legs, targets: asked, deadline } }
})
