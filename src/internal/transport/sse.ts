/**
 * Parses server-sent events from bytes, through Effect's own push parser: the only importer of `effect/encoding/Sse`.
 */
import * as Sse from "effect/encoding/Sse"

/** One event of a stream. */
export interface ServerEvent {
  /** `message` unless the stream names it. */
  readonly event: string
  readonly data: string
}

/** The issue of an event that exceeds the limit. */
export const oversized = (maxEventSize: number): string => `an event of more than ${maxEventSize} characters`

/** Turns chunks of bytes, cut anywhere, into events. */
export interface Feed {
  /** The events that a chunk completes. */
  readonly push: (chunk: Uint8Array) => ReadonlyArray<ServerEvent>
  /** The events that the end of the bytes completes: one whose blank line never arrived. */
  readonly end: () => ReadonlyArray<ServerEvent>
  /**
   * Text outside all fields so far, line by line: a bare JSON error, for example. At most {@link maxOutside}
   * characters.
   */
  readonly outside: () => string
  /** Whether an event exceeded the limit: the events before it have been returned, and no more will follow. */
  readonly overflowed: () => boolean
}

const LF = 10

/** Number of characters outside fields that are kept. */
export const maxOutside = 16_384

const fields = ["data:", "event:", ":", "id:", "retry:"]

/** Collects the lines of a stream that are not known fields. */
const makeOutside = () => {
  let kept = ""
  /** The kept part of the current line. */
  let line = ""
  /** Whether that line is a field or a comment. */
  let known = false
  return {
    kept: () => kept,
    push: (text: string): void => {
      const ends = /[\r\n]/g
      const unix = !text.includes("\r")
      for (let at = 0, end = 0; at < text.length; at = end + 1) {
        // Nearly all lines are fields, and most of them arrive complete.
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
 * reconnecting is the router's task.
 */
export const makeFeed = (maxEventSize: number): Feed => {
  const decoder = new TextDecoder()
  let events: Array<ServerEvent> = []
  let overflowed = false
  /** Whether the parser holds no rest, so that the next text begins an event. */
  let clean = true
  const outside = makeOutside()
  const parser = Sse.makeParser(
    (event) => {
      if (event._tag !== "Event" || overflowed) return
      // The parser itself checks only the rest at the end of a chunk.
      if (event.data.length > maxEventSize) overflowed = true
      else events.push({ event: event.event, data: event.data })
    },
    { maxEventSize }
  )
  // The decoder has removed the byte order mark; after this line the parser does not look for a second one.
  parser.feed(":\n")

  /**
   * Reads events of one line of data, with or without a name before it. Most streams consist of them, and the parser
   * costs as much as half of reading their JSON. Returns where it stopped.
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
        // The line is incomplete, or its name is empty, which counts as none.
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
    // The parser gets the event that was cut, and the rest is read on the fast path again.
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
