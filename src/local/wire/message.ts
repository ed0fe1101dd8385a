/** Converts web requests to the gateway's own values, and answers to web responses. */
import * as Effect from "effect/Effect"
import { maxJsonDepth, measureJson } from "../../internal/data/jsonDepth.ts"
import { CurrentShare, jsonBytes, makeCollector, maxBody, type Share } from "./collect.ts"
import { badRequest, code, Refusal, refuse } from "./errors.ts"
import { dropping, holding, holdingBytes } from "./outgoingBody.ts"
import { type Answer, Disconnect } from "./protocol.ts"

/** Lower-case header names to values. */
export type HeaderMap = Readonly<Record<string, string>>

/** A request as the surfaces see it. */
export interface Incoming {
  readonly method: string
  readonly url: URL
  /** Path segments after the common prefixes; not decoded. */
  readonly segments: ReadonlyArray<string>
  readonly headers: HeaderMap
  /** Whether the request arrived in Miniflare's remote-proxy envelope, which carries only calls of a binding. */
  readonly isEnveloped: boolean
  readonly body: Effect.Effect<Uint8Array<ArrayBuffer> | undefined, Refusal | Disconnect>
}

const tooLarge = (): Refusal => refuse(413, code.badParameter, `request body larger than ${maxBody} bytes`)

/** Collects a body up to a limit; stops at the first byte too many. */
const collect = async (
  body: ReadableStream<Uint8Array>,
  share: Share,
  signal: AbortSignal
): Promise<Uint8Array<ArrayBuffer> | undefined> => {
  const reader = body.getReader()
  const leave = (): void => void reader.cancel().catch(() => undefined)
  signal.addEventListener("abort", leave, { once: true })
  const collector = makeCollector()
  while (true) {
    const { done, value } = await reader.read()
    if (done) break
    const refusal = collector.size() + value.length > maxBody ? tooLarge() : share.take(value.length)
    if (refusal !== undefined) {
      leave()
      throw refusal
    }
    collector.add(value)
  }
  signal.removeEventListener("abort", leave)
  return collector.size() === 0 ? undefined : collector.join()
}

const readBody = (request: Request): Incoming["body"] => {
  if (request.method === "GET" || request.method === "HEAD") return Effect.succeed(undefined)
  if (Number(request.headers.get("content-length") ?? 0) > maxBody) return Effect.fail(tooLarge())
  if (request.bodyUsed) return Effect.fail(badRequest("the body of this request was already read"))
  const { body } = request
  if (body === null) return Effect.succeed(undefined)
  return Effect.flatMap(CurrentShare, (share) =>
    Effect.tryPromise({
      try: (signal) => collect(body, share, signal),
      // A body that breaks off means that the client has gone.
      catch: (error) => (error instanceof Refusal ? error : new Disconnect())
    })
  )
}

const remotePrefix = "mf-header-"

/** Headers for the gateway itself, which are not forwarded. All others are forwarded as raw bytes. */
const ownHeader = /^(mf-header-)?cf-aig-/i

const strictDecoder = new TextDecoder("utf-8", { fatal: true })

/**
 * The text of a header value: HTTP carries bytes, which a `Request` turns into one character each, while clients write
 * UTF-8.
 */
const utf8Of = (value: string): string => {
  if (!/[\u0080-\u00ff]/.test(value)) return value
  try {
    return strictDecoder.decode(Uint8Array.from(value, (character) => character.charCodeAt(0)))
  } catch {
    return value
  }
}

/**
 * Reads method, address and headers. A request in Miniflare's remote-proxy envelope is unwrapped: the real address
 * is in `MF-URL`, each real header in `MF-Header-{name}`.
 */
export const incoming = (request: Request): Effect.Effect<Incoming, Refusal> => {
  const outer: Record<string, string> = {}
  for (const [name, value] of request.headers) outer[name] = ownHeader.test(name) ? utf8Of(value) : value
  const remote = outer["mf-url"]
  const address = remote ?? request.url
  if (!URL.canParse(address)) return Effect.fail(badRequest("the request has no valid URL"))
  const url = new URL(address)
  const headers =
    remote === undefined
      ? outer
      : Object.fromEntries(
          Object.entries(outer).flatMap(([name, value]) => {
            if (name.startsWith(remotePrefix)) return [[name.slice(remotePrefix.length), value]]
            return name === "upgrade" ? [[name, value]] : []
          })
        )
  const all = url.pathname.split("/").slice(1)
  const segments = all[0] === "client" && all[1] === "v4" ? all.slice(2) : all
  const isEnveloped = remote !== undefined
  return Effect.succeed({ method: request.method, url, segments, headers, isEnveloped, body: readBody(request) })
}

const decoder = new TextDecoder()

/** A body as text; bytes that are not UTF-8 become replacement characters. */
export const text = (body: Uint8Array | undefined): string => (body === undefined ? "" : decoder.decode(body))

/** Largest number of values in a JSON text. Parsed, each takes up to thirty times its text. */
const maxJsonValues = 1_000_000

/**
 * Parses JSON; `undefined` for a text that is not JSON, nests deeper than 1,000 levels, or has more than a million
 * values.
 */
export const parseBoundedJson = (source: string): unknown => {
  try {
    const { depth, values } = measureJson(source)
    return depth > maxJsonDepth || values > maxJsonValues ? undefined : JSON.parse(source)
  } catch {
    return undefined
  }
}

const looksLikeJson = (source: string): boolean => /^\s*[[{]/.test(source)

/** Bytes that the JSON of a body takes, or why it is rejected. Other bodies take nothing. */
const costOf = (source: string, bytes: number): number | Refusal => {
  const { depth, values } = looksLikeJson(source) ? measureJson(source) : { depth: 0, values: 1 }
  if (depth > maxJsonDepth) return badRequest(`the request body: expected JSON of at most ${maxJsonDepth} levels`)
  if (values > maxJsonValues) return badRequest(`the request body: expected JSON of at most ${maxJsonValues} values`)
  if (!/^\s*["[{]/.test(source)) return 0
  // Texts beyond Latin-1 take two bytes for each unit.
  return jsonBytes(source.length === bytes ? bytes : 2 * source.length, values)
}

/**
 * Parses the JSON of a body; `undefined` for other bodies. Fails when it is too deep, or has too many values. The bytes
 * are returned to the share: those that a leg sends count again.
 */
export const parseBody = (body: Uint8Array | undefined): Effect.Effect<unknown, Refusal> =>
  Effect.flatMap(CurrentShare, (share) => {
    const source = text(body)
    const bytes = body?.length ?? 0
    const cost = costOf(source, bytes)
    const refusal = typeof cost === "number" ? share.take(cost) : cost
    if (refusal !== undefined) return Effect.fail(refusal)
    const json = parseBoundedJson(source)
    share.give(json === undefined && typeof cost === "number" ? bytes + cost : bytes)
    return Effect.succeed(json)
  })

/** Reads the body as JSON; fails when it is not. */
export const jsonBody = (incoming: Incoming): Effect.Effect<unknown, Refusal | Disconnect> =>
  Effect.flatMap(Effect.flatMap(incoming.body, parseBody), (value) =>
    value === undefined ? Effect.fail(badRequest("the request body is not JSON")) : Effect.succeed(value)
  )

/** JSON, as its text and as its value. */
export interface JsonText {
  readonly value: unknown
  readonly text: string
}

/** {@link jsonBody} with its text. */
export const jsonTextBody = (incoming: Incoming): Effect.Effect<JsonText, Refusal | Disconnect> =>
  Effect.flatMap(incoming.body, (body) =>
    Effect.flatMap(parseBody(body), (value) =>
      value === undefined
        ? Effect.fail(badRequest("the request body is not JSON"))
        : Effect.succeed({ value, text: text(body) })
    )
  )

const bodiless = new Set([204, 205, 304])

const bodyOf = ({ body, drop, status }: Answer, share: Share): ReadableStream<Uint8Array> | null => {
  const isStream = body instanceof ReadableStream
  if (body === null || bodiless.has(status)) {
    if (isStream) void body.cancel().catch(() => undefined)
    share.release()
    return null
  }
  if (isStream) return holding(drop === undefined ? body : dropping(body, drop), share)
  return holdingBytes(typeof body === "string" ? encoder.encode(body) : body, share)
}

const encoder = new TextEncoder()

/** An answer whose buffered body is converted to bytes. */
export const inBytes = (answer: Answer): Answer => {
  const { body, headers } = answer
  if (typeof body !== "string") return answer
  // The type that `Response` gives to a text.
  return { ...answer, headers: { "content-type": "text/plain;charset=UTF-8", ...headers }, body: encoder.encode(body) }
}

/**
 * Converts an answer to a web response. Its share is released when the body is sent or cancelled, or at once without a
 * body.
 */
export const toResponse = (answer: Answer, share: Share): Response => {
  const headers = new Headers(answer.headers)
  for (const cookie of answer.cookies ?? []) headers.append("set-cookie", cookie)
  return new Response(bodyOf(answer, share), { status: answer.status, headers })
}

/** The token of an `authorization`-like header. */
export const bearer = (value: string | undefined): string | undefined => /^Bearer +(\S+) *$/i.exec(value ?? "")?.[1]
