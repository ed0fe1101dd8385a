/**
 * Detects the format of an input from its first bytes and lines.
 */
import { isRecord, parseJson } from "../../internal/data/json.ts"
import { plain } from "./entry.ts"
import { maxLineBytes } from "./lines.ts"
import * as OpenAi from "./openaiBatchFile.ts"

/** Format of an input. */
export type InputFormat = "jsonl" | "csv" | "openai"

/** Number of malformed lines, without a good one among them, after which an input does not count as of a format. */
export const enoughMalformed = 20

/** Whether every other byte is NUL, as in ASCII characters of two bytes. */
const isHalfNul = (head: Buffer): boolean => {
  const length = Math.min(head.length, 256) & ~1
  const nuls = [0, 0] as [number, number]
  for (let at = 0; at < length; at++) if (head[at] === 0) nuls[at & 1 ? 1 : 0]++
  return length >= 4 && Math.max(...nuls) > length / 4 && Math.min(...nuls) === 0
}

/** An array of objects, whose first one begins in its first line or after it. */
const isArray = /^(?:\u00ef\u00bb\u00bf)?(\s*)\[\s*\{/

const begins = (head: Buffer, ...bytes: ReadonlyArray<number>): boolean =>
  head.length >= bytes.length && bytes.every((byte, at) => head[at] === byte)

/** Kinds of compression, by the bytes at the beginning. */
const packers = [
  { name: "gzip", magic: [0x1f, 0x8b], command: "gunzip -c" },
  { name: "zstd", magic: [0x28, 0xb5, 0x2f, 0xfd], command: "zstd -dc" },
  { name: "bzip2", magic: [0x42, 0x5a, 0x68], command: "bzip2 -dc" },
  { name: "xz", magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a], command: "xz -dc" },
  { name: "lz4", magic: [0x04, 0x22, 0x4d, 0x18], command: "lz4 -dc" }
]

/** Why bytes are not readable text, judged by their beginning. */
export const unreadable = (head: Buffer): string | undefined => {
  const packer = packers.find(({ magic }) => begins(head, ...magic))
  if (packer !== undefined) return `is compressed (${packer.name}): expected text, as of ${packer.command}`
  if (begins(head, 0x50, 0x4b, 3, 4)) return "is a zip archive or a workbook: expected text, such as CSV"
  if (begins(head, 0xff, 0xfe, 0, 0) || begins(head, 0, 0, 0xfe, 0xff)) return "is UTF-32: expected UTF-8"
  if (begins(head, 0xff, 0xfe) || begins(head, 0xfe, 0xff) || isHalfNul(head)) return "is UTF-16: expected UTF-8"
  const before = isArray.exec(head.toString("latin1", 0, 4096))?.[1]
  return before === undefined
    ? undefined
    : `expected ${plain.accepted}; line ${before.split("\n").length}: expected a JSON object, not an array of all items`
}

/** Finds the format by the first line that is a JSON object. Each byte is examined once. */
export class Detector {
  private from = 0
  private searched = 0
  private lines = 0
  /** `undefined` while it is unknown. */
  format: InputFormat | undefined

  constructor(path: string) {
    this.format = /\.csv$/i.test(path) ? "csv" : undefined
  }

  /** Reads the beginning of the input, which starts with the bytes of earlier calls. */
  take(head: Buffer, ended: boolean): InputFormat | undefined {
    while (this.format === undefined) {
      const end = head.indexOf(10, this.searched)
      this.searched = head.length
      if (end < 0 && !ended && head.length <= maxLineBytes) return undefined
      const text = head.toString("utf8", this.from, end < 0 ? head.length : end).replace(/^\ufeff/, "")
      this.look(text.trim())
      if (end < 0) this.format ??= "jsonl"
      this.from = end + 1
      this.searched = this.from
    }
    return this.format
  }

  private look(text: string): void {
    if (text === "") return
    const object = parseJson(text)
    if (isRecord(object)) this.format = OpenAi.looksLike(object) ? "openai" : "jsonl"
    else if (++this.lines >= enoughMalformed) this.format = "jsonl"
  }
}
