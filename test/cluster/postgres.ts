/** A PostgreSQL for the tests: in a temporary folder, on a free port of this machine, removed with its scope. */
import { execFileSync, spawn } from "node:child_process"
import { existsSync, readdirSync } from "node:fs"
import * as Fs from "node:fs/promises"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { freePort } from "../support/freePort.ts"

const folders = (): ReadonlyArray<string> => {
  const debian = "/usr/lib/postgresql"
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : []
  // `POSTGRES_BIN` selects another version.
  const asked = process.env.POSTGRES_BIN === undefined ? [] : [process.env.POSTGRES_BIN]
  return [
    ...asked,
    ...versions.map((version) => join(debian, version, "bin")),
    ...(process.env.PATH ?? "").split(delimiter)
  ]
}

const binaries = folders().find((folder) => ["initdb", "postgres"].every((name) => existsSync(join(folder, name))))

/** Why PostgreSQL is unavailable to the tests, if so. */
export const missing =
  binaries === undefined
    ? "skipped: there is no PostgreSQL (initdb and postgres) on the PATH or in /usr/lib/postgresql"
    : undefined

/** PostgreSQL refuses to run as root; then it runs as the user of Debian's package. */
const user = (): { readonly uid: number; readonly gid: number } | undefined => {
  if (process.getuid?.() !== 0) return undefined
  const id = (flag: string, name: string) => Number(execFileSync("id", [flag, name], { encoding: "utf8" }))
  const name = ["postgres", "nobody"].find((name) => {
    try {
      return id("-u", name) > 0
    } catch {
      return false
    }
  })
  if (name === undefined) throw new Error("PostgreSQL does not run as root, and there is no user postgres or nobody")
  return { uid: id("-u", name), gid: id("-g", name) }
}

/** Starts one, and gives the URL of its database `postgres`. */
export const start = Effect.gen(function* () {
  if (binaries === undefined) return yield* Effect.die(new Error(missing))
  const owner = user()
  const as = owner ?? {}
  const folder = yield* Effect.acquireRelease(
    Effect.promise(async () => {
      const path = await Fs.mkdtemp(join(tmpdir(), "cluster-pg-"))
      if (owner !== undefined) await Fs.chown(path, owner.uid, owner.gid)
      return path
    }),
    (path) => Effect.promise(() => Fs.rm(path, { recursive: true, force: true }))
  )
  const data = join(folder, "data")
  const env = { PATH: process.env.PATH ?? "", LC_ALL: "C", TZ: "UTC" }
  execFileSync(
    join(binaries, "initdb"),
    ["-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"],
    { ...as, env, cwd: folder, stdio: "pipe" }
  )
  const options = [
    "listen_addresses=127.0.0.1",
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=32MB",
    "max_connections=80"
  ]
  /** Returns the port, unless another process took it before the server did. */
  const listen = Effect.gen(function* () {
    const port = yield* freePort
    const server = spawn(
      join(binaries, "postgres"),
      ["-D", data, "-p", String(port), "-k", folder, ...options.flatMap((option) => ["-c", option])],
      { ...as, env, cwd: folder, stdio: ["ignore", "ignore", "pipe"] }
    )
    yield* Effect.addFinalizer(() =>
      Effect.callback<void>((resume) => {
        if (server.exitCode !== null || server.signalCode !== null) return resume(Effect.void)
        server.once("exit", () => resume(Effect.void))
        // Immediate, because none of its data is needed any more.
        server.kill("SIGQUIT")
      })
    )
    return yield* Effect.callback<number | undefined>((resume) => {
      let log = ""
      server.stderr.on("data", (data) => {
        log += String(data)
        if (log.includes("ready to accept connections")) resume(Effect.succeed(port))
      })
      server.once("close", () => {
        const isTaken = log.includes("Address already in use")
        resume(isTaken ? Effect.undefined : Effect.die(new Error(`PostgreSQL did not start: ${log}`)))
      })
    })
  })
  let port = yield* listen
  for (let tries = 1; port === undefined && tries < 5; tries++) port = yield* listen
  if (port === undefined) return yield* Effect.die(new Error("PostgreSQL found no free port"))
  return `postgres://postgres:hidden-password@127.0.0.1:${port}/postgres`
})

/** A client of it. */
export const client = (url: string, connections = 10) =>
  PgClient.layer({ url: Redacted.make(url), maxConnections: connections, connectTimeout: "30 seconds" })
