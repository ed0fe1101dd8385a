/** Determines which compressed bodies a client has already decompressed, and which ones the library cannot read. */
import * as Effect from "effect/Effect"
import { InvalidResponse, type Reason, TransportFailure } from "../../GatewayError.ts"
import { withoutStack } from "../hotpath/stackless.ts"
import { type Body, bodyFailure, headersOf, type RawResponse, WebBody, webBody, webOf } from "./body.ts"

type Headers = Readonly<Record<string, string>>

/**
 * Codings that change the bytes: those registered with IANA, and some in use without. Servers also send words that mean
 * nothing for the bytes, such as `none` or `utf-8`, to keep proxies from compressing a stream, so any other word does
 * not count as a coding.
 */
const changing = new Set(
  (
    "gzip x-gzip deflate br zstd compress x-compress aes128gcm dcb dcz exi pack200-gzip " +
    "bzip2 x-bzip2 lz4 lzma sdch snappy xz"
  ).split(" ")
)

const wordsOf = ({ "content-encoding": encoding = "" }: Headers): ReadonlyArray<string> =>
  encoding.split(",").map((word) => word.trim().toLowerCase())

/**
 * The codings of a body, outermost last; empty when none of them changes bytes. An unknown word next to a coding is
 * included, so that the body is not read: clients disagree on its meaning.
 */
export const codingsOf = (headers: Headers): ReadonlyArray<string> => {
  const words = wordsOf(headers)
  return words.some((word) => changing.has(word)) ? words.filter((word) => word !== "" && word !== "identity") : []
}

/** The headers without those that describe the bytes on the wire. */
export const withoutEncoding = ({ "content-encoding": _, "content-length": __, ...headers }: Headers): Headers =>
  headers

/** A body in an unknown encoding: it can be forwarded unchanged, but not read. */
export const unreadable = ({ cancel, web }: Pick<Body, "cancel" | "web">, codings: ReadonlyArray<string>): Body => {
  const fail = Effect.suspend(() => {
    // The answer chooses this text, so only a plain one is repeated.
    const named = codings.join(", ").slice(0, 60)
    const issue = `an unknown content encoding${/^[a-z0-9_., -]+$/.test(named) ? `, ${named}` : ""}`
    return Effect.flatMap(cancel, () => Effect.fail(withoutStack(() => new InvalidResponse({ issue }))))
  })
  return {
    text: () => fail,
    bytes: () => fail,
    head: () => fail,
    reader: () => ({ read: fail, cancel }),
    web,
    cancel
  }
}

/** Codes of zlib, Brotli and Zstandard, which `fetch` reports as the cause of its own error. */
const damagedCode = /^(?:Z_|ERR__ERROR_|ERR_BROTLI|ZSTD_)/

const isDamage = (cause: unknown): boolean => {
  for (let at = cause, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    if ("code" in at && typeof at.code === "string" && damagedCode.test(at.code)) return true
  }
  return false
}

const failure = (cause: unknown): Reason => {
  // The connection itself broke.
  if (cause instanceof TransportFailure) return cause
  return isDamage(cause)
    ? withoutStack(() => new InvalidResponse({ issue: "damaged compressed data" }))
    : bodyFailure(cause)
}

/**
 * The body of a web response that is decompressed while it is read, although the headers describe the compressed bytes.
 */
export class DecompressedBody extends WebBody {
  protected override readonly failure = failure

  protected override webResponse(head: ResponseInit): Response {
    const { body } = this.response
    return body === null ? new Response(null, head) : webOf(body, head)
  }
}

/** Codings that `fetch` decodes. Next to any other word, even `identity`, Node's `fetch` decodes none of them. */
const ofFetch = new Set(["gzip", "x-gzip", "deflate", "br", "zstd"])
/** Largest number of codings of one body; Node's `fetch` has the same limit. */
export const maxCodings = 5

/** Converts a web response to an answer. `fetch` decodes the body if it can, but leaves the headers unchanged. */
export const webAnswer = (response: Response, abort: Effect.Effect<void>, resent: boolean): RawResponse => {
  const { status } = response
  const headers = headersOf(response)
  const codings = codingsOf(headers)
  if (codings.length === 0) return { status, headers, body: webBody(response, abort), resent }
  if (codings.length > maxCodings || wordsOf(headers).some((word) => !ofFetch.has(word))) {
    const body = new WebBody(response, abort)
    return {
      status,
      headers,
      body: unreadable({ cancel: body.cancel, web: (head) => body.web(head) }, codings),
      resent
    }
  }
  return { status, headers: withoutEncoding(headers), body: new DecompressedBody(response, abort), resent }
}
