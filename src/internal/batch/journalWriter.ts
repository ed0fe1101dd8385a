/**
 * Writes sends and results of items to the journal, in order and many at once.
 *
 * The order bounds the loss in a crash: an item takes the place of another only after that one has ended, and is sent
 * only when everything noted before is written. A killed process thus loses no more answers than there are places.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { Appended, Entry, JournalError, Json, OpenJournal } from "../../BatchJournal.ts"
import * as Groups from "./grouped.ts"

/** An item to send, for the first time (`entry`) or again. */
export interface ItemBeginning {
  readonly _tag: "beginning"
  readonly entry: Entry | undefined
  /** Sends it. */
  readonly go: () => void
  /** Returns its place, when it must no longer be sent. */
  readonly letGo: Effect.Effect<void>
}

/** The end of an item. */
export interface ItemEnd {
  readonly as: "done" | "dead"
  /** The record to store. */
  readonly record: () => Effect.Effect<Json, JournalError>
  /** Delivers its result, and throws exceptions of the application's functions. */
  readonly hand: () => void
  /** A replacement for an end that cannot be stored: one value must not stop the job. */
  readonly instead: ((cause: Cause.Cause<JournalError>) => ItemEnd) | undefined
}

/** An item that has ended. */
export interface ItemEnding {
  readonly _tag: "ending"
  readonly id: string
  readonly end: ItemEnd
}

export type Note = ItemBeginning | ItemEnding

/** Takes notes in order, until it is closed. */
export type JournalWriter = Groups.Groups<Note>

/** Result of writing nothing. */
const nothing: Exit.Exit<Appended, JournalError> = Exit.succeed({ durable: Effect.void })

/** Entries that were written together. */
interface Written {
  readonly ended: ReadonlyArray<ItemEnd>
  readonly durable: Appended["durable"]
}

/**
 * Starts the writer in the scope, which closes it: then all ends are delivered, or cannot be. `fail` receives failures
 * to write or deliver; while `isStopped` nothing begins.
 */
export const start = Effect.fnUntraced(function* (
  journal: OpenJournal,
  isStopped: () => boolean,
  fail: (cause: Cause.Cause<JournalError>) => void
): Effect.fn.Return<JournalWriter, never, Scope.Scope> {
  const handOut = Effect.fnUntraced(function* ({ durable, ended }: Written) {
    const exit = yield* Effect.exit(durable)
    if (Exit.isFailure(exit)) return fail(exit.cause)
    for (const { hand } of ended) {
      try {
        hand()
      } catch (defect) {
        fail(Cause.die(defect))
      }
    }
  })

  const written = yield* Groups.start<Written>((groups) => Effect.forEach(groups, handOut, { discard: true }), fail)

  const write = Effect.fnUntraced(function* (notes: ReadonlyArray<Note>) {
    const entries: Array<Entry> = []
    const begun: Array<ItemBeginning> = []
    const ended: Array<ItemEnd> = []
    for (const note of notes) {
      if (note._tag === "beginning") {
        if (isStopped()) {
          yield* note.letGo
          continue
        }
        begun.push(note)
        if (note.entry !== undefined) entries.push(note.entry)
        continue
      }
      let { end } = note
      let record = yield* Effect.exit(Effect.suspend(end.record))
      while (Exit.isFailure(record) && end.instead !== undefined) {
        end = end.instead(record.cause)
        record = yield* Effect.exit(Effect.suspend(end.record))
      }
      if (Exit.isFailure(record)) {
        fail(record.cause)
        continue
      }
      ended.push(end)
      entries.push({ _tag: end.as, id: note.id, record: record.value })
    }
    // A run with nothing to write leaves the journal unchanged, including its time.
    const appended = entries.length === 0 ? nothing : yield* Effect.exit(journal.append(entries))
    if (Exit.isFailure(appended)) fail(appended.cause)
    else if (ended.length > 0) written.offer({ ended, durable: appended.value.durable })
    for (const { go, letGo } of begun) {
      if (Exit.isFailure(appended) || isStopped()) yield* letGo
      else go()
    }
  })

  const notes = yield* Groups.start(write, fail)
  return { offer: notes.offer, close: Effect.andThen(notes.close, written.close) }
})
