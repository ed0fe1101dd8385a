/**
 * Runs a route against recorded outcomes: the real executor, without a gateway.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import { type Attempt, GatewayError } from "../../GatewayError.ts"
import * as LogTrail from "../../LogTrail.ts"
import type { CheckedBudget } from "../admission/retryBudget.ts"
import { defined } from "../data/defined.ts"
import { timeoutOrElse } from "../hotpath/timeoutOrElse.ts"
import type { Node } from "../route/node.ts"
import type { Planned, Target } from "../route/plan.ts"
import { type Asked, attemptsOf, expired, method, type Run, recorded, type SendLegs, takeSlot } from "./attempt.ts"
import { executeClient } from "./client.ts"
import type { RunOptions } from "./options.ts"
import { prepare, runFailure } from "./prepare.ts"
import { RouterState } from "./state.ts"

/** One recorded outcome of a target. */
export interface KnownOutcome {
  /** Milliseconds to the first output, or to the failure. */
  readonly millis: number
  /** An interrupted outcome only means that the target took longer. */
  readonly outcome: Attempt["outcome"]
  readonly attempt: Attempt
}

/** Returns the next outcome of a target; `undefined` if none is recorded. */
export type Outcomes = (target: string) => KnownOutcome | undefined

/** Thrown for a target without enough recorded outcomes. */
export class UnknownOutcome extends Error {
  override readonly name = "UnknownOutcome"
  readonly target: string
  constructor(target: string) {
    super(`nothing is recorded for ${target}`)
    this.target = target
  }
}

const never = Effect.die(new Error("a replay sends nothing"))
const send: SendLegs = () => never

interface Answer {
  readonly target: string
}

const replayed = (
  run: Run<unknown>,
  target: Target<never, unknown>,
  { cause, lane, pass, remaining }: Asked,
  next: Outcomes
): Effect.Effect<Answer, GatewayError> =>
  Effect.suspend(() => {
    const { eventId } = run
    const { leaf, timeout } = target
    const known = next(target.key)
    if (known === undefined) return Effect.die(new UnknownOutcome(target.key))
    const { attempt, millis, outcome } = known
    // An interrupted attempt took longer than recorded: with equal times it could tie with the answer that replaced it.
    const wait = outcome === "interrupted" ? millis + 1 : millis
    const answered: Effect.Effect<Answer, GatewayError> = Effect.flatMap(Effect.sleep(wait), () => {
      if (outcome === "success") return Effect.succeed({ target: target.key })
      const reason = attempt.error
      if (outcome === "interrupted" || reason === undefined) return Effect.die(new UnknownOutcome(target.key))
      const { model, provider } = leaf
      return Effect.fail(new GatewayError({ method, reason, provider, eventId, ...defined({ model }) }))
    })
    const first = timeoutOrElse(answered, timeout, (after) => expired("firstByte", target, after, eventId))
    const bounded = timeoutOrElse(first, remaining, (after) => expired("deadline", target, after, eventId))
    return recorded(
      (fiber) => takeSlot(run, target, fiber.getRef(Clock.Clock), cause, undefined, pass?.()),
      ({ number }) => ({
        target: target.key,
        number,
        cause,
        provider: leaf.provider,
        endpoint: attempt.endpoint,
        eventId,
        ...defined({ model: leaf.model })
      }),
      ({ output }, running) => {
        lane?.started(target, (isSuperseded) =>
          running.end(Exit.interrupt(), defined({ superseded: isSuperseded ? true : undefined }))
        )
        return Effect.map(bounded, (answer) => {
          output()
          return answer
        })
      },
      (exit) => (Exit.isSuccess(exit) ? defined({ status: attempt.status }) : LogTrail.failed(exit))
    )
  })

/** A replayed run. */
export interface ReplayedRun {
  readonly exit: Exit.Exit<Answer, GatewayError>
  readonly attempts: ReadonlyArray<Attempt>
  readonly duration: Duration.Duration
}

/** Replays a run. Fails with `InvalidRequest` when the route, its input or the options are invalid. */
export const replayRun = <In, Out>(
  route: { readonly node: Node<In, Out>; readonly planned: Planned<In, Out> },
  input: In,
  options: RunOptions,
  { budget, problems }: CheckedBudget,
  next: Outcomes
): Effect.Effect<ReplayedRun, GatewayError> =>
  Effect.gen(function* () {
    const state = new RouterState(budget, yield* Random.nextInt)
    const core = { send, state, own: { execution: "client" } as const, pricing: undefined, problems }
    const { plan, run } = yield* prepare(core, route, input, { ...options, execution: "client", quiet: true })
    const startedAt = yield* Clock.currentTimeMillis
    const executed = executeClient(run, plan, {
      attempt: (target: Target<In, Out>, asked) => replayed(run, target, asked, next),
      discard: () => Effect.void
    })
    const exit = yield* Effect.exit(Effect.mapError(executed, (error) => runFailure(error, run)))
    const duration = Duration.millis((yield* Clock.currentTimeMillis) - startedAt)
    return { exit, attempts: attemptsOf(run), duration }
  })
