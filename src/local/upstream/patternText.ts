/**
 * Writes a text that matches a regular expression. The expression is parsed and never run, because an untrusted one
 * could run forever.
 */

/** Longest pattern that is read, and longest text that is written, in characters. */
const maxPattern = 1000
const maxText = 10_000

/** An unsupported construct, such as a look-ahead, or a text that would be too long. */
class Unreadable extends Error {}

const escapes: Readonly<Record<string, string>> = {
  d: "0",
  w: "a",
  s: " ",
  D: "a",
  W: "-",
  S: "a",
  t: "\t",
  n: "\n",
  r: "\r"
}

/** Characters that a negated class can match. */
const candidates = "aA0- _.~\u00e9"

/**
 * A text without optional parts, in which open-ended parts occur `more` times beyond their minimum. Each class
 * contributes its character number `pick`.
 */
const write = (pattern: string, more: number, pick: number): string => {
  let at = 0
  const peek = (): string | undefined => pattern[at]

  const escaped = (): string => {
    const letter = pattern[at++] ?? ""
    const known = escapes[letter]
    if (letter === "d") return String(pick % 10)
    if (known !== undefined) return known
    const [hex] = /^(?:x[0-9a-f]{2}|u[0-9a-f]{4}|u\{[0-9a-f]{1,6}\})/i.exec(pattern.slice(at - 1)) ?? []
    if (hex !== undefined) {
      at += hex.length - 1
      return String.fromCodePoint(Number.parseInt(hex.replace(/[xu{}]/g, ""), 16))
    }
    const property = /^p\{(\w+)[^}]*\}/.exec(pattern.slice(at - 1))
    if (property !== null) {
      at += property[0].length - 1
      return /^(Lu|Uppercase)/.test(property[1] ?? "") ? "A" : /^N/.test(property[1] ?? "") ? "0" : "a"
    }
    // Boundaries, references and letters without a meaning here.
    if (/[A-Za-z0-9]/.test(letter)) throw new Unreadable()
    return letter
  }

  /** A class: its ranges as pairs of characters. */
  const charClass = (): string => {
    const isNegated = peek() === "^"
    if (isNegated) at++
    const ranges: Array<readonly [string, string]> = []
    while (peek() !== "]") {
      if (at >= pattern.length) throw new Unreadable()
      const kind = peek() === "\\" ? pattern[at + 1] : undefined
      const from = pattern[at++] === "\\" ? escaped() : (pattern[at - 1] ?? "")
      if (kind === "d") ranges.push(["0", "9"])
      else if (kind === "w") ranges.push(["a", "z"], ["A", "Z"], ["0", "9"], ["_", "_"])
      else if (peek() === "-" && pattern[at + 1] !== "]") {
        at++
        ranges.push([from, pattern[at++] === "\\" ? escaped() : (pattern[at - 1] ?? "")])
      } else ranges.push([from, from])
    }
    at++
    const [first] = ranges
    if (!isNegated && first !== undefined) {
      const [from, to] = first.map((one) => one.codePointAt(0) ?? 0)
      return from === undefined || to === undefined || to < from
        ? first[0]
        : String.fromCodePoint(from + (pick % (to - from + 1)))
    }
    const free = [...candidates].find((one) => !ranges.some(([from, to]) => from <= one && one <= to))
    if (free === undefined) throw new Unreadable()
    return free
  }

  const group = (): string => {
    if (peek() === "?") {
      const [opening] = /^\?(?::|<[A-Za-z_]\w*>)/.exec(pattern.slice(at)) ?? []
      if (opening === undefined) throw new Unreadable()
      at += opening.length
    }
    const text = alternatives()
    if (pattern[at++] !== ")") throw new Unreadable()
    return text
  }

  const atom = (): string => {
    const c = pattern[at++] ?? ""
    switch (c) {
      case "\\":
        return escaped()
      case "[":
        return charClass()
      case "(":
        return group()
      case ".":
        return "a"
      case "^":
      case "$":
        return ""
      case "*":
      case "+":
      case "?":
        throw new Unreadable()
      default:
        return c
    }
  }

  const repeated = (): string => {
    const text = atom()
    const [all, sign, least, comma, most] = /^(?:([*+?])|\{(\d+)(,?)(\d*)\})\??/.exec(pattern.slice(at)) ?? []
    if (all === undefined) return text
    at += all.length
    const min = sign === undefined ? Number(least) : sign === "+" ? 1 : 0
    const max =
      sign === "?" ? 1 : sign !== undefined || (comma === "," && most === "") ? Infinity : Number(most || least)
    const count = Math.min(min + more, max)
    if (count * text.length > maxText) throw new Unreadable()
    return text.repeat(count)
  }

  const alternatives = (): string => {
    let first: string | undefined
    let text = ""
    for (let c = peek(); c !== undefined && c !== ")"; c = peek()) {
      if (c === "|") {
        at++
        first ??= text
        text = ""
      } else text += repeated()
    }
    return first ?? text
  }

  const text = alternatives()
  if (at < pattern.length) throw new Unreadable()
  return text
}

/** Limit for the length of text or pattern, times the number of requested texts: each is searched from the start. */
const maxWork = 20_000

/** How many texts of one length are tried. */
const maxPicks = 26

/** The texts, from short to long. */
function* texts(pattern: string, picks: number): Generator<string> {
  for (let more = 0; more <= 64; more++) {
    for (let pick = 0; pick < picks; pick++) {
      const text = write(pattern, more, pick)
      // A pattern without an end matches with anything behind it.
      yield pattern.includes("$") ? text : `${text}${"a".repeat(more)}`
    }
  }
}

/** Text number `nth` (from 0) that matches and has an accepted length, or `undefined` when there is none. */
export const textMatching = (pattern: string, fits: (text: string) => boolean, nth = 0): string | undefined => {
  if (pattern.length > maxPattern || pattern.length * nth > maxWork) return undefined
  const found = new Set<string>()
  try {
    for (const text of texts(pattern, nth === 0 ? 1 : maxPicks)) {
      if (text.length * nth > maxWork) return undefined
      if (fits(text)) found.add(text)
      if (found.size > nth) return text
    }
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error
  }
  return undefined
}
