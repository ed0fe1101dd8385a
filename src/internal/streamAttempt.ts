/**
 * One streamed attempt: sent, and read up to its commit point, the first delta that a consumer could act on. Until then nothing has
 * been delivered, so a failure is like any other and another target can take over unseen.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { GatewayError, Timeout } from "../GatewayError.ts"
import type * as GatewayOptions from "../GatewayOptions.ts"
import type { GatewayResponse } from "../GatewayResponse.ts"
import * as LogTrail from "../LogTrail.ts"
import { method, type Run, sendOptions, unbuildable } from "./attempt.ts"
import { defined } from "./defined.ts"
import { makePump, type Pump } from "./deltaPump.ts"
import { type Delta, deltasOf, isCommit, type Streaming } from "./deltas/delta.ts"
import { streaming } from "./deltas/index.ts"
import type { Usage } from "./dialects/dialect.ts"
import { type Asking, askLegs, atLeg, type Compiled, failedLeg, legStarted } from "./executeGateway.ts"
import type { Target } from "./plan.ts"
import type { Built, ChatLeaf } from "./routeNode.ts"

/** An answer that has begun. */
export interface Opened {
  readonly target: Target<never, unknown>
  readonly response: GatewayResponse
  readonly endpoint: string
  /** Index of the answering leg, when the gateway executes the route. */
  readonly step: number | undefined
  /** What was held back up to the commit point, and that. */
  readonly head: ReadonlyArray<Delta>
  /** The rest; absent when the whole answer came in one piece. */
  readonly pump: Pump | undefined
  readonly running: LogTrail.Running
  /** Milliseconds since the epoch. */
  readonly deadline: number | undefined
}

const failure = (target: Target<never, unknown>, eventId: string, reason: GatewayError["reason"]): GatewayError =>
  new GatewayError({
    method,
    reason,
    provider: target.leaf.provider,
    eventId,
    ...defined({ model: target.leaf.model })
  })

/** How a target streams, if it does. */
const streamingOf = (target: Target<never, unknown>): (ChatLeaf & { readonly streaming: Streaming }) | undefined => {
  const { chat } = target.leaf
  const found = chat?.streaming ?? (chat && streaming[chat.dialect])
  return chat === undefined || found === undefined ? undefined : { ...chat, streaming: found }
}

const isRecord = (u: unknown): u is Record<string, unknown> => typeof u === "object" && u !== null && !Array.isArray(u)

/** The request of a target for a stream. */
export const buildStream = <In>(
  target: Target<In, unknown>,
  input: In
): Result.Result<Built, GatewayOptions.Problem> => {
  const found = streamingOf(target)
  return Result.flatMap(target.leaf.build(input), ({ endpoint, query }) =>
    found === undefined || !isRecord(query)
      ? Result.fail({ field: target.key, accepted: "a target that streams chat answers" })
      : Result.succeed({ endpoint: found.streaming.endpoint(endpoint), query: found.streaming.query(query) })
  )
}

/** Limits an effect; the failure says which limit passed. */
const within = <A>(
  self: Effect.Effect<A, GatewayError>,
  limit: number | undefined,
  phase: Timeout["phase"],
  target: Target<never, unknown>,
  eventId: string
): Effect.Effect<A, GatewayError> =>
  limit === undefined
    ? self
    : Effect.timeoutOrElse(self, {
        duration: limit,
        orElse: () =>
          Effect.fail(
            failure(
              target,
              eventId,
              new Timeout({ phase, ...(phase !== "deadline" && { limit: Duration.millis(limit) }) })
            )
          )
      })

/** The next batch of a pump, within the idle timeout of its target. */
export const nextBatch = (opened: Pick<Opened, "pump" | "target" | "deadline">, eventId: string) => {
  const { deadline, pump, target } = opened
  if (pump === undefined) return Effect.succeed(undefined)
  const idle = within(pump.next, target.idleTimeout, "idle", target, eventId)
  return deadline === undefined
    ? idle
    : Effect.flatMap(Clock.currentTimeMillis, (now) =>
        within(idle, Math.max(0, deadline - now), "deadline", target, eventId)
      )
}

/** Reads an answer up to its commit point. Lets go of it when that does not come. */
export const commit = (
  target: Target<never, unknown>,
  response: GatewayResponse,
  query: unknown,
  eventId: string
): Effect.Effect<Pick<Opened, "head" | "pump">, GatewayError> => {
  const found = streamingOf(target)
  if (found === undefined) return Effect.die(new Error("a target that does not stream was asked to"))
  // Guardrails answer in one piece although a stream was asked for; so do some providers.
  if (/^application\/(?:[\w.+-]+\+)?json\b/i.test(response.headers["content-type"] ?? "")) {
    return Effect.flatMap(response.json, (body) => {
      const reply = found.reply(body)
      return Result.isSuccess(reply)
        ? Effect.succeed({ head: deltasOf(reply.success), pump: undefined })
        : Effect.fail(response.invalid(`${reply.failure.field}: expected ${reply.failure.accepted}`, ""))
    })
  }
  const pump = makePump(response, found.streaming.decoder(isRecord(query) ? query : undefined))
  const head: Array<Delta> = []
  const read: Effect.Effect<Pick<Opened, "head" | "pump">, GatewayError> = Effect.flatMap(
    nextBatch({ pump, target, deadline: undefined }, eventId),
    (batch) => {
      if (batch === undefined) return Effect.succeed({ head, pump })
      for (const delta of batch) head.push(delta)
      return batch.some(isCommit) ? Effect.succeed({ head, pump }) : read
    }
  )
  return Effect.onError(within(read, target.firstTokenTimeout, "firstToken", target, eventId), () => pump.cancel)
}

/** What the record of a streamed attempt says of its end. */
export const streamEnded = (
  opened: Opened | undefined,
  exit: Exit.Exit<unknown, GatewayError>,
  usage?: { readonly model?: string | undefined; readonly usage?: Usage | undefined }
): LogTrail.Ended => {
  const error = Option.getOrUndefined(Exit.findErrorOption(exit))
  const meta = opened?.response.meta
  return {
    ...(opened && { target: opened.target.key, endpoint: opened.endpoint, status: opened.response.status }),
    ...(error && { error: error.reason }),
    ...defined({
      logId: meta?.logId ?? error?.logId,
      eventId: meta?.eventId ?? error?.eventId,
      model: usage?.model ?? error?.model ?? opened?.target.leaf.model,
      provider: meta?.provider ?? error?.provider ?? opened?.target.leaf.provider,
      step: opened?.step ?? meta?.step ?? error?.step,
      cacheStatus: meta?.cacheStatus,
      status: opened?.response.status ?? error?.reason.status,
      resent: opened?.response.resent === true ? true : undefined
    })
  }
}

/** Makes one streamed attempt on the client. */
export const streamAttempt = <In, Out>(
  run: Run<In>,
  target: Target<In, Out>,
  remaining: number | undefined
): Effect.Effect<Opened, GatewayError> =>
  Effect.gen(function* () {
    const { eventId } = run
    const { leaf } = target
    const built = buildStream(target, run.input)
    if (Result.isFailure(built)) return yield* unbuildable(target, built.failure, eventId)
    const { endpoint, query } = built.success
    const options = sendOptions(target, eventId)
    const now = yield* Clock.currentTimeMillis
    const running = yield* LogTrail.begin(
      { target: target.key, provider: leaf.provider, endpoint, eventId, ...defined({ model: leaf.model }) },
      (made) => run.attempts.push(made)
    )
    const sent = run.send({ provider: leaf.provider, endpoint, headers: leaf.headers, query }, options)
    const opening = Effect.flatMap(within(sent, target.timeout, "firstByte", target, eventId), (response) =>
      Effect.map(
        Effect.onError(commit(target, response, query, eventId), () => response.cancel),
        (committed): Opened => ({
          ...committed,
          target,
          response,
          endpoint,
          step: undefined,
          running,
          deadline: remaining === undefined ? undefined : now + remaining
        })
      )
    )
    return yield* Effect.onError(within(opening, remaining, "deadline", target, eventId), (cause) =>
      Effect.sync(() => {
        const exit = Exit.failCause(cause)
        running.end(exit, streamEnded(undefined, exit))
      })
    )
  })

/** Asks for the streamed answer of the legs from `offset` on. */
export const askStream =
  <In, Out>(run: Run<In>, compiled: Compiled<In, Out>): Asking<Opened> =>
  (offset) =>
    Effect.gen(function* () {
      const { eventId } = run
      const now = yield* Clock.currentTimeMillis
      const running = yield* LogTrail.begin(legStarted(run, compiled, offset), (made) => run.attempts.push(made))
      const opening = Effect.flatMap(askLegs(run, compiled, offset), ({ response, step, target }) =>
        Effect.mapBoth(
          Effect.onError(commit(target, response, compiled.legs[step]?.query, eventId), () => response.cancel),
          {
            onSuccess: (committed): Opened => ({
              ...committed,
              target,
              response,
              endpoint: compiled.legs[step]?.endpoint ?? "",
              step,
              running,
              deadline: compiled.deadline === undefined ? undefined : now + compiled.deadline
            }),
            onFailure: (error) => atLeg(error, target, step - offset)
          }
        )
      )
      return yield* Effect.onError(opening, (cause) =>
        Effect.sync(() => {
          const exit = Exit.failCause(cause)
          running.end(exit, { ...streamEnded(undefined, exit), ...failedLeg(exit, compiled, offset) })
        })
      )
    })
