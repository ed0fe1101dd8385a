/**
 * Between web requests and the gateway's own values.
 */
import * as Effect from "effect/Effect"
import { isTooDeep, maxJsonDepth, measureJson } from "../internal/jsonDepth.ts"
import { CurrentShare, makeCollector, maxBody, type Share } from "./collect.ts"
import { badRequest, code, Refusal, refuse } from "./errors.ts"
import { dropping } from "./passing.ts"
import { type Answer, Disconnect } from "./protocol.ts"

/** Lower-case header names to values. */
export type HeaderMap = Readonly<Record<string, string>>

/** A request as the surfaces see it. */
export interface Incoming {
  readonly method: string
  readonly url: URL
  /** Path segments after the prefixes that are the same everywhere; not decoded. */
  readonly segments: ReadonlyArray<string>
  readonly headers: HeaderMap
  /** Whether the request arrived in Miniflare's remote-proxy envelope, which carries only calls of a binding. */
  readonly isEnveloped: boolean
  readonly body: Effect.Effect<Uint8Array<ArrayBuffer> | undefined, Refusal | Disconnect>
}

const tooLarge = (): Refusal => refuse(413, code.badParameter, `request body larger than ${maxBody} bytes`)

const busy = (): Refusal =>
  refuse(503, code.busy, "the bodies of the requests in flight are as large as `inFlightBytes` allows", {
    "retry-after": "1"
  })

/** Reads a body, and stops at the first byte beyond a limit. */
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
    const refusal =
      collector.size() + value.length > maxBody ? tooLarge() : share.take(value.length) ? undefined : busy()
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
      // A body that breaks off means that the client is gone.
      catch: (error) => (error instanceof Refusal ? error : new Disconnect())
    })
  )
}

const remotePrefix = "mf-header-"

/**
 * Reads method, address and headers. A request in Miniflare's remote-proxy envelope is unwrapped: the real address
 * is in `MF-URL`, each real header in `MF-Header-{name}`.
 */
export const incoming = (request: Request): Effect.Effect<Incoming, Refusal> => {
  const outer: Record<string, string> = {}
  for (const [name, value] of request.headers) outer[name] = value
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

/** Parses JSON; `undefined` for a text that is not JSON, or that nests deeper than 1,000 levels. */
export const parseJson = (source: string): unknown => {
  try {
    return isTooDeep(source) ? undefined : JSON.parse(source)
  } catch {
    return undefined
  }
}

/** Most values in a request's JSON. A parsed value takes up to thirty times the memory of its text. */
const maxJsonValues = 1_000_000

const looksLikeJson = (source: string): boolean => /^\s*[[{]/.test(source)

/** Parses the JSON of a body; `undefined` when it is not JSON. Fails when it nests too deep or has too many values. */
export const parseBody = (body: Uint8Array | undefined): Effect.Effect<unknown, Refusal> => {
  const source = text(body)
  if (source.length > maxJsonDepth && looksLikeJson(source)) {
    const { depth, values } = measureJson(source)
    if (depth > maxJsonDepth) {
      return Effect.fail(badRequest(`the request body: expected JSON of at most ${maxJsonDepth} levels`))
    }
    if (values > maxJsonValues) {
      return Effect.fail(badRequest(`the request body: expected JSON of at most ${maxJsonValues} values`))
    }
  }
  return Effect.succeed(parseJson(source))
}

/** The body as JSON; fails when it is not. */
export const jsonBody = (incoming: Incoming): Effect.Effect<unknown, Refusal | Disconnect> =>
  Effect.flatMap(Effect.flatMap(incoming.body, parseBody), (value) =>
    value === undefined ? Effect.fail(badRequest("the request body is not JSON")) : Effect.succeed(value)
  )

const bodiless = new Set([204, 205, 304])

const bodyOf = ({ body, drop, status }: Answer): BodyInit | null => {
  if (!bodiless.has(status)) return body instanceof ReadableStream && drop !== undefined ? dropping(body, drop) : body
  if (body instanceof ReadableStream) void body.cancel().catch(() => undefined)
  return null
}

/** The web response of an answer. */
export const toResponse = (answer: Answer): Response =>
  new Response(bodyOf(answer), { status: answer.status, headers: answer.headers })

/** The token of an `authorization`-like header. */
export const bearer = (value: string | undefined): string | undefined => /^Bearer +(\S+) *$/i.exec(value ?? "")?.[1]
