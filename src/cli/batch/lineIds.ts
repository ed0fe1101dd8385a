/**
 * Items that are called by their lines. A line says nothing of what stands in it: over another input it would give an item the answer of another one, and
 * the item itself would never be sent.
 */
import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import { IdIndex, NumberColumn } from "../../internal/idIndex.ts"
import * as Segments from "../../journal/segments.ts"
import { CliFailure } from "../failure.ts"
import { type Entry, isLineId, type Reader } from "./entry.ts"
import type { RunFailure } from "./failure.ts"
import * as Input from "./input.ts"
import type { Before } from "./output.ts"
import type { Source } from "./source.ts"

const isDead = 1
const isOther = 2

/** What a journal has under names of lines, and the input that it belongs to. `undefined` when it cannot be read: opening it says why. */
const remembered = async (folder: string, hash: string) => {
  const current = await Segments.current(folder)
  if (current.fingerprint["input"] === hash) return undefined
  const ids = new IdIndex()
  const marks = new NumberColumn("uint8")
  for (const { segment } of current.live) {
    await Segments.scan(folder, segment, ({ _tag, id }) => {
      if (isLineId(id)) marks.set(ids.add(id), _tag === "dead" ? isDead : isOther)
    })
  }
  return (id: string): number => {
    const number = ids.find(id)
    return number === undefined ? 0 : marks.get(number)
  }
}

/** What is checked. */
export interface Given {
  readonly source: Source
  readonly reader: Reader<unknown>
  /** Of the input. */
  readonly hash: string
  readonly journal: string
  readonly output: string
  readonly before: Before | undefined
}

/**
 * Fails with `CliFailure` when the journal, or the output, has results under the names of lines of this input and is not known to belong to it. A malformed line may
 * keep the dead letter of a line: neither was sent.
 */
export const check = Effect.fnUntraced(function* ({
  before,
  hash,
  journal,
  output,
  reader,
  source
}: Given): Effect.fn.Return<void, CliFailure | RunFailure> {
  const marksOf = yield* Effect.promise(() => remembered(journal, hash).catch(() => undefined))
  if (marksOf === undefined) return
  let [conflicts, first] = [0, 0]
  yield* Input.each(source, reader.entries, (entry) => {
    if (!isLineId(entry.id)) return
    const marks = marksOf(entry.id)
    const taken =
      entry._tag === "Item"
        ? marks > 0 || before?.has(entry.id) === true
        : marks === isOther || before?.answered(entry.id) === true
    if (!taken) return
    if (conflicts++ === 0) first = entry.line
  })
  if (conflicts === 0) return
  return yield* new CliFailure({
    message:
      `${source.name}: is not the input that the journal ${journal} belongs to, and ${conflicts} items are called by their lines (the first is line-${first}), under which ` +
      `${output} has results of other items: expected an id of its own for each item, or a new output and journal`
  })
})

const digest = (entry: Entry<unknown>): string =>
  createHash("sha256")
    .update(entry._tag === "Item" ? JSON.stringify(entry.input) : entry.problem)
    .digest("hex")
    .slice(0, 16)

/**
 * The entry under a name that its content is a part of, when it is called by its line: for inputs that are read once, of which a journal does not know whether they are
 * the same.
 */
export const byContent = <A>(entry: Entry<A>): Entry<A> =>
  entry.unnamed === true ? { ...entry, id: `${entry.id}-${digest(entry)}` } : entry
