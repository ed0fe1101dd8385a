/** Recognizes failures of an HTTP client that hide an answer. Such an answer exists, so the request is not repeated. */
import { InvalidResponse } from "../../GatewayError.ts"
import { withoutStack } from "../hotpath/stackless.ts"
import { isRefusal, redirected } from "./request.ts"

const headersTooLarge = new Set(["UND_ERR_HEADERS_OVERFLOW", "HPE_HEADER_OVERFLOW"])

/** The issue in an error, if it has one. */
const issueOf = (error: Error): string | undefined => {
  if ("code" in error && typeof error.code === "string" && headersTooLarge.has(error.code)) {
    return "headers of more bytes than the HTTP client accepts"
  }
  if (error.message.startsWith("too many content-encodings"))
    return "more content encodings than the HTTP client accepts"
  const { cause } = error
  // The error of Node's `fetch` for a 407, and for little else; it has neither a message nor a code.
  return error.message === "fetch failed" && cause instanceof Error && cause.message === "" && !("code" in cause)
    ? "an answer that `fetch` does not deliver, such as a 407"
    : undefined
}

/**
 * The reason of a failure that hides an answer: a redirect, headers that are too large, too many encodings, or a 407
 * over `fetch`.
 */
export const withheld = (thrown: unknown): InvalidResponse | undefined => {
  if (isRefusal(thrown)) return redirected(undefined)
  for (let at = thrown, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const issue = issueOf(at)
    if (issue !== undefined) return withoutStack(() => new InvalidResponse({ issue }))
  }
  return undefined
}
