/**
 * CSV with a header row (RFC 4180: quotes are doubled inside quotes, cells may contain line ends).
 *
 * `effect/encoding/Csv` ends at the first bad record and does not report the line of a record. Here a bad record is one
 * dead letter with its line, and reading continues with the next line.
 */
import * as Result from "effect/Result"
import type * as Chat from "../../Chat.ts"
import { plural } from "../shared/format.ts"
import {
  conversation,
  type EntryReader,
  type InputEntry,
  idOf,
  type MakeParser,
  type Malformed,
  malformedLine,
  type Parser,
  requestOf,
  unreadableLine
} from "./entry.ts"
import { maxLineBytes } from "./lines.ts"

/** Columns that a file may have. */
export const columns = ["id", "prompt", "system", "maxTokens", "temperature", "topP", "seed"] as const
type Column = (typeof columns)[number]

const isColumn = (name: string): name is Column => columns.some((column) => column === name)

const unquoted = (text: string): string => (text.includes('"') ? text.replaceAll('""', '"') : text)

/** One record, read line by line. */
class Cells {
  private readonly cells: Array<string> = []
  /** The lines so far of a quoted cell that continues in the next line. */
  private open: Array<string> = []
  private size = 0

  /** The cells, `undefined` while quotes are open, or the problem. */
  feed(line: string): ReadonlyArray<string> | string | undefined {
    this.size += line.length + 1
    if (this.size > maxLineBytes) return "the record is too long: expected at most 16 MB"
    let at = 0
    if (this.open.length > 0) {
      const end = this.quoted(line, 0)
      if (end === undefined) return undefined
      if (typeof end === "string") return end
      at = end
    }
    // Past the end of the line means that its last cell has been read.
    while (at <= line.length) {
      if (line.charCodeAt(at) === 34) {
        const end = this.quoted(line, at + 1)
        if (end === undefined) return undefined
        if (typeof end === "string") return end
        at = end
        continue
      }
      const comma = line.indexOf(",", at)
      const end = comma < 0 ? line.length : comma
      const cell = line.slice(at, end)
      if (cell.includes('"')) return 'a quote inside of a cell: expected the cell in quotes, with " written twice'
      this.cells.push(comma < 0 && cell.endsWith("\r") ? cell.slice(0, -1) : cell)
      at = end + 1
    }
    return this.cells
  }

  /** Continues in quotes. Returns the beginning of the next cell, `undefined` when the quotes stay open. */
  private quoted(line: string, from: number): number | string | undefined {
    for (let at = from; ; ) {
      const end = line.indexOf('"', at)
      if (end < 0) {
        this.open.push(line.slice(from))
        return undefined
      }
      if (line.charCodeAt(end + 1) === 34) {
        at = end + 2
        continue
      }
      const last = line.slice(from, end)
      this.cells.push(unquoted(this.open.length === 0 ? last : [...this.open, last].join("\n")))
      this.open = []
      const rest = line.slice(end + 1)
      if (rest === "" || rest === "\r") return line.length + 1
      return rest.startsWith(",") ? end + 2 : "text after a closing quote: expected a comma"
    }
  }
}

/** Why a first line names no columns, for common mistakes. */
const mistaken = (cells: ReadonlyArray<string>): string | undefined => {
  const text = cells.join(",")
  if (/^sep=/i.test(text)) return "sep=: expected names of columns; remove this line, and separate cells by commas"
  if (text.includes("\r")) return "carriage returns alone: expected lines that end in line feeds"
  const other = [";", "\t", "|"].find((separator) => text.split(separator).some((name) => name.trim() === "prompt"))
  return other === undefined || cells.some((cell) => cell.trim() === "prompt")
    ? undefined
    : `cells that are separated by ${other === "\t" ? "tabs" : other}: expected commas`
}

const headerOf = (cells: ReadonlyArray<string>): ReadonlyArray<Column> | string => {
  const mistake = mistaken(cells)
  if (mistake !== undefined) return mistake
  const header: Array<Column> = []
  for (const cell of cells) {
    const name = cell.trim()
    if (!isColumn(name)) return `column ${JSON.stringify(name.slice(0, 40))}: expected one of ${columns.join(", ")}`
    if (header.includes(name)) return `column ${name}: expected once`
    header.push(name)
  }
  return header.includes("prompt") ? header : "the first line: expected names of columns with prompt among them"
}

type Row = Partial<Record<Column, string>>

const numbers = ["maxTokens", "temperature", "topP", "seed"] as const

const read = (row: Row, line: number): InputEntry<Chat.Request> => {
  // An empty cell counts as absent.
  const { name, problem } = idOf(row.id === "" ? undefined : row.id, "id", line)
  const malformed = (problem: string): Malformed => ({ _tag: "Malformed", ...name, line, problem })
  if (problem !== undefined) return malformed(problem)
  if (row.prompt === undefined || row.prompt === "") return malformed("prompt: expected a text that is not empty")
  const fields: Record<string, unknown> = {
    messages: conversation(row.prompt, row.system === "" ? undefined : row.system)
  }
  for (const name of numbers) {
    const cell = row[name]?.trim() ?? ""
    if (cell === "") continue
    if (!Number.isFinite(Number(cell))) return malformed(`${name}: expected a number`)
    fields[name] = Number(cell)
  }
  const request = requestOf(fields)
  return Result.isSuccess(request)
    ? { _tag: "Item", ...name, line, input: request.success }
    : malformed(request.failure)
}

const parser =
  <A>(entryOf: (row: Row, line: number) => InputEntry<A>): MakeParser<A> =>
  (onEntry): Parser => {
    let header: ReadonlyArray<Column> | undefined
    let refused: string | undefined
    /** The record whose quotes are open, and its first line. */
    let open: { readonly cells: Cells; readonly line: number } | undefined
    const malformed = (line: number, problem: string) => onEntry(malformedLine(line, problem))
    const take = (cells: ReadonlyArray<string>, line: number): void => {
      if (header === undefined) {
        const found = headerOf(cells)
        if (typeof found === "string") refused = `line ${line}: ${found}`
        else header = found
        return
      }
      const isBlank = cells.length === header.length ? cells.every((cell) => cell === "") : cells.join("").trim() === ""
      if (isBlank) {
        malformed(line, "an empty row: expected a prompt, or no such row")
        return
      }
      if (cells.length !== header.length) {
        malformed(line, `${plural(cells.length, "cell")}: expected ${header.length}, as in the first line`)
        return
      }
      const row: Row = {}
      for (const [i, name] of header.entries()) row[name] = cells[i] ?? ""
      onEntry(entryOf(row, line))
    }
    return {
      onLine: (text, line, why) => {
        if (refused !== undefined) return
        if (why !== undefined) {
          open = undefined
          if (header === undefined) refused = `line ${line}: expected names of columns`
          else onEntry(unreadableLine(line, why))
          return
        }
        if (open === undefined && (text === "" || text === "\r")) return
        const record = open ?? { cells: new Cells(), line }
        const fed = record.cells.feed(text)
        open = fed === undefined ? record : undefined
        if (fed === undefined) return
        if (typeof fed !== "string") return take(fed, record.line)
        if (header === undefined) refused = `line ${record.line}: ${fed}`
        else malformed(record.line, record.line === line ? fed : `up to line ${line}: ${fed}`)
      },
      end: () => {
        if (open === undefined) return
        if (header === undefined) refused = `line ${open.line}: a quote is not closed`
        else malformed(open.line, "a quote is not closed: expected it closed before the end of the file")
      },
      refused: () => refused
    }
  }

/** CSV with a header row; see {@link columns}. */
export const csv: EntryReader<Chat.Request> = {
  accepted: `CSV whose first line names columns: ${columns.join(", ")}`,
  entries: parser(read),
  ids: parser((row, line) => {
    const { name, problem } = idOf(row.id === "" ? undefined : row.id, "id", line)
    return problem === undefined
      ? { _tag: "Item", ...name, line, input: undefined }
      : { _tag: "Malformed", ...name, line, problem }
  })
}
