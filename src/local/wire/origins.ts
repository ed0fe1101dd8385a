/**
 * Names of hosts and origins of web pages, as browsers send them.
 */
/** Further hosts and origins, besides those of this machine. */
export interface Allowed {
  /** In the form that {@link hostname} returns. */
  readonly hosts: ReadonlySet<string>
  readonly origins: ReadonlySet<string>
}

/** Normalizes the name or address of a `Host` header, without the port; `undefined` when it is malformed. */
export const hostname = (host: string): string | undefined => {
  // Accepts only texts that a browser can send: a URL parser would also accept a user name, a path or a query.
  if (!/^[^\s/?#@\\,*]+$/.test(host) || !URL.canParse(`http://${host}`)) return undefined
  return new URL(`http://${host}`).hostname
}

/** Whether a text is an origin as browsers send it. `null` does not count: every sandboxed page has it. */
export const isOrigin = (text: string): boolean => {
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^\s/?#@\\,*]+$/.test(text) || !URL.canParse(text)) return false
  const { origin, protocol } = new URL(text)
  return protocol === "http:" || protocol === "https:" ? origin === text : true
}
