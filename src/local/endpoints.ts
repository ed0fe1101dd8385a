/**
 * Checks paths at a provider, as clients write them. The gateway appends them to a base, which they must not leave.
 */

/** Longest path with its query, in characters. */
const maxEndpoint = 16_384

// A server may decode `%2f` and `%5c` before it folds dots, read a backslash as a slash, and cut a segment at `;`.
const dots = /(?:^|\/|%2f|%5c)(?:\.|%2e){1,2}(?:;[^/]*)?(?:\/|%2f|%5c|$)/i

/** Whether a path, with or without a query, stays below its base, however a server reads it. */
export const isInside = (endpoint: string): boolean => {
  if (endpoint.length > maxEndpoint || !/^[\x21-\x7e]*$/.test(endpoint) || endpoint.includes("#")) return false
  const [path = ""] = endpoint.split("?", 1)
  return !path.includes("\\") && !dots.test(path)
}

/** Describes what {@link isInside} accepts, for refusals. */
export const insideAccepted = `a path in printable ASCII of at most ${maxEndpoint} characters, without \`#\`, backslashes or dot segments (encoded ones included)`
