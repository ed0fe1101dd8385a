/**
 * The other side of a soak, in its own process: a gateway that answers chat completions of OpenAI, fails on request,
 * and counts.
 *
 * It uses TCP directly and does little per request, so that the measurement is of the command line. The prompt
 * `question 17` is item 17. The id of the gateway in the path, `run-3`, identifies the run of the command that made a
 * request, whenever it arrives.
 *
 * Retries are distinguished from repeats as follows. The outcome of a request is decided when it arrives. A failure
 * invites another request and costs nothing, so the request after it is a retry. An answer is all that an item needs,
 * even if no reader is left, so each request after it is a repeat. It is attributed to the run whose answer was lost,
 * which is the run that was killed.
 */
import { createServer, type Socket } from "node:net"
import { serve } from "../child.ts"
import { mixed } from "./chance.ts"
import { type Behaviour, type Command, type Counts, textOf, usual } from "./command.ts"

const reply = (status: string, body: string, more = ""): string =>
  `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\n${more}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`

const failed = (type: string): string => JSON.stringify({ error: { message: "try again", type, code: type } })

const completion = (item: number, tokens: number, bytes: number): string => {
  const content = textOf(item, bytes)
  const prompt = Math.min(12, tokens)
  return JSON.stringify({
    id: `chatcmpl-${item}`,
    object: "chat.completion",
    model: "gpt-4.1-mini",
    choices: [{ index: 0, message: { role: "assistant", content }, finish_reason: "stop" }],
    usage: { prompt_tokens: prompt, completion_tokens: tokens - prompt, total_tokens: tokens }
  })
}

interface Clocked {
  readonly arrived: number
  answered: number
  readonly tokens: number
}

const windowMillis = 60_000

/** The largest sum of any window, over pairs of a time and an amount. */
const largest = (all: ReadonlyArray<readonly [number, number]>): number => {
  const sorted = [...all].sort(([a], [b]) => a - b)
  let [from, sum, most] = [0, 0, 0]
  for (const [time, amount] of sorted) {
    sum += amount
    for (let first = sorted[from]; first !== undefined && first[0] <= time - windowMillis; first = sorted[from]) {
      sum -= first[1]
      from++
    }
    most = Math.max(most, sum)
  }
  return most
}

class Upstream {
  private readonly as: Behaviour
  private readonly asked: Uint16Array
  private readonly failuresInRow: Uint8Array
  /** The last run that was answered, plus one. */
  private readonly answeredBy: Uint16Array
  private readonly events: Array<string> = []
  private readonly lookedUp = new Set<string>()
  private readonly known = new Set<string>()
  private readonly clocked: Array<Clocked> = []
  private readonly repeats: Array<number> = []
  answered = 0
  private requests = 0
  private failures = 0
  private repeatsWithin = 0
  private blind = 0
  private lookUps = 0
  private tokens = 0

  constructor(as: Behaviour) {
    this.as = as
    this.asked = new Uint16Array(as.items)
    this.failuresInRow = new Uint8Array(as.items)
    this.answeredBy = new Uint16Array(as.items)
  }

  counts(): Counts {
    const { answered, blind, failures, lookUps, repeatsWithin, requests, tokens } = this
    const repeats = Array.from(this.repeats, (count) => count ?? 0)
    const counts = { requests, failures, answered, repeats, repeatsWithin, blind, lookUps, tokens }
    if (!this.as.clocked) return counts
    const times = this.clocked.map(({ arrived }) => arrived)
    return {
      ...counts,
      windows: {
        requests: largest(times.map((time) => [time, 1])),
        tokensByArrival: largest(this.clocked.map(({ arrived, tokens }) => [arrived, tokens])),
        tokensByAnswer: largest(this.clocked.map(({ answered, tokens }) => [answered, tokens])),
        span: ((times.at(-1) ?? 0) - (times[0] ?? 0)) / 1000
      }
    }
  }

  private remember(item: number, run: number, eventId: string): void {
    const before = this.answeredBy[item] ?? 0
    this.answeredBy[item] = run + 1
    if (before === 0) {
      this.answered++
    } else {
      if (before === run + 1) this.repeatsWithin++
      else this.repeats[before - 1] = (this.repeats[before - 1] ?? 0) + 1
      if (this.as.events && !this.lookedUp.has(this.events[item] ?? "")) this.blind++
    }
    if (!this.as.events) return
    this.events[item] = eventId
    this.known.add(eventId)
  }

  private fail(socket: Socket, kind: number): void {
    if (kind < 1 / 4) socket.write(reply("503 Service Unavailable", failed("server_error")))
    else if (kind < 2 / 4) socket.write(reply("429 Too Many Requests", failed("rate_limit_exceeded")))
    else if (kind < 3 / 4) socket.resetAndDestroy()
    else {
      const half = reply("200 OK", completion(0, 20, 400)).slice(0, -200)
      socket.write(half, () => socket.resetAndDestroy())
    }
  }

  /** Answers a request, and calls back when the next one may be read. */
  chat(socket: Socket, head: string, body: string): void {
    const { as } = this
    const item = Number(/question (\d+)/.exec(body)?.[1])
    const run = Number(/^POST \/v1\/[^/]+\/run-(\d+)\//.exec(head)?.[1])
    if (!(item < as.items && run >= 0)) {
      socket.write(reply("400 Bad Request", failed("not a question of this soak")))
      return
    }
    this.requests++
    const nth = this.asked[item] ?? 0
    this.asked[item] = nth + 1
    const wait = as.delay[0] + mixed(as.seed, item, nth, 3) * (as.delay[1] - as.delay[0])
    const later = (act: () => void): void => {
      if (as.delay[1] === 0) act()
      else setTimeout(() => socket.destroyed || act(), wait)
    }
    const fails = (this.failuresInRow[item] ?? 0) < 2 && mixed(as.seed, item, nth, 1) < as.failures
    const noted: Clocked = {
      arrived: performance.now(),
      answered: performance.now() + wait,
      tokens: fails ? 0 : Math.round(as.tokens[0] + mixed(as.seed, item, 2) * (as.tokens[1] - as.tokens[0]))
    }
    if (as.clocked) this.clocked.push(noted)
    if (fails) {
      this.failures++
      this.failuresInRow[item] = (this.failuresInRow[item] ?? 0) + 1
      later(() => this.fail(socket, mixed(as.seed, item, nth, 4)))
      return
    }
    this.failuresInRow[item] = 0
    this.tokens += noted.tokens
    this.remember(item, run, /\r\ncf-aig-event-id: *([^\r]+)/i.exec(head)?.[1] ?? "")
    later(() => {
      noted.answered = performance.now()
      socket.write(
        reply("200 OK", completion(item, noted.tokens, as.textBytes), `cf-aig-log-id: log-${item}-${nth}\r\n`)
      )
    })
  }

  /** Answers whether the logs have an answer with an event id. */
  logs(socket: Socket, head: string): void {
    this.lookUps++
    const target = head.slice(4, head.indexOf(" ", 4))
    const filters = new URL(target, "http://localhost").searchParams.get("filters") ?? "[]"
    const eventId = String(JSON.parse(filters)[0]?.value[0] ?? "")
    this.lookedUp.add(eventId)
    const result = this.known.has(eventId) ? [{ id: "log", success: true, status_code: 200, event_id: eventId }] : []
    socket.write(reply("200 OK", JSON.stringify({ success: true, errors: [], messages: [], result })))
  }
}

let upstream = new Upstream({ ...usual, items: 0, seed: 0 })

/** Takes requests with a `content-length`, one after the other. */
const take = (socket: Socket): void => {
  let pending = ""
  socket.setEncoding("latin1").setNoDelay(true)
  socket.on("error", () => socket.destroy())
  socket.on("data", (data: string) => {
    pending += data
    while (!socket.destroyed) {
      const end = pending.indexOf("\r\n\r\n")
      if (end < 0) return
      const head = pending.slice(0, end + 2)
      const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0)
      if (pending.length < end + 4 + length) return
      const body = pending.slice(end + 4, end + 4 + length)
      pending = pending.slice(end + 4 + length)
      if (head.startsWith("GET ")) upstream.logs(socket, head)
      else upstream.chat(socket, head, body)
    }
  })
}

const server = createServer(take)
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
serve<Command>((command) => {
  switch (command.tell) {
    case "port": {
      const address = server.address()
      return typeof address === "object" && address !== null ? address.port : 0
    }
    case "behave":
      upstream = new Upstream(command.as)
      return undefined
    case "answered":
      return upstream.answered
    case "counts":
      return upstream.counts()
  }
})
