/**
 * Reads one streamed answer: bytes to events to deltas, until the dialect completes it. Any other end is a failure.
 */
import * as Effect from "effect/Effect"
import type { GatewayError } from "../../GatewayError.ts"
import { hasError } from "../classifier/errorBody.ts"
import { parseJson } from "../data/json.ts"
import { monotonicMillis } from "../data/monotonic.ts"
import { makeFeed, oversized } from "../transport/sse.ts"
import type { Decoded, Delta, DeltaDecoder } from "./delta.ts"
import { isCommit } from "./deltaDecoder.ts"

/** Wraps each read of a chunk: with time limits, or with nothing. */
export type Limiting = <A>(read: Effect.Effect<A, GatewayError>) => Effect.Effect<A, GatewayError>

/** Deltas of one answer, in batches as they arrive. */
export interface Pump {
  /** Returns the next deltas, at least one, or `undefined` when the answer is complete. */
  readonly next: (limiting: Limiting) => Effect.Effect<ReadonlyArray<Delta> | undefined, GatewayError>
  /** Whether the finish has arrived, even if the consumer has not got it yet. */
  readonly isFinished: () => boolean
  /** Releases the answer and the connection behind it. */
  readonly cancel: Effect.Effect<void>
}

/** Time to wait for more of the answer after its finish. Comments and usage do not extend it. */
const afterFinishMillis = 2000

/** Time to wait for the end of the connection after the last event, so that the socket can be reused. */
const drainMillis = 100

/** No limits. */
export const unlimited: Limiting = (read) => read

/** The response that a pump reads: its bytes, and how to make its failures. A `GatewayResponse` is one. */
export interface PumpedResponse {
  readonly reader: () => {
    /** The next chunk, or `undefined` at the end. */
    readonly read: Effect.Effect<Uint8Array | undefined, GatewayError>
    readonly cancel: Effect.Effect<void>
  }
  /** Maximum number of characters in one event. */
  readonly maxBytes: number
  /**
   * Makes the failure of an unreadable answer; `text` is the source of its excerpt, or of the failure that it reports.
   */
  readonly invalid: (issue: string, text: string) => GatewayError
  /** Makes the failure for an error event inside the stream. */
  readonly fault: (body: string) => GatewayError
}

/** Makes a pump over an unread response. */
export const makePump = (response: PumpedResponse, decoder: DeltaDecoder): Pump => {
  const reader = response.reader()
  const feed = makeFeed(response.maxBytes)
  let failure: GatewayError | undefined
  let finished = false
  /**
   * The finish and the latest usage and meta after it. Some servers continue the answer after the finish, and a reader
   * stops there.
   */
  let last: ReadonlyArray<Delta> = []
  /** End of the wait, in milliseconds of the monotonic clock. */
  let patience: number | undefined
  let complete = false
  let ended = false
  /**
   * Characters of events since the last delta that a consumer can act on: a decoder and a router may hold all of them.
   */
  let silent = 0
  /** Number of characters outside events that have been checked. */
  let looked = 0

  const fail = (issue: string): void => {
    failure ??= response.invalid(issue, feed.outside())
  }

  /** Some servers write an error without framing it, and may continue as usual. */
  const lookOutside = (): void => {
    const text = feed.outside()
    if (text.length === looked || finished) return
    const fresh = text.slice(looked)
    looked = text.length
    // Each line once, and all of them where a value of several lines may end.
    const body = errorIn(/^[\]}]/m.test(fresh) ? [...fresh.split("\n"), text] : fresh.split("\n"))
    if (body !== undefined) failure = response.fault(body)
  }

  /** Adds the result of an event, or of the end; returns `false` if nothing may follow. */
  const take = ({ deltas: more, done, fault }: Decoded, deltas: Array<Delta>): boolean => {
    for (const delta of more) {
      // Decoders can be custom. Two answers in one stream, or an unannounced one, must not get through.
      if (delta.type === "restart" || (delta.type === "finish" && finished)) {
        fail(`${delta.type}: expected ${delta.type === "finish" ? "only one" : "none from a decoder"}`)
        return false
      }
      if (delta.type === "finish") finished = true
      const { type } = delta
      if (finished && (type === "finish" || type === "usage" || type === "meta")) {
        last = [...last.filter((earlier) => earlier.type !== type), delta]
      } else {
        deltas.push(delta)
        if (isCommit(delta)) patience = undefined
      }
      // The reason arrived before any call.
      if (delta.type === "toolCall") last = last.map(callsToo)
    }
    // The answer was complete: an error after it does not invalidate it.
    if (fault?.body !== undefined && finished) complete = true
    else if (fault !== undefined) {
      failure = fault.body === undefined ? response.invalid(fault.issue, feed.outside()) : response.fault(fault.body)
    } else if (done === true) {
      complete = true
      if (!finished) fail("finish: expected one before the stream ends")
    }
    return failure === undefined && !complete
  }

  /** Returns everything that was held back for the end. */
  const release = (): ReadonlyArray<Delta> => {
    const held = last
    last = []
    return held
  }

  /** Returns the deltas that one chunk, or the end, adds. */
  const step = (chunk: Uint8Array | undefined): ReadonlyArray<Delta> => {
    const deltas = read(chunk)
    lookOutside()
    return complete && failure === undefined ? [...deltas, ...release()] : deltas
  }

  const read = (chunk: Uint8Array | undefined): ReadonlyArray<Delta> => {
    const deltas: Array<Delta> = []
    ended = chunk === undefined
    for (const event of chunk === undefined ? feed.end() : feed.push(chunk)) {
      silent += event.data.length + 1
      if (!take(decoder.event(event), deltas)) return deltas
    }
    if (deltas.some(isCommit)) silent = 0
    const isTooMuch = silent > response.maxBytes
    // Data after a complete answer does not invalidate it.
    if (finished && (isTooMuch || feed.overflowed())) complete = true
    else if (isTooMuch) fail(`more than ${response.maxBytes} characters of events without an answer`)
    else if (feed.overflowed()) fail(oversized(response.maxBytes))
    else if (ended) {
      const rest = decoder.end()
      take(rest.fault === undefined ? { ...rest, done: true } : rest, deltas)
    }
    return deltas
  }

  const drain = reader.read.pipe(
    Effect.timeoutOrElse({ duration: drainMillis, orElse: () => Effect.succeed(new Uint8Array()) }),
    Effect.catch(() => Effect.succeed(undefined)),
    Effect.flatMap((chunk) => (chunk === undefined ? Effect.void : reader.cancel))
  )

  /** Continues to read after the finish until the wait is over; `undefined` as at the end of the bytes. */
  const patiently = (reading: Effect.Effect<Uint8Array | undefined, GatewayError>) =>
    Effect.flatMap(monotonicMillis, (now) => {
      patience ??= now + afterFinishMillis
      return patience <= now
        ? Effect.as(reader.cancel, undefined)
        : Effect.timeoutOrElse(reading, { duration: patience - now, orElse: () => Effect.succeed(undefined) })
    })

  const next: Pump["next"] = (limiting) =>
    Effect.suspend(() => {
      if (failure !== undefined) return Effect.andThen(reader.cancel, Effect.fail(failure))
      if (complete) return ended ? Effect.succeed(undefined) : Effect.as(drain, undefined)
      const reading = limiting(reader.read)
      return Effect.matchEffect(finished ? patiently(reading) : reading, {
        onSuccess: (chunk) => {
          const deltas = step(chunk)
          if (deltas.length === 0) return next(limiting)
          // A known failure closes the connection now, and not only at the next read.
          return failure === undefined ? Effect.succeed(deltas) : Effect.as(reader.cancel, deltas)
        },
        onFailure: (error) => {
          // The answer was complete: at most its usage is missing.
          if (finished) complete = ended = true
          else failure = error
          return finished ? Effect.as(reader.cancel, release()) : next(limiting)
        }
      })
    })
  return { next, isFinished: () => finished, cancel: reader.cancel }
}

/** Makes a finish consistent with calls. */
const callsToo = (delta: Delta): Delta =>
  delta.type === "finish" && delta.reason === "stop" ? { ...delta, reason: "toolCalls" } : delta

/** Finds the error in text outside events, as a body: JSON, or the text after `error:`, as llama.cpp writes it. */
const errorIn = (texts: ReadonlyArray<string>): string | undefined => {
  for (const text of texts) {
    const named = text.startsWith("error:")
    const body = (named ? text.slice(6) : text).trim()
    const json = parseJson(body)
    if (hasError(json)) return body
    if (named && json !== undefined) return `{"error":${body}}`
    // The first line of a longer value is not enough.
    if (named && !/^[[{]/.test(body)) return JSON.stringify({ error: body })
  }
  return undefined
}
