/**
 * Finds values that JSON text cannot hold, before anything is written. `JSON.stringify` silently turns an infinite
 * number into `null`, and fails on deep nesting, at a depth that depends on the engine and on the caller.
 */
import { maxJsonDepth } from "./jsonDepth.ts"

/**
 * Longest JSON text of one value, in characters. A V8 string has at most 536 million, and a line of an output may hold
 * a value with all its quotes escaped.
 */
export const maxSize = 256_000_000

/** A value that cannot be written. */
export interface Unwritable {
  /** The first eight parts of its path; empty for the value itself. A key that is not a name is shown as `*`. */
  readonly at: string
  /** Description of accepted values. */
  readonly accepted: string
  /** Whether only the depth is a problem, and some engines can write the value. */
  readonly tooDeep: boolean
}

const shownParts = 8
const tooDeep = `at most ${maxJsonDepth} levels of arrays and objects, and no cycle`
const tooLarge = `at most ${maxSize / 1e6} million characters of JSON text`

/** Longest number in JSON text, such as -1.2345678901234567e-300. */
const maxNumber = 24
/** Longest escape of one character: \u0001. */
const maxEscape = 6

/** Length of one code unit in JSON text. */
const escapedLength = (text: string, at: number): number => {
  const c = text.charCodeAt(at)
  if (c === 0x22 || c === 0x5c) return 2
  if (c < 0x20) return c === 0x0b || c < 8 || c > 0x0d ? maxEscape : 2
  if (c < 0xd800 || c > 0xdfff) return 1
  const other = c < 0xdc00 ? text.charCodeAt(at + 1) : text.charCodeAt(at - 1)
  return c < 0xdc00 === (other >= 0xdc00 && other <= 0xdfff) && other >= 0xd800 && other <= 0xdfff ? 1 : maxEscape
}

const lengthOf = (text: string): number => {
  let length = 2
  for (let i = 0; i < text.length; i++) length += escapedLength(text, i)
  return length
}

/**
 * Whether JSON represents an object completely: class instances, maps and dates would be read back as something else.
 */
const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  // Plain objects of another realm have another `Object.prototype`.
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** Searches one value. The path is built on the way back, so that a search without a find builds none. */
class Search {
  size = 0
  /** Whether a field is `undefined`, which JSON text omits. */
  omits = false
  readonly path: Array<string> = []
  /** Whether to count the exact JSON text, instead of an upper bound that ignores the characters. */
  private readonly exact: boolean

  constructor(exact: boolean) {
    this.exact = exact
  }

  private addText(text: string): void {
    this.size += this.exact ? lengthOf(text) : text.length * maxEscape + 2
  }

  find(value: unknown, depth: number): string | undefined {
    switch (typeof value) {
      case "string":
        this.addText(value)
        return this.size > maxSize ? tooLarge : undefined
      case "number":
        if (!Number.isFinite(value)) return "a finite number"
        this.size += this.exact ? String(value).length : maxNumber
        return this.size > maxSize ? tooLarge : undefined
      case "boolean":
        this.size += value ? 4 : 5
        return undefined
      case "object":
        if (value === null) {
          this.size += 4
          return undefined
        }
        this.size += 2
        if (depth > maxJsonDepth) return tooDeep
        if (Array.isArray(value)) return this.inArray(value, depth)
        return isPlain(value) ? this.inObject(value, depth) : "a JSON value"
      default:
        return "a JSON value"
    }
  }

  private inArray(values: ReadonlyArray<unknown>, depth: number): string | undefined {
    for (let i = 0; i < values.length; i++) {
      this.size++
      const accepted = this.find(values[i], depth + 1)
      if (accepted === undefined) continue
      this.path.push(`[${i}]`)
      return accepted
    }
    return this.size > maxSize ? tooLarge : undefined
  }

  private inObject(value: object, depth: number): string | undefined {
    for (const [key, field] of Object.entries(value)) {
      if (field === undefined) {
        this.omits = true
        continue
      }
      this.size += 2
      this.addText(key)
      const accepted = this.find(field, depth + 1)
      if (accepted === undefined) continue
      this.path.push(`.${/^\w{1,64}$/.test(key) ? key : "*"}`)
      return accepted
    }
    return this.size > maxSize ? tooLarge : undefined
  }
}

/** Result of {@link inspect}. */
export interface Inspected {
  readonly problem: Unwritable | undefined
  /** Whether JSON text omits fields, which are `undefined`. */
  readonly omits: boolean
}

/** Finds parts of a value that JSON text cannot hold, and whether it omits fields. */
export const inspect = (value: unknown): Inspected => {
  let search = new Search(false)
  let accepted = search.find(value, 1)
  // Only values of many million characters are counted exactly.
  if (accepted === tooLarge) {
    search = new Search(true)
    accepted = search.find(value, 1)
  }
  return { problem: accepted === undefined ? undefined : problemAt(search.path, accepted), omits: search.omits }
}

/**
 * Finds a part of a value that JSON text cannot hold; `undefined` if the value can be written and read back, except for
 * fields that are `undefined`.
 */
export const unwritable = (value: unknown): Unwritable | undefined => inspect(value).problem

const problemAt = (all: ReadonlyArray<string>, accepted: string): Unwritable => {
  // The innermost part comes first.
  const path = accepted === tooLarge ? [] : all
  const at = path.slice(-shownParts).reverse().join("").replace(/^\./, "")
  return { at: path.length > shownParts ? `${at}…` : at, accepted, tooDeep: accepted === tooDeep }
}

/** Formats a find as one line: `toolCalls[0].arguments.a: expected a finite number`. */
export const problemOf = ({ accepted, at }: Pick<Unwritable, "accepted" | "at">): string =>
  `${at === "" ? "" : `${at}: `}expected ${accepted}`
