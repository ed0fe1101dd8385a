/** Checks paths at a provider as clients write them. The gateway appends them to a base, which they must not leave. */

/** Longest path with its query, in characters. */
const maxEndpoint = 16_384

// A server may decode a path, even twice, before it resolves dots; treat a backslash as a slash; cut a segment at `;`,
// or the path at `?` and `#`; and drop spaces at the end of a segment.
const dots = /(?:^|[/\\])\.{1,2} *(?:[;?#/\\]|$)/

// Control characters, and bytes that stand for ASCII only in overlong UTF-8, as `%c0%ae` does for a dot.
const hidden = /[^\x20-\x7e\x80-\xbf\xc2-\xf7\xfe\xff]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]/

/** Number of decoding passes. Text that is still encoded afterwards was crafted to be. */
const maxPasses = 4

/**
 * A path without percent-encoding, each byte a character; `%252e` is a dot in one pass. `undefined` after too many
 * passes.
 */
const decoded = (path: string): string | undefined => {
  let text = path
  for (let pass = 0; pass <= maxPasses; pass++) {
    const next = text.replace(/%(?:25)*([0-9a-f]{2})/gi, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16))
    )
    if (next === text) return text
    text = next
  }
  return undefined
}

/** Whether a path, with or without a query, stays below its base, however a server reads it. */
export const isInside = (endpoint: string): boolean => {
  if (endpoint.length > maxEndpoint || !/^[\x21-\x7e]*$/.test(endpoint) || endpoint.includes("#")) return false
  const [path = ""] = endpoint.split("?", 1)
  const plain = decoded(path)
  return !path.includes("\\") && plain !== undefined && !dots.test(plain) && !hidden.test(plain)
}

/** Description of the paths that {@link isInside} accepts, for refusals. */
export const insideAccepted = `a path in printable ASCII of at most ${maxEndpoint} characters, without \`#\` and backslashes, or dot segments, control characters and overlong UTF-8 in any encoding`
