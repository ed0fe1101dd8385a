/**
 * The example Worker as its reader meets it: `npm run example:worker`, and `curl`.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { readFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { childEnv } from "../support/childEnv.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

let child: ChildProcess
let output = ""
let worker = ""
let gateway = ""

beforeAll(async () => {
  const { scripts }: { readonly scripts: Record<string, string> } = JSON.parse(
    await readFile(`${root}package.json`, "utf8")
  )
  const [, ...args] = scripts["example:worker"]?.split(" ") ?? []
  child = spawn(process.execPath, [...args, "--port", "0", "--gateway-port", "0"], { cwd: root, env: childEnv })
  await new Promise<void>((resolve, reject) => {
    const collect = (chunk: Buffer): void => {
      output += chunk.toString()
      const [, first, second] = /Worker on (\S+), its gateway on ([^\s;]+)/.exec(output) ?? []
      if (first === undefined || second === undefined) return
      worker = first
      gateway = second
      resolve()
    }
    child.stdout?.on("data", collect)
    child.stderr?.on("data", collect)
    child.once("exit", () => reject(new Error(output)))
  })
}, 120_000)
/** Gracefully: the runtime is a child of the child. */
const stop = async (): Promise<number | null> => {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode
  const exited = new Promise<number | null>((resolve) => child.once("exit", resolve))
  child.kill("SIGINT")
  return await exited
}
afterAll(stop)

const post = (url: string, body: unknown) => fetch(url, { method: "POST", body: JSON.stringify(body) })

interface Answer {
  readonly answer: string
  readonly logId: string
  readonly provider: string
  readonly attempts: number
}

const chat = async (message: string): Promise<Answer> => {
  const response = await post(`${worker}/chat`, { message })
  assert.strictEqual(response.status, 200)
  return await response.json()
}

const script = (provider: string, faults: ReadonlyArray<unknown>) =>
  post(`${gateway}/__admin/script`, { provider, faults })

interface Log {
  readonly provider: string
  readonly feedback: number | null
  readonly request_head: string
  readonly metadata: unknown
}

const log = async (id: string): Promise<Log> => {
  const response = await fetch(`${gateway}/client/v4/accounts/local/ai-gateway/gateways/my-gateway/logs/${id}`)
  const { result }: { readonly result: Log } = await response.json()
  return result
}

describe("the example Worker", () => {
  it("answers, and falls back when a provider fails", async () => {
    const first = await chat("Which planet?")
    assert.deepInclude(first, { answer: "openai/gpt-4.1-mini: Which planet?", provider: "openai", attempts: 1 })
    await script("openai", [{ status: 503 }])
    await script("anthropic", [{ status: 529 }])
    const second = await chat("And now?")
    assert.deepInclude(second, { provider: "workers-ai", attempts: 3 })
    assert.include(second.answer, "And now?")
    assert.deepInclude(await chat("Again?"), { provider: "openai", attempts: 1 })
  })

  it("stores feedback on the log of the right answer, with many at once", async () => {
    await script(
      "openai",
      Array.from({ length: 20 }, (_, n) => (n % 2 === 0 ? { status: 503 } : { ok: true, delay: 20 }))
    )
    const messages = Array.from({ length: 40 }, (_, n) => `question-${n}.`)
    await Promise.all(
      messages.map(async (message, n) => {
        const { logId, provider } = await chat(message)
        const feedback = n % 3 === 0 ? -1 : 1
        assert.strictEqual((await post(`${worker}/feedback`, { logId, feedback })).status, 204)
        const entry = await log(logId)
        assert.include(entry.request_head, message)
        assert.deepInclude(entry, { feedback, provider, metadata: { app: "example" } })
      })
    )
  })

  it("reports problems", async () => {
    assert.strictEqual((await post(`${worker}/chat`, { question: "?" })).status, 400)
    assert.strictEqual((await fetch(`${worker}/chat`, { method: "POST", body: "{" })).status, 400)
    assert.strictEqual((await post(`${worker}/feedback`, { logId: "x", feedback: 2 })).status, 400)
    assert.strictEqual((await post(`${worker}/feedback`, { logId: "no-such-log", feedback: 1 })).status, 404)
    assert.strictEqual((await post(`${worker}/feedback`, { logId: "../x", feedback: 1 })).status, 400)
    assert.strictEqual((await fetch(worker)).status, 404)
    await script("openai", [{ status: 500 }])
    await script("anthropic", [{ status: 500 }])
    await script("workers-ai", [{ status: 429, retryAfter: 3 }])
    const failed = await post(`${worker}/chat`, { message: "secret-prompt" })
    assert.deepStrictEqual([failed.status, failed.headers.get("retry-after")], [429, "3"])
    assert.strictEqual(await failed.text(), '{"error":{"reason":"RateLimited","retryable":true}}')
    assert.notInclude(output, "secret-prompt")
  })

  it("reads the tokens of an answer after it was sent", async () => {
    const { logId } = await chat("one two three")
    while (!output.includes(logId)) await new Promise((resolve) => setTimeout(resolve, 5))
  })

  it("needs no Node modules, and accepts the genuine `Ai`", { timeout: 180_000 }, async () => {
    const wrangler = await readFile(`${root}docs/examples/worker/wrangler.jsonc`, "utf8")
    assert.include(wrangler, '"compatibility_flags": ["enable_request_signal"]')
    const tsc = `${root}node_modules/typescript/bin/tsc`
    const { stdout } = await promisify(execFile)(process.execPath, [tsc, "-p", "docs/examples/worker"], {
      cwd: root,
      env: childEnv
    }).catch((error: { readonly stdout: string }) => error)
    // Declarations of the library's own sources are checked elsewhere; here they meet another platform's types.
    assert.notInclude(stdout, "docs/examples/worker/")
    assert.notInclude(stdout, "error TS5")
  })

  it("stops with Ctrl-C, and leaves nothing behind", async () => {
    assert.strictEqual(await stop(), 130)
    for (const url of [worker, gateway]) {
      const error = await fetch(url).then(
        () => "an answer",
        ({ cause }: { readonly cause: { readonly code: string } }) => cause.code
      )
      // The client may have kept a connection, which the end of the process resets.
      assert.match(error, /^ECONNRE(FUSED|SET)$/)
    }
  })
})
