/**
 * The environment of `questions/workerd.ts` around the runtime: the service behind the binding, requests, and the
 * isolate's heap.
 */

import { readdirSync, readFileSync } from "node:fs"
import type { Agent } from "node:http"
import { createServer, request } from "node:http"
import type { AddressInfo } from "node:net"
import * as Effect from "effect/Effect"
import type * as Workerd from "../../test/workerd/support/workerd.ts"

/** Microseconds of CPU time of all threads of a process; the kernel counts them in nanoseconds. */
export const cpuOf = (pid: number): number =>
  readdirSync(`/proc/${pid}/task`)
    .map((task) => Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]) / 1000)
    .reduce((sum, own) => sum + own, 0)

/** Answers every chat; `fail` is the behaviour of a chain's first provider. */
export const makeService = Effect.acquireRelease(
  Effect.promise(async () => {
    const state = { fail: false }
    const answer = JSON.stringify({
      id: "chatcmpl-1",
      model: "gpt-4.1-mini",
      choices: [{ index: 0, message: { role: "assistant", content: "Saturn." }, finish_reason: "stop" }],
      usage: { prompt_tokens: 9, completion_tokens: 2, total_tokens: 11 }
    })
    let logs = 0
    const server = createServer((incoming, outgoing) => {
      let body = ""
      incoming.on("data", (chunk: Buffer) => {
        body += chunk.toString()
      })
      incoming.on("end", () => {
        const failing = state.fail && body.includes('"openai"')
        outgoing.writeHead(failing ? 503 : 200, {
          "content-type": "application/json",
          "cf-aig-log-id": `log-${++logs}`,
          "cf-aig-step": "0"
        })
        outgoing.end(failing ? '{"error":{"message":"overloaded","type":"server_error"}}' : answer)
      })
    })
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    const { port } = server.address() as AddressInfo
    return { state, server, url: `http://127.0.0.1:${port}` }
  }),
  ({ server }) =>
    Effect.sync(() => {
      server.closeAllConnections()
      server.close()
    })
)

export type Service = Effect.Success<typeof makeService>

const post = (agent: Agent, url: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const outgoing = request(url, { method: "POST", agent }, (incoming) => {
      incoming.resume()
      incoming.once("end", () =>
        incoming.statusCode === 200 ? resolve() : reject(new Error(`${url}: ${incoming.statusCode}`))
      )
    })
    outgoing.once("error", reject)
    outgoing.end("Which planet has the most moons?")
  })

/** Sends a number of requests, with one in flight for each socket of the agent. */
export const load = async (agent: Agent, url: string, requests: number): Promise<void> => {
  let left = requests
  await Promise.all(
    Array.from({ length: agent.maxSockets }, async () => {
      while (left-- > 0) await post(agent, url)
    })
  )
}

/** Talks to the inspector of the runtime, which listens when the isolate has work. */
export const inspect = async (agent: Agent, { inspector: address, url }: Workerd.Workerd) => {
  const targets: ReadonlyArray<{ readonly webSocketDebuggerUrl: string }> = await (
    await fetch(`http://${address}/json`)
  ).json()
  const socket = new WebSocket(targets[0]?.webSocketDebuggerUrl ?? "")
  const waiting = new Map<number, (result: unknown) => void>()
  let id = 0
  socket.addEventListener("message", ({ data }) => {
    const answer: { readonly id?: number; readonly result?: unknown } = JSON.parse(String(data))
    if (answer.id !== undefined) waiting.get(answer.id)?.(answer.result)
  })
  await new Promise<void>((resolve) => socket.addEventListener("open", () => resolve(), { once: true }))
  const send = async (method: string): Promise<unknown> => {
    let answer: { readonly result: unknown } | undefined
    waiting.set(++id, (result) => {
      answer = { result }
    })
    socket.send(JSON.stringify({ id, method }))
    while (answer === undefined) await post(agent, `${url}/nothing`)
    return answer.result
  }
  return {
    /** Bytes in use after a collection. */
    heap: async (): Promise<number> => {
      await send("HeapProfiler.collectGarbage")
      await send("HeapProfiler.collectGarbage")
      return ((await send("Runtime.getHeapUsage")) as { readonly usedSize: number }).usedSize
    },
    close: () => socket.close()
  }
}
