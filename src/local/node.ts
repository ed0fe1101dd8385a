/**
 * The local gateway as a real server on Node, for programs, SDKs and tests in other processes.
 */
import { once } from "node:events"
import * as Http from "node:http"
import type { AddressInfo, Socket } from "node:net"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { type GatewayError, invalid } from "../GatewayError.ts"
import * as LocalGateway from "./LocalGateway.ts"
import { sealing } from "./surface/browserGuard.ts"

/**
 * Options of {@link serve}.
 *
 * @category models
 */
export interface ServeOptions extends LocalGateway.Options {
  /** 0 to 65535; 0 selects a free port. */
  readonly port: number
  /** Default: `127.0.0.1`. An interface that other machines reach is rejected unless `token` is set. */
  readonly host?: string | undefined
  /** How long requests in flight may continue when the scope closes. Default: not at all; they are interrupted. */
  readonly shutdownGrace?: Duration.Input | undefined
  /** How long an idle connection is kept open. Default: Node's, 5 seconds. */
  readonly keepAliveTimeout?: Duration.Input | undefined
}

/**
 * A running server.
 *
 * @category models
 */
export interface Server {
  readonly gateway: LocalGateway.LocalGateway
  readonly port: number
  /** `http://{host}:{port}` */
  readonly url: string
  /** Open connections, idle ones included. */
  readonly sockets: Effect.Effect<number>
}

const method = "LocalGateway.serve"
const loopback = ["127.0.0.1", "::1", "localhost"]
const wildcards = ["0.0.0.0", "::"]

const check = (options: ServeOptions): GatewayError | undefined => {
  const { host = "127.0.0.1", port } = options
  if (!Number.isInteger(port) || port < 0 || port > 65535) return invalid(method, "port", "0 to 65535")
  if (!loopback.includes(host) && options.token === undefined) {
    return invalid(method, "host", "127.0.0.1, ::1 or localhost; any other needs a token")
  }
  for (const field of ["shutdownGrace", "keepAliveTimeout"] as const) {
    const input = options[field]
    const duration = input === undefined ? Option.some(Duration.zero) : Duration.fromInput(input)
    if (!Option.exists(duration, (d) => Duration.isFinite(d) && Duration.isGreaterThanOrEqualTo(d, Duration.zero))) {
      return invalid(method, field, "a finite duration of 0 or more")
    }
  }
  return undefined
}

const listen = (server: Http.Server, port: number, host: string): Effect.Effect<number, GatewayError> =>
  Effect.callback<number, GatewayError>((resume) => {
    const failed = (error: Error & { readonly code?: string }): void =>
      resume(Effect.fail(invalid(method, "port", `a port that can be listened on (${error.code ?? "listen failed"})`)))
    server.once("error", failed)
    server.listen(port, host, () => {
      server.off("error", failed)
      const address = server.address()
      resume(Effect.succeed(isAddress(address) ? address.port : port))
    })
  })

const isAddress = (address: AddressInfo | string | null): address is AddressInfo =>
  typeof address === "object" && address !== null

// The path decides which surface answers; the `Host` header is checked separately.
const urlOf = (target: string): string => (target.startsWith("/") ? `http://local.gateway${target}` : target)

/** The body of an incoming request. */
interface Upload {
  readonly body: ReadableStream<Uint8Array>
  /** Whether a reader began and gave up. */
  readonly isAbandoned: () => boolean
  /** Reads and discards that many more bytes. */
  readonly discard: (bytes: number) => Promise<void>
}

// Created on the first read only: Node discards an unread body itself, and the connection stays usable.
const uploadOf = (incoming: Http.IncomingMessage): Upload => {
  let chunks: AsyncIterator<Uint8Array> | undefined
  let abandoned = false
  const next = (): Promise<IteratorResult<Uint8Array>> => {
    chunks ??= incoming[Symbol.asyncIterator]()
    return chunks.next()
  }
  const body = new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const chunk = await next()
        if (chunk.done === true) controller.close()
        else controller.enqueue(chunk.value)
      },
      cancel: () => {
        abandoned = true
      }
    },
    { highWaterMark: 0 }
  )
  return {
    body,
    isAbandoned: () => abandoned,
    discard: async (bytes) => {
      for (let left = bytes; left > 0; ) {
        const chunk = await next()
        if (chunk.done === true) return
        left -= chunk.value.length
      }
      // The client keeps the rest: there is no more room for it.
      await new Promise(() => undefined)
    }
  }
}

const toRequest = (incoming: Http.IncomingMessage, { body }: Upload): Request => {
  const headers = new Headers()
  for (let i = 0; i + 1 < incoming.rawHeaders.length; i += 2) {
    headers.append(incoming.rawHeaders[i] ?? "", incoming.rawHeaders[i + 1] ?? "")
  }
  const verb = incoming.method ?? "GET"
  const target = incoming.url ?? "/"
  const url = urlOf(target)
  // RFC 9112, 3.2.2: the host of an absolute target replaces the header.
  if (!target.startsWith("/")) headers.set("host", new URL(url).host)
  // HTTP/1.0 may omit the header. An empty one does not pass the check.
  if (!headers.has("host")) headers.set("host", "")
  if (verb === "GET" || verb === "HEAD") return new Request(url, { method: verb, headers })
  const init: RequestInit & { readonly duplex: "half" } = { method: verb, headers, body, duplex: "half" }
  return new Request(url, init)
}

/** Waits until all written bytes have left this process, so that a client sees them before a break. */
const flushed = (outgoing: Http.ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    if (outgoing.socket === null) return resolve()
    outgoing.flushHeaders()
    outgoing.socket.write("", () => resolve())
  })

/** Sends a body piece by piece, and requests the next piece only when the connection has accepted the last. */
const pump = async (
  reader: ReadableStreamDefaultReader<Uint8Array>,
  outgoing: Http.ServerResponse,
  signal: AbortSignal
): Promise<void> => {
  while (true) {
    const next = await reader.read().catch(async (error: unknown) => {
      await flushed(outgoing)
      throw error
    })
    if (next.done) break
    if (!outgoing.write(next.value)) await once(outgoing, "drain", { signal })
  }
  await new Promise<void>((resolve) => outgoing.end(resolve))
}

const send = (outgoing: Http.ServerResponse, response: Response): Effect.Effect<void, unknown> =>
  Effect.suspend(() => {
    const { body } = response
    outgoing.statusCode = response.status
    outgoing.setHeaders(response.headers)
    if (body === null) return Effect.sync(() => void outgoing.end())
    const reader = body.getReader()
    return Effect.tryPromise((signal) => pump(reader, outgoing, signal)).pipe(
      Effect.onExit((exit) =>
        Effect.sync(() => {
          if (Exit.isSuccess(exit)) return
          // Comes first, because cancelling a body ends its pending read, and the answer would end like a complete one.
          outgoing.destroy()
          void reader.cancel().catch(() => undefined)
        })
      )
    )
  })

/**
 * How much of a rejected body is still read, and for how long, so that a client that writes first can read the answer.
 */
const lingerBytes = 16 * 1024 * 1024
const lingerTime = Duration.seconds(1)

/**
 * Answers a request without reading its body to the end. The connection then ends, because it still carries the rest of
 * the body.
 */
const sendEarly = (outgoing: Http.ServerResponse, response: Response, upload: Upload): Effect.Effect<void, unknown> =>
  Effect.gen(function* () {
    const body = new Uint8Array(yield* Effect.promise(() => response.arrayBuffer()))
    outgoing.statusCode = response.status
    outgoing.setHeaders(response.headers)
    outgoing.setHeader("connection", "close")
    outgoing.setHeader("content-length", body.length)
    outgoing.write(body)
    yield* Effect.timeoutOption(Effect.ignore(Effect.tryPromise(() => upload.discard(lingerBytes))), lingerTime)
    outgoing.end()
  })

const plain = (status: number, text: string): Response =>
  new Response(text, { status, headers: { "content-type": "text/plain; charset=utf-8", ...sealing } })

const exchange = (
  gateway: LocalGateway.LocalGateway,
  incoming: Http.IncomingMessage,
  outgoing: Http.ServerResponse,
  upload = uploadOf(incoming)
): Effect.Effect<void> =>
  Effect.try({ try: () => toRequest(incoming, upload), catch: () => plain(400, "malformed request") }).pipe(
    Effect.flatMap(gateway.handle),
    Effect.catchIf(
      (error) => error instanceof Response,
      (response) => Effect.succeed(response)
    ),
    Effect.catchDefect(() =>
      Effect.as(Effect.logError("LocalGateway: an upstream died"), plain(500, "an upstream of the local gateway died"))
    ),
    Effect.flatMap((response) =>
      upload.isAbandoned() || (response.status === 413 && !incoming.complete)
        ? sendEarly(outgoing, response, upload)
        : send(outgoing, response)
    ),
    // A `Disconnect`, or a body that broke off: the client must notice.
    Effect.catchCause(() => Effect.sync(() => void outgoing.destroy()))
  )

// `socket.closed` is true before the event, so only the event counts.
const drained = (sockets: ReadonlySet<Socket>): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (sockets.size === 0) return resume(Effect.void)
    for (const socket of sockets) {
      socket.once("close", () => {
        if (sockets.size === 0) resume(Effect.void)
      })
    }
  })

/**
 * Starts a server; it stops with the scope.
 *
 * A client that leaves interrupts its request, and a `drop` fault destroys the client's connection. Fails with
 * `InvalidRequest` naming the option: a bad port, an address in use, an interface that other machines reach without a
 * token, or an option of `LocalGateway.make`.
 *
 * On an interface that other machines reach, the paths of the Workers binding require the token too, and clients must
 * use the address in `host` or one of `allowHosts`. Web pages get a 403 unless their origin is in `allowOrigins`.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import { serve } from "effect-ai-gateway/local/node"
 *
 * const program = Effect.gen(function* () {
 *   const { url } = yield* serve({ port: 0 })
 *   const response = yield* Effect.promise(() =>
 *     fetch(`${url}/v1/local/default/openai/chat/completions`, {
 *       method: "POST",
 *       headers: { "content-type": "application/json" },
 *       body: JSON.stringify({ model: "gpt-4.1-mini", messages: [{ role: "user", content: "Hello" }] })
 *     })
 *   )
 *   return response.status
 * })
 *
 * console.log(await Effect.runPromise(Effect.scoped(program))) // 200
 * ```
 *
 * @category constructors
 */
export const serve = Effect.fn("LocalGateway.serve")(function* (
  options: ServeOptions
): Effect.fn.Return<Server, GatewayError, Scope.Scope> {
  const problem = check(options)
  if (problem !== undefined) return yield* problem
  const { host = "127.0.0.1" } = options
  let url = ""
  const exposure = loopback.includes(host) ? "trusted" : "public"
  // Clients use the address of one interface as the host; an address that stands for all interfaces is not a host.
  const isNamed = exposure === "public" && !wildcards.includes(host)
  const allowHosts = [...(options.allowHosts ?? []), ...(isNamed ? [host] : [])]
  const gateway = yield* LocalGateway.makeExposed({ ...options, allowHosts }, () => url, exposure)
  const fibers = yield* FiberSet.make<void>()
  const run = yield* FiberSet.runtime(fibers)()
  const sockets = new Set<Socket>()
  const server = Http.createServer((incoming, outgoing) => {
    const fiber = run(exchange(gateway, incoming, outgoing))
    outgoing.once("close", () => {
      if (!outgoing.writableFinished) fiber.interruptUnsafe()
    })
  })
  if (options.keepAliveTimeout !== undefined) {
    server.keepAliveTimeout = Duration.toMillis(options.keepAliveTimeout)
  }
  server.on("connection", (socket) => {
    sockets.add(socket)
    socket.once("close", () => sockets.delete(socket))
  })
  const close = Effect.gen(function* () {
    const stop = Effect.callback<void>((resume) => {
      server.close(() => resume(Effect.void))
      server.closeIdleConnections()
    })
    const closing = yield* Effect.forkChild(stop, { startImmediately: true })
    if (options.shutdownGrace !== undefined) {
      yield* Effect.timeoutOption(FiberSet.awaitEmpty(fibers), options.shutdownGrace)
    }
    yield* FiberSet.clear(fibers)
    server.closeAllConnections()
    yield* Fiber.join(closing)
    // The server reports its end before its sockets do.
    yield* drained(sockets)
  })
  const port = yield* Effect.acquireRelease(listen(server, options.port, host), () => close)
  url = `http://${host.includes(":") ? `[${host}]` : host}:${port}`
  return { gateway, port, url, sockets: Effect.sync(() => sockets.size) }
})
