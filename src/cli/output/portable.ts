/** JSON lines that every reader splits in the same way. */

const lineEnds: Readonly<Record<string, string>> = {
  "\u0085": "\\u0085",
  "\u2028": "\\u2028",
  "\u2029": "\\u2029"
}

/** An escape of JSON text, and the half of a surrogate pair in it: only such halves are escaped. */
const escapes = /\\(?:u(d[89a-f][0-9a-f]{2})|.)/g

/**
 * Makes JSON text of `JSON.stringify` portable: characters that end a line in some readers (Python's `splitlines`, for
 * example) are escaped, and halves of surrogate pairs, which many readers reject, become U+FFFD.
 */
export const portable = (json: string): string => {
  const escaped = /[\u0085\u2028\u2029]/.test(json)
    ? json.replace(/[\u0085\u2028\u2029]/g, (character) => lineEnds[character] ?? character)
    : json
  return escaped.includes("\\ud")
    ? escaped.replace(escapes, (found, half: string | undefined) => (half === undefined ? found : "\ufffd"))
    : escaped
}
