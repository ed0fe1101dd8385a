/**
 * Finds values that JSON text cannot hold, before anything is written. `JSON.stringify` silently turns an infinite number into `null`, and fails on deep nesting, at
 * a depth that depends on the engine and on the caller.
 */
import { maxJsonDepth } from "./jsonDepth.ts"

/**
 * Most characters of all texts and keys together, plus 24 for each other value. An escaped character takes six, and a V8 string has at most 512 million.
 */
export const maxSize = 64 * 1024 * 1024

/** A value that cannot be written. */
export interface Unwritable {
  /** The first eight parts of its path; empty for the value itself. A key that is not a name is shown as `*`. */
  readonly at: string
  /** Describes what is accepted. */
  readonly accepted: string
  /** The only problem is the depth, and some engines can write the value. */
  readonly tooDeep: boolean
}

const scalar = 24
const shownParts = 8
const tooDeep = `at most ${maxJsonDepth} levels of arrays and objects, and no cycle`
const tooLarge = "at most 64 million characters in all"

/** Searches one value. The path is built on the way back, so that a search without a find builds none. */
class Search {
  size = 0
  readonly path: Array<string> = []

  find(value: unknown, depth: number): string | undefined {
    switch (typeof value) {
      case "string":
        this.size += value.length
        return this.size > maxSize ? tooLarge : undefined
      case "number":
        this.size += scalar
        if (!Number.isFinite(value)) return "a finite number"
        return this.size > maxSize ? tooLarge : undefined
      case "boolean":
        this.size += scalar
        return undefined
      case "object":
        this.size += scalar
        if (value === null) return undefined
        if (depth > maxJsonDepth) return tooDeep
        return Array.isArray(value) ? this.inArray(value, depth) : this.inObject(value, depth)
      default:
        return "a JSON value"
    }
  }

  private inArray(values: ReadonlyArray<unknown>, depth: number): string | undefined {
    for (let i = 0; i < values.length; i++) {
      const accepted = this.find(values[i], depth + 1)
      if (accepted === undefined) continue
      this.path.push(`[${i}]`)
      return accepted
    }
    return this.size > maxSize ? tooLarge : undefined
  }

  private inObject(value: object, depth: number): string | undefined {
    for (const [key, field] of Object.entries(value)) {
      // `JSON.stringify` leaves it out.
      if (field === undefined) continue
      this.size += key.length
      const accepted = this.find(field, depth + 1)
      if (accepted === undefined) continue
      this.path.push(`.${/^\w{1,64}$/.test(key) ? key : "*"}`)
      return accepted
    }
    return this.size > maxSize ? tooLarge : undefined
  }
}

/** Finds what JSON text cannot hold in a value; `undefined` if the value can be written and read back as it is. */
export const unwritable = (value: unknown): Unwritable | undefined => {
  const search = new Search()
  const accepted = search.find(value, 1)
  if (accepted === undefined) return undefined
  // The innermost part comes first.
  const path = accepted === tooLarge ? [] : search.path
  const at = path.slice(-shownParts).reverse().join("").replace(/^\./, "")
  return { at: path.length > shownParts ? `${at}…` : at, accepted, tooDeep: accepted === tooDeep }
}

/** Formats a find as one line: `toolCalls[0].arguments.a: expected a finite number`. */
export const problemOf = ({ accepted, at }: Pick<Unwritable, "accepted" | "at">): string =>
  `${at === "" ? "" : `${at}: `}expected ${accepted}`
