/** Sources of an input's bytes: a file, which is read twice, or standard input and pipes, which are read once. */
import { createHash } from "node:crypto"
import { createReadStream, fstatSync } from "node:fs"
import * as Fs from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { NumberColumn } from "../../internal/data/idIndex.ts"
import { CliFailure } from "../shared/failure.ts"
import { detailOf, RunFailure } from "../shared/runFailure.ts"

/** A block of bytes, overwritten by the next one; `undefined` at the end. */
export interface Blocks {
  readonly next: () => Promise<Buffer | undefined>
  readonly close: () => Promise<void>
}

/** An input. */
export interface Source {
  /** Name for messages. */
  readonly name: string
  /** Whether it can be read from its beginning again. */
  readonly isFile: boolean
  /** Begins to read; only once for anything but a file. */
  readonly blocks: () => Blocks
  /** Whether a file is unchanged since it was opened. */
  readonly unchanged: Effect.Effect<boolean>
  /** Distinguishes a file from other files, including a file behind standard input. */
  readonly identity: string | undefined
}

// All items of a block exist at once, so it is kept small.
const blockBytes = 64 * 1024

/** Identifies a file, whatever its path. */
export const identityOf = ({ dev, ino }: { readonly dev: number; readonly ino: number }): string => `${dev}:${ino}`

const blocksOf = (handle: Fs.FileHandle): Blocks => {
  const buffer = Buffer.allocUnsafe(blockBytes)
  let position = 0
  return {
    // Filled up to the end of the file, so that every pass has the same blocks.
    next: async () => {
      let size = 0
      while (size < blockBytes) {
        const { bytesRead } = await handle.read(buffer, size, blockBytes - size, position)
        if (bytesRead === 0) break
        size += bytesRead
        position += bytesRead
      }
      return size === 0 ? undefined : buffer.subarray(0, size)
    },
    close: async () => {}
  }
}

/** A later pass over a file found other bytes than the first pass. */
export class FileChanged extends Error {
  /** Whether the bytes of the first pass are there, with others after them. */
  readonly grew: boolean

  constructor(grew: boolean) {
    super("the file was changed")
    this.grew = grew
  }
}

/** The first 48 bits of a SHA-256, as a number. */
const digestOf = (block: Buffer): number => createHash("sha256").update(block).digest().readUIntBE(0, 6)

/** Digests of the blocks of a file in its first pass: 8 bytes for each 64 kB. */
export class Blueprint {
  private readonly digests = new NumberColumn("float64")
  private count = 0
  /** Bytes of the last block. */
  private last = 0

  add(block: Buffer): void {
    this.digests.set(this.count++, digestOf(block))
    this.last = block.length
  }

  /** Whether a block that differs begins like the last block. */
  private continues(block: Buffer | undefined, number: number): boolean {
    if (block === undefined || number < this.count - 1) return false
    return (
      number === this.count ||
      (block.length > this.last && digestOf(block.subarray(0, this.last)) === this.digests.get(number))
    )
  }

  /**
   * Returns the source with blocks that fail with {@link FileChanged} at the first difference, before anyone reads the
   * changed block.
   */
  pin(source: Source): Source {
    return {
      ...source,
      // Every byte is compared, so the time of the last change adds nothing.
      unchanged: Effect.succeed(true),
      blocks: () => {
        const blocks = source.blocks()
        let number = 0
        return {
          next: async () => {
            const block = await blocks.next()
            const isSame =
              block === undefined
                ? number === this.count
                : number < this.count && digestOf(block) === this.digests.get(number)
            if (!isSame) throw new FileChanged(this.continues(block, number))
            if (block !== undefined) number++
            return block
          },
          close: blocks.close
        }
      }
    }
  }
}

const fileSource = (path: string, name: string): Effect.Effect<Source, CliFailure, Scope.Scope> =>
  Effect.gen(function* () {
    const handle = yield* Effect.acquireRelease(
      Effect.tryPromise({
        try: () => Fs.open(path, "r"),
        catch: (error) =>
          new CliFailure({ message: `${name}: expected the path of a readable file: ${detailOf(error)}` })
      }),
      (handle) => Effect.promise(() => handle.close())
    )
    const before = yield* Effect.promise(() => handle.stat())
    return {
      name,
      isFile: true,
      blocks: () => blocksOf(handle),
      unchanged: Effect.map(
        Effect.promise(() => handle.stat()),
        ({ mtimeMs, size }) => mtimeMs === before.mtimeMs && size === before.size
      ),
      identity: identityOf(before)
    }
  })

/** Blocks of a Node stream, which is destroyed when reading ends. */
const streamed = (name: string, open: () => AsyncIterable<unknown>, identity?: string): Source => ({
  name,
  isFile: false,
  blocks: () => {
    const iterator = open()[Symbol.asyncIterator]()
    return {
      next: async () => {
        const { done, value } = await iterator.next()
        return done === true ? undefined : Buffer.isBuffer(value) ? value : Buffer.from(String(value))
      },
      // `return` waits for a running read, which this code does not wait for.
      close: async () => void iterator.return?.().catch(() => undefined)
    }
  },
  unchanged: Effect.succeed(true),
  identity
})

/** Identity of the file behind a descriptor; `undefined` if there is no regular file. */
export const identityAt = (descriptor: number): string | undefined => {
  try {
    const stats = fstatSync(descriptor)
    return stats.isFile() ? identityOf(stats) : undefined
  } catch {
    // The descriptor is closed.
    return undefined
  }
}

/** Opens a path, or `-` for standard input. Fails with `CliFailure` when it cannot be read. */
export const open = (path: string): Effect.Effect<Source, CliFailure, Scope.Scope> =>
  Effect.gen(function* () {
    if (path === "-") return streamed("standard input", () => process.stdin, identityAt(0))
    const stats = yield* Effect.tryPromise({
      try: () => Fs.stat(path),
      catch: (error) => new CliFailure({ message: `${path}: expected the path of a readable file: ${detailOf(error)}` })
    })
    if (stats.isDirectory()) {
      return yield* new CliFailure({ message: `${path}: expected the path of a readable file, not of a folder` })
    }
    return stats.isFile() ? yield* fileSource(path, path) : streamed(path, () => createReadStream(path))
  })

/** Copies an input that can be read only once to a temporary file, to read it twice. */
export const spooled = (source: Source): Effect.Effect<Source, CliFailure | RunFailure, Scope.Scope> =>
  Effect.gen(function* () {
    const failed = (error: unknown) => new RunFailure({ message: `${source.name}: cannot be kept: ${detailOf(error)}` })
    const folder = yield* Effect.acquireRelease(
      Effect.tryPromise({ try: () => Fs.mkdtemp(join(tmpdir(), "effect-ai-gateway-")), catch: failed }),
      (path) => Effect.promise(() => Fs.rm(path, { recursive: true, force: true }))
    )
    const path = join(folder, "input")
    yield* Effect.tryPromise({
      try: async () => {
        const blocks = source.blocks()
        const handle = await Fs.open(path, "wx", 0o600)
        try {
          for (let block = await blocks.next(); block !== undefined; block = await blocks.next()) {
            await handle.appendFile(block)
          }
        } finally {
          await handle.close()
        }
      },
      catch: failed
    })
    return { ...(yield* fileSource(path, source.name)), identity: source.identity }
  })

/** Joins bytes that arrive in pieces. The buffer doubles when it is full, so that bytes are rarely copied. */
class Head {
  private room = Buffer.allocUnsafe(blockBytes)
  private size = 0

  get bytes(): Buffer {
    return this.room.subarray(0, this.size)
  }

  add(block: Buffer): void {
    if (this.size + block.length > this.room.length) {
      const room = Buffer.allocUnsafe(Math.max(this.room.length * 2, this.size + block.length))
      this.room.copy(room, 0, 0, this.size)
      this.room = room
    }
    block.copy(this.room, this.size)
    this.size += block.length
  }
}

/** Reads the beginning of a source, and returns a source that still has it. `enough` receives the bytes so far. */
export const peeked = (
  source: Source,
  enough: (head: Buffer) => boolean
): Effect.Effect<{ readonly head: Buffer; readonly ended: boolean; readonly source: Source }, RunFailure> =>
  Effect.tryPromise({
    try: async () => {
      const blocks = source.blocks()
      const read = new Head()
      let ended = false
      while (!ended && !enough(read.bytes)) {
        const block = await blocks.next()
        if (block === undefined) ended = true
        else read.add(block)
      }
      const head = read.bytes
      if (source.isFile) {
        await blocks.close()
        return { head, ended, source }
      }
      let kept: Buffer | undefined = head
      const rest: Blocks = {
        next: async () => {
          const first = kept
          kept = undefined
          return first !== undefined && first.length > 0 ? first : await blocks.next()
        },
        close: blocks.close
      }
      return { head, ended, source: { ...source, blocks: () => rest } }
    },
    catch: (error) => new RunFailure({ message: `${source.name}: cannot be read: ${detailOf(error)}` })
  })
