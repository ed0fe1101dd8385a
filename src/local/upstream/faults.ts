/** Scripted reactions of an upstream: their schema, their queue, and their effects. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { isRecord } from "../../internal/data/json.ts"
import * as Delay from "../wire/delay.ts"
import { badRequest, dataPlaneError, jsonHeaders } from "../wire/errors.ts"
import type { Problem } from "../wire/fields.ts"
import { type Answer, Disconnect, type Handler, UpstreamFailure, type UpstreamRequest } from "../wire/protocol.ts"
import { providerError } from "./providerErrors.ts"
import * as StreamFaultSchema from "./streamFaultSchema.ts"
import * as StreamFaults from "./streamFaults.ts"

const accepted =
  "one of { status: 200..599 }, { ok: true }, { stall: true }, { reset: true }, { truncate: bytes }, { garble: true }, " +
  "{ html: true }, { drop: true }, { stream: … }; optional delay (milliseconds or a duration text) and repeat (1 or " +
  'more, or "forever"); body is text, or JSON of at most 1000 levels'

// Only printable values: others would throw when the response is built. Clients read at most 16 KiB of headers.
const HeaderText = Schema.String.check(Schema.isPattern(/^[\x20-\x7e]*$/), Schema.isMaxLength(8192))
const HeaderName = Schema.String.check(Schema.isPattern(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/))

const timing = {
  /** Delay before the reaction: milliseconds, or text such as `"2 seconds"`. */
  delay: Schema.optionalKey(Delay.Delay),
  /** Number of consecutive attempts with this reaction. Default: 1. */
  repeat: Schema.optionalKey(
    Schema.Union([Schema.Int.check(Schema.isGreaterThanOrEqualTo(1)), Schema.Literal("forever")])
  )
}

const Status = Schema.Int.check(Schema.isBetween({ minimum: 200, maximum: 599 }))

const head = {
  headers: Schema.optionalKey(Schema.Record(HeaderName, HeaderText)),
  /** The `retry-after` header: seconds, or an HTTP date. */
  retryAfter: Schema.optionalKey(Schema.Union([Delay.Millis, HeaderText]))
}

const always = Schema.Literal(true)

export const Fault = Schema.Union([
  Schema.Struct({ ...timing, ...head, status: Status, body: Schema.optionalKey(StreamFaultSchema.Writable) }),
  Schema.Struct({ ...timing, ok: always }),
  Schema.Struct({ ...timing, stall: always }),
  Schema.Struct({ ...timing, reset: always }),
  Schema.Struct({ ...timing, truncate: Schema.Natural }),
  Schema.Struct({ ...timing, ...head, garble: always }),
  Schema.Struct({ ...timing, ...head, html: always, status: Schema.optionalKey(Status) }),
  Schema.Struct({ ...timing, drop: always }),
  Schema.Struct({ ...timing, stream: StreamFaultSchema.StreamFault })
])
export type Fault = typeof Fault.Type

const decodeOne = Schema.decodeUnknownResult(Fault, { onExcessProperty: "error" })

// A union reports only that nothing fits; inside `stream`, the wrong field can be named.
const problemOf = (fault: unknown): Problem | undefined => {
  const inner = isRecord(fault) && "stream" in fault ? StreamFaultSchema.problem(fault["stream"]) : undefined
  if (inner !== undefined) {
    return { field: `.stream${inner.field === "" ? "" : `.${inner.field}`}`, accepted: inner.accepted }
  }
  return Result.isFailure(decodeOne(fault)) ? { field: "", accepted } : undefined
}

/** Largest number of faults in one script. */
const maxFaults = 10_000

/** The first problem of a script, if any. */
export const problem = (faults: unknown): Problem | undefined => {
  if (!Array.isArray(faults) || faults.length > maxFaults) {
    return { field: "faults", accepted: `an array of at most ${maxFaults} faults` }
  }
  for (const [index, fault] of faults.entries()) {
    const found = problemOf(fault)
    if (found !== undefined) return { ...found, field: `faults[${index}]${found.field}` }
  }
  return undefined
}

/** Decodes a script from another process. */
export const decode = (faults: unknown): Result.Result<ReadonlyArray<Fault>, { field: string; accepted: string }> => {
  const found = problem(faults)
  if (found !== undefined) return Result.fail(found)
  return Result.succeed(
    Array.isArray(faults) ? faults.flatMap((fault) => Option.toArray(Result.getSuccess(decodeOne(fault)))) : []
  )
}

/** Position in a script. */
export interface Queue {
  readonly next: () => Fault | undefined
}

export const makeQueue = (faults: ReadonlyArray<Fault>): Queue => {
  let index = 0
  let used = 0
  return {
    next: () => {
      const fault = faults[index]
      if (fault === undefined) return undefined
      used++
      if (fault.repeat !== "forever" && used >= (fault.repeat ?? 1)) {
        index++
        used = 0
      }
      return fault
    }
  }
}

const lowerCase = (headers: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))

const headersOf = (
  fault: { readonly headers?: Readonly<Record<string, string>>; readonly retryAfter?: number | string },
  contentType: string
): Record<string, string> => ({
  "content-type": contentType,
  ...(fault.retryAfter === undefined ? {} : { "retry-after": String(fault.retryAfter) }),
  ...lowerCase(fault.headers ?? {})
})

const bodyOf = (body: unknown): readonly [contentType: string, text: string] =>
  typeof body === "string"
    ? [body.trimStart().startsWith("<") ? "text/html; charset=utf-8" : "text/plain; charset=utf-8", body]
    : [jsonHeaders["content-type"], JSON.stringify(body)]

const page = "<!DOCTYPE html><html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>"

const cut = (answer: Answer, bytes: number, request: UpstreamRequest): Effect.Effect<Answer> => {
  if (answer.body instanceof ReadableStream) return StreamFaults.apply({ resetAfter: { bytes } }, request, answer)
  const body =
    typeof answer.body === "string" ? new TextEncoder().encode(answer.body) : (answer.body ?? new Uint8Array(0))
  return Effect.succeed({ ...answer, body: body.slice(0, bytes), broken: true })
}

/** On an answer without a stream the fault would vanish silently, so the answer is an error instead. */
const inStream = (
  fault: StreamFaultSchema.StreamFault,
  request: UpstreamRequest,
  answer: Answer
): Effect.Effect<Answer> => {
  if (answer.status < 200 || answer.status > 299) return Effect.succeed(answer)
  const type = answer.headers["content-type"] ?? "no content type"
  return type.startsWith("text/event-stream")
    ? StreamFaults.apply(fault, request, answer)
    : Effect.succeed(dataPlaneError(badRequest(`fault stream: expected an answer in events, this one is ${type}`)))
}

const reaction = (fault: Fault, request: UpstreamRequest, then: Handler): ReturnType<Handler> => {
  if ("ok" in fault) return then(request)
  if ("stall" in fault) return Effect.never
  if ("reset" in fault) return Effect.fail(new UpstreamFailure({ kind: "reset" }))
  if ("drop" in fault) return Effect.fail(new Disconnect())
  if ("truncate" in fault) return Effect.flatMap(then(request), (answer) => cut(answer, fault.truncate, request))
  if ("stream" in fault) return Effect.flatMap(then(request), (answer) => inStream(fault.stream, request, answer))
  if ("garble" in fault) {
    const body = '{"id":"garbled","choices":[{"message":{"content":"cut'
    return Effect.succeed({ status: 200, headers: headersOf(fault, jsonHeaders["content-type"]), body })
  }
  if ("html" in fault) {
    return Effect.succeed({
      status: fault.status ?? 502,
      headers: headersOf(fault, "text/html; charset=utf-8"),
      body: page
    })
  }
  if (fault.body === undefined && fault.status < 300) {
    return Effect.map(then(request), (answer) => ({
      ...answer,
      status: fault.status,
      headers: { ...answer.headers, ...headersOf(fault, answer.headers["content-type"] ?? jsonHeaders["content-type"]) }
    }))
  }
  const [contentType, body] = bodyOf(
    fault.body ?? providerError(request, fault.status, `scripted status ${fault.status}`)
  )
  return Effect.succeed({ status: fault.status, headers: headersOf(fault, contentType), body })
}

/** Applies a fault to one attempt. Without a fault, `then` answers. */
export const react = (fault: Fault | undefined, request: UpstreamRequest, then: Handler): ReturnType<Handler> => {
  if (fault === undefined) return then(request)
  const delay = Delay.toDuration(fault.delay)
  return Duration.isZero(delay) ? reaction(fault, request, then) : Effect.delay(reaction(fault, request, then), delay)
}
