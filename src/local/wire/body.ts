/**
 * Bodies of upstream answers. The request's time limit covers the wait for the first part only. Streams of events then
 * pass through as they arrive; everything else is read to its end, so that a cut is noticed.
 */
import * as Effect from "effect/Effect"
import { CurrentShare, makeCollector, maxBody } from "./collect.ts"
import { type Answer, UpstreamFailure } from "./protocol.ts"

/** Number of streamed bodies of upstreams that are neither read to their end nor cancelled. */
export interface OpenBodies {
  count: number
}

type ReadResult = ReadableStreamReadResult<Uint8Array>

/** A body that is being read. */
interface CountedReader {
  /** Rejects when the body breaks. */
  readonly read: () => Promise<ReadResult>
  readonly cancel: (reason?: unknown) => Promise<void>
}

/** An answer whose first part has arrived. */
export interface OpenedAnswer {
  readonly answer: Answer
  /** The rest of a streamed body. */
  readonly reader: CountedReader | undefined
  readonly first: Uint8Array | undefined
}

/** Receives the progress of a passed-through stream. */
export interface Observer {
  readonly chunk: (bytes: Uint8Array) => void
  readonly end: (how: "answered" | "failed" | "interrupted") => void
}

const eventTypes = ["text/event-stream", "application/x-ndjson", "application/vnd.amazon.eventstream"]

/** Whether a content type denotes a stream. */
export const isEventType = (type: string): boolean => eventTypes.some((name) => type.startsWith(name))

/** Whether the body of this answer is forwarded before it is complete. */
export const isEventStream = ({ headers, status }: Answer): boolean =>
  status >= 200 && status < 300 && isEventType(headers["content-type"] ?? "")

const ignore = (): void => undefined

const readerOf = (body: ReadableStream<Uint8Array>, open: OpenBodies): CountedReader => {
  const reader = body.getReader()
  open.count++
  let closed = false
  const close = (): void => {
    if (!closed) open.count--
    closed = true
  }
  return {
    read: () =>
      reader.read().then(
        (result) => {
          if (result.done) close()
          return result
        },
        (error: unknown) => {
          close()
          throw error
        }
      ),
    cancel: (reason) => {
      close()
      return reader.cancel(reason)
    }
  }
}

const chunk = (reader: CountedReader): Effect.Effect<ReadResult, UpstreamFailure> =>
  Effect.tryPromise({
    try: () => reader.read(),
    catch: () => new UpstreamFailure({ kind: "truncated" })
  })

/** Cancels the reader when the effect is interrupted. */
const cancelling = <A, E>(self: Effect.Effect<A, E>, reader: CountedReader): Effect.Effect<A, E> =>
  Effect.onInterrupt(self, () => Effect.sync(() => void reader.cancel().catch(ignore)))

const encode = (body: string | Uint8Array<ArrayBuffer> | null): Uint8Array<ArrayBuffer> =>
  typeof body === "string" ? new TextEncoder().encode(body) : (body ?? new Uint8Array(0))

const breakingStream = (bytes: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array> => {
  let sent = false
  return new ReadableStream<Uint8Array>(
    {
      pull: (controller) => {
        if (sent || bytes.length === 0) return controller.error(new UpstreamFailure({ kind: "truncated" }))
        sent = true
        controller.enqueue(bytes)
      }
    },
    { highWaterMark: 0 }
  )
}

/** Awaits the first part. A buffered body costs nothing. */
export const open = (answer: Answer, bodies: OpenBodies): Effect.Effect<OpenedAnswer, UpstreamFailure> => {
  if (!(answer.body instanceof ReadableStream)) {
    if (answer.broken !== true) return Effect.succeed({ answer, reader: undefined, first: undefined })
    if (!isEventStream(answer)) return Effect.fail(new UpstreamFailure({ kind: "truncated" }))
    const body = breakingStream(encode(answer.body))
    return open({ status: answer.status, headers: answer.headers, body }, bodies)
  }
  const reader = readerOf(answer.body, bodies)
  return Effect.map(cancelling(chunk(reader), reader), (result) =>
    result.done
      ? { answer: { ...answer, body: null }, reader: undefined, first: undefined }
      : { answer, reader, first: result.value }
  )
}

/**
 * Reads an answer to its end. An answer that exceeds its room fails like one that breaks off, and is not read further.
 */
const readAll = Effect.fnUntraced(function* (reader: CountedReader, first: Uint8Array | undefined) {
  const share = yield* CurrentShare
  const collector = makeCollector()
  let piece = first ?? new Uint8Array(0)
  while (true) {
    const size = collector.size() + piece.length
    if (size > maxBody || !share.answer(size)) {
      void reader.cancel().catch(ignore)
      return yield* new UpstreamFailure({ kind: "truncated" })
    }
    collector.add(piece)
    const result = yield* chunk(reader)
    if (result.done) return collector.join()
    piece = result.value
  }
})

const passThrough = (
  reader: CountedReader,
  first: Uint8Array | undefined,
  observer: Observer
): ReadableStream<Uint8Array> => {
  let held = first
  let ended = false
  // A cancelled source ends its pending read as if the stream were complete, so the first report counts.
  const end: Observer["end"] = (how) => {
    if (!ended) observer.end(how)
    ended = true
  }
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const next = held
        held = undefined
        const result = next === undefined ? await reader.read().catch(ignore) : { done: false, value: next }
        if (result === undefined) {
          end("failed")
          return controller.error(new UpstreamFailure({ kind: "truncated" }))
        }
        if (result.done || result.value === undefined) {
          end("answered")
          return controller.close()
        }
        observer.chunk(result.value)
        controller.enqueue(result.value)
      },
      cancel: (reason) => {
        end("interrupted")
        return reader.cancel(reason)
      }
    },
    // Nothing is read ahead of demand.
    { highWaterMark: 0 }
  )
}

/** The answer with its body complete, or with a stream that reports to the observer. */
export const complete = (
  { answer, first, reader }: OpenedAnswer,
  observer: Observer
): Effect.Effect<Answer, UpstreamFailure> => {
  if (reader === undefined) {
    return Effect.flatMap(CurrentShare, (share) =>
      share.answer(sizeOf(answer)) ? Effect.succeed(answer) : Effect.fail(new UpstreamFailure({ kind: "truncated" }))
    )
  }
  if (isEventStream(answer)) return Effect.succeed({ ...answer, body: passThrough(reader, first, observer) })
  return Effect.map(cancelling(readAll(reader, first), reader), (body) => ({ ...answer, body }))
}

/** Size of a buffered body; 0 for a stream. */
export const sizeOf = ({ body }: Answer): number => {
  if (body === null || body instanceof ReadableStream) return 0
  return typeof body === "string" ? encode(body).length : body.length
}
