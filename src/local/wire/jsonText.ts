/** Members of a JSON object as they were written. Parsing and writing again loses digits of large numbers. */

/** A member's value in its text. */
interface Range {
  readonly start: number
  readonly end: number
}

const space = /[ \t\n\r]/

const afterString = (text: string, start: number): number => {
  let at = start + 1
  while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1
  return at + 1
}

const skip = (text: string, start: number): number => {
  let at = start
  while (space.test(text[at] ?? "")) at++
  return at
}

const afterValue = (text: string, start: number): number => {
  let depth = 0
  let at = start
  while (at < text.length) {
    const c = text[at]
    if (c === '"') {
      at = afterString(text, at)
      if (depth === 0) return at
      continue
    }
    if (c === "{" || c === "[") depth++
    else if (c === "}" || c === "]") {
      if (depth === 0) return at
      depth--
      if (depth === 0) return at + 1
    } else if (depth === 0 && (c === "," || space.test(c ?? ""))) return at
    at++
  }
  return at
}

const nameOf = (literal: string): string =>
  literal.includes("\\") ? String(JSON.parse(literal)) : literal.slice(1, -1)

/**
 * Positions of an object's values by member name; the text must be JSON that parses to an object. Of duplicates the
 * last counts.
 */
const members = (text: string): ReadonlyMap<string, Range> => {
  const out = new Map<string, Range>()
  let at = skip(text, skip(text, 0) + 1)
  while (text[at] === '"') {
    const nameEnd = afterString(text, at)
    const name = nameOf(text.slice(at, nameEnd))
    const start = skip(text, skip(text, nameEnd) + 1)
    const end = afterValue(text, start)
    out.set(name, { start, end })
    at = skip(text, end)
    if (text[at] === ",") at = skip(text, at + 1)
  }
  return out
}

const isObject = (text: string): boolean => text[skip(text, 0)] === "{"

/** The text of a member of an object, or `undefined`. The text must be JSON. */
export const memberText = (text: string, name: string): string | undefined => {
  const range = isObject(text) ? members(text).get(name) : undefined
  return range === undefined ? undefined : text.slice(range.start, range.end)
}

/** An object with a member set to a JSON text; anything else is returned unchanged. The text must be JSON. */
export const withMember = (text: string, name: string, value: string): string => {
  if (!isObject(text)) return text
  const all = members(text)
  const range = all.get(name)
  if (range !== undefined) return `${text.slice(0, range.start)}${value}${text.slice(range.end)}`
  const start = skip(text, 0) + 1
  return `${text.slice(0, start)}${JSON.stringify(name)}:${value}${all.size === 0 ? "" : ","}${text.slice(start)}`
}
