/** Response bodies behind one small interface, whatever their transport. A body is read once; the rest is cancelled. */
import * as Effect from "effect/Effect"
import { InvalidResponse, type Reason, Timeout, TransportFailure } from "../../GatewayError.ts"
import { joinBytes } from "../data/bytes.ts"
import { counted } from "../data/numbers.ts"
import { tryPromise, tryPromiseWhole } from "../hotpath/promise.ts"
import { withoutStack } from "../hotpath/stackless.ts"
import { causesOf, isTimeout } from "./causes.ts"
import { coalescedReads, pieces } from "./chunkReader.ts"

/** An unread body. */
export interface Body {
  /** The complete body as text. A body of more than `max` bytes is an `InvalidResponse`, and the rest is never read. */
  readonly text: (max: number) => Effect.Effect<string, Reason>
  /** The complete body as bytes, with the same limit. */
  readonly bytes: (max: number) => Effect.Effect<Uint8Array, Reason>
  /** The first `max` bytes as text; the rest is never read. For error bodies. */
  readonly head: (max: number) => Effect.Effect<string, Reason>
  /** Takes the body over, to read it chunk by chunk. */
  readonly reader: () => BodyReader
  /**
   * The answer as a web response; the same object when it arrived as one, unless its headers describe encoded bytes
   * that have been decoded.
   */
  readonly web: (head: ResponseInit) => Response
  /** Releases the body and its connection. */
  readonly cancel: Effect.Effect<void>
}

/** A body that is being read. Interrupting a read aborts the request behind it. */
export interface BodyReader {
  /** The next chunk, or `undefined` at the end. */
  readonly read: Effect.Effect<Uint8Array | undefined, Reason>
  readonly cancel: Effect.Effect<void>
}

/** A transport's answer, whose body is unread. */
export interface RawResponse {
  readonly status: number
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Body
  /** Whether the request was sent a second time because a kept-alive socket was already closed. */
  readonly resent: boolean
}

/** Reason of a failure while a body is read: one of ours, a time limit of the client, or a broken connection. */
export const bodyFailure = (cause: unknown): Reason =>
  cause instanceof InvalidResponse
    ? cause
    : withoutStack(() =>
        causesOf(cause).some(isTimeout)
          ? new Timeout({ phase: "idle" })
          : new TransportFailure({ kind: "reset", detail: cause instanceof Error ? cause.name : "no Error" })
      )

/** The issue of an answer that exceeds the limit. */
export const oversizedBody = (max: number): string => `a body of more than ${counted(max, "byte")}`

/** The failure of an answer that exceeds the limit. */
export const tooLarge = (max: number): InvalidResponse =>
  withoutStack(() => new InvalidResponse({ issue: oversizedBody(max) }))

const decoder = new TextDecoder()

/** Decodes chunks as text, cut to `max` bytes. A character cut at the end becomes a replacement character. */
export const textOf = (chunks: ReadonlyArray<Uint8Array>, max?: number): string =>
  // Most answers arrive in one piece, which needs no copy.
  decoder.decode((chunks.length === 1 ? chunks[0] : joinBytes(chunks))?.subarray(0, max))

/**
 * A web response around a stream. Some statuses have no body, and `Response` enforces that: the stream is then
 * cancelled.
 */
export const webOf = (stream: ReadableStream<Uint8Array>, head: ResponseInit): Response => {
  if (head.status !== 204 && head.status !== 205 && head.status !== 304) return new Response(stream, head)
  stream.cancel().catch(() => {})
  return new Response(null, head)
}

/**
 * Whether the pieces of a body are already there when they are read. Those of `fetch` are, which is what gives a
 * response its URL; imitations may have none. A body that is generated as it is read must not be generated ahead of
 * demand.
 */
const hasArrived = ({ url }: Response): boolean => Boolean(url)

// Not a literal: each literal with a getter has its own shape, and code that reads many of those is slow.
/**
 * The body of a web `Response`. `abort` stops the request behind it: the runtime's own readers cannot be cancelled once
 * they run.
 */
export class WebBody implements Body {
  protected readonly response: Response
  private readonly abort: Effect.Effect<void>
  /** Whether another reader has the body: a cancelled stream would look complete to it, so only `abort` may end it. */
  private handedOver = false
  /** Turns a failed read into a reason. */
  protected readonly failure: (cause: unknown) => Reason = bodyFailure

  constructor(response: Response, abort: Effect.Effect<void>) {
    this.response = response
    this.abort = abort
  }

  private whole<A>(read: (response: Response) => Promise<A>): Effect.Effect<A, Reason> {
    const { abort, response } = this
    return tryPromiseWhole(() => read(response), abort, Effect.succeed, this.failure)
  }

  text(max: number): Effect.Effect<string, Reason> {
    return this.whole((response) =>
      response.body === undefined ? textTo(response, max) : chunksTo(response, max).then(textOf)
    )
  }

  bytes(max: number): Effect.Effect<Uint8Array, Reason> {
    return this.whole((response) => chunksTo(response, max).then(joinBytes))
  }

  head(max: number): Effect.Effect<string, Reason> {
    const { abort, response } = this
    // Never by `text()`: a declared length bounds neither a compressed body nor one behind a service binding.
    return tryPromise(
      () => readTo(response, max - 1),
      abort,
      ([chunks, isWhole]) => {
        const text = textOf(chunks, max)
        return isWhole ? Effect.succeed(text) : Effect.as(abort, text)
      },
      this.failure
    )
  }

  reader(): BodyReader {
    const { abort, response } = this
    const reader = response.body?.getReader()
    if (reader === undefined) return { read: Effect.succeed(undefined), cancel: Effect.void }
    const cancel = Effect.suspend(() => {
      release(reader)
      return abort
    })
    return {
      read: tryPromise(
        hasArrived(response) ? coalescedReads(reader) : pieces(reader),
        cancel,
        Effect.succeed,
        this.failure
      ),
      cancel
    }
  }

  web(head: ResponseInit): Response {
    this.handedOver = true
    return this.webResponse(head)
  }

  protected webResponse(_head: ResponseInit): Response {
    return this.response
  }

  get cancel(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { abort, response } = this
      if (!response.bodyUsed && !this.handedOver) release(response.body)
      return abort
    })
  }
}

/** See {@link WebBody}. */
export const webBody = (response: Response, abort: Effect.Effect<void>): Body => new WebBody(response, abort)

/** The headers of a web response, with names in lower case. */
export const headersOf = ({ headers }: Response): Record<string, string> => {
  const out: Record<string, string> = {}
  // An iterator would make an array for each, in workerd by a call into the runtime.
  headers.forEach((value, name) => {
    out[name] = value
  })
  return out
}

/** A body that is already a text: a parsed answer of the binding, or a test. */
export const textBody = (text: string): Body => {
  const web = (head?: ResponseInit): Response => new Response(text, head)
  return Object.assign(webBody(web(), Effect.void), { web })
}

/** Not awaited: a peer that never confirms must not block the caller. */
const release = (body: { readonly cancel: () => Promise<void> } | null): void => {
  void body?.cancel().catch(() => undefined)
}

/** The text of a test double of the binding, which may answer with an object that has a text and no body. */
const textTo = async (response: Response, max: number): Promise<string> => {
  const text = await response.text()
  // No character takes more than three bytes for each of its units.
  if (text.length * 3 <= max || new TextEncoder().encode(text).length <= max) return text
  throw tooLarge(max)
}

/** All chunks of a body of at most `max` bytes. */
const chunksTo = async (response: Response, max: number): Promise<ReadonlyArray<Uint8Array>> => {
  const [chunks, isWhole] = await readTo(response, max)
  if (isWhole) return chunks
  throw tooLarge(max)
}

/** Reads chunks until they exceed `max` bytes, or to the end; `isWhole` reports whether the end was reached. */
const readTo = async (
  response: Response,
  max: number
): Promise<readonly [chunks: ReadonlyArray<Uint8Array>, isWhole: boolean]> => {
  const { body } = response
  if (body === undefined) {
    const bytes = new TextEncoder().encode(await response.text())
    return [[bytes], bytes.length <= max]
  }
  const reader = body?.getReader()
  const chunks: Array<Uint8Array> = []
  if (reader === undefined) return [chunks, true]
  let size = 0
  while (size <= max) {
    const { done, value } = await reader.read()
    if (done) return [chunks, true]
    chunks.push(value)
    size += value.length
  }
  release(reader)
  return [chunks, false]
}
