/**
 * Items that are named after their lines. A line number does not depend on the content: over another input, an item
 * would get the answer of another item and would never be sent itself.
 */
import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import { IdIndex, NumberColumn } from "../../internal/data/idIndex.ts"
import * as Segments from "../../journal/segments.ts"
import { type EntryReader, type InputEntry, isLineId } from "../input/entry.ts"
import * as Input from "../input/input.ts"
import type { Source } from "../input/source.ts"
import type { Before } from "../output/output.ts"
import { CliFailure } from "../shared/failure.ts"
import type { RunFailure } from "../shared/runFailure.ts"

const isDead = 1
const isOther = 2

/** The results that a journal holds under names of lines. */
interface Remembered {
  readonly marksOf: (id: string) => number
  /** The name of a journal file that is damaged where it named its input, when no other file names it. */
  readonly headless: string | undefined
}

/**
 * Entries of a journal whose items are named after lines. `undefined` when the journal belongs to this input; fails
 * when it cannot be read, and opening it then reports why.
 */
const remembered = async (folder: string, hash: string): Promise<Remembered | undefined> => {
  const current = await Segments.current(folder)
  const input = current.fingerprint["input"]
  if (input === hash) return undefined
  const headless = input === undefined ? current.live.find(({ header }) => header === undefined) : undefined
  const ids = new IdIndex()
  const marks = new NumberColumn("uint8")
  for (const { segment } of current.live) {
    await Segments.scan(folder, segment, ({ _tag, id }) => {
      if (isLineId(id)) marks.set(ids.add(id), _tag === "dead" ? isDead : isOther)
    })
  }
  const marksOf = (id: string): number => {
    const number = ids.find(id)
    return number === undefined ? 0 : marks.get(number)
  }
  return { marksOf, headless: headless === undefined ? undefined : Segments.nameOf(headless.segment) }
}

/** Input of {@link check}. */
export interface Given {
  readonly source: Source
  readonly reader: EntryReader<unknown>
  /** SHA-256 of the input, in hex. */
  readonly hash: string
  readonly journal: string
  readonly output: string
  readonly before: Before | undefined
  /**
   * Whether to use a journal that is damaged where it named its input. One that is known to belong to another input
   * stays rejected.
   */
  readonly force: boolean
}

/**
 * Fails with `CliFailure` when the journal or the output has results under names of lines of this input, but is not
 * known to belong to it. A malformed line may keep a dead letter of the same name: neither was sent.
 */
export const check = Effect.fnUntraced(function* ({
  before,
  force,
  hash,
  journal,
  output,
  reader,
  source
}: Given): Effect.fn.Return<void, CliFailure | RunFailure> {
  const found = yield* Effect.promise(() => remembered(journal, hash).catch(() => undefined))
  if (found === undefined || (found.headless !== undefined && force)) return
  const { headless, marksOf } = found
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
  if (headless !== undefined) {
    return yield* new CliFailure({
      message:
        `${source.name}: ${headless} in the journal ${journal} is damaged at its beginning, where it named its input, and ${conflicts === 1 ? "1 item has" : `${conflicts} items have`} a line number as id ` +
        `(the first is line-${first}): expected --force if the input has not changed since, or else a new output and journal`
    })
  }
  return yield* new CliFailure({
    message:
      `${source.name}: the journal ${journal} belongs to another input, and ${conflicts === 1 ? "1 item" : `${conflicts} items`} would get results of other items from ${output}, because ` +
      `line numbers serve as ids (the first is line-${first}): expected an id of its own for each item, or a new output and journal`
  })
})

const digest = (entry: InputEntry<unknown>): string =>
  createHash("sha256")
    .update(entry._tag === "Item" ? JSON.stringify(entry.input) : entry.problem)
    .digest("hex")
    .slice(0, 16)

/**
 * Adds a digest of its content to the name of an entry without an id: for inputs that are read once, which a journal
 * cannot tell apart.
 */
export const byContent = <A>(entry: InputEntry<A>): InputEntry<A> =>
  entry.unnamed === true ? { ...entry, id: `${entry.id}-${digest(entry)}` } : entry
