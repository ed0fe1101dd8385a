/**
 * Turns a transport's answer into a response or a typed failure. Every service uses it.
 */

import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Classifier from "../../Classifier.ts"
import type { GatewayError, Reason } from "../../GatewayError.ts"
import { GatewayResponse, metaFromHeaders } from "../../GatewayResponse.ts"
import { answerError } from "../data/attempts.ts"
import { withoutStack } from "../hotpath/stackless.ts"
import { timeoutOrElse } from "../hotpath/timeoutOrElse.ts"
import type { RawResponse } from "../transport/body.ts"

/** Maximum number of bytes of an error body that are read. */
export const maxErrorBody = 65_536

/** Time limit for the body of an error, in milliseconds. */
const errorBodyPatience = 5000

/** Facts about the call, for its failures. */
export interface CallContext {
  readonly method: string
  readonly surface: Classifier.FailureInput["surface"]
  readonly secrets: ReadonlyArray<string>
  readonly provider?: string | undefined
  readonly model?: string | undefined
  readonly logId?: string | undefined
  readonly eventId?: string | undefined
  /** Size limit of an answer, in bytes. */
  readonly maxBytes?: number | undefined
}

/** Makes a failure without an answer. */
export const failure = (call: CallContext, reason: Reason): GatewayError =>
  withoutStack(() => answerError(reason, call, {}))

/** Makes the failure for an exception of the binding, which only has a name and a message. */
export const thrownFailure = (call: CallContext, thrown: unknown): GatewayError => {
  const error = thrown instanceof Error ? { name: thrown.name, message: thrown.message } : { message: String(thrown) }
  const { secrets, surface } = call
  return failure(call, withoutStack(() => Classifier.classify({ thrown: error, surface, secrets })).reason)
}

/** Returns a response for 2xx; any other status is classified from at most {@link maxErrorBody} bytes of its body. */
export const respond = (call: CallContext, answer: RawResponse): Effect.Effect<GatewayResponse, GatewayError> => {
  if (answer.status >= 200 && answer.status < 300) {
    return Effect.succeed(new GatewayResponse(answer, call))
  }
  return failing(call, answer)
}

const classified = (call: CallContext, { headers, status }: RawResponse, body: string, now: number): GatewayError => {
  const { secrets, surface } = call
  const { reason } = Classifier.classify({ status, headers, body, surface, secrets, now })
  return answerError(reason, call, metaFromHeaders(headers))
}

const failing = (call: CallContext, answer: RawResponse): Effect.Effect<never, GatewayError> =>
  // The status alone is enough if the body of an error breaks off, does not arrive, or exceeds the time limit.
  Effect.uninterruptible(
    Effect.flatMap(
      Effect.exit(
        Effect.interruptible(timeoutOrElse(answer.body.head(maxErrorBody), errorBodyPatience, () => undefined))
      ),
      (body) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) =>
          Effect.fail(withoutStack(() => classified(call, answer, Exit.isSuccess(body) ? body.value : "", now)))
        )
    )
  )
