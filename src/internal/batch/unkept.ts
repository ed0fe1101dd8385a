/**
 * Replaces an end of an item that no journal can store by one that every journal can, so that the job continues and a
 * later run does not send the item again.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import { JournalError } from "../../BatchJournal.ts"
import { type Attempt, GatewayError, InvalidResponse, Unknown } from "../../GatewayError.ts"
import { defined } from "../data/defined.ts"
import type { ItemAnswer } from "./job.ts"

/** Code of such dead letters. */
const code = "unwritable"
const maxDetail = 500

const causeOf = (cause: Cause.Cause<JournalError>): { readonly issue: string; readonly detail?: string } => {
  const error = Cause.squash(cause)
  if (!(error instanceof JournalError)) return { issue: "its codec threw", detail: String(error).slice(0, maxDetail) }
  // A schema's message may contain a part of the answer, which must not appear in an error's message.
  return error.cause === undefined
    ? { issue: error.detail }
    : { issue: "the answer does not match the journal's codec", detail: error.detail.slice(0, maxDetail) }
}

/** The error of an item whose answer cannot be stored. */
export const unkeptAnswer = (
  method: string,
  { eventId, logId, model, provider, step }: ItemAnswer<unknown>,
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

const plainAttempt = ({ duration, error, number, startedAt, status, ...rest }: Attempt): Attempt => ({
  ...rest,
  ...(number !== undefined && Number.isFinite(number) && { number }),
  startedAt: finite(startedAt),
  duration: Duration.millis(finite(Duration.toMillis(duration))),
  ...(status !== undefined && Number.isFinite(status) && { status }),
  ...(error !== undefined && { error: new Unknown({ code: error._tag }) })
})

/** An error reduced to the parts that can be stored. The attempts stay, with their reasons by name. */
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

/** Whether {@link unkeptError} made an error. */
export const isUnkept = ({ reason }: GatewayError): boolean => reason._tag === "Unknown" && reason.code === code
