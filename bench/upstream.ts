/**
 * The upstream of `stream.ts`, in its own process: an HTTP/1.1 server on loopback that answers every POST with a
 * prepared stream of OpenAI chat completions and keeps the connection open.
 *
 * It uses TCP directly and writes prepared bytes, so that its cost does not hide differences between clients. The first
 * segment of the path is the shape: `/{events}-{perChunk}-{delay}/…` requests a number of events, the number of them
 * per HTTP chunk, and milliseconds before the first one. With the suffix `-open` the stream stays open after its last
 * text; with `-alone` the first text arrives alone, as from a model, and the rest a little later.
 */
import { createServer, type Socket } from "node:net"
import { pathToFileURL } from "node:url"

/** Shape of a streamed answer. */
export interface Shape {
  /** Text events; the role, the finish reason and `[DONE]` come on top. */
  readonly events: number
  /** Events in one HTTP chunk, as a server flushes them. */
  readonly perChunk: number
  /** Milliseconds between the headers and the first event. */
  readonly delay: number
  /** The stream never ends, or its first chunk arrives alone. */
  readonly special?: "open" | "alone"
}

/** The base path of a shape. */
export const pathOf = ({ delay, events, perChunk, special }: Shape): string =>
  `/${events}-${perChunk}-${delay}${special === undefined ? "" : `-${special}`}`

const words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "again"]

const pieces = (events: number): ReadonlyArray<string> =>
  Array.from({ length: events }, (_, index) => `${index === 0 ? "" : " "}${words[index % words.length]}${index}`)

/** The text of a stream with this number of events. */
export const textOf = (events: number): string => pieces(events).join("")

const event = (choice: object): string =>
  `data: ${JSON.stringify({
    id: "chatcmpl-0123456789abcdef",
    object: "chat.completion.chunk",
    created: 1_790_000_000,
    model: "gpt-4.1-mini",
    service_tier: "default",
    system_fingerprint: "fp_0123456789",
    choices: [{ index: 0, logprobs: null, finish_reason: null, ...choice }]
  })}\n\n`

const eventsOf = (events: number, open: boolean): ReadonlyArray<string> => [
  event({ delta: { role: "assistant", content: "", refusal: null } }),
  ...pieces(events).map((content) => event({ delta: { content } })),
  ...(open ? [] : [event({ delta: {}, finish_reason: "stop" }), "data: [DONE]\n\n"])
]

/** The size of such a stream. */
export const bytesOf = (events: number): number => Buffer.byteLength(eventsOf(events, false).join(""))

const chunked = (text: string): string => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`

/** The answer of a shape: its head, and its body in the parts that are sent separately. */
export const answerOf = ({
  events,
  perChunk,
  special
}: Shape): { readonly head: Buffer; readonly body: ReadonlyArray<Buffer> } => {
  const open = special === "open"
  const all = eventsOf(events, open)
  const chunks = Array.from({ length: Math.ceil(all.length / perChunk) }, (_, index) =>
    chunked(all.slice(index * perChunk, (index + 1) * perChunk).join(""))
  )
  const head = [
    "HTTP/1.1 200 OK",
    "content-type: text/event-stream",
    "cf-aig-log-id: 01900000-0000-7000-8000-000000000000",
    "cf-aig-event-id: bench",
    "cf-aig-step: 0",
    "transfer-encoding: chunked",
    "connection: keep-alive"
  ]
  // The role and the first text.
  const first = special === "alone" ? 2 : 0
  const parts = [chunks.slice(0, first), [...chunks.slice(first), ...(open ? [] : ["0\r\n\r\n"])]]
  return {
    head: Buffer.from(`${head.join("\r\n")}\r\n\r\n`),
    body: parts.filter((part) => part.length > 0).map((part) => Buffer.from(part.join("")))
  }
}

const shapeIn = (requestLine: string): Shape => {
  const [, events, perChunk, delay, special] = /^POST \/(\d+)-(\d+)-(\d+)(?:-(open|alone))?\//.exec(requestLine) ?? []
  return {
    events: Number(events ?? 1),
    perChunk: Number(perChunk ?? 1),
    delay: Number(delay ?? 0),
    ...((special === "open" || special === "alone") && { special })
  }
}

/** Milliseconds between parts. */
const pause = 5

const answers = new Map<string, ReturnType<typeof answerOf>>()

const prepared = (shape: Shape): ReturnType<typeof answerOf> => {
  const key = pathOf(shape)
  const known = answers.get(key) ?? answerOf(shape)
  answers.set(key, known)
  return known
}

/** Answers requests with a `content-length`, one after the other. All clients here send it. */
const serve = (socket: Socket): void => {
  let pending = ""
  const write = (bytes: Buffer): boolean => socket.destroyed || socket.write(bytes)
  const answer = (requestLine: string): void => {
    const shape = shapeIn(requestLine)
    const { body, head } = prepared(shape)
    write(head)
    body.forEach((part, index) => {
      const delay = shape.delay + index * pause
      if (delay === 0) write(part)
      else setTimeout(write, delay, part)
    })
  }
  // Each character of Latin-1 is a byte.
  socket.setEncoding("latin1").setNoDelay(true)
  socket.on("data", (data: string) => {
    pending += data
    while (true) {
      const end = pending.indexOf("\r\n\r\n")
      if (end < 0) return
      const length = Number(/\r\ncontent-length: *(\d+)/i.exec(pending.slice(0, end + 2))?.[1] ?? 0)
      if (pending.length < end + 4 + length) return
      const line = pending.slice(0, pending.indexOf("\r\n"))
      pending = pending.slice(end + 4 + length)
      answer(line)
    }
  })
  socket.on("error", () => socket.destroy())
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  let open = 0
  const server = createServer((socket) => {
    open++
    socket.once("close", () => open--)
    serve(socket)
  })
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    process.send?.({ port: typeof address === "object" && address !== null ? address.port : 0 })
  })
  process.on("message", () => process.send?.({ open }))
  process.once("disconnect", () => process.exit())
}
