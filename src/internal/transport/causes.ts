/** Inspects errors that a client threw. Clients differ in how deep they hide the cause. */

/** An own field, without running a getter. */
const field = (value: object, name: string): unknown => Object.getOwnPropertyDescriptor(value, name)?.value

/** An error and its causes, from the outermost; at most five. */
export const causesOf = (thrown: unknown): ReadonlyArray<object> => {
  const out: Array<object> = []
  for (let at = thrown; typeof at === "object" && at !== null && out.length < 5; at = field(at, "cause")) out.push(at)
  return out
}

/** The code of an error, as Node and Bun set it. */
export const codeOf = (cause: object): string | undefined => {
  const code = field(cause, "code")
  return typeof code === "string" ? code : undefined
}

/**
 * Whether a client's own time limit expired: undici's for headers and bodies, or `AbortSignal.timeout`. The limit for
 * connecting is different: nothing was sent.
 */
export const isTimeout = (cause: object): boolean =>
  cause instanceof Error && /^(Headers|Body)?TimeoutError$/.test(cause.name)
