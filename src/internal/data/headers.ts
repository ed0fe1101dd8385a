/**
 * Checks and encodings of header names, header values and identifiers.
 */

/** Whether a value is printable ASCII without spaces at the ends, which every HTTP implementation carries unchanged. */
export const isHeaderValue = (value: string): boolean =>
  typeof value === "string" && /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value)

/** Description of the values that {@link isHeaderValue} accepts, for error messages. */
export const headerValueAccepted = "printable ASCII without control characters or spaces at the ends"

/** Whether a name is an RFC 9110 token in lower case. Mixed case would make a second header over the binding. */
export const isHeaderName = (name: string): boolean => /^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name)

/** Error text for a gateway header among a target's own headers. */
export const providerHeaderAccepted = "a header for the provider; use `Route.options`"

/**
 * Whether a value is a path at a provider. A URL parser would fold `..` and stop at `#`; white space and control
 * characters are never part of a path. Servers may decode slashes before they fold.
 */
export const isPath = (path: unknown): boolean =>
  typeof path === "string" &&
  /^[\x21-\x7e]+$/.test(path) &&
  !path.startsWith("/") &&
  !/[#\\]/.test(path) &&
  !/(?:^|\/|%2f|%5c)(?:\.|%2e){1,2}(?:[/?;]|%2f|%5c|$)/i.test(path)

/** Description of the paths that {@link isPath} accepts, for error messages. */
export const pathAccepted = "a relative path in printable ASCII, without a leading slash, `#` or dot segments"

/**
 * Whether a text is an account, gateway or log id. They are put into URLs unencoded, so no character that a URL parser
 * interprets is allowed.
 */
export const isId = (id: string, max: number): boolean =>
  typeof id === "string" && id.length <= max && /^[A-Za-z0-9](?:[A-Za-z0-9._-]*)$/.test(id)

/** JSON whose non-ASCII characters are escaped, so that it survives any header implementation. */
export const asciiJson = (value: unknown): string =>
  JSON.stringify(value).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`)
