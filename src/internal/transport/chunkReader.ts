/**
 * Reads of a web stream.
 */
import { joinBytes } from "../data/bytes.ts"
import { atTurnEnd, hasTurns } from "../hotpath/eventLoopTurn.ts"

/** The reads of a stream: each gives the next chunk, or `undefined` at the end. */
export type Reads = () => Promise<Uint8Array | undefined>

type ReadChunk = ReadableStreamReadResult<Uint8Array>

/** What is read: a reader of a web stream. */
interface ChunkSource {
  readonly read: () => Promise<ReadChunk>
}

/** Piece by piece, each when it is asked for. */
export const pieces =
  (source: ChunkSource): Reads =>
  async () =>
    (await source.read()).value

/** Bytes with which a chunk is full: what has been read is never far ahead of what is used. */
const fullSize = 65_536

const ignore = (): void => {}

/**
 * All pieces that come within a turn of the event loop as one chunk. A `fetch` may hand out each piece that a server
 * wrote by itself, hundreds of them in one turn, and whoever reads pays by the read, not by the byte.
 *
 * One piece is asked for ahead. What fails after pieces of the same turn fails the next read. Where nothing tells the
 * end of a turn, it is {@link pieces}.
 */
export const coalescedReads = (source: ChunkSource): Reads => {
  if (!hasTurns) return pieces(source)
  /** Asked for, and not taken yet. */
  let ahead: Promise<ReadChunk> | undefined

  const rest = (first: Uint8Array): Promise<Uint8Array> =>
    new Promise((resolve) => {
      const parts = [first]
      let size = first.length
      let isOpen = true
      // The end, a failure and what comes too late stay for the next read.
      const take = ({ done, value }: ReadChunk): void => {
        if (!isOpen || done) return
        ahead = undefined
        parts.push(value)
        size += value.length
        if (size < fullSize) more()
      }
      const more = (): void => {
        ahead = source.read()
        ahead.then(take, ignore)
      }
      more()
      atTurnEnd(() => {
        isOpen = false
        resolve(parts.length === 1 ? first : joinBytes(parts))
      })
    })

  return async () => {
    const asked = ahead ?? source.read()
    ahead = undefined
    const { value } = await asked
    return value === undefined || value.length >= fullSize ? value : rest(value)
  }
}
