/**
 * Inputs of a batch: their format, their entries as a stream, and the first pass over a file, which finds problems that
 * would make a run fail later.
 */
import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type * as Chat from "../../Chat.ts"
import { IdIndex, NumberColumn } from "../../internal/data/idIndex.ts"
import { fromPuller } from "../../internal/hotpath/pullStream.ts"
import { CliFailure } from "../shared/failure.ts"
import { plain as plainText } from "../shared/format.ts"
import { detailOf, RunFailure } from "../shared/runFailure.ts"
import { csv } from "./csv.ts"
import { Detector, enoughMalformed, type InputFormat, unreadable } from "./detect.ts"
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

export type { InputFormat } from "./detect.ts"
export type { EntryReader, InputEntry, InputItem, Malformed } from "./entry.ts"

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

const changed = (source: Source.Source, grew: boolean): RunFailure =>
  new RunFailure({
    message: `${source.name}: was changed while it was read${grew ? ": it grew; run again when it is complete" : "; run again"}`,
    inputChanged: grew ? "grew" : "edited"
  })

const cannotRead = (source: Source.Source) => (error: unknown) =>
  error instanceof Source.FileChanged
    ? changed(source, error.grew)
    : new RunFailure({ message: `${source.name}: cannot be read: ${detailOf(error)}` })

const notOfFormat = (source: Source.Source, reader: EntryReader<unknown>, first: Malformed | undefined): CliFailure =>
  new CliFailure({
    message: `${source.name}: expected ${reader.accepted}${first === undefined ? "" : `; line ${first.line}: ${plainText(first.problem)}`}`
  })

const refusedAs = (source: Source.Source, refused: string): CliFailure =>
  new CliFailure({ message: `${source.name}: ${plainText(refused)}` })

const empty = (source: Source.Source): CliFailure =>
  new CliFailure({ message: `${source.name}: is empty: expected at least one item` })

const textOf = (head: Buffer): string => head.toString().replace(/^\ufeff/, "")

/** The first lines of an input that can be read only once. */
class Look {
  items = 0
  /** Malformed lines before the first good one: how many arrive together depends on the writer. */
  malformed = 0
  first: Malformed | undefined
  private readonly parser: Parser
  private readonly splitter = new LineSplitter((...line) => this.parser.onLine(...line))
  private from = 0
  /** Everything before this index has been searched for line ends. */
  private seen = 0

  constructor(reader: EntryReader<unknown>) {
    this.parser = reader.entries((entry) => {
      if (entry._tag === "Item") {
        this.items++
        return
      }
      if (this.items === 0) this.malformed++
      this.first ??= entry
    })
  }

  get refused(): string | undefined {
    return this.parser.refused()
  }

  /**
   * Reads the complete lines of `head`, which begins with the bytes of earlier calls. Returns whether that is enough
   * for a verdict.
   */
  take(head: Buffer, ended: boolean): boolean {
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

/** The readers of an input: chat requests for a route, or OpenAI's bodies as they are. */
export type ReaderOf = (format: InputFormat) => EntryReader<unknown>

/**
 * Opens a path, or `-` for standard input, and detects its format. Fails with `CliFailure` when it cannot be read, is
 * empty, or is recognizably not of that format; for a file only {@link scan} can tell.
 */
export const open = (
  path: string,
  asked: InputFormat | "auto",
  readerOf: ReaderOf = (format) => readers[format]
): Effect.Effect<OpenedInput, CliFailure | RunFailure, Scope.Scope> =>
  Effect.gen(function* () {
    const opened = yield* Source.open(path)
    const detector = new Detector(path)
    const formatOf = (head: Buffer, ended: boolean) => (asked === "auto" ? detector.take(head, ended) : asked)
    /** Examines the beginning of standard input until there is a good line. */
    let look: Look | undefined
    const enough = (head: Buffer, ended: boolean): boolean => {
      if (head.length > maxLineBytes || unreadable(head) !== undefined) return true
      const format = formatOf(head, ended)
      if (format === undefined || opened.isFile) return format !== undefined && head.length > 0
      look ??= new Look(readerOf(format))
      return look.take(head, ended)
    }
    const { ended, head, source } = yield* Source.peeked(opened, (head) => enough(head, false))
    if (ended && textOf(head).trim() === "") return yield* empty(source)
    const reason = unreadable(head)
    if (reason !== undefined) return yield* refusedAs(source, reason)
    enough(head, ended)
    const format = formatOf(head, true) ?? "jsonl"
    if (look !== undefined) {
      // Only the header of a CSV file.
      if (ended && look.items === 0 && look.first === undefined && look.refused === undefined)
        return yield* empty(source)
      if (look.refused !== undefined) return yield* refusedAs(source, look.refused)
      if (look.malformed >= enoughMalformed || (ended && look.items === 0 && look.first !== undefined)) {
        return yield* notOfFormat(source, readerOf(format), look.first)
      }
    }
    return { source, format }
  })

/** Reads a file up to the first line that can be sent. Fails with `CliFailure` when there is none. */
const findItem = (source: Source.Source, reader: EntryReader<unknown>): Effect.Effect<void, CliFailure | RunFailure> =>
  Effect.gen(function* () {
    let found = false
    let first: Malformed | undefined
    const parser = reader.entries((entry) => {
      if (entry._tag === "Item") found = true
      else first ??= entry
    })
    const splitter = new LineSplitter(parser.onLine)
    const blocks = source.blocks()
    const next = Effect.tryPromise({ try: blocks.next, catch: cannotRead(source) })
    for (let block = yield* next; block !== undefined; block = yield* next) {
      splitter.feed(block)
      if (found || parser.refused() !== undefined) return
    }
    splitter.end()
    parser.end()
    if (!found && first !== undefined && parser.refused() === undefined) {
      return yield* notOfFormat(source, reader, first)
    }
  })

/**
 * Streams the entries of an input, in order. Fails with `CliFailure` when the complete input is not of its format, and
 * with `RunFailure` when it can no longer be read, or is a file that was changed in the meantime.
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
            same ? taken() : Effect.fail(changed(source, false))
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

/** Facts from the first pass over a file. */
export interface Scanned {
  /** Number of entries, including malformed ones. */
  readonly total: number
  /** Entries that are named after their line, or whose own id looks like such a name. */
  readonly byLine: number
  readonly malformed: number
  /** SHA-256 of the bytes, in hex. */
  readonly hash: string
  /** The file for later passes, which fail when its bytes differ from those of this pass. */
  readonly source: Source.Source
}

const shown = 5

const more = (count: number): string => (count > shown ? `; and ${count - shown} more` : "")

/**
 * Reads a file for its ids, and keeps nothing; `onId` receives each. Fails with `CliFailure` for ids that occur twice
 * (naming both lines), an empty file, one that is not of its format, and with `strict` for malformed lines.
 */
export const scan = <A>(
  source: Source.Source,
  reader: EntryReader<A>,
  strict: boolean,
  onId: (id: string) => void = () => {}
): Effect.Effect<Scanned, CliFailure | RunFailure> =>
  Effect.gen(function* () {
    yield* findItem(source, reader)
    const hash = createHash("sha256")
    const blueprint = new Source.Blueprint()
    const ids = new IdIndex()
    const lineOf = new NumberColumn("uint32")
    const doubles: Array<string> = []
    const problems: Array<string> = []
    let [total, malformed, duplicates, byLine] = [0, 0, 0, 0]
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

/** Streams the chat requests of a path, or of standard input (`-`), including malformed lines. */
export const chats = (
  path: string,
  format: InputFormat | "auto"
): Effect.Effect<
  Stream.Stream<InputEntry<Chat.Request>, CliFailure | RunFailure>,
  CliFailure | RunFailure,
  Scope.Scope
> => Effect.map(open(path, format), (opened) => entries(opened.source, readers[opened.format].entries))
