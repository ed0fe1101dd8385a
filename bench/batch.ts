/**
 * What a batch costs on top of the requests that it makes: the same number of items through bare `Router.run`, through `Batch.run`, and
 * through `Batch.run` with a journal in files that keeps every value. Each in a process of its own, at the same concurrency, one after the other, over
 * undici to an upstream in another process:
 *
 *     node --conditions=effect-ai-gateway-source bench/batch.ts [--n 20000] [--concurrency 64] [--rounds 3] [--only bare,batch,journal]
 *
 * Prints items per second (median of the rounds), CPU time per item, and how the memory of the process went: what is resident at the end of each quarter, after a
 * collection.
 */
import { fork } from "node:child_process"
import { mkdtemp, rm } from "node:fs/promises"
import { createServer, type Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Batch from "effect-ai-gateway/Batch"
import * as Chat from "effect-ai-gateway/Chat"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as FileJournal from "effect-ai-gateway/journal"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { median } from "./measure.ts"

const { values } = parseArgs({
  options: {
    n: { type: "string", default: "20000" },
    concurrency: { type: "string", default: "64" },
    rounds: { type: "string", default: "3" },
    only: { type: "string", default: "bare,batch,journal" },
    as: { type: "string" },
    url: { type: "string", default: "" }
  }
})
const total = Number(values.n)
const concurrency = Number(values.concurrency)

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
const answer = Buffer.concat([
  Buffer.from(
    `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncf-aig-log-id: 01900000\r\ncontent-length: ${body.length}\r\n\r\n`
  ),
  body
])

/** Answers every request with the same bytes, so that the upstream costs as little as possible. */
const serve = (socket: Socket): void => {
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

interface Report {
  /** Milliseconds. */
  readonly wall: number
  readonly cpu: number
  /** Megabytes, by quarter. */
  readonly resident: ReadonlyArray<number>
}

const route = Provider.openai.chat("gpt-4.1-mini").pipe(Route.retry({ attempts: 3 }))
const idOf = (i: number): string => `${i.toString(16).padStart(8, "0")}-0000-4000-8000-000000000000`
const promptOf = (i: number): string => `Question ${i}: what is a fiber?`

/** One contender, in this process. */
const measure = async (name: string): Promise<void> => {
  const Live = Router.layer.pipe(
    Layer.provide(GatewayService.layerHttp({ accountId: "acct", gateway: "bench", baseUrl: values.url })),
    Layer.provide(NodeHttpClient.layerUndici)
  )
  const resident: Array<number> = []
  let done = 0
  const one = Effect.sync(() => {
    done++
    if (done % Math.ceil(total / 4) !== 0 && done !== total) return
    globalThis.gc?.()
    resident.push(process.memoryUsage().rss / 1e6)
  })
  const folder = await mkdtemp(join(tmpdir(), "bench-batch-"))
  const program = (items: Stream.Stream<number>, count: Effect.Effect<void>, path: string) => {
    if (name === "bare") {
      return Stream.runDrain(
        Stream.mapEffect(items, (i) => Effect.andThen(Router.run(route, promptOf(i)), count), {
          concurrency,
          unordered: true
        })
      )
    }
    const journal =
      name === "batch" ? undefined : { store: FileJournal.make({ path }), value: Batch.withoutRaw(Chat.ReplySchema) }
    const options = { route, id: idOf, input: promptOf, concurrency, journal }
    return Stream.runForEach(Batch.run(items, options), (result) =>
      result._tag === "Success" ? count : Effect.die(new Error(`${result.id} is a ${result._tag}`))
    )
  }
  const report = await Effect.runPromise(
    Effect.gen(function* () {
      yield* program(Stream.range(0, 2_999), Effect.void, join(folder, "warm"))
      const cpuBefore = process.cpuUsage()
      const before = performance.now()
      yield* program(Stream.range(0, total - 1), one, join(folder, "measured"))
      const wall = performance.now() - before
      const { system, user } = process.cpuUsage(cpuBefore)
      return { wall, cpu: (user + system) / 1000, resident } satisfies Report
    }).pipe(Effect.provide(Live), Effect.orDie)
  )
  if (done !== total) throw new Error(`${done} of ${total}`)
  await rm(folder, { recursive: true, force: true })
  process.send?.(report)
}

const file = fileURLToPath(import.meta.url)
const execArgv = ["--conditions=effect-ai-gateway-source", "--expose-gc"]

const child = (args: ReadonlyArray<string>) => fork(file, [...args], { execArgv })

if (values.as === "upstream") {
  const server = createServer(serve)
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    process.send?.({ port: typeof address === "object" && address !== null ? address.port : 0 })
  })
  process.once("disconnect", () => process.exit())
} else if (values.as !== undefined) {
  await measure(values.as)
  process.disconnect?.()
} else {
  const upstream = child(["--as", "upstream"])
  const port = await new Promise<number>((resolve) =>
    upstream.once("message", (message: { readonly port: number }) => resolve(message.port))
  )
  const names = values.only.split(",")
  const reports = new Map<string, Array<Report>>(names.map((name) => [name, []]))
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const args = ["--as", name, "--n", values.n, "--concurrency", values.concurrency]
      const contender = child([...args, "--url", `http://127.0.0.1:${port}`])
      const report = await new Promise<Report>((resolve, reject) => {
        contender.once("message", (message: Report) => resolve(message))
        contender.once("exit", (code) => reject(new Error(`${name} ended with ${code}`)))
      })
      reports.get(name)?.push(report)
    }
  }
  upstream.disconnect()
  const floor = median((reports.get("bare") ?? []).map(({ wall }) => wall))
  console.log(`${total} items, ${concurrency} at once, ${values.rounds} rounds\n`)
  console.log("contender    items/s   of bare   CPU µs/item   resident MB by quarter")
  for (const [name, all] of reports) {
    const wall = median(all.map((report) => report.wall))
    const cpu = median(all.map((report) => report.cpu))
    const last = all
      .at(-1)
      ?.resident.map((megabytes) => megabytes.toFixed(0))
      .join(" ")
    const share = Number.isNaN(floor) ? "" : (floor / wall).toFixed(2)
    console.log(
      `${name.padEnd(10)} ${((total / wall) * 1000).toFixed(0).padStart(9)} ${share.padStart(9)} ${((cpu / total) * 1000).toFixed(0).padStart(13)}   ${last}`
    )
  }
}
