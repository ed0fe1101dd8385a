/**
 * What the library costs inside workerd: CPU per request against a loop written by hand over the same genuine binding, and whether
 * the heap grows.
 *
 *     node bench/workerd.ts            1,000 requests a round, 5 rounds; 10,000 for the heap
 *
 * CPU is the time that the process of the runtime used (`/proc`, so Linux only), HTTP and binding included; the machine's other
 * work is not in it, but makes it vary. The service behind the binding is a server in this process.
 */
import { readFileSync } from "node:fs"
import { Agent, createServer, request } from "node:http"
import type { AddressInfo } from "node:net"
import * as Effect from "effect/Effect"
import { bundle } from "../test/workerd/support/bundle.ts"
import * as Workerd from "../test/workerd/support/workerd.ts"

const perRound = 1000
const rounds = 5
const forHeap = 10_000
const atOnce = 16

/** Answers every chat; `fail` is what the first provider of a chain does. */
const makeService = Effect.acquireRelease(
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

type Service = Effect.Success<typeof makeService>

const agent = new Agent({ keepAlive: true, maxSockets: atOnce })

const post = (url: string): Promise<void> =>
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

const load = async (url: string, requests: number): Promise<void> => {
  let left = requests
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (left-- > 0) await post(url)
    })
  )
}

/** Milliseconds of CPU that a process has used; the kernel counts in hundredths of a second. */
const cpuOf = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ")
  return (Number(fields[11]) + Number(fields[12])) * 10
}

const cpuPerRequest = async ({ pid, url }: Workerd.Workerd, path: string): Promise<number> => {
  const before = cpuOf(pid)
  await load(`${url}${path}`, perRound)
  return ((cpuOf(pid) - before) * 1000) / perRound
}

const median = (numbers: ReadonlyArray<number>): number =>
  numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0

/** Speaks to the inspector of the runtime, which listens when the isolate has something to do. */
const inspect = async ({ inspector: address, url }: Workerd.Workerd) => {
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
    while (answer === undefined) await post(`${url}/nothing`)
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

const variants: ReadonlyArray<readonly [path: string, name: string]> = [
  ["/nothing", "no binding, no library"],
  ["/empty", "the library's entry, no binding"],
  ["/bare", "one call of the binding"],
  ["/by-hand", "try … catch loop"],
  ["/library", "the library"]
]

const cpu = Effect.fnUntraced(function* (code: string, service: Service) {
  // Without the inspector, which makes promises and errors expensive.
  const worker = yield* Workerd.start({ code, ai: { AI: { url: service.url } } })
  const measure = async () => {
    for (const failing of [false, true]) {
      service.state.fail = failing
      const paths = failing ? variants.slice(3) : variants
      const samples = new Map<string, Array<number>>(paths.map(([path]) => [path, []]))
      for (const [path] of paths) await load(`${worker.url}${path}`, perRound)
      // In turns, so that a noisy minute hits all of them.
      for (let round = 0; round < rounds; round++) {
        for (const [path] of paths) samples.get(path)?.push(await cpuPerRequest(worker, path))
      }
      const health = failing ? "the first provider fails" : "all providers are well"
      console.log(`\nCPU per request in workerd while ${health}, median of ${rounds} rounds of ${perRound}`)
      for (const [path, name] of paths) {
        const numbers = samples.get(path) ?? []
        const spread = `${Math.round(Math.min(...numbers))} to ${Math.round(Math.max(...numbers))}`
        console.log(`  ${name.padEnd(34)} ${String(Math.round(median(numbers))).padStart(5)} µs   (${spread})`)
      }
    }
    service.state.fail = false
  }
  yield* Effect.promise(measure)
})

const heap = Effect.fnUntraced(function* (code: string, service: Service) {
  const worker = yield* Workerd.start({ code, ai: { AI: { url: service.url } }, inspector: true })
  const measure = async () => {
    const inspector = await inspect(worker)
    console.log(`\nHeap of the isolate after a collection, over ${forHeap} requests`)
    for (const [path, name] of variants.slice(3)) {
      await load(`${worker.url}${path}`, perRound)
      const steps = [await inspector.heap()]
      for (let n = 0; n < 4; n++) {
        await load(`${worker.url}${path}`, forHeap / 4)
        steps.push(await inspector.heap())
      }
      const kilobytes = steps.map((bytes) => Math.round(bytes / 1000)).join(", ")
      const perRequest = ((steps.at(-1) ?? 0) - (steps[0] ?? 0)) / forHeap
      console.log(`  ${name.padEnd(34)} ${kilobytes} kB   (${perRequest.toFixed(1)} bytes a request)`)
    }
    inspector.close()
  }
  yield* Effect.promise(measure)
})

const program = Effect.gen(function* () {
  const service = yield* makeService
  const { code } = yield* Effect.promise(() => bundle(new URL("workerd/worker.ts", import.meta.url)))
  yield* Effect.scoped(cpu(code, service))
  yield* Effect.scoped(heap(code, service))
})

await Effect.runPromise(Effect.scoped(program))
agent.destroy()
