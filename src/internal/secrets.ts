/**
 * Credentials stay `Redacted` until a header is written, and are cut out of everything that comes back.
 */
import * as Redacted from "effect/Redacted"

/** Unwraps header values at the point of use and lists the credentials among them. */
export const reveal = (
  headers: Readonly<Record<string, string | Redacted.Redacted<string>>>
): { readonly headers: Record<string, string>; readonly secrets: ReadonlyArray<string> } => {
  const out: Record<string, string> = {}
  const secrets: Array<string> = []
  for (const [name, value] of Object.entries(headers)) {
    if (Redacted.isRedacted(value)) {
      const text = Redacted.value(value)
      out[name] = text
      secrets.push(...secretsOf(text))
    } else {
      out[name] = value
    }
  }
  return { headers: out, secrets }
}

/** A header value and, when it is `Scheme value`, the value alone: an answer may echo either. */
export const secretsOf = (value: string): ReadonlyArray<string> => {
  const bare = value.replace(/^[A-Za-z]+ +/, "")
  return (bare === value ? [value] : [value, bare]).filter((secret) => secret.length >= 4)
}

/** Cuts credentials out of a text, also where they stand in JSON. */
export const scrub = (text: string, secrets: ReadonlyArray<string>): string =>
  secrets
    .flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1)])
    .filter((secret) => secret !== "")
    // Longest first: a secret may be the beginning of another.
    .sort((a, b) => b.length - a.length)
    .reduce((out, secret) => out.replaceAll(secret, "<redacted>"), text)
