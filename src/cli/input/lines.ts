/**
 * Splits bytes into lines, in bounded memory: complete blocks are decoded at once, and a line that is too long or not
 * UTF-8 is reported and skipped.
 */
import { isUtf8 } from "node:buffer"

/** Longest line, in bytes. */
export const maxLineBytes = 16 * 1024 * 1024

/** Problem of a line whose text is therefore withheld. */
export type Unreadable = "long" | "encoding"

/**
 * Receives each line in order: its number from 1, and its text without the line feed. A carriage return before it is
 * kept.
 */
export type OnLine = (text: string, line: number, unreadable?: Unreadable) => void

const lineFeed = 10
const none = Buffer.alloc(0)

export class LineSplitter {
  private readonly onLine: OnLine
  private readonly maxBytes: number
  /** The beginning of a line whose end has not arrived. */
  private rest: Array<Buffer> = []
  private restBytes = 0
  private tooLong = false
  /** Lines so far. */
  line = 0

  constructor(onLine: OnLine, maxBytes = maxLineBytes) {
    this.onLine = onLine
    this.maxBytes = maxBytes
  }

  private emit(text: string): void {
    this.line++
    this.onLine(this.line === 1 && text.charCodeAt(0) === 0xfeff ? text.slice(1) : text, this.line)
  }

  private emitBytes(bytes: Buffer): void {
    if (bytes.length > this.maxBytes) this.onLine("", ++this.line, "long")
    else if (isUtf8(bytes)) this.emit(bytes.toString())
    else this.onLine("", ++this.line, "encoding")
  }

  /** Emits complete lines, given without the last line's end. */
  private emitBlock(block: Buffer): void {
    if (block.length <= this.maxBytes && isUtf8(block)) {
      const text = block.toString()
      let from = 0
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", from)) {
        this.emit(text.slice(from, end))
        from = end + 1
      }
      this.emit(text.slice(from))
      return
    }
    let from = 0
    for (let end = block.indexOf(lineFeed); end >= 0; end = block.indexOf(lineFeed, from)) {
      this.emitBytes(block.subarray(from, end))
      from = end + 1
    }
    this.emitBytes(block.subarray(from))
  }

  /** Ends an earlier line with these bytes. */
  private endRest(tail: Buffer): void {
    if (this.tooLong) this.onLine("", ++this.line, "long")
    else this.emitBytes(Buffer.concat([...this.rest, tail]))
    this.rest = []
    this.restBytes = 0
    this.tooLong = false
  }

  /** Takes the next bytes; they may be overwritten afterwards. */
  feed(chunk: Buffer): void {
    let from = 0
    if (this.restBytes > 0 || this.tooLong) {
      const end = chunk.indexOf(lineFeed)
      if (end >= 0) {
        this.endRest(chunk.subarray(0, end))
        from = end + 1
      }
    }
    const last = chunk.lastIndexOf(lineFeed)
    if (last >= from) {
      this.emitBlock(chunk.subarray(from, last))
      from = last + 1
    }
    if (from === chunk.length || this.tooLong) return
    this.rest.push(Buffer.from(chunk.subarray(from)))
    this.restBytes += chunk.length - from
    if (this.restBytes > this.maxBytes) {
      this.tooLong = true
      this.rest = []
      this.restBytes = 0
    }
  }

  /** Ends the input. */
  end(): void {
    if (this.restBytes > 0 || this.tooLong) this.endRest(none)
  }
}
