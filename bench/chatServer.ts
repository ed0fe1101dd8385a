/**
 * The upstream of the contenders, in its own process: an HTTP/1.1 server on loopback whose answers contain the name of
 * their prompt, so that an answer to the wrong caller is noticed.
 *
 * It uses TCP directly and splices prepared bytes, so that its cost does not hide differences between clients. The
 * first segment of the path configures each target, in order, as in `/dead,ok/v1/…/groq/chat/completions`; the target
 * is the provider's name in the path, or in each leg of a universal request.
 */
import { createServer, type Socket } from "node:net"
import { pathToFileURL } from "node:url"
import { serve } from "./child.ts"
import { providers } from "./contender.ts"

/**
 * Behaviour of a target: answers; answers after up to 4 ms, out of order; answers 503; begins to stream and drops the
 * connection halfway; begins to stream and ends early with a clean end; waits until it is released.
 */
export type Mode = "ok" | "mixed" | "dead" | "cut" | "short" | "held"

/** Approximate bytes of an answer's body. */
const size = 1000

/** Number of deltas in a streamed answer, after the one that names the prompt. */
export const streamed = 20

// Every contender waits while the others have their turns; connections should survive that.
const head = (fields: string): string => `HTTP/1.1 ${fields}\r\nconnection: keep-alive\r\nkeep-alive: timeout=600\r\n`

const before =
  '{"id":"chatcmpl-0123456789","object":"chat.completion","created":1790000000,"model":"bench","choices":[{"index":0,"message":{"role":"assistant","content":"'
const after =
  '"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":150,"completion_tokens":150,"total_tokens":300}}'
const filler = " and so on".repeat(Math.ceil(size / 10)).slice(0, size - before.length - after.length)

const answer = (name: string, step: number): string => {
  const body = `${before}${name}${filler}${after}`
  return `${head("200 OK")}content-type: application/json\r\ncf-aig-log-id: log-${name}\r\ncf-aig-step: ${step}\r\ncontent-length: ${body.length}\r\n\r\n${body}`
}

const failure = '{"error":{"message":"overloaded","type":"server_error","code":"overloaded"}}'
const dead = `${head("503 Service Unavailable")}content-type: application/json\r\ncontent-length: ${failure.length}\r\n\r\n${failure}`

const event = (choice: object): string => {
  const text = `data: ${JSON.stringify({
    id: "chatcmpl-0123456789",
    object: "chat.completion.chunk",
    created: 1_790_000_000,
    model: "bench",
    choices: [{ index: 0, finish_reason: null, ...choice }]
  })}\n\n`
  return `${text.length.toString(16)}\r\n${text}\r\n`
}

const delta = (content: string): string => event({ delta: { content } })
const streamHead = `${head("200 OK")}content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n`

/** A stream with the prompt's name and a count; complete, or its first half. */
const stream = (name: string, whole: boolean): string => {
  const count = whole ? streamed : streamed / 2
  const deltas = Array.from({ length: count }, (_, index) => delta(` ${index}`)).join("")
  const rest = whole ? `${event({ delta: {}, finish_reason: "stop" })}e\r\ndata: [DONE]\n\n\r\n` : ""
  return `${streamHead}${event({ delta: { role: "assistant", content: "" } })}${delta(name)}${deltas}${rest}`
}

const end = "0\r\n\r\n"

/** A request to one target, with its prompt: one, or every leg of a universal request. */
interface Leg {
  readonly target: number
  readonly name: string
}

const held: Array<() => void> = []

const mixedDelay = (name: string): number => (Number(/\d+$/.exec(name)?.[0] ?? 0) * 7) % 5

const respond = (socket: Socket, modes: ReadonlyArray<string>, legs: ReadonlyArray<Leg>, streaming: boolean): void => {
  const write = (text: string): boolean => socket.destroyed || socket.write(text, "latin1")
  // A universal request moves on to its next leg by itself.
  const step = legs.findIndex(({ target }) => modes[target] !== "dead")
  const leg = legs[step]
  if (leg === undefined) return void write(dead)
  const { name, target } = leg
  const mode = modes[target]
  if (mode === "held") held.push(() => write(answer(name, step)))
  else if (!streaming) {
    if (mode === "mixed") setTimeout(() => write(answer(name, step)), mixedDelay(name))
    else write(answer(name, step))
  } else if (mode === "cut") {
    write(stream(name, false))
    // Written bytes must leave before the connection closes.
    setTimeout(() => socket.destroy(), 20)
  } else write(stream(name, mode !== "short") + end)
}

/** The name of a prompt is its first word; the fields of the body may come in any order. */
const nameIn = (body: string): string => {
  const at = body.lastIndexOf("q-")
  return at < 0 ? "nobody" : (/^[\w-]+/.exec(body.slice(at, at + 24))?.[0] ?? "nobody")
}

const indexOf = (provider: string): number => Math.max(0, providers.indexOf(provider))

const legsIn = (path: string, body: string): ReadonlyArray<Leg> => {
  const [, , , , , provider] = path.split("/")
  if (provider !== undefined && provider !== "") return [{ target: indexOf(provider), name: nameIn(body) }]
  const legs: ReadonlyArray<{ readonly provider: string; readonly query: unknown }> = JSON.parse(body)
  return legs.map(({ provider, query }) => ({ target: indexOf(provider), name: nameIn(JSON.stringify(query)) }))
}

const serveSocket = (socket: Socket): void => {
  let pending = ""
  // Each character of Latin-1 is a byte.
  socket.setEncoding("latin1").setNoDelay(true)
  socket.on("error", () => socket.destroy())
  socket.on("data", (data: string) => {
    pending += data
    while (true) {
      const gap = pending.indexOf("\r\n\r\n")
      if (gap < 0) return
      const headers = pending.slice(0, gap + 2)
      // All clients here send a length.
      const length = Number(/\r\ncontent-length: *(\d+)/i.exec(headers)?.[1] ?? Number.NaN)
      if (Number.isNaN(length)) return void socket.destroy(new Error(`no content-length: ${headers}`))
      if (pending.length < gap + 4 + length) return
      const body = pending.slice(gap + 4, gap + 4 + length)
      pending = pending.slice(gap + 4 + length)
      const path = headers.slice(5, headers.indexOf(" ", 5))
      const modes = path.slice(1, path.indexOf("/", 1)).split(",")
      respond(socket, modes, legsIn(path, body), body.includes('"stream":true'))
    }
  })
}

/** Requests to the server: its port, the number of held requests, and their release. */
export interface Told {
  readonly tell: "port" | "held" | "release"
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const server = createServer(serveSocket)
  await new Promise<void>((resolve) => server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, resolve))
  const address = server.address()
  const port = typeof address === "object" && address !== null ? address.port : 0
  serve<Told>(({ tell }) => {
    if (tell === "port") return port
    const count = held.length
    if (tell === "release") for (const answerOne of held.splice(0)) answerOne()
    return count
  })
}
