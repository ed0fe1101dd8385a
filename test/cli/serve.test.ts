/** `serve` as its users run it: in its own process, with a socket and signals. */
import { type ChildProcessByStdio, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import * as Http from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type { Readable } from "node:stream"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as GatewayService from "../../src/GatewayService.ts"
import { serve } from "../../src/local/node.ts"
import { inProcess } from "./inProcess.ts"

const bin = fileURLToPath(new URL("../../src/cli/bin.ts", import.meta.url))

interface Running {
  readonly child: ChildProcessByStdio<null, Readable, Readable>
  /** Waits for a pattern in standard output; returns the text up to it. */
  readonly until: (pattern: RegExp) => Effect.Effect<string>
  /** Exit code (`null` when a signal killed the process) with everything that was printed. */
  readonly exit: Effect.Effect<{ readonly code: number | null; readonly out: string; readonly err: string }>
}

const start = (
  args: ReadonlyArray<string>,
  options: { readonly env?: Record<string, string>; readonly node?: ReadonlyArray<string> } = {}
): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const child = spawn(
          process.execPath,
          ["--conditions=effect-ai-gateway-source", ...(options.node ?? []), bin, ...args],
          { env: { NO_COLOR: "1", ...options.env }, stdio: ["ignore", "pipe", "pipe"] }
        )
        return { child, closed: once(child, "close") }
      }),
      ({ child, closed }) =>
        Effect.promise(async () => {
          child.kill("SIGKILL")
          await closed
        })
    ),
    ({ child, closed }) => {
      let out = ""
      let err = ""
      const lines = createInterface(child.stdout)
      lines.on("line", (line) => {
        out += `${line}\n`
      })
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        err += text
      })
      return {
        child,
        until: (pattern) =>
          Effect.promise(async () => {
            while (!pattern.test(out)) {
              const ended = await Promise.race([once(lines, "line").then(() => false), closed.then(() => true)])
              if (ended) throw new Error(`ended before ${pattern}: ${out}${err}`)
            }
            return out
          }),
        exit: Effect.promise(async () => {
          const [code] = await closed
          return { code, out, err }
        })
      }
    }
  )

const Ready = Schema.fromJsonString(
  Schema.Struct({ url: Schema.String, port: Schema.Int, env: Schema.Record(Schema.String, Schema.String) })
)
const ready = (running: Running) =>
  Effect.flatMap(running.until(/\n/), (line) => Effect.orDie(Schema.decodeUnknownEffect(Ready)(line)))

const leg = {
  provider: "openai",
  endpoint: "chat/completions",
  query: { model: "gpt-4.1-mini", messages: [{ role: "user", content: "Hello" }] }
}

/** The layer that a user's program would build from these variables. */
const configured = (env: Record<string, string>) =>
  GatewayService.layerConfig.pipe(
    Layer.provide(FetchHttpClient.layer),
    Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(env)))
  )

const Reply = Schema.Struct({
  choices: Schema.Array(Schema.Struct({ message: Schema.Struct({ content: Schema.String }) }))
})

const ask = Effect.gen(function* () {
  const gateway = yield* GatewayService.GatewayService
  const response = yield* gateway.run(leg, { eventId: "from-the-test" })
  const reply = yield* Schema.decodeUnknownEffect(Reply)(yield* response.json)
  const log = yield* gateway.getLog(response.meta.logId ?? "")
  return { text: reply.choices[0]?.message.content, log }
})

describe("serve", () => {
  it.live("prints its address, answers programs configured by its output, and exits with 130 on Ctrl-C", () =>
    Effect.gen(function* () {
      const running = yield* start(["serve", "--port", "0", "--json", "--gateway", "one", "--gateway", "two"])
      const { env, port, url } = yield* ready(running)
      assert.strictEqual(url, `http://127.0.0.1:${port}`)
      assert.strictEqual(env["AI_GATEWAY_ID"], "one")
      for (const id of ["one", "two"]) {
        const { log, text } = yield* Effect.provide(ask, configured({ ...env, AI_GATEWAY_ID: id }))
        assert.strictEqual(text, "openai/gpt-4.1-mini: Hello")
        assert.strictEqual(log.model, "gpt-4.1-mini")
      }
      const other = yield* Effect.flip(Effect.provide(ask, configured({ ...env, AI_GATEWAY_ID: "three" })))
      assert.include(other.message, "gateway not found")
      running.child.kill("SIGINT")
      const { code, err, out } = yield* running.exit
      assert.strictEqual(code, 130)
      assert.strictEqual(err, "")
      assert.strictEqual(out.trim().split("\n").length, 1)
      const gone = yield* Effect.flip(Effect.tryPromise(() => fetch(url)))
      assert.strictEqual(gone._tag, "UnknownError")
    })
  )

  it.live("exits on SIGTERM although a request never gets its answer", () =>
    Effect.gen(function* () {
      const folder = yield* Effect.acquireRelease(
        Effect.promise(() => mkdtemp(join(tmpdir(), "effect-ai-gateway-serve-"))),
        (path) => Effect.promise(() => rm(path, { recursive: true }))
      )
      const script = join(folder, "script.json")
      const faults = { openai: [{ status: 429, retryAfter: 3 }, { stall: true }] }
      yield* Effect.promise(() => writeFile(script, JSON.stringify(faults)))
      const running = yield* start(["serve", "--port", "0", "--json", "--script", script])
      const { env, url } = yield* ready(running)
      const post = Effect.tryPromise((signal) =>
        fetch(`${url}/v1/local/${env["AI_GATEWAY_ID"]}/openai/chat/completions`, {
          method: "POST",
          body: JSON.stringify(leg.query),
          signal
        })
      )
      const limited = yield* post
      assert.strictEqual(limited.status, 429)
      assert.strictEqual(limited.headers.get("retry-after"), "3")
      const stalled = yield* Effect.forkChild(Effect.exit(post), { startImmediately: true })
      // The request is there once the admin surface has seen its attempt.
      yield* Effect.promise(async () => {
        while (((await (await fetch(`${url}/__admin/calls`)).text()).match(/"startedAt"/g) ?? []).length < 2);
      })
      running.child.kill("SIGTERM")
      assert.strictEqual((yield* running.exit).code, 130)
      assert.strictEqual((yield* Fiber.join(stalled))._tag, "Failure")
    })
  )

  it.live("takes the token from CF_AIG_TOKEN, requires it, and never prints it", () =>
    Effect.gen(function* () {
      const token = "correct-horse"
      const env = { CF_AIG_TOKEN: token }
      const running = yield* start(["serve", "--port", "0", "--account", "acme"], { env })
      const text = yield* running.until(/not shown/)
      const exported = Object.fromEntries(
        [...text.matchAll(/^export (\w+)=(.*)$/gm)].map(([, name = "", value = ""]) => [name, value])
      )
      assert.sameMembers(Object.keys(exported), [
        "CLOUDFLARE_ACCOUNT_ID",
        "AI_GATEWAY_ID",
        "AI_GATEWAY_URL",
        "CLOUDFLARE_API_URL"
      ])
      assert.strictEqual(exported["CLOUDFLARE_ACCOUNT_ID"], "acme")
      const tokens = { CF_AIG_TOKEN: token, CLOUDFLARE_API_TOKEN: token }
      const answer = yield* Effect.provide(ask, configured({ ...exported, ...tokens }))
      assert.strictEqual(answer.text, "openai/gpt-4.1-mini: Hello")
      const refused = yield* Effect.flip(Effect.provide(ask, configured(exported)))
      assert.include(refused.message, "gateway rejected the credentials")
      running.child.kill("SIGINT")
      const { err, out } = yield* running.exit
      assert.notInclude(out + err, token)
    })
  )

  it.live("sends a provider's requests to the real server that --upstream names", () =>
    Effect.gen(function* () {
      const real = yield* serve({ port: 0, gateway: "real" })
      const upstream = `openai=${real.gateway.url("real", "openai")}`
      const running = yield* start(["serve", "--port", "0", "--json", "--upstream", upstream])
      const { env } = yield* ready(running)
      assert.strictEqual((yield* Effect.provide(ask, configured(env))).text, "openai/gpt-4.1-mini: Hello")
      assert.strictEqual((yield* real.gateway.calls).length, 1)
    })
  )

  it.live("answers only listed hosts and pages", () =>
    Effect.gen(function* () {
      const origin = "http://localhost:5173"
      const running = yield* start([
        "serve",
        "--port",
        "0",
        "--json",
        "--allow-host",
        "a.test",
        "--allow-origin",
        origin
      ])
      const { url } = yield* ready(running)
      const status = (headers: Record<string, string>) =>
        Effect.callback<number | undefined>((resume) => {
          const models = new URL("/ai-api/models/search", url)
          Http.get(models, { headers }, (response) => resume(Effect.succeed(response.resume().statusCode)))
        })
      assert.strictEqual(yield* status({ host: "a.test" }), 200)
      assert.strictEqual(yield* status({ origin }), 200)
      assert.strictEqual(yield* status({ host: "b.test" }), 403)
      assert.strictEqual(yield* status({ origin: "http://localhost:5174" }), 403)
    })
  )

  /** Runs that never listen need no process. */
  const refused = (args: ReadonlyArray<string>) =>
    inProcess(["serve", ...args], { cwd: process.cwd(), env: { NO_COLOR: "1" }, stdin: "" })

  it.live("keeps as much as --keep allows, and rejects malformed values", () =>
    Effect.gen(function* () {
      const flags = ["--keep", "calls=1", "--keep", "logBytes=0", "--in-flight", "1000"]
      const running = yield* start(["serve", "--port", "0", "--json", ...flags])
      const { url } = yield* ready(running)
      const post = (text: string) =>
        Effect.promise(() =>
          fetch(`${url}/v1/local/default/openai/x`, { method: "POST", body: JSON.stringify({ text }) })
        )
      const read = (path: string) => Effect.promise(async () => (await fetch(`${url}${path}`)).json())
      // The echo has no such endpoint, which is an answer too.
      for (const text of ["a", "b"]) assert.strictEqual((yield* post(text)).status, 404)
      assert.deepStrictEqual((yield* read("/__admin/calls")).result[0].body, { text: "b" })
      assert.strictEqual((yield* read("/__admin/calls")).result.length, 1)
      const logs = yield* read("/client/v4/accounts/local/ai-gateway/gateways/default/logs")
      assert.deepStrictEqual(logs.result, [])
      assert.strictEqual((yield* post("x".repeat(1000))).status, 413)
      for (const [args, says] of [
        [["--keep", "bytes=1"], "--keep bytes=…: expected one of logs, calls, logBytes"],
        [["--keep", "logs"], "--keep: expected what=number, from 0"],
        [["--in-flight", "0"], "--in-flight: expected a whole number of bytes from 1"]
      ] as const) {
        const { code, err } = yield* refused(args)
        assert.strictEqual(code, 2)
        assert.include(err, says)
      }
    })
  )

  it.live("accepts dynamic routes, a cache and a rate limit, and rejects malformed ones", () =>
    Effect.gen(function* () {
      const route = "support=openai/gpt-4.1-mini,groq/llama"
      const flags = ["--route", route, "--cache-ttl", "60", "--rate-limit", "2/3600/sliding"]
      const running = yield* start(["serve", "--port", "0", "--json", ...flags])
      const { url } = yield* ready(running)
      const send = (content: string) =>
        Effect.promise(async () => {
          const body = JSON.stringify({ model: "dynamic/support", messages: [{ role: "user", content }] })
          const response = await fetch(`${url}/v1/local/default/compat/chat/completions`, { method: "POST", body })
          await response.text()
          const read = (name: string) => response.headers.get(name)
          return [response.status, read("cf-aig-model"), read("cf-aig-cache-status")]
        })
      assert.deepStrictEqual(yield* send("a"), [200, "gpt-4.1-mini", "MISS"])
      assert.deepStrictEqual(yield* send("a"), [200, "gpt-4.1-mini", "HIT"])
      assert.deepStrictEqual(yield* send("b"), [200, "gpt-4.1-mini", "MISS"])
      assert.strictEqual((yield* send("c"))[0], 429)
      for (const [args, says] of [
        [["--route", "support"], "--route: expected name=slug/model,…"],
        [["--route", "a=openai/x", "--route", "a=groq/x"], "--route a=…: expected each name once"],
        [["--route", "a=nobody/x"], "--route a=…: expected provider-slug/model"],
        [["--cache-ttl", "5"], "--cache-ttl: expected 0, or 60 to 2592000 seconds"],
        [["--rate-limit", "5"], "--rate-limit: expected requests/seconds"],
        [["--rate-limit", "0/60"], "--rate-limit: expected a whole number from 1"]
      ] as const) {
        const { code, err } = yield* refused(args)
        assert.deepStrictEqual([code, err.includes(says)], [2, true], err)
      }
    })
  )

  it.live("rejects a public interface without a token, and a port in use", () =>
    Effect.gen(function* () {
      const { port } = yield* serve({ port: 0 })
      for (const [args, says] of [
        [["--host", "192.0.2.1"], "--host: expected 127.0.0.1, ::1 or localhost; any other needs a token"],
        [["--port", String(port)], "--port: expected a port that can be listened on (EADDRINUSE)"],
        [
          ["--allow-host", "a", "--allow-host", "http://b"],
          "--allow-host: expected a host name or IP address, without scheme, port or path; wildcards are not supported"
        ],
        [
          ["--allow-origin", "*"],
          "--allow-origin: expected scheme://host or scheme://host:port in lower case, without a path or a default port; neither * nor null"
        ]
      ] as const) {
        // The rejection of a port goes through the binary.
        const { code, err, out } = yield* args[0] === "--port"
          ? Effect.flatMap(start(["serve", ...args]), ({ exit }) => exit)
          : refused(args)
        assert.strictEqual(code, 2)
        assert.strictEqual(err, `\nERROR\n  ${says}\n`)
        assert.strictEqual(out, "")
      }
    })
  )

  it.live("tells what to install when @effect/platform-node is missing", () =>
    Effect.gen(function* () {
      const hide = `import { registerHooks } from "node:module"
        registerHooks({ resolve(name, context, next) {
          return next(name.replace(/^@effect\\/platform-node\\b/, "$&-absent"), context)
        } })`
      const running = yield* start(["--version"], {
        node: ["--import", `data:text/javascript,${encodeURIComponent(hide)}`]
      })
      const { code, err } = yield* running.exit
      assert.strictEqual(code, 1)
      assert.include(err, "npm install @effect/platform-node")
      assert.strictEqual(err.trim().split("\n").length, 1)
    })
  )
})
