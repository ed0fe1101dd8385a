/** `batch` against a local gateway behind a real socket: in this process, or in its own process where that matters. */
import { type ChildProcessByStdio, spawn } from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Readable, Writable } from "node:stream"
import { fileURLToPath } from "node:url"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { serve } from "effect-ai-gateway/local/node"
import * as Upstream from "effect-ai-gateway/local/Upstream"
import { type Ended, inProcess } from "./inProcess.ts"

const bin = fileURLToPath(new URL("../../src/cli/bin.ts", import.meta.url))

export interface Running {
  readonly child: ChildProcessByStdio<Writable, Readable, Readable>
  readonly exit: Effect.Effect<Ended>
  /** Waits until standard error contains a text. */
  readonly says: (text: string) => Effect.Effect<void>
}

export const folder = Effect.acquireRelease(
  Effect.promise(() => Fs.mkdtemp(join(tmpdir(), "batch-cli-"))),
  (path) => Effect.promise(() => Fs.rm(path, { recursive: true, force: true }))
)

/** Text of the last message of a request. */
const promptOf = (body: unknown): string => {
  const messages: unknown = typeof body === "object" && body !== null && "messages" in body ? body.messages : undefined
  const last: unknown = Array.isArray(messages) ? messages.at(-1) : undefined
  return typeof last === "object" && last !== null && "content" in last ? String(last.content) : ""
}

/** Reaction to a request: a custom answer, or a wait before the echo. */
export type Reaction = { readonly status: number; readonly body?: string } | Effect.Effect<unknown> | undefined

/**
 * A gateway whose providers echo, and a folder to work in. `react`: another reaction to a prompt, the `nth` time (from
 * 0).
 */
export const world = (react: (prompt: string, nth: number) => Reaction = () => undefined) =>
  Effect.gen(function* () {
    const path = yield* folder
    const requests: Array<Upstream.UpstreamRequest & { readonly prompt: string }> = []
    const times = new Map<string, number>()
    const echo = yield* Upstream.echo({ text: ({ prompt }) => `answer to ${prompt}` }).start
    const upstream = Upstream.make((request) => {
      const prompt = promptOf(request.json)
      const nth = times.get(prompt) ?? 0
      times.set(prompt, nth + 1)
      requests.push({ ...request, prompt })
      const reaction = react(prompt, nth)
      if (reaction === undefined) return echo(request)
      if (Effect.isEffect(reaction)) return Effect.andThen(reaction, echo(request))
      const { body = "{}", status } = reaction
      return Effect.succeed({ status, headers: { "content-type": "application/json" }, body })
    })
    const server = yield* serve({ port: 0, upstreams: { openai: upstream, anthropic: upstream } })
    const at = (name: string) => join(path, name)
    const write = (name: string, text: string) => Effect.promise(() => Fs.writeFile(at(name), text))
    const read = (name: string) => Effect.promise(() => Fs.readFile(at(name), "utf8"))
    yield* write("route.json", JSON.stringify({ version: 1, route: { provider: "openai", model: "m" } }))

    const environment = (env: Record<string, string> = {}) => ({
      NO_COLOR: "1",
      CLOUDFLARE_ACCOUNT_ID: "local",
      AI_GATEWAY_ID: "default",
      AI_GATEWAY_URL: server.url,
      CLOUDFLARE_API_URL: `${server.url}/client/v4`,
      CLOUDFLARE_API_TOKEN: "local",
      ...env
    })
    /** Starts the binary in the folder. */
    const start = (args: ReadonlyArray<string>, env?: Record<string, string>) =>
      Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => {
            const child = spawn(process.execPath, ["--conditions=effect-ai-gateway-source", bin, ...args], {
              cwd: path,
              env: environment(env),
              stdio: ["pipe", "pipe", "pipe"]
            })
            // It may end before it has read its input.
            child.stdin.on("error", () => {})
            let out = ""
            let err = ""
            child.stdout.setEncoding("utf8").on("data", (text: string) => {
              out += text
            })
            child.stderr.setEncoding("utf8").on("data", (text: string) => {
              err += text
            })
            const says = async (text: string): Promise<void> => {
              while (!err.includes(text)) {
                assert.isNull(child.exitCode ?? child.signalCode, `ended without ${text}: ${err}`)
                await new Promise((resolve) => setTimeout(resolve, 5))
              }
            }
            return { child, says, closed: once(child, "close").then(([code]) => ({ code, out, err })) }
          }),
          ({ child, closed }) =>
            Effect.promise(async () => {
              child.kill("SIGKILL")
              await closed
            })
        ),
        ({ child, closed, says }): Running => ({
          child,
          exit: Effect.promise(() => closed),
          says: (text) => Effect.promise(() => says(text))
        })
      )
    const batch = (args: ReadonlyArray<string>, env?: Record<string, string>) => start(["batch", ...args], env)
    interface Given {
      readonly stdin?: string
      readonly env?: Record<string, string>
    }
    /** Runs a process to its end. */
    const runProcess = (args: ReadonlyArray<string>, { env, stdin = "" }: Given = {}) =>
      Effect.scoped(
        Effect.flatMap(batch(args, env), ({ child, exit }) => {
          child.stdin.end(stdin)
          return exit
        })
      )
    /** Runs the command in this process, which takes a tenth of the time. Runs follow each other. */
    const run = (args: ReadonlyArray<string>, { env, stdin = "" }: Given = {}) =>
      inProcess(["batch", ...args], { cwd: path, env: environment(env), stdin })
    /** Waits for a number of requests. */
    const until = (count: number) =>
      Effect.gen(function* () {
        while (requests.length < count) yield* Effect.sleep(2)
      })
    const lines = (name: string) => Effect.map(read(name), parsed)
    /** All files below the folder with their sizes. */
    const tree = Effect.promise(async () => {
      const entries = await Fs.readdir(path, { recursive: true, withFileTypes: true })
      const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
      const texts = await Promise.all(files.map(async (file) => `${file}: ${await Fs.readFile(file, "utf8")}`))
      return [...texts, ...entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)].sort()
    })
    return { at, path, batch, lines, read, requests, run, runProcess, server, tree, until, write }
  })

export type World = Effect.Success<ReturnType<typeof world>>

export interface Line {
  readonly id?: string
  readonly custom_id?: string
  readonly status?: string
  readonly text?: string
  readonly line?: number
  readonly attempts?: number
  readonly error?: { readonly reason: string; readonly message: string; readonly attempts: ReadonlyArray<unknown> }
  readonly [field: string]: unknown
}

export const parsed = (text: string): ReadonlyArray<Line> => {
  assert.isTrue(text === "" || text.endsWith("\n"), "whole lines only")
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line))
}

/** JSON lines. */
export const jsonl = (...objects: ReadonlyArray<unknown>): string =>
  objects.map((o) => `${JSON.stringify(o)}\n`).join("")

/** A number of items `i0`, `i1`, … that are their own prompts. */
export const items = (count: number): string =>
  jsonl(...Array.from({ length: count }, (_, i) => ({ id: `i${i}`, prompt: `i${i}` })))

/** Fails unless each of the items is in the output exactly once, with its answer. */
export const assertComplete = (lines: ReadonlyArray<Line>, count: number): void => {
  const ids = lines.map(({ id }) => id)
  assert.strictEqual(new Set(ids).size, ids.length, "an id is in the output twice")
  assert.strictEqual(ids.length, count)
  for (const { id, text } of lines) assert.strictEqual(text, `answer to ${id}`)
}
