/** Selects headers of an upstream's answer that may be forwarded to a client of ours. */

/** Headers that concern one connection only. */
const hopByHop = [
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade"
] as const

/** Headers that would make the client's browser act for the upstream, or against us. */
const forTheOrigin = [
  "access-control-allow-credentials",
  "access-control-allow-headers",
  "access-control-allow-methods",
  "access-control-allow-origin",
  "access-control-allow-private-network",
  "access-control-expose-headers",
  "access-control-max-age",
  "alt-svc",
  "clear-site-data",
  "content-security-policy",
  "content-security-policy-report-only",
  "cross-origin-embedder-policy",
  "cross-origin-opener-policy",
  "cross-origin-resource-policy",
  "expect-ct",
  "link",
  "location",
  "nel",
  "permissions-policy",
  "public-key-pins",
  "refresh",
  "report-to",
  "reporting-endpoints",
  "service-worker-allowed",
  "sourcemap",
  "speculation-rules",
  "strict-transport-security",
  "x-frame-options"
] as const

/** Headers that identify the paying account. */
const account = ["anthropic-organization-id", "openai-organization", "openai-project"] as const

const never = new Set<string>([...hopByHop, ...forTheOrigin, ...account])

/** Credentials, requests for them, and cookies. Counts of `tokens` are not credentials. */
const credentials: ReadonlyArray<RegExp> = [
  /^(?:set-)?cookie2?$/,
  /authorization/,
  /^(?:www|proxy)-authenticate$/,
  /^authentication-info$/,
  /(?:^|-)(?:api-?key|credentials?|password|secret|session|signature)(?:-|$)/,
  /(?:^|-)token$/
]

/**
 * The headers to forward, from lower-case names. Length and encoding described the bytes on the wire; an encoded body
 * has been decoded since.
 */
export const passedHeaders = (headers: Readonly<Record<string, string>>): Record<string, string> => {
  const connection = new Set((headers["connection"] ?? "").split(",").map((name) => name.trim().toLowerCase()))
  const encoding = headers["content-encoding"]
  const decoded = encoding !== undefined && encoding !== "identity"
  return Object.fromEntries(
    Object.entries(headers).filter(
      ([name]) =>
        !never.has(name) &&
        !connection.has(name) &&
        !credentials.some((pattern) => pattern.test(name)) &&
        name !== "content-encoding" &&
        !(name === "content-length" && decoded)
    )
  )
}
