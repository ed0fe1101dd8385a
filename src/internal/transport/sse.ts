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

/** The issue of an event that is larger than the limit. */
export const oversized = (maxEventSize: number): string => `an event of more than ${maxEventSize} characters`

/** Turns chunks of bytes, cut anywhere, into events. */
export interface Feed {
  /** The events that a chunk completes. */
  readonly push: (chunk: Uint8Array) => ReadonlyArray<ServerEvent>
  /** What the end of the bytes completes: an event whose blank line never came. */
  readonly end: () => ReadonlyArray<ServerEvent>
  /**
   * What stood outside of all fields so far, line by line: a bare JSON error, for example. At most {@link maxOutside}
   * characters.
   */
  readonly outside: () => string
  /** Whether an event exceeded the limit: the events before it have been returned, and no more will follow. */
  readonly overflowed: () => boolean
}

const LF = 10

/** Most characters that are kept of what stands outside of fields. */
export const maxOutside = 16_384

const fields = ["data:", "event:", ":", "id:", "retry:"]

/** Collects the lines of a stream that are no fields that anybody knows. */
const makeOutside = () => {
  let kept = ""
  /** What is kept of the line that has not ended. */
  let line = ""
  /** That line is a field or a comment. */
  let known = false
  return {
    kept: () => kept,
    push: (text: string): void => {
      const ends = /[\r\n]/g
      const unix = !text.includes("\r")
      for (let at = 0, end = 0; at < text.length; at = end + 1) {
        // Nearly all lines are fields, and most of them come whole.
        known ||= line === "" && fields.some((field) => text.startsWith(field, at))
        ends.lastIndex = at
        end = unix ? text.indexOf("\n", at) : (ends.exec(text)?.index ?? -1)
        const stop = end < 0 ? text.length : end
        if (!known) {
          const fresh = line.length < 6
          line += text.slice(at, Math.min(stop, at + maxOutside - kept.length - line.length))
          known = fresh && fields.some((field) => line.startsWith(field))
        }
        if (end < 0) return
        if (!known && !/^(?:data|event|id|retry)?$/.test(line)) kept += `${line}\n`
        line = ""
        known = false
      }
    }
  }
}

/**
 * Makes a feed of events of at most `maxEventSize` characters. Comments, `id` and `retry` fields are skipped:
 * reconnecting is the router's business.
 */
export const makeFeed = (maxEventSize: number): Feed => {
  const decoder = new TextDecoder()
  let events: Array<ServerEvent> = []
  let overflowed = false
  /** Nothing is left over in the parser: what comes next begins an event. */
  let clean = true
  const outside = makeOutside()
  const parser = Sse.makeParser(
    (event) => {
      if (event._tag !== "Event" || overflowed) return
      // The parser itself looks only at what is left over at the end of a chunk.
      if (event.data.length > maxEventSize) overflowed = true
      else events.push({ event: event.event, data: event.data })
    },
    { maxEventSize }
  )
  // The decoder has taken the byte order mark off; with a line behind it the parser does not look for a second one.
  parser.feed(":\n")

  /**
   * Reads events that are one line of data, with or without a name before it: most streams are made of them, and the
   * parser costs as much as half of reading their JSON. Returns where it stopped.
   */
  const skim = (text: string, start: number): number => {
    let at = start
    if (!clean || text.includes("\r")) return at
    while (true) {
      let event = "message"
      let from = at
      if (text.startsWith("event: ", at)) {
        from = text.indexOf("\n", at) + 1
        event = text.slice(at + 7, from - 1)
        // No end of the line yet, or an empty name, which is none.
        if (from === 0 || event === "") return at
      }
      if (!text.startsWith("data: ", from)) return at
      const end = text.indexOf("\n", from)
      if (end < 0 || text.charCodeAt(end + 1) !== LF || end - from > maxEventSize) return at
      events.push({ event, data: text.slice(from + 6, end) })
      at = end + 2
    }
  }

  const parse = (text: string): void => {
    outside.push(text)
    if (parser.feed(text) !== undefined) overflowed = true
    clean = text.endsWith("\n\n")
  }

  const feed = (text: string): ReadonlyArray<ServerEvent> => {
    if (overflowed) return []
    // The event that was cut goes to the parser, and what follows may be read fast again.
    const cut = clean ? 0 : text.indexOf("\n\n") + 2
    if (cut > 1) parse(text.slice(0, cut))
    const rest = overflowed ? "" : text.slice(skim(text, cut > 1 ? cut : 0))
    if (rest !== "") parse(rest)
    const taken = events
    events = []
    return taken
  }
  return {
    push: (chunk) => feed(decoder.decode(chunk, { stream: true })),
    end: () => feed(`${decoder.decode()}\n\n`),
    outside: outside.kept,
    overflowed: () => overflowed
  }
}
