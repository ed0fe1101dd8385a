/**
 * JSON lines that every reader splits alike.
 */

const lineEnds: Readonly<Record<string, string>> = {
  "\u0085": "\\u0085",
  "\u2028": "\\u2028",
  "\u2029": "\\u2029"
}

/** An escape of JSON text, and the half of a surrogate pair in it: only such halves are escaped. */
const escapes = /\\(?:u(d[89a-f][0-9a-f]{2})|.)/g

/**
 * JSON text, as `JSON.stringify` writes it, without what ends a line in some readers (Python's `splitlines`, for one),
 * which is escaped, and with U+FFFD for halves of surrogate pairs, which many refuse.
 */
export const portable = (json: string): string => {
  const escaped = /[\u0085\u2028\u2029]/.test(json)
    ? json.replace(/[\u0085\u2028\u2029]/g, (character) => lineEnds[character] ?? character)
    : json
  return escaped.includes("\\ud")
    ? escaped.replace(escapes, (found, half: string | undefined) => (half === undefined ? found : "\ufffd"))
    : escaped
}
