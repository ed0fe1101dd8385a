/**
 * A Redis of the tests' own: in memory, on a free port of this machine, gone with its scope.
 */
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"
import * as Effect from "effect/Effect"
import { freePort } from "./freePort.ts"

const program = (process.env.PATH ?? "")
  .split(delimiter)
  .map((folder) => join(folder, "redis-server"))
  .find(existsSync)

/** Why tests cannot have a Redis, if so. */
export const missing = program === undefined ? "skipped: there is no redis-server on the PATH" : undefined

/** Starts one, and gives its URL as soon as it takes connections. */
export const start = Effect.gen(function* () {
  if (program === undefined) return yield* Effect.die(new Error(missing))
  const port = yield* freePort
  const options = ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", tmpdir()]
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => spawn(program, options, { stdio: ["ignore", "pipe", "pipe"] })),
    (child) =>
      Effect.callback<void>((resume) => {
        child.once("exit", () => resume(Effect.void))
        child.kill("SIGKILL")
      })
  )
  yield* Effect.callback<void>((resume) => {
    let output = ""
    child.stdout.on("data", (bytes: Buffer) => {
      output += bytes.toString()
      if (output.includes("Ready to accept connections")) resume(Effect.void)
    })
    child.once("exit", () => resume(Effect.die(new Error(`redis-server has ended: ${output}`))))
  })
  return `redis://127.0.0.1:${port}`
})
