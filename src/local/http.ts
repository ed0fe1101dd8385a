/**
 * Between web requests and the gateway's own values.
 */
import * as Effect from "effect/Effect"
import { badRequest, code, type Refusal, refuse } from "./errors.ts"
import { dropping } from "./passing.ts"
import { type Answer, Disconnect } from "./protocol.ts"

/** Largest request body that is read. */
export const maxBody = 100 * 1024 * 1024

/** Lower-case header names to values. */
export type HeaderMap = Readonly<Record<string, string>>

/** A request as the surfaces see it. */
export interface Incoming {
  readonly method: string
  readonly url: URL
  /** Path segments after the prefixes that are the same everywhere; not decoded. */
  readonly segments: ReadonlyArray<string>
  readonly headers: HeaderMap
  /** Whether the request came in Miniflare's remote-proxy envelope, which carries calls of a binding and nothing else. */
  readonly isEnveloped: boolean
  readonly body: Effect.Effect<Uint8Array<ArrayBuffer> | undefined, Refusal | Disconnect>
}

const tooLarge = (): Refusal => refuse(413, code.badParameter, `request body larger than ${maxBody} bytes`)

const readBody = (request: Request): Incoming["body"] => {
  if (request.method === "GET" || request.method === "HEAD") return Effect.succeed(undefined)
  if (Number(request.headers.get("content-length") ?? 0) > maxBody) return Effect.fail(tooLarge())
  if (request.bodyUsed) return Effect.fail(badRequest("the body of this request was already read"))
  // A body that breaks off means that the client is gone.
  return Effect.tryPromise({ try: () => request.arrayBuffer(), catch: () => new Disconnect() }).pipe(
    Effect.flatMap((buffer) => {
      if (buffer.byteLength > maxBody) return Effect.fail(tooLarge())
      return Effect.succeed(buffer.byteLength === 0 ? undefined : new Uint8Array(buffer))
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

/** Parses JSON, or `undefined`. */
export const parseJson = (source: string): unknown => {
  try {
    return JSON.parse(source)
  } catch {
    return undefined
  }
}

/** The body as JSON; fails when it is not. */
export const jsonBody = (incoming: Incoming): Effect.Effect<unknown, Refusal | Disconnect> =>
  Effect.flatMap(incoming.body, (body) => {
    const value = parseJson(text(body))
    return value === undefined ? Effect.fail(badRequest("the request body is not JSON")) : Effect.succeed(value)
  })

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
