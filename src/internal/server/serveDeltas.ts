/**
 * Runs a streamed response: opens its source, writes on the client's demand, and settles everything once, however it
 * ended.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type Attempt, GatewayError, StreamInterrupted, Unknown } from "../../GatewayError.ts"
import * as LogTrail from "../../LogTrail.ts"
import { defined } from "../data/defined.ts"
import { counted } from "../data/numbers.ts"
import type { Usage } from "../dialect/chat.ts"
import type { Delta } from "../dialect/delta.ts"
import { type Encoder, neutral, openai, type StreamProblem } from "../dialect/deltaEncoder.ts"
import { logWithLevel } from "../hotpath/logWithLevel.ts"
import { makeByteSink } from "./byteSink.ts"
import { describe } from "./failureResponse.ts"

/** Format of the events; see `StreamResponse.Format`. */
export type WireFormat = "deltas" | "openai"

/** Facts about a streamed answer; `Router.StreamSummary` has them. */
export interface ServedFacts {
  /** Key of the target that answered. */
  readonly target?: string
  readonly provider?: string
  readonly model?: string
  readonly logId?: string
  readonly eventId?: string
  readonly usage?: Usage
  /** Deltas and text of the answer that were taken from the stream. */
  readonly deltas: number
  readonly text: string
  readonly restarts: number
  /** Every request that was made for this response, in order of start. */
  readonly attempts: ReadonlyArray<Attempt>
}

/** How a response ended. */
export interface ServedEnding {
  /**
   * `complete`: everything was sent. `failed`: see `error`. `left`: the client went away, or the signal was aborted.
   */
  readonly outcome: "complete" | "failed" | "left"
  /** Present when `failed`. A `StreamInterrupted` once something had been sent. */
  readonly error?: GatewayError
}

/** Source of a streamed response. */
export interface DeltaSource<R> {
  readonly deltas: Stream.Stream<Delta, GatewayError, R>
  readonly logId: string | undefined
  /** The source's facts about itself, now and at the end. */
  readonly facts: Effect.Effect<ServedFacts> | undefined
}

/** How a response can begin. */
export type Head =
  | { readonly _tag: "Opened"; readonly logId: string | undefined }
  | { readonly _tag: "Failed"; readonly error: GatewayError }
  | { readonly _tag: "Left" }

/** A response that is about to be sent. */
export interface Served {
  readonly head: Head
  readonly body: ReadableStream<Uint8Array>
}

/** Settings of {@link serve}. */
export interface ServeSettings<R> {
  readonly method: string
  readonly format: WireFormat
  readonly includeUsage: boolean
  /** Milliseconds; infinite for none. */
  readonly heartbeat: number
  readonly signal: AbortSignal | undefined
  readonly onEnd: ((summary: ServedFacts & ServedEnding) => Effect.Effect<unknown, unknown, R>) | undefined
}

const keepAlive = new TextEncoder().encode(": keep-alive\n\n")

const makeEncoder = Effect.fnUntraced(function* (
  { format, includeUsage }: Pick<ServeSettings<never>, "format" | "includeUsage">,
  facts: DeltaSource<never>["facts"]
) {
  if (format === "deltas") return neutral
  const known = facts === undefined ? undefined : yield* facts
  const now = yield* Clock.currentTimeMillis
  const random = yield* Random.next
  const id = `chatcmpl-${known?.eventId ?? Math.floor(random * 2 ** 48).toString(36)}`
  return openai({ id, model: known?.model ?? "unknown", created: Math.floor(now / 1000) }, includeUsage)
})

interface DeltaCounts {
  deltas: number
  text: string
  restarts: number
  finished: boolean
  usage: Usage | undefined
  model: string | undefined
}

const makeTally = (restarts: number): DeltaCounts => ({
  deltas: 0,
  text: "",
  restarts,
  finished: false,
  usage: undefined,
  model: undefined
})

const count = (tally: DeltaCounts, batch: ReadonlyArray<Delta>): DeltaCounts => {
  let counted = tally
  for (const delta of batch) {
    counted.deltas++
    if (delta.type === "text") counted.text += delta.text
    else if (delta.type === "usage") counted.usage = delta.usage
    else if (delta.type === "meta") counted.model = delta.model ?? counted.model
    else if (delta.type === "finish") counted.finished = true
    else if (delta.type === "restart") counted = makeTally(counted.restarts + 1)
  }
  return counted
}

/** Facts from the deltas and the last request. */
const factsOf = (
  { deltas, model, restarts, text, usage }: DeltaCounts,
  attempts: ReadonlyArray<Attempt>,
  error: GatewayError | undefined
): ServedFacts => {
  const last = attempts.at(-1)
  return {
    deltas,
    text,
    restarts,
    attempts,
    ...defined({
      target: last?.target,
      provider: last?.provider ?? error?.provider,
      model: model ?? last?.model ?? error?.model,
      logId: last?.logId ?? error?.logId,
      eventId: last?.eventId ?? error?.eventId,
      usage
    })
  }
}

/** The problem as the client sees it: counts and tags, because any other word could come from the answer. */
const problemOf = ({ reason }: GatewayError, deltas: number): StreamProblem =>
  reason._tag === "StreamInterrupted"
    ? { reason: reason._tag, message: reason.message, events: reason.events }
    : {
        reason: reason._tag,
        message: `stream failed after ${counted(deltas, "delta")}: ${reason._tag}`,
        events: deltas
      }

/** Runs a response in its own fiber, and waits until its beginning is known. */
export const serve = <R, R2>(
  open: Effect.Effect<DeltaSource<R>, GatewayError, R | Scope.Scope>,
  { format, heartbeat, includeUsage, method, onEnd, signal }: ServeSettings<R2>
): Effect.Effect<Served, never, Exclude<R, Scope.Scope> | R2> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const head = Deferred.makeUnsafe<Head>()
      const text = new TextEncoder()
      let stop: () => Promise<void> = () => Promise.resolve()
      const clock = yield* Clock.Clock
      const sink = makeByteSink(
        () => clock.currentTimeMillisUnsafe(),
        () => stop()
      )
      let source: DeltaSource<R> | undefined
      let encoder: Encoder = neutral
      let tally = makeTally(0)

      const cutShort = (): GatewayError =>
        new GatewayError({ method, reason: new StreamInterrupted({ events: tally.deltas }) })

      /** One timer for the complete stream: usually it only finds that something was sent in the meantime. */
      const beat = Effect.gen(function* () {
        while (true) {
          const now = clock.currentTimeMillisUnsafe()
          const since = sink.waitingSince()
          const due = (since ?? now) + heartbeat
          if (due > now) yield* Effect.sleep(due - now)
          else sink.write(keepAlive)
        }
      })

      /** Ends with the end of the deltas; fails and is interrupted only together with the complete response. */
      const pump = Effect.fnUntraced(function* (
        opened: DeltaSource<R>
      ): Effect.fn.Return<Exit.Exit<void, GatewayError>, never, R | Scope.Scope> {
        const pull = yield* Stream.toPull(opened.deltas)
        const next = Effect.exit(Pull.catchDone(pull, () => Effect.succeed(undefined)))
        if (Number.isFinite(heartbeat)) yield* Effect.forkScoped(beat)
        while (true) {
          yield* sink.asked
          const exit = yield* next
          if (Exit.isFailure(exit)) return Exit.failCause(exit.cause)
          const batch = exit.value
          if (batch === undefined) return Exit.void
          if (!encoder.restarts && batch.some(({ type }) => type === "restart")) return Exit.fail(cutShort())
          tally = count(tally, batch)
          const events = encoder.deltas(batch)
          if (events !== "") sink.write(text.encode(events))
        }
      })

      /** The failure in a cause. Other errors are logged, without their text. */
      const failureIn = (cause: Cause.Cause<GatewayError>): Effect.Effect<GatewayError> => {
        const error = Option.getOrUndefined(Cause.findErrorOption(cause))
        return error === undefined
          ? Effect.as(
              logWithLevel("Error", `${method}: ${describe(cause)}`),
              new GatewayError({ method, reason: new Unknown({}) })
            )
          : Effect.succeed(error)
      }

      const endingOf = (exit: Exit.Exit<Exit.Exit<void, GatewayError>, GatewayError>): Effect.Effect<ServedEnding> => {
        if (Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)) return Effect.succeed({ outcome: "left" })
        const end = Exit.isSuccess(exit) ? exit.value : exit
        if (Exit.isFailure(end)) return Effect.map(failureIn(end.cause), (error) => ({ outcome: "failed", error }))
        // A stream that was cut short is not a complete answer.
        return Effect.succeed(tally.finished ? { outcome: "complete" } : { outcome: "failed", error: cutShort() })
      }

      const report = Effect.fnUntraced(function* (
        ending: ServedEnding,
        onEnd: NonNullable<ServeSettings<R2>["onEnd"]>
      ) {
        const own = source?.facts === undefined ? undefined : yield* source.facts
        const facts = own ?? factsOf(tally, ending.error?.attempts ?? (yield* LogTrail.current), ending.error)
        yield* onEnd({ ...facts, ...ending })
      })

      const settle = Effect.fnUntraced(function* (exit: Exit.Exit<Exit.Exit<void, GatewayError>, GatewayError>) {
        const ending = yield* endingOf(exit)
        if (ending.outcome === "complete") sink.write(text.encode(encoder.end()))
        else if (ending.error !== undefined && source !== undefined) {
          sink.write(text.encode(encoder.error(problemOf(ending.error, tally.deltas))))
        }
        if (onEnd !== undefined) {
          yield* Effect.catchCause(report(ending, onEnd), (cause) =>
            logWithLevel("Warn", `${method}: onEnd: ${describe(cause)}`)
          )
        }
        // A clean end would make half an answer pass for a complete one, especially in copies and caches.
        if (ending.outcome === "left") sink.fail(signal?.aborted === true ? signal.reason : cutShort())
        else sink.close()
        const { error } = ending
        Deferred.doneUnsafe(head, Exit.succeed(error === undefined ? { _tag: "Left" } : { _tag: "Failed", error }))
      })

      // No one waits for an answer any more.
      const opening = signal?.aborted === true ? Effect.interrupt : open
      const main = Effect.flatMap(opening, (opened) =>
        Effect.gen(function* () {
          encoder = yield* makeEncoder({ format, includeUsage }, opened.facts)
          source = opened
          Deferred.doneUnsafe(head, Exit.succeed({ _tag: "Opened", logId: opened.logId }))
          return yield* pump(opened)
        })
      ).pipe(Effect.scoped, Effect.onExit(settle), LogTrail.collect)
      const fiber = yield* Effect.forkDetach(main, { startImmediately: true })

      stop = () =>
        new Promise((resolve) => {
          fiber.addObserver(() => resolve())
          fiber.interruptUnsafe()
        })
      const leave = (): void => fiber.interruptUnsafe()
      signal?.addEventListener("abort", leave, { once: true })
      fiber.addObserver(() => signal?.removeEventListener("abort", leave))
      const begun = yield* Effect.onInterrupt(restore(Deferred.await(head)), () => Fiber.interrupt(fiber))
      return { head: begun, body: sink.stream }
    })
  )
