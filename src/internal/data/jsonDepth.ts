/**
 * Measures the depth of a JSON text and its number of values before it is parsed, so that no value exceeds recursion or
 * memory.
 */

/** Deepest level of arrays and objects in foreign JSON. `JSON.stringify` of older engines fails at some thousands. */
export const maxJsonDepth = 1000

const quote = 0x22
const backslash = 0x5c

/** Index of the quote that ends the string which starts at `from`; the length when it is unterminated. */
const endOfString = (text: string, from: number): number => {
  let end = from
  while (true) {
    end = text.indexOf('"', end + 1)
    if (end < 0) return text.length
    let first = end
    while (text.charCodeAt(first - 1) === backslash) first--
    if ((end - first) % 2 === 0) return end
  }
}

/**
 * Returns the deepest level of arrays and objects in a JSON text (0 for a bare value), and an upper bound of its number
 * of values. Linear and total: a text that is not JSON has numbers too.
 */
export const measureJson = (text: string): { readonly depth: number; readonly values: number } => {
  let depth = 0
  let deepest = 0
  let values = 1
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c === quote) i = endOfString(text, i)
    else if (c === 0x2c) values++
    else if (c === 0x5b || c === 0x7b) {
      values++
      depth++
      if (depth > deepest) deepest = depth
    } else if (c === 0x5d || c === 0x7d) depth--
  }
  return { depth: deepest, values }
}

/** Whether a JSON text nests deeper than {@link maxJsonDepth}. */
export const isTooDeep = (text: string): boolean => text.length > maxJsonDepth && measureJson(text).depth > maxJsonDepth
