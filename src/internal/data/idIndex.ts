/**
 * Numbers texts from 0 on, compactly: for the ids of a batch.
 *
 * For each text it keeps a fingerprint of 128 bits and its place in a table, 22 to 28 bytes outside the JavaScript
 * heap, however long the text is. A `Map` of a million ids of 36 characters takes five times as much inside the heap,
 * which the garbage collector walks. The chance that two of a billion texts share a fingerprint is one in 10^21.
 * Nothing is ever removed.
 */

const blockBits = 22
const blockMask = 2 ** blockBits - 1
/** Numbers by which a block grows. */
const step = 2 ** 15

type Block = Uint8Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Float64Array<ArrayBuffer>

const blocks = { uint8: Uint8Array, uint32: Uint32Array, float64: Float64Array }

/**
 * An array of up to 2^32 numbers that grows without copying. Its memory returns to the operating system when it is no
 * longer referenced: small arrays would stay with the process.
 */
export class NumberColumn {
  private readonly blocks: Array<Block> = []
  private readonly make: () => Block

  constructor(type: "uint8" | "uint32" | "float64") {
    const Type = blocks[type]
    const maxByteLength = Type.BYTES_PER_ELEMENT * 2 ** blockBits
    // Without a length, the array follows the length of its buffer.
    this.make = () => new Type(new ArrayBuffer(0, { maxByteLength }))
  }

  /** The number at an index; 0 where none was set. */
  get(index: number): number {
    return this.blocks[index >>> blockBits]?.[index & blockMask] ?? 0
  }

  set(index: number, value: number): void {
    const at = index >>> blockBits
    const within = index & blockMask
    while (this.blocks.length <= at) this.blocks.push(this.make())
    const block = this.blocks[at]
    if (block === undefined) return
    if (within >= block.length) block.buffer.resize((within - (within % step) + step) * block.BYTES_PER_ELEMENT)
    block[within] = value
  }
}

const rotated = (x: number, by: number): number => (x << by) | (x >>> (32 - by))

const finished = (h: number): number => {
  let x = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
  return x ^ (x >>> 16)
}

/** Two UTF-16 code units as one word; zeros beyond the end. */
const wordAt = (text: string, at: number): number =>
  at + 1 < text.length
    ? text.charCodeAt(at) | (text.charCodeAt(at + 1) << 16)
    : at < text.length
      ? text.charCodeAt(at)
      : 0

/** MurmurHash3 (x86, 128 bits) of the UTF-16 code units of a text, padded with zeros, into `out`. */
export const fingerprint = (text: string, out: Uint32Array): void => {
  let [h1, h2, h3, h4] = [0, 0, 0, 0]
  for (let at = 0; at < text.length; at += 8) {
    h1 ^= Math.imul(rotated(Math.imul(wordAt(text, at), 0x239b961b), 15), 0xab0e9789)
    h1 = (Math.imul(rotated(h1, 19) + h2, 5) + 0x561ccd1b) | 0
    h2 ^= Math.imul(rotated(Math.imul(wordAt(text, at + 2), 0xab0e9789), 16), 0x38b34ae5)
    h2 = (Math.imul(rotated(h2, 17) + h3, 5) + 0x0bcaa747) | 0
    h3 ^= Math.imul(rotated(Math.imul(wordAt(text, at + 4), 0x38b34ae5), 17), 0xa1e38b93)
    h3 = (Math.imul(rotated(h3, 15) + h4, 5) + 0x96cd1c35) | 0
    h4 ^= Math.imul(rotated(Math.imul(wordAt(text, at + 6), 0xa1e38b93), 18), 0x239b961b)
    h4 = (Math.imul(rotated(h4, 13) + h1, 5) + 0x32ac3b17) | 0
  }
  const length = text.length * 2
  h1 ^= length
  h2 ^= length
  h3 ^= length
  h4 ^= length
  h1 = (h1 + h2 + h3 + h4) | 0
  h2 = finished((h2 + h1) | 0)
  h3 = finished((h3 + h1) | 0)
  h4 = finished((h4 + h1) | 0)
  h1 = finished(h1)
  h1 = (h1 + h2 + h3 + h4) | 0
  out[0] = h1
  out[1] = h2 + h1
  out[2] = h3 + h1
  out[3] = h4 + h1
}

/** Longest text, in UTF-16 code units. */
export const maxIdLength = 512

export class IdIndex {
  /** Four words for each text. */
  private readonly prints = new NumberColumn("uint32")
  /** Numbers plus one, by the first word; 0 is free. */
  private table = new Uint32Array(1024)
  /** Fingerprint of the current text. */
  private readonly print = new Uint32Array(4)
  /** Number of texts. */
  size = 0

  private isAt(number: number): boolean {
    const { print, prints } = this
    for (let word = 0; word < 4; word++) if (prints.get(number * 4 + word) !== print[word]) return false
    return true
  }

  /** The slot of the table where the current text is, or would be. */
  private slot(): number {
    const mask = this.table.length - 1
    let slot = (this.print[0] ?? 0) & mask
    for (let entry = this.table[slot] ?? 0; entry !== 0; entry = this.table[slot] ?? 0) {
      if (this.isAt(entry - 1)) return slot
      slot = (slot + 1) & mask
    }
    return slot
  }

  private grow(): void {
    const table = new Uint32Array(this.table.length * 2)
    const mask = table.length - 1
    for (let number = 0; number < this.size; number++) {
      let slot = this.prints.get(number * 4) & mask
      while (table[slot] !== 0) slot = (slot + 1) & mask
      table[slot] = number + 1
    }
    this.table = table
  }

  /** The number of a text, or `undefined`. */
  find(text: string): number | undefined {
    fingerprint(text, this.print)
    const entry = this.table[this.slot()] ?? 0
    return entry === 0 ? undefined : entry - 1
  }

  /** The number of a text; a new one if it has none. A new number equals `size` before the call. */
  add(text: string): number {
    fingerprint(text, this.print)
    const slot = this.slot()
    const entry = this.table[slot] ?? 0
    if (entry !== 0) return entry - 1
    const number = this.size++
    for (let word = 0; word < 4; word++) this.prints.set(number * 4 + word, this.print[word] ?? 0)
    this.table[slot] = number + 1
    if (this.size > this.table.length * 0.7) this.grow()
    return number
  }
}
