/** Lines of a scripted peer's script, and their problems. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Problem } from "../../GatewayOptions.ts"
import { millisOf } from "../../internal/data/duration.ts"
import { isHeaderName, isHeaderValue } from "../../internal/data/headers.ts"
import { isRecord, strayField } from "../../internal/data/json.ts"

/** One step of a body in pieces: bytes, a pause, or an unclean end. */
export type Piece = string | Uint8Array | { readonly wait: Duration.Input } | { readonly end: "never" | "reset" }

/**
 * Reaction to one request. At most one of `answer`, `body`, `text`, `stream`, `never` and `reset`; without any, a
 * status of 200 is a good answer, and any other status an error without a useful body.
 */
export interface Line {
  /** 200 to 599. Default 200. */
  readonly status?: number | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Time before the headers. Default none. */
  readonly delay?: Duration.Input | undefined
  /** Runs after `delay`, before the headers. */
  readonly after?: Effect.Effect<unknown> | undefined
  /** A good answer with this text, in the dialect of the request, streamed if the request wants a stream. */
  readonly answer?: string | undefined
  /** Pause before each event after the first, when `answer` is streamed. Default none. */
  readonly pace?: Duration.Input | undefined
  /** Tokens that `answer` reports: whole numbers of at least 0. Default 1 in and 2 out. */
  readonly usage?: { readonly input: number; readonly output: number } | undefined
  /** A body to send as JSON. */
  readonly body?: unknown
  /** A body to send unchanged. */
  readonly text?: string | undefined
  /** A body in pieces. With `{ end: "never" }` the rest never comes, with `{ end: "reset" }` the connection breaks. */
  readonly stream?: ReadonlyArray<Piece> | undefined
  /** The headers never come. */
  readonly never?: boolean | undefined
  /** The connection breaks before the headers. */
  readonly reset?: boolean | undefined
}

const names = [
  "status",
  "headers",
  "delay",
  "after",
  "answer",
  "pace",
  "usage",
  "body",
  "text",
  "stream",
  "never",
  "reset"
]
const kinds = ["answer", "body", "text", "stream", "never", "reset"] as const

const durationAccepted = "a finite duration of 0 or more"

/** Whether a value is a finite duration of 0 or more. */
export const isTime = (input: Duration.Input): boolean => {
  const millis = millisOf(input)
  return millis >= 0 && Number.isFinite(millis)
}

const isCount = (n: unknown): boolean => typeof n === "number" && Number.isInteger(n) && n >= 0

const pieceProblem = (piece: Piece): string | undefined => {
  if (typeof piece === "string" || piece instanceof Uint8Array) return undefined
  if (isRecord(piece) && "wait" in piece) return isTime(piece.wait) ? undefined : `{ wait }: ${durationAccepted}`
  return isRecord(piece) && "end" in piece && (piece.end === "never" || piece.end === "reset")
    ? undefined
    : `text, bytes, { wait }, { end: "never" } or { end: "reset" }`
}

/** Problems of a line, by field. */
export const lineProblems = (at: string, line: Line): ReadonlyArray<Problem> => {
  if (!isRecord(line)) return [{ field: at, accepted: `an object of ${names.join(", ")}` }]
  const out: Array<Problem> = []
  const check = (holds: boolean, field: string, accepted: string): void => {
    if (!holds) out.push({ field: `${at}.${field}`, accepted })
  }
  const { after, answer, delay, headers, pace, status, stream, text, usage }: Line = line
  const stray = strayField(line, names)
  if (stray !== undefined) check(false, stray, `one of ${names.join(", ")}`)
  const given = kinds.filter((kind) => line[kind] !== undefined && line[kind] !== false)
  if (given.length > 1) check(false, given[1] ?? "", `at most one of ${kinds.join(", ")}`)
  check(
    status === undefined || (Number.isInteger(status) && status >= 200 && status <= 599),
    "status",
    "a whole number from 200 to 599"
  )
  for (const field of ["delay", "pace"] as const) {
    const value = field === "delay" ? delay : pace
    check(value === undefined || isTime(value), field, durationAccepted)
  }
  for (const field of ["never", "reset"] as const) {
    check(line[field] === undefined || typeof line[field] === "boolean", field, "true or false")
  }
  check(after === undefined || Effect.isEffect(after), "after", "an Effect")
  check(answer === undefined || (typeof answer === "string" && answer.trim() !== ""), "answer", "a text with words")
  check(text === undefined || typeof text === "string", "text", "a text")
  check(pace === undefined || answer !== undefined, "pace", "only beside answer")
  check(usage === undefined || answer !== undefined, "usage", "only beside answer")
  check(
    usage === undefined || (isRecord(usage) && isCount(usage["input"]) && isCount(usage["output"])),
    "usage",
    "{ input, output }, whole numbers of at least 0"
  )
  if (headers !== undefined) {
    const isMap = isRecord(headers)
    check(isMap, "headers", "texts by name")
    for (const [name, value] of isMap ? Object.entries(headers) : []) {
      const fits =
        isHeaderName(name.toLowerCase()) && typeof value === "string" && (value === "" || isHeaderValue(value))
      check(fits, `headers.${name}`, "a header name with printable ASCII")
    }
  }
  if (stream !== undefined) {
    const isList = Array.isArray(stream)
    check(isList, "stream", "a list of pieces")
    for (const [index, piece] of (isList ? stream : []).entries()) {
      const accepted = pieceProblem(piece)
      if (accepted !== undefined) check(false, `stream[${index}]`, accepted)
    }
  }
  return out
}

/** Milliseconds of a checked duration. */
export const toMillis = (input: Duration.Input): number => Duration.toMillis(input)
