/**
 * The vocabulary of faults inside a stream of events.
 */
import * as Schema from "effect/Schema"
import { isTooDeep, maxJsonDepth } from "../../internal/data/jsonDepth.ts"
import * as Delay from "../wire/delay.ts"
import { type Field, problem as fieldProblem, type Problem } from "../wire/fields.ts"

/** Size limit of one piece, and of one event, in bytes. */
export const maxChunk = 16 * 1024 * 1024
const maxEvent = 256 * 1024 * 1024

const AtEvent = { events: Schema.Natural }
const AtDelta = { deltas: Schema.Natural }

const Position = Schema.Union([
  Schema.Struct({ bytes: Schema.Natural }),
  Schema.Struct(AtEvent),
  Schema.Struct(AtDelta)
])

/**
 * A place in a stream: after a number of bytes, events, or deltas (`deltas: 0` is just before the first). A place past
 * the end is the end.
 */
export type Position = typeof Position.Type

const isWritable = (body: unknown): boolean => {
  if (typeof body === "string" || body === undefined) return true
  try {
    const text: unknown = JSON.stringify(body)
    return typeof text === "string" && !isTooDeep(text)
  } catch {
    return false
  }
}

/** The body of a scripted answer: text is sent as it is, anything else as JSON. */
export const Writable = Schema.Unknown.check(
  Schema.makeFilter((body) => (isWritable(body) ? undefined : `expected JSON of at most ${maxJsonDepth} levels`))
)

const body = { body: Schema.optionalKey(Writable) }
const ErrorAt = Schema.Union([Schema.Struct({ ...AtEvent, ...body }), Schema.Struct({ ...AtDelta, ...body })])

const whole = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const always = Schema.Literal(true)
// From its second line on, a comment of several lines would be something else.
const Comment = Schema.Union([always, Schema.String.check(Schema.isPattern(/^[^\r\n]*$/))])

const position = "{ bytes }, { events } or { deltas } with a whole number from 0"

const strict = (schema: Schema.ConstraintDecoder<unknown>) => {
  const decode = Schema.decodeUnknownOption(schema, { onExcessProperty: "error" })
  return (value: unknown): boolean => decode(value)._tag === "Some"
}

const ChunkSize = whole(1, maxChunk)
const EventsPerChunk = whole(1, Number.MAX_SAFE_INTEGER)
const BigEvent = whole(1, maxEvent)

/** See `Upstream.script`. */
export const StreamFault = Schema.Struct({
  delayFirst: Schema.optionalKey(Delay.Delay),
  delayBetween: Schema.optionalKey(Delay.Delay),
  chunkSize: Schema.optionalKey(ChunkSize),
  eventsPerChunk: Schema.optionalKey(EventsPerChunk),
  bom: Schema.optionalKey(always),
  crlf: Schema.optionalKey(always),
  retryField: Schema.optionalKey(Schema.Natural),
  comments: Schema.optionalKey(Comment),
  pings: Schema.optionalKey(always),
  bigEvent: Schema.optionalKey(BigEvent),
  noFinish: Schema.optionalKey(always),
  errorAfter: Schema.optionalKey(ErrorAt),
  stallAfter: Schema.optionalKey(Position),
  resetAfter: Schema.optionalKey(Position),
  endAfter: Schema.optionalKey(Position),
  dropAfter: Schema.optionalKey(Position)
})
export type StreamFault = typeof StreamFault.Type

const only = { accepts: strict(always), accepted: "true, or nothing" }
const place = { accepts: strict(Position), accepted: position }

const fields: Readonly<Record<keyof StreamFault, Field>> = {
  delayFirst: { accepts: strict(Delay.Delay), accepted: Delay.accepted },
  delayBetween: { accepts: strict(Delay.Delay), accepted: Delay.accepted },
  chunkSize: { accepts: strict(ChunkSize), accepted: `1 to ${maxChunk} bytes` },
  eventsPerChunk: { accepts: strict(EventsPerChunk), accepted: "a whole number from 1" },
  bom: only,
  crlf: only,
  retryField: { accepts: strict(Schema.Natural), accepted: "whole milliseconds from 0" },
  comments: { accepts: strict(Comment), accepted: "true, or a text of one line" },
  pings: only,
  bigEvent: { accepts: strict(BigEvent), accepted: `1 to ${maxEvent} bytes` },
  noFinish: only,
  errorAfter: {
    accepts: strict(ErrorAt),
    accepted: `{ events } or { deltas } with a whole number from 0, and optionally body, JSON of at most ${maxJsonDepth} levels`
  },
  stallAfter: place,
  resetAfter: place,
  endAfter: place,
  dropAfter: place
}

/** At most one of each group. */
const exclusive: ReadonlyArray<ReadonlyArray<keyof StreamFault>> = [
  ["stallAfter", "resetAfter", "endAfter"],
  ["chunkSize", "eventsPerChunk"]
]

/** The problem with a fault's `stream`, if any. */
export const problem = (input: unknown): Problem | undefined => {
  const found = fieldProblem(fields, input)
  if (found !== undefined) return found
  const given = new Set(Object.keys(input ?? {}))
  if (given.size === 0) return { field: "", accepted: `at least one of ${Object.keys(fields).join(", ")}` }
  const group = exclusive.find((names) => names.filter((name) => given.has(name)).length > 1)
  const second = group?.filter((name) => given.has(name))[1]
  return group === undefined || second === undefined
    ? undefined
    : { field: second, accepted: `only one of ${group.join(", ")}` }
}
