/**
 * A batch journal in a folder of files, for Node.
 *
 * Lines of JSON with checksums, appended and never changed. A result counts as durable when `fdatasync` has returned
 * for its line, and is reported only then: no reported result can be lost. Many results share one sync. Every run
 * begins its own file, so a half-written line of a killed run stays where it is, is reported, and does no harm. A
 * second process is rejected.
 *
 * It uses `node:fs` and not Effect's `FileSystem` service, which has no `fdatasync`, no sync of a folder and no way to
 * ask whether a process is alive.
 */
import * as Fs from "node:fs/promises"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import {
  type Damage,
  differences,
  type Entry,
  type Journal,
  JournalError,
  type Known,
  type OpenJournal,
  otherJob
} from "../BatchJournal.ts"
import { IdIndex, NumberColumn } from "../internal/data/idIndex.ts"
import { counted } from "../internal/data/numbers.ts"
import * as Line from "./line.ts"
import * as Lock from "./lock.ts"
import * as Segments from "./segments.ts"
import { syncFolder, Writer, writeAll } from "./writer.ts"

/**
 * Options of a journal in files.
 *
 * @category models
 */
export interface Options {
  /** The folder; it is created when it does not exist. */
  readonly path: string
  /** Size in bytes from which a new file begins: 1 kB to 16 GB. Default 64 MB. */
  readonly segmentBytes?: number | undefined
  /**
   * Whether to use the journal although a process that may be alive holds it, for example one on a machine that is
   * gone. Default `false`.
   */
  readonly breakLock?: boolean | undefined
}

const newline = Buffer.from("\n")

const codeOf = (error: unknown): string | undefined =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined

const details: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full; what was reported is safe, free some space and run again",
  EFBIG: "the file may not grow further (a limit of the file system, or ulimit); what was reported is safe",
  EACCES: "no permission",
  EPERM: "no permission",
  EROFS: "the file system is read-only",
  ENOTDIR: "expected the path of a folder",
  EEXIST: "expected the path of a folder that no other process writes to"
}

const failure =
  (path: string) =>
  (error: unknown): JournalError => {
    if (error instanceof JournalError) return error
    const code = codeOf(error)
    return new JournalError({
      reason: "failed",
      path,
      detail: (code === undefined ? undefined : details[code]) ?? `failed${code === undefined ? "" : ` (${code})`}`,
      cause: error
    })
  }

const attempt = <A>(path: string, run: () => Promise<A>): Effect.Effect<A, JournalError> =>
  Effect.tryPromise({ try: run, catch: failure(path) })

const isRelease = (lock: Lock.Release | Lock.Owner): lock is Lock.Release => typeof lock === "function"

const lockName = Effect.map(
  Effect.all([Random.nextInt, Random.nextInt]),
  (parts) => `${process.pid}-${process.hrtime.bigint()}-${parts.map((part) => (part >>> 0).toString(36)).join("")}`
)

/** Holds the lock while the scope is open. */
const lock = ({ breakLock = false, path }: Options): Effect.Effect<void, JournalError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.gen(function* () {
      yield* attempt(path, () => Fs.mkdir(path, { recursive: true }))
      const unique = yield* lockName
      const taken = yield* attempt(path, () => Lock.acquire(path, unique, breakLock))
      if (isRelease(taken)) return taken
      return yield* new JournalError({
        reason: "locked",
        path,
        detail: `is in use by process ${taken.pid} on ${taken.host}; if that machine is gone, use the option breakLock`
      })
    }),
    (release) => Effect.promise(() => release().catch(() => undefined))
  ).pipe(Effect.asVoid)

const checked = (options: Options): Effect.Effect<number, JournalError> => {
  const { path, segmentBytes = 64 * 1024 * 1024 } = options
  const problem =
    typeof path !== "string" || path === ""
      ? "path: expected the path of a folder"
      : !(segmentBytes >= 1_000 && segmentBytes <= 16e9)
        ? "segmentBytes: expected 1000 to 16000000000"
        : undefined
  return problem === undefined
    ? Effect.succeed(segmentBytes)
    : Effect.fail(new JournalError({ reason: "failed", path: String(path), detail: problem }))
}

const corrupt = (path: string, { bytes, where }: Damage): JournalError =>
  new JournalError({
    reason: "damaged",
    path,
    detail: `${counted(bytes, "byte")} in ${where} cannot be read although readable entries follow; force it to do those items again`
  })

/**
 * Makes a journal in a folder. Nothing happens before it is opened; opening fails with `JournalError`, whose `reason`
 * states why.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 * import * as Batch from "effect-ai-gateway/Batch"
 * import * as Chat from "effect-ai-gateway/Chat"
 * import * as FileJournal from "effect-ai-gateway/journal"
 * import * as Provider from "effect-ai-gateway/Provider"
 *
 * export const results = Batch.run(["What is a fiber?", "What is a layer?"], {
 *   route: Provider.openai.chat("gpt-4.1-mini"),
 *   id: (question) => question,
 *   input: (question) => question,
 *   journal: { store: FileJournal.make({ path: "answers.journal" }), value: Batch.withoutRaw(Chat.ReplySchema) }
 * }).pipe(Stream.runForEach((result) => Effect.log(result.id, result._tag)))
 * ```
 *
 * @category constructors
 */
export const make = (options: Options): Journal => ({
  open: Effect.fn("FileJournal.open")(function* ({ fingerprint, force, onEntry }) {
    const segmentBytes = yield* checked(options)
    const { path } = options
    yield* lock(options)
    const current = yield* attempt(path, () => Segments.current(path))
    const { accepted, live, replaced } = current
    // Files that a killed compaction was about to remove.
    yield* attempt(path, () => removeAll(path, replaced))
    const last = live.at(-1)?.segment ?? replaced.at(-1) ?? 0
    let forced = false
    // Headers identify the job before its entries are read.
    for (const { header, segment } of live) {
      const different = header === undefined || segment <= accepted ? [] : differences(fingerprint, header.fingerprint)
      if (different.length > 0 && !force) return yield* otherJob(different, path)
      forced ||= different.length > 0
    }
    const lastWritten = live.length === 0 ? undefined : yield* attempt(path, () => Segments.lastWritten(path, live))
    const damage: Array<Damage> = []
    for (const { segment } of live) {
      const scanned = yield* attempt(path, () => Segments.scan(path, segment, onEntry))
      damage.push(...scanned.damage)
      const broken = segment <= accepted ? undefined : scanned.damage.find(({ kind }) => kind === "corrupt")
      if (broken !== undefined && !force) return yield* corrupt(path, broken)
      forced ||= broken !== undefined
    }
    const header: Line.Header = {
      version: Segments.version,
      fingerprint: { ...current.fingerprint, ...fingerprint },
      ...(forced && { accepts: last })
    }
    const writer = yield* Effect.acquireRelease(
      Effect.sync(() => new Writer(path, last, header, segmentBytes)),
      (writer) => Effect.promise(() => writer.close().catch(() => undefined))
    )
    // One forced opening suffices, even when nothing remains to be done.
    if (forced) yield* attempt(path, () => writer.begin())
    const reader = yield* Effect.acquireRelease(
      Effect.sync(() => new Segments.LineReader(path)),
      (reader) => Effect.promise(() => reader.close())
    )
    const opened: OpenJournal = {
      damage,
      lastWritten,
      touch: (now) => writer.touch(now),
      append: (entries) =>
        Effect.callback((resume) => {
          const fail = (error: unknown) => resume(Effect.fail(failure(path)(error)))
          const lines = encode(path, entries)
          if (lines instanceof JournalError) return resume(Effect.fail(lines))
          writer.append(
            lines,
            (position) =>
              resume(
                Effect.succeed({
                  durable: Effect.callback<void, JournalError>((resume) =>
                    writer.sync(
                      position,
                      () => resume(Effect.void),
                      (error) => resume(Effect.fail(failure(path)(error)))
                    )
                  )
                })
              ),
            fail
          )
        }),
      read: (location) =>
        Effect.flatMap(
          attempt(path, () => reader.read(location)),
          (record) =>
            record === undefined
              ? Effect.fail(new JournalError({ reason: "damaged", path, detail: "an entry can no longer be read" }))
              : Effect.succeed(record)
        )
    }
    return opened
  })
})

const encode = (path: string, entries: ReadonlyArray<Entry>): Buffer | JournalError => {
  try {
    return Line.encode(entries)
  } catch (cause) {
    return new JournalError({ reason: "encoding", path, detail: "a value is not JSON", cause })
  }
}

const removeAll = async (path: string, segments: ReadonlyArray<number>): Promise<void> => {
  for (const segment of segments) await Fs.rm(join(path, Segments.nameOf(segment)), { force: true })
}

/**
 * Result of {@link compact}.
 *
 * @category models
 */
export interface Compacted {
  readonly bytesBefore: number
  readonly bytesAfter: number
  /** Entries that were omitted: `sent` entries of items that have ended, and results that a later run replaced. */
  readonly dropped: number
}

/**
 * Rewrites a journal into one file without obsolete entries. Safe to kill at any moment: the old files are removed only
 * when the new one is durable. Rejects a journal that is in use, and one that is damaged in its middle and was never
 * forced.
 *
 * @category maintenance
 */
export const compact = (options: Options): Effect.Effect<Compacted, JournalError> =>
  Effect.gen(function* () {
    yield* checked(options)
    const { path } = options
    yield* lock(options)
    const { accepted, fingerprint, live, replaced } = yield* attempt(path, () => Segments.current(path))
    yield* attempt(path, () => removeAll(path, replaced))
    const last = live.at(-1)?.segment
    if (last === undefined) return { bytesBefore: 0, bytesAfter: 0, dropped: 0 }
    const index = new IdIndex()
    /** The location of the entry to keep, and whether the item has ended, by number of the id. */
    const keep = new NumberColumn("float64")
    const ended = new NumberColumn("uint8")
    let [entries, bytesBefore] = [0, 0]
    for (const { segment } of live) {
      const scanned = yield* attempt(path, () =>
        Segments.scan(path, segment, ({ _tag, id, location }) => {
          entries++
          const number = index.add(id)
          if (_tag === "sent" && ended.get(number) === 1) return
          keep.set(number, location)
          if (_tag !== "sent") ended.set(number, 1)
        })
      )
      const broken = segment <= accepted ? undefined : scanned.damage.find(({ kind }) => kind === "corrupt")
      if (broken !== undefined) return yield* corrupt(path, broken)
      bytesBefore += scanned.bytes
    }
    const write = async (): Promise<number> => {
      // Written to a temporary name, then renamed: the new file is complete or absent.
      const temporary = join(path, "compact.tmp")
      await Fs.rm(temporary, { force: true })
      const handle = await Fs.open(temporary, "wx")
      let bytesAfter = 0
      try {
        let batch: Array<Buffer> = []
        let size = 0
        const flush = async (): Promise<void> => {
          await writeAll(handle, Buffer.concat(batch))
          bytesAfter += size
          batch = []
          size = 0
        }
        const push = (bytes: Buffer): void => {
          batch.push(bytes)
          size += bytes.length
        }
        const header = Line.encodeHeader({ version: Segments.version, fingerprint, replaces: last })
        push(header)
        for (const { segment } of live) {
          const onEntry = ({ id, location }: Known, bytes: Buffer): void => {
            const number = index.find(id)
            if (number !== undefined && keep.get(number) === location) push(Buffer.concat([bytes, newline]))
          }
          await Segments.scan(path, segment, onEntry, flush)
          await flush()
        }
        push(header)
        await flush()
        await handle.datasync()
      } finally {
        await handle.close()
      }
      await Fs.rename(temporary, join(path, Segments.nameOf(last + 1)))
      await syncFolder(path)
      await removeAll(
        path,
        live.map(({ segment }) => segment)
      )
      return bytesAfter
    }
    const bytesAfter = yield* attempt(path, write)
    return { bytesBefore, bytesAfter, dropped: entries - index.size }
  }).pipe(Effect.scoped, Effect.withSpan("FileJournal.compact"))
