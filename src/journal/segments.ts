/**
 * The files of a journal, `000001.jsonl` and so on, read in two ways: complete files from front to back in constant
 * memory, and single lines.
 */
import * as Fs from "node:fs/promises"
import { join } from "node:path"
import { type Damage, JournalError, type Json, type Known } from "../BatchJournal.ts"
import * as Line from "./line.ts"

/** The format version that is written, and the latest that is read. */
export const version = 1

// A location is one safe integer: the number of the segment, and the offset in it.
const maxSegmentBytes = 2 ** 36
export const location = (segment: number, offset: number): number => segment * maxSegmentBytes + offset

export const nameOf = (segment: number): string => `${String(segment).padStart(6, "0")}.jsonl`

/** Numbers of the segments in a folder, in order. */
export const list = async (folder: string): Promise<ReadonlyArray<number>> =>
  (await Fs.readdir(folder))
    .flatMap((name) => (/^\d{6}\.jsonl$/.test(name) ? [Number(name.slice(0, 6))] : []))
    .sort((a, b) => a - b)

/** Facts about a segment from reading it. */
export interface Scanned {
  readonly header: Line.Header | undefined
  readonly damage: ReadonlyArray<Damage>
  readonly bytes: number
}

const chunkBytes = 1 << 20

/** Calls `onLine` for each complete line, and reports the others. */
const scanLines = async (
  path: string,
  where: string,
  onLine: (bytes: Buffer, offset: number) => void,
  afterChunk: () => Promise<void>
): Promise<{ readonly damage: ReadonlyArray<Damage>; readonly bytes: number }> => {
  const damage: Array<Damage> = []
  /** An incomplete piece with no complete line after it so far. */
  let broken: Line.Piece | undefined
  let brokenBytes = 0
  const take = (bytes: Buffer, offset: number): void => {
    for (const piece of Line.pieces(bytes, offset)) {
      if (piece.whole) {
        if (broken !== undefined) {
          damage.push({ where: `${where} at byte ${broken.offset}`, kind: "corrupt", bytes: brokenBytes })
          broken = undefined
          brokenBytes = 0
        }
        onLine(piece.bytes, piece.offset)
      } else {
        broken ??= piece
        brokenBytes += piece.bytes.length
      }
    }
  }
  const file = await Fs.open(path, "r")
  try {
    /** Parts of the current line from earlier chunks; joined once, when the line ends. */
    let rest: Array<Buffer> = []
    let restBytes = 0
    let offset = 0
    while (true) {
      const chunk = Buffer.allocUnsafe(chunkBytes)
      const { bytesRead } = await file.read(chunk, 0, chunkBytes, offset)
      if (bytesRead === 0) break
      const bytes = chunk.subarray(0, bytesRead)
      let from = 0
      for (let end = Line.endOfLine(bytes, from); end >= 0; end = Line.endOfLine(bytes, from)) {
        const line = bytes.subarray(from, end)
        const whole = restBytes === 0 ? line : Buffer.concat([...rest, line])
        if (whole.length > 0) take(whole, offset + from - restBytes)
        rest = []
        restBytes = 0
        from = end + 1
      }
      if (from < bytesRead) {
        rest.push(bytes.subarray(from))
        restBytes += bytesRead - from
      }
      offset += bytesRead
      await afterChunk()
    }
    // Even without its line end the last line may be complete.
    if (restBytes > 0) take(Buffer.concat(rest), offset - restBytes)
    if (broken !== undefined) {
      damage.push({ where: `${where} at byte ${broken.offset}`, kind: "torn", bytes: brokenBytes })
    }
    return { damage, bytes: offset }
  } finally {
    await file.close()
  }
}

/**
 * Reads a segment and reports its entries. `afterChunk` is awaited periodically, so that the caller can write what was
 * reported.
 */
export const scan = async (
  folder: string,
  segment: number,
  onEntry: (entry: Known, bytes: Buffer) => void,
  afterChunk: () => Promise<void> = async () => {}
): Promise<Scanned> => {
  const name = nameOf(segment)
  let header: Line.Header | undefined
  const onLine = (bytes: Buffer, offset: number): void => {
    const found = Line.header(bytes)
    if (found !== undefined) header = found
    const entry = found === undefined ? Line.known(bytes, location(segment, offset)) : undefined
    if (entry !== undefined) onEntry(entry, bytes)
  }
  const { bytes, damage } = await scanLines(join(folder, name), name, onLine, afterChunk)
  if (header !== undefined && header.version > version) {
    throw new JournalError({
      reason: "newer",
      path: folder,
      detail: `was written in format ${header.version}, this version reads up to ${version}`
    })
  }
  return { header, damage, bytes }
}

/** The header of a segment, from its first bytes; if they are damaged, from a later copy. */
export const headerOf = async (folder: string, segment: number): Promise<Line.Header | undefined> => {
  const file = await Fs.open(join(folder, nameOf(segment)), "r")
  try {
    const chunk = Buffer.alloc(64 * 1024)
    const { bytesRead } = await file.read(chunk, 0, chunk.length, 0)
    const end = Line.endOfLine(chunk.subarray(0, bytesRead), 0)
    const [piece] = Line.pieces(chunk.subarray(0, end < 0 ? bytesRead : end), 0)
    const first = piece?.whole === true ? Line.header(piece.bytes) : undefined
    if (first !== undefined || bytesRead === 0) return first
  } finally {
    await file.close()
  }
  return (await scan(folder, segment, () => {})).header
}

/** Whether a file begins like a segment: a line near its beginning has the right checksum. */
export const isSegment = async (path: string): Promise<boolean> => {
  const file = await Fs.open(path, "r")
  try {
    const chunk = Buffer.alloc(64 * 1024)
    const { bytesRead } = await file.read(chunk, 0, chunk.length, 0)
    const bytes = chunk.subarray(0, bytesRead)
    let from = 0
    for (let end = Line.endOfLine(bytes, from); end >= 0; end = Line.endOfLine(bytes, from)) {
      if (Line.pieces(bytes.subarray(from, end), from).some(({ whole }) => whole)) return true
      from = end + 1
    }
    return false
  } finally {
    await file.close()
  }
}

/** Whether a folder holds a journal. Other files may have the names of segments. */
export const isJournal = async (folder: string): Promise<boolean> => {
  for (const segment of await list(folder)) {
    if (await isSegment(join(folder, nameOf(segment)))) return true
  }
  return false
}

/** Time of the last write to any segment, in milliseconds since the epoch. */
export const lastWritten = async (folder: string, segments: ReadonlyArray<Live>): Promise<number> => {
  const stats = await Promise.all(segments.map(({ segment }) => Fs.stat(join(folder, nameOf(segment)))))
  return Math.max(...stats.map(({ mtimeMs }) => mtimeMs))
}

/** A segment that counts, and the job that it names. */
export interface Live {
  readonly segment: number
  readonly header: Line.Header | undefined
}

/** Contents of a journal. */
export interface Current {
  readonly live: ReadonlyArray<Live>
  /** Segments that a later one replaces. */
  readonly replaced: ReadonlyArray<number>
  /** Segments up to this number were accepted as they are. */
  readonly accepted: number
  /** Identity of the journal's job: for each name, the latest value. */
  readonly fingerprint: Readonly<Record<string, string>>
}

/** Finds the segments that count, and those that do not. */
export const current = async (folder: string): Promise<Current> => {
  const segments: Array<Live> = []
  for (const segment of await list(folder)) segments.push({ segment, header: await headerOf(folder, segment) })
  const replaces = Math.max(0, ...segments.map(({ header }) => header?.replaces ?? 0))
  const live = segments.filter(({ segment }) => segment > replaces)
  return {
    live,
    replaced: segments.flatMap(({ segment }) => (segment <= replaces ? [segment] : [])),
    accepted: Math.max(0, ...live.map(({ header }) => header?.accepts ?? 0)),
    fingerprint: Object.assign({}, ...live.map(({ header }) => header?.fingerprint))
  }
}

const blockBytes = 256 * 1024
const maxBlocks = 16
const maxFiles = 16

/** Reads single lines; neighbours come from memory. Not for the segment that is being written. */
export class LineReader {
  private readonly folder: string
  private readonly files = new Map<number, Promise<Fs.FileHandle>>()
  private readonly blocks = new Map<number, Promise<Buffer>>()

  constructor(folder: string) {
    this.folder = folder
  }

  private file(segment: number): Promise<Fs.FileHandle> {
    const known = this.files.get(segment)
    if (known !== undefined) return known
    const opened = Fs.open(join(this.folder, nameOf(segment)), "r")
    this.files.set(segment, opened)
    const [oldest] = this.files.keys()
    if (this.files.size > maxFiles && oldest !== undefined) {
      const file = this.files.get(oldest)
      this.files.delete(oldest)
      // Running reads hold it open: `close` awaits them.
      void file?.then((handle) => handle.close()).catch(() => undefined)
    }
    return opened
  }

  private block(segment: number, number: number): Promise<Buffer> {
    const key = location(segment, number * blockBytes)
    const known = this.blocks.get(key)
    if (known !== undefined) return known
    const read = (async () => {
      const file = await this.file(segment)
      const block = Buffer.allocUnsafe(blockBytes)
      const { bytesRead } = await file.read(block, 0, blockBytes, number * blockBytes)
      return block.subarray(0, bytesRead)
    })()
    this.blocks.set(key, read)
    const [oldest] = this.blocks.keys()
    if (this.blocks.size > maxBlocks && oldest !== undefined) this.blocks.delete(oldest)
    return read
  }

  /** The record at a location. */
  async read(at: number): Promise<Json | undefined> {
    const segment = Math.floor(at / maxSegmentBytes)
    let offset = at % maxSegmentBytes
    const parts: Array<Buffer> = []
    while (true) {
      const number = Math.floor(offset / blockBytes)
      const block = await this.block(segment, number)
      const from = offset - number * blockBytes
      const end = Line.endOfLine(block, from)
      parts.push(block.subarray(from, end < 0 ? block.length : end))
      if (end >= 0 || block.length < blockBytes) break
      offset = (number + 1) * blockBytes
    }
    const bytes = Buffer.concat(parts)
    return Line.pieces(bytes, 0).flatMap((piece) => (piece.whole ? [Line.record(piece.bytes)] : []))[0]
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.blocks.values())
    for (const file of this.files.values()) await file.then((handle) => handle.close()).catch(() => undefined)
    this.files.clear()
    this.blocks.clear()
  }
}
