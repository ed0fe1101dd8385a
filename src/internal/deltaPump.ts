/**
 * Reads one streamed answer: bytes to events to deltas, until the dialect says that it is complete. Whatever ends it in
 * another way is a failure.
 */
import * as Effect from "effect/Effect"
import type { GatewayError } from "../GatewayError.ts"
import type { GatewayResponse } from "../GatewayResponse.ts"
import type { Decoded, Delta, DeltaDecoder } from "./deltas/delta.ts"
import { makeFeed, maxEventSize } from "./sse.ts"

/** Deltas of one answer, in batches as they arrive. */
export interface Pump {
  /** The next deltas, at least one, or `undefined` when the answer is complete. */
  readonly next: Effect.Effect<ReadonlyArray<Delta> | undefined, GatewayError>
  /** Lets go of the answer and of the connection behind it. */
  readonly cancel: Effect.Effect<void>
}

/** How long the end of the connection is waited for after the last event, so that the socket can be used again. */
const drainMillis = 100

/** Makes a pump over an unread response. */
export const makePump = (response: GatewayResponse, decoder: DeltaDecoder): Pump => {
  const reader = response.reader()
  const feed = makeFeed()
  let failure: GatewayError | undefined
  let complete = false

  /** What one chunk, or the end, adds. */
  const step = (chunk: Uint8Array | undefined): ReadonlyArray<Delta> => {
    const deltas: Array<Delta> = []
    const take = ({ deltas: more, done, fault }: Decoded): boolean => {
      for (const delta of more) deltas.push(delta)
      if (fault !== undefined) {
        failure = fault.body === undefined ? response.invalid(fault.issue, "") : response.fault(fault.body)
      }
      if (done === true) complete = true
      return failure === undefined && !complete
    }
    const events = chunk === undefined ? feed.end() : feed.push(chunk)
    if (events === undefined) {
      failure = response.invalid(`an event of more than ${maxEventSize} characters`, "")
      return deltas
    }
    for (const event of events) if (!take(decoder.event(event))) return deltas
    if (chunk === undefined && take(decoder.end())) complete = true
    return deltas
  }

  const drain = reader.read.pipe(
    Effect.timeoutOrElse({ duration: drainMillis, orElse: () => Effect.succeed(new Uint8Array()) }),
    Effect.catch(() => Effect.succeed(undefined)),
    Effect.flatMap((chunk) => (chunk === undefined ? Effect.void : reader.cancel))
  )

  const next: Pump["next"] = Effect.suspend(() => {
    if (failure !== undefined) return Effect.andThen(reader.cancel, Effect.fail(failure))
    if (complete) return Effect.as(drain, undefined)
    return Effect.flatMap(reader.read, (chunk) => {
      const deltas = step(chunk)
      return deltas.length > 0 ? Effect.succeed(deltas) : next
    })
  })
  return { next, cancel: reader.cancel }
}
