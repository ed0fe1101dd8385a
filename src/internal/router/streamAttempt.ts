/**
 * One streamed attempt: sent, and read up to its commit point, the first delta that a consumer can act on. Before it
 * nothing is delivered, so a failure is like any other and another target can take over unnoticed.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { GatewayError, Timeout } from "../../GatewayError.ts"
import type * as GatewayOptions from "../../GatewayOptions.ts"
import type { GatewayResponse, ResponseReader } from "../../GatewayResponse.ts"
import type * as LogTrail from "../../LogTrail.ts"
import type { SentAttempt, TokenCounts } from "../admission/admission.ts"
import { withFacts } from "../data/attempts.ts"
import { defined } from "../data/defined.ts"
import { isRecord, parseJson } from "../data/json.ts"
import { monotonicMillis } from "../data/monotonic.ts"
import type { Reply } from "../dialect/chat.ts"
import { usageOf as tokensOf } from "../dialect/codec.ts"
import type { Streaming } from "../dialect/delta.ts"
import { deltasOf } from "../dialect/deltaDecoder.ts"
import { type Limiting, makePump } from "../dialect/deltaPump.ts"
import { streaming } from "../dialect/streaming.ts"
import { timeoutOrElse } from "../hotpath/timeoutOrElse.ts"
import type { Built, ChatLeaf, Rejection, Unbuildable } from "../route/node.ts"
import type { Target } from "../route/plan.ts"
import { oversizedBody } from "../transport/body.ts"
import { add } from "./additions.ts"
import {
  type Asked,
  abandoned,
  admitted,
  type Deadlines,
  factsOf,
  type Orders,
  type Run,
  rejected,
  sendingOf,
  takeSlot,
  unbuildable,
  usageOf
} from "./attempt.ts"
import type { HeldStream } from "./heldStream.ts"
import type { BeginRun } from "./state.ts"
import { streamEnding } from "./streamEnding.ts"
import { maxPage, peek, readHead, readText, replay, type StreamHead } from "./streamHead.ts"

/** The target that answers. */
export interface Answering {
  readonly target: Target<never, unknown>
  readonly response: GatewayResponse
  readonly endpoint: string
  /** Index of the leg that answered, if the gateway executes the route. */
  readonly step: number | undefined
}

/** An answer that has begun. */
export interface CommittedStream extends Answering, StreamHead {
  readonly running: LogTrail.Running
  /** Releases it; an attempt that has not ended is recorded as interrupted. */
  readonly release: Effect.Effect<void>
  /** Milliseconds of the monotonic clock. */
  readonly deadline: number | undefined
  /** See {@link SentAttempt}. */
  readonly onEnd?: NonNullable<SentAttempt["onEnd"]>
  /** Receives the usage that the stream reported. */
  readonly told?: (usage: TokenCounts) => void
}

/** A streamed run. Stopping it must close everything that is open. */
export interface StreamRun<In> extends Run<In> {
  /** Reports the end to the listeners of the router. */
  readonly ended?: ReturnType<BeginRun> | undefined
  readonly held: HeldStream
  readonly deadlines: Deadlines
  readonly superseded: Set<Target<never, unknown>>
  readonly orders: Orders
}

/** Method in the errors of a stream. */
export const method = "Router.stream"

/** Turns a failure into that of a stream, with everything that the run did where it began. */
export const ofStream = (error: GatewayError, run?: Run<unknown>): GatewayError =>
  withFacts(error, run === undefined ? {} : factsOf(error, run), method)

const failure = (target: Target<never, unknown>, eventId: string, reason: GatewayError["reason"]): GatewayError =>
  new GatewayError({
    method,
    reason,
    provider: target.leaf.provider,
    eventId,
    ...defined({ model: target.leaf.model })
  })

/** Returns how a target streams, if it does. */
const streamingOf = (target: Target<never, unknown>): (ChatLeaf & { readonly streaming: Streaming }) | undefined => {
  const { chat } = target.leaf
  const found = chat?.streaming ?? (chat && streaming[chat.dialect])
  return chat === undefined || found === undefined ? undefined : { ...chat, streaming: found }
}

const streams = "a target that streams chat answers"

/**
 * The first target that cannot stream, as a problem. Nothing is sent then, because the target would be missing when it
 * is needed.
 */
export const unableToStream = (targets: ReadonlyArray<Target<never, unknown>>): GatewayOptions.Problem | undefined => {
  for (const target of targets) {
    const found = streamingOf(target)
    if (found === undefined) return { field: target.key, accepted: streams }
    if (target.leaf.isValidated === true && found.judge === undefined) {
      return {
        field: `${target.key}: validate`,
        accepted: "a chat target of Provider: how the deltas of another target make up its answer is not known"
      }
    }
  }
  return undefined
}

/** Builds the request of a target for a stream. */
export const buildStream = <In>(target: Target<In, unknown>, input: In): Result.Result<Built, Unbuildable> => {
  const found = streamingOf(target)
  return Result.flatMap(target.leaf.build(input), ({ endpoint, query, ...rest }) =>
    found === undefined || !isRecord(query)
      ? Result.fail({ field: target.key, accepted: found === undefined ? streams : "a request body that is an object" })
      : Result.succeed({ ...rest, endpoint: found.streaming.endpoint(endpoint), query: found.streaming.query(query) })
  )
}

/** Limits an effect; the failure states which limit passed. */
export const limited = <A>(
  self: Effect.Effect<A, GatewayError>,
  limit: number | undefined,
  phase: Timeout["phase"],
  target: Target<never, unknown>,
  eventId: string
): Effect.Effect<A, GatewayError> =>
  timeoutOrElse(self, limit, (millis) =>
    failure(target, eventId, new Timeout({ phase, ...(phase !== "deadline" && { limit: Duration.millis(millis) }) }))
  )

/**
 * Limits each read of a chunk: by the idle timeout of the target, and by the time until `deadline` (milliseconds of the
 * monotonic clock). Time counts only while a read is pending, so a slow consumer does not look like a provider that
 * stalls.
 */
export const limitReads = (target: Target<never, unknown>, eventId: string, deadline: number | undefined): Limiting => {
  const { idleTimeout } = target
  if (deadline === undefined) return (read) => limited(read, idleTimeout, "idle", target, eventId)
  return (read) =>
    Effect.flatMap(monotonicMillis, (now) => {
      const left = deadline - now
      if (left <= 0) return Effect.fail(failure(target, eventId, new Timeout({ phase: "deadline" })))
      return idleTimeout !== undefined && idleTimeout < left
        ? limited(read, idleTimeout, "idle", target, eventId)
        : limited(read, left, "deadline", target, eventId)
    })
}

/** Reads an answer up to its commit point, and releases it if that does not arrive. */
export const commit = (
  target: Target<never, unknown>,
  response: GatewayResponse,
  query: unknown,
  eventId: string
): Effect.Effect<StreamHead, GatewayError> => {
  const found = streamingOf(target)
  if (found === undefined) return Effect.die(new Error("a target that does not stream was asked to"))
  const limiting = limitReads(target, eventId, undefined)
  // An HTML page, of an edge or a login, holds no events; its beginning tells where it is from.
  if (/^text\/html\b/i.test(response.headers["content-type"] ?? "")) {
    return Effect.flatMap(readText(response.reader(), limiting, maxPage), ({ text }) =>
      Effect.fail(response.invalid("content-type: expected text/event-stream or JSON", text))
    )
  }
  const { allowEmpty } = found
  const decoder = found.streaming.decoder(isRecord(query) ? query : undefined, { allowEmpty })
  const reject = (rejection: Rejection, reply: Reply) =>
    rejected(response, { ...rejection, usage: tokensOf(reply) }, reply.text)
  const pumped = (reader: ResponseReader) => {
    const pump = makePump(
      {
        reader: () => reader,
        maxBytes: response.maxBytes,
        invalid: (issue, text) => response.invalid(issue, text),
        fault: (body) => response.fault(body)
      },
      decoder
    )
    return readHead(found.judge?.pump(pump, reject) ?? pump, limiting)
  }
  // Guardrails and some providers answer in one piece although a stream was requested; others label a stream as JSON.
  // Only the first character is reliable.
  return Effect.flatMap(peek(response.reader(), limiting), ({ json, reader }) =>
    json
      ? Effect.flatMap(readText(reader, limiting, response.maxBytes), ({ isWhole, text }) => {
          if (!isWhole) return Effect.fail(response.invalid(oversizedBody(response.maxBytes), ""))
          // An error, followed by events.
          if (parseJson(text) === undefined && /^data:/m.test(text)) {
            return pumped(replay([new TextEncoder().encode(text)], reader))
          }
          return Effect.flatMap(response.parse(text), (body) => {
            const reply = found.reply(body, { allowEmpty })
            if (Result.isFailure(reply)) {
              return Effect.fail(response.invalid(`${reply.failure.field}: expected ${reply.failure.accepted}`, text))
            }
            // Nothing of it has been delivered, so a rejected answer is a failure like any other.
            const rejection = found.judge?.reply(reply.success)
            return rejection === undefined
              ? Effect.succeed({ head: deltasOf(reply.success), pump: undefined })
              : Effect.fail(reject(rejection, reply.success))
          })
        })
      : pumped(reader)
  )
}

/** Fields of the record for the end of a streamed attempt. */
export const streamEnded = (
  answering: Answering | undefined,
  exit: Exit.Exit<unknown, GatewayError>,
  model?: string
): LogTrail.Ended => {
  const error = Option.getOrUndefined(Exit.findErrorOption(exit))
  const meta = answering?.response.meta
  const leaf = answering?.target.leaf
  return {
    ...(answering && { target: answering.target.key, endpoint: answering.endpoint }),
    ...(error && { error: error.reason }),
    ...defined({
      logId: meta?.logId ?? error?.logId,
      eventId: meta?.eventId ?? error?.eventId,
      model: model ?? meta?.model ?? error?.model ?? leaf?.model,
      provider: meta?.provider ?? error?.provider ?? leaf?.provider,
      step: answering?.step ?? meta?.step ?? error?.step,
      cacheStatus: meta?.cacheStatus,
      status: answering?.response.status ?? error?.reason.status,
      resent: answering?.response.resent === true ? true : undefined,
      usage: usageOf(error?.reason)
    })
  }
}

/** Makes one streamed attempt on the client. */
export const streamAttempt = <In, Out>(
  run: StreamRun<In>,
  target: Target<In, Out>,
  asked: Asked
): Effect.Effect<CommittedStream, GatewayError> =>
  Effect.gen(function* () {
    const { eventId } = run
    const { leaf } = target
    const built = buildStream(target, run.input)
    if (Result.isFailure(built)) return yield* unbuildable(target, built.failure, run)
    const { dropped, endpoint, query } = built.success
    const make = (
      remaining: number | undefined,
      beforeResend?: Effect.Effect<void, GatewayError>,
      waited?: Duration.Duration
    ) =>
      Effect.gen(function* () {
        const now = yield* monotonicMillis
        const deadline = remaining === undefined ? undefined : now + remaining
        const { onEnd, ...ending } = streamEnding()
        const { release, running, send, slot } = yield* run.held.open(
          (fiber) => {
            const slot = takeSlot(run, target, fiber.getRef(Clock.Clock), asked.cause, query, asked.pass?.())
            if (slot instanceof GatewayError) return slot
            return {
              ...slot,
              fill: (made, end) => {
                slot.fill(made, end)
                ending.ended()
              }
            }
          },
          ({ number }) => ({
            target: target.key,
            number,
            cause: asked.cause,
            provider: leaf.provider,
            endpoint,
            eventId,
            ...defined({ model: leaf.model, waited, dropped })
          })
        )
        let answering: Answering | undefined
        asked.lane?.started(target, (isSuperseded) =>
          running.end(Exit.interrupt(), {
            ...streamEnded(answering, Exit.interrupt()),
            ...abandoned(answering?.response, isSuperseded)
          })
        )
        const sent = send(
          add(run.additions, target, { provider: leaf.provider, endpoint, headers: leaf.headers, query }),
          sendingOf(target, asked, eventId, beforeResend)
        )
        const opening = Effect.flatMap(limited(sent, target.timeout, "firstByte", target, eventId), (response) => {
          const answer = { target, response, endpoint, step: undefined }
          answering = answer
          return Effect.map(
            Effect.onError(commit(target, response, query, eventId), () => response.cancel),
            (committed): CommittedStream => {
              slot.output()
              return { ...committed, ...answer, running, release, deadline, onEnd, told: ending.told }
            }
          )
        })
        const begun = limited(opening, target.firstTokenTimeout, "firstToken", target, eventId)
        return yield* Effect.onError(limited(begun, remaining, "deadline", target, eventId), (cause) =>
          Effect.suspend(() => {
            const exit = Exit.failCause(cause)
            running.end(exit, streamEnded(answering, exit))
            return release
          })
        )
      })
    const attempt =
      asked.admission === undefined
        ? make(asked.remaining)
        : asked.admission({
            remaining: asked.remaining,
            make,
            expired: () => failure(target, eventId, new Timeout({ phase: "deadline" }))
          })
    return yield* admitted(run, target, attempt)
  })
