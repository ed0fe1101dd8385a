/**
 * Reads one streamed answer: bytes to events to deltas, until the dialect says that it is complete. Whatever ends it in
 * another way is a failure.
 */
import * as Effect from "effect/Effect"
import type { GatewayError } from "../../GatewayError.ts"
import { hasError } from "../classifier/errorBody.ts"
import { parseJson } from "../data/json.ts"
import { monotonicMillis } from "../data/monotonic.ts"
import { makeFeed, oversized } from "../transport/sse.ts"
import type { Decoded, Delta, DeltaDecoder } from "./delta.ts"
import { isCommit } from "./deltaDecoder.ts"

/** What is put around each read of a chunk: time limits, or nothing. */
export type Limiting = <A>(read: Effect.Effect<A, GatewayError>) => Effect.Effect<A, GatewayError>

/** Deltas of one answer, in batches as they arrive. */
export interface Pump {
  /** The next deltas, at least one, or `undefined` when the answer is complete. */
  readonly next: (limiting: Limiting) => Effect.Effect<ReadonlyArray<Delta> | undefined, GatewayError>
  /** Whether the finish has arrived; the consumer may not have it yet. */
  readonly isFinished: () => boolean
  /** Lets go of the answer and of the connection behind it. */
  readonly cancel: Effect.Effect<void>
}

/** How long more of the answer is waited for once its finish is known. Comments and usage are no more of it. */
const afterFinishMillis = 2000

/** How long the end of the connection is waited for after the last event, so that the socket can be used again. */
const drainMillis = 100

/** No limits. */
export const unlimited: Limiting = (read) => read

/** The response that a pump reads: its bytes, and the failures that name it. A `GatewayResponse` is one. */
export interface PumpedResponse {
  readonly reader: () => {
    /** The next chunk, or `undefined` at the end. */
    readonly read: Effect.Effect<Uint8Array | undefined, GatewayError>
    readonly cancel: Effect.Effect<void>
  }
  /** Most characters of one event. */
  readonly maxBytes: number
  /**
   * The failure of an answer that cannot be read; `text` is what its excerpt, or the failure that it tells of, is taken
   * from.
   */
  readonly invalid: (issue: string, text: string) => GatewayError
  /** The failure that an error event inside the stream stands for. */
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
  /** When nothing more is waited for, in milliseconds of the monotonic clock. */
  let patience: number | undefined
  let complete = false
  let ended = false
  /**
   * Characters of events since the last delta that a consumer could act on: a decoder and a router may hold all of
   * them.
   */
  let silent = 0
  /** Characters outside of events that have been looked at. */
  let looked = 0

  const fail = (issue: string): void => {
    failure ??= response.invalid(issue, feed.outside())
  }

  /** Some servers write an error without framing it, and may go on as if nothing had been. */
  const lookOutside = (): void => {
    const text = feed.outside()
    if (text.length === looked || finished) return
    const fresh = text.slice(looked)
    looked = text.length
    // Each line once, and all of them where a value of many lines may end.
    const body = errorIn(/^[\]}]/m.test(fresh) ? [...fresh.split("\n"), text] : fresh.split("\n"))
    if (body !== undefined) failure = response.fault(body)
  }

  /** Adds what an event, or the end, means; `false` when nothing may follow. */
  const take = ({ deltas: more, done, fault }: Decoded, deltas: Array<Delta>): boolean => {
    for (const delta of more) {
      // Anybody can bring a decoder. Two answers in one stream, or one that was not announced, must not get through.
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
      // The reason was given before anything was called.
      if (delta.type === "toolCall") last = last.map(callsToo)
    }
    // The answer had been complete: an error after it takes nothing away.
    if (fault?.body !== undefined && finished) complete = true
    else if (fault !== undefined) {
      failure = fault.body === undefined ? response.invalid(fault.issue, feed.outside()) : response.fault(fault.body)
    } else if (done === true) {
      complete = true
      if (!finished) fail("finish: expected one before the stream ends")
    }
    return failure === undefined && !complete
  }

  /** What was held back for the end. */
  const release = (): ReadonlyArray<Delta> => {
    const held = last
    last = []
    return held
  }

  /** What one chunk, or the end, adds. */
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
    // What follows a whole answer takes nothing away from it.
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

  /** Reads on after the finish, until patience is over; `undefined` as at the end of the bytes. */
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
          // What is known to have failed is not kept waiting until somebody asks for more.
          return failure === undefined ? Effect.succeed(deltas) : Effect.as(reader.cancel, deltas)
        },
        onFailure: (error) => {
          // The answer had been complete: what is missing is its usage at most.
          if (finished) complete = ended = true
          else failure = error
          return finished ? Effect.as(reader.cancel, release()) : next(limiting)
        }
      })
    })
  return { next, isFinished: () => finished, cancel: reader.cancel }
}

/** A finish that agrees with calls. */
const callsToo = (delta: Delta): Delta =>
  delta.type === "finish" && delta.reason === "stop" ? { ...delta, reason: "toolCalls" } : delta

/**
 * The error in texts that stood outside of events, as a body: JSON, or what follows `error:`, which llama.cpp writes.
 */
const errorIn = (texts: ReadonlyArray<string>): string | undefined => {
  for (const text of texts) {
    const named = text.startsWith("error:")
    const body = (named ? text.slice(6) : text).trim()
    const json = parseJson(body)
    if (hasError(json)) return body
    if (named && json !== undefined) return `{"error":${body}}`
    // The first line of a longer value says nothing yet.
    if (named && !/^[[{]/.test(body)) return JSON.stringify({ error: body })
  }
  return undefined
}
