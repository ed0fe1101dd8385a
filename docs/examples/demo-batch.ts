/**
 * `npm run demo -- --batch`: 5,000 items through the command line over providers that fail now and then, with a kill in
 * the middle.
 *
 * The command runs as a process of its own, is killed as `kill -9` does it, and is started again. Then every item is in
 * the output exactly once, and no more was asked twice than was in flight.
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs"
import { stat } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { serve } from "effect-ai-gateway/local/node"
import * as Upstream from "effect-ai-gateway/local/Upstream"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import { check, heading } from "./demo-support.ts"

const items = 5_000
const concurrency = 64
const command = fileURLToPath(new URL("../../src/cli/bin.ts", import.meta.url))

const route = Route.fallback(Provider.openai.chat("gpt-4.1-mini"), Provider.groq.chat("llama-3.3-70b-versatile")).pipe(
  Route.retry({ attempts: 2, delay: "50 millis" }),
  Route.timeout("10 seconds")
)

/** Fails at first in every `every`th of its requests, and tells of each answer. */
const flaky = (every: number, status: number, onAnswer: (prompt: string) => void): Upstream.Upstream => ({
  start: Effect.map(Upstream.echo().start, (echo) => {
    let requests = 0
    return (request) => {
      requests++
      if (requests % every === 0) {
        const body = JSON.stringify({ error: { message: "try again", type: "server_error" } })
        return Effect.succeed({ status, headers: { "content-type": "application/json" }, body })
      }
      const prompt = /"content":"(question \d+)"/.exec(new TextDecoder().decode(request.body))?.[1]
      return Effect.delay(echo(request), "10 millis").pipe(
        Effect.tap(() => Effect.sync(() => prompt !== undefined && onAnswer(prompt)))
      )
    }
  })
})

/** The command in a process of its own. */
const start = (args: ReadonlyArray<string>) => {
  const flags = process.execArgv.filter((flag) => flag.startsWith("--conditions"))
  const child = spawn(process.execPath, [...flags, command, "batch", ...args], {
    stdio: ["ignore", "inherit", "inherit"]
  })
  const ended = once(child, "exit").then(([code]: Array<unknown>) => code)
  return { child, ended }
}

const lines = (file: string): ReadonlyArray<string> => {
  const text = readFileSync(file, "utf8")
  return text
    .slice(0, text.lastIndexOf("\n") + 1)
    .split("\n")
    .slice(0, -1)
}

const sizeOf = (file: string): Promise<number> =>
  stat(file).then(
    ({ size }) => size,
    () => 0
  )

/** Waits until a third of the results are there, and kills the process. */
const killInTheMiddle = async (output: string, { child, ended }: ReturnType<typeof start>): Promise<number> => {
  while ((await sizeOf(output)) === 0 || lines(output).length < items / 3) {
    if (child.exitCode !== null) throw new Error(`NOT TRUE: it still runs (exit code ${child.exitCode})`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  child.kill("SIGKILL")
  await ended
  return lines(output).length
}

/** The program. */
export const batch = Effect.gen(function* () {
  const answers = new Map<string, number>()
  const onAnswer = (prompt: string): void => void answers.set(prompt, (answers.get(prompt) ?? 0) + 1)
  const server = yield* serve({
    port: 0,
    account: "demo",
    gateway: "demo",
    upstreams: { openai: flaky(7, 503, onAnswer), groq: flaky(50, 429, onAnswer) }
  })
  yield* Console.log(`local gateway on ${server.url}`)

  const folder = mkdtempSync(join(tmpdir(), "effect-ai-gateway-demo-"))
  const input = join(folder, "in.jsonl")
  const output = join(folder, "out.jsonl")
  const stored = join(folder, "route.json")
  const report = join(folder, "report.html")
  writeFileSync(
    input,
    Array.from({ length: items }, (_, i) => `${JSON.stringify({ id: `item-${i}`, prompt: `question ${i}` })}\n`).join(
      ""
    )
  )
  writeFileSync(stored, JSON.stringify(Result.getOrThrow(Route.toJson(route))))
  const args = [
    ...[input, output, "--route", stored, "--report", report, "--concurrency", String(concurrency)],
    ...["--base-url", server.url, "--account-id", "demo", "--gateway", "demo"]
  ]

  yield* heading(`${items} items, killed when a third is done`)
  const before = yield* Effect.promise(() => killInTheMiddle(output, start(args)))
  yield* Console.log("")
  yield* check(`killed with ${before} results in the output`, before < items)

  yield* heading("The same command again")
  const code = yield* Effect.promise(() => start(args).ended)
  yield* Console.log("")
  yield* check("it ended with exit code 0: no dead letters", code === 0)
  const ids = lines(output).map((line): unknown => JSON.parse(line).id)
  yield* check(`${ids.length} lines in the output, each item once`, ids.length === items && new Set(ids).size === items)
  const twice = [...answers.values()].reduce((sum, count) => sum + count - 1, 0)
  yield* check(
    `${twice} answers were lost by the kill and asked for again, at most ${concurrency}`,
    twice <= concurrency
  )
  const page = readFileSync(report, "utf8")
  yield* check("the report page is there", page.startsWith("<!DOCTYPE html>") && page.includes("</html>"))
  yield* Console.log(`\n  results: ${output}\n  report:  ${report}`)
  yield* Console.log("\nEverything above was checked.")
})
