/**
 * The upstream of `questions/batch.ts`: answers every request with the same bytes, so that it costs as little as
 * possible.
 */
import { createServer, type Socket } from "node:net"
import { serve } from "../child.ts"

const body = Buffer.from(
  JSON.stringify({
    id: "chatcmpl-1",
    object: "chat.completion",
    model: "gpt-4.1-mini",
    choices: [
      {
        index: 0,
        message: { role: "assistant", content: "An answer of some words. ".repeat(20) },
        finish_reason: "stop"
      }
    ],
    usage: { prompt_tokens: 12, completion_tokens: 100, total_tokens: 112 }
  })
)
const head = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncf-aig-log-id: 01900000\r\ncontent-length: ${body.length}\r\n\r\n`
const answer = Buffer.concat([Buffer.from(head), body])

const take = (socket: Socket): void => {
  let pending = ""
  socket.setEncoding("latin1").setNoDelay(true)
  socket.on("error", () => socket.destroy())
  socket.on("data", (data: string) => {
    pending += data
    while (true) {
      const end = pending.indexOf("\r\n\r\n")
      if (end < 0) return
      const length = Number(/\r\ncontent-length: *(\d+)/i.exec(pending.slice(0, end + 2))?.[1] ?? 0)
      if (pending.length < end + 4 + length) return
      pending = pending.slice(end + 4 + length)
      socket.write(answer)
    }
  })
}

const server = createServer(take)
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))

serve(() => {
  const address = server.address()
  return typeof address === "object" && address !== null ? address.port : 0
})
