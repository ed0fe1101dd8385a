import { type ChildProcess, spawn } from "node:child_process"
import * as Fs from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, layer } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Runtime from "effect/Runtime"
import { SqlClient } from "effect/sql/SqlClient"
import * as TestConsole from "effect/testing/TestConsole"
import { serve } from "effect-ai-gateway/local/node"
import * as Upstream from "effect-ai-gateway/local/Upstream"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import { run } from "../../src/cli/Cli.ts"
import { connect } from "../../src/cli/cluster/database.ts"
import { client, missing, start } from "./postgres.ts"
import { until } from "./support.ts"

interface World {
  readonly database: string
  readonly folder: string
  readonly url: string
  readonly route: string
  readonly prompts: Array<string>
}
class World_ extends Context.Service<World_, World>()("test/World") {}

const stored = (model: string): string => JSON.stringify(Result.getOrThrow(Route.toJson(Provider.openai.chat(model))))

const Live = Layer.effect(
  World_,
  Effect.gen(function* () {
    const database = yield* start
    const folder = yield* Effect.acquireRelease(
      Effect.promise(() => Fs.mkdtemp(join(tmpdir(), "cluster-cli-"))),
      (path) => Effect.promise(() => Fs.rm(path, { recursive: true, force: true }))
    )
    const prompts: Array<string> = []
    const echo = yield* Upstream.echo({ text: ({ prompt }) => `answer to ${prompt}` }).start
    const upstream = Upstream.make((request) => {
      const [prompt = ""] = /p\d+/.exec(JSON.stringify(request.json)) ?? []
      prompts.push(prompt)
      return Effect.delay(echo(request), prompt.length > 3 ? 500 : 0)
    })
    const { url } = yield* serve({ port: 0, upstreams: { openai: upstream } })
    const route = join(folder, "route.json")
    yield* Effect.promise(() => Fs.writeFile(route, stored("m")))
    return { database, folder, url, route, prompts }
  })
)

const environment = ({ database, url }: World) => ({
  DATABASE_URL: database,
  CLOUDFLARE_ACCOUNT_ID: "local",
  AI_GATEWAY_ID: "default",
  AI_GATEWAY_URL: url,
  CLOUDFLARE_API_URL: `${url}/client/v4`,
  CLOUDFLARE_API_TOKEN: "local"
})

/** Runs the command line in this process. */
const cli = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>>) =>
  Effect.gen(function* () {
    const exit = yield* Effect.exit(run(["cluster", ...args]))
    const lines = yield* Effect.all([TestConsole.logLines, TestConsole.errorLines])
    const error = exit._tag === "Failure" ? exit.cause.reasons[0] : undefined
    const failure = error?._tag === "Fail" ? error.error : error
    return {
      code: failure === undefined ? 0 : Runtime.getErrorExitCode(failure),
      out: lines[0].join("\n"),
      err: [...lines[1], failure instanceof Error ? failure.message : ""].join("\n")
    }
  }).pipe(
    Effect.provide(
      Layer.mergeAll(NodeServices.layer, TestConsole.layer, ConfigProvider.layer(ConfigProvider.fromUnknown(env)))
    )
  )

const linesOf = (path: string) =>
  Effect.promise(async () =>
    (await Fs.readFile(path, "utf8"))
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line))
  )

const bin = fileURLToPath(new URL("../../src/cli/bin.ts", import.meta.url))

const spawned = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>>) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, ["--conditions=effect-ai-gateway-source", bin, "cluster", ...args], {
        env: { PATH: process.env.PATH ?? "", ...env },
        stdio: ["ignore", "pipe", "pipe"]
      })
    ),
    (process) => Effect.sync(() => process.kill("SIGKILL"))
  )

const ended = (process: ChildProcess) =>
  Effect.callback<{ readonly code: number | null; readonly out: string; readonly err: string }>((resume) => {
    let [out, err] = ["", ""]
    process.stdout?.on("data", (data) => {
      out += String(data)
    })
    process.stderr?.on("data", (data) => {
      err += String(data)
    })
    process.once("close", (code) => resume(Effect.succeed({ code, out, err })))
  })

describe.skipIf(missing !== undefined)(missing ?? "effect-ai-gateway cluster", () => {
  layer(Live, { excludeTestServices: true, timeout: 120_000 })((it) => {
    it.effect("exits with 2 and a message without the URL, and writes nothing", () =>
      Effect.gen(function* () {
        const world = yield* World_
        const { DATABASE_URL, ...rest } = environment(world)
        const input = join(world.folder, "refused.jsonl")
        yield* Effect.promise(() => Fs.writeFile(input, '{"id":"a","prompt":"p1"}\n{"id":"a","prompt":"p2"}\n'))
        const good = join(world.folder, "good.jsonl")
        yield* Effect.promise(() => Fs.writeFile(good, '{"id":"a","prompt":"p1"}\n'))
        const taken = join(world.folder, "taken.jsonl")
        yield* Effect.promise(() => Fs.writeFile(taken, "precious\n"))
        const away = "postgres://someone:hidden-password@127.0.0.1:1/none"
        const job = ["--job", "refused"]
        const route = ["--route", world.route]
        const cases: ReadonlyArray<readonly [ReadonlyArray<string>, string | undefined, string]> = [
          [
            ["submit", good, ...job],
            undefined,
            "--database-url or DATABASE_URL: expected postgres://user:password@host/database"
          ],
          [["submit", good, ...job], "mysql://someone:hidden-password@host/x", "DATABASE_URL: expected postgres://"],
          [["submit", good, ...job], away, "the database cannot be reached (ECONNREFUSED 127.0.0.1:1)"],
          [["worker", ...job, ...route], away, "the database cannot be reached"],
          [["status", ...job], away, "the database cannot be reached"],
          [["collect", join(world.folder, "none.jsonl"), ...job], away, "the database cannot be reached"],
          [["submit", input, ...job], DATABASE_URL, "line 2 has the id of line 1"],
          [
            ["submit", join(world.folder, "absent.jsonl"), ...job],
            DATABASE_URL,
            "expected the path of a readable file"
          ],
          [["submit", good, "--job", "a b"], DATABASE_URL, "--job: expected 1 to 100 letters"],
          [["status", ...job], DATABASE_URL, "nothing was submitted"],
          [["worker", ...job, ...route], DATABASE_URL, "nothing was submitted"],
          [["worker", ...job, ...route, "--lease", "1"], DATABASE_URL, "--lease: expected 2 to 3600 seconds"],
          [["worker", ...job, ...route, "--rpm", "0"], DATABASE_URL, "--rpm: expected a whole number from 1"],
          [["collect", taken, ...job], DATABASE_URL, "exists: expected a new path, or --force"],
          [["collect", world.folder, ...job], DATABASE_URL, "expected the path of a file"]
        ]
        for (const [args, url, says] of cases) {
          const { code, err } = yield* cli(args, url === undefined ? rest : { ...rest, DATABASE_URL: url })
          assert.include(err, says)
          assert.strictEqual(code, 2, args.join(" "))
          assert.notInclude(err, "hidden-password")
        }
        assert.strictEqual(yield* Effect.promise(() => Fs.readFile(taken, "utf8")), "precious\n")
        const files = yield* Effect.promise(() => Fs.readdir(world.folder))
        assert.deepStrictEqual(files.sort(), ["good.jsonl", "refused.jsonl", "route.json", "taken.jsonl"])
      })
    )

    it.effect("submits, works, reports and collects, with malformed lines as dead letters", () =>
      Effect.gen(function* () {
        const world = yield* World_
        const env = environment(world)
        const input = join(world.folder, "in.jsonl")
        const lines = Array.from({ length: 20 }, (_, i) => JSON.stringify({ id: `i${i}`, prompt: `p${i}` }))
        lines.splice(5, 0, "{ no json")
        yield* Effect.promise(() => Fs.writeFile(input, `${lines.join("\n")}\n`))
        const submit = ["submit", input, "--job", "reviews", "--route", world.route, "--json"]
        const first = yield* cli(submit, env)
        assert.strictEqual(first.code, 0, first.err)
        assert.include(JSON.parse(first.out), { job: "reviews", added: 21, known: 0 })
        assert.include(JSON.parse((yield* cli(submit, env)).out), { added: 0, known: 21 })

        const other = join(world.folder, "other.json")
        yield* Effect.promise(() => Fs.writeFile(other, stored("n")))
        const refused = yield* cli(["worker", "--job", "reviews", "--route", other], env)
        assert.include(refused.err, "route differ); use another job, or --force to continue anyway")
        assert.strictEqual(refused.code, 2)

        const early = yield* cli(["status", "--job", "reviews"], env)
        assert.include(early.out, "waiting: no worker is alive")
        const worker = yield* cli(
          ["worker", "--job", "reviews", "--route", world.route, "--rpm", "6000", "--json"],
          env
        )
        assert.strictEqual(worker.code, 0, worker.err)
        assert.include(JSON.parse(worker.out), { succeeded: 20, state: "complete" })
        const status = yield* cli(["status", "--job", "reviews"], env)
        assert.include(status.out, "job reviews: finished\n21 of 21 items ended (100%)")
        assert.include(status.out, "1 dead letters: InvalidRequest 1")
        assert.strictEqual(JSON.parse((yield* cli(["status", "--job", "reviews", "--json"], env)).out).succeeded, 20)

        const out = join(world.folder, "out.jsonl")
        const collected = yield* cli(["collect", out, "--job", "reviews"], env)
        assert.strictEqual(collected.code, 1, collected.err)
        const results = yield* linesOf(out)
        assert.deepStrictEqual(
          results.map(({ id, line, text }) => [id, line ?? text]),
          lines.map((line, index) =>
            line.startsWith("{ no")
              ? ["line-6", 6]
              : [`i${index < 5 ? index : index - 1}`, `answer to p${index < 5 ? index : index - 1}`]
          )
        )
        const openai = join(world.folder, "openai.jsonl")
        yield* cli(["collect", openai, "--job", "reviews", "--format", "openai", "--order", "id"], env)
        const [one] = yield* linesOf(openai)
        assert.strictEqual(one.custom_id, "i0")
        assert.strictEqual(one.response.body.choices[0].message.content, "answer to p0")
      })
    )

    it.effect("does not confuse items without ids from two files", () =>
      Effect.gen(function* () {
        const world = yield* World_
        const env = environment(world)
        const submit = Effect.fnUntraced(function* (name: string, ...prompts: ReadonlyArray<string>) {
          const input = join(world.folder, name)
          const text = prompts.map((prompt) => `${JSON.stringify({ prompt })}\n`).join("")
          yield* Effect.promise(() => Fs.writeFile(input, text))
          const { code, err, out } = yield* cli(["submit", input, "--job", "unnamed", "--json"], env)
          assert.strictEqual(code, 0, err)
          return JSON.parse(out)
        })
        assert.deepInclude(yield* submit("one.jsonl", "p1", "p2"), { added: 2, known: 0 })
        assert.deepInclude(yield* submit("one.jsonl", "p1", "p2"), { added: 0, known: 2 })
        assert.deepInclude(yield* submit("two.jsonl", "p1", "p3"), {
          added: 1,
          known: 1,
          changed: { count: 0, ids: [] }
        })
        yield* cli(["worker", "--job", "unnamed", "--route", world.route], env)
        const out = join(world.folder, "unnamed-out.jsonl")
        yield* cli(["collect", out, "--job", "unnamed"], env)
        assert.deepStrictEqual(
          (yield* linesOf(out)).map(({ text }) => text),
          ["answer to p1", "answer to p2", "answer to p3"]
        )
      })
    )

    it.effect("treats an id that the database cannot store as malformed", () =>
      Effect.gen(function* () {
        const world = yield* World_
        const env = environment(world)
        const input = join(world.folder, "ids.jsonl")
        const ids = ["a\0b", "half \ud83d", "good"]
        yield* Effect.promise(() =>
          Fs.writeFile(input, ids.map((id, i) => `${JSON.stringify({ id, prompt: `p${i}` })}\n`).join(""))
        )
        const submitted = yield* cli(["submit", input, "--job", "ids", "--json"], env)
        assert.strictEqual(submitted.code, 0, submitted.err)
        yield* cli(["worker", "--job", "ids", "--route", world.route], env)
        const out = join(world.folder, "ids-out.jsonl")
        yield* cli(["collect", out, "--job", "ids"], env)
        assert.deepStrictEqual(
          (yield* linesOf(out)).map(({ id, line }) => [id, line]),
          [
            ["line-1", 1],
            ["line-2", 2],
            ["good", undefined]
          ]
        )
      })
    )

    it.effect("connects in UTC, and accepts messages of more than 16 MiB", () =>
      Effect.gen(function* () {
        const { database } = yield* World_
        const rows = yield* Effect.gen(function* () {
          const sql = yield* SqlClient
          yield* sql.unsafe("CREATE DATABASE zoned")
          yield* sql.unsafe("ALTER DATABASE zoned SET TimeZone = 'America/New_York'")
        }).pipe(
          Effect.provide(client(database, 1)),
          Effect.andThen(connect(Option.some(Redacted.make(database.replace(/postgres$/, "zoned"))))),
          Effect.flatMap((context) =>
            Effect.provideContext(
              Effect.flatMap(
                SqlClient,
                (sql) => sql<{ readonly zone: string; readonly long: string }>`
                  SELECT current_setting('TimeZone') AS zone, repeat('x', 17000000) AS long`
              ),
              context
            )
          )
        )
        assert.deepStrictEqual(
          rows.map(({ long, zone }) => [zone, long.length]),
          [["UTC", 17_000_000]]
        )
      }).pipe(Effect.scoped)
    )

    it.effect(
      "finishes items in flight on Ctrl-C, returns them on a second one, and a third worker finishes the job",
      () =>
        Effect.gen(function* () {
          const world = yield* World_
          const env = environment(world)
          const input = join(world.folder, "many.jsonl")
          const ids = Array.from({ length: 16 }, (_, i) => `p${1000 + i}`)
          yield* Effect.promise(() =>
            Fs.writeFile(input, ids.map((id) => `${JSON.stringify({ id, prompt: id })}\n`).join(""))
          )
          yield* cli(["submit", input, "--job", "signals"], env)
          const args = ["worker", "--job", "signals", "--route", world.route, "--concurrency", "4", "--json"]
          const asked = () => world.prompts.filter((prompt) => prompt.length > 3).length
          const drained = yield* spawned(args, env)
          const both = yield* Effect.forkChild(ended(drained), { startImmediately: true })
          yield* until(Effect.sync(() => asked() >= 4))
          drained.kill("SIGINT")
          const { code, out } = yield* Fiber.join(both)
          assert.strictEqual(code, 130)
          const said = JSON.parse(out)
          assert.strictEqual(said.state, "drained")
          assert.strictEqual(said.succeeded, asked())

          const before = asked()
          const stopped = yield* spawned(args, env)
          const second = yield* Effect.forkChild(ended(stopped), { startImmediately: true })
          yield* until(Effect.sync(() => asked() >= before + 4))
          stopped.kill("SIGTERM")
          // Two within 300 ms count as one.
          yield* Effect.sleep(400)
          stopped.kill("SIGTERM")
          assert.strictEqual((yield* Fiber.join(second)).code, 130)
          const last = yield* cli(args, env)
          assert.strictEqual(last.code, 0, last.err)
          const all = join(world.folder, "signals.jsonl")
          const collected = yield* cli(["collect", all, "--job", "signals"], env)
          assert.strictEqual(collected.code, 0, collected.err)
          assert.deepStrictEqual(
            (yield* linesOf(all)).map(({ id }) => id),
            ids
          )
          assert.isAtMost(asked(), ids.length + 4)
        }),
      120_000
    )
  })
})
