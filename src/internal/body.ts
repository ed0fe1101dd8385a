/**
 * Response bodies behind one small interface, whatever delivered them. A body is read once; the rest is cancelled.
 */
import * as Effect from "effect/Effect"
import { type InvalidResponse, type Reason, TransportFailure } from "../GatewayError.ts"
import { gathered, pieces } from "./gathered.ts"
import { promised, promisedWhole } from "./promised.ts"
import { stackless } from "./stackless.ts"

/** An unread body. */
export interface Body {
  readonly text: Effect.Effect<string, Reason>
  readonly bytes: Effect.Effect<Uint8Array, Reason>
  /** The first `max` bytes as text; the rest is never read. For error bodies. */
  readonly head: (max: number) => Effect.Effect<string, Reason>
  /** Takes the body over, to read it chunk by chunk. */
  readonly reader: () => Reader
  /** The answer as a web response; the very same one when it came as one. */
  readonly web: (head: ResponseInit) => Response
  /** Lets go of the body and of the connection behind it. */
  readonly cancel: Effect.Effect<void>
}

/** A body that is being read. Interrupting a read aborts the request behind it. */
export interface Reader {
  /** The next chunk, or `undefined` at the end. */
  readonly read: Effect.Effect<Uint8Array | undefined, Reason>
  readonly cancel: Effect.Effect<void>
}

/** What a transport delivers: an answer whose body has not been read. */
export interface Answer {
  readonly status: number
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Body
  /** The request was sent a second time because a kept-alive socket turned out to be closed. */
  readonly resent: boolean
}

/** A failure while a body is read: the connection broke. */
export const bodyFailure = (cause: unknown): TransportFailure | InvalidResponse =>
  stackless(() => new TransportFailure({ kind: "reset", detail: cause instanceof Error ? cause.name : "no Error" }))

/** Joins chunks, cut to `max` bytes, as text. A character cut at the end becomes a replacement character. */
export const joinText = (chunks: ReadonlyArray<Uint8Array>, max: number): string => {
  const decoder = new TextDecoder()
  let left = max
  let text = ""
  for (const chunk of chunks) {
    const part = chunk.subarray(0, left)
    left -= part.length
    text += decoder.decode(part, { stream: true })
  }
  return text + decoder.decode()
}

/** A body that is a text already: a parsed answer of the binding, or a test. */
export const textBody = (text: string): Body => {
  const bytes = Effect.sync(() => new TextEncoder().encode(text))
  return {
    text: Effect.succeed(text),
    bytes,
    head: (max) => Effect.succeed(text.slice(0, max)),
    reader: () => {
      let read = false
      return {
        read: Effect.suspend(() => {
          if (read || text === "") return Effect.succeed(undefined)
          read = true
          return bytes
        }),
        cancel: Effect.void
      }
    },
    web: (head) => new Response(text, head),
    cancel: Effect.void
  }
}

/** A web response around a stream. Some statuses have no body, and a `Response` insists on that: then it is cancelled. */
export const webOf = (stream: ReadableStream<Uint8Array>, head: ResponseInit): Response => {
  if (head.status !== 204 && head.status !== 205 && head.status !== 304) return new Response(stream, head)
  stream.cancel().catch(() => {})
  return new Response(null, head)
}

/**
 * Whether pieces of a body lie there when they are asked for: those of `fetch` do, which is what gives a response its URL; what looks like a
 * response may have none. What is made as it is read must not be made before somebody wants it.
 */
const hasArrived = ({ url }: Response): boolean => Boolean(url)

// Not a literal: each one with a getter has a shape of its own, and whoever reads many of those is slow.
class WebBody implements Body {
  private readonly response: Response
  private readonly abort: Effect.Effect<void>

  constructor(response: Response, abort: Effect.Effect<void>) {
    this.response = response
    this.abort = abort
  }

  private whole<A>(read: () => Promise<A>): Effect.Effect<A, Reason> {
    return promisedWhole(read, this.abort, Effect.succeed, bodyFailure)
  }

  get text(): Effect.Effect<string, Reason> {
    return this.whole(() => this.response.text())
  }

  get bytes(): Effect.Effect<Uint8Array, Reason> {
    return this.whole(async () => new Uint8Array(await this.response.arrayBuffer()))
  }

  head(max: number): Effect.Effect<string, Reason> {
    const { abort, response } = this
    return promised(
      () => readHead(response, max),
      abort,
      ({ isWhole, text }) => (isWhole ? Effect.succeed(text) : Effect.as(abort, text)),
      bodyFailure
    )
  }

  reader(): Reader {
    const { abort, response } = this
    const reader = response.body?.getReader()
    if (reader === undefined) return { read: Effect.succeed(undefined), cancel: Effect.void }
    const cancel = Effect.suspend(() => {
      release(reader)
      return abort
    })
    return {
      read: promised(hasArrived(response) ? gathered(reader) : pieces(reader), cancel, Effect.succeed, bodyFailure),
      cancel
    }
  }

  web(): Response {
    return this.response
  }

  get cancel(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { abort, response } = this
      if (!response.bodyUsed) release(response.body)
      return abort
    })
  }
}

/**
 * The body of a web `Response`. `abort` stops the request behind it: the runtime's own readers cannot be cancelled once
 * they run.
 */
export const webBody = (response: Response, abort: Effect.Effect<void>): Body => new WebBody(response, abort)

/** Not awaited: a peer that never confirms must not hold anybody back. */
const release = (body: { readonly cancel: () => Promise<void> } | null): void => {
  void body?.cancel().catch(() => undefined)
}

const readHead = async (
  response: Response,
  max: number
): Promise<{ readonly text: string; readonly isWhole: boolean }> => {
  const reader = response.body?.getReader()
  if (reader === undefined) return { text: "", isWhole: true }
  const chunks: Array<Uint8Array> = []
  let size = 0
  while (size < max) {
    const { done, value } = await reader.read()
    if (done) return { text: joinText(chunks, max), isWhole: true }
    chunks.push(value)
    size += value.length
  }
  release(reader)
  return { text: joinText(chunks, max), isWhole: false }
}
