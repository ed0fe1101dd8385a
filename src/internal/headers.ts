/**
 * Checks and encodings of header names, header values and identifiers.
 */

/** Printable ASCII without spaces at the ends: what every HTTP implementation carries unchanged. */
export const isHeaderValue = (value: string): boolean =>
  typeof value === "string" && /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value)

/** What {@link isHeaderValue} accepts, for error messages. */
export const headerValueAccepted = "printable ASCII without control characters or spaces at the ends"

/** An RFC 9110 token in lower case. Mixed case would make a second header over the binding. */
export const isHeaderName = (name: string): boolean => /^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name)

/** Account, gateway and log ids end up unencoded in URLs, so nothing that a URL parser would act on may pass. */
export const isId = (id: string, max: number): boolean =>
  id.length <= max && /^[A-Za-z0-9](?:[A-Za-z0-9._-]*)$/.test(id)

/** JSON whose non-ASCII characters are escaped, so that it survives any header implementation. */
export const asciiJson = (value: unknown): string =>
  JSON.stringify(value).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`)
