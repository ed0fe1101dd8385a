/** One leg: attempts at its upstream, with timeout, retries and back-off, until an answer or a final failure. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Classifier from "../../Classifier.ts"
import * as GatewayError from "../../GatewayError.ts"
import * as Body from "../wire/body.ts"
import { dataPlaneError, type Refusal } from "../wire/errors.ts"
import { carriable } from "../wire/fieldValues.ts"
import { text } from "../wire/message.ts"
import type { Answer, Disconnect, Handler, UpstreamFailure, UpstreamRequest } from "../wire/protocol.ts"
import type { Calls } from "./calls.ts"
import { delayAfter, type ResolvedOptions } from "./requestOptions.ts"

/** How one attempt ended. */
export type AttemptOutcome =
  | { readonly _tag: "Answered"; readonly answer: Answer }
  | { readonly _tag: "Failed" }
  | { readonly _tag: "TimedOut" }
  /** The leg cannot be sent. */
  | { readonly _tag: "Refused"; readonly refusal: Refusal }

/** How a leg ended. */
export interface LegResult {
  readonly outcome: AttemptOutcome
  readonly success: boolean
  /** Whether the failure allows the next leg to try. */
  readonly next: boolean
}

/** Resources of a running leg. */
export interface RunningLeg {
  readonly calls: Calls
  readonly handler: Handler
  readonly request: UpstreamRequest
  /** Watches the body when it is passed through. */
  readonly observer: Body.Observer
  readonly bodies: Body.OpenBodies
}

/** Facts for the record of an attempt. */
export interface AttemptFacts {
  readonly leg: number
  readonly eventId: string
  readonly logId: string | undefined
}

const isSuccess = (answer: Answer): boolean => answer.status >= 200 && answer.status < 300

const maxClassified = 64 * 1024

const bodyText = (answer: Answer): string => {
  if (typeof answer.body === "string") return answer.body.slice(0, maxClassified)
  return answer.body instanceof Uint8Array ? text(answer.body.subarray(0, maxClassified)) : ""
}

const classify = (answer: Answer, now: number): GatewayError.Reason => {
  const { headers, status } = answer
  const body = bodyText(answer)
  return Classifier.classify({ status, headers, body, surface: "gateway", now }).reason
}

const reasonOf = (outcome: AttemptOutcome, now: number): GatewayError.Reason => {
  switch (outcome._tag) {
    case "Refused":
      return classify(dataPlaneError(outcome.refusal), now)
    case "Failed":
      return new GatewayError.TransportFailure({ kind: "reset" })
    case "TimedOut":
      return new GatewayError.Timeout({ phase: "upstream" })
    case "Answered":
      return classify(outcome.answer, now)
  }
}

/** Looks up an outcome that is not a success in the shared decision table. */
export const decide = (outcome: AttemptOutcome, now: number): GatewayError.Decision =>
  GatewayError.decide(reasonOf(outcome, now))

const attempt = Effect.fnUntraced(function* (
  { bodies, calls, handler, observer, request }: RunningLeg,
  facts: AttemptFacts,
  number: number,
  limit: number | undefined
): Effect.fn.Return<AttemptOutcome, Disconnect> {
  const clock = yield* Clock.Clock
  const now = (): number => clock.currentTimeMillisUnsafe()
  const { logId, ...known } = facts
  const call = calls.start(request, {
    ...known,
    ...(logId === undefined ? {} : { logId }),
    attempt: number,
    startedAt: now()
  })
  const opening = handler(request).pipe(
    Effect.flatMap(carriable),
    Effect.flatMap((answer) => Body.open(answer, bodies))
  )
  const opened = limit === undefined ? Effect.map(opening, Option.some) : Effect.timeoutOption(opening, limit)
  return yield* opened.pipe(
    Effect.flatMap((first): Effect.Effect<AttemptOutcome, UpstreamFailure> => {
      if (Option.isNone(first)) return Effect.succeed({ _tag: "TimedOut" })
      const { status } = first.value.answer
      const whole = Body.complete(first.value, {
        chunk: (bytes) => {
          call.sent(bytes.length)
          observer.chunk(bytes)
        },
        end: (how) => {
          call.end(how, now(), status)
          observer.end(how)
        }
      })
      return Effect.map(whole, (answer) => ({ _tag: "Answered", answer }))
    }),
    Effect.catchTag("UpstreamFailure", (): Effect.Effect<AttemptOutcome> => Effect.succeed({ _tag: "Failed" })),
    Effect.onExit((exit) =>
      Effect.sync(() => {
        if (Exit.isFailure(exit)) {
          return call.end(Cause.hasInterruptsOnly(exit.cause) ? "interrupted" : "failed", now())
        }
        const outcome = exit.value
        if (outcome._tag !== "Answered") return call.end(outcome._tag === "TimedOut" ? "timeout" : "failed", now())
        // A stream reports its own end.
        if (outcome.answer.body instanceof ReadableStream) return
        call.sent(Body.sizeOf(outcome.answer))
        call.end("answered", now(), outcome.answer.status)
      })
    )
  )
})

/**
 * Runs a leg. With two attempts or more the last one has no time limit, as the service documents; a single attempt has
 * one.
 */
export const runLeg = Effect.fnUntraced(function* (
  leg: RunningLeg,
  options: ResolvedOptions,
  facts: AttemptFacts
): Effect.fn.Return<LegResult, Disconnect> {
  for (let number = 1; ; number++) {
    const isLast = number >= options.maxAttempts
    const limit = isLast && number > 1 ? undefined : options.requestTimeout
    const outcome = yield* attempt(leg, facts, number, limit)
    if (outcome._tag === "Answered" && isSuccess(outcome.answer)) return { outcome, success: true, next: false }
    const { again, next } = decide(outcome, yield* Clock.currentTimeMillis)
    if (isLast || !again) return { outcome, success: false, next }
    yield* Effect.sleep(delayAfter(number, options))
  }
})
