/**
 * Reads the beginning of a streamed answer.
 */
import * as Effect from "effect/Effect"
import type { GatewayError } from "../../GatewayError.ts"
import type { ResponseReader } from "../../GatewayResponse.ts"
import type { Delta } from "../dialect/delta.ts"
import { isCommit } from "../dialect/deltaDecoder.ts"
import type { Limiting, Pump } from "../dialect/deltaPump.ts"
import { textOf } from "../transport/body.ts"

/** An answer at its commit point. */
export interface StreamHead {
  /** The deltas that were held back up to the commit point, and that one. */
  readonly head: ReadonlyArray<Delta>
  /** The rest; absent if the complete answer arrived in one piece. */
  readonly pump: Pump | undefined
}

/** Reads a body as text, chunk by chunk, until it exceeds `max` bytes. */
export const readText = (
  { cancel, read }: ResponseReader,
  limiting: Limiting,
  max: number
): Effect.Effect<{ readonly text: string; readonly isWhole: boolean }, GatewayError> => {
  const chunks: Array<Uint8Array> = []
  let size = 0
  const go: ReturnType<typeof readText> = Effect.flatMap(limiting(read), (chunk) => {
    if (chunk === undefined) return Effect.succeed({ text: textOf(chunks), isWhole: true })
    chunks.push(chunk)
    size += chunk.length
    return size <= max ? go : Effect.as(cancel, { text: textOf(chunks, max), isWhole: false })
  })
  return go
}

/** Maximum number of bytes of a page that are read for an excerpt. */
export const maxPage = 65_536

/** A reader that first returns chunks that have been read before. */
export const replay = (chunks: ReadonlyArray<Uint8Array>, reader: ResponseReader): ResponseReader => {
  let given = 0
  return {
    read: Effect.suspend(() => (given < chunks.length ? Effect.succeed(chunks[given++]) : reader.read)),
    cancel: reader.cancel
  }
}

/** Checks by the first character that is not white space whether a single JSON value begins there. */
export const peek = (
  reader: ResponseReader,
  limiting: Limiting
): Effect.Effect<{ readonly json: boolean; readonly reader: ResponseReader }, GatewayError> => {
  const chunks: Array<Uint8Array> = []
  let size = 0
  const go: ReturnType<typeof peek> = Effect.flatMap(limiting(reader.read), (chunk) => {
    const first = chunk?.find((byte) => byte > 0x20 && byte < 0x80)
    size += chunk?.length ?? 0
    if (chunk !== undefined) chunks.push(chunk)
    return chunk === undefined || first !== undefined || size > maxPage
      ? Effect.succeed({ json: first === 0x7b || first === 0x5b, reader: replay(chunks, reader) })
      : go
  })
  return go
}

/** Reads up to the commit point. */
export const readHead = (pump: Pump, limiting: Limiting): Effect.Effect<StreamHead, GatewayError> => {
  const head: Array<Delta> = []
  let committed = false
  /** Of the usage before the commit point, only the last one is kept, wherever the bytes were cut. */
  const keep = (delta: Delta): void => {
    committed ||= isCommit(delta)
    const earlier = committed || delta.type !== "usage" ? -1 : head.findIndex(({ type }) => type === "usage")
    if (earlier >= 0) head.splice(earlier, 1)
    head.push(delta)
  }
  const read: Effect.Effect<StreamHead, GatewayError> = Effect.flatMap(pump.next(limiting), (batch) => {
    batch?.forEach(keep)
    return committed || batch === undefined ? Effect.succeed({ head, pump }) : read
  })
  return Effect.onError(read, () => pump.cancel)
}
