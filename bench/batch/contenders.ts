/** Contenders of `questions/batch.ts`: one process per contender and round. */
import { mkdtemp, open, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Stream from "effect/Stream"
import * as Batch from "effect-ai-gateway/Batch"
import * as Chat from "effect-ai-gateway/Chat"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as FileJournal from "effect-ai-gateway/journal"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { request } from "undici"
import { serve } from "../child.ts"
import * as Clients from "../clients.ts"
import { measureCli } from "./cli.ts"
import { type Command, names, type Report } from "./command.ts"

const idOf = (i: number): string => `${i.toString(16).padStart(8, "0")}-0000-4000-8000-000000000000`
const promptOf = (i: number): string => `Question ${i}: what is a fiber?`

/** Counts items, and measures memory at the end of each quarter. */
const makeCounter = (items: number) => {
  const resident: Array<number> = []
  let done = 0
  return {
    resident,
    done: () => done,
    one: (): void => {
      done++
      if (done % Math.ceil(items / 4) !== 0 && done !== items) return
      globalThis.gc?.()
      resident.push(process.memoryUsage().rss / 1e6)
    }
  }
}

interface Completion {
  readonly choices: ReadonlyArray<{ readonly message: { readonly content: string } }>
}

/** Three attempts and a time limit, hand-written. */
const byHand = async (url: string, prompt: string): Promise<string> => {
  const body = JSON.stringify({ model: "gpt-4.1-mini", messages: [{ role: "user", content: prompt }] })
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await request(`${url}/v1/acct/bench/openai/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
        signal: AbortSignal.timeout(30_000)
      })
      if (response.statusCode !== 200) {
        await response.body.dump()
        throw new Error(`status ${response.statusCode}`)
      }
      const completion = (await response.body.json()) as Completion
      const text = completion.choices[0]?.message.content
      if (typeof text !== "string") throw new Error("no text")
      return text
    } catch (error) {
      if (attempt === 3) throw error
      await new Promise((resolve) => setTimeout(resolve, 200 * 2 ** attempt))
    }
  }
}

/**
 * A hand-written file of lines for results that must not be lost: lines that arrive during a write or a sync share the
 * next one. It is never read again, and checks nothing.
 */
const keep = async (path: string) => {
  const file = await open(path, "w")
  const makeQueue = (work: (lines: string) => Promise<unknown>) => {
    let pending = ""
    let next: Promise<unknown> | undefined
    let running: Promise<unknown> = Promise.resolve()
    return (line: string): Promise<unknown> => {
      pending += line
      next ??= running.then(() => {
        const lines = pending
        pending = ""
        next = undefined
        running = work(lines)
        return running
      })
      return next
    }
  }
  const write = makeQueue((lines) => file.appendFile(lines))
  const sync = makeQueue(() => file.datasync())
  const written = (value: object): Promise<unknown> => write(`${JSON.stringify(value)}\n`)
  return { written, durable: (value: object) => written(value).then(() => sync("")), close: () => file.close() }
}

/** Does a number of items; `one` is called after each. */
type Work = (items: number, one: () => void, folder: string) => Promise<void>

const loop =
  ({ concurrency, url }: Command): Work =>
  async (items, one) => {
    let next = 0
    const worker = async (): Promise<void> => {
      while (next < items) {
        await byHand(url, promptOf(next++))
        one()
      }
    }
    await Promise.all(Array.from({ length: concurrency }, worker))
  }

const route = Provider.openai
  .chat("gpt-4.1-mini")
  .pipe(Route.retry({ attempts: 3, delay: "200 millis", backoff: "exponential" }), Route.timeout("30 seconds"))

const ours = ({ concurrency, name, url }: Command): Work => {
  const runtime = ManagedRuntime.make(
    Layer.provideMerge(
      Router.layer,
      GatewayService.layerHttp({ accountId: "acct", gateway: "bench", baseUrl: url }).pipe(
        Layer.provide(Clients.overUndici)
      )
    )
  )
  const bare: Work = (items, one) =>
    runtime.runPromise(
      Stream.runDrain(
        Stream.mapEffect(
          Stream.range(0, items - 1),
          (i) => Effect.andThen(Router.run(route, promptOf(i)), Effect.sync(one)),
          { concurrency, unordered: true }
        )
      )
    )
  const kept: Work = async (items, one, path) => {
    const keeper = await keep(path)
    await runtime.runPromise(
      Stream.runDrain(
        Stream.mapEffect(
          Stream.range(0, items - 1),
          (i) =>
            Effect.gen(function* () {
              yield* Effect.promise(() => keeper.written({ id: idOf(i) }))
              const { attempts, eventId, value } = yield* Router.run(route, promptOf(i))
              const { raw, ...answer } = value
              yield* Effect.promise(() => keeper.durable({ id: idOf(i), eventId, answer, attempts: attempts.length }))
              one()
            }),
          { concurrency, unordered: true }
        )
      )
    )
    await keeper.close()
  }
  const batch: Work = (items, one, path) => {
    const journal =
      name === names.journal
        ? { store: FileJournal.make({ path }), value: Batch.withoutRaw(Chat.ReplySchema) }
        : undefined
    return runtime.runPromise(
      Stream.runForEach(
        Batch.run(Stream.range(0, items - 1), { route, id: idOf, input: promptOf, concurrency, journal }),
        (result) =>
          result._tag === "Success" ? Effect.sync(one) : Effect.die(new Error(`${result.id} is a ${result._tag}`))
      )
    )
  }
  return name === names.bare ? bare : name === names.kept ? kept : batch
}

serve<Command>(async (command): Promise<Report> => {
  const folder = await mkdtemp(join(tmpdir(), "bench-batch-"))
  if (command.name === names.cli) {
    try {
      return await measureCli(command, folder, route, (i) => ({ id: idOf(i), prompt: promptOf(i) }))
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }
  const work = command.name === names.loop ? loop(command) : ours(command)
  try {
    await work(Math.min(2000, Math.ceil(command.items / 4)), () => {}, join(folder, "warm"))
    const { done, one, resident } = makeCounter(command.items)
    const cpuBefore = process.cpuUsage()
    const now = (): number => performance.timeOrigin + performance.now()
    const from = now()
    await work(command.items, one, join(folder, "measured"))
    const to = now()
    const { system, user } = process.cpuUsage(cpuBefore)
    if (done() !== command.items) throw new Error(`${done()} of ${command.items}`)
    return { span: { from, to }, cpu: (user + system) / 1000, resident }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
