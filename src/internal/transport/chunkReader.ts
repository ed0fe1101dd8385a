/** Reads from a web stream. */
import { joinBytes } from "../data/bytes.ts"
import { atTurnEnd, hasTurns } from "../hotpath/eventLoopTurn.ts"

/** Reads a stream: each call returns the next chunk, or `undefined` at the end. */
export type Reads = () => Promise<Uint8Array | undefined>

type ReadChunk = ReadableStreamReadResult<Uint8Array>

/** Source of the reads: a reader of a web stream. */
interface ChunkSource {
  readonly read: () => Promise<ReadChunk>
}

/** Reads piece by piece, each on demand. */
export const pieces =
  (source: ChunkSource): Reads =>
  async () =>
    (await source.read()).value

/** Size in bytes of a full chunk: it limits how far reading runs ahead of use. */
const fullSize = 65_536

const ignore = (): void => {}

/**
 * Reads all pieces that arrive within a turn of the event loop as one chunk. A `fetch` may deliver each piece that a
 * server wrote separately, hundreds of them in one turn, and readers pay per read, not per byte.
 *
 * One piece is requested ahead. A failure after pieces of the same turn fails the next read. In runtimes without turns
 * this is {@link pieces}.
 */
export const coalescedReads = (source: ChunkSource): Reads => {
  if (!hasTurns) return pieces(source)
  /** Requested, and not taken yet. */
  let ahead: Promise<ReadChunk> | undefined

  const rest = (first: Uint8Array): Promise<Uint8Array> =>
    new Promise((resolve) => {
      const parts = [first]
      let size = first.length
      let isOpen = true
      // The end, a failure and late pieces stay for the next read.
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
