/**
 * Paths at a provider, as clients write them. A gateway appends them to a base, and they must not lead out of it.
 */

/** Longest path with its query, in characters. */
const maxEndpoint = 16_384

// A server may decode `%2f` and `%5c` before it folds dots, take a backslash for a slash, and cut a segment at `;`.
const dots = /(?:^|\/|%2f|%5c)(?:\.|%2e){1,2}(?:;[^/]*)?(?:\/|%2f|%5c|$)/i

/** Whether a path, with or without a query, stays below the base that it is appended to, whoever reads it. */
export const isInside = (endpoint: string): boolean => {
  if (endpoint.length > maxEndpoint || !/^[\x21-\x7e]*$/.test(endpoint) || endpoint.includes("#")) return false
  const [path = ""] = endpoint.split("?", 1)
  return !path.includes("\\") && !dots.test(path)
}

/** What {@link isInside} accepts, for refusals. */
export const insideAccepted = `a path in printable ASCII of at most ${maxEndpoint} characters, without \`#\`, backslashes or dot segments (encoded ones included)`
