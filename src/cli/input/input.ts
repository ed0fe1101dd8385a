/**
 * Inputs of a batch: which format they have, their entries as a stream, and the first pass over a file, which finds what would make a run
 * fail later on.
 */
import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type * as Chat from "../../Chat.ts"
import { IdIndex, NumberColumn } from "../../internal/data/idIndex.ts"
import { isRecord, parseJson } from "../../internal/data/json.ts"
import { fromPuller } from "../../internal/hotpath/pullStream.ts"
import { CliFailure } from "../shared/failure.ts"
import { plain as plainText } from "../shared/format.ts"
import { detailOf, RunFailure } from "../shared/runFailure.ts"
import { csv } from "./csv.ts"
import {
  type EntryReader,
  type InputEntry,
  isLineId,
  type MakeParser,
  type Malformed,
  type Parser,
  plain
} from "./entry.ts"
import { LineSplitter, maxLineBytes } from "./lines.ts"
import * as OpenAi from "./openaiBatchFile.ts"
import * as Source from "./source.ts"

export type { EntryReader, InputEntry, InputItem, Malformed } from "./entry.ts"

/** How an input is written. */
export type InputFormat = "jsonl" | "csv" | "openai"

/** The readers of chat requests. */
export const readers: Readonly<Record<InputFormat, EntryReader<Chat.Request>>> = {
  jsonl: plain,
  csv,
  openai: OpenAi.chats
}

/** An input whose format is known. */
export interface OpenedInput {
  readonly source: Source.Source
  readonly format: InputFormat
}

const changed = (source: Source.Source): RunFailure =>
  new RunFailure({ message: `${source.name}: was changed while it was read; run again`, inputChanged: true })

const cannotRead = (source: Source.Source) => (error: unknown) =>
  error instanceof Source.FileChanged
    ? changed(source)
    : new RunFailure({ message: `${source.name}: cannot be read: ${detailOf(error)}` })

/** By the name, and else by the first line that is not empty. */
const detect = (path: string, head: string): InputFormat => {
  if (/\.csv$/i.test(path)) return "csv"
  const text = head.trimStart()
  const end = text.indexOf("\n")
  const object = parseJson((end < 0 ? text : text.slice(0, end)).trim())
  return isRecord(object) && OpenAi.looksLike(object) ? "openai" : "jsonl"
}

const notOfFormat = (source: Source.Source, reader: EntryReader<unknown>, first: Malformed | undefined): CliFailure =>
  new CliFailure({
    message: `${source.name}: expected ${reader.accepted}${first === undefined ? "" : `; line ${first.line}: ${plainText(first.problem)}`}`
  })

const refusedAs = (source: Source.Source, refused: string): CliFailure =>
  new CliFailure({ message: `${source.name}: ${plainText(refused)}` })

const empty = (source: Source.Source): CliFailure =>
  new CliFailure({ message: `${source.name}: is empty: expected at least one item` })

const textOf = (head: Buffer): string => head.toString().replace(/^\ufeff/, "")

/** So many malformed lines without a good one are not of a format. */
const enoughMalformed = 20

/** Whether the first line that says something has come to its end. Each byte is looked at once. */
class Begun {
  private from = 0
  private begun = false
  private ended = false

  hasLine(head: Buffer): boolean {
    if (this.ended) return true
    while (!this.begun && this.from < head.length) {
      const byte = head[this.from] ?? 0
      if (byte === 32 || (byte >= 9 && byte <= 13)) this.from++
      else this.begun = true
    }
    if (!this.begun) return false
    this.ended = head.indexOf(10, this.from) >= 0
    this.from = head.length
    return this.ended
  }
}

/** The first lines of what can be read only once. */
class Look {
  items = 0
  /** Before the first good one: how many more come with it depends on who writes. */
  malformed = 0
  first: Malformed | undefined
  private parser: Parser | undefined
  private readonly splitter = new LineSplitter((...line) => this.parser?.onLine(...line))
  private from = 0
  /** Everything before this index has been searched for line ends. */
  private seen = 0

  get refused(): string | undefined {
    return this.parser?.refused()
  }

  /** Takes in the whole lines of `head`, which begins with what it had before. Whether that is enough for a verdict. */
  take(formatOf: (head: Buffer) => InputFormat, head: Buffer, ended: boolean): boolean {
    this.parser ??= readers[formatOf(head)].ids((entry) => {
      if (entry._tag === "Item") {
        this.items++
        return
      }
      if (this.items === 0) this.malformed++
      this.first ??= entry
    })
    const last = head.subarray(this.seen).lastIndexOf(10)
    const to = ended ? head.length : last < 0 ? this.from : this.seen + last + 1
    this.seen = head.length
    if (to > this.from) {
      this.splitter.feed(head.subarray(this.from, to))
      this.from = to
    }
    if (ended) this.splitter.end()
    return this.items > 0 || this.malformed >= enoughMalformed || this.refused !== undefined
  }
}

/**
 * Opens a path, or `-` for standard input, and finds out its format. Fails with `CliFailure` when it cannot be read, is empty, or is
 * recognisably nothing of that format; of a file only {@link scan} knows.
 */
export const open = (
  path: string,
  asked: InputFormat | "auto"
): Effect.Effect<OpenedInput, CliFailure | RunFailure, Scope.Scope> =>
  Effect.gen(function* () {
    const opened = yield* Source.open(path)
    /** Looks at what has been read of standard input, until there is a good line. */
    const look = opened.isFile ? undefined : new Look()
    const begun = new Begun()
    const formatOf = (head: Buffer): InputFormat => (asked === "auto" ? detect(path, textOf(head)) : asked)
    // Up to the end of the first line that says something; of standard input, up to what its verdict takes.
    const { ended, head, source } = yield* Source.peeked(
      opened,
      (head) =>
        head.length > maxLineBytes || (begun.hasLine(head) && (look === undefined || look.take(formatOf, head, false)))
    )
    if (ended && textOf(head).trim() === "") return yield* empty(source)
    const format = formatOf(head)
    if (look !== undefined) {
      look.take(formatOf, head, ended)
      if (look.refused !== undefined) return yield* refusedAs(source, look.refused)
      if (look.malformed >= enoughMalformed || (ended && look.items === 0 && look.first !== undefined)) {
        return yield* notOfFormat(source, readers[format], look.first)
      }
    }
    return { source, format }
  })

/**
 * The entries of an input, in order. Fails with `CliFailure` when the input as a whole is not of its format, and with `RunFailure` when it can no longer be
 * read, or is a file that was changed meanwhile.
 */
export const entries = <A>(
  source: Source.Source,
  makeParser: MakeParser<A>
): Stream.Stream<InputEntry<A>, CliFailure | RunFailure> =>
  fromPuller(() => {
    const blocks = source.blocks()
    let out: Array<InputEntry<A>> = []
    let ended = false
    const parser = makeParser((entry) => void out.push(entry))
    const splitter = new LineSplitter(parser.onLine)
    const taken = (): Effect.Effect<ReadonlyArray<InputEntry<A>>, CliFailure> => {
      const refused = parser.refused()
      if (refused !== undefined) return Effect.fail(refusedAs(source, refused))
      const all = out
      out = []
      return Effect.succeed(all)
    }
    const next = Effect.flatMap(
      Effect.tryPromise({ try: blocks.next, catch: cannotRead(source) }),
      (block): Effect.Effect<ReadonlyArray<InputEntry<A>> | undefined, CliFailure | RunFailure> => {
        if (block !== undefined) {
          splitter.feed(block)
          return taken()
        }
        if (ended) return Effect.succeed(undefined)
        ended = true
        splitter.end()
        parser.end()
        return Effect.flatMap(
          source.unchanged,
          (same): Effect.Effect<ReadonlyArray<InputEntry<A>>, CliFailure | RunFailure> =>
            same ? taken() : Effect.fail(changed(source))
        )
      }
    )
    return { next, cancel: Effect.promise(blocks.close) }
  })

/** Calls a function with each entry of a file. Fails with `RunFailure` when the file cannot be read. */
export const each = <A>(
  source: Source.Source,
  makeParser: MakeParser<A>,
  onEntry: (entry: InputEntry<A>) => void
): Effect.Effect<void, RunFailure> =>
  Effect.tryPromise({
    try: async () => {
      const parser = makeParser(onEntry)
      const splitter = new LineSplitter(parser.onLine)
      const blocks = source.blocks()
      for (let block = await blocks.next(); block !== undefined; block = await blocks.next()) splitter.feed(block)
      splitter.end()
      parser.end()
    },
    catch: cannotRead(source)
  })

/** What the first pass over a file knows. */
export interface Scanned {
  /** Entries, malformed ones too. */
  readonly total: number
  /** Entries that are named after their line, or whose own id looks like such a name. */
  readonly byLine: number
  readonly malformed: number
  /** SHA-256 of the bytes, in hex. */
  readonly hash: string
  /** The file for later passes, which fail at bytes that are not those of this pass. */
  readonly source: Source.Source
}

const shown = 5

const more = (count: number): string => (count > shown ? `; and ${count - shown} more` : "")

/**
 * Reads a file for the ids in it, and keeps nothing; `onId` is told each. Fails with `CliFailure` for ids that occur twice (naming both lines), an empty
 * file, one that is not of its format, and with `strict` for malformed lines.
 */
export const scan = <A>(
  source: Source.Source,
  reader: EntryReader<A>,
  strict: boolean,
  onId: (id: string) => void = () => {}
): Effect.Effect<Scanned, CliFailure | RunFailure> =>
  Effect.gen(function* () {
    const hash = createHash("sha256")
    const blueprint = new Source.Blueprint()
    const ids = new IdIndex()
    const lineOf = new NumberColumn("uint32")
    const doubles: Array<string> = []
    const problems: Array<string> = []
    let [total, malformed, duplicates, byLine] = [0, 0, 0, 0]
    let first: Malformed | undefined
    const take = (entry: InputEntry<unknown>): void => {
      total++
      if (isLineId(entry.id)) byLine++
      onId(entry.id)
      const before = ids.size
      const number = ids.add(entry.id)
      if (number < before) {
        duplicates++
        if (doubles.length < shown) {
          doubles.push(`line ${entry.line} has the id of line ${lineOf.get(number)}`)
        }
      } else {
        lineOf.set(number, entry.line)
      }
      if (entry._tag === "Item") return
      malformed++
      first ??= entry
      if (problems.length < shown) problems.push(`line ${entry.line}: ${plainText(entry.problem)}`)
    }
    const parser = strict ? reader.entries(take) : reader.ids(take)
    const splitter = new LineSplitter(parser.onLine)
    const blocks = source.blocks()
    const next = Effect.tryPromise({ try: blocks.next, catch: cannotRead(source) })
    for (let block = yield* next; block !== undefined; block = yield* next) {
      hash.update(block)
      blueprint.add(block)
      splitter.feed(block)
      if (parser.refused() !== undefined) break
    }
    splitter.end()
    parser.end()
    const refused = parser.refused()
    if (refused !== undefined) return yield* refusedAs(source, refused)
    if (total === 0) return yield* empty(source)
    if (malformed === total) return yield* notOfFormat(source, reader, first)
    if (duplicates > 0) {
      const list = doubles.join("; ") + more(duplicates)
      return yield* new CliFailure({ message: `${source.name}: expected ids that occur once: ${list}` })
    }
    if (strict && malformed > 0) {
      const list = problems.join("; ") + more(malformed)
      return yield* new CliFailure({ message: `${source.name}: --strict: ${list}` })
    }
    return { total, malformed, byLine, hash: hash.digest("hex"), source: blueprint.pin(source) }
  })

/** The chat requests of a path, or of standard input (`-`), with malformed lines among them. */
export const chats = (
  path: string,
  format: InputFormat | "auto"
): Effect.Effect<
  Stream.Stream<InputEntry<Chat.Request>, CliFailure | RunFailure>,
  CliFailure | RunFailure,
  Scope.Scope
> => Effect.map(open(path, format), (opened) => entries(opened.source, readers[opened.format].entries))
