/**
 * A server on a real socket that does what a test says, and remembers what it saw.
 */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http"
import type { AddressInfo, Socket } from "node:net"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** A request as it came over the wire, with its whole body. */
export interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
  /** Number of the connection, from 0. */
  readonly connection: number
}

/** See the module. */
export interface Peer {
  readonly url: string
  readonly requests: ReadonlyArray<Seen>
  /** Connections that were made. */
  readonly connections: () => number
  /**
   * Connections that carried a request and are open now. Node's `fetch` replaces one that it aborted by a spare one,
   * which stays idle for some seconds: that one is the runtime's.
   */
  readonly open: () => number
  /** Waits, driven by the server's own events, until a condition holds. */
  readonly until: (condition: () => boolean) => Effect.Effect<void>
}

/** Answers request number `index`. A socket that is not answered stays open until the client or the test ends. */
export type Reply = (request: Seen, response: ServerResponse, socket: Socket, index: number) => void

/** Answers with JSON. */
export const json = (response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}) => {
  response.writeHead(status, { "content-type": "application/json", ...headers })
  response.end(JSON.stringify(body))
}

/** Starts a peer on a free port of 127.0.0.1; it stops with the scope. */
export const makePeer = (reply: Reply): Effect.Effect<Peer, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<{ readonly peer: Peer; readonly stop: () => void }>((resume) => {
      const requests: Array<Seen> = []
      const sockets = new Map<Socket, number>()
      const open = new Set<Socket>()
      const listeners = new Set<() => void>()
      const changed = () => {
        for (const listener of listeners) listener()
      }
      const server = createServer((request, response) => {
        if (!request.socket.destroyed) open.add(request.socket)
        const chunks: Array<Buffer> = []
        request.on("data", (chunk: Buffer) => chunks.push(chunk))
        request.on("error", () => undefined)
        response.on("error", () => undefined)
        request.on("end", () => {
          const seen: Seen = {
            method: request.method ?? "",
            url: request.url ?? "",
            headers: request.headers,
            body: Buffer.concat(chunks).toString("utf8"),
            connection: sockets.get(request.socket) ?? -1
          }
          requests.push(seen)
          reply(seen, response, request.socket, requests.length - 1)
          changed()
        })
      })
      server.on("connection", (socket) => {
        sockets.set(socket, sockets.size)
        socket.on("error", () => undefined)
        socket.on("close", () => {
          open.delete(socket)
          changed()
        })
        changed()
      })
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo
        resume(
          Effect.succeed({
            peer: {
              url: `http://127.0.0.1:${port}`,
              requests,
              connections: () => sockets.size,
              open: () => open.size,
              until: (condition) =>
                Effect.callback((resume) => {
                  const check = () => {
                    if (!condition()) return
                    listeners.delete(check)
                    resume(Effect.void)
                  }
                  listeners.add(check)
                  check()
                  return Effect.sync(() => listeners.delete(check))
                })
            },
            stop: () => {
              server.closeAllConnections()
              server.close()
            }
          })
        )
      })
    }),
    ({ stop }) => Effect.sync(stop)
  ).pipe(Effect.map(({ peer }) => peer))
