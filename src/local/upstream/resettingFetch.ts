/**
 * A `fetch` for Node that resets the connection on abort, like a client that goes away. The platform's own `fetch`
 * closes it politely, and a server that is busy with the answer does not notice.
 */
import * as Http from "node:http"
import { Readable } from "node:stream"

const bodiless = new Set([101, 204, 205, 304])

const toResponse = (incoming: Http.IncomingMessage): Response => {
  const headers = new Headers()
  for (let i = 0; i + 1 < incoming.rawHeaders.length; i += 2) {
    headers.append(incoming.rawHeaders[i] ?? "", incoming.rawHeaders[i + 1] ?? "")
  }
  const status = incoming.statusCode ?? 200
  if (bodiless.has(status)) incoming.resume()
  // Node and the web platform declare the same class twice.
  const body = bodiless.has(status) ? null : (Readable.toWeb(incoming) as ReadableStream<Uint8Array<ArrayBuffer>>)
  return new Response(body, { status, headers })
}

/** Sends a request over its own connection. An aborted signal resets that connection, even while the body is read. */
export const fetchAndReset = async (request: Request, signal: AbortSignal): Promise<Response> => {
  const body = request.body === null ? undefined : new Uint8Array(await request.arrayBuffer())
  signal.throwIfAborted()
  return await new Promise<Response>((resolve, reject) => {
    const outgoing = Http.request(request.url, {
      method: request.method,
      headers: Object.fromEntries(request.headers),
      agent: false
    })
    const leave = (): void => {
      outgoing.socket?.resetAndDestroy()
      outgoing.destroy()
      reject(signal.reason)
    }
    signal.addEventListener("abort", leave, { once: true })
    outgoing.once("close", () => signal.removeEventListener("abort", leave))
    outgoing.once("error", reject)
    outgoing.once("response", (incoming) => resolve(toResponse(incoming)))
    outgoing.end(body)
  })
}
