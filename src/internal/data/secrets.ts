/** Credentials stay `Redacted` until a header is written, and are cut out of every answer. */
import * as Redacted from "effect/Redacted"

/**
 * Whether a header holds a credential, by complete words at the end of its name: `idempotency-key` or `x-token-limit`
 * do not.
 */
export const isCredential = (header: string): boolean =>
  /(?:^|-)(?:authorization|api-?key|token|secret|cookie|signature|password)$/.test(header)

/** The text of a header value. */
export const textOf = (value: string | Redacted.Redacted<string>): string =>
  Redacted.isRedacted(value) ? Redacted.value(value) : value

/** Unwraps header values at the point of use and lists the credentials among them. */
export const reveal = (
  headers: Readonly<Record<string, string | Redacted.Redacted<string>>>
): { readonly headers: Record<string, string>; readonly secrets: ReadonlyArray<string> } => {
  const out: Record<string, string> = {}
  const secrets: Array<string> = []
  for (const [name, value] of Object.entries(headers)) {
    const text = textOf(value)
    out[name] = text
    // Also if the caller wrote it as plain text.
    if (text !== value || isCredential(name)) secrets.push(...secretsOf(text))
  }
  return { headers: out, secrets }
}

const shortest = 4

/** A header value and, when it is `Scheme value`, the value alone: an answer may echo either. */
export const secretsOf = (value: string): ReadonlyArray<string> => {
  const bare = value.replace(/^[A-Za-z]+ +/, "")
  return (bare === value ? [value] : [value, bare]).filter((secret) => secret.length >= shortest)
}

/**
 * Pattern of a secret as an answer may write it: unchanged, escaped as in JSON or HTML, or percent-encoded. A run of
 * backslashes is one part of it, so that there is only one way to match.
 */
const patternOf = (secret: string): string =>
  secret.replace(/\\+|[^A-Za-z0-9]/g, (found) => {
    const hex = found.charCodeAt(0).toString(16)
    const code = `u${hex.padStart(4, "0")}`
    const { length } = found
    return found.startsWith("\\")
      ? `(?:\\\\|%5c){${length},${length * 2}}`
      : `(?:\\\\?\\${code}|\\\\${code}|%${hex}|&[#\\w]{2,8};)`
  })

/**
 * Cuts credentials out of a text, however they are escaped, including the beginning of one where the text ends in its
 * middle: texts are truncated somewhere.
 */
export const scrub = (text: string, secrets: ReadonlyArray<string>): string => {
  // Longest first: a secret may be the beginning of another.
  const known = secrets.filter((secret) => secret !== "").sort((a, b) => b.length - a.length)
  if (known.length === 0) return text
  const out = text.replace(new RegExp(known.map(patternOf).join("|"), "gi"), "<redacted>")
  for (const secret of known) {
    // The scheme alone is not secret.
    const least = secret.lastIndexOf(" ") + 1 + shortest
    for (let { length } = secret; length >= least; length--) {
      if (out.endsWith(secret.slice(0, length))) return `${out.slice(0, -length)}<redacted>`
    }
  }
  return out
}

// A name also ends at the next `?`: otherwise the pattern would search to the end from each `?` of a long run.
const inQuery =
  /([?&;](?:code|pass|[^?=&;]*(?:key|token|secret(?:[_-]?id)?|signature|password|passwd|pwd|credential|jwt|hmac|sig|auth)(?:\[\]|%5b%5d)?)=)([^&]*)/gi

/** Credentials in the query of a path at a provider, unchanged and decoded. */
export const endpointSecrets = (endpoint: string): ReadonlyArray<string> =>
  !endpoint.includes("=")
    ? []
    : [...endpoint.matchAll(inQuery)].flatMap(([, , value = ""]) => [...secretsOf(value), ...secretsOf(decoded(value))])

const decoded = (value: string): string => {
  try {
    return decodeURIComponent(value)
  } catch {
    return value
  }
}

/** A path at a provider without the keys in its query, for messages. */
export const shownEndpoint = (endpoint: string): string =>
  // Most have no parameters, and even a pattern without a match costs time.
  !endpoint.includes("=") ? endpoint : endpoint.replace(inQuery, "$1<redacted>")
