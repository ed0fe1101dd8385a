/**
 * A raw TCP server: a client gets exactly the bytes that it writes, down to half a status line.
 */
import { createServer, type Socket } from "node:net"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** A server of raw TCP that records its requests. */
export interface RawPeer {
  readonly url: string
  /** Number of the connection of each request, from 0. */
  readonly requests: ReadonlyArray<number>
}

const isComplete = (text: string): boolean => {
  const end = text.indexOf("\r\n\r\n")
  const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0)
  return end >= 0 && text.length >= end + 4 + length
}

/** Starts a server on a free port of 127.0.0.1; it stops with the scope. Requests must be ASCII. */
export const makeRawPeer = (
  reply: (socket: Socket, index: number) => void
): Effect.Effect<RawPeer, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<RawPeer & { readonly stop: () => void }>((resume) => {
      const requests: Array<number> = []
      const sockets: Array<Socket> = []
      const server = createServer((socket) => {
        const connection = sockets.push(socket) - 1
        let text = ""
        socket.on("error", () => undefined)
        socket.on("data", (chunk) => {
          text += chunk.toString("latin1")
          if (!isComplete(text)) return
          text = ""
          requests.push(connection)
          reply(socket, requests.length - 1)
        })
      })
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = typeof address === "object" && address !== null ? address.port : 0
        const stop = (): void => {
          for (const socket of sockets) socket.destroy()
          server.close()
        }
        resume(Effect.succeed({ url: `http://127.0.0.1:${port}`, requests, stop }))
      })
    }),
    ({ stop }) => Effect.sync(stop)
  )
