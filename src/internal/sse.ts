/**
 * Server-sent events from bytes, through Effect's own push parser: the only importer of `effect/encoding/Sse`.
 */
import * as Sse from "effect/encoding/Sse"

/** One event of a stream. */
export interface ServerEvent {
  /** `message` unless the stream names it. */
  readonly event: string
  readonly data: string
}

/** Most characters of one event: room for an image in an answer, and an end to a stream that never ends a line. */
export const maxEventSize = 64 * 1024 * 1024

/** Turns chunks of bytes, cut anywhere, into events. */
export interface Feed {
  /** The events that a chunk completes, or `undefined` when one is larger than {@link maxEventSize}. */
  readonly push: (chunk: Uint8Array) => ReadonlyArray<ServerEvent> | undefined
  /** What the end of the bytes completes: an event whose blank line never came. */
  readonly end: () => ReadonlyArray<ServerEvent>
}

/** Makes a feed. Comments, `id` and `retry` fields are read over: reconnecting is the router's business. */
export const makeFeed = (): Feed => {
  const decoder = new TextDecoder()
  let events: Array<ServerEvent> = []
  const parser = Sse.makeParser(
    (event) => {
      if (event._tag === "Event") events.push({ event: event.event, data: event.data })
    },
    { maxEventSize }
  )
  const take = (): ReadonlyArray<ServerEvent> => {
    const taken = events
    events = []
    return taken
  }
  return {
    push: (chunk) => (parser.feed(decoder.decode(chunk, { stream: true })) === undefined ? take() : undefined),
    end: () => {
      parser.feed(`${decoder.decode()}\n\n`)
      return take()
    }
  }
}
