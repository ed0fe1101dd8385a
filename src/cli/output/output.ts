/**
 * Destinations of results: a file that later runs extend, or standard output.
 *
 * Lines are collected and written in blocks of 64 kB, and at least ten times a second. A killed process loses its
 * collected lines; the journal has them, and the next run writes them.
 */
import * as Fs from "node:fs/promises"
import { basename, dirname, join, resolve } from "node:path"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { IdIndex, maxIdLength, NumberColumn } from "../../internal/data/idIndex.ts"
import * as Lock from "../../journal/lock.ts"
import * as Segments from "../../journal/segments.ts"
import { LineSplitter } from "../input/lines.ts"
import { identityOf } from "../input/source.ts"
import { CliFailure } from "../shared/failure.ts"
import { codeOf, detailOf, RunFailure } from "../shared/runFailure.ts"
import type { OutputFormat } from "./resultLine.ts"

/** Accepts lines. */
export interface Output {
  /** Accepts complete lines with their ends. Waits while too much is unwritten. */
  readonly write: (lines: string) => Effect.Effect<void, RunFailure>
  /** Writes everything that was accepted. */
  readonly flush: Effect.Effect<void, RunFailure>
}

const blockChars = 64 * 1024
const flushEvery = "100 millis"

/** Collects lines for a writer of blocks. The scope flushes, if possible. */
export const collected = (
  put: (block: string) => Effect.Effect<void, RunFailure>
): Effect.Effect<Output, never, Scope.Scope> =>
  Effect.gen(function* () {
    let pending: Array<string> = []
    let size = 0
    let failed: RunFailure | undefined
    const one = Semaphore.makeUnsafe(1)
    const flush = Semaphore.withPermit(
      one,
      Effect.suspend(() => {
        if (failed !== undefined) return Effect.fail(failed)
        if (size === 0) return Effect.void
        const block = pending.join("")
        pending = []
        size = 0
        return Effect.tapError(Effect.uninterruptible(put(block)), (error) =>
          Effect.sync(() => {
            failed = error
          })
        )
      })
    )
    yield* Effect.addFinalizer(() => Effect.ignore(flush))
    // The next write or flush reports a failure.
    yield* Effect.forkScoped(Effect.repeat(Effect.ignore(flush), Schedule.spaced(flushEvery)))
    return {
      write: (lines) =>
        Effect.suspend(() => {
          pending.push(lines)
          size += lines.length
          return failed !== undefined ? Effect.fail(failed) : size >= blockChars ? flush : Effect.void
        }),
      flush
    }
  })

/** Writes to a stream of Node, and waits until it has left this process. */
export const writeTo = (stream: NodeJS.WriteStream, name: string, text: string): Effect.Effect<void, RunFailure> =>
  Effect.callback<void, RunFailure>((resume) => {
    const fail = (error: unknown) => resume(Effect.fail(new RunFailure({ message: `${name}: ${detailOf(error)}` })))
    // Without a listener an error would end the process. It is emitted after the callback, so the listener then stays.
    const ignore = (): void => {}
    stream.on("error", ignore)
    stream.write(text, (error) => {
      if (error !== null && error !== undefined) return fail(error)
      stream.off("error", ignore)
      resume(Effect.void)
    })
  })

/** Standard output. */
export const stdout: Effect.Effect<Output, never, Scope.Scope> = collected((block) =>
  writeTo(process.stdout, "standard output", block)
)

const failure = (path: string) => (error: unknown) => new RunFailure({ message: `${path}: ${detailOf(error)}` })

/** A path that accepts lines and is not a file, such as a named pipe. */
export const device = (path: string): Effect.Effect<Output, RunFailure, Scope.Scope> =>
  Effect.gen(function* () {
    const attempt = <A>(run: () => Promise<A>) => Effect.tryPromise({ try: run, catch: failure(path) })
    const handle = yield* Effect.acquireRelease(
      attempt(() => Fs.open(path, "w")),
      (handle) => Effect.promise(() => handle.close().catch(() => undefined))
    )
    return yield* collected((block) => attempt(() => handle.writeFile(block)))
  })

/** The state of the path of an output. */
export type OutputPosition =
  | { readonly _tag: "nothing" }
  /** Accepts lines and is not read: a pipe, a terminal. */
  | { readonly _tag: "device" }
  | { readonly _tag: "file"; readonly size: number; readonly identity: string }

/** The reason why writing to a path would destroy a file of another run, and the expected path instead. */
const harmOf = async (path: string): Promise<string | undefined> => {
  const quietly = (check: Promise<boolean>) => check.catch(() => false)
  const real = await realPath(path)
  const folder = dirname(real)
  if (await quietly(Segments.isJournal(folder))) {
    const given = dirname(path)
    const isSame = (await Fs.realpath(given).catch(() => undefined)) === folder
    return `expected a file outside the journal ${isSame ? given : folder}`
  }
  const stats = await Fs.stat(real).catch(() => undefined)
  if (stats?.isFile() !== true) return undefined
  if (await quietly(Segments.isSegment(real))) return "expected a file other than a part of a journal"
  return (await Lock.isHeld(real)) ? "expected a file other than the lock of a run" : undefined
}

/**
 * Inspects the path of an output. Fails with `CliFailure` when no file can be there, or when it would overwrite a
 * journal or a lock.
 */
export const placeOf = (path: string): Effect.Effect<OutputPosition, CliFailure> =>
  Effect.tryPromise({
    try: async (): Promise<OutputPosition> => {
      const harm = await harmOf(path)
      if (harm !== undefined) throw new CliFailure({ message: `${path}: ${harm}` })
      const stats = await Fs.stat(path).catch((error: unknown) => {
        if (codeOf(error) === "ENOENT") return undefined
        throw error
      })
      if (stats === undefined) {
        await Fs.access(dirname(path), Fs.constants.W_OK)
        return { _tag: "nothing" }
      }
      if (stats.isDirectory()) throw Object.assign(new Error("folder"), { code: "EISDIR" })
      await Fs.access(path, Fs.constants.W_OK)
      return stats.isFile() ? { _tag: "file", size: stats.size, identity: identityOf(stats) } : { _tag: "device" }
    },
    catch: (error) =>
      error instanceof CliFailure
        ? error
        : new CliFailure({ message: `${path}: expected the path of a file to write: ${detailOf(error)}` })
  })

/** Longest chain of links; no system follows more. */
const maxLinks = 40

/** The real path behind all links; if nothing exists there, the place where it would be. */
export const realPath = async (path: string, links = maxLinks): Promise<string> => {
  const real = await Fs.realpath(path).catch(() => undefined)
  if (real !== undefined) return real
  const folder = await Fs.realpath(dirname(path)).catch(() => resolve(dirname(path)))
  const target = links > 0 ? await Fs.readlink(path).catch(() => undefined) : undefined
  return target === undefined ? join(folder, basename(path)) : realPath(resolve(folder, target), links - 1)
}

/** Writes a new file, and then puts it in the old one's place: links to it stay, and so do its permissions. */
export const replaceFile = async (path: string, write: (handle: Fs.FileHandle) => Promise<void>): Promise<void> => {
  const target = await realPath(path)
  const temporary = `${target}.${process.pid}.tmp`
  const stats = await Fs.stat(target).catch(() => undefined)
  // A privileged rename would replace a device with a file.
  if (stats !== undefined && !stats.isFile()) throw new Error(`${target} is no file`)
  const mode = stats === undefined ? undefined : stats.mode & 0o7777
  const handle = await Fs.open(temporary, "w", mode)
  try {
    // `open` applies the process's mask to the mode.
    if (mode !== undefined) await handle.chmod(mode)
    await write(handle)
    await handle.sync()
    await handle.close()
    await Fs.rename(temporary, target)
  } catch (error) {
    await handle.close().catch(() => undefined)
    await Fs.rm(temporary, { force: true })
    throw error
  }
}

/** Results in an output that the journal does not have. */
export interface Unknown {
  /** Results of items of the input, or of items that the journal has as dead letters where the output has an answer. */
  readonly lost: number
  /** Of the lost results: dead letters, and answers where the journal has a dead letter. */
  readonly lostFailed: number
  readonly outdated: number
  /** Results of no item. */
  readonly foreign: number
}

/** Results that are already in an output file. */
export interface Before {
  /** Whether an id is in it, among those that `keep` accepts. */
  readonly has: (id: string) => boolean
  /** Whether the output has an answer for an id. */
  readonly answered: (id: string) => boolean
  /** Marks an id as known to the journal, with how its item ended; the last call counts. */
  readonly know: (id: string, kind: "done" | "dead") => void
  /** Marks an id as one of the input. */
  readonly meet: (id: string) => void
  /** Results that the journal does not know. An answer is unknown where the journal has a dead letter. */
  readonly unknown: () => Unknown
  /** Whether an id is in it with a result that the journal does not know. */
  readonly isUnknown: (id: string) => boolean
  /** Bytes of the file when it was read, and of its complete lines. */
  readonly size: number
  readonly whole: number
  /** Lines of dead letters. */
  readonly failed: number
}

const isDone = 1
const isMet = 2
const isDead = 4
const isFailed = 8

const isKnown = (flags: number): boolean =>
  (flags & isDone) !== 0 || ((flags & isDead) !== 0 && (flags & isFailed) !== 0)

const readBlock = 1 << 20

/** Reports complete lines, and returns their size in bytes. */
const scanFile = async (
  path: string,
  onLine: (text: string, line: number) => void,
  afterBlock: () => Promise<void>
): Promise<{ readonly size: number; readonly whole: number }> => {
  const handle = await Fs.open(path, "r")
  try {
    const buffer = Buffer.allocUnsafe(readBlock)
    const splitter = new LineSplitter(onLine, Number.POSITIVE_INFINITY)
    let [size, whole] = [0, 0]
    while (true) {
      const { bytesRead } = await handle.read(buffer, 0, readBlock, size)
      if (bytesRead === 0) return { size, whole }
      const block = buffer.subarray(0, bytesRead)
      const last = block.lastIndexOf(10)
      if (last >= 0) whole = size + last + 1
      size += bytesRead
      splitter.feed(block)
      await afterBlock()
    }
  } finally {
    await handle.close()
  }
}

/**
 * Reads the results in a file; `withoutFailed` drops dead letters. A torn last line does not count. Fails with
 * `CliFailure` when it contains lines that are not results of this format.
 */
export const readBefore = (
  path: string,
  { read }: Pick<OutputFormat<never>, "read">,
  withoutFailed: boolean
): Effect.Effect<Before, CliFailure> =>
  Effect.tryPromise({
    try: async (): Promise<Before> => {
      const ids = new IdIndex()
      const marks = new NumberColumn("uint8")
      let failed = 0
      const mark = (id: string, flag: number, without = 0): void => {
        const number = ids.find(id)
        if (number !== undefined) marks.set(number, (marks.get(number) & ~without) | flag)
      }
      const { size, whole } = await scanFile(
        path,
        (text, line) => {
          const written = read(text)
          if (written === undefined || written.id.length > maxIdLength) {
            throw new CliFailure({ message: `${path}: line ${line} is not a result in the format of this run` })
          }
          if (written.failed) failed++
          if (written.failed && withoutFailed) return
          marks.set(ids.add(written.id), written.failed ? isFailed : 0)
        },
        async () => {}
      )
      return {
        has: (id) => ids.find(id) !== undefined,
        answered: (id) => {
          const number = ids.find(id)
          return number !== undefined && (marks.get(number) & isFailed) === 0
        },
        know: (id, kind) => (kind === "done" ? mark(id, isDone, isDead) : mark(id, isDead, isDone)),
        meet: (id) => mark(id, isMet),
        unknown: () => {
          let [lost, lostFailed, outdated, foreign] = [0, 0, 0, 0]
          for (let number = 0; number < ids.size; number++) {
            const flags = marks.get(number)
            if (isKnown(flags)) continue
            if ((flags & (isMet | isDead)) === 0) {
              foreign++
              continue
            }
            lost++
            if ((flags & isFailed) !== 0) lostFailed++
            if ((flags & isDead) !== 0) outdated++
          }
          return { lost, lostFailed, outdated, foreign }
        },
        isUnknown: (id) => {
          const number = ids.find(id)
          return number !== undefined && !isKnown(marks.get(number))
        },
        size,
        whole,
        failed
      }
    },
    catch: (error) =>
      error instanceof CliFailure ? error : new CliFailure({ message: `${path}: cannot be read: ${detailOf(error)}` })
  })

/** Writes a file again without its dead letters. */
const dropFailed = (path: string, read: OutputFormat<never>["read"]): Promise<void> =>
  replaceFile(path, async (handle) => {
    let kept: Array<string> = []
    const flush = async (): Promise<void> => {
      const block = kept.join("")
      kept = []
      await handle.appendFile(block)
    }
    await scanFile(
      path,
      (text) => {
        if (read(text)?.failed === false) kept.push(`${text}\n`)
      },
      flush
    )
    await flush()
  })

/** Treatment of the existing content. */
export type OutputBeginning = "keep" | "anew" | "withoutFailed"

/** Opens a file to extend: at the end of its last complete line, or at its beginning. */
export const file = (
  path: string,
  before: Before | undefined,
  beginning: OutputBeginning,
  read: OutputFormat<never>["read"]
): Effect.Effect<Output, RunFailure | CliFailure, Scope.Scope> =>
  Effect.gen(function* () {
    const attempt = <A>(run: () => Promise<A>) => Effect.tryPromise({ try: run, catch: failure(path) })
    const stats = yield* attempt(() => Fs.stat(path).catch(() => undefined))
    if ((stats?.size ?? 0) !== (before?.size ?? 0) && beginning !== "anew") {
      return yield* new CliFailure({ message: `${path}: was changed while it was read; run again` })
    }
    if (beginning === "withoutFailed") yield* attempt(() => dropFailed(path, read))
    const handle = yield* Effect.acquireRelease(
      attempt(() => Fs.open(path, Fs.constants.O_RDWR | Fs.constants.O_CREAT)),
      (handle) => Effect.promise(() => handle.close().catch(() => undefined))
    )
    let position = yield* attempt(async () => {
      if (beginning === "withoutFailed") return (await handle.stat()).size
      const keep = beginning === "keep" ? (before?.whole ?? 0) : 0
      await handle.truncate(keep)
      return keep
    })
    const put = (block: string): Effect.Effect<void, RunFailure> =>
      attempt(async () => {
        const bytes = Buffer.from(block)
        try {
          for (let from = 0; from < bytes.length; ) {
            const { bytesWritten } = await handle.write(bytes, from, bytes.length - from, position + from)
            from += bytesWritten
          }
        } catch (error) {
          // Half a block may have found room.
          await handle.truncate(position).catch(() => undefined)
          throw error
        }
        position += bytes.length
      })
    return yield* collected(put)
  })
