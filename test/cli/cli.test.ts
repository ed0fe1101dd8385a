import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Runtime from "effect/Runtime"
import * as TestConsole from "effect/testing/TestConsole"
import manifest from "../../package.json" with { type: "json" }
import { run } from "../../src/cli/Cli.ts"

const environment = (env: Record<string, string> = {}) =>
  Layer.mergeAll(NodeServices.layer, TestConsole.layer, ConfigProvider.layer(ConfigProvider.fromUnknown(env)))

const printed = Effect.map(Effect.all([TestConsole.logLines, TestConsole.errorLines]), ([out, err]) => ({
  out: out.join("\n"),
  err: err.join("\n")
}))

const refused = (args: ReadonlyArray<string>, env?: Record<string, string>) =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(run(args))
    return {
      ...(yield* printed),
      error,
      exitCode: Runtime.getErrorExitCode(error),
      reported: Runtime.getErrorReported(error)
    }
  }).pipe(Effect.provide(environment(env)))

let folder = ""
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "effect-ai-gateway-cli-"))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

describe("effect-ai-gateway", () => {
  it.effect("--version prints the version of the package", () =>
    Effect.gen(function* () {
      yield* run(["--version"])
      assert.strictEqual((yield* printed).out, `effect-ai-gateway v${manifest.version}`)
    }).pipe(Effect.provide(environment()))
  )

  it.effect("reports a defect on standard error, because standard output is for results", () =>
    Effect.gen(function* () {
      const broken = ConfigProvider.layer(ConfigProvider.make(() => Effect.die("broken")))
      const exit = yield* Effect.exit(run(["batch", "in.jsonl", "out.jsonl"]).pipe(Effect.provide(broken)))
      assert.isTrue(Exit.hasDies(exit))
      const { err, out } = yield* printed
      assert.include(err, "broken")
      assert.strictEqual(out, "")
    }).pipe(Effect.provide(environment()))
  )

  it.effect("--help lists the commands", () =>
    Effect.gen(function* () {
      yield* run(["--help"])
      assert.match((yield* printed).out, /SUBCOMMANDS\n\s+serve /)
    }).pipe(Effect.provide(environment()))
  )

  it.effect("shows the help without a command, and succeeds", () =>
    Effect.gen(function* () {
      const { exitCode, out } = yield* refused([])
      assert.include(out, "SUBCOMMANDS")
      assert.strictEqual(exitCode, 0)
    })
  )
})

describe("serve rejects with exit code 2 and without a stack", () => {
  const cases: ReadonlyArray<readonly [args: ReadonlyArray<string>, says: string]> = [
    [["nope"], `Unknown subcommand "nope"`],
    [["serve", "--nope"], "Unrecognized flag: --nope"],
    [["serve", "--port", "x"], "Invalid value for flag --port"],
    [["serve", "--port", "1", "--port", "2"], "at most 1 value"],
    [["serve", "--port", "65536"], "--port: expected 0 to 65535"],
    [["serve", "--port", "-1"], "--port: expected 0 to 65535"],
    [["serve", "--host", "192.0.2.1"], "--host: expected 127.0.0.1, ::1 or localhost; any other needs a token"],
    [["serve", "--account", "a/b"], "--account: expected 1 to 64 letters"],
    [["serve", "--gateway", "a/b"], "--gateway: expected 1 to 64 letters"],
    [["serve", "--gateway", "a", "--gateway", "b/c.d"], "--gateway b/c.d: expected an id of 1 to 64 letters"],
    [["serve", "--gateway", "a", "--gateway", "a"], "--gateway: expected each id once"],
    [["serve", "--upstream", "openai"], "--upstream: expected slug=url"],
    [["serve", "--upstream", "=http://127.0.0.1"], "--upstream: expected slug=url"],
    [["serve", "--upstream", "openai="], "--upstream: expected slug=url"],
    [["serve", "--upstream", "nobody=http://127.0.0.1"], "--upstream nobody=…: expected a provider slug"],
    [["serve", "--upstream", "openai=ftp://127.0.0.1"], "--upstream openai=…: expected an absolute http or https URL"],
    [
      ["serve", "--upstream", "openai=http://127.0.0.1/a", "--upstream", "openai=http://127.0.0.1/b"],
      "--upstream openai=…: expected each slug once"
    ]
  ]
  it.effect.each(cases)("%j", ([args, says]) =>
    Effect.gen(function* () {
      const { err, exitCode, reported } = yield* refused(args)
      assert.include(err, says)
      assert.strictEqual(exitCode, 2)
      assert.isFalse(reported)
    })
  )

  const secret = "not for anyone else"
  it.effect.each([
    [["serve", "--token", secret], {}],
    [["serve"], { CF_AIG_TOKEN: secret }]
  ] as const)("a malformed token, which it does not print: %j %j", ([args, env]) =>
    Effect.gen(function* () {
      const { err, error, exitCode } = yield* refused(args, env)
      assert.include(err, "--token or CF_AIG_TOKEN: expected printable ASCII")
      assert.strictEqual(exitCode, 2)
      assert.notInclude(err + JSON.stringify(error) + error.message, secret)
    })
  )

  const scripts: ReadonlyArray<readonly [name: string, content: string, says: string]> = [
    ["text", "not json", `expected JSON of the form { "provider-slug": [fault, …], … }`],
    ["list", "[]", `expected JSON of the form { "provider-slug": [fault, …], … }`],
    ["no-list", `{ "openai": { "status": 503 } }`, `expected JSON of the form { "provider-slug": [fault, …], … }`],
    ["status", `{ "openai": [{ "ok": true }, { "status": 42 }] }`, "openai[1]: expected one of { status: 200..599 }"],
    ["excess", `{ "openai": [{ "status": 503, "dealy": 5 }] }`, "openai[0]: expected one of { status: 200..599 }"],
    ["slug", `{ "nobody": [{ "status": 503 }] }`, "nobody: expected a provider slug"]
  ]
  it.effect.each(scripts)("a script file: %s", ([name, content, says]) =>
    Effect.gen(function* () {
      const path = join(folder, `${name}.json`)
      yield* Effect.promise(() => writeFile(path, content))
      const { err, exitCode } = yield* refused(["serve", "--port", "0", "--script", path])
      assert.include(err, `--script ${path}: ${says}`)
      assert.strictEqual(exitCode, 2)
    })
  )

  it.effect("a missing script file", () =>
    Effect.gen(function* () {
      const path = join(folder, "absent.json")
      const { err, exitCode } = yield* refused(["serve", "--script", path])
      assert.include(err, `--script ${path}: expected the path of a readable file`)
      assert.strictEqual(exitCode, 2)
    })
  )
})
