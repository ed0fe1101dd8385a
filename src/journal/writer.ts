/**
 * Writes lines, in order, to the last segment. Lines that arrive during a write join the next write, and lines written
 * during a sync are covered by the next sync. Many callers thus share few system calls, and none waits for a timer.
 */
import * as Fs from "node:fs/promises"
import { join } from "node:path"
import * as Line from "./line.ts"
import { nameOf } from "./segments.ts"

interface Pending {
  readonly lines: Buffer
  readonly done: (position: number) => void
  readonly failed: (error: unknown) => void
}

/** The next turn of the event loop. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

interface Syncing {
  readonly position: number
  readonly done: () => void
  readonly failed: (error: unknown) => void
}

/** Makes new names in a folder durable. Windows has no such operation and does not need it. */
export const syncFolder = async (folder: string): Promise<void> => {
  if (process.platform === "win32") return
  const handle = await Fs.open(folder, "r")
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Creates a segment that begins with its header, durably. Fails when it exists. */
export const createSegment = async (folder: string, segment: number, header: Line.Header): Promise<Fs.FileHandle> => {
  const path = join(folder, nameOf(segment))
  const handle = await Fs.open(path, "wx")
  try {
    await writeAll(handle, Line.encodeHeader(header))
    await handle.datasync()
    await syncFolder(folder)
    return handle
  } catch (error) {
    await handle.close()
    await Fs.rm(path, { force: true })
    throw error
  }
}

/** Writes all bytes; a single write may take fewer. */
export const writeAll = async (handle: Fs.FileHandle, bytes: Buffer): Promise<void> => {
  for (let from = 0; from < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, from, bytes.length - from)
    from += bytesWritten
  }
}

export class Writer {
  private readonly folder: string
  private readonly header: Line.Header
  private readonly headerBytes: Buffer
  private readonly segmentBytes: number
  private segment: number
  private handle: Fs.FileHandle | undefined
  private offset = 0
  private pending: Array<Pending> = []
  private waiting: Array<Syncing> = []
  /** Groups of lines that were written, and that are durable. */
  private written = 0
  private synced = 0
  private writing: Promise<void> | undefined
  private syncing: Promise<void> | undefined
  private failure: { readonly error: unknown } | undefined

  /** @param last number of the last segment that exists; a new one is begun with the first line */
  constructor(folder: string, last: number, header: Line.Header, segmentBytes: number) {
    this.folder = folder
    this.segment = last
    this.header = header
    this.headerBytes = Line.encodeHeader(header)
    this.segmentBytes = segmentBytes
  }

  /** Calls back when the operating system has the lines, with their position for {@link sync}. */
  append(lines: Buffer, done: (position: number) => void, failed: (error: unknown) => void): void {
    if (this.failure !== undefined) {
      failed(this.failure.error)
      return
    }
    this.pending.push({ lines, done, failed })
    this.writing ??= this.write()
  }

  /** Calls back when all lines up to a position are durable. */
  sync(position: number, done: () => void, failed: (error: unknown) => void): void {
    if (this.synced >= position) {
      done()
    } else if (this.failure !== undefined) {
      failed(this.failure.error)
    } else {
      this.waiting.push({ position, done, failed })
      this.syncing ??= this.syncAll()
    }
  }

  /**
   * Begins a segment where one is due; for {@link append}, and for a caller with a header to write and perhaps no line.
   */
  async begin(): Promise<Fs.FileHandle> {
    if (this.handle !== undefined && this.offset < this.segmentBytes) return this.handle
    const old = this.handle
    if (old !== undefined) {
      await this.syncing
      // From here on no other code may use it.
      this.handle = undefined
      try {
        await old.datasync()
      } finally {
        await old.close()
      }
      this.synced = this.written
      this.releaseSynced()
    }
    const handle = await createSegment(this.folder, this.segment + 1, this.header)
    this.segment++
    this.offset = this.headerBytes.length
    this.handle = handle
    return handle
  }

  private async write(): Promise<void> {
    let batch: Array<Pending> = []
    try {
      while (this.pending.length > 0) {
        const handle = await this.begin()
        batch = this.pending
        this.pending = []
        const parts = batch.map(({ lines }) => lines)
        // A damaged beginning must not lose the name of the job.
        if (this.offset === this.headerBytes.length) parts.splice(1, 0, this.headerBytes)
        const [first] = parts
        // Usually there is one.
        const bytes = parts.length === 1 && first !== undefined ? first : Buffer.concat(parts)
        await writeAll(handle, bytes)
        this.offset += bytes.length
        for (const { done } of batch) done(++this.written)
        batch = []
      }
    } catch (error) {
      this.fail(error, batch)
    }
    this.writing = undefined
  }

  private async syncAll(): Promise<void> {
    try {
      // Ends after one turn at the earliest; otherwise it would end before it is known to run, and its end would be
      // missed.
      for (await turn(); this.waiting.length > 0; await turn()) {
        const { handle } = this
        // A new segment has begun; its creator makes the old one durable and reports that.
        if (handle === undefined) break
        const position = this.written
        await handle.datasync()
        this.synced = Math.max(this.synced, position)
        this.releaseSynced()
      }
    } catch (error) {
      this.fail(error, [])
    }
    this.syncing = undefined
  }

  private releaseSynced(): void {
    const ready = this.waiting.filter(({ position }) => position <= this.synced)
    this.waiting = this.waiting.filter(({ position }) => position > this.synced)
    for (const { done } of ready) done()
  }

  /**
   * After a failed write the content is unknown, and after a failed sync the loss is unknown: nothing more is written.
   */
  private fail(error: unknown, batch: ReadonlyArray<Pending>): void {
    this.failure ??= { error }
    const everybody = [...batch, ...this.pending, ...this.waiting]
    this.pending = []
    this.waiting = []
    for (const { failed } of everybody) failed(error)
  }

  /** Sets the time of the last change, if possible. */
  touch(now: number): void {
    void this.handle?.utimes(now / 1000, now / 1000).catch(() => undefined)
  }

  /** Makes everything durable and closes. */
  async close(): Promise<void> {
    while (this.writing !== undefined) await this.writing
    while (this.syncing !== undefined) await this.syncing
    const { handle } = this
    this.handle = undefined
    if (handle === undefined) return
    try {
      if (this.failure === undefined && this.synced < this.written) await handle.datasync()
    } finally {
      await handle.close()
    }
  }
}
