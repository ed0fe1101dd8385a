/**
 * Bodies of upstream answers. The first part is awaited under the request's time limit; after it there is none.
 * Streams of events then pass through as they come, everything else is read to its end, so that a cut is noticed.
 */
import * as Effect from "effect/Effect"
import { type Answer, UpstreamFailure } from "./protocol.ts"

type Reader = ReadableStreamDefaultReader<Uint8Array>

/** An answer of which the first part has arrived. */
export interface Opened {
  readonly answer: Answer
  /** The rest of a streamed body. */
  readonly reader: Reader | undefined
  readonly first: Uint8Array | undefined
}

/** Is told how a passed-through stream goes on. */
export interface Observer {
  readonly chunk: (bytes: Uint8Array) => void
  readonly end: (how: "answered" | "failed" | "interrupted") => void
}

const eventTypes = ["text/event-stream", "application/x-ndjson", "application/vnd.amazon.eventstream"]

/** Whether the body of this answer is handed on before it is complete. */
export const isEventStream = (answer: Answer): boolean => {
  const type = answer.headers["content-type"] ?? ""
  return answer.status >= 200 && answer.status < 300 && eventTypes.some((name) => type.startsWith(name))
}

const chunk = (reader: Reader): Effect.Effect<ReadableStreamReadResult<Uint8Array>, UpstreamFailure> =>
  Effect.tryPromise({
    try: (signal) => {
      signal.addEventListener("abort", () => void reader.cancel().catch(() => undefined), { once: true })
      return reader.read()
    },
    catch: () => new UpstreamFailure({ kind: "truncated" })
  })

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

/** Awaits the first part. A body that is there already costs nothing. */
export const open = (answer: Answer): Effect.Effect<Opened, UpstreamFailure> => {
  if (!(answer.body instanceof ReadableStream)) {
    if (answer.broken !== true) return Effect.succeed({ answer, reader: undefined, first: undefined })
    if (!isEventStream(answer)) return Effect.fail(new UpstreamFailure({ kind: "truncated" }))
    const body = breakingStream(encode(answer.body))
    return open({ status: answer.status, headers: answer.headers, body })
  }
  const reader = answer.body.getReader()
  return Effect.map(chunk(reader), (result) =>
    result.done
      ? { answer: { ...answer, body: null }, reader: undefined, first: undefined }
      : { answer, reader, first: result.value }
  )
}

const readAll = Effect.fnUntraced(function* (reader: Reader, first: Uint8Array | undefined) {
  const parts: Array<Uint8Array> = first === undefined ? [] : [first]
  while (true) {
    const result = yield* chunk(reader)
    if (result.done) break
    parts.push(result.value)
  }
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
})

const passThrough = (reader: Reader, first: Uint8Array | undefined, observer: Observer): ReadableStream<Uint8Array> => {
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
        const result = next === undefined ? await reader.read().catch(() => undefined) : { done: false, value: next }
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
    { highWaterMark: 0 }
  )
}

/** The answer with its body complete, or with a stream that reports to the observer. */
export const complete = (
  { answer, first, reader }: Opened,
  observer: Observer
): Effect.Effect<Answer, UpstreamFailure> => {
  if (reader === undefined) return Effect.succeed(answer)
  if (isEventStream(answer)) return Effect.succeed({ ...answer, body: passThrough(reader, first, observer) })
  return Effect.map(readAll(reader, first), (body) => ({ ...answer, body }))
}
