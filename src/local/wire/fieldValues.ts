/**
 * Checks that HTTP can carry a text in a header. Texts from bodies and answers become headers, and not every text can
 * be one.
 */
import * as Effect from "effect/Effect"
import { type Answer, UpstreamFailure } from "./protocol.ts"

/** Whether a text can be the name of a header. */
export const isFieldName = (name: string): boolean => /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)

/** Whether a text can be the value of a header: Latin-1 without control characters. */
export const isFieldValue = (value: string): boolean => /^[\t\x20-\x7e\x80-\xff]*$/.test(value)

/** Describes what {@link isFieldValue} accepts, for refusals. */
export const fieldValueAccepted = "Latin-1 text without control characters"

const carried = (value: string): string => value.replace(/[^\t\x20-\x7e\x80-\xff]/g, " ")

/**
 * Converts an upstream's answer to one that HTTP can carry. Characters that no header value can hold become spaces. A
 * status below 200 or above 599, or an invalid header name, counts as a broken connection.
 */
export const carriable = (answer: Answer): Effect.Effect<Answer, UpstreamFailure> => {
  const { body, headers, status } = answer
  const entries = Object.entries(headers)
  if (!(Number.isInteger(status) && status >= 200 && status <= 599) || !entries.every(([name]) => isFieldName(name))) {
    if (body instanceof ReadableStream) void body.cancel().catch(() => undefined)
    return Effect.fail(new UpstreamFailure({ kind: "reset" }))
  }
  return Effect.succeed(
    entries.every(([, value]) => isFieldValue(value))
      ? answer
      : { ...answer, headers: Object.fromEntries(entries.map(([name, value]) => [name, carried(value)])) }
  )
}
