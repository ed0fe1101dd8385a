/**
 * The memory of a batch: the interface of journals, and a journal in memory.
 *
 * A batch writes an entry `sent` before it sends an item, and one entry `done` or `dead` when the item has ended; it
 * reports a result only after that entry is durable. The next run that opens the journal receives every entry, in
 * order, and resumes from there. `effect-ai-gateway/journal` keeps a journal in files; for other stores implement
 * {@link Journal}.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"

/**
 * A JSON value.
 *
 * @category models
 */
export type Json = Schema.Json

/**
 * A journal is unusable, or has become so.
 *
 * `locked`: another process has it open. `otherJob`: it belongs to another input or route. `damaged`: an entry in its
 * middle cannot be read. `newer`: a later version wrote it. `failed`: the store failed, for example because a disk is
 * full; everything reported before is safe. `encoding`: a value does not match its schema, or is not JSON.
 *
 * @category errors
 */
export class JournalError extends Data.TaggedError("JournalError")<{
  readonly reason: "locked" | "otherJob" | "damaged" | "newer" | "failed" | "encoding"
  /** Path of a journal in files. */
  readonly path?: string
  /** The problem, and a remedy. Contains no value of an item. */
  readonly detail: string
  readonly cause?: unknown
}> {
  override get message(): string {
    return `journal${this.path === undefined ? "" : ` ${this.path}`}: ${this.detail}`
  }
}

/**
 * Identity of the job that a journal belongs to: named texts, for example `route` and the hash of an input file. Two
 * jobs are the same when all names that both have are equal.
 *
 * @category models
 */
export type Fingerprint = Readonly<Record<string, string>>

/**
 * An entry. Records are the batch's own representation of a result.
 *
 * @category models
 */
export type Entry =
  | { readonly _tag: "sent"; readonly id: string; readonly eventId: string }
  | { readonly _tag: "done"; readonly id: string; readonly record: Json }
  | { readonly _tag: "dead"; readonly id: string; readonly record: Json }

/**
 * An entry of an earlier run, without its record.
 *
 * @category models
 */
export interface Known {
  readonly _tag: Entry["_tag"]
  readonly id: string
  /** Event id of a `sent` entry. */
  readonly eventId?: string
  /** Position for {@link OpenJournal.read}: a whole number. */
  readonly location: number
}

/**
 * Entries that were handed over: a crash of this process no longer loses them.
 *
 * @category models
 */
export interface Appended {
  /** Completes when a crash of the machine no longer loses them either. */
  readonly durable: Effect.Effect<void, JournalError>
}

/**
 * A part of the journal that was unreadable and was skipped.
 *
 * @category models
 */
export interface Damage {
  readonly where: string
  /**
   * `torn`: the end of the last write before a process was killed. `corrupt`: readable entries follow, so the cause is
   * a different one.
   */
  readonly kind: "torn" | "corrupt"
  readonly bytes: number
}

/**
 * Options for opening a journal.
 *
 * @category models
 */
export interface OpenOptions {
  readonly fingerprint: Fingerprint
  /** Whether to continue although the fingerprint differs or entries are damaged. */
  readonly force: boolean
  /** Receives every entry of earlier runs, in order, before `open` completes. */
  readonly onEntry: (entry: Known) => void
}

/**
 * An open journal.
 *
 * @category models
 */
export interface OpenJournal {
  readonly damage: ReadonlyArray<Damage>
  /**
   * When an earlier run last wrote to it, in milliseconds since the epoch: requests that were sent shortly before still
   * count against limits.
   */
  readonly lastWritten?: number | undefined
  /**
   * Marks the journal as written to at a time in milliseconds since the epoch, because repeated requests write nothing
   * else.
   */
  readonly touch?: ((now: number) => void) | undefined
  /**
   * Writes entries, in order; entries that arrive during a write are written together. Several fibers call it at once.
   * When it fails, some of them may have been written, and every later call fails.
   */
  readonly append: (entries: ReadonlyArray<Entry>) => Effect.Effect<Appended, JournalError>
  /** The record of a `done` or `dead` entry. */
  readonly read: (location: number) => Effect.Effect<Json, JournalError>
}

/**
 * A journal. Its scope closes it: appended entries are then durable. Only one may be open at a time.
 *
 * @category models
 */
export interface Journal {
  /** Opens the journal in the current scope; completes after `onEntry` has received all earlier entries. */
  readonly open: (options: OpenOptions) => Effect.Effect<OpenJournal, JournalError, Scope.Scope>
}

/**
 * The names under which two fingerprints differ.
 *
 * @category checks
 */
export const differences = (mine: Fingerprint, its: Fingerprint): ReadonlyArray<string> =>
  Object.keys(mine).filter((name) => its[name] !== undefined && its[name] !== mine[name])

/**
 * The failure of a journal that belongs to another job. For implementations of {@link Journal}.
 *
 * @category checks
 */
export const otherJob = (names: ReadonlyArray<string>, path?: string): JournalError =>
  new JournalError({
    reason: "otherJob",
    detail: `belongs to another job (${names.join(", ")} differ); use another journal, or force it`,
    ...(path !== undefined && { path })
  })

/**
 * A journal in memory, for tests and for finding duplicates.
 *
 * @category models
 */
export interface MemoryJournal extends Journal {
  /** All entries so far. */
  readonly entries: ReadonlyArray<Entry>
}

/**
 * Makes a journal in memory. It outlives the batch that used it: a second batch over the same value resumes from there.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as BatchJournal from "effect-ai-gateway/BatchJournal"
 *
 * const journal = Effect.runSync(BatchJournal.memory)
 * console.log(journal.entries.length) // 0
 * ```
 *
 * @category constructors
 */
export const memory: Effect.Effect<MemoryJournal> = Effect.sync(() => {
  const entries: Array<Entry> = []
  let fingerprint: Fingerprint = {}
  let isOpen = false
  const open: Journal["open"] = Effect.fnUntraced(function* (options) {
    if (isOpen) return yield* new JournalError({ reason: "locked", detail: "is open already" })
    const different = differences(options.fingerprint, fingerprint)
    if (different.length > 0 && !options.force) return yield* otherJob(different)
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        isOpen = true
        fingerprint = { ...fingerprint, ...options.fingerprint }
      }),
      () =>
        Effect.sync(() => {
          isOpen = false
        })
    )
    for (const [location, entry] of entries.entries()) {
      options.onEntry({
        _tag: entry._tag,
        id: entry.id,
        location,
        ...(entry._tag === "sent" && { eventId: entry.eventId })
      })
    }
    const opened: OpenJournal = {
      damage: [],
      append: (more) =>
        Effect.sync(() => {
          for (const entry of more) entries.push(entry)
          return { durable: Effect.void }
        }),
      read: (location) =>
        Effect.suspend(() => {
          const entry = entries[location]
          return entry === undefined || entry._tag === "sent"
            ? Effect.fail(new JournalError({ reason: "failed", detail: `has no record at ${location}` }))
            : Effect.succeed(entry.record)
        })
    }
    return opened
  })
  return { entries, open }
})
