/**
 * What becomes of an item whose end no journal can keep: another end that every journal can, so that the job goes on and a later run does not send the item
 * again.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import { JournalError } from "../../BatchJournal.ts"
import { type Attempt, GatewayError, InvalidResponse, Unknown } from "../../GatewayError.ts"
import { defined } from "../defined.ts"
import type { Answer } from "./job.ts"

/** Of such dead letters. */
const code = "unwritable"
const maxDetail = 500

const causeOf = (cause: Cause.Cause<JournalError>): { readonly issue: string; readonly detail?: string } => {
  const error = Cause.squash(cause)
  if (!(error instanceof JournalError)) return { issue: "its codec threw", detail: String(error).slice(0, maxDetail) }
  // What a schema says may hold a part of the answer, which has no place in a message.
  return error.cause === undefined
    ? { issue: error.detail }
    : { issue: "the answer is not what the journal's codec says", detail: error.detail.slice(0, maxDetail) }
}

/** The error of an item that was answered with what cannot be kept. */
export const unkeptAnswer = (
  method: string,
  { eventId, logId, model, provider, step }: Answer<unknown>,
  attempts: ReadonlyArray<Attempt>,
  cause: Cause.Cause<JournalError>
): GatewayError =>
  new GatewayError({
    method,
    reason: new InvalidResponse({ code, ...causeOf(cause) }),
    attempts,
    ...defined({ eventId, logId, model, provider, step })
  })

const finite = (value: number): number => (Number.isFinite(value) ? value : 0)

const plainAttempt = ({ duration, error, startedAt, status, ...rest }: Attempt): Attempt => ({
  ...rest,
  startedAt: finite(startedAt),
  duration: Duration.millis(finite(Duration.toMillis(duration))),
  ...(status !== undefined && Number.isFinite(status) && { status }),
  ...(error !== undefined && { error: new Unknown({ code: error._tag }) })
})

/** An error without whatever of it cannot be kept. The attempts stay, and their reasons by name. */
export const unkeptError = ({
  attempts,
  eventId,
  logId,
  method,
  model,
  provider,
  reason
}: GatewayError): GatewayError =>
  new GatewayError({
    method,
    reason: new Unknown({ code, detail: `${reason._tag}, with a value that cannot be kept` }),
    ...(attempts !== undefined && { attempts: attempts.map(plainAttempt) }),
    ...defined({ eventId, logId, model, provider })
  })

/** Whether an error is what {@link unkeptError} made of another one. */
export const isUnkept = ({ reason }: GatewayError): boolean => reason._tag === "Unknown" && reason.code === code
