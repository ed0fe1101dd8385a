/**
 * Reads what a client threw. Clients differ in how deep they hide what happened.
 */

/** A field of its own, without running a getter. */
const field = (value: object, name: string): unknown => Object.getOwnPropertyDescriptor(value, name)?.value

/** An error and its causes, from the outermost; at most five. */
export const causesOf = (thrown: unknown): ReadonlyArray<object> => {
  const out: Array<object> = []
  for (let at = thrown; typeof at === "object" && at !== null && out.length < 5; at = field(at, "cause")) out.push(at)
  return out
}

/** The code of an error, as Node and Bun give it. */
export const codeOf = (cause: object): string | undefined => {
  const code = field(cause, "code")
  return typeof code === "string" ? code : undefined
}

/**
 * Whether a client gave up by a time limit of its own: undici's for headers and bodies, or `AbortSignal.timeout`. The
 * limit for a connection is another matter: nothing was sent.
 */
export const isTimeout = (cause: object): boolean =>
  cause instanceof Error && /^(Headers|Body)?TimeoutError$/.test(cause.name)
