/**
 * Applies a scripted fault to a stream of events.
 *
 * The bytes are cut into blocks (events, comments), the blocks are changed, the stream is cut at a position, and the
 * rest is sent in the requested pieces at the requested times. One block is held at a time.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { joinBytes } from "../../internal/data/bytes.ts"
import * as Delay from "../wire/delay.ts"
import { type Answer, UpstreamFailure, type UpstreamRequest } from "../wire/protocol.ts"
import { dialectOf, type WireDialect } from "./dialect.ts"
import * as Events from "./streamEvents.ts"
import { maxChunk, type Position, type StreamFault } from "./streamFaultSchema.ts"

type Bytes = Uint8Array<ArrayBufferLike>

interface Block {
  readonly bytes: Bytes
  /** `part`: the rest of the event follows. `other`: a comment or a field that is not an event. */
  readonly kind: "delta" | "event" | "part" | "other"
}

type Blocks = Stream.Stream<Block, UpstreamFailure>

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** Default size limit of a piece. */
const pieceSize = 64 * 1024

const concat = (all: ReadonlyArray<Bytes>): Bytes => {
  const parts = all.filter(({ length }) => length > 0)
  const [only] = parts
  return parts.length === 1 && only !== undefined ? only : joinBytes(parts)
}

/** The body of an answer as a stream. */
const bytesOf = (answer: Answer): Stream.Stream<Bytes, UpstreamFailure> => {
  const { body, broken } = answer
  const onError = (): UpstreamFailure => new UpstreamFailure({ kind: "truncated" })
  if (body instanceof ReadableStream) return Stream.fromReadableStream({ evaluate: () => body, onError })
  const bytes = typeof body === "string" ? encoder.encode(body) : (body ?? new Uint8Array(0))
  const whole: Stream.Stream<Bytes> = bytes.length === 0 ? Stream.empty : Stream.succeed(bytes)
  return broken === true ? Stream.concat(whole, Stream.fail(onError())) : whole
}

const blockOf = (dialect: WireDialect, bytes: Bytes): Block => {
  const parsed = Events.parse(decoder.decode(bytes))
  return { bytes, kind: parsed.data === undefined ? "other" : Events.isDelta(dialect, parsed) ? "delta" : "event" }
}

const made = (dialect: WireDialect, parsed: Events.Parsed): Block =>
  blockOf(dialect, encoder.encode(Events.write(parsed)))

const parsedOf = ({ bytes }: Block): Events.Parsed => Events.parse(decoder.decode(bytes))

/** Number of pieces that are kept unjoined. */
const maxParts = 4096

/** Collects bytes until they are sent. */
const makeBuffer = () => {
  let parts: Array<Bytes> = []
  let length = 0
  return {
    length: () => length,
    add: (bytes: Bytes): void => {
      if (bytes.length === 0) return
      parts.push(bytes)
      length += bytes.length
      // Many small pieces cost more than their content.
      if (parts.length === maxParts) parts = [joinBytes(parts)]
    },
    take: (): Bytes => {
      const all = concat(parts)
      parts = []
      length = 0
      return all
    }
  }
}

const LF = 10
const CR = 13

/**
 * Index after the first blank line of the bytes from `start`; -1 when there is none yet. `before` holds the bytes of
 * the same event right before `start`, where the blank line may have begun.
 */
const blankLine = (before: Bytes, bytes: Bytes, start: number): number => {
  const at = (i: number): number | undefined => (i >= start ? bytes[i] : before[before.length + i - start])
  for (let i = start; i < bytes.length; i++) {
    if (bytes[i] !== LF) continue
    if (at(i - 1) === LF || (at(i - 1) === CR && at(i - 2) === LF && at(i - 3) !== undefined)) return i + 1
  }
  return -1
}

const nothing: Bytes = new Uint8Array(0)

/** Cuts bytes after each blank line. */
const split = (dialect: WireDialect, self: Stream.Stream<Bytes, UpstreamFailure>): Blocks =>
  Stream.mapAccum(
    self,
    // A blank line may have begun in the last bytes of the previous chunk.
    () => ({ held: makeBuffer(), tail: nothing }),
    (state, chunk) => {
      const blocks: Array<Block> = []
      let { tail } = state
      let start = 0
      for (let end = blankLine(tail, chunk, start); end >= 0; end = blankLine(tail, chunk, start)) {
        state.held.add(chunk.subarray(start, end))
        blocks.push(blockOf(dialect, state.held.take()))
        tail = nothing
        start = end
      }
      const rest = chunk.subarray(start)
      state.held.add(rest)
      return [{ held: state.held, tail: concat([tail, rest.subarray(-3)]).slice(-3) }, blocks] as const
    },
    { onHalt: ({ held }) => (held.length() === 0 ? [] : [blockOf(dialect, held.take())]) }
  )

const isEvent = ({ kind }: Block): boolean => kind === "delta" || kind === "event"

/** Changes blocks one by one. */
const changing = (self: Blocks, change: (block: Block, index: number) => ReadonlyArray<Block>): Blocks =>
  Stream.mapAccum(
    self,
    () => 0,
    (index, block) => [index + 1, change(block, index)] as const
  )

const withoutFinish = (dialect: WireDialect, self: Blocks): Blocks =>
  changing(self, (block) => {
    if (!isEvent(block)) return [block]
    const before = parsedOf(block)
    const after = Events.unfinished(dialect, before)
    if (after === before) return [block]
    return after === undefined ? [] : [made(dialect, after)]
  })

const filling: Bytes = new Uint8Array(pieceSize).fill(0x78)

const filled = (size: number): ReadonlyArray<Bytes> =>
  Array.from({ length: Math.ceil(size / pieceSize) }, (_, i) => filling.subarray(0, size - i * pieceSize))

/** An event with a given size of text, in parts: the middle of a large event is the same bytes each time. */
const bigEvent = (dialect: WireDialect, like: Events.Parsed, size: number): ReadonlyArray<Block> => {
  const place = crypto.randomUUID()
  const around = Events.write(Events.withText(dialect, like, place)).split(place)
  const parts = around.flatMap((text, index) => [...(index === 0 ? [] : filled(size)), encoder.encode(text)])
  if (size <= pieceSize) return [{ bytes: concat(parts), kind: "delta" }]
  return parts.map((bytes, index) => ({ bytes, kind: index === parts.length - 1 ? "delta" : "part" }))
}

/** Adds one delta with a given size of text right after the first one. */
const withBigEvent = (dialect: WireDialect, size: number, self: Blocks): Blocks => {
  let done = false
  return changing(self, (block) => {
    if (done || block.kind !== "delta") return [block]
    done = true
    return [block, ...bigEvent(dialect, parsedOf(block), size)]
  })
}

/** Number of bytes of a block before the position; `undefined` when the position is further on. */
type Locate = (block: Block) => number | undefined

const locator = (position: Position): Locate => {
  let seen = 0
  if ("bytes" in position) {
    return ({ bytes }) => {
      seen += bytes.length
      return seen >= position.bytes ? position.bytes - seen + bytes.length : undefined
    }
  }
  const limit = "events" in position ? position.events : position.deltas
  const counts = (block: Block): boolean => ("events" in position ? isEvent(block) : block.kind === "delta")
  return (block) => {
    if (limit === 0) return "events" in position || counts(block) ? 0 : undefined
    if (counts(block)) seen++
    return seen === limit ? block.bytes.length : undefined
  }
}

const end: Block = { bytes: new Uint8Array(0), kind: "other" }

/** The stream up to a position, followed by something else. */
const until = (self: Blocks, position: Position, then: Blocks): Blocks => {
  const locate = locator(position)
  const marked = changing(self, (block) => {
    const kept = locate(block)
    if (kept === undefined) return [block]
    return kept === 0 ? [end] : [{ ...block, bytes: block.bytes.subarray(0, kept) }, end]
  })
  return Stream.concat(
    Stream.takeWhile(marked, (block) => block !== end),
    then
  )
}

const withError = (dialect: WireDialect, at: NonNullable<StreamFault["errorAfter"]>, self: Blocks): Blocks => {
  let events = 0
  const counted = changing(self, (block) => {
    if (isEvent(block)) events++
    return [block]
  })
  const error = Stream.sync(
    (): Block => ({ bytes: encoder.encode(Events.write(Events.errorEvent(dialect, events, at.body))), kind: "event" })
  )
  return until(counted, at, error)
}

const crlf = (block: Block): Block => ({
  ...block,
  bytes: encoder.encode(decoder.decode(block.bytes).replace(/\r?\n/g, "\r\n"))
})

const other = (text: string): Block => ({ bytes: encoder.encode(text), kind: "other" })

const ping: Block = {
  bytes: encoder.encode(Events.write({ event: "ping", data: JSON.stringify({ type: "ping" }) })),
  kind: "event"
}

/** Adds what goes between the events, and changes line endings. */
const dressed = (fault: StreamFault, self: Blocks): Blocks => {
  const { comments, pings, retryField } = fault
  const comment = comments === undefined ? [] : [other(`: ${comments === true ? "keep-alive" : comments}\n\n`)]
  const retry = retryField === undefined ? [] : [other(`retry: ${retryField}\n\n`)]
  const between = pings === undefined ? [] : [ping]
  let inside = false
  return changing(self, (block, index) => {
    const blocks = inside ? [block] : [...(index === 0 ? retry : between), ...comment, block]
    inside = block.kind === "part"
    const lines = fault.crlf === undefined ? blocks : blocks.map(crlf)
    return index === 0 && fault.bom !== undefined ? lines.map((line, i) => (i === 0 ? withBom(line) : line)) : lines
  })
}

const withBom = (block: Block): Block => ({
  ...block,
  bytes: concat([new Uint8Array([0xef, 0xbb, 0xbf]), block.bytes])
})

/** Records where the client's connection will break. */
const watched = (position: Position, drop: { at: number | undefined }, self: Blocks): Blocks => {
  const locate = locator(position)
  let offset = 0
  const noted = changing(self, (block) => {
    const kept = drop.at === undefined ? locate(block) : undefined
    if (kept !== undefined) drop.at = offset + kept
    offset += block.bytes.length
    return [block]
  })
  return Stream.onEnd(
    noted,
    Effect.sync(() => {
      drop.at ??= offset
    })
  )
}

const slices = (bytes: Bytes, size: number): ReadonlyArray<Bytes> => {
  if (bytes.length <= size) return [bytes]
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size))
}

/** Pieces of an exact size; the last one may be shorter. */
const ofSize = (size: number, self: Blocks): Stream.Stream<Bytes, UpstreamFailure> =>
  Stream.mapAccum(
    self,
    makeBuffer,
    (held, { bytes }) => {
      held.add(bytes)
      if (held.length() < size) return [held, []] as const
      const all = held.take()
      const full = all.length - (all.length % size)
      held.add(all.subarray(full))
      return [held, slices(all.subarray(0, full), size)] as const
    },
    { onHalt: (held) => (held.length() === 0 ? [] : [held.take()]) }
  )

/** Pieces of a number of events each, with everything between them; a full piece is sent first. */
const ofEvents = (count: number, self: Blocks): Stream.Stream<Bytes, UpstreamFailure> =>
  Stream.mapAccum(
    self,
    () => ({ held: makeBuffer(), events: 0 }),
    ({ events, held }, block) => {
      held.add(block.bytes)
      const now = isEvent(block) ? events + 1 : events
      return now < count && held.length() < maxChunk
        ? ([{ held, events: now }, []] as const)
        : ([{ held, events: now < count ? now : 0 }, [held.take()]] as const)
    },
    { onHalt: ({ held }) => (held.length() === 0 ? [] : [held.take()]) }
  )

const pieces = ({ chunkSize, eventsPerChunk }: StreamFault, self: Blocks): Stream.Stream<Bytes, UpstreamFailure> => {
  if (chunkSize !== undefined) return ofSize(chunkSize, self)
  if (eventsPerChunk !== undefined) return ofEvents(eventsPerChunk, self)
  return Stream.flatMap(self, ({ bytes }) => Stream.fromArray(slices(bytes, pieceSize)))
}

const paced = (
  { delayBetween, delayFirst }: StreamFault,
  self: Stream.Stream<Bytes, UpstreamFailure>
): Stream.Stream<Bytes, UpstreamFailure> => {
  const pause = Delay.pauses(delayFirst, delayBetween)
  return Stream.mapEffect(self, (bytes, index) => {
    const duration = pause(index)
    return duration === undefined ? Effect.succeed(bytes) : Effect.as(Effect.sleep(duration), bytes)
  })
}

/** The rest after the position of a cut. */
const ending = ({ resetAfter, stallAfter }: StreamFault): Stream.Stream<never, UpstreamFailure> => {
  if (stallAfter !== undefined) return Stream.never
  return resetAfter === undefined ? Stream.empty : Stream.fail(new UpstreamFailure({ kind: "reset" }))
}

/** Applies a stream fault to the body of an answer. */
export const apply = (fault: StreamFault, request: UpstreamRequest, answer: Answer): Effect.Effect<Answer> =>
  Effect.suspend(() => {
    const dialect = dialectOf(request.provider, request.endpoint)
    const drop: { at: number | undefined } = { at: undefined }
    let blocks = split(dialect, bytesOf(answer))
    if (fault.noFinish !== undefined) blocks = withoutFinish(dialect, blocks)
    if (fault.bigEvent !== undefined) blocks = withBigEvent(dialect, fault.bigEvent, blocks)
    if (fault.errorAfter !== undefined) blocks = withError(dialect, fault.errorAfter, blocks)
    blocks = dressed(fault, blocks)
    const cut = fault.stallAfter ?? fault.resetAfter ?? fault.endAfter
    if (cut !== undefined) blocks = until(blocks, cut, Stream.empty)
    if (fault.dropAfter !== undefined) blocks = watched(fault.dropAfter, drop, blocks)
    // A piece that is not full yet is sent before the stream stalls or breaks.
    const whole = Stream.concat(paced(fault, pieces(fault, blocks)), ending(fault))
    return Effect.map(Stream.toReadableStreamEffect(whole, { strategy: { highWaterMark: 0 } }), (body) => ({
      status: answer.status,
      headers: answer.headers,
      body,
      ...(fault.dropAfter === undefined ? {} : { drop })
    }))
  })
